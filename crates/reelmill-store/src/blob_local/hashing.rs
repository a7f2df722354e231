//! The digest of bytes that come, computed beside their writing.
//!
//! Hashing takes a core by itself. So whoever writes only hands the bytes over; they
//! are hashed by a thread beside, and by the writer himself when too many wait. Nobody
//! ever waits for a thread that has not begun: however busy they all are, it goes on.

use super::write::Hashed;
use bytes::Bytes;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that wait to be hashed at most: enough that neither side stands still, little
/// enough for many uploads at once.
const WAITING: usize = 4 << 20;

/// Bytes and what is known of their digest.
#[derive(Debug)]
pub(super) struct Hashing {
    line: Arc<Line>,
    /// How many bytes there are.
    pub(super) bytes: u64,
}

/// The bytes that wait, in their order.
#[derive(Debug)]
struct Line {
    state: Mutex<State>,
    /// Something was hashed.
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` while somebody hashes.
    hashed: Option<Hashed>,
    waiting: VecDeque<Bytes>,
    /// Bytes of those.
    length: usize,
    /// A thread was asked for that has not ended.
    asked: bool,
}

impl From<Hashed> for Hashing {
    fn from(hashed: Hashed) -> Self {
        let bytes = hashed.bytes;
        let (hashed, waiting) = (Some(hashed), VecDeque::new());
        let state = Mutex::new(State { hashed, waiting, length: 0, asked: false });
        Self { line: Arc::new(Line { state, moved: Condvar::new() }), bytes }
    }
}

impl Hashing {
    /// More bytes. Blocks while too many wait.
    pub(super) fn add(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        let asked = {
            let mut state = self.line.lock();
            state.length += bytes.len();
            state.waiting.push_back(bytes);
            std::mem::replace(&mut state.asked, true)
        };
        if !asked {
            let line = Arc::clone(&self.line);
            tokio::task::spawn_blocking(move || line.hash(0, |state| state.asked = false));
        }
        self.line.hash(WAITING, |_| ());
    }

    /// Hashes what still waits, and names the bytes. Blocks.
    pub(super) fn name(&self, id: BlobId) -> BlobRef {
        self.line.hash(0, |state| state.hashed.clone().unwrap_or_default()).name(id)
    }
}

impl Line {
    /// Hashes until no more than `most` bytes wait (with 0: until all is hashed), or
    /// waits while somebody else does; then does `last` before anybody adds more.
    fn hash<T>(&self, most: usize, last: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        while state.length > most || (most == 0 && state.hashed.is_none()) {
            let Some(mut hashed) = state.hashed.take() else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let piece = state.waiting.pop_front().unwrap_or_default();
            state.length -= piece.len();
            drop(state);
            hashed.add(&piece);
            state = self.lock();
            state.hashed = Some(hashed);
            self.moved.notify_all();
        }
        last(&mut state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha512};
    use uuid::Uuid;

    fn digest(pieces: &[Bytes]) -> String {
        hex::encode(Sha512::digest(pieces.concat()))
    }

    fn pieces(count: usize, length: usize) -> Vec<Bytes> {
        (0..count).map(|at| Bytes::from(vec![at as u8; length + at % 7])).collect()
    }

    #[tokio::test]
    async fn bytes_are_hashed_in_their_order() {
        let pieces = pieces(300, 10_000);
        let mut hashing = Hashing::from(Hashed::default());
        for (at, piece) in pieces.iter().enumerate() {
            hashing.add(piece.clone());
            if at % 100 == 99 {
                let so_far = &pieces[..=at];
                assert_eq!(hashing.name(BlobId(Uuid::nil())).sha512, digest(so_far));
            }
        }
        assert_eq!(hashing.bytes, pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
    }

    #[test]
    fn it_goes_on_when_no_thread_is_free() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (open, gate) = std::sync::mpsc::sync_channel::<()>(1);
        // Somebody has the only one.
        runtime.spawn_blocking(move || gate.recv());
        let _inside = runtime.enter();
        let pieces = pieces(20, WAITING / 8);
        let mut hashing = Hashing::from(Hashed::default());
        pieces.iter().for_each(|piece| hashing.add(piece.clone()));
        assert!(hashing.line.lock().length <= WAITING);
        assert_eq!(hashing.name(BlobId(Uuid::nil())).sha512, digest(&pieces));
        drop(open);
    }
}
