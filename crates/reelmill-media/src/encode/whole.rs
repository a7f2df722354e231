//! Encodes a video in one piece, where only decoding can tell its frames.

use super::quality::{Aim, Piece};
use super::readback::{Encoded, read_back};
use super::{EncodedFile, OnProgress, STALL, VideoJob, compare, refuse_read_error, remove};
use crate::args::{self, Frames, source_input};
use crate::dynamic::Range;
use crate::listing::list;
use crate::progress::ProgressParser;
use crate::tools::Tools;
use reelmill_core::check;
use reelmill_core::error::Failure;
use reelmill_core::pts::PtsList;
use reelmill_core::time::TimeBase;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Encodes the whole video into the NUT file `out` and proves by reading it
/// back that it holds every decoded frame at its time.
///
/// `declared` is the duration in seconds that the source declares: when the
/// frames end earlier, and no other stream reaches it either, reading stopped
/// early.
///
/// # Errors
/// Class input when the frames' times make no sense or the source ends early;
/// else as the encoder failed.
pub async fn encode_video(
    tools: &Tools,
    job: VideoJob<'_>,
    declared: Option<f64>,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<EncodedFile, Failure> {
    let Some(target) = job.encode.target else {
        return encode_all(tools, job, declared, out, on_progress, cancel).await;
    };
    // As good as any guess: how it is sampled depends on it, nothing else.
    let count = declared.map_or(u64::MAX, |seconds| (seconds * 25.0) as u64);
    let frames = Frames { range: None, preroll: None, sample: false };
    let piece = Piece { tools, job, frames, count, target, out, on_progress, cancel };
    let mut aim = Aim::take(piece).await?;
    loop {
        let encode = aim.encode();
        let job = VideoJob { encode: &encode, ..job };
        let file = encode_all(tools, job, declared, out, on_progress, cancel).await?;
        if let Some(file) = aim.judge(file, frames).await? {
            return Ok(file);
        }
    }
}

/// Encodes the whole video as it is asked for.
async fn encode_all(
    tools: &Tools,
    job: VideoJob<'_>,
    declared: Option<f64>,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<EncodedFile, Failure> {
    remove(out).await?;
    let origin = args::lead_in(job.source.start_micros, job.time_base);
    let seen = decode_and_encode(tools, job, origin, out, on_progress, cancel).await?;
    if seen.is_empty() {
        return Err(Failure::input("no picture of the video can be decoded")
            .advise("check that the file plays"));
    }
    let times = compare::spread(&seen).map_err(|why| {
        Failure::input(why).advise("remux the file with another tool, for example mkvmerge")
    })?;
    let found = read_back(tools, out, cancel).await?;
    let found = found.ok_or_else(|| Failure::transient("the encoder wrote no readable video"))?;
    compare::times((&times, job.time_base), origin, &found, compare::slack(job.encode.encoder))
        .map_err(|why| Failure::transient(format!("the encoder changed the frames: {why}")))?;
    check_end(tools, job, declared, &times, cancel).await?;
    if !job.encode.hdr.per_frame() {
        return Ok(file(found, times));
    }
    let plain = seen.iter().flatten().copied().collect::<Vec<_>>();
    let made = file(found, times);
    super::metadata(tools, job, (&plain, Range::default()), (made, out), cancel).await
}

fn file(found: Encoded, times: Vec<i64>) -> EncodedFile {
    let (frames, extradata, bytes) = (times.len() as u64, found.digest, found.bytes);
    EncodedFile { frames, extradata, pts: PtsList::new(times), score: None, bytes }
}

/// Encodes; the times at which the frames were decoded, in decoding order. They come
/// between the reports of progress: a file would be begun anew by FFmpeg whenever the
/// picture changes its size.
async fn decode_and_encode(
    tools: &Tools,
    job: VideoJob<'_>,
    origin: i64,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Option<i64>>, Failure> {
    let mut seen = Vec::new();
    let mut parser = ProgressParser::default();
    let mut on_line = |line: &str| {
        if let Some(time) = seen_at(line) {
            seen.push(time);
        } else if let Some(progress) = parser.push(line) {
            on_progress(progress);
        }
    };
    let command = tools.ffmpeg(args::whole(job.args(), origin, out)).stall_after(STALL);
    let output = command.run_lines(cancel, &mut on_line).await?;
    refuse_read_error(&output)?;
    Ok(seen)
}

/// The time in what the `metadata` filter prints of each frame, which is a line like
/// `frame:0 pts:40 pts_time:…` and one that it was told to write; inner `None` where the
/// frame has none.
fn seen_at(line: &str) -> Option<Option<i64>> {
    let words = line.strip_prefix("frame:")?;
    let pts = words.split_whitespace().find_map(|word| word.strip_prefix("pts:"));
    Some(pts.and_then(|pts| pts.parse().ok()))
}

/// Refuses a source that ends before it should.
async fn check_end(
    tools: &Tools,
    job: VideoJob<'_>,
    declared: Option<f64>,
    times: &[i64],
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let (Some(declared), Some(last)) = (declared, times.last()) else {
        return Ok(());
    };
    let found = length(times, *last, job.time_base);
    if check::duration(declared, found).passed {
        return Ok(());
    }
    let listing = list(tools, source_input(job.source.path), "", cancel).await?;
    let Some(reached) = listing.stops_early(declared) else {
        return Ok(());
    };
    let message = format!("reading stopped early: {reached:.3} s of {declared:.3} s could be read");
    Err(Failure::input(message)
        .advise("the file is probably incomplete or damaged: copy or download it again"))
}

/// Seconds from the first frame to the end of the last, taking the last one to
/// last as long as the one before.
fn length(times: &[i64], last: i64, base: TimeBase) -> f64 {
    let before = times.len().checked_sub(2).map_or(last, |at| times[at]);
    base.seconds(last - times[0] + (last - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_decoded_frames_are_read() {
        assert_eq!(seen_at("frame:0    pts:40      pts_time:0.04"), Some(Some(40)));
        assert_eq!(seen_at("frame:1    pts:NOPTS   pts_time:NOPTS"), Some(None));
        assert_eq!(["seen=1", "frame=12", "progress=continue"].map(seen_at), [None; 3]);
    }
}
