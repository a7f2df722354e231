//! The coordinator: takes jobs, hands out tasks, keeps watch. Every interface
//! (REST, gRPC, command line) is a thin layer over its methods.

mod bound;
mod claims;
mod dispatch;
mod dispatches;
mod engines;
mod fetch;
mod fleet;
mod forecast;
mod hooks;
mod judge;
mod live;
mod maintain;
mod noted;
mod orders;
mod passes;
mod reports;
mod service;
mod stats;
mod submit;
mod turns;
mod uploads;
mod view;

pub(crate) use engines::{EngineView, Heartbeat};
pub(crate) use forecast::{Film, Forecast};
pub(crate) use hooks::{NewWebhook, sign};
pub(crate) use service::{QueueState, Service};
pub(crate) use stats::Stats;
pub(crate) use submit::{Submission, USUAL_PRIORITY, no_job};
pub(crate) use uploads::{NewUpload, UploadError, UploadState, UploadTurn};
pub(crate) use view::{ChunkView, JobView, SizeView, WorkerView};

use crate::clock;
use crate::outside::Outside;
use claims::Claims;
use dispatches::Dispatches;
use fetch::Fetches;
use fleet::Fleet;
use judge::Plans;
use live::Live;
use noted::Noted;
use reelmill_core::error::Failure;
use reelmill_core::lease::LeaseTerms;
use reelmill_core::preset::Presets;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::Rules;
use reelmill_core::time::Timestamp;
use reelmill_store::{BlobStore, Store};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use turns::Turns;

/// How a coordinator behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long leases last.
    pub(crate) terms: LeaseTerms,
    /// When to try again, unless a job says otherwise.
    pub(crate) retry: RetryPolicy,
    /// The presets on offer.
    pub(crate) presets: Presets,
    /// Threads of one encoder when several run beside each other.
    pub(crate) encoder_threads: u32,
    /// Largest upload taken, bytes.
    pub(crate) max_upload: u64,
    /// Space that uploads must leave free where blobs lie, bytes.
    pub(crate) min_free: u64,
    /// How long a finished job and its output are kept, microseconds.
    pub(crate) retention: i64,
    /// What users may make the server do beyond taking uploads.
    pub(crate) service: Service,
}

/// Takes jobs, hands out tasks, keeps watch.
pub(crate) struct Coordinator {
    store: Arc<dyn Store>,
    blobs: Arc<dyn BlobStore>,
    settings: Settings,
    /// Rung when a task may have become claimable or a job changed.
    bell: Notify,
    /// What is known beyond the store: progress between heartbeats.
    live: Live,
    /// The workers, and who waits for work.
    fleet: Fleet,
    /// Plans that were read lately.
    plans: Plans,
    /// The wall clock and the steady one when they were last looked at.
    looked: std::sync::Mutex<Option<(Timestamp, i64)>>,
    /// One at a time reads and rewrites a worker's record, so that two keys never
    /// race for one worker, and no limit or pause is overwritten.
    enlisting: Mutex<()>,
    /// Claims under way.
    claims: Claims,
    /// Which workers were noted as heard of lately.
    noted: Noted,
    /// The way to what users name by URL: set up when it is first needed, since that
    /// reads all certificates of the system.
    outside: OnceLock<Result<Outside, Failure>>,
    /// Sources on their way.
    fetches: Fetches,
    /// Whether there is anything for engines.
    dispatches: Dispatches,
    /// One assignment to an engine at a time.
    assigning: Mutex<()>,
    /// One end of each upload at a time.
    finishing: Turns,
    /// One promise of space at a time.
    promising: Mutex<()>,
    /// One change of a webhook at a time.
    hooking: Mutex<()>,
    /// When it began.
    started: Timestamp,
}

impl Coordinator {
    /// A coordinator over `store` and `blobs`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        blobs: Arc<dyn BlobStore>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            blobs,
            settings,
            bell: Notify::new(),
            live: Live::default(),
            fleet: Fleet::default(),
            plans: Plans::default(),
            looked: std::sync::Mutex::default(),
            enlisting: Mutex::new(()),
            claims: Claims::default(),
            noted: Noted::default(),
            outside: OnceLock::new(),
            fetches: Fetches::default(),
            dispatches: Dispatches::default(),
            assigning: Mutex::new(()),
            finishing: Turns::default(),
            promising: Mutex::new(()),
            hooking: Mutex::new(()),
            started: clock::now(),
        })
    }

    /// The blobs it works with.
    pub(crate) fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

    /// The rows it works with.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The way to what users name by URL.
    ///
    /// # Errors
    /// When HTTP could not be set up.
    pub(crate) fn outside(&self) -> Result<&Outside, Failure> {
        let set_up = || Outside::new(&self.settings.service.allow);
        self.outside.get_or_init(set_up).as_ref().map_err(Clone::clone)
    }

    /// Ends once a task or job has changed after this call, and after `most` in
    /// any case. Begun before a look at the store, it misses no change.
    pub(crate) fn changed(&self, most: Duration) -> impl Future<Output = ()> {
        let rung = self.bell.notified();
        async move {
            let _ = tokio::time::timeout(most, rung).await;
        }
    }

    /// How it behaves.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn rules(&self, retry: RetryPolicy) -> Rules {
        Rules { terms: self.settings.terms, retry, chance: clock::chance() }
    }
}
