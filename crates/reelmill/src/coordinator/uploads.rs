//! Uploads: bytes on their way in, resumable by offset.

use super::Coordinator;
use crate::clock;
use bytes::Bytes;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::task::BlobRef;
use reelmill_store::{BlobError, BlobRecord, BlobRole, BlobUpload, StoreError};
use serde::{Deserialize, Serialize};

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
    /// A turn at `upload`, of which `length` bytes are announced.
    pub(crate) fn new(upload: Box<dyn BlobUpload>, length: u64) -> Self {
        Self { upload, length }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there would be more than announced, or they cannot be written.
    pub(crate) async fn append(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        if self.upload.offset().saturating_add(bytes.len() as u64) > self.length {
            let (offset, length) = (self.upload.offset(), self.length);
            return Err(UploadError::Offset(UploadState { offset, length }));
        }
        Ok(self.upload.append(bytes).await?)
    }

    /// Makes what came durable; the offset may be acknowledged then.
    pub(crate) async fn sync(&mut self) -> Result<UploadState, UploadError> {
        let offset = self.upload.sync().await?;
        Ok(UploadState { offset, length: self.length })
    }
}

/// An upload to begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewUpload {
    /// Bytes to come.
    pub(crate) length: u64,
    /// Who sends them.
    pub(crate) owner: Option<String>,
    /// What the file is called where it comes from.
    pub(crate) name: Option<String>,
    /// Names the request, so that a repeated one begins no second upload.
    pub(crate) key: Option<String>,
}

/// What is kept of an upload until a job has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    length: u64,
    owner: Option<String>,
    /// All bytes are here.
    #[serde(default)]
    finished: bool,
    /// The name of the request that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Where what is kept of all uploads begins.
const KEPT: &str = "upload:";

fn meta_key(id: BlobId) -> String {
    format!("{KEPT}{id}")
}

fn read_kept(text: &str) -> Option<Kept> {
    // Before there were owners, only the length was kept.
    let old = || Some(Kept { length: text.parse().ok()?, owner: None, finished: false, key: None });
    serde_json::from_str(text).ok().or_else(old)
}

impl Coordinator {
    /// Begins an upload. Its space is promised to it until it has ended.
    ///
    /// # Errors
    /// When it is empty, too large, of a kind that is not taken, more than its
    /// owner may keep, or would not leave enough space free.
    pub(crate) async fn upload_begin(&self, new: NewUpload) -> Result<BlobId, Failure> {
        let length = new.length;
        if length == 0 {
            return Err(Failure::input("the file is empty"));
        }
        if let Some(name) = &new.name {
            self.check_kind(name)?;
        }
        if length > self.settings.max_upload {
            let most = self.settings.max_upload;
            let message = format!("{length} bytes are more than this server takes ({most})");
            return Err(Failure::new(FailureClass::Permanent, message));
        }
        // Two that come at once must not be promised the same space.
        let _one_at_a_time = self.promising.lock().await;
        if let Some(begun) = self.begun_before(&new).await? {
            return Ok(begun);
        }
        self.check_quota(new.owner.as_deref(), length).await?;
        self.check_space(length).await?;
        let id = BlobId(clock::fresh());
        let NewUpload { owner, key, .. } = new;
        self.keep_upload(id, &Kept { length, owner, finished: false, key }).await?;
        self.blobs.upload(id).await?.sync().await?;
        Ok(id)
    }

    /// The upload that this very request began: its answer was lost.
    async fn begun_before(&self, new: &NewUpload) -> Result<Option<BlobId>, Failure> {
        let Some(key) = &new.key else { return Ok(None) };
        let all = self.uploads_kept().await?.into_iter();
        let mut same =
            all.filter(|(_, kept)| kept.key.as_ref() == Some(key) && kept.owner == new.owner);
        match same.next() {
            Some((_, kept)) if kept.length != new.length => {
                Err(Failure::input("that Idempotency-Key was used for another upload")
                    .advise("take a new key for a new upload"))
            }
            found => Ok(found.map(|(id, _)| id)),
        }
    }

    async fn keep_upload(&self, id: BlobId, kept: &Kept) -> Result<(), Failure> {
        let text = serde_json::to_string(kept)
            .map_err(|error| Failure::environment(format!("cannot keep an upload: {error}")))?;
        Ok(self.store.meta_put(&meta_key(id), Some(&text)).await?)
    }

    async fn kept_upload(&self, id: BlobId) -> Result<Option<Kept>, Failure> {
        let text = self.store.meta_get(&meta_key(id)).await?;
        Ok(text.as_deref().and_then(read_kept))
    }

    /// Nothing more is to be kept of an upload: a job has it, or it is gone.
    pub(super) async fn forget_upload(&self, id: BlobId) -> Result<(), Failure> {
        Ok(self.store.meta_put(&meta_key(id), None).await?)
    }

    /// All uploads that no job has yet.
    async fn uploads_kept(&self) -> Result<Vec<(BlobId, Kept)>, Failure> {
        let rows = self.store.meta_list(KEPT).await?;
        let read = |(key, text): (String, String)| {
            Some((key.strip_prefix(KEPT)?.parse().ok()?, read_kept(&text)?))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Whose an upload is. `None` when there is no such upload.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn upload_owner(&self, id: BlobId) -> Result<Option<Option<String>>, Failure> {
        if let Some(kept) = self.kept_upload(id).await? {
            return Ok(Some(kept.owner));
        }
        let Some(record) = self.store.blob_get(id).await? else { return Ok(None) };
        match record.job {
            Some(job) => Ok(self.job(job).await?.map(|job| job.owner)),
            None => Ok(Some(None)),
        }
    }

    /// Whether a file called `name` is of a kind that this server takes.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check_kind(&self, name: &str) -> Result<(), Failure> {
        let accept = &self.settings.service.accept;
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        if accept.is_empty() || ending.is_some_and(|ending| accept.contains(&ending)) {
            return Ok(());
        }
        Err(Failure::input(format!("this server does not take files like '{name}'"))
            .advise(format!("it takes: {}", accept.join(", "))))
    }

    /// Whether `owner` may keep `wanted` more bytes here.
    ///
    /// # Errors
    /// When that is more than the quota, or the store fails.
    pub(crate) async fn check_quota(
        &self,
        owner: Option<&str>,
        wanted: u64,
    ) -> Result<(), Failure> {
        let (Some(quota), Some(owner)) = (self.settings.service.quota, owner) else {
            return Ok(());
        };
        let open = self.uploads_kept().await?.into_iter();
        let open = open.filter(|(_, kept)| kept.owner.as_deref() == Some(owner));
        let open: u64 = open.map(|(_, kept)| kept.length).sum();
        let used = self.store.owner_bytes(owner).await?.saturating_add(open);
        if used.saturating_add(wanted) <= quota {
            return Ok(());
        }
        let message =
            format!("'{owner}' keeps {used} of {quota} bytes here: too many for {wanted} more");
        Err(Failure::new(FailureClass::NoSpace, message)
            .advise("fetch what is done and let it go, or ask the operator for more"))
    }

    /// Bytes that are promised to uploads and have not come yet.
    ///
    /// # Errors
    /// When storage fails.
    pub(crate) async fn promised(&self) -> Result<u64, Failure> {
        let mut promised = 0u64;
        for (id, kept) in self.uploads_kept().await? {
            if !kept.finished {
                let here = self.blobs.upload_len(id).await?.unwrap_or(0);
                promised = promised.saturating_add(kept.length.saturating_sub(here));
            }
        }
        Ok(promised)
    }

    /// Whether some owner's video has that name already.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn video_is_taken(&self, name: &str) -> Result<bool, Failure> {
        let Some(text) = self.store.meta_get(name).await? else { return Ok(false) };
        match text.parse() {
            // A job that is forgotten lets its name go.
            Ok(job) => Ok(self.job(job).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// Notes that a video's name is a job's.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn take_video(&self, name: &str, job: JobId) -> Result<(), Failure> {
        Ok(self.store.meta_put(name, Some(&job.to_string())).await?)
    }

    /// Whether `wanted` more bytes can be stored, beside what is promised.
    ///
    /// # Errors
    /// When they cannot.
    pub(crate) async fn check_space(&self, wanted: u64) -> Result<(), Failure> {
        let free = self.blobs.space().await?.unwrap_or(u64::MAX);
        let free = free.saturating_sub(self.promised().await?);
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
        let length = self.kept_upload(id).await?.ok_or(UploadError::Unknown)?.length;
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
        Ok(UploadTurn::new(upload, state.length))
    }

    /// Ends an upload that is complete: its digest is computed, and compared
    /// with `sha512` (hexadecimal) where the sender gave one. Repeating it is
    /// harmless.
    pub(crate) async fn upload_finish(
        &self,
        id: BlobId,
        sha512: Option<&str>,
    ) -> Result<BlobRef, UploadError> {
        let turn = self.finishing.of(id);
        let _one_at_a_time = turn.lock().await;
        if let Some(record) = self.store.blob_get(id).await? {
            return Ok(record.blob);
        }
        let state = self.upload_state(id).await?;
        if state.offset != state.length {
            return Err(UploadError::Offset(state));
        }
        // Its row could not be written when its bytes were whole already.
        self.blobs.upload_again(id).await?;
        let finished = self.blobs.upload(id).await?.finish(sha512).await;
        if matches!(finished, Err(BlobError::Digest { .. })) {
            self.store.meta_put(&meta_key(id), None).await?;
        }
        let blob = finished?;
        let role = BlobRole::Upload;
        let record = BlobRecord { blob: blob.clone(), created: clock::now(), job: None, role };
        self.store.blob_put(&record).await?;
        if let Some(kept) = self.kept_upload(id).await? {
            self.keep_upload(id, &Kept { finished: true, ..kept }).await?;
        }
        Ok(blob)
    }

    /// Makes what a crash left whole but without its row an upload again, for its sender
    /// to finish; `false` when nobody uploaded it.
    pub(super) async fn upload_rescue(&self, id: BlobId) -> Result<bool, Failure> {
        Ok(self.kept_upload(id).await?.is_some() && self.blobs.upload_again(id).await?)
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
