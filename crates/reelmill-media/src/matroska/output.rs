//! Writes a Matroska file from its start to its end.

use super::ebml;
use reelmill_core::error::Failure;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Bytes written at once.
const BUFFER: usize = 1 << 20;

/// A file that is written from start to end; a few bytes of it afterwards.
pub(super) struct Output {
    file: BufWriter<File>,
    path: PathBuf,
    pub(super) at: u64,
    patches: Vec<(u64, Vec<u8>)>,
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
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)
            .map_err(|error| Failure::io(format!("write {}", path.display()), &error))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { file, path: path.to_owned(), at: 0, patches: Vec::new() })
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
        head.extend(ebml::long_size(0));
        self.write(&head)?;
        Ok(Open { at, content: self.at })
    }

    /// Ends an element.
    pub(super) fn close(&mut self, open: Open) {
        let size = ebml::long_size(self.at - open.content);
        self.patches.push((open.content - 8, size.to_vec()));
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
            let file = self.file.get_mut();
            let put = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes));
            put.map_err(|error| self.fail(&error))?;
        }
        Ok(self.at)
    }

    fn fail(&self, error: &io::Error) -> Failure {
        Failure::io(format!("write {}", self.path.display()), error)
    }
}
