//! Uploads that come in pieces, over lost connections and restarts.

use super::write::Hashed;
use super::{Shared, blocking, fault, flush_folder};
use crate::blob::{BlobError, BlobUpload};
use async_trait::async_trait;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
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
    hashed: Option<Hashed>,
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
            let (file, hashed) = resume(&path, guard.hashed.take())?;
            let offset = hashed.bytes;
            guard.hashed = Some(hashed);
            Ok((file, offset, guard.turn))
        });
        let (file, offset, turn) = opened.await?;
        Ok(Self { shared, id, slot, turn, file: Arc::new(file), offset })
    }

    /// Runs `work` on the slot and the file, unless another opening has them.
    /// It goes on to its end even when the caller stops waiting.
    async fn with<T, F>(&self, work: F) -> Result<T, BlobError>
    where
        T: Send + 'static,
        F: FnOnce(&Shared, &mut Slot, &File) -> Result<T, BlobError> + Send + 'static,
    {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if slot.turn != self.turn {
            return Err(BlobError::Superseded(self.id));
        }
        let (shared, file) = (Arc::clone(&self.shared), Arc::clone(&self.file));
        blocking(move || work(&shared, &mut slot, &file)).await
    }
}

/// Opens the file of an upload to append to it, with the hash of what it has.
/// Blocks.
fn resume(path: &Path, known: Option<Hashed>) -> Result<(File, Hashed), BlobError> {
    let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = opened.map_err(|error| fault("open", path, &error))?;
    if let Some(folder) = path.parent() {
        flush_folder(folder)?;
    }
    let bytes = file.metadata().map_err(|error| fault("look at", path, &error))?.len();
    if let Some(known) = known.filter(|known| known.bytes == bytes) {
        return Ok((file, known));
    }
    // What is here will be acknowledged as here: it must be durable.
    file.sync_all().map_err(|error| fault("flush", path, &error))?;
    let hashed = Hashed::of(&mut file, path)?;
    Ok((file, hashed))
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

    async fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let (id, bytes) = (self.id, bytes.to_vec());
        let append = move |shared: &Shared, slot: &mut Slot, mut file: &File| {
            let mut hashed = slot.hashed.take().ok_or_else(|| broken(id))?;
            let written = file.write_all(&bytes);
            written.map_err(|error| fault("write", &shared.upload(id), &error))?;
            hashed.add(&bytes);
            let offset = hashed.bytes;
            slot.hashed = Some(hashed);
            Ok(offset)
        };
        self.offset = self.with(append).await?;
        Ok(())
    }

    async fn sync(&mut self) -> Result<u64, BlobError> {
        let id = self.id;
        self.with(move |shared, _, file| {
            file.sync_all().map_err(|error| fault("flush", &shared.upload(id), &error))
        })
        .await?;
        Ok(self.offset)
    }

    async fn finish(mut self: Box<Self>, expected: Option<&str>) -> Result<BlobRef, BlobError> {
        let (id, expected) = (self.id, expected.map(str::to_lowercase));
        let finish = move |shared: &Shared, slot: &mut Slot, file: &File| {
            let path = shared.upload(id);
            file.sync_all().map_err(|error| fault("flush", &path, &error))?;
            let hashed = slot.hashed.clone().ok_or_else(|| broken(id))?;
            let blob = hashed.name(id);
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
        self.with(finish).await
    }
}
