//! How inputs are opened.

use super::Args;
use crate::probe::input_guard;
use std::path::{Path, PathBuf};

/// Options before everything else: no questions, no banner, errors only.
#[must_use]
pub fn quiet() -> Args {
    Args::new().words("-nostdin -hide_banner -loglevel error -nostats -y")
}

/// A source, which may be hostile: only the demuxers and the protocol of
/// [`input_guard`], named by a `file:` path.
#[must_use]
pub fn source_input(path: &Path) -> Args {
    Args::new().args(input_guard()).open(path)
}

/// A NUT file that reelmill wrote.
#[must_use]
pub fn own_input(path: &Path) -> Args {
    Args::new().words("-protocol_whitelist file -f nut").open(path)
}

/// A file of encoded audio that reelmill wrote, NUT or MP4.
#[must_use]
pub fn audio_input(path: &Path) -> Args {
    Args::new().words("-protocol_whitelist file -format_whitelist nut,mov").open(path)
}

/// A list of the NUT files `parts`, made by [`super::concat_list`].
#[must_use]
pub fn concat_input(list: &Path, parts: &[PathBuf]) -> Args {
    let args = parts.iter().fold(Args::new(), |args, part| args.reads(part));
    args.words("-protocol_whitelist file -format_whitelist concat,nut -f concat -safe 0").open(list)
}
