//! Encodes video: one chunk, or all of it.

mod compare;
mod quality;
mod readback;
mod whole;

pub use whole::encode_video;

use crate::args::{self, Args, Frames, VideoArgs};
use crate::dynamic::{self, Origin, Range};
use crate::process::{ToolCommand, ToolOutput};
use crate::progress::{Progress, ProgressParser};
use crate::tools::Tools;
use quality::{Aim, Piece};
use readback::read_back;
use reelmill_core::chunk::Chunk;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::plan::VideoEncode;
use reelmill_core::pts::PtsList;
use reelmill_core::score::Score;
use reelmill_core::time::TimeBase;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An encoder that reports no progress for so long hangs.
pub(crate) const STALL: Duration = Duration::from_secs(600);

/// Takes each progress report as it comes.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// A source, as far as reading it needs.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its path.
    pub path: &'a Path,
    /// When its earliest stream starts, microseconds.
    pub start_micros: i64,
    /// Codec of its video, by FFmpeg's name.
    pub codec: &'a str,
    /// Pixel format of its video, by FFmpeg's name.
    pub pixel_format: &'a str,
    /// Whether the file at `path` holds only the bytes that the plan expects
    /// to need: then nothing but the first pre-roll is tried.
    pub partial: bool,
}

/// The video of a source and how to encode it.
#[derive(Debug, Clone, Copy)]
pub struct VideoJob<'a> {
    /// The source.
    pub source: Source<'a>,
    /// Stream index in the source.
    pub stream: u32,
    /// Seconds per tick of that stream.
    pub time_base: TimeBase,
    /// How to encode.
    pub encode: &'a VideoEncode,
}

/// An encoded file.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedFile {
    /// Frames in it.
    pub frames: u64,
    /// Digest of the codec's parameter sets and of the picture's shape.
    pub extradata: String,
    /// For a whole video: the times of its frames, ticks of the source.
    pub pts: Option<PtsList>,
    /// How good it was measured to be, where a score is aimed at.
    pub score: Option<Score>,
    /// Bytes of its packets, without the container.
    pub bytes: u64,
}

/// Encodes `chunk` into the NUT file `out`, with times relative to the chunk's
/// start, and proves by reading it back that it holds exactly the planned
/// frames. Decoding starts at the chunk's pre-rolls one after the other, then
/// at the beginning, until the frames are right.
///
/// # Errors
/// Class recut when no way of reading yields the planned frames; else as the
/// encoder failed.
pub async fn encode_chunk(
    tools: &Tools,
    job: VideoJob<'_>,
    chunk: &Chunk,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<EncodedFile, Failure> {
    let Some(target) = job.encode.target else {
        let made = encode_frames(tools, job, chunk, out, on_progress, cancel).await?;
        return Ok(made.0);
    };
    let frames = |preroll| Frames { range: Some((chunk.start, chunk.end)), preroll, sample: false };
    let first = attempts(chunk, job.source.partial).into_iter().next().flatten();
    let count = chunk.pts.len() as u64;
    let piece =
        Piece { tools, job, frames: frames(first), count, target, out, on_progress, cancel };
    let mut aim = Aim::take(piece).await?;
    loop {
        let encode = aim.encode();
        let job = VideoJob { encode: &encode, ..job };
        let (file, preroll) = encode_frames(tools, job, chunk, out, on_progress, cancel).await?;
        if let Some(file) = aim.judge(file, frames(preroll)).await? {
            return Ok(file);
        }
    }
}

/// Encodes the chunk as it is asked for; the file, and where decoding began.
async fn encode_frames(
    tools: &Tools,
    job: VideoJob<'_>,
    chunk: &Chunk,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<(EncodedFile, Option<i64>), Failure> {
    let mut differences = Vec::new();
    for preroll in attempts(chunk, job.source.partial) {
        let args = args::chunk(job.args(), chunk, preroll, out);
        match attempt(tools, job, chunk, (args, out), on_progress, cancel).await? {
            Ok(file) if job.encode.hdr.per_frame() => {
                let range = Range { from: preroll, until: chunk.end };
                let ticks = chunk.pts.ticks();
                let file = metadata(tools, job, (ticks, range), (file, out), cancel).await?;
                return Ok((file, preroll));
            }
            Ok(file) => return Ok((file, preroll)),
            Err(difference) => {
                let from = preroll.map_or("the beginning".into(), |key| {
                    format!("{:.3} s", job.time_base.seconds(key))
                });
                tracing::info!(chunk = chunk.number, from, difference, "chunk differs from plan");
                differences.push(format!("decoded from {from}: {difference}"));
            }
        }
    }
    remove(out).await?;
    let message = format!(
        "chunk {} does not yield the frames of the plan ({})",
        chunk.number,
        differences.join("; ")
    );
    Err(Failure::new(FailureClass::Recut, message)
        .advise("the source is encoded in one piece instead"))
}

/// Where decoding may start, in the order to be tried.
fn attempts(chunk: &Chunk, partial: bool) -> Vec<Option<i64>> {
    let mut attempts: Vec<Option<i64>> = chunk.prerolls.iter().copied().map(Some).collect();
    attempts.push(None);
    if partial {
        attempts.truncate(1);
    }
    attempts
}

/// One try: the file, or in what its frames differ from the planned ones.
async fn attempt(
    tools: &Tools,
    job: VideoJob<'_>,
    chunk: &Chunk,
    (args, out): (Args, &Path),
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<Result<EncodedFile, String>, Failure> {
    remove(out).await?;
    let command = tools.ffmpeg(args);
    // Frames to warm up are none that anybody waits for.
    let all = chunk.pts.len() as u64;
    let told = |now: Progress| on_progress(Progress { frames: now.frames.min(all), ..now });
    match run(command, &told, cancel).await {
        Ok(output) => refuse_read_error(&output)?,
        Err(failure) if failure.class == FailureClass::Input => return Ok(Err(failure.message)),
        Err(failure) => return Err(failure),
    }
    let Some(found) = read_back(tools, out, cancel).await? else {
        return Ok(Err("no frames".into()));
    };
    let planned = (chunk.pts.ticks(), job.time_base);
    let slack = compare::slack(job.encode.encoder);
    Ok(compare::times(planned, chunk.start, &found, slack).map(|()| EncodedFile {
        frames: found.pts.len() as u64,
        extradata: found.digest,
        pts: None,
        score: None,
        bytes: found.bytes,
    }))
}

/// Gives the frames at `times` of the encoded file their metadata, and reads the
/// file back.
async fn metadata(
    tools: &Tools,
    job: VideoJob<'_>,
    (times, range): (&[i64], Range),
    (file, out): (EncodedFile, &Path),
    cancel: &CancellationToken,
) -> Result<EncodedFile, Failure> {
    let origin = Origin {
        path: job.source.path,
        stream: job.stream,
        base: job.time_base,
        encode: job.encode,
    };
    let scratch = out.parent().unwrap_or(out);
    let before = read_back(tools, out, cancel).await?;
    let frames = dynamic::gather(tools, origin, times, range, scratch, cancel).await;
    let frames = match frames {
        // What lacks in a part of the source may be elsewhere in the whole.
        Err(failure) if failure.class == FailureClass::Input && job.source.partial => {
            return Err(Failure::new(FailureClass::Recut, failure.message));
        }
        frames => frames?,
    };
    dynamic::put(tools, frames, out, cancel).await?;
    let after = read_back(tools, out, cancel).await?;
    match (before, after) {
        (Some(before), Some(after)) if before.same_times(&after) => {
            Ok(EncodedFile { extradata: after.digest, bytes: after.bytes, ..file })
        }
        _ => Err(Failure::transient("the times of the frames changed when metadata was put in")),
    }
}

impl<'a> VideoJob<'a> {
    pub(crate) fn args(&self) -> VideoArgs<'a> {
        VideoArgs {
            path: self.source.path,
            codec: self.source.codec,
            pixel_format: self.source.pixel_format,
            stream: self.stream,
            time_base: self.time_base,
            encode: self.encode,
        }
    }
}

/// Runs an encoder, handing on its progress.
pub(crate) async fn run(
    command: ToolCommand,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<ToolOutput, Failure> {
    let mut parser = ProgressParser::default();
    let mut on_line = |line: &str| {
        if let Some(progress) = parser.push(line) {
            on_progress(progress);
        }
    };
    command.stall_after(STALL).run_lines(cancel, &mut on_line).await
}

/// FFmpeg takes a failed read for the end of the file.
pub(crate) fn refuse_read_error(output: &ToolOutput) -> Result<(), Failure> {
    const PHRASES: [&str; 3] = ["Input/output error", "Stale file handle", "Connection timed out"];
    let bad = output.stderr.iter().find(|line| PHRASES.iter().any(|phrase| line.contains(phrase)));
    match bad {
        None => Ok(()),
        Some(line) => Err(Failure::transient(format!("reading the source failed: {line}")).advise(
            "check that the file still exists and its drive or share is mounted; \
                 where 'cat' reads it without an error, the file is cut off",
        )),
    }
}

/// Removes what an earlier attempt may have left.
pub(crate) async fn remove(path: &Path) -> Result<(), Failure> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io(format_args!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}
