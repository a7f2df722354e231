//! Which task a worker gets next.

use crate::encoder::VideoEncoder;
use crate::id::{TaskId, WorkerId};
use crate::task::TaskKind;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// Predicted work, in the same unit within a job.
    pub weight: u64,
    /// Encoder that the worker must have proven.
    pub needs: Option<VideoEncoder>,
    /// Build of that encoder the job is bound to.
    pub pin: Option<String>,
    /// Workers that failed at it.
    pub failed_on: Vec<WorkerId>,
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

/// The candidate that `worker` should take: what only it can do first, then by
/// priority (rising while a job waits), then the older job, then the heaviest
/// task, so that the last ones to run are short. A task that failed on this
/// worker comes last.
#[must_use]
pub fn pick(candidates: &[Candidate], worker: &WorkerFacts, now: Timestamp) -> Option<usize> {
    candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| worker.can(candidate))
        .max_by_key(|(at, candidate)| {
            let waited = now.since(candidate.queued).max(0) / AGING;
            (
                !candidate.failed_on.contains(&worker.id),
                candidate.kind.is_house_work(),
                i64::from(candidate.priority).saturating_add(waited),
                std::cmp::Reverse(candidate.queued),
                candidate.weight,
                std::cmp::Reverse(*at),
            )
        })
        .map(|(at, _)| at)
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
            weight,
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
        }
    }

    #[test]
    fn higher_priority_then_older_then_heavier() {
        let now = Timestamp(10);
        let list = [candidate(0, 50, 5, 9), candidate(1, 60, 6, 1), candidate(2, 60, 5, 1)];
        assert_eq!(pick(&list, &worker(), now), Some(2));
        let list = [candidate(0, 50, 5, 1), candidate(1, 50, 5, 7)];
        assert_eq!(pick(&list, &worker(), now), Some(1));
    }

    #[test]
    fn waiting_lifts_a_job() {
        let now = Timestamp(20 * AGING);
        let list = [candidate(0, 50, 0, 1), candidate(1, 60, 20 * AGING, 1)];
        assert_eq!(pick(&list, &worker(), now), Some(0));
    }

    #[test]
    fn rank_orders_jobs_as_they_are_picked() {
        let jobs = [(50, 0), (50, 5), (60, 5), (60, 20 * AGING), (0, 0), (100, 90 * AGING)];
        let first = jobs.iter().min_by_key(|(priority, at)| rank(*priority, Timestamp(*at)));
        let list = jobs.map(|(priority, at)| candidate(0, priority, at, 1));
        let picked = &list[pick(&list, &worker(), Timestamp(500 * AGING)).unwrap()];
        assert_eq!(Some(&(picked.priority, picked.queued.0)), first);
    }

    #[test]
    fn another_build_of_the_encoder_gets_no_chunk_of_a_bound_job() {
        let mut bound = candidate(0, 50, 0, 1);
        bound.pin = Some("x264-155".into());
        assert_eq!(pick(&[bound], &worker(), Timestamp(0)), None);
    }

    #[test]
    fn a_task_goes_elsewhere_before_it_comes_back() {
        let mut failed = candidate(0, 90, 0, 9);
        failed.failed_on.push(worker().id);
        let list = [failed.clone(), candidate(1, 1, 0, 1)];
        assert_eq!(pick(&list, &worker(), Timestamp(0)), Some(1));
        assert_eq!(pick(&[failed], &worker(), Timestamp(0)), Some(0));
    }

    proptest! {
        #[test]
        fn never_picks_what_the_worker_cannot_do(
            kinds in prop::collection::vec((0u8..4, any::<bool>(), any::<bool>()), 0..20),
            house in any::<bool>(), encodes in any::<bool>(),
        ) {
            let worker = WorkerFacts { house, encodes, ..worker() };
            let list: Vec<Candidate> = kinds.iter().enumerate().map(|(n, (kind, needs, pinned))| {
                let mut one = candidate(n as u32, 50, 0, 1);
                one.kind = [TaskKind::Analyse, TaskKind::EncodeChunk, TaskKind::EncodeAudio,
                    TaskKind::Finish][usize::from(*kind)];
                one.needs = needs.then_some(VideoEncoder::X265);
                one.pin = pinned.then(|| "other".to_owned());
                one
            }).collect();
            match pick(&list, &worker, Timestamp(0)) {
                Some(at) => prop_assert!(worker.can(&list[at])),
                None => prop_assert!(!list.iter().any(|one| worker.can(one))),
            }
        }
    }
}
