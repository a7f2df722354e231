//! The seam between the coordinator and whatever keeps its bytes.

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use reelmill_core::time::Timestamp;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use thiserror::Error;
use tokio::io::AsyncRead;

/// Bytes of a blob, as they are read.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// A blob that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its name.
    pub id: BlobId,
    /// How many bytes.
    pub bytes: u64,
    /// When it was written.
    pub written: Timestamp,
}

/// Why bytes could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlobError {
    /// No space is left.
    #[error("no space is left to {0}")]
    NoSpace(String),
    /// It is not there.
    #[error("blob {0} is not there")]
    Missing(BlobId),
    /// A range beyond its end was asked for.
    #[error("bytes {}..{} were asked of blob {id}, which has {bytes}", range.start, range.end)]
    Range {
        /// Which blob.
        id: BlobId,
        /// What was asked.
        range: Range<u64>,
        /// How many bytes it has.
        bytes: u64,
    },
    /// The bytes are not what they were said to be.
    #[error("blob {id} has SHA-512 {found}, but {expected} was announced")]
    Digest {
        /// Which blob.
        id: BlobId,
        /// What was announced, hexadecimal.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A later call has taken the upload over.
    #[error("the upload of blob {0} was taken over by a later connection")]
    Superseded(BlobId),
    /// Reading or writing failed.
    #[error("cannot {what}: {error}")]
    Io {
        /// Which operation on which file.
        what: String,
        /// What the system said.
        error: String,
    },
}

impl BlobError {
    /// The failure of an operation on a file: `what` says which operation on
    /// which file ("write /state/blobs/…").
    #[must_use]
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let what = what.to_string();
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::NoSpace(what),
            _ => Self::Io { what, error: error.to_string() },
        }
    }

    /// What to do about it, one sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoSpace(_) => "free some space on the disk of the state folder",
            Self::Missing(_) => "it was deleted when its time was over: submit the job again",
            Self::Range { .. } => "ask for a range within the blob",
            Self::Digest { .. } => "send it again: it was damaged on the way",
            Self::Superseded(_) => "let only one connection send it",
            Self::Io { .. } => "check the disk and the permissions of the state folder",
        }
    }

    /// The same as a [`Failure`], for reports.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let class = match self {
            Self::NoSpace(_) => FailureClass::NoSpace,
            Self::Missing(_) | Self::Range { .. } => FailureClass::Permanent,
            Self::Digest { .. } | Self::Superseded(_) | Self::Io { .. } => FailureClass::Transient,
        };
        Failure::new(class, self.to_string()).advise(self.advice())
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        error.failure()
    }
}

/// Keeps bytes under names that are never given twice.
///
/// A blob appears whole or not at all, and is never changed.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Begins to write a blob; nothing shows until it is committed.
    async fn create(&self, id: BlobId) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Opens an upload that may come in several pieces, over restarts; makes
    /// it if it is not there. The latest call has it: writers given out
    /// before fail as `Superseded`.
    async fn upload(&self, id: BlobId) -> Result<Box<dyn BlobUpload>, BlobError>;

    /// How many bytes of an upload are here; `None` when there is none.
    async fn upload_len(&self, id: BlobId) -> Result<Option<u64>, BlobError>;

    /// Throws an unfinished upload away; `false` when there is none.
    async fn upload_discard(&self, id: BlobId) -> Result<bool, BlobError>;

    /// Makes a whole blob an unfinished upload again, of all its bytes; `false` when
    /// there is no such blob. Only for one that nobody knows to be whole.
    async fn upload_again(&self, id: BlobId) -> Result<bool, BlobError>;

    /// The unfinished uploads.
    async fn uploads(&self) -> Result<Vec<BlobEntry>, BlobError>;

    /// Moves a finished file of this machine in. Best when it lies in
    /// [`BlobStore::scratch_dir`]: then it is renamed, not copied.
    async fn adopt(&self, path: &Path, id: BlobId) -> Result<BlobRef, BlobError>;

    /// Where a blob lies as a file of this machine, if it does.
    async fn local_path(&self, id: BlobId) -> Result<Option<PathBuf>, BlobError>;

    /// Reads a blob, or `range` (bytes, end excluded) of it.
    async fn read(&self, id: BlobId, range: Option<Range<u64>>) -> Result<BlobReader, BlobError>;

    /// How many bytes a blob has; `None` when it is not there.
    async fn len(&self, id: BlobId) -> Result<Option<u64>, BlobError>;

    /// Deletes a blob; `false` when it was not there.
    async fn delete(&self, id: BlobId) -> Result<bool, BlobError>;

    /// All blobs, in no order.
    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError>;

    /// A folder of this machine for temporary files, emptied at every start.
    fn scratch_dir(&self) -> &Path;

    /// Removes what an earlier run left half-written, except uploads, which
    /// can go on; yields how many files. To be called once at the start,
    /// before anything is written.
    async fn clean_partials(&self) -> Result<u64, BlobError>;

    /// Bytes that are still free; `None` where that cannot be told.
    async fn space(&self) -> Result<Option<u64>, BlobError>;
}

/// A blob that is being written; dropped without a commit, it leaves nothing.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;

    /// Makes it durable and shows it.
    async fn commit(self: Box<Self>) -> Result<BlobRef, BlobError>;
}

/// An upload that can be continued; dropped, it keeps what was appended.
#[async_trait]
pub trait BlobUpload: Send {
    /// How many bytes are here.
    fn offset(&self) -> u64;

    /// Appends bytes.
    async fn append(&mut self, bytes: Bytes) -> Result<(), BlobError>;

    /// Makes what was appended durable; yields the offset that may be
    /// acknowledged.
    async fn sync(&mut self) -> Result<u64, BlobError>;

    /// Makes it durable and shows it, if its SHA-512 (hexadecimal) is
    /// `expected`; otherwise throws it away.
    async fn finish(self: Box<Self>, expected: Option<&str>) -> Result<BlobRef, BlobError>;
}
