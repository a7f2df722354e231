//! Uploads: bytes on their way in, resumable by offset.

use super::Coordinator;
use crate::clock;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use reelmill_store::{BlobError, BlobRecord, BlobRole, BlobUpload, StoreError};

/// An upload as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadState {
    /// Bytes safely stored.
    pub(crate) offset: u64,
    /// Bytes there will be.
    pub(crate) length: u64,
}

/// Why an upload was not taken further.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UploadError {
    /// There is no such upload.
    Unknown,
    /// The sender continues at another place than where we are.
    Offset(UploadState),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for UploadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BlobError> for UploadError {
    fn from(error: BlobError) -> Self {
        Self::Failed(error.into())
    }
}

/// One connection's turn at an upload.
pub(crate) struct UploadTurn {
    upload: Box<dyn BlobUpload>,
    length: u64,
}

impl UploadTurn {
    /// Appends bytes.
    ///
    /// # Errors
    /// When there would be more than announced, or they cannot be written.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        if self.upload.offset().saturating_add(bytes.len() as u64) > self.length {
            let (offset, length) = (self.upload.offset(), self.length);
            return Err(UploadError::Offset(UploadState { offset, length }));
        }
        Ok(self.upload.append(bytes).await?)
    }

    /// Makes what came durable; the offset may be acknowledged then.
    pub(crate) async fn close(mut self) -> Result<UploadState, UploadError> {
        let offset = self.upload.sync().await?;
        Ok(UploadState { offset, length: self.length })
    }
}

fn meta_key(id: BlobId) -> String {
    format!("upload:{id}")
}

impl Coordinator {
    /// Begins an upload of `length` bytes.
    ///
    /// # Errors
    /// When it is too large or would not leave enough space free.
    pub(crate) async fn upload_begin(&self, length: u64) -> Result<BlobId, Failure> {
        if length == 0 {
            return Err(Failure::input("the file is empty"));
        }
        if length > self.settings.max_upload {
            let most = self.settings.max_upload;
            let message = format!("{length} bytes are more than this server takes ({most})");
            return Err(Failure::new(FailureClass::Permanent, message));
        }
        self.check_space(length).await?;
        let id = BlobId(clock::fresh());
        self.store.meta_put(&meta_key(id), Some(&length.to_string())).await?;
        self.blobs.upload(id).await?.sync().await?;
        Ok(id)
    }

    async fn check_space(&self, wanted: u64) -> Result<(), Failure> {
        let free = self.blobs.space().await?.unwrap_or(u64::MAX);
        if free >= wanted.saturating_add(self.settings.min_free) {
            return Ok(());
        }
        let message = format!("the server has {free} bytes left, too few for {wanted} more");
        Err(Failure::new(FailureClass::NoSpace, message)
            .advise("try later, or ask its operator to free some space"))
    }

    /// How far an upload is.
    pub(crate) async fn upload_state(&self, id: BlobId) -> Result<UploadState, UploadError> {
        if let Some(record) = self.store.blob_get(id).await? {
            let length = record.blob.bytes;
            return Ok(UploadState { offset: length, length });
        }
        let length = self.store.meta_get(&meta_key(id)).await?;
        let length = length.and_then(|text| text.parse().ok()).ok_or(UploadError::Unknown)?;
        let offset = match self.blobs.upload_len(id).await? {
            Some(offset) => offset,
            None => self.blobs.len(id).await?.ok_or(UploadError::Unknown)?,
        };
        Ok(UploadState { offset, length })
    }

    /// Goes on with an upload at `offset`; an earlier connection that still
    /// sends loses its turn.
    ///
    /// # Errors
    /// When `offset` is not where the upload stands.
    pub(crate) async fn upload_turn(
        &self,
        id: BlobId,
        offset: u64,
    ) -> Result<UploadTurn, UploadError> {
        let state = self.upload_state(id).await?;
        if offset != state.offset || self.blobs.upload_len(id).await?.is_none() {
            return Err(UploadError::Offset(state));
        }
        let upload = self.blobs.upload(id).await?;
        Ok(UploadTurn { upload, length: state.length })
    }

    /// Ends an upload that is complete: its digest is computed, and compared
    /// with `sha512` (hexadecimal) where the sender gave one. Repeating it is
    /// harmless.
    pub(crate) async fn upload_finish(
        &self,
        id: BlobId,
        sha512: Option<&str>,
    ) -> Result<BlobRef, UploadError> {
        if let Some(record) = self.store.blob_get(id).await? {
            return Ok(record.blob);
        }
        let state = self.upload_state(id).await?;
        if state.offset != state.length {
            return Err(UploadError::Offset(state));
        }
        let finished = self.blobs.upload(id).await?.finish(sha512).await;
        if matches!(finished, Err(BlobError::Digest { .. })) {
            self.store.meta_put(&meta_key(id), None).await?;
        }
        let blob = finished?;
        let role = BlobRole::Upload;
        let record = BlobRecord { blob: blob.clone(), created: clock::now(), job: None, role };
        self.store.blob_put(&record).await?;
        self.store.meta_put(&meta_key(id), None).await?;
        Ok(blob)
    }

    /// The finished upload `id`, if no job has it yet or it is a job's source.
    pub(crate) async fn uploaded(&self, id: BlobId) -> Result<Option<BlobRef>, Failure> {
        let record = self.store.blob_get(id).await?;
        let usable = |role| matches!(role, BlobRole::Upload | BlobRole::Source);
        Ok(record.filter(|record| usable(record.role)).map(|record| record.blob))
    }

    /// Throws an unfinished upload away; `false` when there is none.
    pub(crate) async fn upload_drop(&self, id: BlobId) -> Result<bool, Failure> {
        let there = self.blobs.upload_discard(id).await?;
        self.store.meta_put(&meta_key(id), None).await?;
        Ok(there)
    }
}
