//! Blobs as files of this machine.
//!
//! Below the root: `blobs/` holds whole blobs, `uploads/` unfinished ones,
//! `temp/` what is being written, `scratch/` what others put there for a
//! while. All on one file system, so that a blob appears by a rename.

mod flushing;
mod hashing;
mod upload;
mod write;

use crate::blob::{BlobEntry, BlobError, BlobReader, BlobStore, BlobUpload, BlobWriter};
use async_trait::async_trait;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use reelmill_core::time::Timestamp;
use std::collections::HashSet;
use std::io::{ErrorKind, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use upload::{LocalUpload, Uploads};
use write::LocalWriter;

/// Keeps blobs in a folder of this machine. Clones share it; no two processes
/// may use one folder at a time.
#[derive(Debug, Clone)]
pub struct LocalBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    scratch: PathBuf,
    uploads: Uploads,
    attempts: AtomicU64,
    /// Folders known to survive a crash.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalBlobs {
    /// Opens the folder `root`, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn open(root: &Path) -> Result<Self, BlobError> {
        let shared = Shared {
            root: root.to_owned(),
            scratch: root.join("scratch"),
            uploads: Uploads::default(),
            attempts: AtomicU64::new(0),
            durable: Mutex::default(),
        };
        for folder in ["blobs", "uploads", "temp", "scratch"] {
            let folder = root.join(folder);
            let made = tokio::fs::create_dir_all(&folder).await;
            made.map_err(|error| fault("create the folder", &folder, &error))?;
        }
        let folder = root.to_owned();
        blocking(move || flush_folder(&folder)).await?;
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Where a blob lies once it is whole. The last digits of an id are
    /// random, the first ones are not: those would fill one folder at a time.
    fn place(&self, id: BlobId) -> PathBuf {
        let name = id.0.simple().to_string();
        self.root.join("blobs").join(&name[30..31]).join(&name[31..]).join(id.to_string())
    }

    fn upload(&self, id: BlobId) -> PathBuf {
        self.root.join("uploads").join(id.to_string())
    }

    /// A name that no other attempt at writing `id` has.
    fn temp(&self, id: BlobId) -> PathBuf {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.root.join("temp").join(format!("{id}.{attempt}"))
    }

    /// Moves a whole, flushed file to its place, durably. Blocks.
    fn publish(&self, from: &Path, id: BlobId) -> Result<(), BlobError> {
        let place = self.place(id);
        let folder = self.folder(&place)?;
        std::fs::rename(from, &place).map_err(|error| fault("rename to", &place, &error))?;
        flush_folder(&folder)
    }

    /// The folder of `place`, made durably if it is not there. Blocks.
    fn folder(&self, place: &Path) -> Result<PathBuf, BlobError> {
        let folder = place.parent().unwrap_or(&self.root).to_owned();
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if !durable.contains(&folder) {
            std::fs::create_dir_all(&folder)
                .map_err(|error| fault("create the folder", &folder, &error))?;
            // Its name lies in the folder above, which may be new as well.
            let above = folder.ancestors().skip(1);
            for above in above.take_while(|above| above.starts_with(&self.root)) {
                flush_folder(above)?;
            }
            durable.insert(folder.clone());
        }
        Ok(folder)
    }
}

/// An error of an operation on a file.
fn fault(what: &str, path: &Path, error: &std::io::Error) -> BlobError {
    BlobError::io(format!("{what} {}", path.display()), error)
}

/// Makes the names in a folder durable.
fn flush_folder(folder: &Path) -> Result<(), BlobError> {
    if cfg!(windows) {
        return Ok(());
    }
    let flushed = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    flushed.map_err(|error| fault("flush the folder", folder, &error))
}

/// Runs what blocks beside the async threads.
async fn blocking<T, F>(work: F) -> Result<T, BlobError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, BlobError> + Send + 'static,
{
    let broke = |error: tokio::task::JoinError| BlobError::Io {
        what: "finish an operation on a file".into(),
        error: error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(broke)?
}

#[async_trait]
impl BlobStore for LocalBlobs {
    async fn create(&self, id: BlobId) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(LocalWriter::create(Arc::clone(&self.shared), id).await?))
    }

    async fn upload(&self, id: BlobId) -> Result<Box<dyn BlobUpload>, BlobError> {
        Ok(Box::new(LocalUpload::open(Arc::clone(&self.shared), id).await?))
    }

    async fn upload_len(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        size(&self.shared.upload(id)).await
    }

    async fn upload_discard(&self, id: BlobId) -> Result<bool, BlobError> {
        upload::discard(Arc::clone(&self.shared), id).await
    }

    async fn upload_again(&self, id: BlobId) -> Result<bool, BlobError> {
        upload::again(Arc::clone(&self.shared), id).await
    }

    async fn uploads(&self) -> Result<Vec<BlobEntry>, BlobError> {
        let folder = self.shared.root.join("uploads");
        blocking(move || {
            let mut found = Vec::new();
            entries(&folder, 0, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn adopt(&self, path: &Path, id: BlobId) -> Result<BlobRef, BlobError> {
        let (shared, path) = (Arc::clone(&self.shared), path.to_owned());
        blocking(move || write::adopt(&shared, &path, id)).await
    }

    async fn local_path(&self, id: BlobId) -> Result<Option<PathBuf>, BlobError> {
        let place = self.shared.place(id);
        Ok(size(&place).await?.map(|_| place))
    }

    async fn read(&self, id: BlobId, range: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        let place = self.shared.place(id);
        let opened = tokio::fs::File::open(&place).await;
        let mut file = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => BlobError::Missing(id),
            _ => fault("open", &place, &error),
        })?;
        let Some(range) = range else { return Ok(Box::pin(file)) };
        let bytes = file.metadata().await.map_err(|e| fault("look at", &place, &e))?.len();
        if range.start > range.end || range.end > bytes {
            return Err(BlobError::Range { id, range, bytes });
        }
        let sought = file.seek(SeekFrom::Start(range.start)).await;
        sought.map_err(|error| fault("read", &place, &error))?;
        Ok(Box::pin(file.take(range.end - range.start)))
    }

    async fn len(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        size(&self.shared.place(id)).await
    }

    async fn delete(&self, id: BlobId) -> Result<bool, BlobError> {
        remove(&self.shared.place(id)).await
    }

    async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        let folder = self.shared.root.join("blobs");
        blocking(move || {
            let mut found = Vec::new();
            entries(&folder, 2, &mut found)?;
            Ok(found)
        })
        .await
    }

    fn scratch_dir(&self) -> &Path {
        &self.shared.scratch
    }

    async fn clean_partials(&self) -> Result<u64, BlobError> {
        let folders = [self.shared.root.join("temp"), self.shared.scratch.clone()];
        blocking(move || folders.iter().map(|folder| empty(folder)).sum()).await
    }

    async fn space(&self) -> Result<Option<u64>, BlobError> {
        space(&self.shared.root)
    }
}

#[cfg(unix)]
fn space(root: &Path) -> Result<Option<u64>, BlobError> {
    let found = rustix::fs::statvfs(root);
    let found = found.map_err(|error| fault("look at", root, &error.into()))?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(not(unix))]
fn space(_root: &Path) -> Result<Option<u64>, BlobError> {
    Ok(None)
}

async fn size(path: &Path) -> Result<Option<u64>, BlobError> {
    match tokio::fs::metadata(path).await {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("look at", path, &error)),
    }
}

async fn remove(path: &Path) -> Result<bool, BlobError> {
    match tokio::fs::remove_file(path).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fault("delete", path, &error)),
    }
}

/// The blobs `depth` folders below `folder`; what is not named like a blob is
/// not ours.
fn entries(folder: &Path, depth: u32, found: &mut Vec<BlobEntry>) -> Result<(), BlobError> {
    let read = |error| fault("read the folder", folder, &error);
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let facts = match entry.metadata() {
            Ok(facts) => facts,
            // Deleted since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(fault("look at", &entry.path(), &error)),
        };
        if depth > 0 && facts.is_dir() {
            entries(&entry.path(), depth - 1, found)?;
            continue;
        }
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(id) = id.filter(|_| depth == 0 && facts.is_file()) {
            let age = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let written = age.map_or(0, |age| age.as_micros() as i64);
            found.push(BlobEntry { id, bytes: facts.len(), written: Timestamp(written) });
        }
    }
    Ok(())
}

/// Removes everything in `folder`; yields how many entries.
fn empty(folder: &Path) -> Result<u64, BlobError> {
    let read = |error| fault("read the folder", folder, &error);
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone =
            if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.map_err(|error| fault("delete", &path, &error))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
