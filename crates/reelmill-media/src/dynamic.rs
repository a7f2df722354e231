//! Metadata that each frame has of its own (Dolby Vision, HDR10+), from the
//! source's packets into the encoder's.
//!
//! Frames are told apart by their times, never by counting: a source may lack
//! the metadata of some, and an encoder writes frames in another order.

mod carrier;
mod read;
mod rewrap;

pub(crate) use read::{Range, Seen, read};

use crate::hdr::rpu::{self, Rpu};
use crate::hdr::sei;
use crate::tools::Tools;
use reelmill_core::dolby::DolbyKept;
use reelmill_core::error::Failure;
use reelmill_core::hdr::{self, Bars};
use reelmill_core::plan::VideoEncode;
use reelmill_core::time::TimeBase;
use std::collections::BTreeMap;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Frames that a message names one by one.
const NAMED: usize = 5;

/// What one frame of the output gets: NAL units, without start codes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FrameMetadata {
    /// Dolby Vision.
    pub rpu: Option<Vec<u8>>,
    /// HDR10+.
    pub hdr10plus: Option<Vec<u8>>,
}

/// The metadata that the frames at `times` (ticks of `base`, ascending) are to
/// have in the output, from what was seen in the source: the stream of the
/// picture, and the one that carries Dolby Vision.
///
/// # Errors
/// Class input when Dolby Vision metadata is missing, double or damaged.
pub(crate) fn wanted(
    encode: &VideoEncode,
    times: &[i64],
    picture: &Seen,
    dolby: &Seen,
    base: TimeBase,
) -> Result<Vec<FrameMetadata>, Failure> {
    let mut frames = vec![FrameMetadata::default(); times.len()];
    if encode.hdr.hdr10plus {
        for (frame, time) in frames.iter_mut().zip(times) {
            let mut nals = picture.at(*time).iter().filter_map(|nal| sei::hdr10_plus(nal));
            frame.hdr10plus = nals.next_back();
        }
    }
    if let Some(kept) = encode.hdr.dolby_vision {
        let rpus = rpus(times, dolby, base)?;
        for (frame, nal) in frames.iter_mut().zip(rpus) {
            frame.rpu = Some(converted(nal, kept, encode)?);
        }
    }
    Ok(frames)
}

/// The one unit of Dolby Vision of each frame.
fn rpus<'a>(times: &[i64], seen: &'a Seen, base: TimeBase) -> Result<Vec<&'a [u8]>, Failure> {
    let mut found = Vec::with_capacity(times.len());
    let mut wrong = Vec::new();
    for time in times {
        let mut nals =
            seen.at(*time).iter().filter(|nal| nal.first().map(|b| b >> 1 & 63) == Some(62));
        match (nals.next(), nals.next()) {
            (Some(nal), None) => found.push(nal.as_slice()),
            _ => wrong.push(*time),
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    let named: Vec<String> =
        wrong.iter().take(NAMED).map(|time| format!("{:.3} s", base.seconds(*time))).collect();
    let more = if wrong.len() > NAMED { ", …" } else { "" };
    let message = format!(
        "{} of {} frames do not have exactly one unit of Dolby Vision metadata (at {}{more})",
        wrong.len(),
        times.len(),
        named.join(", ")
    );
    Err(Failure::input(message)
        .advise("the source is damaged; --set dolby_vision=drop converts its base picture"))
}

/// A unit as the output gets it: the very bytes where nothing changes.
fn converted(nal: &[u8], kept: DolbyKept, encode: &VideoEncode) -> Result<Vec<u8>, Failure> {
    let nal = if kept.convert { rpu::to_81(nal)? } else { nal.to_vec() };
    let mut parsed = Rpu::parse(&nal)?;
    if parsed.profile() != 8 {
        return Err(Failure::input(format!(
            "a frame has Dolby Vision of profile {} amid profile 8",
            parsed.profile()
        ))
        .advise("--set dolby_vision=drop converts the base picture"));
    }
    let Some(bars) = parsed.bars() else { return Ok(nal) };
    let upright = bars.turned(encode.turned);
    let left: Bars = hdr::adapt(upright, encode.source_size, encode.window, encode.size);
    if left == bars {
        return Ok(nal);
    }
    parsed.set_bars(left)?;
    parsed.write()
}

/// Where the metadata of an encode comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The source.
    pub path: &'a Path,
    /// Stream of the picture.
    pub stream: u32,
    /// Seconds per tick of that stream.
    pub base: TimeBase,
    /// How it is encoded.
    pub encode: &'a VideoEncode,
}

/// Reads what the frames at `times` are to have from the source.
///
/// # Errors
/// As [`wanted`] and [`read`].
pub(crate) async fn gather(
    tools: &Tools,
    origin: Origin<'_>,
    times: &[i64],
    range: Range,
    scratch: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<FrameMetadata>, Failure> {
    let Origin { path, stream, base, encode } = origin;
    let own = read(tools, path, stream, base, range, scratch, cancel).await?;
    let beside = match encode.hdr.dolby_vision {
        Some(kept) if kept.stream != stream => {
            Some(read(tools, path, kept.stream, base, range, scratch, cancel).await?)
        }
        _ => None,
    };
    wanted(encode, times, &own, beside.as_ref().unwrap_or(&own), base)
}

/// Gives the frames in the NUT file `out` their metadata, in order of being
/// shown.
///
/// # Errors
/// When the file does not hold just these frames or cannot be written.
pub(crate) async fn put(
    tools: &Tools,
    frames: Vec<FrameMetadata>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    rewrap::rewrap(tools, frames, out, cancel).await
}

impl Seen {
    /// The units of the frame at `time`.
    fn at(&self, time: i64) -> &[Vec<u8>] {
        self.frames.get(&time).map_or(&[], Vec::as_slice)
    }
}

/// Units by the time of their frame, ticks.
pub(crate) type ByTime = BTreeMap<i64, Vec<Vec<u8>>>;
