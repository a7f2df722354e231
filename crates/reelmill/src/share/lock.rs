//! Lock files beside media files: for people and their scripts, and to respect
//! what those write.

use super::fs::Fs;
use super::library::Library;
use super::record::Who;
use crate::clock;
use reelmill_core::lockfile::{self, Age, ENDING, LockFile};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

/// Where the lock file of `media` is.
pub(crate) fn path_of(media: &Path) -> PathBuf {
    let mut name = media.file_name().unwrap_or_default().to_owned();
    name.push(ENDING);
    media.with_file_name(name)
}

/// A lock that somebody has.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What it says, where it can be read.
    pub(crate) lock: Option<LockFile>,
    /// Nobody has renewed it for too long, or its process is known to be gone.
    pub(crate) stale: bool,
}

/// Watches lock files by this process's steady clock.
pub(crate) struct Watcher {
    expiry: f64,
    seen: BTreeMap<PathBuf, (Vec<u8>, Instant)>,
}

impl Watcher {
    /// A watcher; locks that stay the same for `expiry` seconds are stale.
    pub(crate) fn new(expiry: f64) -> Self {
        Self { expiry, seen: BTreeMap::new() }
    }

    /// Whether the content of `path` has stayed the same for too long.
    pub(crate) fn silent(&mut self, path: &Path, content: &[u8]) -> bool {
        self.watched(path, content) > self.expiry
    }

    fn watched(&mut self, path: &Path, content: &[u8]) -> f64 {
        match self.seen.get(path) {
            Some((before, since)) if before == content => since.elapsed().as_secs_f64(),
            _ => {
                self.seen.insert(path.to_owned(), (content.to_vec(), Instant::now()));
                0.0
            }
        }
    }

    /// Looks at a lock file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn look(&mut self, library: &Library, path: &Path) -> io::Result<Option<Found>> {
        let content = match library.fs.read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let lock = LockFile::parse(&content).ok();
        let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let age = Age {
            written: modified.and_then(|time| Some(server_now(library)? - seconds(time)?)),
            told: lock.as_ref().map(|lock| now() - lock.timestamp),
            watched: self.watched(path, &content),
        };
        let expiry = lock.as_ref().and_then(|lock| lock.expires_after).unwrap_or(self.expiry);
        let mut stale = lockfile::stale(age, expiry);
        if let Some(lock) = lock.as_ref().filter(|lock| lock.program == "reelmill") {
            let who: Option<Who> = serde_json::from_str(&lock.token).ok();
            stale |= who.is_some_and(|who| who.dead());
        }
        Ok(Some(Found { lock, stale }))
    }
}

fn seconds(time: std::time::SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

fn now() -> f64 {
    clock::now().0 as f64 / 1e6
}

/// The file server's clock, as a file written now shows it.
fn server_now(library: &Library) -> Option<f64> {
    let probe = library.home("tmp").join(format!("clock-{}", clock::fresh()));
    std::fs::write(&probe, b"").ok()?;
    let time = std::fs::metadata(&probe).and_then(|meta| meta.modified());
    let _ = std::fs::remove_file(&probe);
    seconds(time.ok()?)
}

/// A lock file of ours.
pub(crate) struct Lock {
    path: PathBuf,
    says: LockFile,
}

impl Lock {
    /// Shows that this process works on `media`. A stale one is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn take(media: &Path, job: &str, expiry: f64) -> io::Result<Self> {
        let who = Who::me();
        let says = LockFile {
            hostname: who.host.clone(),
            pid: i64::from(who.pid),
            timestamp: now(),
            file: media.to_string_lossy().into_owned(),
            locked_at: jiff::Timestamp::from_microsecond(clock::now().0)
                .unwrap_or_default()
                .to_string(),
            program: "reelmill".into(),
            job: job.to_owned(),
            token: serde_json::to_string(&who)?,
            expires_after: Some(expiry),
        };
        let lock = Self { path: path_of(media), says };
        lock.write()?;
        Ok(lock)
    }

    /// Renews it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        self.says.timestamp = now();
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut draft = tempfile::Builder::new().prefix(".reelmill-lock-").tempfile_in(folder)?;
        serde_json::to_writer(&mut draft, &self.says)?;
        draft.persist(&self.path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let ours = std::fs::read(&self.path).ok().and_then(|text| LockFile::parse(&text).ok());
        if ours.is_some_and(|lock| lock.token == self.says.token && lock.job == self.says.job) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
