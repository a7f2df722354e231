//! The outer face's settings and its round: fetching sources, giving jobs to
//! engines, telling webhooks.

use super::Coordinator;
use reelmill_core::dispatch::ExternalEngines;
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use reelmill_store::{JobFilter, WorkerState};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time between two rounds.
const ROUND: Duration = Duration::from_millis(500);

/// Sweeps between two rounds of throwing away.
const ROUNDS_PER_PRUNE: u32 = 7200;

/// Lines of history whose deliveries are kept.
const KEPT_DELIVERIES: i64 = 100_000;

/// What users may make the server do beyond taking uploads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    /// Whether sources are fetched by URL.
    pub(crate) fetch: bool,
    /// Hosts that may be reached though they are not public.
    pub(crate) allow: Vec<String>,
    /// Libraries by name, whose files jobs may name as sources.
    pub(crate) libraries: BTreeMap<String, PathBuf>,
    /// Who takes jobs of the dispatch protocol.
    pub(crate) external_engines: ExternalEngines,
    /// Bytes that one owner may keep here: uploads, sources, outputs.
    pub(crate) quota: Option<u64>,
    /// Endings of file names that are taken; all when there are none.
    pub(crate) accept: Vec<String>,
}

/// What the queue does.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QueueState {
    /// It takes jobs and hands out tasks.
    #[default]
    Open,
    /// It takes jobs; tasks wait. What runs goes on.
    Paused,
    /// It takes no jobs; what is there is worked off.
    Draining,
}

const QUEUE: &str = "queue";

impl Coordinator {
    /// What the queue does.
    pub(crate) async fn queue_state(&self) -> Result<QueueState, Failure> {
        let kept = self.store.meta_get(QUEUE).await?;
        let state = kept.and_then(|text| serde_json::from_str(&text).ok());
        Ok(state.unwrap_or_default())
    }

    /// Sets what the queue does.
    pub(crate) async fn set_queue(&self, state: QueueState) -> Result<(), Failure> {
        let text = serde_json::to_string(&state).map_err(|error| {
            Failure::environment(format!("cannot keep the queue's state: {error}"))
        })?;
        self.store.meta_put(QUEUE, Some(&text)).await?;
        self.bell.notify_waiters();
        Ok(())
    }

    /// Whether `worker` may be given tasks now.
    pub(super) async fn hands_out_to(
        &self,
        worker: reelmill_core::id::WorkerId,
    ) -> Result<bool, Failure> {
        if self.queue_state().await? == QueueState::Paused {
            return Ok(false);
        }
        let state = match self.fleet.state_of(worker) {
            Some(state) => Some(state),
            None => self.store.worker_get(worker).await?.map(|record| record.state),
        };
        Ok(!matches!(state, Some(WorkerState::Paused | WorkerState::Draining)))
    }

    /// Does the outer face's work until `stop`.
    pub(crate) async fn keep_service(self: Arc<Self>, stop: CancellationToken) {
        let mut rounds = 0;
        while !stop.is_cancelled() {
            if let Err(failure) = self.round().await {
                tracing::error!(%failure, "a round of the service failed; trying again");
            }
            if rounds == 0
                && let Err(failure) = self.prune().await
            {
                tracing::error!(%failure, "cannot forget old deliveries");
            }
            rounds = (rounds + 1) % ROUNDS_PER_PRUNE;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// One round; tests call it alone.
    pub(crate) async fn round(self: &Arc<Self>) -> Result<(), Failure> {
        self.place_dispatched().await?;
        self.fetch_waiting().await
    }

    async fn prune(&self) -> Result<(), Failure> {
        let last = self.store.history_last().await?;
        self.store.deliveries_prune(last - KEPT_DELIVERIES).await?;
        Ok(())
    }

    /// All jobs of `filter` that `wanted` wants, page by page: no more than a page of
    /// the others is ever in memory.
    pub(super) async fn all_jobs(
        &self,
        mut filter: JobFilter,
        wanted: impl Fn(&Job) -> bool + Send,
    ) -> Result<Vec<Job>, Failure> {
        let mut all = Vec::new();
        filter.limit = 200;
        loop {
            let page = self.jobs(&filter).await?;
            let Some(last) = page.last() else { return Ok(all) };
            filter.after = Some(last.id);
            let whole = page.len() == 200;
            all.extend(page.into_iter().filter(|job| wanted(job)));
            if !whole {
                return Ok(all);
            }
        }
    }
}
