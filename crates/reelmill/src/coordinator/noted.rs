//! When it was noted last that a worker was heard of: each time is a write.

use reelmill_core::id::{SessionId, WorkerId};
use reelmill_core::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A worker that asks is noted as heard of at most so often, microseconds.
const APART: i64 = 2_000_000;

/// From so many workers on, those that were not heard of lately are forgotten.
const MANY: usize = 1000;

/// The workers that were noted last, with the run of each.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<HashMap<WorkerId, (SessionId, Timestamp)>>);

impl Noted {
    /// Whether it is news that this run of a worker was heard of; then it is none any
    /// more.
    pub(super) fn is_news(&self, worker: WorkerId, session: SessionId, now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |at: Timestamp| (0..APART).contains(&now.since(at));
        if all.get(&worker).is_some_and(|(run, at)| *run == session && lately(*at)) {
            return false;
        }
        if all.len() >= MANY {
            all.retain(|_, (_, at)| lately(*at));
        }
        all.insert(worker, (session, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_run_is_news_once_in_a_while_and_another_run_always() {
        let (noted, worker) = (Noted::default(), WorkerId(Uuid::from_u128(1)));
        let run = |number| SessionId(Uuid::from_u128(number));
        let news = |number, at| noted.is_news(worker, run(number), Timestamp(at));
        assert!(news(1, 0) && !news(1, APART - 1) && news(1, APART));
        assert!(news(2, APART) && !news(2, APART + 1));
        assert!(news(2, 0), "a clock that was set back");
    }

    #[test]
    fn who_was_not_heard_of_lately_is_forgotten() {
        let noted = Noted::default();
        let run = SessionId(Uuid::from_u128(1));
        for number in 0..MANY as u128 {
            assert!(noted.is_news(WorkerId(Uuid::from_u128(number)), run, Timestamp(0)));
        }
        assert!(noted.is_news(WorkerId(Uuid::from_u128(0)), run, Timestamp(APART)));
        assert_eq!(noted.0.lock().unwrap().len(), 1);
    }
}
