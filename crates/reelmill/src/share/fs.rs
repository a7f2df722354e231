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
    /// Digest of both ends of the content.
    pub(crate) ends: String,
    /// Equal for two names of one file, different for two files.
    pub(crate) node: u64,
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
}

impl Facts {
    /// What to remember.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { size: self.size, modified: self.modified, ends: self.ends.clone() }
    }

    /// Whose content this is. An output may get another time; a source whose
    /// time has changed has been written to.
    pub(crate) fn kind(&self, original: &Fingerprint, output: &Fingerprint) -> Kind {
        if self.fingerprint() == *original {
            Kind::Original
        } else if self.size == output.size && self.ends == output.ends {
            Kind::Output
        } else {
            Kind::Other
        }
    }
}

/// File operations. Each either happens whole or not at all; an error may come
/// although it happened.
pub(crate) trait Fs: Send + Sync {
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
}
