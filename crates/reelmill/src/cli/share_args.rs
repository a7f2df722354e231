//! The grammar of the commands for shared folders and replaced files.

use clap::Args;
use std::path::PathBuf;

/// A number of seconds or days that can be: more than 0, less than 30 years.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    (number > 0.0 && number < 1e9)
        .then_some(number)
        .ok_or_else(|| format!("{text} is not between 0 and 1,000,000,000"))
}

/// `reelmill locks`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LocksArgs {
    /// The shared folder.
    pub(crate) dir: PathBuf,
    /// Remove stale locks, and finish what crashed processes left.
    #[arg(long)]
    pub(crate) clean: bool,
    /// Seconds without a sign of life after which a lock is stale.
    #[arg(long, value_name = "S", default_value_t = 1800.0, value_parser = seconds)]
    pub(crate) expiry: f64,
}

/// `reelmill undo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UndoArgs {
    /// The file that was replaced (by its old or new name), or the job.
    #[arg(value_name = "FILE|JOB")]
    pub(crate) what: PathBuf,
    /// The library, when a job is named.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// `reelmill replace`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplaceArgs {
    /// The file whose place is taken.
    pub(crate) file: PathBuf,
    /// The file that takes it.
    pub(crate) with: PathBuf,
    /// Do it as on a folder that other machines work on.
    #[arg(long)]
    pub(crate) shared: bool,
}
