//! What a tool may touch: exactly the files of its task.

use std::path::{Path, PathBuf};

/// The files and folders of one run of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Access {
    /// No file at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// It may read this file.
    pub fn read(&mut self, path: &Path) {
        self.reads.push(path.to_owned());
    }

    /// It may write and read this file, which is made when it is not there.
    pub fn write(&mut self, path: &Path) {
        self.writes.push(path.to_owned());
    }

    /// It may do everything in this folder but run programs.
    pub fn use_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// With what the other may touch as well.
    pub fn join(&mut self, other: Self) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
        self.folders.extend(other.folders);
    }

    pub(crate) fn reads(&self) -> &[PathBuf] {
        &self.reads
    }

    pub(crate) fn writes(&self) -> &[PathBuf] {
        &self.writes
    }

    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Makes the files that it may write. One that cannot be made is left to
    /// the tool to complain about.
    pub(crate) fn make_files(&self) {
        for path in &self.writes {
            let _ = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(path);
        }
    }
}
