//! Reads pieces of a file within a budget, so that no file, however odd, makes
//! looking at its headers long or large.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time at least; headers lie close together.
const STEP: usize = 16 * 1024;

/// Bytes of one piece at most.
pub(super) const MAX_PIECE: u64 = 4 << 20;

/// Bytes read of one file at most.
const BUDGET: u64 = 24 << 20;

/// Reads of one file at most; each may cost a trip over the network.
const READS: u32 = 400;

/// Why the headers were left.
#[derive(Debug)]
pub(super) enum Stop {
    /// They do not tell, or not reliably; the reason for people.
    Unsure(&'static str),
    /// The file cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a step of the reading yields.
pub(super) type Look<T> = Result<T, Stop>;

/// Shorthand for "the headers do not tell".
pub(super) fn unsure<T>(reason: &'static str) -> Look<T> {
    Err(Stop::Unsure(reason))
}

/// A file and the part of it that was read last.
pub(super) struct Window {
    file: File,
    pub(super) len: u64,
    at: u64,
    held: Vec<u8>,
    spent: u64,
    reads: u32,
}

impl Window {
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { file, len, at: 0, held: Vec::new(), spent: 0, reads: 0 }
    }

    /// `count` bytes at `at`; unsure when the file ends before.
    pub(super) fn bytes(&mut self, at: u64, count: u64) -> Look<&[u8]> {
        match at.checked_add(count) {
            Some(end) if end <= self.len => {}
            _ => return unsure("the file ends before its headers do"),
        }
        if count > MAX_PIECE {
            return unsure("its headers are very large");
        }
        let count = count as usize;
        let held = at.checked_sub(self.at).map(|from| from as usize);
        if let Some(from) = held.filter(|from| from + count <= self.held.len()) {
            return Ok(&self.held[from..from + count]);
        }
        self.read(at, count)?;
        Ok(&self.held[..count])
    }

    /// Up to `count` bytes at `at`, fewer at the end of the file.
    pub(super) fn upto(&mut self, at: u64, count: u64) -> Look<&[u8]> {
        let count = count.min(self.len.saturating_sub(at));
        self.bytes(at, count)
    }

    /// How often the file was read.
    pub(super) fn reads(&self) -> u32 {
        self.reads
    }

    fn read(&mut self, at: u64, count: usize) -> Look<()> {
        let wanted = (count.max(STEP) as u64).min(self.len - at) as usize;
        self.spent += wanted as u64;
        self.reads += 1;
        if self.spent > BUDGET || self.reads > READS {
            return unsure("its headers are scattered or very large");
        }
        self.held.resize(wanted, 0);
        self.at = at;
        if let Err(error) = self.file.read_exact_at(&mut self.held, at) {
            self.held.clear();
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => unsure("the file shrank while it was read"),
                _ => Err(error.into()),
            };
        }
        Ok(())
    }
}

/// Takes numbers from the front of a slice; `None` when it is too short.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn uint(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }
}
