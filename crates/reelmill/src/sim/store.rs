//! The store as the simulated coordinator sees it: every call stops before and
//! after it takes effect, so that others come between and a crash can hit
//! either side; it can be full; and what it does is watched.

use super::watch::Watch;
use async_trait::async_trait;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, JobState, Request, Source};
use reelmill_core::lease::LeaseProof;
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::Plan;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Refused, Rules, Task, TaskEvent};
use reelmill_core::time::Timestamp;
use reelmill_store::{
    Applied, ApplyError, BlobRecord, HistoryEntry, JobFilter, KeyRecord, NewJob, Renewal, Store,
    StoreError, Submitted, WorkerRecord, WorkerState,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is shared by all calls: where the disk stands, and who is inside.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// No write succeeds.
    pub(super) full: AtomicBool,
    /// A call is with the real store: it is waited for, never left.
    pub(super) inside: AtomicBool,
}

/// A protection that is left out, to show that the simulation would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Nothing is left out.
    None,
    /// Every word about a task is believed, whatever lease it shows.
    NoFencing,
    /// A repeated report is not known again.
    Forgetful,
    /// A lease lasts for less than a heartbeat.
    ShortLease,
    /// Nobody looks for leases that have ended.
    NoSweeper,
    /// Three lost workers are the task's fault.
    Hasty,
    /// A task may take as many workers as it likes.
    Patient,
}

/// The store of the simulation.
pub(super) struct SimStore {
    pub(super) real: Arc<dyn Store>,
    pub(super) disk: Arc<Disk>,
    pub(super) watch: Arc<Watch>,
    pub(super) mutant: Mutant,
}

/// Lets the world go on once.
pub(super) async fn step_aside() {
    let mut been = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut been, true) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

impl SimStore {
    /// Runs `call` on the real store, with a stop on either side.
    pub(super) async fn pass<T, E: From<StoreError>>(
        &self,
        writes: bool,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        step_aside().await;
        if writes && self.disk.full.load(Relaxed) {
            return Err(StoreError::Full("the simulated disk".into()).into());
        }
        self.disk.inside.store(true, Relaxed);
        let done = call.await;
        self.disk.inside.store(false, Relaxed);
        if writes {
            step_aside().await;
        }
        done
    }

    /// Runs a call that takes all tasks of a job from their workers.
    async fn freed(
        &self,
        id: JobId,
        call: impl Future<Output = Result<Option<Job>, StoreError>> + Send,
    ) -> Result<Option<Job>, StoreError> {
        self.pass(true, async {
            let done = call.await;
            self.watch.seen().freed(id);
            done
        })
        .await
    }

    /// The event as a coordinator without fencing would let it happen.
    async fn unfenced(&self, id: TaskId, event: TaskEvent) -> TaskEvent {
        let Ok(Some(task)) = self.real.task_get(id).await else { return event };
        let Some(lease) = task.lease else { return event };
        let proof = lease.proof();
        match event {
            TaskEvent::Complete(_, result) => TaskEvent::Complete(proof, result),
            TaskEvent::Fail(_, failure) => TaskEvent::Fail(proof, failure),
            other => other,
        }
    }
}

macro_rules! passed {
    ($($writes:literal $name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Store for SimStore {
            $(async fn $name(&self, $($arg: $kind),*) -> $out {
                self.pass($writes, self.real.$name($($arg),*)).await
            })+

            async fn job_cancel(
                &self,
                id: JobId,
                now: Timestamp,
            ) -> Result<Option<Job>, StoreError> {
                self.freed(id, self.real.job_cancel(id, now)).await
            }

            async fn job_end(
                &self,
                id: JobId,
                state: JobState,
                failure: Failure,
                now: Timestamp,
            ) -> Result<Option<Job>, StoreError> {
                self.freed(id, self.real.job_end(id, state, failure, now)).await
            }

            async fn job_replan(
                &self,
                id: JobId,
                request: &Request,
                now: Timestamp,
            ) -> Result<Option<Job>, StoreError> {
                self.freed(id, self.real.job_replan(id, request, now)).await
            }

            async fn pass_commit(
                &self,
                finish: TaskId,
                proof: LeaseProof,
                other: u64,
                plan: &Plan,
                tasks: Vec<Task>,
                rules: Rules,
                now: Timestamp,
            ) -> Result<Applied, ApplyError> {
                self.pass(true, async {
                    let kept = tasks.clone();
                    let applied =
                        self.real.pass_commit(finish, proof, other, plan, tasks, rules, now).await;
                    self.watch.passed(finish, proof, &kept, &applied);
                    applied
                }).await
            }

            async fn task_apply(
                &self,
                id: TaskId,
                event: TaskEvent,
                rules: Rules,
                now: Timestamp,
            ) -> Result<Applied, ApplyError> {
                let event = match self.mutant {
                    Mutant::NoFencing => self.unfenced(id, event).await,
                    _ => event,
                };
                let told = event.clone();
                let applied = self.pass(true, async {
                    let applied = self.real.task_apply(id, event, rules, now).await;
                    self.watch.applied(id, &told, &applied);
                    applied
                }).await;
                match (self.mutant, applied) {
                    (Mutant::Forgetful, Err(ApplyError::Refused(Refused::Repeated))) => {
                        Err(Refused::Stale.into())
                    }
                    (_, applied) => applied,
                }
            }

            async fn plan_commit(
                &self,
                analyse: TaskId,
                proof: LeaseProof,
                media: &MediaInfo,
                plan: &Plan,
                tasks: Vec<Task>,
                rules: Rules,
                now: Timestamp,
            ) -> Result<Applied, ApplyError> {
                self.pass(true, async {
                    let applied =
                        self.real.plan_commit(analyse, proof, media, plan, tasks, rules, now).await;
                    self.watch.planned(analyse, proof, &applied);
                    applied
                }).await
            }
        }
    };
}

passed! {
    true job_submit(new: NewJob) -> Result<Submitted, StoreError>;
    true job_uploaded(id: JobId, source: &Source, tasks: Vec<Task>, now: Timestamp)
        -> Result<Option<Job>, StoreError>;
    false job_by_key(owner: Option<&str>, key: &str) -> Result<Option<JobId>, StoreError>;
    false job_get(id: JobId) -> Result<Option<Job>, StoreError>;
    false job_find(prefix: &str) -> Result<Vec<JobId>, StoreError>;
    false job_list(filter: &JobFilter) -> Result<Vec<Job>, StoreError>;
    false job_counts() -> Result<BTreeMap<JobState, u64>, StoreError>;
    false job_oldest(state: JobState) -> Result<Option<Timestamp>, StoreError>;
    false job_history(id: JobId, after: i64, limit: u32) -> Result<Vec<HistoryEntry>, StoreError>;
    false history_since(after: i64, limit: u32) -> Result<Vec<HistoryEntry>, StoreError>;
    false history_last() -> Result<i64, StoreError>;
    true job_note(id: JobId, at: Timestamp, event: Value) -> Result<bool, StoreError>;
    true job_reopen(id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError>;
    true job_priority(id: JobId, priority: u8, now: Timestamp) -> Result<Option<Job>, StoreError>;
    true job_pin(id: JobId, generation: u32, fingerprint: &str)
        -> Result<Option<String>, StoreError>;
    true job_delete(id: JobId, now: Timestamp) -> Result<bool, StoreError>;
    false plan_get(job: JobId, generation: u32) -> Result<Option<Plan>, StoreError>;
    false task_get(id: TaskId) -> Result<Option<Task>, StoreError>;
    false tasks_of(job: JobId, generation: u32) -> Result<Vec<Task>, StoreError>;
    false tasks_ready(now: Timestamp, limit: u32) -> Result<Vec<Candidate>, StoreError>;
    false tasks_leased(limit: u32) -> Result<Vec<Task>, StoreError>;
    false tasks_held(worker: WorkerId) -> Result<Vec<Task>, StoreError>;
    false tasks_due(now: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError>;
    false tasks_stuck(limit: u32) -> Result<Vec<Task>, StoreError>;
    false task_next_due(now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
    true tasks_renew(renewals: &[Renewal], rules: Rules, now: Timestamp)
        -> Result<Vec<Result<(), Refused>>, StoreError>;
    true tasks_grace(rules: Rules, now: Timestamp) -> Result<u64, StoreError>;
    true worker_put(record: &WorkerRecord) -> Result<(), StoreError>;
    false worker_get(id: WorkerId) -> Result<Option<WorkerRecord>, StoreError>;
    false worker_list() -> Result<Vec<WorkerRecord>, StoreError>;
    true worker_seen(id: WorkerId, session: SessionId, now: Timestamp) -> Result<bool, StoreError>;
    true worker_state(id: WorkerId, state: WorkerState) -> Result<bool, StoreError>;
    true worker_delete(id: WorkerId) -> Result<bool, StoreError>;
    true blob_put(record: &BlobRecord) -> Result<(), StoreError>;
    false blob_get(id: BlobId) -> Result<Option<BlobRecord>, StoreError>;
    false blobs_of(job: JobId) -> Result<Vec<BlobRecord>, StoreError>;
    true blob_delete(id: BlobId) -> Result<bool, StoreError>;
    false blobs_unreferenced(older: Timestamp, limit: u32) -> Result<Vec<BlobRecord>, StoreError>;
    true key_put(record: &KeyRecord) -> Result<(), StoreError>;
    false key_by_id(id: &str) -> Result<Option<KeyRecord>, StoreError>;
    false key_list() -> Result<Vec<KeyRecord>, StoreError>;
    true key_revoke(id: &str, now: Timestamp) -> Result<bool, StoreError>;
    false meta_get(key: &str) -> Result<Option<String>, StoreError>;
    true meta_put(key: &str, value: Option<&str>) -> Result<(), StoreError>;
    true check() -> Result<(), StoreError>;
}
