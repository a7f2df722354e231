//! The only place where the binary asks the time or draws a random number. The
//! simulation puts its own clock and dice in their place, for its own thread.

use reelmill_core::error::Failure;
use reelmill_core::time::Timestamp;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

#[cfg(test)]
thread_local! {
    /// The clock and dice of the simulation that runs in this thread.
    static SIMULATED: std::cell::RefCell<Option<Simulated>> = const { std::cell::RefCell::new(None) };
}

/// A clock that is set by hand and dice that fall as their seed says.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simulated {
    /// What the clock shows.
    pub(crate) now: Timestamp,
    /// Microseconds that have really passed.
    pub(crate) steady: i64,
    /// Where the dice stand.
    pub(crate) dice: u64,
}

/// Puts a clock and dice in place of the real ones, or takes them away, in this
/// thread; yields what was there.
#[cfg(test)]
pub(crate) fn simulate(with: Option<Simulated>) -> Option<Simulated> {
    SIMULATED.with_borrow_mut(|place| std::mem::replace(place, with))
}

/// 64 random bits of the simulation, if one runs in this thread.
#[cfg(test)]
fn simulated_bits() -> Option<(Timestamp, u64)> {
    SIMULATED.with_borrow_mut(|place| {
        let simulated = place.as_mut()?;
        Some((simulated.now, crate::sim::dice::next(&mut simulated.dice)))
    })
}

/// Now, by this machine's wall clock.
pub(crate) fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = SIMULATED.with_borrow(|place| place.map(|simulated| simulated.now)) {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Microseconds since some moment of this process, by a clock that nobody sets.
pub(crate) fn steady() -> i64 {
    #[cfg(test)]
    if let Some(steady) = SIMULATED.with_borrow(|place| place.map(|simulated| simulated.steady)) {
        return steady;
    }
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGUN.get_or_init(Instant::now).elapsed();
    i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
}

/// A random identifier that sorts by time (UUID version 7).
pub(crate) fn fresh() -> Uuid {
    #[cfg(test)]
    if let (Some((now, high)), Some((_, low))) = (simulated_bits(), simulated_bits()) {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_le_bytes());
        random[8..].copy_from_slice(&low.to_le_bytes()[..2]);
        let millis = (now.0 / 1000).unsigned_abs();
        return uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    }
    Uuid::now_v7()
}

/// A random number in 0..1.
pub(crate) fn chance() -> f64 {
    #[cfg(test)]
    if let Some((_, bits)) = simulated_bits() {
        return (bits >> 11) as f64 / (1u64 << 53) as f64;
    }
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
