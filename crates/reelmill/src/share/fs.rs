//! The file operations that sharing a folder and replacing files need. The same
//! code runs over the real file system and over a simulated, ugly one.

use reelmill_core::settle::Kind;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// What identifies a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// Bytes.
    pub(crate) size: u64,
    /// Modification time, in units of 100 ns since 1970 (what SMB can carry).
    pub(crate) modified: i64,
    /// When content, mode, owner or names last changed, by the file server's
    /// clock, in units of 100 ns since 1970.
    pub(crate) changed: i64,
    /// Digest of both ends of the content; empty for what is no plain file.
    pub(crate) ends: String,
    /// Equal for two names of one file, different for two files.
    pub(crate) node: u64,
    /// Its number, where the file system keeps numbers; else 0.
    pub(crate) inode: u64,
    /// How many names it has.
    pub(crate) links: u64,
}

/// What is remembered of a file, to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// Bytes.
    pub(crate) size: u64,
    /// Modification time, in units of 100 ns since 1970.
    pub(crate) modified: i64,
    /// Digest of both ends of the content.
    pub(crate) ends: String,
    /// Its number, where the file system keeps numbers; else 0.
    #[serde(default)]
    pub(crate) inode: u64,
}

impl Fingerprint {
    /// The same content, as far as it is looked at; wherever the file lies.
    pub(crate) fn alike(&self, facts: &Facts) -> bool {
        self.size == facts.size && self.ends == facts.ends
    }

    fn same_file(&self, facts: &Facts) -> bool {
        self.alike(facts) && (self.inode == 0 || facts.inode == 0 || self.inode == facts.inode)
    }
}

impl Facts {
    /// What to remember.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let ends = self.ends.clone();
        Fingerprint { size: self.size, modified: self.modified, ends, inode: self.inode }
    }

    /// Whether this is a plain file.
    pub(crate) fn plain(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whose content this is. An output may get another time; a source whose
    /// time has changed has been written to. A copy is not the same file.
    pub(crate) fn kind(&self, original: &Fingerprint, output: &Fingerprint) -> Kind {
        if original.same_file(self) && self.modified == original.modified {
            Kind::Original
        } else if output.same_file(self) {
            Kind::Output
        } else {
            Kind::Other
        }
    }
}

/// File operations. Each either happens whole or not at all; an error may come
/// although it happened.
pub(crate) trait Fs: Send + Sync + std::fmt::Debug {
    /// Reads a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Creates a file with this content, durably; never replaces one.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Writes a file of our own anew; it need not survive a power cut.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Looks at a file; `None` when there is none.
    fn facts(&self, path: &Path) -> io::Result<Option<Facts>>;
    /// Gives a file another name, which must be free.
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames to a name that nobody else uses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Exchanges two files.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder's entries durable.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder; none when there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;
    /// Makes a folder, which may be there.
    fn make_dir(&self, folder: &Path) -> io::Result<()>;
    /// Holds a file for this process until it is released or the process ends;
    /// false when another holds it. On this machine's own disks only.
    fn hold(&self, path: &Path) -> io::Result<bool>;
    /// Lets go what [`Self::hold`] holds.
    fn release(&self, path: &Path);
}
