//! When to try again, and when to stop trying.

use crate::error::{Failure, FailureClass};
use serde::{Deserialize, Serialize};

/// Limits and pauses of retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryPolicy {
    /// Failed attempts of one task that are followed by another.
    pub max_retries: u32,
    /// Workers that may be lost on one task before it is quarantined.
    pub max_losses: u32,
    /// First pause, microseconds.
    pub base: i64,
    /// Longest pause, microseconds.
    pub cap: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, max_losses: 3, base: 5_000_000, cap: 600_000_000 }
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
            return if losses >= self.max_losses {
                Next::Quarantine
            } else {
                Next::Again { pause: 0 }
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
        assert_eq!(policy.next(&lost, 0, 2, 0.5), Next::Again { pause: 0 });
        assert_eq!(policy.next(&lost, 0, 3, 0.5), Next::Quarantine);
    }
}
