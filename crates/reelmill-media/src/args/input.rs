//! How inputs are opened.

use super::{Args, micros};
use crate::probe::input_guard;
use reelmill_core::time::TimeBase;
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

/// Where the file's zero goes, microseconds, for `-copyts`: `offset`, but for one. FFmpeg
/// 5.1 takes an offset that is the very start of an MPEG-TS file for one of its own, and
/// puts the start of the streams that are read in its place: sound that begins after the
/// picture would begin with it. The ticks of such files are too long to tell.
#[must_use]
pub fn unmoved(offset: i64) -> Args {
    Args::new().option("-itsoffset", micros(offset - 1))
}

/// [`unmoved`] for the stream's own times, unless its ticks are so short that they would
/// be others; MPEG-TS has none such.
#[must_use]
pub fn unmoved_ticks(base: TimeBase) -> Args {
    if base.seconds(1) > 2.5e-6 { unmoved(0) } else { Args::new() }
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
