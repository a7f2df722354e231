//! The only place where the binary asks the time or draws a random number.

use reelmill_core::error::Failure;
use reelmill_core::time::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Now, by this machine's wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A random identifier that sorts by time (UUID version 7).
pub(crate) fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// A random number in 0..1.
pub(crate) fn chance() -> f64 {
    // The 62 random low bits of a version-7 UUID; 53 of them make a double.
    let bits = Uuid::now_v7().as_u128() as u64 & ((1 << 53) - 1);
    bits as f64 / (1u64 << 53) as f64
}

/// Random bytes that nobody can guess.
///
/// # Errors
/// When the system has none to give.
pub(crate) fn secret<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::environment(format!("the system gives no randomness: {error}"))
            .advise("check that the program may use getrandom or /dev/urandom")
    })?;
    Ok(bytes)
}
