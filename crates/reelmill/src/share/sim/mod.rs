//! A simulated disk for the code that shares folders and replaces files: kind, for
//! a model checker that tries every order; or ugly, for many random orders.

mod model;
mod ugly;

use super::fs::{Facts, Fs};
use super::library::Library;
use super::probe::Can;
use super::record::Record;
use crate::sim::dice;
use reelmill_core::slots::Mark;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The user's: never to be lost.
    User,
    /// An output or a record.
    Us,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct File {
    owner: Owner,
    content: Vec<u8>,
    modified: i64,
    /// The user has removed it or put another in its place.
    disowned: bool,
}

/// All files, and their names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    /// `a` and `A` are one name.
    folds_case: bool,
    /// A file can have several names.
    links: bool,
    /// A file of the user has no name any more.
    lost: Option<usize>,
    /// Commits that followed a lease, by the folder of their slots.
    commits: BTreeMap<PathBuf, u8>,
}

impl Disk {
    fn key(&self, path: &Path) -> PathBuf {
        if self.folds_case {
            PathBuf::from(path.to_string_lossy().to_lowercase())
        } else {
            path.to_owned()
        }
    }

    pub(super) fn at(&self, path: &Path) -> Option<usize> {
        self.names.get(&self.key(path)).copied()
    }

    pub(super) fn content(&self, path: &Path) -> Option<&[u8]> {
        self.at(path).map(|file| self.files[file].content.as_slice())
    }

    /// A new file under a name, which loses what it named.
    pub(super) fn put(&mut self, path: &Path, owner: Owner, content: &[u8]) {
        self.unname(path);
        let modified = self.files.len() as i64;
        self.files.push(File { owner, content: content.to_vec(), modified, disowned: false });
        self.names.insert(self.key(path), self.files.len() - 1);
    }

    /// The user removes, or is about to replace, what lies there.
    pub(super) fn disown(&mut self, path: &Path) {
        if let Some(file) = self.at(path) {
            self.files[file].disowned = true;
            self.unname(path);
        }
    }

    /// The user writes into a file.
    pub(super) fn edit(&mut self, path: &Path, content: &[u8]) {
        if let Some(file) = self.at(path) {
            let file = &mut self.files[file];
            file.content = content.to_vec();
            file.modified += 1_000_000;
            file.owner = Owner::User;
        }
    }

    /// Counts a slot that commits what a lease has made.
    fn count(&mut self, slot: &Path) {
        let mark = |path: &Path| Some(Record::parse(self.content(path)?).slot.mark);
        let number: Option<usize> = slot.file_stem().and_then(|n| n.to_str()?.parse().ok());
        let before = number.and_then(|n| n.checked_sub(1));
        let before = before.map(|n| slot.with_file_name(format!("{n}.json")));
        let follows = before.and_then(|path| mark(&path)) == Some(Mark::Lease);
        if follows && matches!(mark(slot), Some(Mark::Commit { .. })) {
            *self.commits.entry(slot.with_file_name("")).or_insert(0) += 1;
        }
    }

    fn unname(&mut self, path: &Path) -> Option<usize> {
        let file = self.names.remove(&self.key(path))?;
        let named = self.names.values().any(|other| *other == file);
        let File { owner, disowned, .. } = self.files[file];
        if !named && owner == Owner::User && !disowned {
            self.lost = Some(file);
        }
        Some(file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.at(from).ok_or(ErrorKind::NotFound)?;
        if self.at(to) != Some(file) {
            self.names.remove(&self.key(from));
            self.unname(to);
            self.names.insert(self.key(to), file);
        }
        Ok(())
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.at(to).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = self.at(from).ok_or(ErrorKind::NotFound)?;
        if !self.links {
            self.names.remove(&self.key(from));
        }
        self.names.insert(self.key(to), file);
        Ok(())
    }

    fn facts(&self, path: &Path) -> Option<Facts> {
        let number = self.at(path)?;
        let file = &self.files[number];
        let links = self.names.values().filter(|other| **other == number).count() as u64;
        Some(Facts {
            size: file.content.len() as u64,
            modified: file.modified,
            changed: 0,
            ends: String::from_utf8_lossy(&file.content).into_owned() + "!",
            node: number as u64,
            inode: number as u64 + 1,
            links,
        })
    }
}

/// What a look saw: content and facts, if there was a file.
type Seen = Option<(Vec<u8>, Facts)>;

/// What goes wrong on an ugly disk, in parts of 256.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    pub(super) dice: u64,
    /// Nothing is done, and an error says so.
    pub(super) refused: u8,
    /// It is done, but an error says it was not.
    pub(super) reply_lost: u8,
    /// What was seen before is seen again.
    pub(super) stale: u8,
    seen: BTreeMap<(usize, PathBuf), Seen>,
}

impl Faults {
    pub(super) fn none(dice: u64) -> Self {
        Self { dice, refused: 0, reply_lost: 0, stale: 0, seen: BTreeMap::new() }
    }

    pub(super) fn roll(&mut self, of_256: u8) -> bool {
        ((dice::next(&mut self.dice) >> 13) as u8) < of_256
    }
}

/// The disk as one process sees it.
#[derive(Debug)]
pub(super) struct SimFs {
    pub(super) disk: Arc<Mutex<Disk>>,
    faults: Arc<Mutex<Faults>>,
    process: usize,
    /// What must not replace does: a mutant.
    pub(super) clobber: bool,
    /// A slot that is there is removed and made anew: a mutant.
    pub(super) unlink_slots: bool,
}

/// Whether the long versions of tests are asked for.
fn long() -> bool {
    std::env::var_os("REELMILL_TEST_LONG").is_some_and(|long| long == "1")
}

/// A line for whoever reads the log of a test.
fn figures(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimFs {
    pub(super) fn new(
        disk: &Arc<Mutex<Disk>>,
        faults: &Arc<Mutex<Faults>>,
        process: usize,
    ) -> Self {
        let (disk, faults) = (disk.clone(), faults.clone());
        Self { disk, faults, process, clobber: false, unlink_slots: false }
    }

    /// The library on this disk, as this process sees it.
    pub(super) fn library(self) -> Library {
        let links = lock(&self.disk).links;
        let can = Can {
            links,
            rename_new: true,
            exchange: false,
            folds_case: lock(&self.disk).folds_case,
            local: false,
            inodes: true,
            clock_ahead: 0,
        };
        Library { root: PathBuf::from("/lib"), fs: Arc::new(self), can }
    }

    /// Does `act` to `paths`, with what goes wrong around it.
    fn change(
        &self,
        paths: &[&Path],
        lie: ErrorKind,
        act: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut faults = lock(&self.faults);
        for path in paths {
            faults.seen.remove(&(self.process, (*path).to_owned()));
        }
        let refused = faults.refused;
        if faults.roll(refused) {
            return Err(io::Error::other("refused"));
        }
        act(&mut lock(&self.disk))?;
        let lost = faults.reply_lost;
        if faults.roll(lost) {
            return Err(if faults.roll(128) { io::Error::other("lost") } else { lie.into() });
        }
        Ok(())
    }

    /// Looks at `path`, perhaps at what was there before.
    fn look(&self, path: &Path) -> io::Result<Seen> {
        let mut faults = lock(&self.faults);
        let (refused, stale) = (faults.refused, faults.stale);
        if faults.roll(refused) {
            return Err(io::Error::other("refused"));
        }
        let key = (self.process, path.to_owned());
        if faults.roll(stale)
            && let Some(before) = faults.seen.get(&key)
        {
            return Ok(before.clone());
        }
        let disk = lock(&self.disk);
        let content = disk.content(path).map(<[u8]>::to_vec);
        let seen = content.zip(disk.facts(path));
        faults.seen.insert(key, seen.clone());
        Ok(seen)
    }
}

impl Fs for SimFs {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.look(path)?.ok_or(ErrorKind::NotFound)?.0)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.change(&[path], ErrorKind::AlreadyExists, |disk| {
            let slot = path.extension().is_some_and(|extension| extension == "json");
            if disk.at(path).is_some() && !(self.unlink_slots && slot) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            disk.put(path, Owner::Us, content);
            if slot {
                disk.count(path);
            }
            Ok(())
        })
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.change(&[path], ErrorKind::Other, |disk| {
            disk.put(path, Owner::Us, content);
            Ok(())
        })
    }

    fn facts(&self, path: &Path) -> io::Result<Option<Facts>> {
        Ok(self.look(path)?.map(|(_, facts)| facts))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(&[from, to], ErrorKind::AlreadyExists, |disk| {
            if self.clobber { disk.rename(from, to) } else { disk.publish(from, to) }
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(&[from, to], ErrorKind::NotFound, |disk| disk.rename(from, to))
    }

    fn exchange(&self, _one: &Path, _other: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(&[path], ErrorKind::NotFound, |disk| {
            disk.unname(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
        })
    }

    fn sync_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let disk = lock(&self.disk);
        let inside = disk.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect())
    }

    fn make_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hold(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn release(&self, _path: &Path) {}
}
