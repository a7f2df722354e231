//! The real file system.

use super::fs::{Facts, Fs};
use crate::{clock, mutant};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Largest file that is read whole: our records are far smaller.
const LARGEST: u64 = 1 << 20;

/// Bytes of each end of a file that its identity takes in.
const END: u64 = 65_536;

/// The real file system, as the mount at hand can do it.
#[derive(Debug, Default)]
pub(crate) struct RealFs {
    /// There are hard links.
    pub(crate) links: bool,
    /// A rename can be told not to replace, and keeps to it.
    pub(crate) rename_new: bool,
    /// Files keep their numbers over renames, on every machine.
    pub(crate) inodes: bool,
    /// Files that this process holds.
    pub(crate) held: Mutex<BTreeMap<PathBuf, File>>,
}

impl Fs for RealFs {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(LARGEST).read_to_end(&mut content)?;
        Ok(content)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // Complete before it has its name: nobody ever reads half of it.
        let draft = folder.join(format!("tmp-{}", clock::fresh()));
        let written = write_new(&draft, content).and_then(|()| self.give_name(&draft, path));
        let _ = std::fs::remove_file(&draft);
        written?;
        self.sync_dir(folder)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        std::fs::write(path, content)
    }

    fn facts(&self, path: &Path) -> io::Result<Option<Facts>> {
        let meta = match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => return Ok(Some(self.odd(&meta))),
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Ok(Some(self.odd(&meta))),
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(Some(self.odd(&meta)));
        }
        let mut digest = Sha256::new();
        let mut end = vec![0; END.min(meta.len()) as usize];
        for from in [SeekFrom::Start(0), SeekFrom::End(-(end.len() as i64))] {
            file.seek(from)?;
            file.read_exact(&mut end)?;
            digest.update(&end);
        }
        Ok(Some(Facts { ends: hex::encode(&digest.finalize()[..16]), ..self.odd(&meta) }))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        if mutant::leaves_out("replace-no-clobber") {
            return std::fs::rename(from, to);
        }
        match self.give_name(from, to) {
            // A full folder takes no second name, but lets one be changed.
            Err(error) if self.rename_new && error.kind() == ErrorKind::StorageFull => {
                rename_new(from, to)
            }
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        if mutant::leaves_out("replace-fsync") {
            return Ok(());
        }
        File::open(folder)?.sync_all()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn make_dir(&self, folder: &Path) -> io::Result<()> {
        match std::fs::create_dir(folder) {
            Ok(()) => folder.parent().map_or(Ok(()), |parent| self.sync_dir(parent)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn hold(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        match file.try_lock() {
            Ok(()) => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.insert(path.to_owned(), file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn release(&self, path: &Path) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

impl RealFs {
    fn give_name(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.links { std::fs::hard_link(from, to) } else { rename_new(from, to) }
    }

    /// Facts without a look at the content, as links and folders have none for us.
    fn odd(&self, meta: &std::fs::Metadata) -> Facts {
        let node = meta.dev().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ meta.ino();
        Facts {
            size: meta.len(),
            modified: meta.mtime() * 10_000_000 + meta.mtime_nsec() / 100,
            changed: meta.ctime() * 10_000_000 + meta.ctime_nsec() / 100,
            ends: String::new(),
            node,
            inode: if self.inodes { meta.ino() } else { 0 },
            links: meta.nlink(),
        }
    }
}

/// Makes a file's bytes durable.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    if mutant::leaves_out("replace-fsync") {
        return Ok(());
    }
    file.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    sync_file(&file)
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}
