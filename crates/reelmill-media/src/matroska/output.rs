//! Writes a Matroska file from its start to its end.

use super::ebml;
use super::growth::Growth;
use reelmill_core::error::Failure;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes written at once.
const BUFFER: usize = 1 << 20;

/// A file that is written from start to end; a few bytes of it afterwards.
pub(super) struct Output {
    file: BufWriter<File>,
    path: PathBuf,
    pub(super) at: u64,
    patches: Vec<(u64, Vec<u8>)>,
    growth: Arc<Growth>,
}

/// An element whose size is stated when it is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Where it begins.
    pub(super) at: u64,
    /// Where its content begins.
    pub(super) content: u64,
}

impl Output {
    /// `growth` is told how far the file is final.
    pub(super) fn create(path: &Path, growth: Arc<Growth>) -> Result<Self, Failure> {
        let file = File::create(path)
            .map_err(|error| Failure::io(format!("write {}", path.display()), &error))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { file, path: path.to_owned(), at: 0, patches: Vec::new(), growth })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.fail(&error))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Begins an element.
    pub(super) fn open(&mut self, id: u32) -> Result<Open, Failure> {
        let at = self.at;
        let mut head: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        head.extend(ebml::UNKNOWN_SIZE);
        self.write(&head)?;
        Ok(Open { at, content: self.at })
    }

    /// Ends an element; its size is written when all else is.
    pub(super) fn close(&mut self, open: Open) {
        let size = ebml::long_size(self.at - open.content);
        self.patches.push((open.content - 8, size.to_vec()));
    }

    /// Ends an element, after which all that was written is final, but for what
    /// [`Self::close`] and [`Self::patch`] change.
    pub(super) fn close_finally(&mut self, open: Open) -> Result<(), Failure> {
        self.file.flush().map_err(|error| self.fail(&error))?;
        let size = ebml::long_size(self.at - open.content);
        let put = self.file.get_ref().write_all_at(&size, open.content - 8);
        put.map_err(|error| self.fail(&error))?;
        self.growth.reach(self.at);
        Ok(())
    }

    /// Notes bytes that will stand at `at` in the end.
    pub(super) fn patch(&mut self, at: u64, bytes: Vec<u8>) {
        self.patches.push((at, bytes));
    }

    /// Writes what is left to be written.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let patches = std::mem::take(&mut self.patches);
        self.file.flush().map_err(|error| self.fail(&error))?;
        for (at, bytes) in patches {
            let file = self.file.get_ref();
            file.write_all_at(&bytes, at).map_err(|error| self.fail(&error))?;
        }
        self.growth.reach(self.at);
        Ok(self.at)
    }

    fn fail(&self, error: &io::Error) -> Failure {
        Failure::io(format!("write {}", self.path.display()), error)
    }
}
