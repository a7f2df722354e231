//! The operations: writes go through the one writer, reads run beside it.

use super::jobs::Load;
use super::tasks::{Beside, Planned};
use super::{SqliteStore, blobs, jobs, listing, queue, tasks, workers};
use crate::error::{ApplyError, StoreError};
use crate::records::{
    Applied, BlobRecord, HistoryEntry, JobFilter, KeyRecord, NewJob, Renewal, Submitted,
    WorkerRecord, WorkerState,
};
use crate::rollup;
use crate::store::Store;
use async_trait::async_trait;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, JobState, Request, Source};
use reelmill_core::lease::LeaseProof;
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::Plan;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Refused, Rules, Task, TaskEvent, TaskResult};
use reelmill_core::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

#[async_trait]
impl Store for SqliteStore {
    async fn job_submit(&self, new: NewJob) -> Result<Submitted, StoreError> {
        self.writer.run(move |db| jobs::submit(db, &new)).await
    }

    async fn job_uploaded(
        &self,
        id: JobId,
        source: &Source,
        tasks: Vec<Task>,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let source = source.clone();
        let decide = move |job: &Job, _: &[Task]| Ok(rollup::uploaded(job, &source, tasks, now));
        self.writer.run(move |db| jobs::change(db, id, Load::None, now, decide)).await
    }

    async fn job_by_key(
        &self,
        owner: Option<&str>,
        key: &str,
    ) -> Result<Option<JobId>, StoreError> {
        self.look(|db| jobs::by_key(db, owner, key)).await
    }

    async fn job_get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.look(|db| jobs::get(db, id)).await
    }

    async fn job_find(&self, prefix: &str) -> Result<Vec<JobId>, StoreError> {
        self.look(|db| listing::find(db, prefix)).await
    }

    async fn job_list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let filter = filter.clone();
        self.search(move |db| listing::list(db, &filter)).await
    }

    async fn job_oldest(&self, state: JobState) -> Result<Option<Timestamp>, StoreError> {
        self.look(|db| listing::oldest(db, state)).await
    }

    async fn job_counts(&self) -> Result<BTreeMap<JobState, u64>, StoreError> {
        self.search(listing::counts).await
    }

    async fn job_history(
        &self,
        id: JobId,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.search(move |db| jobs::history(db, id, after_seq, limit)).await
    }

    async fn history_since(
        &self,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.search(move |db| jobs::history_since(db, after_seq, limit)).await
    }

    async fn history_last(&self) -> Result<i64, StoreError> {
        self.look(jobs::history_last).await
    }

    async fn job_note(&self, id: JobId, at: Timestamp, event: Value) -> Result<bool, StoreError> {
        self.writer.run(move |db| jobs::remark(db, id, at, event)).await
    }

    async fn job_cancel(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let decide = move |job: &Job, open: &[Task]| Ok(rollup::cancel(job, open, now));
        self.writer.run(move |db| jobs::change(db, id, Load::Open, now, decide)).await
    }

    async fn job_end(
        &self,
        id: JobId,
        state: JobState,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let decide = move |job: &Job, open: &[Task]| rollup::end(job, state, failure, open, now);
        self.writer.run(move |db| jobs::change(db, id, Load::Open, now, decide)).await
    }

    async fn job_reopen(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let decide = move |job: &Job, tasks: &[Task]| Ok(rollup::reopen(job, tasks, now));
        self.writer.run(move |db| jobs::change(db, id, Load::All, now, decide)).await
    }

    async fn job_priority(
        &self,
        id: JobId,
        priority: u8,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.writer.run(move |db| jobs::reprioritise(db, id, priority, now)).await
    }

    async fn job_pin(
        &self,
        id: JobId,
        generation: u32,
        fingerprint: &str,
    ) -> Result<Option<String>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.writer.run(move |db| jobs::pin(db, id, generation, fingerprint)).await
    }

    async fn job_delete(&self, id: JobId, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.run(move |db| jobs::delete(db, id, now)).await
    }

    async fn plan_get(&self, job: JobId, generation: u32) -> Result<Option<Plan>, StoreError> {
        self.look(|db| jobs::plan_get(db, job, generation)).await
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
        let event = TaskEvent::Complete(proof, TaskResult::Analysed);
        let planned = Some(Planned { media: Some(media.clone()), plan: plan.clone(), tasks });
        let beside = Beside { planned, ..Beside::default() };
        self.writer.run(move |db| tasks::apply(db, analyse, event, rules, now, beside)).await
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
        let event = TaskEvent::Complete(proof, TaskResult::Missed { other });
        let planned = Some(Planned { media: None, plan: plan.clone(), tasks });
        let beside = Beside { planned, ..Beside::default() };
        self.writer.run(move |db| tasks::apply(db, finish, event, rules, now, beside)).await
    }

    async fn job_replan(
        &self,
        id: JobId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let request = request.clone();
        let decide = move |job: &Job, open: &[Task]| Ok(rollup::replan(job, &request, open, now));
        self.writer.run(move |db| jobs::change(db, id, Load::Open, now, decide)).await
    }

    async fn task_get(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.look(|db| tasks::get(db, id)).await
    }

    async fn tasks_of(&self, job: JobId, generation: u32) -> Result<Vec<Task>, StoreError> {
        self.look(|db| tasks::of(db, job, generation)).await
    }

    async fn tasks_ready(&self, now: Timestamp, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        self.look(|db| queue::ready(db, now, limit)).await
    }

    async fn tasks_leased(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        self.search(move |db| queue::leased(db, limit)).await
    }

    async fn tasks_held(&self, worker: WorkerId) -> Result<Vec<Task>, StoreError> {
        self.look(|db| queue::held(db, worker)).await
    }

    async fn tasks_due(&self, now: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.look(|db| queue::due(db, now, limit)).await
    }

    async fn tasks_stuck(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        self.search(move |db| queue::stuck(db, limit)).await
    }

    async fn task_next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.look(|db| queue::next_due(db, now)).await
    }

    async fn task_apply(
        &self,
        id: TaskId,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let beside = Beside::default();
        self.writer.run(move |db| tasks::apply(db, id, event, rules, now, beside)).await
    }

    async fn task_claim(
        &self,
        id: TaskId,
        event: TaskEvent,
        build: &str,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let beside = Beside { build: Some(build.to_owned()), ..Beside::default() };
        self.writer.run(move |db| tasks::apply(db, id, event, rules, now, beside)).await
    }

    async fn task_complete(
        &self,
        id: TaskId,
        event: TaskEvent,
        bytes: &BlobRecord,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        let bytes = bytes.clone();
        self.writer
            .run(move |db| {
                blobs::put(db, &bytes)?;
                tasks::apply(db, id, event, rules, now, Beside::default())
            })
            .await
    }

    async fn tasks_renew(
        &self,
        renewals: &[Renewal],
        rules: Rules,
        now: Timestamp,
    ) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let renewals = renewals.to_vec();
        self.writer.run(move |db| tasks::renew(db, renewals, rules, now)).await
    }

    async fn tasks_grace(&self, rules: Rules, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.run(move |db| queue::grace(db, rules, now)).await
    }

    async fn worker_put(&self, record: &WorkerRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| workers::put(db, &record)).await
    }

    async fn worker_get(&self, id: WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
        self.look(|db| workers::get(db, id)).await
    }

    async fn worker_list(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        self.look(workers::list).await
    }

    async fn worker_seen(
        &self,
        id: WorkerId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.writer.run(move |db| workers::seen(db, id, session, now)).await
    }

    async fn worker_state(&self, id: WorkerId, state: WorkerState) -> Result<bool, StoreError> {
        self.writer.run(move |db| workers::set_state(db, id, state)).await
    }

    async fn worker_delete(&self, id: WorkerId) -> Result<bool, StoreError> {
        self.writer.run(move |db| workers::delete(db, id)).await
    }

    async fn blob_put(&self, record: &BlobRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| blobs::put(db, &record)).await
    }

    async fn blob_get(&self, id: BlobId) -> Result<Option<BlobRecord>, StoreError> {
        self.look(|db| blobs::get(db, id)).await
    }

    async fn blobs_of(&self, job: JobId) -> Result<Vec<BlobRecord>, StoreError> {
        self.look(|db| blobs::of(db, job)).await
    }

    async fn blob_delete(&self, id: BlobId) -> Result<bool, StoreError> {
        self.writer.run(move |db| blobs::delete(db, id)).await
    }

    async fn blobs_delete(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.writer
            .run(move |db| ids.iter().try_for_each(|id| blobs::delete(db, *id).map(|_| ())))
            .await
    }

    async fn blobs_unreferenced(
        &self,
        older_than: Timestamp,
        limit: u32,
    ) -> Result<Vec<BlobRecord>, StoreError> {
        self.search(move |db| blobs::unreferenced(db, older_than, limit)).await
    }

    async fn key_put(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| workers::key_put(db, &record)).await
    }

    async fn key_by_id(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.look(|db| workers::key_get(db, id)).await
    }

    async fn key_list(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.look(workers::key_list).await
    }

    async fn key_revoke(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.writer.run(move |db| workers::key_revoke(db, &id, now)).await
    }

    async fn meta_get(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.look(|db| workers::meta_get(db, key)).await
    }

    async fn meta_put(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        self.writer.run(move |db| workers::meta_put(db, &key, value.as_deref())).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer.run(|db| workers::meta_put(db, "checked", Some("yes"))).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await
    }
}
