//! The coordinator: takes jobs, hands out tasks, keeps watch. Every interface
//! (REST, gRPC, command line) is a thin layer over its methods.

mod dispatch;
mod live;
mod maintain;
mod orders;
mod submit;
mod uploads;
mod view;

pub(crate) use submit::{Submission, USUAL_PRIORITY, no_job};
pub(crate) use uploads::{UploadError, UploadState};
pub(crate) use view::{ChunkView, JobView, WorkerView};

use crate::clock;
use live::Live;
use reelmill_core::lease::LeaseTerms;
use reelmill_core::preset::Presets;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::Rules;
use reelmill_store::{BlobStore, Store};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

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
    /// One claim at a time, so that two slots never race for one candidate.
    claiming: Mutex<()>,
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
            claiming: Mutex::new(()),
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

    /// How it behaves.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn rules(&self, retry: RetryPolicy) -> Rules {
        Rules { terms: self.settings.terms, retry, chance: clock::chance() }
    }
}
