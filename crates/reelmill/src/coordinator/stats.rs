//! Figures about the farm.

use super::{Coordinator, QueueState, WorkerView};
use crate::clock;
use crate::metrics::Page;
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use reelmill_core::job::{Job, JobState};
use reelmill_store::{HistoryEntry, JobFilter, WorkerState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Figures about the farm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Stats {
    /// What the queue does.
    pub(crate) queue: QueueState,
    /// Jobs by state.
    pub(crate) jobs: BTreeMap<JobState, u64>,
    /// Workers by state.
    pub(crate) workers: BTreeMap<String, u64>,
    /// Slots of all workers that are not gone, and those in use.
    pub(crate) slots: u64,
    /// Slots in use.
    pub(crate) slots_busy: u64,
    /// Frames a second, all together.
    pub(crate) fps: f64,
    /// Age of the job that has waited longest, seconds.
    pub(crate) oldest_queued_seconds: Option<f64>,
    /// Bytes free where blobs lie.
    pub(crate) free_bytes: Option<u64>,
    /// Bytes promised to uploads that are under way.
    pub(crate) promised_bytes: u64,
    /// Seconds since this coordinator began.
    pub(crate) uptime_seconds: f64,
}

impl Stats {
    /// Writes the figures for Prometheus.
    pub(crate) fn write(&self, page: &mut Page) {
        let version = env!("CARGO_PKG_VERSION");
        page.family("reelmill_build_info", "gauge", "Which program this is.")
            .sample(&format!("version=\"{version}\""), 1.0);
        let jobs =
            self.jobs.iter().map(|(state, n)| (state.label().to_owned(), *n as f64)).collect();
        page.gauges("reelmill_jobs", "Jobs by state.", "state", &jobs);
        let workers = self.workers.iter().map(|(state, n)| (state.clone(), *n as f64)).collect();
        page.gauges("reelmill_workers", "Workers by state.", "state", &workers);
        let slots = BTreeMap::from([
            ("busy".to_owned(), self.slots_busy as f64),
            ("free".to_owned(), self.slots.saturating_sub(self.slots_busy) as f64),
        ]);
        page.gauges("reelmill_worker_slots", "Slots of all workers.", "use", &slots);
        page.gauge("reelmill_frames_per_second", "Frames a second, all workers.", self.fps);
        let oldest = self.oldest_queued_seconds.unwrap_or(0.0);
        page.gauge("reelmill_oldest_queued_job_age_seconds", "Longest wait of a job.", oldest);
        let paused = if self.queue == QueueState::Open { 0.0 } else { 1.0 };
        page.gauge("reelmill_queue_closed", "Whether the queue is paused or draining.", paused);
        if let Some(free) = self.free_bytes {
            page.gauge("reelmill_storage_free_bytes", "Bytes free where blobs lie.", free as f64);
        }
        let promised = self.promised_bytes as f64;
        page.gauge("reelmill_upload_promised_bytes", "Bytes promised to uploads.", promised);
        page.gauge("reelmill_uptime_seconds", "Seconds since the start.", self.uptime_seconds);
    }
}

impl Coordinator {
    /// Figures about the farm.
    ///
    /// # Errors
    /// When the store or storage fails.
    pub(crate) async fn stats(&self) -> Result<Stats, Failure> {
        let now = clock::now();
        let jobs = self.store.job_counts().await?;
        let mut workers = BTreeMap::new();
        let (mut slots, mut slots_busy) = (0, 0);
        for worker in self.workers().await? {
            let word = match worker.record.state {
                WorkerState::Active => "active",
                WorkerState::Paused => "paused",
                WorkerState::Draining => "draining",
                WorkerState::Gone => "gone",
            };
            *workers.entry(word.to_owned()).or_default() += 1;
            slots += u64::from(worker.record.slots);
            slots_busy += worker.busy as u64;
        }
        let oldest = self.store.job_oldest(JobState::Queued).await?;
        let oldest = oldest.map(|created| now.since(created) as f64 / 1e6);
        Ok(Stats {
            queue: self.queue_state().await?,
            jobs,
            workers,
            slots,
            slots_busy,
            fps: self.live.rate_of(|_| true),
            oldest_queued_seconds: oldest,
            free_bytes: self.blobs.space().await?,
            promised_bytes: self.promised().await?,
            uptime_seconds: now.since(self.started) as f64 / 1e6,
        })
    }

    /// Sets where a worker stands.
    ///
    /// # Errors
    /// `Permanent` when it is not known.
    pub(crate) async fn set_worker(
        &self,
        id: WorkerId,
        state: WorkerState,
    ) -> Result<WorkerView, Failure> {
        let nothing = || Failure::permanent(format!("there is no worker {id}"));
        let one_at_a_time = self.enlisting.lock().await;
        let known = self.store.worker_get(id).await?.ok_or_else(nothing)?;
        if known.state == WorkerState::Gone {
            return Err(Failure::permanent(format!("the worker {id} is gone")));
        }
        self.store.worker_state(id, state).await?;
        self.fleet.stands(id, state);
        drop(one_at_a_time);
        self.bell.notify_waiters();
        let all = self.workers().await?;
        all.into_iter().find(|worker| worker.record.facts.id == id).ok_or_else(nothing)
    }

    /// All jobs of `filter`, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn every_job(&self, filter: JobFilter) -> Result<Vec<Job>, Failure> {
        self.all_jobs(filter, |_| true).await
    }

    /// The number of the newest event.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn last_event(&self) -> Result<i64, Failure> {
        Ok(self.store.history_last().await?)
    }

    /// What happened to all jobs after event `after`.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn history_of_all(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, Failure> {
        Ok(self.store.history_since(after, limit).await?)
    }
}
