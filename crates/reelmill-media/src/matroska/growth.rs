//! A file that is read while it is still being written: the reader never passes the
//! place up to which its bytes are final, and waits there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a file has grown.
#[derive(Debug, Default)]
pub struct Growth {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// Bytes that are final.
    bytes: u64,
    /// It grows no further.
    over: bool,
}

impl Growth {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `bytes` bytes of the file are final.
    pub(super) fn reach(&self, bytes: u64) {
        self.state().bytes = bytes;
        self.grown.notify_all();
    }

    /// It grows no further, whether it is complete or not.
    pub fn end(&self) {
        self.state().over = true;
        self.grown.notify_all();
    }

    /// Waits until there are more than `at` bytes, or it is over; the bytes that
    /// there are.
    pub(super) fn beyond(&self, at: u64) -> u64 {
        let state = self.state();
        let waiting = |state: &mut State| state.bytes <= at && !state.over;
        let state = self.grown.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        state.bytes
    }
}

/// A file, which may be one that grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    at: u64,
    growth: Option<Arc<Growth>>,
}

impl Growing {
    pub(super) fn new(file: File, growth: Option<Arc<Growth>>) -> Self {
        Self { file, at: 0, growth }
    }

    /// Whether there are bytes beyond `at`, which is waited for.
    pub(super) fn goes_beyond(&self, at: u64) -> bool {
        self.growth.as_ref().is_none_or(|growth| growth.beyond(at) > at)
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = match &self.growth {
            None => buffer.len(),
            Some(growth) => {
                let there = growth.beyond(self.at).saturating_sub(self.at);
                buffer.len().min(usize::try_from(there).unwrap_or(usize::MAX))
            }
        };
        let read = self.file.read(&mut buffer[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Growing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_reader_waits_for_what_is_final_and_ends_with_the_writer() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let growth = Arc::new(Growth::default());
        let reader = std::thread::spawn({
            let (growth, file) = (growth.clone(), file.reopen().unwrap());
            move || {
                let mut text = String::new();
                Growing::new(file, Some(growth)).read_to_string(&mut text).unwrap();
                text
            }
        });
        // What is written but not final is never seen: it changes before it is.
        file.write_all(b"one, xxx").unwrap();
        growth.reach(5);
        file.as_file_mut().seek(SeekFrom::Start(5)).unwrap();
        file.write_all(b"two, and more").unwrap();
        growth.reach(8);
        growth.end();
        assert_eq!(reader.join().unwrap(), "one, two");
    }
}
