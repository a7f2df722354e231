//! Bytes that are nowhere: only how many there would be is kept.

use async_trait::async_trait;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use reelmill_store::{BlobEntry, BlobError, BlobReader, BlobStore, BlobUpload, BlobWriter};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Blobs of which nothing but the size is kept.
#[derive(Debug, Default)]
pub(super) struct NoBytes(Mutex<HashMap<BlobId, u64>>);

impl NoBytes {
    /// A blob of `bytes`, as if it had been stored.
    pub(super) fn put(&self, id: BlobId, bytes: u64) -> BlobRef {
        self.0.lock().unwrap().insert(id, bytes);
        BlobRef { id, bytes, sha512: "0".repeat(128) }
    }
}

#[async_trait]
impl BlobStore for NoBytes {
    async fn create(&self, id: BlobId) -> Result<Box<dyn BlobWriter>, BlobError> {
        Err(BlobError::Missing(id))
    }

    async fn upload(&self, id: BlobId) -> Result<Box<dyn BlobUpload>, BlobError> {
        Err(BlobError::Missing(id))
    }

    async fn upload_len(&self, _id: BlobId) -> Result<Option<u64>, BlobError> {
        Ok(None)
    }

    async fn upload_discard(&self, _id: BlobId) -> Result<bool, BlobError> {
        Ok(false)
    }

    async fn upload_again(&self, _id: BlobId) -> Result<bool, BlobError> {
        Ok(false)
    }

    async fn uploads(&self) -> Result<Vec<BlobEntry>, BlobError> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _path: &Path, id: BlobId) -> Result<BlobRef, BlobError> {
        Err(BlobError::Missing(id))
    }

    async fn local_path(&self, _id: BlobId) -> Result<Option<PathBuf>, BlobError> {
        Ok(None)
    }

    async fn read(&self, id: BlobId, _range: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        Err(BlobError::Missing(id))
    }

    async fn len(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        Ok(self.0.lock().unwrap().get(&id).copied())
    }

    async fn delete(&self, id: BlobId) -> Result<bool, BlobError> {
        Ok(self.0.lock().unwrap().remove(&id).is_some())
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        Ok(Vec::new())
    }

    fn scratch_dir(&self) -> &Path {
        Path::new("")
    }

    async fn clean_partials(&self) -> Result<u64, BlobError> {
        Ok(0)
    }

    async fn space(&self) -> Result<Option<u64>, BlobError> {
        Ok(None)
    }
}
