//! What is known of running tasks between the heartbeats that the store sees.

use crate::clock;
use crate::task_source::Ask;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::id::{LeaseId, TaskId, WorkerId};
use reelmill_core::job::Job;
use reelmill_core::lease::{Lease, LeaseProof};
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskKind};
use reelmill_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An attempt at a task as last heard of.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// Who runs it.
    pub(super) worker: WorkerId,
    /// Under which lease.
    pub(super) proof: LeaseProof,
    /// Units done.
    pub(super) progress: u64,
    /// Units a second.
    pub(super) rate: f64,
    /// When its lease was last renewed in the store.
    pub(super) stored: Timestamp,
    /// When it was begun.
    pub(super) begun: Timestamp,
    /// What kind of work.
    pub(super) kind: TaskKind,
    /// Encoder it needs.
    pub(super) needs: Option<VideoEncoder>,
    /// Predicted work, thousands of pixels.
    pub(super) cost: u64,
    /// Frames in all; 0 when not known.
    pub(super) frames: u64,
    /// Whose job it is.
    pub(super) owner: String,
    /// A second one may try it too.
    pub(super) may_double: bool,
}

impl Running {
    /// An attempt at `candidate` by whoever asks, which the store does not know yet.
    pub(super) fn expected(candidate: &Candidate, ask: &Ask, lease: LeaseId) -> Self {
        let now = clock::now();
        Self {
            worker: ask.facts.id,
            proof: LeaseProof { lease, epoch: 0 },
            progress: 0,
            rate: 0.0,
            stored: now,
            begun: now,
            kind: candidate.kind,
            needs: candidate.needs,
            cost: candidate.cost,
            frames: 0,
            owner: candidate.owner.clone(),
            may_double: false,
        }
    }

    /// Whether the store does not know of it yet.
    pub(super) fn is_expected(&self) -> bool {
        self.proof.epoch == 0
    }

    /// An attempt at `task` of `job` under `lease`, stored at `now`.
    pub(super) fn new(job: &Job, task: &Task, lease: &Lease, now: Timestamp) -> Self {
        Self {
            worker: lease.worker,
            proof: lease.proof(),
            progress: lease.progress,
            rate: 0.0,
            stored: now,
            begun: lease.granted,
            kind: task.kind,
            needs: task.needs,
            cost: task.cost,
            frames: task.frames,
            owner: job.owner.clone().unwrap_or_default(),
            may_double: task.kind == TaskKind::EncodeChunk
                && task.rival.is_none()
                && task.losses == 0,
        }
    }
}

type Attempts = BTreeMap<(TaskId, LeaseId), Running>;

/// All running tasks. Only a cache: the store decides who holds what.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Attempts>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, task: TaskId, running: Running) {
        self.lock().insert((task, running.proof.lease), running);
    }

    /// The attempt at `task` under the lease that `proof` names.
    pub(super) fn get(&self, task: TaskId, proof: LeaseProof) -> Option<Running> {
        self.lock().get(&(task, proof.lease)).filter(|known| known.proof == proof).cloned()
    }

    /// The attempt at `task` that is furthest.
    pub(super) fn furthest(&self, task: TaskId) -> Option<Running> {
        let all = self.lock();
        let attempts = all.iter().filter(|((one, _), _)| *one == task).map(|(_, running)| running);
        attempts.max_by_key(|running| running.progress).cloned()
    }

    pub(super) fn remove(&self, task: TaskId) {
        self.lock().retain(|(one, _), _| *one != task);
    }

    /// Nobody is to try `task` beside those that do.
    pub(super) fn doubled(&self, task: TaskId) {
        let mut all = self.lock();
        let attempts = all.iter_mut().filter(|((one, _), _)| *one == task);
        attempts.for_each(|(_, running)| running.may_double = false);
    }

    /// Forgets all tasks of which `gone` says so.
    pub(super) fn forget(&self, gone: impl Fn(&TaskId, &Running) -> bool) {
        self.lock().retain(|(task, _), running| !gone(task, running));
    }

    /// All attempts.
    pub(super) fn all(&self) -> Vec<(TaskId, Running)> {
        self.lock().iter().map(|((task, _), running)| (*task, running.clone())).collect()
    }

    /// Units a second of all tasks together.
    pub(super) fn rate_of(&self, of: impl Fn(&TaskId) -> bool) -> f64 {
        let rates = self.lock();
        let rates = rates.iter().filter(|((task, _), _)| of(task)).map(|(_, running)| running.rate);
        // An empty sum would be −0, which shows in JSON.
        rates.sum::<f64>() + 0.0
    }

    /// Tasks that `worker` runs.
    pub(super) fn count_of(&self, worker: WorkerId) -> usize {
        self.lock().values().filter(|running| running.worker == worker).count()
    }
}
