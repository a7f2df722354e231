//! The depot of a worker that sits beside the coordinator's blobs.

use super::depot::Depot;
use crate::task_source::Assignment;
use crate::{clock, files};
use async_trait::async_trait;
use reelmill_core::chunk::ByteRange;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::job::Source;
use reelmill_core::task::BlobRef;
use reelmill_store::BlobStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reads and keeps bytes right in blob storage.
pub(crate) struct LocalDepot {
    blobs: Arc<dyn BlobStore>,
}

impl LocalDepot {
    /// A depot over `blobs`, which must be local.
    pub(crate) fn new(blobs: Arc<dyn BlobStore>) -> Self {
        Self { blobs }
    }

    async fn path(&self, id: BlobId, what: &str) -> Result<PathBuf, Failure> {
        self.blobs.local_path(id).await?.ok_or_else(|| {
            Failure::permanent(format!("{what} {id} is missing from the blob folder"))
                .advise("was something deleted there by hand? submit the job again")
        })
    }
}

#[async_trait]
impl Depot for LocalDepot {
    async fn source(
        &self,
        assignment: &Assignment,
        _slice: &[ByteRange],
        _scratch: &Path,
        _cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        match &assignment.source {
            Source::Upload { blob, .. } => self.path(*blob, "the source").await,
            Source::Local { path } => Ok(PathBuf::from(path)),
            Source::Url { .. } | Source::Library { .. } => {
                Err(Failure::environment("the source has not arrived yet"))
            }
        }
    }

    async fn piece(&self, blob: &BlobRef) -> Result<PathBuf, Failure> {
        let path = self.path(blob.id, "the finished piece").await?;
        let digest = files::sha512(&path)
            .await
            .map_err(|e| Failure::io(format!("read {}", path.display()), &e))?;
        if digest != blob.sha512 {
            let message = format!("the finished piece {} was altered after it was stored", blob.id);
            return Err(Failure::permanent(message)
                .advise("check that disk; 'reelmill retry' does not help, submit the job again"));
        }
        Ok(path)
    }

    async fn keep(
        &self,
        _assignment: &Assignment,
        file: &Path,
        _cancel: &CancellationToken,
    ) -> Result<BlobRef, Failure> {
        Ok(self.blobs.adopt(file, BlobId(clock::fresh())).await?)
    }
}
