//! What is known of running tasks between the heartbeats that the store sees.

use reelmill_core::id::{TaskId, WorkerId};
use reelmill_core::lease::LeaseProof;
use reelmill_core::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A running task as last heard of.
#[derive(Debug, Clone, Copy)]
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
}

/// All running tasks. Only a cache: the store decides who holds what.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<HashMap<TaskId, Running>>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, task: TaskId, running: Running) {
        self.lock().insert(task, running);
    }

    pub(super) fn get(&self, task: TaskId) -> Option<Running> {
        self.lock().get(&task).copied()
    }

    pub(super) fn remove(&self, task: TaskId) {
        self.lock().remove(&task);
    }

    /// Forgets all tasks of which `gone` says so.
    pub(super) fn forget(&self, gone: impl Fn(&TaskId, &Running) -> bool) {
        self.lock().retain(|task, running| !gone(task, running));
    }

    /// Units a second of all tasks together.
    pub(super) fn rate_of(&self, of: impl Fn(&TaskId) -> bool) -> f64 {
        let rates = self.lock();
        let rates = rates.iter().filter(|(task, _)| of(task)).map(|(_, running)| running.rate);
        // An empty sum would be −0, which shows in JSON.
        rates.sum::<f64>() + 0.0
    }

    /// Tasks that `worker` runs.
    pub(super) fn count_of(&self, worker: WorkerId) -> usize {
        self.lock().values().filter(|running| running.worker == worker).count()
    }
}
