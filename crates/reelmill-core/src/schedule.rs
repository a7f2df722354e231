//! Which task a worker gets next.

use crate::encoder::VideoEncoder;
use crate::id::{TaskId, WorkerId};
use crate::task::TaskKind;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A task that could be claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// What kind of work.
    pub kind: TaskKind,
    /// Its job's priority, 0..=100.
    pub priority: u8,
    /// When its job was accepted.
    pub queued: Timestamp,
    /// Whose job it is; empty when nobody's.
    pub owner: String,
    /// Predicted work, in the same unit within a job.
    pub weight: u64,
    /// Predicted work, thousands of pixels to encode; 0 when not known.
    pub cost: u64,
    /// How big the source is.
    pub size: SizeClass,
    /// Encoder that the worker must have proven.
    pub needs: Option<VideoEncoder>,
    /// Build of that encoder the job is bound to.
    pub pin: Option<String>,
    /// Workers that failed at it.
    pub failed_on: Vec<WorkerId>,
    /// Workers lost while holding it.
    pub losses: u32,
}

/// How big a source is: decides whom its work suits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeClass {
    /// Below 50 MB: slow workers are good enough, and fast ones stay free.
    Small,
    /// The fastest workers.
    #[default]
    Medium,
    /// 100 MB and more: workers that can take a part of it, not all of it.
    Large,
}

impl SizeClass {
    /// The class of a source of `bytes`; `None` is a size that is not known.
    #[must_use]
    pub fn of(bytes: Option<u64>) -> Self {
        match bytes {
            Some(bytes) if bytes < 50_000_000 => Self::Small,
            Some(bytes) if bytes >= 100_000_000 => Self::Large,
            _ => Self::Medium,
        }
    }
}

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkerFacts {
    /// The worker.
    pub id: WorkerId,
    /// Encoders it has proven.
    pub encoders: Vec<ProvenEncoder>,
    /// Whether it runs beside the coordinator's blobs, and so may analyse and
    /// finish jobs.
    pub house: bool,
    /// Whether it takes encoding work.
    pub encodes: bool,
    /// Whether it can fetch the part of a source that it needs.
    #[serde(default = "yes")]
    pub streams: bool,
}

fn yes() -> bool {
    true
}

/// An encoder that worked when it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProvenEncoder {
    /// Which.
    pub encoder: VideoEncoder,
    /// Its build: chunks of one file come from one build only.
    pub fingerprint: String,
}

/// Every so many microseconds of waiting lift a job by one step of priority.
const AGING: i64 = 60_000_000;

/// Most steps that waiting lifts a job over those of other owners.
const MOST_AGING: i64 = 60;

/// Steps by which an owner's jobs stand back who has all slots.
const FAIRNESS: f64 = 100.0;

/// Where a job of `priority` that was accepted at `queued` stands in the queue,
/// the lowest first. Waiting lifts all jobs alike, so it never changes while
/// they wait, and a store can keep its index by it.
#[must_use]
pub fn rank(priority: u8, queued: Timestamp) -> i64 {
    queued.0.saturating_sub(i64::from(priority).saturating_mul(AGING))
}

impl WorkerFacts {
    /// The build of `encoder` it has, if it has proven it.
    #[must_use]
    pub fn fingerprint(&self, encoder: VideoEncoder) -> Option<&str> {
        let proven = self.encoders.iter().find(|proven| proven.encoder == encoder)?;
        Some(&proven.fingerprint)
    }

    /// Whether it can do `candidate` at all.
    #[must_use]
    pub fn can(&self, candidate: &Candidate) -> bool {
        if candidate.kind.is_house_work() {
            return self.house;
        }
        let Some(encoder) = candidate.needs else {
            return self.encodes;
        };
        let build = self.fingerprint(encoder);
        self.encodes
            && build.is_some()
            && candidate.pin.as_deref().is_none_or(|pin| Some(pin) == build)
    }
}

/// How many tasks run for each owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    running: BTreeMap<String, u32>,
    all: u32,
}

impl Shares {
    /// A task of `owner` runs.
    pub fn add(&mut self, owner: &str) {
        *self.running.entry(owner.to_owned()).or_default() += 1;
        self.all += 1;
    }

    /// The share of all running tasks that is `owner`'s, 0..=1.
    #[must_use]
    pub fn of(&self, owner: &str) -> f64 {
        let running = self.running.get(owner).copied().unwrap_or(0);
        f64::from(running) / f64::from(self.all.max(1))
    }
}

/// Steps of priority at which `candidate` stands among those of other owners:
/// its own, one for each minute of waiting up to an hour, less what its owner
/// has of the farm already.
#[must_use]
pub fn standing(candidate: &Candidate, shares: &Shares, now: Timestamp) -> i64 {
    let waited = (now.since(candidate.queued).max(0) / AGING).min(MOST_AGING);
    let held = (FAIRNESS * shares.of(&candidate.owner)) as i64;
    i64::from(candidate.priority) + waited - held
}

/// Sorts candidates as they should be taken: house work, since whole jobs wait
/// for it; then between owners by [`standing`], and among one owner's by rank
/// (priority, rising without end while a job waits); within a job what has cost
/// a worker, then the heaviest, so that the last ones to run are short.
pub fn order(candidates: &mut [Candidate], shares: &Shares, now: Timestamp) {
    // Each owner is placed by his first, so that a later one of his never
    // overtakes an earlier one.
    let mut first: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for one in candidates.iter() {
        let place = (-standing(one, shares, now), rank(one.priority, one.queued));
        let best = first.entry(one.owner.clone()).or_insert(place);
        *best = place.min(*best);
    }
    candidates.sort_by_cached_key(|one| {
        (
            !one.kind.is_house_work(),
            first.get(&one.owner).copied(),
            rank(one.priority, one.queued),
            one.task.job,
            Reverse(one.losses),
            Reverse(one.weight),
            one.task,
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn candidate(number: u32, priority: u8, queued: i64, weight: u64) -> Candidate {
        Candidate {
            task: TaskId { job: JobId(Uuid::from_u128(1)), generation: 0, number },
            kind: TaskKind::EncodeChunk,
            priority,
            queued: Timestamp(queued),
            owner: String::new(),
            weight,
            cost: 0,
            size: SizeClass::Medium,
            losses: 0,
            needs: Some(VideoEncoder::X264),
            pin: None,
            failed_on: vec![],
        }
    }

    fn worker() -> WorkerFacts {
        WorkerFacts {
            id: WorkerId(Uuid::from_u128(9)),
            encoders: vec![ProvenEncoder {
                encoder: VideoEncoder::X264,
                fingerprint: "x264-164".into(),
            }],
            house: false,
            encodes: true,
            streams: true,
        }
    }

    fn sorted(mut list: Vec<Candidate>, shares: &Shares, now: i64) -> Vec<u32> {
        order(&mut list, shares, Timestamp(now));
        list.iter().map(|one| one.task.number).collect()
    }

    #[test]
    fn higher_priority_then_older_then_heavier() {
        let list = vec![candidate(0, 50, 5, 9), candidate(1, 60, 6, 1), candidate(2, 60, 5, 1)];
        assert_eq!(sorted(list, &Shares::default(), 10), [2, 1, 0]);
        let list = vec![candidate(0, 50, 5, 1), candidate(1, 50, 5, 7)];
        assert_eq!(sorted(list, &Shares::default(), 10), [1, 0]);
    }

    #[test]
    fn waiting_lifts_a_job() {
        let list = vec![candidate(1, 60, 20 * AGING, 1), candidate(0, 50, 0, 1)];
        assert_eq!(sorted(list, &Shares::default(), 20 * AGING), [0, 1]);
    }

    #[test]
    fn rank_orders_jobs_as_they_are_taken() {
        let jobs = [(50, 0), (50, 5), (60, 5), (60, 20 * AGING), (0, 0), (100, 90 * AGING)];
        let first = jobs.iter().min_by_key(|(priority, at)| rank(*priority, Timestamp(*at)));
        let list: Vec<_> =
            (0u32..).zip(jobs).map(|(n, (priority, at))| candidate(n, priority, at, 1)).collect();
        let taken = sorted(list, &Shares::default(), 500 * AGING)[0];
        assert_eq!(Some(&jobs[taken as usize]), first);
    }

    fn of(owner: &str, number: u32, priority: u8, queued: i64) -> Candidate {
        Candidate { owner: owner.into(), ..candidate(number, priority, queued, 1) }
    }

    #[test]
    fn an_owner_with_all_slots_stands_back_for_a_newcomer() {
        let mut shares = Shares::default();
        (0..8).for_each(|_| shares.add("anna"));
        let now = 600 * AGING;
        let list = vec![of("anna", 0, 50, 0), of("bert", 1, 50, now)];
        assert_eq!(sorted(list.clone(), &shares, now), [1, 0], "though anna's waits for hours");
        let mut shares = Shares::default();
        (0..4).for_each(|_| shares.add("anna"));
        (0..4).for_each(|_| shares.add("bert"));
        assert_eq!(sorted(list, &shares, now), [0, 1], "half each: the older");
        let urgent = vec![of("anna", 0, 100, now), of("bert", 1, 50, now)];
        assert_eq!(sorted(urgent, &shares, now), [0, 1], "priority counts between owners too");
    }

    /// Two owners with more to do than there are slots, served one by one.
    #[test]
    fn owners_come_to_equal_shares_at_equal_priority() {
        let mut running: Vec<&str> = vec!["anna"; 8];
        let now = 600 * AGING;
        for turn in 0..100 {
            running.remove(0);
            let mut shares = Shares::default();
            running.iter().for_each(|owner| shares.add(owner));
            let list = vec![of("anna", 0, 50, turn), of("bert", 1, 50, 500 * AGING + turn)];
            running.push(["anna", "bert"][sorted(list, &shares, now)[0] as usize]);
        }
        assert_eq!(running.iter().filter(|owner| **owner == "bert").count(), 4, "{running:?}");
    }

    #[test]
    fn another_build_of_the_encoder_gets_no_chunk_of_a_bound_job() {
        let mut bound = candidate(0, 50, 0, 1);
        bound.pin = Some("x264-155".into());
        assert!(!worker().can(&bound));
    }

    #[test]
    fn sizes_are_those_of_the_requirements() {
        let class = |bytes| SizeClass::of(Some(bytes));
        assert_eq!(class(49_999_999), SizeClass::Small);
        assert_eq!(class(50_000_000), SizeClass::Medium);
        assert_eq!(class(99_999_999), SizeClass::Medium);
        assert_eq!(class(100_000_000), SizeClass::Large);
        assert_eq!(SizeClass::of(None), SizeClass::Medium);
    }

    proptest! {
        #[test]
        fn sorting_is_the_same_whatever_order_they_come_in(
            list in prop::collection::vec((0u8..3, 0i64..3, 0u64..3, any::<bool>()), 0..20),
        ) {
            let make = |(n, (priority, at, weight, anna)): (usize, &(u8, i64, u64, bool))| {
                let owner = if *anna { "anna" } else { "" };
                let one = candidate(n as u32, *priority, *at * AGING, *weight);
                Candidate { owner: owner.into(), ..one }
            };
            let forth: Vec<Candidate> = list.iter().enumerate().map(make).collect();
            let back: Vec<Candidate> = forth.iter().rev().cloned().collect();
            let shares = Shares::default();
            prop_assert_eq!(sorted(forth, &shares, 9 * AGING), sorted(back, &shares, 9 * AGING));
        }
    }
}
