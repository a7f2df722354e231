//! Whether what a worker reports can be true, before it counts.

use super::Coordinator;
use crate::task_source::{Done, Report};
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::job::Job;
use reelmill_core::plan::Plan;
use reelmill_core::task::{BlobRef, TaskKind, TaskResult};
use reelmill_store::{BlobRole, StoreError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Plans kept at hand: about as many jobs as run at a time.
const KEPT: usize = 32;

/// Plans that were read lately; a plan never changes.
#[derive(Default)]
pub(super) struct Plans(Mutex<VecDeque<(JobId, u32, Arc<Plan>)>>);

impl Coordinator {
    /// The plan of a generation of a job, if there is one.
    pub(super) async fn plan_of(
        &self,
        job: JobId,
        generation: u32,
    ) -> Result<Option<Arc<Plan>>, StoreError> {
        let found = {
            let kept = self.plans.0.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |one: &&(JobId, u32, Arc<Plan>)| (one.0, one.1) == (job, generation);
            kept.iter().find(same).map(|(_, _, plan)| plan.clone())
        };
        if found.is_some() {
            return Ok(found);
        }
        let Some(plan) = self.store.plan_get(job, generation).await? else { return Ok(None) };
        let plan = Arc::new(plan);
        let mut kept = self.plans.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((job, generation, plan.clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(Some(plan))
    }

    /// Why `result` cannot be what the task was to yield, if it cannot.
    pub(super) async fn doubt(
        &self,
        job: &Job,
        done: &Done,
        kind: TaskKind,
        result: &TaskResult,
    ) -> Result<Option<Failure>, Failure> {
        let id = done.task;
        let why = match self.plan_of(job.id, id.generation).await? {
            _ if kind == TaskKind::Analyse => Some("an analysis yields a plan".to_owned()),
            Some(plan) => plan.contradicts(id.number, result, job.encoder_pin.as_deref()),
            None => None,
        };
        let why = match (why, bytes_of(result)) {
            (None, Some(blob)) => self.doubt_bytes(job, blob).await?,
            (why, _) => why,
        };
        Ok(why.map(|why| {
            Failure::transient(format!("what the worker reported cannot be: {why}"))
                .advise("look at that worker's log; the task goes to another")
        }))
    }

    async fn doubt_bytes(&self, job: &Job, blob: &BlobRef) -> Result<Option<String>, Failure> {
        let id = blob.id;
        if self.blobs.len(id).await? != Some(blob.bytes) {
            return Ok(Some(format!("its bytes ({id}) are not here")));
        }
        let strange = self.store.blob_get(id).await?.is_some_and(|record| {
            let ours = matches!(record.role, BlobRole::Part | BlobRole::Output);
            record.job != Some(job.id) || record.blob != *blob || !ours
        });
        Ok(strange.then(|| format!("the bytes that it names ({id}) are another's")))
    }

    /// Throws away the bytes of a refused result, unless they are anybody's.
    pub(super) async fn drop_refused(&self, done: &Done) {
        let Report::Done { result } = &done.report else { return };
        let Some(blob) = bytes_of(result) else { return };
        let dropped = match self.is_loose(done.task.job, blob.id).await {
            Ok(true) => self.drop_stored(blob.id).await,
            Ok(false) => Ok(()),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = dropped {
            tracing::warn!(%failure, blob = %blob.id, "cannot throw a refused result away");
        }
    }

    async fn is_loose(&self, job: JobId, blob: BlobId) -> Result<bool, Failure> {
        let strange = self.store.blob_get(blob).await?.is_some_and(|record| {
            record.job != Some(job) || !matches!(record.role, BlobRole::Part | BlobRole::Output)
        });
        let Some(job) = self.job(job).await?.filter(|_| !strange) else { return Ok(!strange) };
        let output = job.output.as_ref().and_then(|output| output.blob.as_ref());
        if output.is_some_and(|output| output.id == blob) {
            return Ok(false);
        }
        let tasks = self.store.tasks_of(job.id, job.generation).await?;
        let results = tasks.iter().filter_map(|task| task.result.as_ref());
        Ok(!results.filter_map(bytes_of).any(|counted| counted.id == blob))
    }
}

/// The bytes that a result names.
pub(super) fn bytes_of(result: &TaskResult) -> Option<&BlobRef> {
    match result {
        TaskResult::Encoded(encoded) => Some(&encoded.blob),
        TaskResult::Finished(finished) => finished.blob.as_ref(),
        TaskResult::Analysed | TaskResult::Missed { .. } => None,
    }
}
