//! The finished output beside its place: copied in whole, with the source's
//! mode, owner, times and attributes, flushed, and read back.

use super::real_fs::sync_file;
use crate::mutant;
use reelmill_core::error::Failure;
use rustix::fs::{Timespec, Timestamps};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Bytes copied at a time.
const BLOCK: usize = 1 << 20;

/// Longest attribute value that is kept, bytes; file systems take no more.
const LONGEST_VALUE: usize = 1 << 16;

/// Copies `made` to the new file `part` and gives it what `like` has. Yields
/// what could not be kept.
///
/// # Errors
/// When it cannot be written whole; then there is no `part`.
pub(crate) fn prepare(
    made: &Path,
    part: &Path,
    like: Option<&Path>,
) -> Result<Vec<String>, Failure> {
    let done = write(made, part, like);
    if done.is_err() {
        let _ = std::fs::remove_file(part);
    }
    done.map_err(|error| Failure::io(format!("write {}", part.display()), &error))
}

fn write(made: &Path, part: &Path, like: Option<&Path>) -> io::Result<Vec<String>> {
    let mut from = File::open(made)?;
    let mut to = File::options().write(true).create_new(true).open(part)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block)? {
            0 => break,
            read => {
                digest.update(&block[..read]);
                to.write_all(&block[..read])?;
            }
        }
    }
    let lost = match like {
        Some(like) => dress(&to, part, like)?,
        None => Vec::new(),
    };
    // Never tried again when it fails: what was to be written may be gone.
    sync_file(&to)?;
    drop(to);
    if digest_of(part)? != digest.finalize().as_slice() {
        return Err(io::Error::other("what was written is not what is read back"));
    }
    if let Some(folder) = part.parent()
        && !mutant::leaves_out("replace-fsync")
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(lost)
}

fn digest_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(digest.finalize().to_vec()),
            read => digest.update(&block[..read]),
        }
    }
}

/// Mode, owner, times and attributes of `like`.
fn dress(to: &File, part: &Path, like: &Path) -> io::Result<Vec<String>> {
    let meta = std::fs::metadata(like)?;
    let mut lost = Vec::new();
    let own = to.metadata()?;
    if (own.uid(), own.gid()) != (meta.uid(), meta.gid())
        && std::os::unix::fs::fchown(to, Some(meta.uid()), Some(meta.gid())).is_err()
    {
        lost.push(format!("the owner (user {}, group {})", meta.uid(), meta.gid()));
    }
    // After the owner: changing that takes some of the mode away.
    let mode = std::fs::Permissions::from_mode(meta.mode() & 0o7777);
    if to.set_permissions(mode).is_err() {
        lost.push(format!("the mode {:o}", meta.mode() & 0o7777));
    }
    lost.extend(attributes(part, like));
    let time = |sec, nsec| Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    if rustix::fs::futimens(to, &times).is_err() {
        lost.push("its times".to_owned());
    }
    Ok(lost)
}

/// The user's attributes and access lists; not the system's own.
fn attributes(part: &Path, like: &Path) -> Vec<String> {
    let mut names = vec![0; LONGEST_VALUE];
    let Ok(length) = rustix::fs::listxattr(like, &mut names[..]) else { return Vec::new() };
    let mut lost = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        let kept = name.starts_with(b"user.") || name == b"system.posix_acl_access";
        let Some(name) = std::str::from_utf8(name).ok().filter(|_| kept) else { continue };
        let mut value = vec![0; LONGEST_VALUE];
        let copied = rustix::fs::getxattr(like, name, &mut value[..]).and_then(|length| {
            rustix::fs::setxattr(part, name, &value[..length], rustix::fs::XattrFlags::empty())
        });
        if copied.is_err() {
            lost.push(format!("the attribute {name}"));
        }
    }
    lost
}
