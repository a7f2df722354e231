//! A file that is to be sent later, and what tells whether it is still the same.

use crate::files;
use reelmill_core::error::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path of this machine, whatever bytes it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Words", into = "Words")]
pub(super) struct LocalPath(pub(super) PathBuf);

/// A path as it is written: as text where it is text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Words> for LocalPath {
    fn from(words: Words) -> Self {
        Self(match words {
            Words::Text(text) => PathBuf::from(text),
            Words::Bytes(bytes) => PathBuf::from(std::ffi::OsString::from_vec(bytes)),
        })
    }
}

impl From<LocalPath> for Words {
    fn from(path: LocalPath) -> Self {
        match path.0.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.0.as_os_str().as_bytes().to_vec()),
        }
    }
}

/// A file, and what it was when somebody asked for its conversion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    path: LocalPath,
    bytes: u64,
    /// When it was written last, nanoseconds since the epoch.
    modified: i64,
    /// SHA-512 of its two ends, hexadecimal.
    ends: String,
}

impl Source {
    /// Looks at the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn look(path: &Path) -> Result<Self, Failure> {
        let whole = std::path::absolute(path).and_then(|whole| Self::at(&whole));
        whole.map_err(|error| Failure::input(format!("cannot read {}: {error}", path.display())))
    }

    fn at(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let facts = file.metadata()?;
        let mut digest = Sha512::new();
        for end in files::ends(&mut file, facts.len())? {
            digest.update(end);
        }
        Ok(Self {
            path: LocalPath(path.to_owned()),
            bytes: facts.len(),
            modified: facts
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(facts.mtime_nsec()),
            ends: hex::encode(digest.finalize()),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path.0
    }

    /// Whether the file is still what it was.
    ///
    /// # Errors
    /// When it changed, or is not there.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let name = self.path().display();
        let now = Self::at(self.path()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Failure::input(format!("{name} is not there any more")).advise("put it back")
            }
            _ => Failure::input(format!("cannot read {name}: {error}")),
        })?;
        if now == *self {
            return Ok(());
        }
        let what = match (now.bytes == self.bytes, now.ends == self.ends) {
            (false, _) => format!("it had {} bytes and has {}", self.bytes, now.bytes),
            (true, false) => "it has other content".to_owned(),
            (true, true) => "it was written to".to_owned(),
        };
        Err(Failure::input(format!("{name} changed after it was submitted: {what}"))
            .advise("submit it again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_in_any_way_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("film.mkv");
        std::fs::write(&film, "abc").unwrap();
        let source = Source::look(&film).unwrap();
        source.check().unwrap();
        let time = std::fs::metadata(&film).unwrap().modified().unwrap();
        let told = |source: &Source| source.check().unwrap_err().message;

        std::fs::write(&film, "abcd").unwrap();
        assert!(told(&source).contains("it had 3 bytes and has 4"), "{}", told(&source));
        std::fs::write(&film, "abx").unwrap();
        File::options().write(true).open(&film).unwrap().set_modified(time).unwrap();
        assert!(told(&source).contains("other content"), "{}", told(&source));
        std::fs::write(&film, "abc").unwrap();
        let later = time + std::time::Duration::from_nanos(1);
        File::options().write(true).open(&film).unwrap().set_modified(later).unwrap();
        assert!(told(&source).contains("written to"), "{}", told(&source));
        std::fs::remove_file(&film).unwrap();
        assert!(told(&source).contains("not there any more"), "{}", told(&source));
    }

    #[test]
    fn paths_of_any_bytes_are_kept() {
        for bytes in [&b"/films/a b.mkv"[..], b"/films/\xff\n\x01.mkv"] {
            let path = LocalPath(std::ffi::OsStr::from_bytes(bytes).into());
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<LocalPath>(&text).unwrap(), path, "{text}");
        }
    }
}
