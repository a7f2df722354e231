//! Whether any job here may have come by the dispatch protocol. Most servers never see
//! one, and to look for them is to read all jobs that are not done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is known about that; a new one knows nothing.
#[derive(Debug)]
pub(super) struct Dispatches {
    /// Counts what may have made one.
    came: AtomicU64,
    /// The count at which there was none.
    none: AtomicU64,
}

impl Default for Dispatches {
    fn default() -> Self {
        Self { came: AtomicU64::new(1), none: AtomicU64::new(0) }
    }
}

impl Dispatches {
    /// One comes, or one that has ended begins anew: said before the store knows.
    pub(super) fn comes(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
    }

    /// What [`Self::none_found`] wants to be told after a look that begins now; nothing
    /// when there is none, and no need to look.
    pub(super) fn mark(&self) -> Option<u64> {
        let came = self.came.load(Ordering::SeqCst);
        (came != self.none.load(Ordering::SeqCst)).then_some(came)
    }

    /// A look that began at `mark` has found none.
    pub(super) fn none_found(&self, mark: u64) {
        self.none.store(mark, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_one_looks_is_looked_for_again() {
        let dispatches = Dispatches::default();
        let mark = dispatches.mark().unwrap();
        dispatches.none_found(mark);
        assert_eq!(dispatches.mark(), None);
        dispatches.comes();
        let mark = dispatches.mark().unwrap();
        dispatches.comes();
        dispatches.none_found(mark);
        let mark = dispatches.mark().expect("one came meanwhile");
        dispatches.none_found(mark);
        assert_eq!(dispatches.mark(), None);
    }
}
