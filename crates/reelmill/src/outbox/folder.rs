//! The folder of requests that wait. Files appear whole; one process at a time
//! writes them, one at a time delivers them, and both rights end with the process.

use super::entry::{Entry, Stage};
use reelmill_core::error::Failure;
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Held while files are added, changed or removed: for a moment.
const WRITING: &str = ".writing.lock";

/// Held by whoever delivers: for hours.
const DELIVERING: &str = ".delivering.lock";

/// What a file that is being written begins with.
const DRAFT: &str = ".draft-";

/// Ending of an entry's file.
const ENDING: &str = "json";

/// Most bytes that an entry may have: names and settings, nothing large.
const MAX_BYTES: u64 = 1 << 20;

/// The folder of requests that wait.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    folder: PathBuf,
}

/// What lies in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// A request.
    Entry(Box<Entry>),
    /// A file that is none, or one that cannot be read.
    Unreadable {
        /// Its name without the ending.
        id: String,
        /// Why.
        failure: Failure,
    },
}

impl Found {
    /// What it is called.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Entry(entry) => entry.id.to_string(),
            Self::Unreadable { id, .. } => id.clone(),
        }
    }
}

/// The right to deliver what waits; it ends with its process.
#[derive(Debug)]
pub(crate) struct Delivering {
    _lock: File,
}

impl Outbox {
    /// The one in `folder`, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let outbox = Self { folder: folder.to_owned() };
        outbox.make().and_then(|()| outbox.writing().map(drop)).map_err(|error| {
            let failure = Failure::io(format!("write to the outbox {}", folder.display()), &error);
            let advice = "free or name a place for it: it lies where REELMILL_STATE says";
            Failure { advice: Some(advice.to_owned()), ..failure }
        })?;
        Ok(outbox)
    }

    /// The one in `folder`, if there is one.
    pub(crate) fn there(folder: &Path) -> Option<Self> {
        folder.is_dir().then(|| Self { folder: folder.to_owned() })
    }

    fn make(&self) -> std::io::Result<()> {
        let above = self.folder.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(above)?;
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => File::open(above)?.sync_all(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mode = std::fs::metadata(&self.folder)?.permissions().mode();
                if mode & 0o077 == 0 {
                    return Ok(());
                }
                std::fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts `entry` in; where it waits already, yields the one that does.
    ///
    /// # Errors
    /// When it cannot be written, or its key names another request that waits.
    pub(crate) fn add(&self, entry: &Entry) -> Result<Option<Entry>, Failure> {
        let _turn = self.writing().map_err(|e| self.wrong(&e))?;
        for found in self.found()? {
            let Found::Entry(other) = found else { continue };
            let open = !matches!(other.stage, Stage::Sent { .. });
            if open && other.asks_the_same(entry) {
                return Ok(Some(*other));
            }
            if open && other.key == entry.key {
                let message = format!("'{}' names another request that waits", entry.key);
                return Err(Failure::permanent(message)
                    .advise("give another --idempotency-key; 'reelmill sync --list' shows it"));
            }
        }
        self.put(entry)?;
        Ok(None)
    }

    /// Puts `entry` in, whatever else is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add_sent(&self, entry: &Entry) -> Result<(), Failure> {
        let _turn = self.writing().map_err(|e| self.wrong(&e))?;
        self.put(entry)
    }

    /// Writes what became of `entry`; `false` when somebody took it away.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn update(&self, entry: &Entry) -> Result<bool, Failure> {
        let _turn = self.writing().map_err(|e| self.wrong(&e))?;
        if !self.holds(entry) {
            return Ok(false);
        }
        self.put(entry)?;
        Ok(true)
    }

    /// Whether nobody took `entry` away.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        self.place(&entry.id.to_string()).exists()
    }

    /// Takes the entry called `id` away.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Failure> {
        let _turn = self.writing().map_err(|e| self.wrong(&e))?;
        match std::fs::remove_file(self.place(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.wrong(&error)),
            _ => self.flush().map_err(|e| self.wrong(&e)),
        }
    }

    /// All that lies in it, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn found(&self) -> Result<Vec<Found>, Failure> {
        let wrong = |e: std::io::Error| Failure::io(format!("read {}", self.folder.display()), &e);
        let mut names = Vec::new();
        for file in std::fs::read_dir(&self.folder).map_err(wrong)? {
            let path = file.map_err(wrong)?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !hidden && path.extension() == Some(OsStr::new(ENDING)) {
                names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        Ok(names.into_iter().filter_map(|id| self.read(id)).collect())
    }

    /// The entry called `id`; `None` when it is gone.
    fn read(&self, id: String) -> Option<Found> {
        let mut text = Vec::new();
        let read = File::open(self.place(&id))
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text));
        let entry = match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => Err(Failure::io("read it", &error)),
            Ok(read) if read as u64 > MAX_BYTES => {
                Err(Failure::permanent("it is damaged: no request is that large"))
            }
            Ok(_) => Entry::read(&text),
        };
        Some(match entry {
            Ok(entry) if Uuid::try_parse(&id) == Ok(entry.id) => Found::Entry(Box::new(entry)),
            Ok(entry) => {
                let failure = Failure::permanent(format!("it is a copy of {}", entry.id));
                Found::Unreadable { id, failure: failure.advise("remove it") }
            }
            Err(failure) => Found::Unreadable { id, failure },
        })
    }

    /// Takes the right to deliver.
    ///
    /// # Errors
    /// When another process has it.
    pub(crate) fn deliver(&self) -> Result<Delivering, Failure> {
        let mut lock = self.lock_file(DELIVERING).map_err(|e| self.wrong(&e))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For whoever wonders who it is; nothing rests on it.
                let _ = lock.set_len(0);
                let _ = write!(lock, "{}", std::process::id());
                Ok(Delivering { _lock: lock })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut who = String::new();
                let _ = lock.read_to_string(&mut who);
                let message = format!("another process ({who}) delivers what waits here already");
                Err(Failure::permanent(message).advise("wait for it, or end it"))
            }
            Err(error) => Err(self.wrong(&error.into())),
        }
    }

    /// Waits for the moment in which nobody else writes; drafts that are there
    /// then were left by processes that died.
    fn writing(&self) -> std::io::Result<File> {
        let lock = self.lock_file(WRITING)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        for file in std::fs::read_dir(&self.folder)?.flatten() {
            if file.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
                let _ = std::fs::remove_file(file.path());
            }
        }
        Ok(lock)
    }

    fn lock_file(&self, name: &str) -> std::io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.folder.join(name))
    }

    fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let text = entry.write()?;
        self.put_text(&entry.id.to_string(), &text).map_err(|e| self.wrong(&e))
    }

    /// Made anew beside its place, flushed, renamed: a crash leaves the old file
    /// or the new one. Nobody but its owner may read it.
    fn put_text(&self, id: &str, text: &[u8]) -> std::io::Result<()> {
        let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.folder)?;
        draft.write_all(text)?;
        draft.as_file().sync_all()?;
        draft.persist(self.place(id)).map_err(|error| error.error)?;
        self.flush()
    }

    fn flush(&self) -> std::io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn place(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.{ENDING}"))
    }

    fn wrong(&self, error: &std::io::Error) -> Failure {
        Failure::io(format!("write to the outbox {}", self.folder.display()), error)
    }
}

#[cfg(test)]
mod tests;
