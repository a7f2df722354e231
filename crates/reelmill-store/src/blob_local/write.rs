//! Writing a blob in one go.

use super::flushing::Flushing;
use super::hashing::Hashing;
use super::{Shared, blocking, fault};
use crate::blob::{BlobError, BlobWriter};
use async_trait::async_trait;
use bytes::Bytes;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    file: Arc<File>,
    temp: Temp,
    /// What is written; `None` when a write failed or was broken off.
    hashed: Option<Hashing>,
    flushing: Flushing,
}

impl LocalWriter {
    pub(super) async fn create(shared: Arc<Shared>, id: BlobId) -> Result<Self, BlobError> {
        blocking(move || {
            let temp = Temp { path: shared.temp(id) };
            let file = File::create_new(&temp.path);
            let file = Arc::new(file.map_err(|error| fault("create", &temp.path, &error))?);
            let hashed = Some(Hashed::default().into());
            Ok(Self { shared, id, file, temp, hashed, flushing: Flushing::default() })
        })
        .await
    }

    fn fault(&self, what: &str, error: &io::Error) -> BlobError {
        fault(what, &self.temp.path, error)
    }

    /// What is written, which is taken until more of it is.
    fn whole(&mut self) -> Result<Hashing, BlobError> {
        self.hashed.take().ok_or_else(|| BlobError::Io {
            what: format!("go on with blob {}", self.id),
            error: "a write before this one failed".into(),
        })
    }
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let mut hashed = self.whole()?;
        let flushed = self.flushing.keep_up(&self.file, hashed.bytes).await;
        flushed.map_err(|error| self.fault("flush", &error))?;
        let file = Arc::clone(&self.file);
        let write = move || {
            let written = (&*file).write_all(&bytes);
            Ok(written.map(|()| {
                hashed.add(bytes);
                hashed
            }))
        };
        let written = blocking(write).await?;
        self.hashed = Some(written.map_err(|error| self.fault("write", &error))?);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        let hashed = self.whole()?;
        self.flushing.wait().await.map_err(|error| self.fault("flush", &error))?;
        blocking(move || {
            self.file.sync_all().map_err(|error| self.fault("flush", &error))?;
            self.shared.publish(&self.temp.path, self.id)?;
            Ok(hashed.name(self.id))
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

#[cfg(test)]
mod tests {
    use super::super::LocalBlobs;
    use super::*;
    use crate::blob::BlobStore;
    use uuid::Uuid;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_blob_with_a_write_that_failed_is_never_committed() {
        let root = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(root.path()).await.unwrap();
        let id = BlobId(Uuid::from_u128(1));
        let mut writer = LocalWriter::create(Arc::clone(&blobs.shared), id).await.unwrap();
        writer.write(Bytes::from_static(b"before ")).await.unwrap();
        let file = Arc::clone(&writer.file);
        writer.file = Arc::new(File::options().write(true).open("/dev/full").unwrap());
        let full = writer.write(Bytes::from_static(b"the disk was full ")).await;
        assert!(matches!(full, Err(BlobError::NoSpace(_))), "{full:?}");
        writer.file = file;
        let after = writer.write(Bytes::from_static(b"and had space again")).await;
        assert!(matches!(after, Err(BlobError::Io { .. })), "{after:?}");
        assert!(Box::new(writer).commit().await.is_err());
        assert_eq!(blobs.len(id).await.unwrap(), None);
        assert_eq!(std::fs::read_dir(root.path().join("temp")).unwrap().count(), 0);
    }
}
