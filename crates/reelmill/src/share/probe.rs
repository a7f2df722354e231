//! What a mount can do, found by trying.

use super::leftovers;
use crate::clock;
use rustix::fs::{CWD, RenameFlags};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Can {
    /// Hard links, which never replace.
    pub(crate) links: bool,
    /// A rename that never replaces. Network mounts only claim to.
    pub(crate) rename_new: bool,
    /// Exchanging two files in one step, on a disk of this machine.
    pub(crate) exchange: bool,
    /// `a` and `A` are one name.
    pub(crate) folds_case: bool,
    /// The file system is this machine's own.
    pub(crate) local: bool,
    /// Files keep their numbers when they are renamed.
    pub(crate) inodes: bool,
    /// Seconds by which the file server's clock is ahead of ours.
    pub(crate) clock_ahead: i64,
}

/// File systems whose operations this machine alone decides and whose files keep
/// their numbers: ext, XFS, Btrfs, tmpfs, F2FS, ZFS (magic numbers of statfs(2)).
const LOCAL: &[i64] = &[0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0x2FC1_2FC1];

/// The same, but numbers of files may change: overlay, FAT, exFAT, NTFS.
const LOCAL_UNNUMBERED: &[i64] = &[0x794C_7630, 0x4D44, 0x2011_BAB0, 0x7366_746E];

/// A clock that is off by more seconds than this is worth telling.
const CLOCK_OFF: i64 = 5;

/// What lies in the folder begins so: of what is tried here, and of looks at the file
/// server's clock.
const NAMES: &[&str] = &["probe-", "clock-"];

/// Measures the mount that `folder` lies on; leaves nothing there, and removes what killed
/// processes left.
///
/// # Errors
/// When files cannot be created there at all.
pub(crate) fn measure(folder: &Path) -> io::Result<Can> {
    let place = tempfile::Builder::new().prefix(NAMES[0]).tempdir_in(folder)?;
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("a"), "a")?;
    std::fs::write(at("b"), "b")?;
    let links = std::fs::hard_link(at("a"), at("c")).is_ok()
        && std::fs::hard_link(at("a"), at("b")).is_err()
        && std::fs::read(at("c")).is_ok_and(|content| content == b"a");
    let magic = rustix::fs::statfs(folder)?.f_type;
    let inodes = LOCAL.contains(&magic);
    let local = inodes || LOCAL_UNNUMBERED.contains(&magic);
    let written = std::fs::metadata(at("b"))?.mtime();
    leftovers::clear(folder, NAMES, written);
    let clock_ahead = written - clock::now().0 / 1_000_000;
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags).is_ok()
    };
    let rename_new = local
        && !rename("a", "b", RenameFlags::NOREPLACE)
        && rename("a", "d", RenameFlags::NOREPLACE)
        && rename("d", "a", RenameFlags::NOREPLACE);
    let exchange = local
        && rename("a", "b", RenameFlags::EXCHANGE)
        && std::fs::read(at("b")).is_ok_and(|content| content == b"a");
    let folds_case = at("A").symlink_metadata().is_ok();
    Ok(Can { links, rename_new, exchange, folds_case, local, inodes, clock_ahead })
}

impl Can {
    /// In words, for people.
    pub(crate) fn told(self) -> String {
        let place = if self.local { "a local file system" } else { "a network file system" };
        let way = match (self.exchange, self.links) {
            (true, _) => "files are exchanged in one step; shared work moves and links them",
            (false, true) => "files are moved away, then the new one is linked to the name",
            (false, false) => "no hard links: renames that do not replace are used",
        };
        let case = if self.folds_case { "; upper and lower case are the same" } else { "" };
        let clock = match self.clock_ahead {
            off if off > CLOCK_OFF => format!("; its clock is {off} s ahead of ours"),
            off if off < -CLOCK_OFF => format!("; its clock is {} s behind ours", -off),
            _ => String::new(),
        };
        format!("{place}: {way}{case}{clock}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_local_folder_is_measured_and_left_clean() {
        let folder = tempfile::tempdir().unwrap();
        let can = super::measure(folder.path()).unwrap();
        assert!(can.links, "{can:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
