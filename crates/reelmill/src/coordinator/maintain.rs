//! Keeping watch: expired leases, lost workers, recovery after a crash,
//! and throwing away what nobody needs any more.

use super::Coordinator;
use super::dispatch::LOOK_AHEAD;
use crate::{clock, mutant};
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, WorkerId};
use reelmill_core::job::{Job, JobState};
use reelmill_core::task::TaskEvent;
use reelmill_core::time::Timestamp;
use reelmill_store::{Applied, JobFilter, WorkerState};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time between two sweeps.
const SWEEP: Duration = Duration::from_secs(1);

/// Tasks looked at in one sweep; the next one takes the rest.
const SWEEP_LIMIT: u32 = 1000;

/// Microseconds after which an upload that nobody goes on with is dropped.
const ABANDONED: i64 = 7 * 86_400 * 1_000_000;

/// Microseconds between two looks at the clock after which we were stopped.
const AWAY: i64 = 5_000_000;

/// Microseconds by which the wall clock must move against the steady one to
/// have been set: more than correcting it slowly moves it.
const SET: i64 = 2_000_000;

/// Microseconds by which a clock may have gone back between an upload and its job.
const CLOCKS_DIFFER: i64 = 3600 * 1_000_000;

/// Sweeps between two rounds of throwing away.
const SWEEPS_PER_TIDY: u32 = 600;

impl Coordinator {
    /// Puts things right after a stop or crash: our own workers of the earlier
    /// run are dead, the others get a full lease to report back.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn recover(&self, own: &[WorkerId]) -> Result<(), Failure> {
        for task in self.store.tasks_leased(u32::MAX).await? {
            self.apply(&task, TaskEvent::Grace).await?;
            // They died with us, and one of them may have been why.
            for lease in task.leases().filter(|lease| own.contains(&lease.worker)) {
                self.apply(&task, TaskEvent::WorkerGone(lease.proof())).await?;
            }
        }
        for record in self.store.worker_list().await? {
            if record.state != WorkerState::Gone {
                self.fleet.note(&record);
            }
        }
        self.blobs.clean_partials().await?;
        self.adopt_sources().await?;
        self.drop_unknown_blobs().await
    }

    /// A crash may have come between accepting a job and noting that its upload
    /// is taken.
    async fn adopt_sources(&self) -> Result<(), Failure> {
        let states = vec![JobState::Queued, JobState::Running];
        let mut filter = JobFilter { states, limit: 200, ..JobFilter::default() };
        if !mutant::leaves_out("finished-chunks-kept") {
            // Only a job that is younger than an upload without job can have it.
            let loose = self.store.blobs_unreferenced(Timestamp(i64::MAX), 1).await?;
            let Some(oldest) = loose.first() else { return Ok(()) };
            filter.since = Some(oldest.created.plus_micros(-CLOCKS_DIFFER));
        }
        loop {
            let page = self.jobs(&filter).await?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some(last.id);
            for job in &page {
                if mutant::leaves_out("finished-chunks-kept") {
                    self.store.job_replan(job.id, &job.request, clock::now()).await?;
                }
                self.adopt_source(job).await?;
            }
        }
    }

    /// Keeps watch until `stop`.
    pub(crate) async fn keep_watch(self: Arc<Self>, stop: CancellationToken) {
        let mut sweeps = 0;
        while !stop.is_cancelled() {
            if let Err(failure) = self.sweep().await {
                tracing::error!(%failure, "sweep failed; trying again");
            }
            if sweeps == 0
                && let Err(failure) = self.tidy().await
            {
                tracing::error!(%failure, "cannot throw away what is old");
            }
            sweeps = (sweeps + 1) % SWEEPS_PER_TIDY;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }

    /// Ends leases that have run out and notices workers that went silent.
    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        self.mind_the_clock().await?;
        let now = clock::now();
        for id in self.store.tasks_due(now, SWEEP_LIMIT).await? {
            if let Some(task) = self.store.task_get(id).await?
                && self.apply(&task, TaskEvent::Sweep).await?.is_some()
            {
                tracing::warn!(task = %id, "lease ended without a report");
            }
        }
        for task in self.store.tasks_stuck(SWEEP_LIMIT).await? {
            self.replan_if_cut_failed(&task).await?;
        }
        self.notice_silent_workers().await?;
        self.unpin_from_lost_builds().await
    }

    /// A wall clock that was set, or a coordinator that was stopped for a while,
    /// says nothing about the workers: leases get a full period again.
    pub(super) async fn mind_the_clock(&self) -> Result<(), Failure> {
        let (now, steady) = (clock::now(), clock::steady());
        let before = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            looked.replace((now, steady))
        };
        let Some((wall, passed)) = before.map(|(wall, at)| (now.since(wall), steady - at)) else {
            return Ok(());
        };
        let away = passed > (self.settings.terms.length / 2).max(AWAY);
        let set = (wall - passed).abs() > SET;
        if away || set {
            tracing::warn!(
                wall,
                passed,
                "the clock was set, or we were stopped: leases begin anew"
            );
            if let Err(error) = self.store.tasks_grace(self.rules(self.settings.retry), now).await {
                *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = before;
                return Err(error.into());
            }
            self.live.forget(|_, _| true);
        }
        Ok(())
    }

    async fn notice_silent_workers(&self) -> Result<(), Failure> {
        let silence = self.settings.terms.length.max(30_000_000);
        let now = clock::now();
        for worker in self.store.worker_list().await? {
            let id = worker.facts.id;
            let silent = now.since(worker.seen) > silence && worker.state != WorkerState::Gone;
            if silent && self.store.tasks_held(id).await?.is_empty() {
                let _one_at_a_time = self.enlisting.lock().await;
                self.store.worker_state(id, WorkerState::Gone).await?;
                self.fleet.stands(id, WorkerState::Gone);
            }
        }
        Ok(())
    }

    /// A job is bound to one build of its encoder. When no living worker has
    /// that build but one has another, the job is planned again for that one:
    /// better chunks anew than a job that waits for ever.
    ///
    /// Such a job has tasks that wait for its build. The store keeps those apart from all
    /// others, so that only the first of each build need be looked at, however many jobs
    /// there are; when they are gone, the next sweep looks at those behind.
    async fn unpin_from_lost_builds(&self) -> Result<(), Failure> {
        let now = clock::now();
        let waiting = self.store.tasks_ready(now, LOOK_AHEAD).await?;
        let bound =
            waiting.iter().filter_map(|one| Some((one.task, one.needs?, one.pin.as_ref()?)));
        let workers = self.store.worker_list().await?;
        let builds = |encoder| {
            let alive = workers.iter().filter(|worker| worker.state != WorkerState::Gone);
            alive.filter_map(move |worker| worker.facts.fingerprint(encoder))
        };
        // Software can always do what hardware does that is gone.
        let orphaned = bound.filter(|(_, encoder, pin)| {
            (builds(*encoder).next().is_some() || encoder.hardware().is_some())
                && !builds(*encoder).any(|build| build == *pin)
        });
        let orphaned: BTreeSet<JobId> = orphaned.map(|(task, ..)| task.job).collect();
        let silence = self.settings.terms.length.max(30_000_000).saturating_mul(3);
        for id in orphaned {
            let Some(job) = self.job(id).await? else { continue };
            if job.stage == 1 && job.encoder_pin.is_some() && now.since(job.updated) > silence {
                tracing::warn!(job = %id, "no worker has its encoder build any more; planning again");
                self.store.job_replan(id, &job.request, now).await?;
                self.bell.notify_waiters();
            }
        }
        Ok(())
    }

    /// Throws away the bytes that a completed job no longer needs, its parts and source;
    /// their rows are gone. What is left of them goes at the next start.
    pub(super) async fn drop_bytes(&self, completed: &Applied) {
        for blob in &completed.dropped {
            if let Err(error) = self.blobs.delete(*blob).await {
                let job = completed.job.id;
                tracing::warn!(%job, %blob, %error, "cannot throw away what it no longer needs");
            }
        }
    }

    async fn drop_blobs(&self, job: &Job) -> Result<(), Failure> {
        let records = self.store.blobs_of(job.id).await?.into_iter();
        let ids: Vec<BlobId> = records.map(|record| record.blob.id).collect();
        for id in &ids {
            self.blobs.delete(*id).await?;
        }
        Ok(self.store.blobs_delete(&ids).await?)
    }

    pub(super) async fn drop_stored(&self, blob: BlobId) -> Result<(), Failure> {
        self.blobs.delete(blob).await?;
        self.store.blob_delete(blob).await?;
        Ok(())
    }

    /// Bytes that no row knows: left by a crash between writing and noting. Those of an
    /// upload were acknowledged.
    async fn drop_unknown_blobs(&self) -> Result<(), Failure> {
        for blob in self.blobs.list().await? {
            let unknown = self.store.blob_get(blob.id).await?.is_none();
            if unknown && !self.upload_rescue(blob.id).await? {
                self.blobs.delete(blob.id).await?;
            }
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), Failure> {
        self.drop_expired_jobs().await?;
        self.drop_abandoned_uploads().await
    }

    /// Uploads that nobody went on with or made a job of.
    async fn drop_abandoned_uploads(&self) -> Result<(), Failure> {
        let before = clock::now().plus_micros(-ABANDONED);
        for upload in self.blobs.uploads().await? {
            if upload.written < before {
                self.upload_drop(upload.id).await?;
            }
        }
        for record in self.store.blobs_unreferenced(before, 1000).await? {
            self.drop_stored(record.blob.id).await?;
            self.forget_upload(record.blob.id).await?;
        }
        Ok(())
    }

    /// Forgets jobs that ended longer ago than they are kept.
    async fn drop_expired_jobs(&self) -> Result<(), Failure> {
        let now = clock::now();
        let states = vec![
            JobState::Completed,
            JobState::Failed,
            JobState::Cancelled,
            JobState::Rejected,
            JobState::Skipped,
        ];
        // What ended long ago was accepted before that: nobody looks at the rest.
        let until = Some(now.plus_micros(self.settings.retention.saturating_neg()));
        let mut filter = JobFilter { states, until, limit: 200, ..JobFilter::default() };
        loop {
            let page = self.jobs(&filter).await?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some(last.id);
            for job in &page {
                if job.ended.is_some_and(|ended| now.since(ended) > self.settings.retention) {
                    self.drop_blobs(job).await?;
                    self.store.job_delete(job.id, now).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
