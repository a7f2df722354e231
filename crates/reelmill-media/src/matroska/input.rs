//! Reads a Matroska file from its start to its end.

use super::Refusal;
use super::ebml::{self, variable};
use super::growth::{Growing, Growth};
use super::output::Output;
use reelmill_core::error::Failure;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at once.
const BUFFER: usize = 1 << 20;

/// Bytes of one packet or small element, beyond which a file is refused.
pub(super) const MAX_ELEMENT: u64 = 96 << 20;

/// The head of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u32,
    /// Where it begins.
    pub(super) at: u64,
    /// Where its content begins.
    pub(super) content: u64,
    /// Bytes of its content; `None` when unknown.
    pub(super) size: Option<u64>,
}

impl Head {
    /// The size.
    pub(super) fn known(&self) -> Result<u64, Refusal> {
        self.size.map_or_else(|| Refusal::odd("an element of unknown size"), Ok)
    }
}

/// A file that is read from start to end.
pub(super) struct Input {
    file: BufReader<Growing>,
    path: PathBuf,
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::io(format!("read {}", path.display()), &error);
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let file = BufReader::with_capacity(BUFFER, Growing::new(file, None));
        Ok(Self { file, path: path.to_owned(), at: 0, len })
    }

    /// Opens a file that is still being written, once there is something final in
    /// it; its length is not known.
    pub(super) fn open_growing(path: &Path, growth: &Arc<Growth>) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::io(format!("read {}", path.display()), &error);
        growth.beyond(0);
        let file = Growing::new(File::open(path).map_err(fail)?, Some(growth.clone()));
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(Self { file, path: path.to_owned(), at: 0, len: u64::MAX >> 1 })
    }

    /// Goes to the segment's content; its head.
    pub(super) fn segment(&mut self) -> Result<Head, Refusal> {
        let header = self.head()?.filter(|head| head.id == ebml::EBML);
        let Some(header) = header else {
            return Err(Failure::input("it is no Matroska file").into());
        };
        self.skip(header.known()?)?;
        match self.head()?.filter(|head| head.id == ebml::SEGMENT) {
            Some(segment) => {
                let end = segment.size.map(|size| segment.content.saturating_add(size));
                if end.is_some_and(|end| end > self.len) {
                    return Err(self.truncated().into());
                }
                Ok(segment)
            }
            None => Refusal::odd("it does not begin with a segment"),
        }
    }

    /// The head of the next element; `None` at the end of the file.
    pub(super) fn head(&mut self) -> Result<Option<Head>, Failure> {
        let at = self.at;
        if at >= self.len || !self.file.get_ref().goes_beyond(at) {
            return Ok(None);
        }
        let mut bytes = [0; 12];
        let mut read = 0;
        // The length of each of its two numbers stands in its first byte.
        for _ in 0..2 {
            self.read(&mut bytes[read..=read])?;
            let length = bytes[read].leading_zeros() as usize + 1;
            if length > if read == 0 { 4 } else { 8 } {
                return Err(self.damaged(at));
            }
            self.read(&mut bytes[read + 1..read + length])?;
            read += length;
        }
        let parsed = variable(&bytes, 4, false)
            .and_then(|(id, rest)| Some((u32::try_from(id?).ok()?, variable(rest, 8, true)?.0)));
        let (id, size) = parsed.ok_or_else(|| self.damaged(at))?;
        Ok(Some(Head { id, at, content: self.at, size }))
    }

    /// Reads `size` bytes into `buffer`, in place of what it held.
    pub(super) fn take(&mut self, size: u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        if size > MAX_ELEMENT {
            return Err(self.damaged(self.at));
        }
        if self.at.saturating_add(size) > self.len {
            return Err(self.truncated());
        }
        buffer.resize(size as usize, 0);
        self.read(buffer)
    }

    /// Copies `size` bytes.
    pub(super) fn copy(&mut self, size: u64, out: &mut Output) -> Result<(), Failure> {
        let mut left = size;
        while left > 0 {
            let path = &self.path;
            let fail = |error: io::Error| Failure::io(format!("read {}", path.display()), &error);
            let buffer = self.file.fill_buf().map_err(fail)?;
            if buffer.is_empty() {
                return Err(self.truncated());
            }
            let piece = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            out.write(&buffer[..piece])?;
            self.file.consume(piece);
            self.at += piece as u64;
            left -= piece as u64;
        }
        Ok(())
    }

    /// Passes over `size` bytes.
    pub(super) fn skip(&mut self, size: u64) -> Result<(), Failure> {
        if self.at.saturating_add(size) > self.len {
            return Err(self.truncated());
        }
        let step = i64::try_from(size).map_err(|_| self.damaged(self.at))?;
        self.file.seek_relative(step).map_err(|error| self.fail(&error))?;
        self.at += size;
        Ok(())
    }

    /// Goes to `at`.
    pub(super) fn go(&mut self, at: u64) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(at)).map_err(|error| self.fail(&error))?;
        self.at = at;
        Ok(())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.truncated()),
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn fail(&self, error: &io::Error) -> Failure {
        Failure::io(format!("read {}", self.path.display()), error)
    }

    pub(super) fn truncated(&self) -> Failure {
        Failure::input(format!(
            "{} is incomplete: it ends after {} bytes, in the middle of its content",
            self.path.display(),
            self.len
        ))
        .advise("copy or rip it again")
    }

    pub(super) fn damaged(&self, at: u64) -> Failure {
        Failure::input(format!("{} is damaged at byte {at}", self.path.display()))
            .advise("check that it plays; copy or rip it again")
    }
}
