//! What must hold before the database is opened: a disk of this machine, and
//! nobody else.

use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two looks at whether a lock is free.
const LOOK: Duration = Duration::from_millis(5);

/// Held while the database is open: no second process may use it.
#[derive(Debug)]
pub(super) struct Guard {
    _lock: File,
}

impl Guard {
    /// Locks the database at `path`, after making sure that it lies where
    /// locks work.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|error| io("create the folder", folder, &error))?;
        refuse_network(path, folder)?;
        let (name, mut lock) = lock_of(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.to_owned(), pid: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", &name, &error)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
        written.map_err(|error| io("write", &name, &error))?;
        Ok(Self { _lock: lock })
    }
}

/// Waits until nobody else makes the database at `path` or changes its tables; this
/// one may while what it yields is held. For databases that several processes use.
///
/// # Errors
/// `Busy` when somebody does for more than `patience`.
pub(crate) async fn turn(path: &Path, patience: Duration) -> Result<File, StoreError> {
    let (name, lock) = lock_of(path)?;
    let end = Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < end => tokio::time::sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process has locked {}", name.display());
                return Err(StoreError::Busy(message));
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", &name, &error)),
        }
    }
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// The lock file of the database at `path`, made if it is not there, with its name.
fn lock_of(path: &Path) -> Result<(PathBuf, File), StoreError> {
    let name = lock_path(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let lock = options.open(&name).map_err(|error| io("open", &name, &error))?;
    Ok((name, lock))
}

/// Refuses a database at `path` in `folder` when that lies on a network file system.
pub(crate) fn refuse_network(path: &Path, folder: &Path) -> Result<(), StoreError> {
    match network_file_system(folder)? {
        None => Ok(()),
        Some(kind) => {
            Err(StoreError::NetworkFileSystem { path: path.to_owned(), kind: kind.into() })
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// The process that wrote its number into the lock file.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

pub(super) fn io(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let told = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        StorageFull | QuotaExceeded => StoreError::Full(told),
        _ => StoreError::Io(told),
    }
}

/// What kind of network file system `folder` lies on, if it does.
#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Result<Option<&'static str>, StoreError> {
    let found = rustix::fs::statfs(folder);
    let found = found.map_err(|error| io("look at", folder, &error.into()))?;
    // The numbers are 32 bits wide; some machines extend them with their sign.
    Ok(network_kind(found.f_type as u32))
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_folder: &Path) -> Result<Option<&'static str>, StoreError> {
    Ok(None)
}

/// The network file systems of Linux, by their numbers in statfs(2).
#[cfg(target_os = "linux")]
fn network_kind(number: u32) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9P",
        0x5346_414f => "AFS",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("jobs.db");
        let first = Guard::take(&path).unwrap();
        let error = Guard::take(&path).unwrap_err();
        assert_eq!(error, StoreError::InUse { path: path.clone(), pid: Some(std::process::id()) });
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        Guard::take(&path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_told_apart() {
        assert_eq!(network_kind(0x6969), Some("NFS"));
        assert_eq!(network_kind(0xff53_4d42_u64 as u32), Some("CIFS"));
        assert_eq!(network_kind(0xef53), None, "ext4");
    }
}
