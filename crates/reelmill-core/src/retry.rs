//! When to try again, and when to stop trying.

use crate::error::{Failure, FailureClass};
use serde::{Deserialize, Serialize};

/// Longest pause after the loss of a worker, microseconds: the machine is back by
/// then, and whoever waits for the task still does.
const LOSS_CAP: i64 = 120_000_000;

/// Limits and pauses of retries.
///
/// A failure that a living worker tells of says something about the task; a worker
/// that goes away as a whole may have had a hundred other reasons. Hence two limits:
/// a small one for failures, and one for losses that is large enough for machines
/// that die for reasons of their own. Let each of a task's attempts meet a crash
/// that is not its fault with a probability of a third, which is far more than any
/// real farm knows: of a thousand such tasks 37 would be lost three times in a row,
/// and one in 59,000 ten times. A task that does kill its workers costs ten of
/// them, over minutes, since it waits longer after each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryPolicy {
    /// Failed attempts of one task that are followed by another.
    pub max_retries: u32,
    /// Workers lost on one task that quarantine it.
    pub max_losses: u32,
    /// First pause, microseconds.
    pub base: i64,
    /// Longest pause, microseconds.
    pub cap: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, max_losses: 10, base: 5_000_000, cap: 600_000_000 }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after so many microseconds.
    Again {
        /// The pause.
        pause: i64,
    },
    /// Give up.
    GiveUp,
    /// Give up: it took worker after worker with it.
    Quarantine,
}

impl RetryPolicy {
    /// What to do after the task failed for the `attempts`-th time, having
    /// lost `losses` workers. `chance` in 0..1 spreads the pauses out (capped
    /// exponential back-off with full jitter).
    #[must_use]
    pub fn next(self, failure: &Failure, attempts: u32, losses: u32, chance: f64) -> Next {
        if failure.class == FailureClass::WorkerLost {
            // A machine that was switched off, once, is no reason to wait.
            return match losses {
                _ if losses >= self.max_losses => Next::Quarantine,
                0 | 1 => Next::Again { pause: 0 },
                _ => Next::Again { pause: self.pause(losses - 1, chance).min(LOSS_CAP) },
            };
        }
        if !failure.class.retryable() || attempts > self.max_retries {
            return Next::GiveUp;
        }
        Next::Again { pause: self.pause(attempts, chance) }
    }

    fn pause(self, attempts: u32, chance: f64) -> i64 {
        let doubled = 1i64.checked_shl(attempts.saturating_sub(1)).unwrap_or(i64::MAX);
        let most = self.base.saturating_mul(doubled.max(1)).min(self.cap);
        (most as f64 * chance.clamp(0.0, 1.0)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_stay_under_the_cap_and_retries_under_the_limit(
            attempts in 0u32..200, chance in 0.0f64..1.0,
        ) {
            let policy = RetryPolicy::default();
            match policy.next(&Failure::transient("x"), attempts, 0, chance) {
                Next::Again { pause } => {
                    prop_assert!(attempts <= policy.max_retries);
                    prop_assert!((0..=policy.cap).contains(&pause));
                }
                other => {
                    prop_assert!(attempts > policy.max_retries);
                    prop_assert_eq!(other, Next::GiveUp);
                }
            }
        }
    }

    #[test]
    fn the_sources_fault_is_never_retried() {
        let next = RetryPolicy::default().next(&Failure::input("not media"), 1, 0, 0.5);
        assert_eq!(next, Next::GiveUp);
    }

    #[test]
    fn lost_workers_cost_no_attempt_but_end_in_quarantine() {
        let lost = Failure::new(FailureClass::WorkerLost, "gone");
        let policy = RetryPolicy::default();
        let pauses: Vec<i64> = (1..policy.max_losses)
            .map(|losses| match policy.next(&lost, 0, losses, 1.0) {
                Next::Again { pause } => pause / 1_000_000,
                other => panic!("{losses}: {other:?}"),
            })
            .collect();
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 120, 120, 120]);
        assert_eq!(policy.next(&lost, 0, policy.max_losses, 0.5), Next::Quarantine);
    }
}
