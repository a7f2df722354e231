//! The seam between the coordinator and whatever keeps its rows.

use crate::error::{ApplyError, StoreError};
use crate::records::{
    Applied, BlobRecord, HistoryEntry, JobFilter, KeyRecord, NewJob, Renewal, Submitted,
    WorkerRecord, WorkerState,
};
use crate::service::ServiceStore;
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
use serde_json::Value;
use std::collections::BTreeMap;

/// Keeps jobs, tasks, workers, blob rows and keys.
///
/// Every call is one transaction; once it has returned, what it did survives
/// a crash. Calls that change a job yield it as it is afterwards, or `None`
/// when there is no such job; what does not apply (cancelling a job that has
/// ended) changes nothing.
#[async_trait]
pub trait Store: ServiceStore {
    // ---- jobs ----

    /// Accepts a job with its first tasks.
    ///
    /// # Errors
    /// `Invalid` when an uploading job brings tasks.
    async fn job_submit(&self, new: NewJob) -> Result<Submitted, StoreError>;

    /// The source of an uploading job is here: queues it with its first tasks.
    async fn job_uploaded(
        &self,
        id: JobId,
        source: &Source,
        tasks: Vec<Task>,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// The job that was submitted under an idempotency key of `owner`.
    async fn job_by_key(&self, owner: Option<&str>, key: &str)
    -> Result<Option<JobId>, StoreError>;

    /// A job.
    async fn job_get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Jobs whose id starts with `prefix` (hexadecimal, hyphens optional), in
    /// ascending order; at most 3.
    async fn job_find(&self, prefix: &str) -> Result<Vec<JobId>, StoreError>;

    /// Jobs, newest first.
    ///
    /// # Errors
    /// `Invalid` when the job that `after` names is gone.
    async fn job_list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError>;

    /// How many jobs are in each state; states without jobs are left out.
    async fn job_counts(&self) -> Result<BTreeMap<JobState, u64>, StoreError>;

    /// When the oldest of the jobs in `state` was accepted.
    async fn job_oldest(&self, state: JobState) -> Result<Option<Timestamp>, StoreError>;

    /// What happened to a job after entry `after_seq` (0: from the start).
    async fn job_history(
        &self,
        id: JobId,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError>;

    /// What happened to any job after entry `after_seq`.
    async fn history_since(
        &self,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError>;

    /// The number of the newest history entry; 0 when there is none.
    async fn history_last(&self) -> Result<i64, StoreError>;

    /// Appends to a job's history; `false` when there is no such job.
    async fn job_note(&self, id: JobId, at: Timestamp, event: Value) -> Result<bool, StoreError>;

    /// Cancels a job and its open tasks.
    async fn job_cancel(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError>;

    /// Ends a job that has not ended as `Failed`, `Rejected` or `Skipped`, and
    /// cancels its open tasks.
    ///
    /// # Errors
    /// `Invalid` for any other `state`.
    async fn job_end(
        &self,
        id: JobId,
        state: JobState,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Fails a job that has not ended, and cancels its open tasks.
    async fn job_fail(
        &self,
        id: JobId,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.job_end(id, JobState::Failed, failure, now).await
    }

    /// Opens a failed or cancelled job again: what is done stays done, its
    /// other tasks of the current generation are tried anew. A job without
    /// tasks (cancelled while its source was on the way) stays as it is.
    async fn job_reopen(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError>;

    /// Changes a job's priority, 0..=100.
    async fn job_priority(
        &self,
        id: JobId,
        priority: u8,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Binds generation `generation` of a job to a build of the encoder,
    /// unless it is bound already; yields the build that counts, or `None`
    /// when that generation is not current.
    async fn job_pin(
        &self,
        id: JobId,
        generation: u32,
        fingerprint: &str,
    ) -> Result<Option<String>, StoreError>;

    /// Forgets a job with its tasks, plans and history; its blob rows belong
    /// to no job any more from `now` on. `false` when there was none.
    async fn job_delete(&self, id: JobId, now: Timestamp) -> Result<bool, StoreError>;

    // ---- plans ----

    /// The plan of a generation of a job.
    async fn plan_get(&self, job: JobId, generation: u32) -> Result<Option<Plan>, StoreError>;

    /// The analysis is done: stores what it found and the plan, inserts the
    /// plan's tasks and lets the job go on, all at once.
    #[expect(clippy::too_many_arguments, reason = "one transaction needs them all")]
    async fn plan_commit(
        &self,
        analyse: TaskId,
        proof: LeaseProof,
        media: &MediaInfo,
        plan: &Plan,
        tasks: Vec<Task>,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError>;

    /// The pieces of a job are not of the size that was asked for: its finish is
    /// done with that result, `plan` is the plan of the next generation and `tasks`
    /// are its tasks, those among them done that need not be done again.
    #[expect(clippy::too_many_arguments, reason = "one transaction needs them all")]
    async fn pass_commit(
        &self,
        finish: TaskId,
        proof: LeaseProof,
        other: u64,
        plan: &Plan,
        tasks: Vec<Task>,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError>;

    /// Plans a job again: the next generation, from the analysis on, with
    /// `request`; open tasks of the old one are cancelled.
    async fn job_replan(
        &self,
        id: JobId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    // ---- tasks ----

    /// A task.
    async fn task_get(&self, id: TaskId) -> Result<Option<Task>, StoreError>;

    /// The tasks of a generation of a job, by number.
    async fn tasks_of(&self, job: JobId, generation: u32) -> Result<Vec<Task>, StoreError>;

    /// Tasks that could be claimed at `now`: the first `limit` of each group
    /// that only certain workers can take (house work; each encoder; each
    /// build that jobs are bound to), so that no group hides another. Sorted
    /// by their job's rank (priority, lifted by waiting), then the heaviest.
    /// Costs the same however many are queued.
    async fn tasks_ready(&self, now: Timestamp, limit: u32) -> Result<Vec<Candidate>, StoreError>;

    /// Tasks that are leased, those due first, first.
    async fn tasks_leased(&self, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Tasks that a worker holds.
    async fn tasks_held(&self, worker: WorkerId) -> Result<Vec<Task>, StoreError>;

    /// Leased tasks whose lease may have ended (expired, stalled, past the
    /// deadline): to be given a `Sweep`.
    async fn tasks_due(&self, now: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError>;

    /// Failed tasks of running jobs: those wait for [`Store::job_replan`].
    async fn tasks_stuck(&self, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// The next moment when time alone changes something: a lease may end, or
    /// a pause after a failure (that lies after `now`) is over.
    async fn task_next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Lets `event` happen to a task, and its job follow, all at once. An
    /// analysis is completed by [`Store::plan_commit`] instead.
    async fn task_apply(
        &self,
        id: TaskId,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError>;

    /// A claim by a worker with this build of the encoder: binds the task's job to it
    /// first, and refuses when the job is bound to another. At once where the engine
    /// can.
    async fn task_claim(
        &self,
        id: TaskId,
        event: TaskEvent,
        build: &str,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let bound = self.job_pin(id.job, id.generation, build).await?;
        if bound.as_deref() != Some(build) {
            return Err(Refused::Stale.into());
        }
        self.task_apply(id, event, rules, now).await
    }

    /// A result that names bytes: stores their row before it counts, or at once with
    /// that where the engine can.
    async fn task_complete(
        &self,
        id: TaskId,
        event: TaskEvent,
        bytes: &BlobRecord,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        self.blob_put(bytes).await?;
        self.task_apply(id, event, rules, now).await
    }

    /// Renews leases; one answer for each, in order. A task that is not there
    /// counts as `Stale`.
    async fn tasks_renew(
        &self,
        renewals: &[Renewal],
        rules: Rules,
        now: Timestamp,
    ) -> Result<Vec<Result<(), Refused>>, StoreError>;

    /// Gives every lease a full period again (the coordinator was away);
    /// yields how many.
    async fn tasks_grace(&self, rules: Rules, now: Timestamp) -> Result<u64, StoreError>;

    // ---- workers ----

    /// Stores a worker, in place of what was known of it.
    async fn worker_put(&self, record: &WorkerRecord) -> Result<(), StoreError>;

    /// A worker.
    async fn worker_get(&self, id: WorkerId) -> Result<Option<WorkerRecord>, StoreError>;

    /// All workers, by name.
    async fn worker_list(&self) -> Result<Vec<WorkerRecord>, StoreError>;

    /// A worker was heard of; `false` when that run of it is not known.
    async fn worker_seen(
        &self,
        id: WorkerId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Sets where a worker stands; `false` when it is not known.
    async fn worker_state(&self, id: WorkerId, state: WorkerState) -> Result<bool, StoreError>;

    /// Forgets a worker; `false` when it is not known.
    async fn worker_delete(&self, id: WorkerId) -> Result<bool, StoreError>;

    // ---- blob rows ----

    /// Stores a blob row, in place of the one with its id.
    ///
    /// # Errors
    /// `Invalid` when its job is not there.
    async fn blob_put(&self, record: &BlobRecord) -> Result<(), StoreError>;

    /// A blob row.
    async fn blob_get(&self, id: BlobId) -> Result<Option<BlobRecord>, StoreError>;

    /// The blob rows of a job, oldest first.
    async fn blobs_of(&self, job: JobId) -> Result<Vec<BlobRecord>, StoreError>;

    /// Forgets a blob row; `false` when there was none.
    async fn blob_delete(&self, id: BlobId) -> Result<bool, StoreError>;

    /// Forgets blob rows; those that are not there are no matter.
    async fn blobs_delete(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        for id in ids {
            self.blob_delete(*id).await?;
        }
        Ok(())
    }

    /// Blob rows that have belonged to no job since before `older_than`.
    async fn blobs_unreferenced(
        &self,
        older_than: Timestamp,
        limit: u32,
    ) -> Result<Vec<BlobRecord>, StoreError>;

    // ---- keys ----

    /// Stores a key, in place of the one with its id.
    async fn key_put(&self, record: &KeyRecord) -> Result<(), StoreError>;

    /// A key, revoked or not.
    async fn key_by_id(&self, id: &str) -> Result<Option<KeyRecord>, StoreError>;

    /// All keys, oldest first.
    async fn key_list(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Revokes a key; `false` when it is not known or was revoked before.
    async fn key_revoke(&self, id: &str, now: Timestamp) -> Result<bool, StoreError>;

    // ---- the store itself ----

    /// A setting kept with the rows (for example whether the queue is paused).
    async fn meta_get(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// Sets one; `None` removes it.
    async fn meta_put(&self, key: &str, value: Option<&str>) -> Result<(), StoreError>;

    /// Whether it can be written: writes something of no consequence.
    async fn check(&self) -> Result<(), StoreError>;

    /// Ends it: what is under way is finished, nothing goes on after it. Not needed
    /// for safety.
    ///
    /// # Errors
    /// When the last writes cannot be flushed.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
