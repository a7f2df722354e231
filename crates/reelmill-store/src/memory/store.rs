//! The operations, each under one lock.

use super::{MemoryStore, Row};
use crate::error::{ApplyError, StoreError};
use crate::place;
use crate::records::{
    Applied, BlobRecord, HistoryEntry, JobFilter, KeyRecord, NewJob, Renewal, Submitted,
    WorkerRecord, WorkerState,
};
use crate::rollup::{self, Note};
use crate::store::Store;
use async_trait::async_trait;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, JobState, Request, Source};
use reelmill_core::lease::LeaseProof;
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::Plan;
use reelmill_core::schedule::{Candidate, rank};
use reelmill_core::task::{Refused, Rules, Task, TaskEvent, TaskResult, TaskState, transition};
use reelmill_core::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

#[async_trait]
impl Store for MemoryStore {
    async fn job_submit(&self, new: NewJob) -> Result<Submitted, StoreError> {
        let mut state = self.lock();
        if state.jobs.contains_key(&new.job.id) {
            return Ok(Submitted::Existing(new.job.id));
        }
        let outcome = rollup::submit(&new)?;
        if let Some(key) = new.idempotency_key {
            let key = (new.job.owner.clone().unwrap_or_default(), key);
            if let Some(existing) = state.submissions.get(&key) {
                return Ok(Submitted::Existing(*existing));
            }
            state.submissions.insert(key, new.job.id);
        }
        let now = outcome.job.updated;
        state.write(outcome, now);
        Ok(Submitted::New)
    }

    async fn job_uploaded(
        &self,
        id: JobId,
        source: &Source,
        tasks: Vec<Task>,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        Ok(self.lock().change(id, now, |_, job| rollup::uploaded(job, source, tasks, now)))
    }

    async fn job_by_key(
        &self,
        owner: Option<&str>,
        key: &str,
    ) -> Result<Option<JobId>, StoreError> {
        let key = (owner.unwrap_or_default().to_owned(), key.to_owned());
        Ok(self.lock().submissions.get(&key).copied())
    }

    async fn job_get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.lock().jobs.get(&id).cloned())
    }

    async fn job_find(&self, prefix: &str) -> Result<Vec<JobId>, StoreError> {
        let Some((low, high)) = place::id_range(prefix) else { return Ok(Vec::new()) };
        let id = |number| JobId(uuid::Uuid::from_u128(number));
        Ok(self.lock().jobs.range(id(low)..=id(high)).map(|(id, _)| *id).take(3).collect())
    }

    async fn job_list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        self.lock().list(filter)
    }

    async fn job_counts(&self) -> Result<BTreeMap<JobState, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for job in self.lock().jobs.values() {
            *counts.entry(job.state).or_default() += 1;
        }
        Ok(counts)
    }

    async fn job_oldest(&self, state: JobState) -> Result<Option<Timestamp>, StoreError> {
        let all = self.lock();
        let there = all.jobs.values().filter(|job| job.state == state);
        Ok(there.map(|job| job.created).min())
    }

    async fn job_history(
        &self,
        id: JobId,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let state = self.lock();
        let wanted = state.history.iter().filter(|entry| entry.job == id && entry.seq > after_seq);
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn history_since(
        &self,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let state = self.lock();
        let wanted = state.history.iter().filter(|entry| entry.seq > after_seq);
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn history_last(&self) -> Result<i64, StoreError> {
        Ok(self.lock().history.last().map_or(0, |entry| entry.seq))
    }

    async fn job_note(&self, id: JobId, at: Timestamp, event: Value) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let there = state.jobs.contains_key(&id);
        if there {
            state.note(id, Note { task: None, event }, at);
        }
        Ok(there)
    }

    async fn job_cancel(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        Ok(self.lock().change(id, now, |state, job| rollup::cancel(job, &state.open(job), now)))
    }

    async fn job_end(
        &self,
        id: JobId,
        as_state: JobState,
        failure: Failure,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let mut state = self.lock();
        let Some(job) = state.jobs.get(&id).cloned() else { return Ok(None) };
        let outcome = rollup::end(&job, as_state, failure, &state.open(&job), now)?;
        Ok(state.change(id, now, |_, _| outcome))
    }

    async fn job_reopen(&self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let mut state = self.lock();
        Ok(state.change(id, now, |state, job| rollup::reopen(job, &state.generation(job), now)))
    }

    async fn job_priority(
        &self,
        id: JobId,
        priority: u8,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let mut state = self.lock();
        let job = state.change(id, now, |_, job| rollup::reprioritise(job, priority, now));
        if let Some(job) = &job {
            for row in state.rows_of(job.id) {
                row.place.rank = rank(job.priority, job.created);
            }
        }
        Ok(job)
    }

    async fn job_pin(
        &self,
        id: JobId,
        generation: u32,
        fingerprint: &str,
    ) -> Result<Option<String>, StoreError> {
        let mut state = self.lock();
        let Some(job) = state.jobs.get_mut(&id) else { return Ok(None) };
        if job.generation != generation {
            return Ok(None);
        }
        let pin = job.encoder_pin.get_or_insert_with(|| fingerprint.to_owned()).clone();
        let bound = state.rows_of(id).filter(|row| row.task.needs.is_some());
        bound.for_each(|row| row.place.pin.clone_from(&pin));
        Ok(Some(pin))
    }

    async fn job_delete(&self, id: JobId, now: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.lock();
        if state.jobs.remove(&id).is_none() {
            return Ok(false);
        }
        state.submissions.retain(|_, job| *job != id);
        state.tasks.retain(|task, _| task.job != id);
        state.plans.retain(|(job, _), _| *job != id);
        state.history.retain(|entry| entry.job != id);
        for (record, loose_since) in state.blobs.values_mut() {
            if record.job == Some(id) {
                record.job = None;
                *loose_since = now;
            }
        }
        Ok(true)
    }

    async fn plan_get(&self, job: JobId, generation: u32) -> Result<Option<Plan>, StoreError> {
        Ok(self.lock().plans.get(&(job, generation)).cloned())
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
        self.lock().apply(analyse, event, rules, now, Some((Some(media), plan, tasks)))
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
        self.lock().apply(finish, event, rules, now, Some((None, plan, tasks)))
    }

    async fn job_replan(
        &self,
        id: JobId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        Ok(self
            .lock()
            .change(id, now, |state, job| rollup::replan(job, request, &state.open(job), now)))
    }

    async fn task_get(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        Ok(self.lock().tasks.get(&id).map(|row| row.task.clone()))
    }

    async fn tasks_of(&self, job: JobId, generation: u32) -> Result<Vec<Task>, StoreError> {
        Ok(self.lock().of_generation(job, generation).map(|row| row.task.clone()).collect())
    }

    async fn tasks_ready(&self, now: Timestamp, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let state = self.lock();
        let ready = state.ready(now, limit).into_iter();
        let found = ready.filter_map(|row| {
            let job = state.jobs.get(&row.task.id.job)?;
            Some(place::candidate(row.task.id, (&row.task).into(), &job.into(), &row.place.pin))
        });
        Ok(found.collect())
    }

    async fn tasks_leased(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        let state = self.lock();
        let mut rows: Vec<&Row> = state.in_state(TaskState::Leased).collect();
        rows.sort_by_key(|row| (row.place.due, row.inserted));
        Ok(rows.into_iter().take(limit as usize).map(|row| row.task.clone()).collect())
    }

    async fn tasks_held(&self, worker: WorkerId) -> Result<Vec<Task>, StoreError> {
        let state = self.lock();
        let rows = state.in_state(TaskState::Leased);
        let held = rows.filter(|row| row.task.leases().any(|l| l.worker == worker));
        Ok(held.map(|row| row.task.clone()).collect())
    }

    async fn tasks_due(&self, now: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let state = self.lock();
        let rows = state.in_state(TaskState::Leased);
        let mut due: Vec<&Row> = rows.filter(|row| row.place.due <= Some(now)).collect();
        due.sort_by_key(|row| (row.place.due, row.inserted));
        Ok(due.into_iter().take(limit as usize).map(|row| row.task.id).collect())
    }

    async fn tasks_stuck(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        let state = self.lock();
        let failed = state.in_state(TaskState::Failed).map(|row| &row.task);
        let stuck = failed.filter(|task| {
            state.jobs.get(&task.id.job).is_some_and(|job| {
                job.state == JobState::Running && job.generation == task.id.generation
            })
        });
        Ok(stuck.take(limit as usize).cloned().collect())
    }

    async fn task_next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let state = self.lock();
        let leases = state.in_state(TaskState::Leased).filter_map(|row| row.place.due);
        let pauses = state.in_state(TaskState::Ready).filter_map(|row| row.place.due);
        Ok(leases.chain(pauses.filter(|due| *due > now)).min())
    }

    async fn task_apply(
        &self,
        id: TaskId,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        self.lock().apply(id, event, rules, now, None)
    }

    async fn tasks_renew(
        &self,
        renewals: &[Renewal],
        rules: Rules,
        now: Timestamp,
    ) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let mut state = self.lock();
        Ok(renewals.iter().map(|renewal| state.renew(*renewal, rules, now)).collect())
    }

    async fn tasks_grace(&self, rules: Rules, now: Timestamp) -> Result<u64, StoreError> {
        let mut given = 0;
        for row in self.lock().tasks.values_mut() {
            if let Ok(change) = transition(&row.task, TaskEvent::Grace, rules, now) {
                row.task = change.task;
                row.place.due = place::due(&row.task, rules.terms);
                given += 1;
            }
        }
        Ok(given)
    }

    async fn worker_put(&self, record: &WorkerRecord) -> Result<(), StoreError> {
        self.lock().workers.insert(record.facts.id, record.clone());
        Ok(())
    }

    async fn worker_get(&self, id: WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
        Ok(self.lock().workers.get(&id).cloned())
    }

    async fn worker_list(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        let mut workers: Vec<WorkerRecord> = self.lock().workers.values().cloned().collect();
        workers.sort_by(|a, b| (&a.name, a.facts.id).cmp(&(&b.name, b.facts.id)));
        Ok(workers)
    }

    async fn worker_seen(
        &self,
        id: WorkerId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let known = state.workers.get_mut(&id).filter(|record| record.session == session);
        Ok(known.map(|record| record.seen = now).is_some())
    }

    async fn worker_state(&self, id: WorkerId, to: WorkerState) -> Result<bool, StoreError> {
        Ok(self.lock().workers.get_mut(&id).map(|record| record.state = to).is_some())
    }

    async fn worker_delete(&self, id: WorkerId) -> Result<bool, StoreError> {
        Ok(self.lock().workers.remove(&id).is_some())
    }

    async fn blob_put(&self, record: &BlobRecord) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(job) = record.job.filter(|job| !state.jobs.contains_key(job)) {
            return Err(StoreError::Invalid(format!("there is no job {job}")));
        }
        state.blobs.insert(record.id(), (record.clone(), record.created));
        Ok(())
    }

    async fn blob_get(&self, id: BlobId) -> Result<Option<BlobRecord>, StoreError> {
        Ok(self.lock().blobs.get(&id).map(|(record, _)| record.clone()))
    }

    async fn blobs_of(&self, job: JobId) -> Result<Vec<BlobRecord>, StoreError> {
        let state = self.lock();
        let records = state.blobs.values().map(|(record, _)| record);
        let mut found: Vec<_> = records.filter(|record| record.job == Some(job)).cloned().collect();
        found.sort_by_key(|record| (record.created, record.id()));
        Ok(found)
    }

    async fn blob_delete(&self, id: BlobId) -> Result<bool, StoreError> {
        Ok(self.lock().blobs.remove(&id).is_some())
    }

    async fn blobs_unreferenced(
        &self,
        older_than: Timestamp,
        limit: u32,
    ) -> Result<Vec<BlobRecord>, StoreError> {
        let state = self.lock();
        let loose = |(record, since): &&(BlobRecord, Timestamp)| {
            record.job.is_none() && *since < older_than
        };
        let mut found: Vec<_> = state.blobs.values().filter(loose).collect();
        found.sort_by_key(|(record, since)| (*since, record.id()));
        Ok(found.into_iter().take(limit as usize).map(|(record, _)| record.clone()).collect())
    }

    async fn key_put(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.lock().keys.insert(record.id.clone(), record.clone());
        Ok(())
    }

    async fn key_by_id(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.lock().keys.get(id).cloned())
    }

    async fn key_list(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut keys: Vec<KeyRecord> = self.lock().keys.values().cloned().collect();
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(keys)
    }

    async fn key_revoke(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let live = state.keys.get_mut(id).filter(|key| key.revoked.is_none());
        Ok(live.map(|key| key.revoked = Some(now)).is_some())
    }

    async fn meta_get(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.lock().meta.get(key).cloned())
    }

    async fn meta_put(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let mut state = self.lock();
        match value {
            Some(value) => state.meta.insert(key.to_owned(), value.to_owned()),
            None => state.meta.remove(key),
        };
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
