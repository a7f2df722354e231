//! One file by itself, for a watch: what came of it is handed back, not told.

use super::ends::Fate;
use super::job::FileJob;
use super::open;
use crate::cli::args::{Common, ConvertArgs};
use crate::cli::signals::Stop;
use crate::exit::Ending;
use crate::library::ledger::{Failed, Ledger};
use crate::library::place::Place;
use crate::paths;
use crate::share::lock::Watcher;
use reelmill_core::error::Failure;
use reelmill_media::tools::Tools;
use std::path::PathBuf;

/// What came of a file.
pub(crate) enum Came {
    /// It was converted.
    Converted {
        /// Where the output is.
        output: PathBuf,
        /// Bytes of the source.
        before: u64,
        /// Bytes of the output.
        after: u64,
    },
    /// It stays as it is, for this reason.
    Skipped(String),
    /// The output was no smaller, in words.
    Kept(String),
    /// Somebody else works on it: who.
    Held(String),
    /// It could not be converted.
    Failed(Failure),
    /// It was interrupted; what is finished of it is kept.
    Interrupted,
}

/// Converts the file that `args` names, of the library at `place`.
///
/// # Errors
/// When the library's records cannot be used.
pub(crate) async fn one(
    args: &ConvertArgs,
    common: &Common,
    (tools, stop): (&Tools, &Stop),
    place: &Place,
) -> Result<Came, Ending> {
    let root = place.root.as_path();
    let file = args.file.clone().unwrap_or_default();
    let library = open(args, root)?;
    let scratch = args.scratch.clone().unwrap_or_else(paths::scratch).join("convert");
    let mut job = FileJob {
        args: args.clone(),
        common,
        tools,
        stop,
        scratch,
        root,
        library: library.as_ref(),
        watcher: Watcher::new(args.lock_expiry),
        ledger: Some(Ledger::of_watched(place)),
        failed: Failed::default(),
    };
    Ok(match job.convert(&file).await {
        Fate::Converted { output, before, after, .. } => Came::Converted { output, before, after },
        Fate::Planned(target) => Came::Skipped(format!("it would become {}", target.display())),
        Fate::Skipped(reason) => Came::Skipped(reason),
        Fate::Kept { reason, .. } => Came::Kept(reason),
        Fate::Held(by) => Came::Held(by),
        Fate::Failed(failure) => Came::Failed(failure),
        Fate::Interrupted => Came::Interrupted,
    })
}
