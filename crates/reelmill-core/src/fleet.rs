//! Who should do what: earliest finish over the seats of a farm, second tries
//! for the last chunks, and the explanation of both.

mod typical;

use crate::encoder::VideoEncoder;
use crate::id::{TaskId, WorkerId};
use crate::load::Speeds;
use crate::schedule::{Candidate, SizeClass, WorkerFacts};
use serde::{Deserialize, Serialize};

pub use typical::Typical;

/// A place where one task can run at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Seat<'a> {
    /// What its worker can do.
    pub facts: &'a WorkerFacts,
    /// How fast it has shown to encode, thousands of pixels a second.
    pub speeds: &'a Speeds,
    /// How fast it was in a benchmark of its own, thousands of pixels a second.
    pub benchmarks: &'a Speeds,
    /// What its machine has to spare, 0..=1 ([`crate::load::Load::score`]).
    pub score: f64,
    /// Seconds until it is free; 0 when it waits for work.
    pub free_in: f64,
}

/// Where a task will go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Which candidate, by its place in the list.
    pub candidate: usize,
    /// Which seat, by its place in the list.
    pub seat: usize,
    /// Seconds until it begins.
    pub starts_in: f64,
    /// Seconds it takes there.
    pub takes: f64,
}

/// Seconds that work takes of which nothing is known.
const USUAL_TIME: f64 = 30.0;

/// Seconds that starting a task costs anywhere.
const OVERHEAD: f64 = 1.0;

/// Deals `candidates`, in their order, to the seats: each to the one that will
/// have it done first. What is small goes to the slowest seat that is free,
/// what is large to workers that can fetch a part of it, and what failed goes
/// elsewhere first. Candidates that no seat can take get no turn.
#[must_use]
pub fn deal(candidates: &[Candidate], seats: &[Seat<'_>]) -> Vec<Turn> {
    dealt(candidates, seats).collect()
}

/// The turns of [`deal`], one after the other.
fn dealt<'a>(
    candidates: &'a [Candidate],
    seats: &'a [Seat<'a>],
) -> impl Iterator<Item = Turn> + 'a {
    let typical = Typical::of(seats);
    let mut free: Vec<f64> = seats.iter().map(|seat| seat.free_in.max(0.0)).collect();
    candidates.iter().enumerate().filter_map(move |(at, candidate)| {
        let time = |seat: usize| typical.seconds(&seats[seat], candidate.needs, candidate.cost);
        let able = able(candidate, seats).into_iter().map(|seat| (seat, time(seat))).collect();
        let (seat, takes) = choose(candidate, able, &free)?;
        let starts_in = free[seat];
        free[seat] = starts_in + takes;
        Some(Turn { candidate: at, seat, starts_in, takes })
    })
}

/// The seats that may take `candidate`: those it has not failed on and that
/// suit its size, where there are any.
fn able(candidate: &Candidate, seats: &[Seat<'_>]) -> Vec<usize> {
    let mut able: Vec<usize> =
        (0..seats.len()).filter(|seat| seats[*seat].facts.can(candidate)).collect();
    let fresh = |seat: &usize| !candidate.failed_on.contains(&seats[*seat].facts.id);
    if able.iter().any(fresh) {
        able.retain(fresh);
    }
    let fetches = |seat: &usize| seats[*seat].facts.streams;
    if candidate.size == SizeClass::Large && able.iter().any(fetches) {
        able.retain(fetches);
    }
    able
}

/// The seat, of those `able` with the seconds that it takes there, that gets
/// `candidate`.
fn choose(candidate: &Candidate, able: Vec<(usize, f64)>, free: &[f64]) -> Option<(usize, f64)> {
    let idle = able.iter().copied().filter(|(seat, _)| free[*seat] <= 0.0);
    if candidate.size == SizeClass::Small
        && let Some(slowest) = idle.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    {
        return Some(slowest);
    }
    let finish = |(seat, takes): (usize, f64)| free[seat] + takes;
    able.into_iter().min_by(|a, b| finish(*a).total_cmp(&finish(*b)).then(a.0.cmp(&b.0)))
}

/// Seconds that `cost` thousands of pixels take with `encoder` when all of
/// `seats` share them, each as fast as it has shown, else as [`Typical`] guesses,
/// else `usual`. `None` when there is no seat, or nothing to do.
#[must_use]
pub fn together(seats: &[Seat<'_>], encoder: VideoEncoder, cost: u64, usual: f64) -> Option<f64> {
    let typical = Typical::of(seats);
    let speed = |seat: &Seat<'_>| typical.speed(seat, encoder, usual);
    let all: f64 = seats.iter().map(speed).sum();
    (all > 0.0 && cost > 0).then(|| OVERHEAD + cost as f64 / all)
}

/// What the first free seat of `worker` should take now, if anything: the first
/// candidate that [`deal`] gives to a seat of it that is free. A worker gets
/// nothing when everything would be done sooner elsewhere.
#[must_use]
pub fn next(candidates: &[Candidate], seats: &[Seat<'_>], worker: WorkerId) -> Option<usize> {
    let ours = |turn: &Turn| turn.starts_in <= 0.0 && seats[turn.seat].facts.id == worker;
    dealt(candidates, seats).find(ours).map(|turn| turn.candidate)
}

/// A chunk that is being encoded, as [`rival`] sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Underway {
    /// The task.
    pub task: TaskId,
    /// Who has it.
    pub worker: WorkerId,
    /// Encoder it needs.
    pub needs: Option<VideoEncoder>,
    /// Predicted work, thousands of pixels.
    pub cost: u64,
    /// Share done, 0..=1; `None` when nothing was heard of it.
    pub done: Option<f64>,
    /// Seconds since it was begun.
    pub elapsed: f64,
    /// Seconds that it was predicted to take where it is.
    pub predicted: f64,
}

impl Underway {
    /// Seconds until it is done, as far as its progress tells.
    #[must_use]
    pub fn left(&self) -> f64 {
        match self.done {
            // The first percents say little.
            Some(done) if done > 0.02 => self.elapsed * (1.0 - done) / done,
            // What is late already will be later.
            _ => (self.predicted - self.elapsed).max(self.elapsed / 2.0),
        }
    }
}

/// A second try must be sure to gain: it is done before this share of the
/// first one's remaining time is over.
const RIVAL_GAIN: f64 = 0.7;

/// The chunk that an idle seat should try too, because it would be done well
/// before the worker that has it: the one with the most to gain.
#[must_use]
pub fn rival(underway: &[Underway], seat: &Seat<'_>, typical: &Typical) -> Option<TaskId> {
    let gain = |one: &Underway| {
        let own = typical.seconds(seat, one.needs, one.cost);
        (own < RIVAL_GAIN * one.left()).then(|| one.left() - own)
    };
    let gains = underway.iter().filter_map(|one| Some((gain(one)?, one)));
    let best = gains.max_by(|(a, one), (b, other)| a.total_cmp(b).then(other.task.cmp(&one.task)));
    best.map(|(_, one)| one.task)
}

/// Why a task waits and where it will go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Outlook {
    /// Why it does not run yet.
    pub why: Waits,
    /// Who will take it, as things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Seconds until it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_in: Option<f64>,
    /// Seconds it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<f64>,
}

/// Why a task does not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Waits {
    /// It is to be taken now.
    Next,
    /// Others come first.
    Behind {
        /// How many.
        tasks: usize,
    },
    /// Earlier work of its job is not done.
    Stage,
    /// It failed and is tried again later.
    Pause,
    /// The queue is paused.
    QueuePaused,
    /// Its job has cost workers: one of its tasks at a time.
    Probation,
    /// No living worker has the encoder (or that build of it), or does such work.
    Nobody,
    /// So many others are before it that nobody looked yet.
    Far,
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Next => f.write_str("it is next"),
            Self::Behind { tasks: 1 } => f.write_str("one task comes before it"),
            Self::Behind { tasks } => write!(f, "{tasks} tasks come before it"),
            Self::Stage => f.write_str("earlier work of its job is not done"),
            Self::QueuePaused => f.write_str("the queue is paused"),
            Self::Pause => f.write_str("it failed and is tried again after a pause"),
            Self::Probation => f.write_str("its job lost workers: one task at a time"),
            Self::Nobody => f.write_str("no worker that is here can do it"),
            Self::Far => f.write_str("many tasks come before it"),
        }
    }
}

/// What to say of candidate `at`, given all turns.
#[must_use]
pub fn explain(at: usize, turns: &[Turn], seats: &[Seat<'_>]) -> Outlook {
    let Some(turn) = turns.iter().find(|turn| turn.candidate == at) else {
        return Outlook { why: Waits::Nobody, worker: None, starts_in: None, takes: None };
    };
    let before = turns.iter().take_while(|turn| turn.candidate != at).count();
    let why = if turn.starts_in <= 0.0 { Waits::Next } else { Waits::Behind { tasks: before } };
    let worker = seats.get(turn.seat).map(|seat| seat.facts.id);
    Outlook { why, worker, starts_in: Some(turn.starts_in), takes: Some(turn.takes) }
}

#[cfg(test)]
mod tests;
