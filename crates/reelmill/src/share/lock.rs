//! Lock files beside media files: for people and their scripts, and to respect
//! what those write.

use super::record::Who;
use crate::clock;
use reelmill_core::lockfile::{self, Age, ENDING, LockFile};
use reelmill_core::names;
use rustix::fs::{CWD, RenameFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

/// Largest lock file that is read, bytes; ours have some hundred.
const LARGEST: u64 = 1 << 16;

/// What the name of a lock file begins with while it is being made or removed.
pub(crate) const DRAFT: &str = ".reelmill-lock-";

/// Spaces after a lock's text: it is renewed in place and may grow by this much.
const ROOM: usize = 32;

/// How often a lock is tried for: each time another one has gone meanwhile.
const TRIES: u8 = 3;

/// Where the lock file of `media` is.
pub(crate) fn path_of(media: &Path) -> PathBuf {
    let name = media.file_name().unwrap_or_default().as_bytes();
    let mut name = names::shortened(name, names::LONGEST - ENDING.len());
    name.extend(ENDING.bytes());
    media.with_file_name(OsString::from_vec(name))
}

/// A lock that somebody has.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What it says, where it can be read.
    pub(crate) lock: Option<LockFile>,
    /// Nobody has renewed it for too long, or its process is known to be gone.
    pub(crate) stale: bool,
    content: Vec<u8>,
}

impl Found {
    /// Who works, in words.
    pub(crate) fn by(&self) -> String {
        match &self.lock {
            Some(lock) => format!("{} (process {})", lock.hostname, lock.pid),
            None => "whoever wrote an unreadable lock file".into(),
        }
    }
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
    pub(crate) fn look(&mut self, path: &Path) -> io::Result<Option<Found>> {
        let content = match read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let lock = LockFile::parse(&content).ok();
        let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let age = Age {
            written: modified.and_then(|time| Some(server_now(path)? - seconds(time)?)),
            told: lock.as_ref().map(|lock| now() - lock.timestamp),
            watched: self.watched(path, &content),
        };
        let expiry = lock.as_ref().and_then(|lock| lock.expires_after).unwrap_or(self.expiry);
        let mut stale = lockfile::stale(age, expiry);
        if let Some(lock) = lock.as_ref().filter(|lock| lock.program == "reelmill") {
            let who: Option<Who> = serde_json::from_str(&lock.token).ok();
            stale |= who.is_some_and(|who| who.dead());
        }
        Ok(Some(Found { lock, stale, content }))
    }
}

fn seconds(time: std::time::SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

fn now() -> f64 {
    clock::now().0 as f64 / 1e6
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut content)?;
    Ok(content)
}

/// The file server's clock, as a file that is written beside `path` now shows it.
fn server_now(path: &Path) -> Option<f64> {
    let probe = tempfile::Builder::new().prefix(DRAFT).tempfile_in(path.parent()?).ok()?;
    seconds(probe.as_file().metadata().ok()?.modified().ok()?)
}

/// Removes a lock that was found stale, unless it has been renewed or replaced
/// since; says whether it is gone.
///
/// # Errors
/// When it cannot be moved.
pub(crate) fn remove_stale(path: &Path, found: &Found) -> io::Result<bool> {
    take_away(path, |moved| read(moved).is_ok_and(|content| content == found.content))
}

/// Moves a lock to a name of our own and looks at it there: removes it when it
/// is the one that is meant, puts it back otherwise.
fn take_away(path: &Path, meant: impl Fn(&Path) -> bool) -> io::Result<bool> {
    let moved = path.with_file_name(format!("{DRAFT}{}", clock::fresh()));
    match std::fs::rename(path, &moved) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other?,
    }
    let meant = meant(&moved);
    if !meant {
        // Whoever came meanwhile keeps the name.
        let _ = std::fs::hard_link(&moved, path).or_else(|_| give_name(&moved, path));
    }
    let _ = std::fs::remove_file(&moved);
    Ok(meant)
}

fn give_name(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// A lock file of ours.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    says: LockFile,
    /// Kept open: renewing it can hit no other file.
    file: File,
    length: usize,
}

impl Lock {
    /// Shows that this process works on `media`; `None` when somebody else does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn take(
        media: &Path,
        job: &str,
        watcher: &mut Watcher,
    ) -> io::Result<Result<Self, Found>> {
        let path = path_of(media);
        for _ in 0..TRIES {
            match Self::make(media, &path, job, watcher.expiry) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map(Ok),
            }
            match watcher.look(&path)? {
                Some(found) if !found.stale => return Ok(Err(found)),
                Some(found) => _ = remove_stale(&path, &found)?,
                None => {}
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    fn make(media: &Path, path: &Path, job: &str, expiry: f64) -> io::Result<Self> {
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
        let mut text = serde_json::to_vec(&says)?;
        text.extend([b' '; ROOM]);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)?;
        draft.write_all(&text)?;
        // Others shall read it: temporary files are private.
        let _ = draft.as_file().set_permissions(Permissions::from_mode(0o644));
        match std::fs::hard_link(draft.path(), path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => give_name(draft.path(), path),
            other => other,
        }?;
        let file = draft.as_file().try_clone()?;
        Ok(Self { path: path.to_owned(), says, file, length: text.len() })
    }

    /// Renews it; false when it is no longer there, or is another's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn renew(&mut self) -> io::Result<bool> {
        self.says.timestamp = now();
        let mut text = serde_json::to_vec(&self.says)?;
        text.resize(self.length.max(text.len()), b' ');
        self.file.write_all_at(&text, 0)?;
        Ok(self.is_at(&self.path))
    }

    fn is_at(&self, path: &Path) -> bool {
        let own = self.file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let there = std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()));
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_at(&self.path)
            && let Err(error) = take_away(&self.path, |moved| self.is_at(moved))
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a lock file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let media = folder.path().join("film.mkv");
        std::fs::write(&media, "film").unwrap();
        (folder, media)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_lock_is_renewed_in_place_and_removed() {
        let (folder, media) = place();
        let mut watcher = Watcher::new(60.0);
        let mut lock = Lock::take(&media, "job", &mut watcher).unwrap().unwrap();
        let before = watcher.look(&path_of(&media)).unwrap().unwrap();
        assert!(!before.stale && before.lock.as_ref().unwrap().job == "job");
        assert!(lock.renew().unwrap());
        let after = watcher.look(&path_of(&media)).unwrap().unwrap();
        assert_eq!(before.content.len(), after.content.len());
        assert!(after.lock.unwrap().timestamp >= before.lock.unwrap().timestamp);
        drop(lock);
        assert_eq!(names(folder.path()), ["film.mkv"]);
    }

    #[test]
    fn two_takers_never_both_get_a_lock() {
        let (_folder, media) = place();
        let mut watcher = Watcher::new(60.0);
        let first = Lock::take(&media, "one", &mut watcher).unwrap().unwrap();
        let found = Lock::take(&media, "two", &mut Watcher::new(60.0)).unwrap().unwrap_err();
        assert_eq!(found.lock.unwrap().job, "one");
        drop(first);
    }

    #[test]
    fn a_lock_that_was_renewed_is_not_removed_as_stale() {
        let (folder, media) = place();
        let mut watcher = Watcher::new(60.0);
        let mut lock = Lock::take(&media, "job", &mut watcher).unwrap().unwrap();
        let path = path_of(&media);
        let judged = watcher.look(&path).unwrap().unwrap();
        lock.renew().unwrap();
        assert!(!remove_stale(&path, &judged).unwrap(), "it has been renewed since");
        assert!(lock.renew().unwrap(), "it is where it was");
        let judged = watcher.look(&path).unwrap().unwrap();
        assert!(remove_stale(&path, &judged).unwrap());
        assert!(!lock.renew().unwrap(), "its owner notices");
        assert_eq!(names(folder.path()), ["film.mkv"]);
    }

    #[test]
    fn anothers_lock_is_neither_renewed_nor_removed() {
        let (folder, media) = place();
        let path = path_of(&media);
        let mut lock = Lock::take(&media, "job", &mut Watcher::new(60.0)).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        assert!(!lock.renew().unwrap());
        drop(lock);
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_stale_lock_of_a_script_gives_way() {
        let (_folder, media) = place();
        let path = path_of(&media);
        let old = r#"{"hostname":"nas","pid":1,"timestamp":1.0,"file":"film.mkv","locked_at":""}"#;
        std::fs::write(&path, old).unwrap();
        let mut watcher = Watcher::new(60.0);
        let found = Lock::take(&media, "job", &mut watcher).unwrap().unwrap_err();
        assert_eq!(found.by(), "nas (process 1)", "its file is new, so its clock may be wrong");
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(Lock::take(&media, "job", &mut watcher).unwrap().unwrap().says.job, "job");
    }

    #[test]
    fn the_longest_name_has_a_lock_too() {
        let folder = tempfile::tempdir().unwrap();
        let media = folder.path().join(format!("{}.mkv", "x".repeat(251)));
        std::fs::write(&media, "film").unwrap();
        let lock = Lock::take(&media, "job", &mut Watcher::new(60.0)).unwrap().unwrap();
        assert!(path_of(&media).exists());
        drop(lock);
    }
}
