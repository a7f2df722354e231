//! Tracks that are decoded from a file of their own.
//!
//! Phones put several frames of AMR into one packet of their 3GP files. FFmpeg 5.1
//! decodes the first frame of a packet and leaves the others: of five seconds one is heard.
//! A bare AMR file is read frame by frame, so such a track is taken out first.

use super::{Args, micros, quiet, source_input};
use std::path::{Path, PathBuf};

/// A track that was taken out of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    /// The file that it alone is in.
    pub path: PathBuf,
    /// When it begins in the source, in microseconds; in the file it begins at 0.
    pub start_micros: i64,
    /// How long it lasts in the source, where that is told: its last packet may hold more.
    pub length_micros: Option<i64>,
}

/// Whether tracks of `codec` must be taken out before they are decoded.
pub(crate) fn must_be_apart(codec: &str) -> bool {
    matches!(codec, "amr_nb" | "amr_wb")
}

/// Takes the AMR stream `stream` out of `source` into the file `out`.
#[must_use]
pub fn take_out(source: &Path, stream: u32, out: &Path) -> Args {
    quiet()
        .join(source_input(source))
        .option("-map", format!("0:{stream}"))
        .words("-c copy -map_metadata -1 -f amr")
        .write(out)
}

impl Apart {
    /// The file as an input.
    #[must_use]
    pub fn input(&self) -> Args {
        let whole = Args::new().words("-protocol_whitelist file -f amr");
        let length = self.length_micros.map(micros);
        length.into_iter().fold(whole, |args, length| args.option("-t", length)).open(&self.path)
    }
}

/// The stream `stream` of `source`, or where it is `apart`: an input and a stream of it.
#[must_use]
pub fn place(source: &Path, stream: u32, apart: Option<&Apart>) -> (Args, u32) {
    apart.map_or_else(|| (source_input(source), stream), |apart| (apart.input(), 0))
}

/// Adds those of `tracks` that are apart as inputs behind the `inputs` that there are, each
/// `offset_micros` later than it begins, then maps all of them in order. A track is a
/// stream of input 0 where it is not apart.
pub(super) fn mapped(
    mut args: Args,
    inputs: usize,
    offset_micros: i64,
    tracks: &[(u32, Option<&Apart>)],
) -> Args {
    for (_, apart) in tracks {
        if let Some(apart) = apart {
            let later = micros(offset_micros + apart.start_micros);
            args = args.option("-itsoffset", later).join(apart.input());
        }
    }
    let mut next = inputs;
    for (stream, apart) in tracks {
        if apart.is_some() {
            args = args.option("-map", format!("{next}:0"));
            next += 1;
        } else {
            args = args.option("-map", format!("0:{stream}"));
        }
    }
    args
}
