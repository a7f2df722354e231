//! One at a time for each blob, without keeping a lock for any that nobody asks for.

use reelmill_core::id::BlobId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What is locked while somebody is at a blob.
type Turn = tokio::sync::Mutex<()>;

/// The locks of those blobs that somebody is at.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<BlobId, Weak<Turn>>>);

impl Turns {
    /// The lock of `id`: the same for all who hold it.
    pub(super) fn of(&self, id: BlobId) -> Arc<Turn> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = held.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        held.insert(id, Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_lock_is_shared_and_forgotten() {
        let (turns, id) = (Turns::default(), |n| BlobId(Uuid::from_u128(n)));
        let one = turns.of(id(1));
        assert!(Arc::ptr_eq(&one, &turns.of(id(1))));
        assert!(!Arc::ptr_eq(&one, &turns.of(id(2))));
        drop(one);
        turns.of(id(3));
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
