//! Which bytes of a file every reader of it needs, wherever it reads.
//!
//! A worker without the file fetches these and its chunk's own bytes into a
//! sparse copy of the file's length, and reads that as if it were the file. To
//! state too much costs some transfer; to state too little would cost a failed
//! attempt, so a file that is in any way odd is stated as "all of it".

mod matroska;
mod mp4;

use reelmill_core::chunk::ByteRange;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes at the start of a file's payload that every reader looks at to learn
/// what the streams are. FFmpeg takes up to 5 MB of packets where a stream
/// keeps it waiting (sparse subtitles do); finding nothing but the zeros of a
/// sparse copy there, it would look through all of them.
const HEAD: u64 = 6 << 20;

/// The bytes that every reader of the file at `path` needs, sorted by start;
/// `format` is the demuxer's name as [`crate::probe::probe`] tells it. Empty
/// when all of the file is needed or its layout is not known.
///
/// A transport stream needs all of it: it has no index, and FFmpeg, searching
/// it by halves, meets the zeros of a sparse copy, gives up and reads from the
/// start, which takes minutes and has lost frames.
///
/// # Errors
/// When the file cannot be read.
pub fn skeleton(path: &Path, format: &str) -> io::Result<Vec<ByteRange>> {
    let file = Source::open(path)?;
    let is = |name: &str| format.split(',').any(|part| part == name);
    let found = if is("matroska") || is("webm") {
        matroska::skeleton(file)?
    } else if is("mov") || is("mp4") {
        mp4::skeleton(file)?
    } else {
        None
    };
    let mut ranges = found.unwrap_or_default();
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    Ok(ranges)
}

/// A file read here and there.
struct Source {
    file: File,
    len: u64,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Up to `bytes` bytes at `at`; fewer at the end of the file.
    fn read(&mut self, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        self.file.seek(SeekFrom::Start(at))?;
        (&mut self.file).take(bytes).read_to_end(&mut read)?;
        Ok(read)
    }

    /// `bytes` bytes from `start` on, as far as the file goes.
    fn range(&self, start: u64, bytes: u64) -> ByteRange {
        ByteRange { start, end: start.saturating_add(bytes).min(self.len) }
    }

    fn tail(&self, bytes: u64) -> ByteRange {
        self.range(self.len.saturating_sub(bytes), bytes)
    }
}

#[cfg(test)]
mod tests;
