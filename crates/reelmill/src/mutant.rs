//! Protections that a test can have left out, to show that it would notice.

/// Whether the protection `name` is to be left out. Never in release builds.
pub(crate) fn leaves_out(name: &str) -> bool {
    cfg!(debug_assertions) && std::env::var("REELMILL_MUTANT").is_ok_and(|mutant| mutant == name)
}
