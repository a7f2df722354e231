//! Uploads that come in pieces, over lost connections and restarts.

use super::flushing::Flushing;
use super::hashing::Hashing;
use super::write::Hashed;
use super::{Shared, blocking, fault, flush_folder};
use crate::blob::{BlobError, BlobUpload};
use async_trait::async_trait;
use bytes::Bytes;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Uploads whose hash is remembered between pieces; beyond, those that nobody
/// is sending just now are hashed again when they go on.
const REMEMBERED: usize = 1024;

/// What is known of uploads between their pieces.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    slots: Mutex<HashMap<BlobId, Arc<AsyncMutex<Slot>>>>,
}

/// Locked while anybody touches the upload's file, also when the caller has
/// stopped waiting: two writers never mix.
#[derive(Debug, Default)]
struct Slot {
    /// The opening that has the upload; later ones take it over.
    turn: u64,
    /// What its file has; `None` when that is not known.
    hashed: Option<Hashing>,
    /// How much of that is on disk.
    flushing: Flushing,
    /// Finished or thrown away: whoever comes later begins anew.
    ended: bool,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobId, Arc<AsyncMutex<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: BlobId) -> Arc<AsyncMutex<Slot>> {
        let mut slots = self.lock();
        if slots.len() > REMEMBERED {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(id).or_default())
    }

    /// Takes the upload from whoever had it.
    async fn take(&self, id: BlobId) -> (Arc<AsyncMutex<Slot>>, OwnedMutexGuard<Slot>) {
        loop {
            let slot = self.slot(id);
            let mut guard = Arc::clone(&slot).lock_owned().await;
            if !guard.ended {
                guard.turn += 1;
                return (slot, guard);
            }
        }
    }

    fn end(&self, id: BlobId, slot: &mut Slot) {
        slot.turn += 1;
        slot.ended = true;
        slot.hashed = None;
        self.lock().remove(&id);
    }
}

/// Throws an upload away; `false` when there is none.
pub(super) async fn discard(shared: Arc<Shared>, id: BlobId) -> Result<bool, BlobError> {
    let (_, mut slot) = shared.uploads.take(id).await;
    blocking(move || {
        let path = shared.upload(id);
        let removed = std::fs::remove_file(&path);
        shared.uploads.end(id, &mut slot);
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault("delete", &path, &error)),
        }
    })
    .await
}

/// Makes a whole blob an upload again; `false` when there is none.
pub(super) async fn again(shared: Arc<Shared>, id: BlobId) -> Result<bool, BlobError> {
    let (_, mut slot) = shared.uploads.take(id).await;
    blocking(move || {
        let (place, path) = (shared.place(id), shared.upload(id));
        match std::fs::rename(&place, &path) {
            // Going on with it makes that durable.
            Ok(()) => {
                slot.hashed = None;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault("rename", &place, &error)),
        }
    })
    .await
}

/// An upload that somebody is sending.
pub(super) struct LocalUpload {
    shared: Arc<Shared>,
    id: BlobId,
    slot: Arc<AsyncMutex<Slot>>,
    turn: u64,
    file: Arc<File>,
    offset: u64,
}

impl LocalUpload {
    pub(super) async fn open(shared: Arc<Shared>, id: BlobId) -> Result<Self, BlobError> {
        let (slot, mut guard) = shared.uploads.take(id).await;
        let path = shared.upload(id);
        let opened = blocking(move || {
            let file = resume(&path, &mut guard)?;
            let offset = guard.hashed.as_ref().map_or(0, |hashed| hashed.bytes);
            Ok((file, offset, guard.turn))
        });
        let (file, offset, turn) = opened.await?;
        Ok(Self { shared, id, slot, turn, file: Arc::new(file), offset })
    }

    /// The slot, unless another opening has the upload.
    async fn lock(&self) -> Result<OwnedMutexGuard<Slot>, BlobError> {
        let slot = Arc::clone(&self.slot).lock_owned().await;
        if slot.turn == self.turn { Ok(slot) } else { Err(BlobError::Superseded(self.id)) }
    }

    /// Runs `work` on the slot and the file. It goes on to its end even when the
    /// caller stops waiting.
    async fn with<T, F>(&self, mut slot: OwnedMutexGuard<Slot>, work: F) -> Result<T, BlobError>
    where
        T: Send + 'static,
        F: FnOnce(&Shared, &mut Slot, &File) -> Result<T, BlobError> + Send + 'static,
    {
        let (shared, file) = (Arc::clone(&self.shared), Arc::clone(&self.file));
        blocking(move || work(&shared, &mut slot, &file)).await
    }
}

/// Opens the file of an upload to append to it; what it has stands in its slot then.
/// Blocks.
fn resume(path: &Path, slot: &mut Slot) -> Result<File, BlobError> {
    let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = opened.map_err(|error| fault("open", path, &error))?;
    if let Some(folder) = path.parent() {
        flush_folder(folder)?;
    }
    let bytes = file.metadata().map_err(|error| fault("look at", path, &error))?.len();
    if slot.hashed.as_ref().is_some_and(|known| known.bytes == bytes) {
        return Ok(file);
    }
    // What is here will be acknowledged as here: it must be durable.
    file.sync_all().map_err(|error| fault("flush", path, &error))?;
    let hashed = Hashed::of(&mut file, path)?;
    slot.flushing = Flushing::at(hashed.bytes);
    slot.hashed = Some(hashed.into());
    Ok(file)
}

/// Makes all that was written durable, `before` being how an earlier flush went.
/// Blocks.
fn flush(
    slot: &mut Slot,
    file: &File,
    path: &Path,
    before: io::Result<()>,
) -> Result<(), BlobError> {
    match before.and_then(|()| file.sync_all()) {
        Ok(()) => {
            slot.flushing.durable = slot.hashed.as_ref().map_or(0, |hashed| hashed.bytes);
            Ok(())
        }
        Err(error) => Err(unflushed(slot, file, path, &error)),
    }
}

/// What could not be flushed may be lost, and no later flush would tell: only what is
/// durable is kept, for the sender to go on from there. Blocks.
fn unflushed(slot: &mut Slot, file: &File, path: &Path, error: &io::Error) -> BlobError {
    slot.hashed = None;
    if let Err(error) = file.set_len(slot.flushing.durable) {
        tracing::warn!(path = %path.display(), %error, "cannot cut off what may be lost");
    }
    fault("flush", path, error)
}

fn broken(id: BlobId) -> BlobError {
    BlobError::Io {
        what: format!("go on with upload {id}"),
        error: "a write before this one failed: open it again".into(),
    }
}

#[async_trait]
impl BlobUpload for LocalUpload {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let (id, mut slot) = (self.id, self.lock().await?);
        let written = slot.hashed.as_ref().map_or(0, |hashed| hashed.bytes);
        let flushed = slot.flushing.keep_up(&self.file, written).await;
        let append = move |shared: &Shared, slot: &mut Slot, mut file: &File| {
            let path = shared.upload(id);
            flushed.map_err(|error| unflushed(slot, file, &path, &error))?;
            let mut hashed = slot.hashed.take().ok_or_else(|| broken(id))?;
            file.write_all(&bytes).map_err(|error| fault("write", &path, &error))?;
            hashed.add(bytes);
            let offset = hashed.bytes;
            slot.hashed = Some(hashed);
            Ok(offset)
        };
        self.offset = self.with(slot, append).await?;
        Ok(())
    }

    async fn sync(&mut self) -> Result<u64, BlobError> {
        let (id, mut slot) = (self.id, self.lock().await?);
        let before = slot.flushing.wait().await;
        let sync = move |shared: &Shared, slot: &mut Slot, file: &File| {
            flush(slot, file, &shared.upload(id), before)
        };
        self.with(slot, sync).await?;
        Ok(self.offset)
    }

    async fn finish(mut self: Box<Self>, expected: Option<&str>) -> Result<BlobRef, BlobError> {
        let (id, expected) = (self.id, expected.map(str::to_lowercase));
        let mut slot = self.lock().await?;
        let before = slot.flushing.wait().await;
        let finish = move |shared: &Shared, slot: &mut Slot, file: &File| {
            let path = shared.upload(id);
            flush(slot, file, &path, before)?;
            let blob = slot.hashed.as_ref().ok_or_else(|| broken(id))?.name(id);
            let wrong = expected.filter(|expected| *expected != blob.sha512);
            let Some(expected) = wrong else {
                shared.publish(&path, id)?;
                shared.uploads.end(id, slot);
                return Ok(blob);
            };
            shared.uploads.end(id, slot);
            std::fs::remove_file(&path).map_err(|error| fault("delete", &path, &error))?;
            Err(BlobError::Digest { id, expected, found: blob.sha512 })
        };
        self.with(slot, finish).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::LocalBlobs;
    use super::*;
    use crate::blob::BlobStore;
    use sha2::{Digest, Sha512};
    use uuid::Uuid;

    #[tokio::test]
    async fn an_upload_is_not_hashed_again_for_its_end() {
        let root = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(root.path()).await.unwrap();
        let id = BlobId(Uuid::from_u128(1));
        let mut upload = LocalUpload::open(Arc::clone(&blobs.shared), id).await.unwrap();
        upload.append(Bytes::from_static(b"whole")).await.unwrap();
        upload.sync().await.unwrap();
        drop(upload);
        assert!(!blobs.upload_again(id).await.unwrap(), "it is an upload already");
        let (_, slot) = blobs.shared.uploads.take(id).await;
        assert_eq!(slot.hashed.as_ref().map(|hashed| hashed.bytes), Some(5));
    }

    #[tokio::test]
    async fn what_could_not_be_flushed_is_sent_again() {
        let root = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(root.path()).await.unwrap();
        let id = BlobId(Uuid::from_u128(1));
        let mut upload = LocalUpload::open(Arc::clone(&blobs.shared), id).await.unwrap();
        upload.append(Bytes::from_static(b"safe ")).await.unwrap();
        assert_eq!(upload.sync().await.unwrap(), 5);
        upload.append(Bytes::from_static(b"at stake")).await.unwrap();
        let failed = {
            let mut slot = upload.lock().await.unwrap();
            let before = Err(io::Error::other("the disk is gone"));
            flush(&mut slot, &upload.file, &blobs.shared.upload(id), before)
        };
        assert!(failed.unwrap_err().to_string().contains("the disk is gone"));
        assert!(upload.append(Bytes::from_static(b"more")).await.is_err(), "not before it looks");
        assert_eq!(blobs.upload_len(id).await.unwrap(), Some(5));
        let mut upload = blobs.upload(id).await.unwrap();
        assert_eq!(upload.offset(), 5);
        upload.append(Bytes::from_static(b"again")).await.unwrap();
        let blob = upload.finish(None).await.unwrap();
        assert_eq!(blob.sha512, hex::encode(Sha512::digest("safe again")));
    }
}
