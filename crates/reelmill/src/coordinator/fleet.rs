//! The workers as the coordinator knows them between their words: what they can
//! do, how fast they are, what they are at, and who waits for work.

use super::live::Running;
use super::{Coordinator, WorkerView};
use crate::clock;
use crate::task_source::Ask;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::fleet::{
    Outlook, Seat, Turn, Typical, Underway, Waits, deal, explain, next, rival,
};
use reelmill_core::id::{LeaseId, SessionId, TaskId, WorkerId};
use reelmill_core::load::{Load, Speeds, measured};
use reelmill_core::schedule::{Candidate, Shares, WorkerFacts, order};
use reelmill_store::{WorkerRecord, WorkerState};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answered questions of a worker that are remembered, so that a copy of one
/// that comes late gets no task: more than its slots, by far.
const REMEMBERED: usize = 64;

/// A worker as it was last heard of.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) facts: WorkerFacts,
    session: SessionId,
    pub(super) slots: u32,
    pub(super) limit: Option<u32>,
    key: Option<String>,
    pub(super) state: WorkerState,
    pub(super) speeds: Speeds,
    pub(super) benchmarks: Speeds,
    pub(super) load: Option<Load>,
    /// Claims that wait now, by what they may take.
    waiting: Vec<WorkerFacts>,
    answered: VecDeque<LeaseId>,
    /// Earlier runs of it: what they say comes late.
    over: VecDeque<SessionId>,
}

impl Known {
    fn encoders(&self) -> u32 {
        self.limit.map_or(self.slots, |limit| limit.min(self.slots))
    }

    /// A seat of it for `facts`, free in so many seconds.
    pub(super) fn seat<'a>(&'a self, facts: &'a WorkerFacts, free_in: f64) -> Seat<'a> {
        let score = self.load.map_or(1.0, Load::score);
        Seat { facts, speeds: &self.speeds, benchmarks: &self.benchmarks, score, free_in }
    }
}

/// The workers. Only a cache: the store has their records.
#[derive(Debug, Default)]
pub(super) struct Fleet(Mutex<BTreeMap<WorkerId, Known>>);

impl Fleet {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's record is this now.
    pub(super) fn note(&self, record: &WorkerRecord) {
        let mut all = self.lock();
        let before = all.remove(&record.facts.id);
        let mut known = Known {
            facts: record.facts.clone(),
            session: record.session,
            slots: record.slots,
            limit: record.limit,
            key: record.key.clone(),
            state: record.state,
            speeds: record.speeds.clone(),
            benchmarks: record.benchmarks.clone(),
            load: None,
            waiting: Vec::new(),
            answered: VecDeque::new(),
            over: VecDeque::new(),
        };
        if let Some(before) = before {
            let Known { session, load, waiting, answered, over, .. } = before;
            known = Known { load, waiting, answered, over, ..known };
            if session != record.session {
                remember(&mut known.over, session);
            }
        }
        all.insert(record.facts.id, known);
    }

    /// Whether `session` is the run of `worker` that was heard of last, and it is
    /// not held for gone.
    pub(super) fn is_current(&self, worker: WorkerId, session: SessionId) -> bool {
        let current = |known: &Known| known.session == session && known.state != WorkerState::Gone;
        self.lock().get(&worker).is_some_and(current)
    }

    /// Whether `session` is an earlier run of `worker`: what it asks comes late.
    pub(super) fn is_over(&self, worker: WorkerId, session: SessionId) -> bool {
        self.lock().get(&worker).is_some_and(|known| known.over.contains(&session))
    }

    /// Where a worker stands now.
    pub(super) fn stands(&self, worker: WorkerId, state: WorkerState) {
        if let Some(known) = self.lock().get_mut(&worker) {
            known.state = state;
        }
    }

    /// To whom a worker belongs, if it is known.
    pub(super) fn key_of(&self, worker: WorkerId) -> Option<Option<String>> {
        self.lock().get(&worker).map(|known| known.key.clone())
    }

    /// A worker belongs to `key` now.
    pub(super) fn rebound(&self, worker: WorkerId, key: Option<String>) {
        if let Some(known) = self.lock().get_mut(&worker) {
            known.key = key;
        }
    }

    /// Where a worker stands, if it is known.
    pub(super) fn state_of(&self, worker: WorkerId) -> Option<WorkerState> {
        self.lock().get(&worker).map(|known| known.state)
    }

    /// Slots of all workers that have proven `encoder` and work.
    pub(super) fn slots_for(&self, encoder: VideoEncoder) -> u32 {
        let able = |known: &&Known| {
            known.state == WorkerState::Active
                && known.facts.encodes
                && known.facts.fingerprint(encoder).is_some()
        };
        self.lock().values().filter(able).map(|known| known.slots).sum()
    }

    /// What its machine is at.
    pub(super) fn load(&self, worker: WorkerId, load: Load) {
        if let Some(known) = self.lock().get_mut(&worker) {
            known.load = Some(load);
        }
    }

    /// What a worker told last of its machine.
    pub(super) fn load_of(&self, worker: WorkerId) -> Option<Load> {
        self.lock().get(&worker).and_then(|known| known.load)
    }

    /// Most tasks that `worker` may have at once; none while it drains.
    pub(super) fn most(&self, worker: WorkerId) -> usize {
        let all = self.lock();
        let Some(known) = all.get(&worker) else { return usize::MAX };
        if known.state == WorkerState::Draining {
            return 0;
        }
        known.encoders() as usize + usize::from(known.facts.house)
    }

    /// Encoders that a worker runs at once.
    pub(super) fn encoders(&self, worker: WorkerId) -> u32 {
        self.lock().get(&worker).map_or(1, Known::encoders)
    }

    /// Whether that question had its answer.
    pub(super) fn was_answered(&self, worker: WorkerId, request: LeaseId) -> bool {
        self.lock().get(&worker).is_some_and(|known| known.answered.contains(&request))
    }

    /// That question has its answer.
    pub(super) fn answered(&self, worker: WorkerId, request: LeaseId) {
        if let Some(known) = self.lock().get_mut(&worker) {
            remember(&mut known.answered, request);
        }
    }

    /// A claim waits, or waits no longer.
    pub(super) fn waits(&self, facts: &WorkerFacts, waits: bool) {
        if let Some(known) = self.lock().get_mut(&facts.id) {
            if waits {
                known.waiting.push(facts.clone());
            } else if let Some(at) = known.waiting.iter().position(|one| one == facts) {
                known.waiting.swap_remove(at);
            }
        }
    }

    /// Takes a measured speed in; yields the speeds when they are worth keeping.
    fn measured(
        &self,
        worker: WorkerId,
        encoder: VideoEncoder,
        cost: u64,
        seconds: f64,
    ) -> Option<Speeds> {
        let mut all = self.lock();
        let known = all.get_mut(&worker)?;
        measured(&mut known.speeds, encoder, cost, seconds).then(|| known.speeds.clone())
    }
}

fn remember<T>(list: &mut VecDeque<T>, one: T) {
    list.push_back(one);
    if list.len() > REMEMBERED {
        list.pop_front();
    }
}

/// A claim that waits: it is counted as long as this lives.
pub(super) struct Waiting<'a> {
    fleet: &'a Fleet,
    facts: &'a WorkerFacts,
}

impl<'a> Waiting<'a> {
    pub(super) fn begin(fleet: &'a Fleet, facts: &'a WorkerFacts) -> Self {
        fleet.waits(facts, true);
        Self { fleet, facts }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fleet.waits(self.facts, false);
    }
}

/// What a worker that asks should do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// Take this candidate, by its place in the list.
    Take(usize),
    /// Try this task beside the worker that has it.
    Double(TaskId),
    /// Nothing now.
    Nothing,
}

impl Coordinator {
    /// Sorts candidates as they should be taken now.
    pub(super) fn sort(&self, candidates: &mut [Candidate]) {
        let mut shares = Shares::default();
        self.live.all().iter().for_each(|(_, running)| shares.add(&running.owner));
        order(candidates, &shares, clock::now());
    }

    /// What the slot behind `ask` should do.
    pub(super) fn choose(&self, ask: &Ask, candidates: &[Candidate]) -> Choice {
        let fleet = self.fleet.lock();
        let running = self.live.all();
        let none = Speeds::new();
        let (speeds, benchmarks) = fleet
            .get(&ask.facts.id)
            .map_or((&none, &none), |known| (&known.speeds, &known.benchmarks));
        let score = ask.load.map_or(1.0, Load::score);
        let own = Seat { facts: &ask.facts, speeds, benchmarks, score, free_in: 0.0 };
        let mut seats = vec![own.clone()];
        seats.extend(others(&fleet, &running).into_iter().filter(|seat| {
            // Its other waiting slots ask for themselves.
            seat.free_in > 0.0 || seat.facts.id != ask.facts.id
        }));
        if let Some(at) = next(candidates, &seats, ask.facts.id) {
            return Choice::Take(at);
        }
        let waits = |task: &TaskId| candidates.iter().any(|one| one.task.job == task.job);
        let mine = |running: &Running| running.worker == ask.facts.id;
        let typical = Typical::of(&seats);
        let underway: Vec<Underway> = running
            .iter()
            .filter(|(task, run)| run.may_double && !mine(run) && !waits(task))
            .map(|(task, run)| underway(*task, run, &fleet, &typical))
            .collect();
        let able = ask.facts.encodes;
        match rival(&underway, &own, &typical) {
            Some(task) if able => Choice::Double(task),
            _ => Choice::Nothing,
        }
    }

    /// Why each of these tasks waits, and where it will go.
    pub(super) async fn outlooks(&self) -> Result<BTreeMap<TaskId, Outlook>, Failure> {
        let mut candidates =
            self.store.tasks_ready(clock::now(), super::dispatch::LOOK_AHEAD).await?;
        self.sort(&mut candidates);
        let fleet = self.fleet.lock();
        let running = self.live.all();
        let seats = others(&fleet, &running);
        let turns: Vec<Turn> = deal(&candidates, &seats);
        let tell = |(at, one): (usize, &Candidate)| {
            (one.task, between_words(explain(at, &turns, &seats), &fleet, one))
        };
        Ok(candidates.iter().enumerate().map(tell).collect())
    }

    /// Takes the speed of a finished piece into its worker's average.
    pub(super) async fn learn(
        &self,
        worker: WorkerId,
        encoder: Option<VideoEncoder>,
        (cost, seconds): (u64, f64),
    ) -> Result<(), Failure> {
        let Some(encoder) = encoder else { return Ok(()) };
        let Some(speeds) = self.fleet.measured(worker, encoder, cost, seconds) else {
            return Ok(());
        };
        let _one_at_a_time = self.enlisting.lock().await;
        if let Some(record) = self.store.worker_get(worker).await? {
            self.store.worker_put(&WorkerRecord { speeds, ..record }).await?;
        }
        Ok(())
    }

    /// Gives a worker at most `limit` tasks at once; `None` lifts that. `None`
    /// when it is not known, or gone.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn limit_worker(
        &self,
        worker: WorkerId,
        limit: Option<u32>,
    ) -> Result<Option<WorkerView>, Failure> {
        let one_at_a_time = self.enlisting.lock().await;
        let Some(record) = self.store.worker_get(worker).await? else { return Ok(None) };
        let record = WorkerRecord { limit, ..record };
        self.store.worker_put(&record).await?;
        self.fleet.note(&record);
        drop(one_at_a_time);
        self.bell.notify_waiters();
        let all = self.workers().await?;
        Ok(all.into_iter().find(|view| view.record.facts.id == worker))
    }
}

/// What nobody seems to take may be taken by a worker that neither waits nor
/// works at this moment: it is between two words.
pub(super) fn between_words(
    outlook: Outlook,
    fleet: &BTreeMap<WorkerId, Known>,
    candidate: &Candidate,
) -> Outlook {
    let able = |known: &Known| known.state == WorkerState::Active && known.facts.can(candidate);
    match fleet.values().find(|known| able(known)) {
        Some(known) if outlook.why == Waits::Nobody => {
            let worker = Some(known.facts.id);
            Outlook { why: Waits::Next, worker, starts_in: None, takes: None }
        }
        _ => outlook,
    }
}

/// The seats of all workers: those that wait, and those that will be free.
pub(super) fn others<'a>(
    fleet: &'a BTreeMap<WorkerId, Known>,
    running: &[(TaskId, Running)],
) -> Vec<Seat<'a>> {
    let mut seats = Vec::new();
    for known in fleet.values().filter(|known| known.state == WorkerState::Active) {
        seats.extend(known.waiting.iter().map(|facts| known.seat(facts, 0.0)));
    }
    let typical = Typical::of(&seats);
    for (task, run) in running.iter().filter(|(_, run)| !run.kind.is_house_work()) {
        if let Some(known) = fleet.get(&run.worker).filter(|k| k.state == WorkerState::Active) {
            let left = underway(*task, run, fleet, &typical).left().max(0.001);
            seats.push(known.seat(&known.facts, left));
        }
    }
    seats
}

/// A running task as core sees it.
fn underway(
    task: TaskId,
    run: &Running,
    fleet: &BTreeMap<WorkerId, Known>,
    typical: &Typical,
) -> Underway {
    let elapsed = clock::now().since(run.begun).max(0) as f64 / 1e6;
    let predicted = fleet
        .get(&run.worker)
        .map_or(0.0, |known| typical.seconds(&known.seat(&known.facts, 0.0), run.needs, run.cost));
    let done = (run.frames > 0 && run.progress > 0)
        .then(|| (run.progress as f64 / run.frames as f64).min(1.0));
    Underway {
        task,
        worker: run.worker,
        needs: run.needs,
        cost: run.cost,
        done,
        elapsed,
        predicted,
    }
}

/// What to say of a ready task that nobody looked at.
pub(super) fn far(paused: bool) -> Outlook {
    let why = if paused { Waits::Pause } else { Waits::Far };
    Outlook { why, worker: None, starts_in: None, takes: None }
}
