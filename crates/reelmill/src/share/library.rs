//! A library: its root, and where reelmill keeps its records there.

use super::fs::{Facts, Fs};
use super::probe::{self, Can};
use super::real_fs::RealFs;
use super::record::Record;
use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::names;
use reelmill_core::settle::Way;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of records in a library's root.
pub(crate) const FOLDER: &str = ".reelmill";

/// Slots that a file may have; each is a start, an end or a take-over.
const MOST_SLOTS: usize = 1000;

/// A library that is worked on.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    /// Its root.
    pub(crate) root: PathBuf,
    /// File operations, as its mount does them.
    pub(crate) fs: Arc<dyn Fs>,
    /// What the mount was found to do.
    pub(crate) can: Can,
}

impl Library {
    /// Opens the library that `folder` belongs to: the nearest folder above it
    /// that has records, or itself. Measures what the mount can do.
    ///
    /// # Errors
    /// When nothing can be written there, or files could not be replaced safely.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let folder = real(folder)?;
        let root = root_of(&folder).unwrap_or(folder);
        let home = root.join(FOLDER);
        let fail = |e: std::io::Error| Failure::io(format!("write to {}", home.display()), &e);
        let plain = RealFs::default();
        for folder in ["", "slots", "hold", "trash", "tmp", "queue"] {
            plain.make_dir(&home.join(folder)).map_err(fail)?;
        }
        let can = probe::measure(&home.join("tmp")).map_err(fail)?;
        if !can.links && !can.rename_new {
            let message = format!(
                "files in {} cannot be given a name without the risk of replacing another: \
                 its file system has no hard links",
                root.display()
            );
            return Err(Failure::environment(message)
                .advise("convert to a folder elsewhere with --output-dir, without --shared"));
        }
        let Can { links, rename_new, inodes, .. } = can;
        let fs = Arc::new(RealFs { links, rename_new, inodes, ..RealFs::default() });
        Ok(Self { root, fs, can })
    }

    /// The library that `folder` belongs to, to be read only; `None` where it has no records.
    /// Nothing is written, so what the mount can do stays unknown.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(crate) fn peek(folder: &Path) -> Result<Option<Self>, Failure> {
        let Some(root) = root_of(&real(folder)?) else { return Ok(None) };
        Ok(Some(Self { root, fs: Arc::new(RealFs::default()), can: Can::default() }))
    }

    /// Whether `path` lies on the file system of the records, so that files can
    /// be moved there.
    pub(crate) fn reaches(&self, path: &Path) -> std::io::Result<bool> {
        let folder = path.parent().unwrap_or(path);
        Ok(std::fs::metadata(folder)?.dev() == std::fs::metadata(self.home("hold"))?.dev())
    }

    /// The file server's clock, in units of 100 ns since 1970, as a file written
    /// now shows it.
    pub(crate) fn now(&self) -> Option<i64> {
        let path = self.home("tmp").join(format!("clock-{}", clock::fresh()));
        self.fs.write(&path, b"").ok()?;
        let facts = self.fs.facts(&path);
        let _ = self.fs.remove(&path);
        Some(facts.ok()??.modified)
    }

    /// A folder or file of the records.
    pub(crate) fn home(&self, below: &str) -> PathBuf {
        self.root.join(FOLDER).join(below)
    }

    /// `path` relative to the root, written down.
    pub(crate) fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        names::encode(relative.as_os_str().as_bytes())
    }

    /// The path that [`Self::relative`] wrote down.
    pub(crate) fn absolute(&self, relative: &str) -> PathBuf {
        let bytes = names::decode(relative).unwrap_or_else(|| relative.as_bytes().to_vec());
        self.root.join(OsString::from_vec(bytes))
    }

    /// The name of the job "this version of this file".
    pub(crate) fn id(&self, path: &Path, facts: &Facts) -> String {
        let mut digest = Sha256::new();
        digest.update(self.relative(path));
        digest.update(format!("\n{} {} {}", facts.size, facts.modified, facts.ends));
        hex::encode(&digest.finalize()[..10])
    }

    /// How an output takes the place of `source`, where both have the same name
    /// or not.
    pub(crate) fn way(&self, same_name: bool, shared: bool) -> Way {
        match (same_name, self.can.exchange && !shared) {
            (true, true) => Way::Exchange,
            (true, false) => Way::Capture,
            (false, _) => Way::NewName,
        }
    }

    /// The folder of a job's slots.
    pub(crate) fn slots(&self, id: &str) -> PathBuf {
        self.home("slots").join(&id[..2.min(id.len())]).join(id)
    }

    /// A job's private name `what` of attempt `n`.
    pub(crate) fn private(&self, id: &str, n: u8, what: &str) -> PathBuf {
        self.home("hold").join(format!("{id}.{n}.{what}"))
    }

    /// The mark that a job is in the middle of a replacement.
    pub(crate) fn open_mark(&self, id: &str) -> PathBuf {
        self.home("hold").join(format!("{id}.open"))
    }

    /// Where the original of attempt `n` lies in the trash.
    pub(crate) fn trash(&self, id: &str, n: u8, source: &Path) -> PathBuf {
        let mark = format!("{id}.{n}--");
        let name = source.file_name().unwrap_or_default().as_bytes();
        let mut full = mark.clone().into_bytes();
        full.extend(names::shortened(name, names::LONGEST - mark.len()));
        self.home("trash").join(OsString::from_vec(full))
    }

    /// All slots of a job, as far as they are seen.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn records(&self, id: &str) -> std::io::Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < MOST_SLOTS {
            match self.fs.read(&self.slots(id).join(format!("{}.json", records.len()))) {
                Ok(content) => records.push(Record::parse(&content)),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Jobs that are in the middle of a replacement, or left something behind.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn unsettled(&self) -> std::io::Result<Vec<String>> {
        let names = self.fs.list(&self.home("hold"))?;
        let id = |name: OsString| name.to_str()?.split('.').next().map(str::to_owned);
        let mut ids: Vec<String> = names.into_iter().filter_map(id).collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

/// `folder` without links and dots.
///
/// # Errors
/// When there is no such folder.
pub(crate) fn real(folder: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(folder)
        .map_err(|e| Failure::io(format!("open the folder {}", folder.display()), &e))
}

/// The root of the library that `folder` (a real path) belongs to, if there is
/// one: the nearest folder above it, on the same file system, that has records.
pub(crate) fn root_of(folder: &Path) -> Option<PathBuf> {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    let here = device(folder)?;
    let mut above = folder.ancestors().take_while(|above| device(above) == Some(here));
    above.find(|above| above.join(FOLDER).is_dir()).map(Path::to_owned)
}
