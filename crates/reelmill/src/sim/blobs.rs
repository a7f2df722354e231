//! Bytes as the simulated coordinator sees them: names with what they stand for.

use super::store::{Disk, step_aside};
use async_trait::async_trait;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use reelmill_core::time::Timestamp;
use reelmill_store::{BlobEntry, BlobError, BlobReader, BlobStore, BlobUpload, BlobWriter};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// Blobs that are nothing but what they stand for.
#[derive(Debug)]
pub(super) struct SimBlobs {
    held: Mutex<BTreeMap<BlobId, String>>,
    disk: Arc<Disk>,
}

/// How many bytes each blob pretends to have.
const BYTES: u64 = 1000;

impl SimBlobs {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        Self { held: Mutex::default(), disk }
    }

    /// Stores what stands for `meaning`, unless the disk is full.
    pub(super) fn put(&self, id: BlobId, meaning: String) -> Option<BlobRef> {
        if self.disk.full.load(Relaxed) {
            return None;
        }
        let blob = BlobRef { id, bytes: BYTES, sha512: meaning.clone() };
        self.held.lock().unwrap().insert(id, meaning);
        Some(blob)
    }

    /// What a blob stands for, if it is there.
    pub(super) fn meaning(&self, id: BlobId) -> Option<String> {
        self.held.lock().unwrap().get(&id).cloned()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

#[async_trait]
impl BlobStore for SimBlobs {
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
        step_aside().await;
        Ok(self.meaning(id).map(|_| BYTES))
    }

    async fn delete(&self, id: BlobId) -> Result<bool, BlobError> {
        step_aside().await;
        Ok(self.held.lock().unwrap().remove(&id).is_some())
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        step_aside().await;
        let held = self.held.lock().unwrap();
        let entry = |id: &BlobId| BlobEntry { id: *id, bytes: BYTES, written: Timestamp(0) };
        Ok(held.keys().map(entry).collect())
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
