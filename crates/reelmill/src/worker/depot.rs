//! Where a worker gets the bytes it reads and leaves those it made.

use crate::task_source::Assignment;
use async_trait::async_trait;
use reelmill_core::chunk::ByteRange;
use reelmill_core::error::Failure;
use reelmill_core::task::BlobRef;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Gets and keeps bytes.
#[async_trait]
pub(crate) trait Depot: Send + Sync {
    /// A local file that holds the assignment's source: all of it when `slice`
    /// is empty, else at least those bytes, at their original offsets. Files
    /// made for this go to `scratch`.
    async fn source(
        &self,
        assignment: &Assignment,
        slice: &[ByteRange],
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure>;

    /// Whether sources are copied to the scratch folder.
    fn copies(&self) -> bool {
        false
    }

    /// A local file that holds a finished piece, its digest verified.
    async fn piece(&self, blob: &BlobRef) -> Result<PathBuf, Failure>;

    /// Keeps a file that was made for the assignment, under a name of its own.
    /// The file is gone from `file` afterwards or with its scratch folder.
    async fn keep(
        &self,
        assignment: &Assignment,
        file: &Path,
        cancel: &CancellationToken,
    ) -> Result<BlobRef, Failure>;
}
