//! Walking a library with several threads: what lies there, held against what is
//! known while the folder is at hand.

use super::known::Known;
use reelmill_core::facts::MediaKind;
use reelmill_core::library::files::{Change, Seen, compare, passed_by, promised};
use reelmill_core::library::missing::FolderState;
use reelmill_store::library::joined;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Folders within folders that are entered; deeper is a loop or a mistake.
const DEEPEST: usize = 64;

/// Complaints that are kept; the rest is only counted.
const MOST_COMPLAINTS: usize = 1000;

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Kinds of media, by what names promise.
    pub(crate) kinds: Vec<MediaKind>,
    /// Follow symbolic links.
    pub(crate) follow: bool,
    /// Threads.
    pub(crate) threads: usize,
}

impl Wanted {
    /// Whether a file of this name is looked for.
    pub(crate) fn wants(&self, name: &[u8]) -> bool {
        promised(name).is_some_and(|kind| self.kinds.contains(&kind))
    }
}

/// A file that has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// Its folder.
    pub(crate) folder: Vec<u8>,
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Bytes.
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) mtime: i64,
    /// It was known before, with another size or time.
    pub(crate) changed: bool,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Path within the library.
    pub(crate) path: Vec<u8>,
    /// Why.
    pub(crate) reason: String,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Media files that are there.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Those that are as they are known.
    pub(crate) same: u64,
    /// Those that have to be looked at.
    pub(crate) fresh: Vec<Fresh>,
    /// Known files that are not in their folder, though it is there.
    pub(crate) missing: Vec<(Vec<u8>, Vec<u8>)>,
    /// Folders that were met, the known ones and those that hold nothing.
    pub(crate) folders: HashMap<Vec<u8>, FolderState>,
    /// Folders in all.
    pub(crate) folder_count: u64,
    /// Symbolic links that were passed by.
    pub(crate) links: u64,
    /// What could not be read.
    pub(crate) complaints: Vec<Complaint>,
    /// How many of those there are.
    pub(crate) complained: u64,
}

struct Shared<'a> {
    root: OwnedFd,
    known: &'a Known,
    wanted: &'a Wanted,
    queue: Mutex<Queue>,
    bell: Condvar,
    stop: &'a CancellationToken,
    /// Files met so far, for progress.
    met: &'a AtomicU64,
}

/// Folders to be read. There are never more than lie in the folders that were
/// read, and the last found is read first.
#[derive(Default)]
struct Queue {
    folders: Vec<(Vec<u8>, usize)>,
    /// Links to folders, each followed when all else is read, so that a folder
    /// is met by the same way each time.
    links: BTreeSet<(Vec<u8>, usize)>,
    busy: usize,
    /// Folders that were entered, where links are followed.
    entered: HashSet<(u64, u64)>,
}

/// Walks the folder `within` of the library at `root`; `met` counts the files on
/// the way.
///
/// # Errors
/// When the root cannot be opened, or the threads not be started.
pub(crate) fn walk(
    (root, within): (&Path, &[u8]),
    known: &Known,
    wanted: &Wanted,
    met: &AtomicU64,
    stop: &CancellationToken,
) -> std::io::Result<Walked> {
    let root = OwnedFd::from(File::open(root)?);
    let queue = Queue { folders: vec![(within.to_vec(), 0)], ..Queue::default() };
    let shared =
        Shared { root, known, wanted, queue: Mutex::new(queue), bell: Condvar::new(), stop, met };
    let mut all = Walked::default();
    std::thread::scope(|scope| {
        let begin = |_| {
            std::thread::Builder::new().name("walk".into()).spawn_scoped(scope, || shared.work())
        };
        let threads: std::io::Result<Vec<_>> = (0..wanted.threads.max(1)).map(begin).collect();
        for thread in threads? {
            match thread.join() {
                Ok(part) => all.add(part),
                Err(_) => return Err(std::io::Error::other("a thread of the walk broke down")),
            }
        }
        Ok(())
    })?;
    all.fresh.sort_by(|one, other| (&one.folder, &one.name).cmp(&(&other.folder, &other.name)));
    Ok(all)
}

impl Walked {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.same += other.same;
        self.fresh.extend(other.fresh);
        self.missing.extend(other.missing);
        self.folders.extend(other.folders);
        self.folder_count += other.folder_count;
        self.links += other.links;
        self.complained += other.complained;
        self.complaints.extend(other.complaints);
        self.complaints.truncate(MOST_COMPLAINTS);
    }

    fn complain(&mut self, path: Vec<u8>, error: rustix::io::Errno) {
        self.complained += 1;
        if self.complaints.len() < MOST_COMPLAINTS {
            let reason = std::io::Error::from(error).to_string();
            self.complaints.push(Complaint { path, reason });
        }
    }
}

/// Folders in a folder, and links to folders.
#[derive(Default)]
struct Below {
    folders: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
}

/// A media file of a folder.
struct Found {
    name: Vec<u8>,
    size: u64,
    mtime: i64,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Walked {
        let mut walked = Walked::default();
        let mut queue = self.lock();
        loop {
            if self.stop.is_cancelled() {
                self.bell.notify_all();
                return walked;
            }
            if let Some((folder, depth)) = queue.folders.pop() {
                queue.busy += 1;
                drop(queue);
                let Below { folders, links } = self.folder(&folder, depth, &mut walked);
                queue = self.lock();
                queue.busy -= 1;
                queue.folders.extend(folders.into_iter().map(|path| (path, depth + 1)));
                queue.links.extend(links.into_iter().map(|path| (path, depth + 1)));
                self.bell.notify_all();
            } else if queue.busy == 0
                && let Some(link) = queue.links.pop_first()
            {
                queue.folders.push(link);
            } else if queue.busy == 0 {
                return walked;
            } else {
                queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Reads a folder; the folders in it.
    fn folder(&self, folder: &[u8], depth: usize, walked: &mut Walked) -> Below {
        walked.folder_count += 1;
        let mut below = Below::default();
        let mut found = Vec::new();
        match self.entries(folder, walked, &mut found, &mut below) {
            Ok(any) => {
                let state = if any { FolderState::Read } else { FolderState::Empty };
                // A folder without known files decides about those below it only
                // when it is empty; the rest need not be kept.
                let span = self.known.span(folder);
                if span.is_some() || !any || folder.is_empty() || depth == 0 {
                    walked.folders.insert(folder.to_vec(), state);
                }
                self.compare(folder, found, walked);
            }
            Err(error) => {
                walked.folders.insert(folder.to_vec(), FolderState::Unreadable);
                walked.complain(folder.to_vec(), error);
            }
        }
        if depth >= DEEPEST && !(below.folders.is_empty() && below.links.is_empty()) {
            walked.complained += 1;
            let reason = format!("it has folders more than {DEEPEST} deep: not entered");
            walked.complaints.push(Complaint { path: folder.to_vec(), reason });
            return Below::default();
        }
        below
    }

    /// Whether anything lies in a folder; its media files and folders.
    fn entries(
        &self,
        folder: &[u8],
        walked: &mut Walked,
        found: &mut Vec<Found>,
        below: &mut Below,
    ) -> rustix::io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if folder.is_empty() { b"." } else { folder };
        let at = openat(&self.root, path, flags, Mode::empty())?;
        if self.wanted.follow {
            let stat = rustix::fs::fstat(&at)?;
            if !self.lock().entered.insert((stat.st_dev, stat.st_ino)) {
                // Met before by another way: it counts there.
                return Ok(true);
            }
        }
        let mut any = false;
        let dir = Dir::read_from(&at)?;
        for entry in dir {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            any = true;
            if !passed_by(bytes) {
                self.entry(&at, name, entry.file_type(), (folder, walked, found, below));
            }
        }
        Ok(any)
    }

    fn entry(
        &self,
        at: &OwnedFd,
        name: &CStr,
        kind: FileType,
        (folder, walked, found, below): (&[u8], &mut Walked, &mut Vec<Found>, &mut Below),
    ) {
        let bytes = name.to_bytes();
        let media = || self.wanted.wants(bytes);
        let look = match kind {
            FileType::Directory => return below.folders.push(joined(folder, bytes)),
            FileType::RegularFile => media(),
            FileType::Symlink if !self.wanted.follow => {
                walked.links += 1;
                return;
            }
            FileType::Symlink | FileType::Unknown => true,
            _ => return,
        };
        if !look {
            return;
        }
        let flags = if self.wanted.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = match statat(at, name, flags) {
            Ok(stat) => stat,
            // It went away meanwhile, or is a link to nowhere.
            Err(rustix::io::Errno::NOENT) => return,
            Err(error) => return walked.complain(joined(folder, bytes), error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if kind == FileType::Symlink => {
                below.links.push(joined(folder, bytes))
            }
            FileType::Directory => below.folders.push(joined(folder, bytes)),
            FileType::Symlink => walked.links += 1,
            FileType::RegularFile if media() => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
                let mtime = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanos);
                found.push(Found { name: bytes.to_vec(), size, mtime });
            }
            _ => {}
        }
    }

    fn compare(&self, folder: &[u8], mut found: Vec<Found>, walked: &mut Walked) {
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        walked.files += found.len() as u64;
        self.met.fetch_add(found.len() as u64, Ordering::Relaxed);
        walked.bytes += found.iter().map(|file| file.size).sum::<u64>();
        let span = self.known.span(folder).unwrap_or_default();
        let seen = |at: usize| {
            let Found { name, size, mtime } = found.get(at)?;
            Some(Seen { name, size: *size, mtime: *mtime })
        };
        compare(
            |at| self.known.seen(span, at),
            seen,
            |change| {
                let (at, changed) = match change {
                    Change::Same(known, _) if !self.known.retry(span, known) => {
                        walked.same += 1;
                        return;
                    }
                    Change::Same(_, found) | Change::Changed(_, found) => (found, true),
                    Change::New(found) => (found, false),
                    Change::Missing(known) => {
                        let name = self.known.seen(span, known).map(|seen| seen.name);
                        let name = name.filter(|name| self.wanted.wants(name));
                        walked.missing.extend(name.map(|name| (folder.to_vec(), name.to_vec())));
                        return;
                    }
                };
                let Found { name, size, mtime } = &found[at];
                walked.fresh.push(Fresh {
                    folder: folder.to_vec(),
                    name: name.clone(),
                    size: *size,
                    mtime: *mtime,
                    changed,
                });
            },
        );
    }
}

#[cfg(test)]
mod tests;
