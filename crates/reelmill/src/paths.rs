//! Where reelmill keeps things on this machine (XDG Base Directory
//! Specification 0.8), each place overridable by the environment.

use std::env;
use std::path::PathBuf;

fn place(own: &str, xdg: &str, below_home: &str) -> PathBuf {
    if let Some(own) = env::var_os(own).filter(|path| !path.is_empty()) {
        return PathBuf::from(own);
    }
    if let Some(base) = env::var_os(xdg).map(PathBuf::from).filter(|path| path.is_absolute()) {
        return base.join("reelmill");
    }
    match env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(home) => home.join(below_home).join("reelmill"),
        None => env::temp_dir().join("reelmill"),
    }
}

/// Configuration: `presets.toml`.
pub(crate) fn config() -> PathBuf {
    place("REELMILL_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
}

/// State of `reelmill serve`: database and blobs.
pub(crate) fn state() -> PathBuf {
    place("REELMILL_STATE", "XDG_STATE_HOME", ".local/state")
}

/// Requests that wait for a server.
pub(crate) fn outbox() -> PathBuf {
    state().join("outbox")
}

/// Temporary files and the finished chunks of interrupted conversions.
pub(crate) fn scratch() -> PathBuf {
    place("REELMILL_SCRATCH", "XDG_CACHE_HOME", ".cache")
}
