//! Writing a blob in one go.

use super::{Shared, blocking, fault};
use crate::blob::{BlobError, BlobWriter};
use async_trait::async_trait;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Bytes that were hashed.
#[derive(Debug, Clone, Default)]
pub(super) struct Hashed {
    hasher: Sha512,
    /// How many.
    pub(super) bytes: u64,
}

impl Hashed {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Of all that `file` has from where it stands. Blocks.
    pub(super) fn of(file: &mut File, path: &Path) -> Result<Self, BlobError> {
        let mut hashed = Self::default();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(hashed),
                Ok(read) => hashed.add(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fault("read", path, &error)),
            }
        }
    }

    pub(super) fn name(self, id: BlobId) -> BlobRef {
        BlobRef { id, bytes: self.bytes, sha512: hex::encode(self.hasher.finalize()) }
    }
}

/// A file that is removed unless it was moved away.
#[derive(Debug)]
struct Temp {
    path: PathBuf,
}

impl Drop for Temp {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // It is removed at the next start.
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "left behind"),
        }
    }
}

/// Writes a blob under a name of its own, until it is whole.
pub(super) struct LocalWriter {
    shared: Arc<Shared>,
    id: BlobId,
    file: tokio::fs::File,
    temp: Temp,
    hashed: Hashed,
}

impl LocalWriter {
    pub(super) async fn create(shared: Arc<Shared>, id: BlobId) -> Result<Self, BlobError> {
        let temp = Temp { path: shared.temp(id) };
        let file = tokio::fs::File::create_new(&temp.path).await;
        let file = file.map_err(|error| fault("create", &temp.path, &error))?;
        Ok(Self { shared, id, file, temp, hashed: Hashed::default() })
    }
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|error| fault("write", &self.temp.path, &error))?;
        self.hashed.add(bytes);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        let path = &self.temp.path;
        // Written bytes may still be on their way to the file.
        self.file.flush().await.map_err(|error| fault("write", path, &error))?;
        self.file.sync_all().await.map_err(|error| fault("flush", path, &error))?;
        let facts = self.file.metadata().await.map_err(|error| fault("look at", path, &error))?;
        if facts.len() != self.hashed.bytes {
            // A write failed or was broken off before.
            let (what, found) = (format!("commit blob {}", self.id), facts.len());
            let error = format!("{found} bytes are there, {} were written", self.hashed.bytes);
            return Err(BlobError::Io { what, error });
        }
        let Self { shared, id, temp, hashed, .. } = *self;
        blocking(move || {
            shared.publish(&temp.path, id)?;
            Ok(hashed.name(id))
        })
        .await
    }
}

/// Moves a finished file in. Blocks.
pub(super) fn adopt(shared: &Shared, path: &Path, id: BlobId) -> Result<BlobRef, BlobError> {
    let mut file = File::open(path).map_err(|error| fault("open", path, &error))?;
    let hashed = Hashed::of(&mut file, path)?;
    file.sync_all().map_err(|error| fault("flush", path, &error))?;
    // First to a name of ours: whether that is a rename shows here.
    let staged = shared.temp(id);
    match std::fs::rename(path, &staged) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            return copy_in(shared, path, id);
        }
        Err(error) => return Err(fault("move", path, &error)),
    }
    match shared.publish(&staged, id) {
        Ok(()) => Ok(hashed.name(id)),
        Err(error) => {
            // Nothing is lost by a failure: it goes back to where it was.
            std::fs::rename(&staged, path).map_err(|error| fault("move back", path, &error))?;
            Err(error)
        }
    }
}

fn copy_in(shared: &Shared, path: &Path, id: BlobId) -> Result<BlobRef, BlobError> {
    let mut from = File::open(path).map_err(|error| fault("open", path, &error))?;
    let temp = Temp { path: shared.temp(id) };
    let write = |error| fault("write", &temp.path, &error);
    let mut to = File::create_new(&temp.path).map_err(write)?;
    let mut hashed = Hashed::default();
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                to.write_all(&piece[..read]).map_err(write)?;
                hashed.add(&piece[..read]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(fault("read", path, &error)),
        }
    }
    to.sync_all().map_err(write)?;
    shared.publish(&temp.path, id)?;
    std::fs::remove_file(path).map_err(|error| fault("delete", path, &error))?;
    Ok(hashed.name(id))
}
