//! Rows and blobs: what the farm must not forget.
//!
//! [`Store`] keeps jobs, tasks, workers and keys; [`MemoryStore`] is its
//! readable reference, [`SqliteStore`] the default. [`BlobStore`] keeps bytes.
//! Which change an event makes is decided by `reelmill-core`; the engines only
//! load, ask, and write what they are told, in one transaction.

pub mod blob;
pub mod blob_local;
#[cfg(test)]
mod conformance;
pub mod error;
pub mod library;
mod memory;
mod pass;
mod place;
pub mod records;
mod rollup;
pub mod service;
mod sqlite;
pub mod store;

pub use blob::{BlobEntry, BlobError, BlobReader, BlobStore, BlobUpload, BlobWriter};
pub use blob_local::LocalBlobs;
pub use error::{ApplyError, StoreError};
pub use library::{
    FileChange, FileEvent, FileFilter, FoundFile, Group, KeptBy, LibraryFile, LibraryRecord,
    LibraryStats, LibraryStore, Lines, OutcomeSum, Trouble, VerdictStats,
};
pub use memory::MemoryStore;
pub use records::{
    Applied, BlobRecord, BlobRole, HistoryEntry, JobFilter, KeyRecord, KeyRole, NewJob, Renewal,
    Submitted, WorkerRecord, WorkerState,
};
pub use service::{AuditEntry, DeliveryRecord, DeliveryState, ServiceStore, WebhookRecord};
pub use sqlite::SqliteStore;
pub use store::Store;
