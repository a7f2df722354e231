//! Taking, cancelling and reopening jobs.

use super::fetch::is_remote;
use super::{Coordinator, QueueState};
use crate::clock;
use reelmill_core::container::Container;
use reelmill_core::dispatch::{Dispatch, DispatchEvent};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{JobId, TaskId};
use reelmill_core::job::{Item, Job, JobState, Request, Source};
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::{Task, TaskKind};
use reelmill_store::{BlobRecord, BlobRole, JobFilter, NewJob, Submitted};
use std::collections::BTreeMap;

/// A request to convert something, as clients make it.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// What to call it.
    pub(crate) name: String,
    /// Who asks.
    pub(crate) owner: Option<String>,
    /// What to convert.
    pub(crate) source: Source,
    /// Preset name.
    pub(crate) preset: String,
    /// `key=value` overrides of the preset.
    pub(crate) overrides: Vec<String>,
    /// Output container, if not the preset's.
    pub(crate) container: Option<Container>,
    /// Chunk length, seconds.
    pub(crate) chunk_seconds: Option<f64>,
    /// Retries of a task, if not the usual number.
    pub(crate) max_retries: Option<u32>,
    /// 0 to 100.
    pub(crate) priority: u8,
    /// The user's marks.
    pub(crate) labels: BTreeMap<String, String>,
    /// Names the request, so that a repeated one makes no second job.
    pub(crate) idempotency_key: Option<String>,
    /// Where the output is put together when it stays on this machine.
    pub(crate) stage_path: Option<String>,
    /// What the client knows the source by.
    pub(crate) item: Option<Item>,
    /// What the dispatch protocol knows of it, if it comes by that.
    pub(crate) dispatch: Option<Box<Dispatch>>,
}

/// Priority of a job that names none.
pub(crate) const USUAL_PRIORITY: u8 = 50;

impl Coordinator {
    /// Accepts a job. The answer is given once the job is safely stored.
    ///
    /// # Errors
    /// When the request cannot be met (preset, settings) or the store fails.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Job, Failure> {
        // Asked again because the answer was lost: by now its source may be gone.
        if let Some(key) = &submission.idempotency_key
            && let Some(first) = self.accepted(submission.owner.as_deref(), key).await?
        {
            self.adopt_source(&first).await?;
            self.drop_second_upload(&submission.source, &first).await?;
            return Ok(first);
        }
        if let Some(job) = self.owner_of_source(&submission).await? {
            return Ok(job);
        }
        let request = self.request(&submission)?;
        if submission.dispatch.is_none() {
            self.check_source(&submission.source)?;
        }
        if self.queue_state().await? == QueueState::Draining {
            return Err(Failure::transient("this server takes no new jobs now: it is draining")
                .advise("try another server, or later"));
        }
        let remote = is_remote(&submission.source);
        let now = clock::now();
        let id = JobId(clock::fresh());
        let job = Job {
            id,
            name: submission.name,
            owner: submission.owner,
            created: now,
            updated: now,
            ended: None,
            priority: submission.priority.min(100),
            labels: submission.labels,
            source: submission.source,
            request,
            state: if remote { JobState::Uploading } else { JobState::Queued },
            generation: 0,
            stage: 0,
            media: None,
            encoder_pin: None,
            losses: 0,
            output: None,
            failure: None,
            item: submission.item,
            dispatch: submission.dispatch,
        };
        let analyse = TaskId { job: id, generation: 0, number: 0 };
        let tasks = match remote {
            // What is to be done with it is known when it is here.
            true => Vec::new(),
            false => vec![Task::new(analyse, TaskKind::Analyse, 0, now)],
        };
        if job.dispatch.is_some() {
            self.dispatches.comes();
        }
        let new = NewJob { job: job.clone(), idempotency_key: submission.idempotency_key, tasks };
        let submitted = self.store.job_submit(new).await?;
        self.bell.notify_waiters();
        match submitted {
            Submitted::New => {
                self.adopt_source(&job).await?;
                Ok(job)
            }
            Submitted::Existing(id) => {
                let first = self.job(id).await?.ok_or_else(|| no_job(&job_text(id)))?;
                self.drop_second_upload(&job.source, &first).await?;
                Ok(first)
            }
        }
    }

    /// A repeated submission may have uploaded the file once more. The first
    /// one's upload stays, though its row may not name the job yet.
    async fn drop_second_upload(&self, refused: &Source, first: &Job) -> Result<(), Failure> {
        if let Source::Upload { blob, .. } = refused
            && !matches!(&first.source, Source::Upload { blob: used, .. } if used == blob)
            && let Some(record) = self.store.blob_get(*blob).await?
            && record.job.is_none()
        {
            self.drop_stored(*blob).await?;
        }
        Ok(())
    }

    /// The job that has the submission's upload already, when the submission is
    /// a repeated one.
    ///
    /// # Errors
    /// When the upload is another job's, or is not there.
    async fn owner_of_source(&self, submission: &Submission) -> Result<Option<Job>, Failure> {
        let Source::Upload { blob, .. } = &submission.source else {
            return Ok(None);
        };
        let record = self.store.blob_get(*blob).await?;
        let record =
            record.ok_or_else(|| Failure::permanent(format!("there is no upload '{blob}'")))?;
        let Some(owner) = record.job else {
            return Ok(None);
        };
        if submission.idempotency_key.is_some() {
            return self.job(owner).await;
        }
        let message = format!("the upload {blob} belongs to job {owner} already");
        Err(Failure::permanent(message).advise("upload the file again for another job"))
    }

    /// Notes that a job's upload is its source now.
    pub(super) async fn adopt_source(&self, job: &Job) -> Result<(), Failure> {
        let Source::Upload { blob, .. } = &job.source else {
            return Ok(());
        };
        if let Some(record) = self.store.blob_get(*blob).await?
            && record.job.is_none()
        {
            let record = BlobRecord { job: Some(job.id), role: BlobRole::Source, ..record };
            self.store.blob_put(&record).await?;
            self.forget_upload(*blob).await?;
        }
        Ok(())
    }

    /// What a submission comes to: its preset with all overrides, its limits.
    ///
    /// # Errors
    /// When it cannot be met.
    pub(crate) fn request(&self, submission: &Submission) -> Result<Request, Failure> {
        let preset = self.settings.presets.get(&submission.preset, &submission.overrides)?;
        let container = submission.container.unwrap_or(preset.format);
        preset.fits(container)?;
        if submission.chunk_seconds.is_some_and(|s| !(0.2..=3600.0).contains(&s)) {
            return Err(Failure::permanent("chunk seconds must lie between 0.2 and 3600"));
        }
        let usual = self.settings.retry;
        let retry = RetryPolicy {
            max_retries: submission.max_retries.unwrap_or(usual.max_retries).min(100),
            ..usual
        };
        Ok(Request {
            preset_name: submission.preset.clone(),
            preset,
            container,
            chunk_seconds: submission.chunk_seconds,
            retry,
            stage_path: submission.stage_path.clone(),
            uncuttable: None,
            hardware_failed: None,
        })
    }

    /// The job that was accepted under `key` of `owner`, though its source may
    /// be gone by now.
    pub(crate) async fn accepted(
        &self,
        owner: Option<&str>,
        key: &str,
    ) -> Result<Option<Job>, Failure> {
        match self.store.job_by_key(owner, key).await? {
            Some(id) => self.job(id).await,
            None => Ok(None),
        }
    }

    /// The job `id`, if there is one.
    pub(crate) async fn job(&self, id: JobId) -> Result<Option<Job>, Failure> {
        Ok(self.store.job_get(id).await?)
    }

    /// The one job whose id is or starts with `text`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub(crate) async fn find(&self, text: &str) -> Result<Job, Failure> {
        let ids = match text.parse::<JobId>() {
            Ok(id) => vec![id],
            Err(_) if text.len() < 4 => Vec::new(),
            Err(_) => self.store.job_find(&text.to_lowercase()).await?,
        };
        match ids.as_slice() {
            [id] => self.job(*id).await?.ok_or_else(|| no_job(text)),
            [] => Err(no_job(text)),
            _ => Err(Failure::permanent(format!("several jobs start with '{text}'"))
                .advise("give more of the id")),
        }
    }

    /// Jobs, newest first.
    pub(crate) async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, Failure> {
        Ok(self.store.job_list(filter).await?)
    }

    /// Cancels a job; its workers are told at their next heartbeat.
    pub(crate) async fn cancel(&self, id: JobId) -> Result<Job, Failure> {
        let job = self.job(id).await?.ok_or_else(|| no_job(&job_text(id)))?;
        if job.state.is_final() {
            let message = format!("the job is {} already", job.state.label());
            return Err(Failure::new(FailureClass::Permanent, message));
        }
        let job = self.store.job_cancel(id, clock::now()).await?;
        self.live.forget(|task, _| task.job == id);
        self.bell.notify_waiters();
        job.ok_or_else(|| no_job(&job_text(id)))
    }

    /// Opens a failed or cancelled job again; what was done stays done.
    pub(crate) async fn retry(&self, id: JobId) -> Result<Job, Failure> {
        let job = self.job(id).await?.ok_or_else(|| no_job(&job_text(id)))?;
        if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
            let message = format!(
                "the job is {}; only failed and cancelled jobs can be retried",
                job.state.label()
            );
            return Err(Failure::permanent(message));
        }
        if job.dispatch.is_some() && is_remote(&job.source) {
            return self.dispatch_event(&job, &DispatchEvent::Retry).await;
        }
        if is_remote(&job.source) {
            return Err(Failure::permanent(
                "the job's source never arrived: there is nothing to go on with",
            )
            .advise("submit it again"));
        }
        let job = self.store.job_reopen(id, clock::now()).await?;
        self.bell.notify_waiters();
        job.ok_or_else(|| no_job(&job_text(id)))
    }

    /// Changes a job's priority.
    pub(crate) async fn reprioritise(&self, id: JobId, priority: u8) -> Result<Job, Failure> {
        let now = clock::now();
        let job = self.store.job_priority(id, priority.min(100), now).await?;
        self.bell.notify_waiters();
        job.ok_or_else(|| no_job(&job_text(id)))
    }
}

fn job_text(id: JobId) -> String {
    id.to_string()
}

/// There is no such job.
pub(crate) fn no_job(text: &str) -> Failure {
    Failure::permanent(format!("there is no job '{text}'")).advise("'reelmill list' shows all jobs")
}
