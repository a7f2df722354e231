//! Measures an output and has it judged: is it what the plan promised?

mod dynamic;
mod hashes;
mod heard;
mod pictures;
mod samples;
mod seams;
mod selection;
mod sound;
mod streams;

use crate::args::{VideoArgs, concat_input, source_input};
use crate::listing::{Listing, list};
use crate::probe::probe;
use crate::stitch::{Assembly, write_list};
use crate::tools::Tools;
use reelmill_core::check::{self, Check, Verdict};
use reelmill_core::error::Failure;
use reelmill_core::media::MediaInfo;
use reelmill_core::time::TimeBase;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Everything measured, before any judgement.
struct Measured<'a> {
    assembly: Assembly<'a>,
    /// Times of all frames that the output must have, source ticks.
    planned: Vec<i64>,
    /// Number of frames in each part.
    counts: Vec<usize>,
    source: Listing,
    output: Listing,
    media: MediaInfo,
}

/// What an output is measured against: found without the output, so that it
/// can be while that is still being put together.
#[derive(Debug)]
pub struct Expected {
    source: Listing,
    packets: Vec<String>,
}

/// Lists the packets of the source and of the video parts.
///
/// # Errors
/// When one of them cannot be read.
pub async fn expect(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<Expected, Failure> {
    let list_path = write_list(assembly, "verify.ffconcat").await?;
    let codec = assembly.encode.encoder.codec();
    let (source, packets) = tokio::try_join!(
        list(tools, source_input(assembly.source), "", cancel),
        hashes::packet_hashes(tools, concat_input(&list_path, assembly.parts.video), codec, cancel),
    )?;
    Ok(Expected { source, packets })
}

/// Checks the output at `out` against its plan and what is `expected`.
///
/// `digests` are the parameter-set digests of the video parts, in order, as
/// their encoding told. A verdict that does not pass is an answer, not an error.
///
/// # Errors
/// When something cannot be measured at all.
pub async fn verify(
    tools: &Tools,
    assembly: Assembly<'_>,
    expected: Expected,
    digests: &[String],
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    let codec = assembly.encode.encoder.codec();
    let (media, output, have) = tokio::try_join!(
        probe(tools, out, cancel),
        list(tools, source_input(out), "", cancel),
        hashes::packet_hashes(tools, source_input(out), codec, cancel),
    )?;
    let Expected { source, packets } = expected;
    let planned = assembly.frames();
    let counts = part_sizes(&assembly, planned.len());
    let measured = Measured { assembly, planned, counts, source, output, media };
    let mut checks = vec![
        measured.frame_times(),
        check::parameter_sets(digests.iter().map(String::as_str)),
        check::packets(&split(&packets, &measured.counts), &have),
    ];
    let samples = seams::samples(&measured);
    let chosen = samples.as_deref().unwrap_or_default();
    let (seams, wanted, sound) = tokio::try_join!(
        seams::decode(tools, &measured, samples.as_deref(), out, cancel),
        pictures::of_source(tools, &measured, chosen, cancel),
        sound::checks(tools, &measured, cancel),
    )?;
    checks.push(seams.check());
    checks.push(pictures::compare(tools, &measured, &seams, wanted, cancel).await?);
    checks.extend(sound);
    checks.extend(streams::checks(&measured));
    checks.extend(dynamic::checks(tools, &measured, out, cancel).await?);
    checks.push(measured.duration());
    Ok(Verdict { checks })
}

/// Frames of each part.
fn part_sizes(assembly: &Assembly<'_>, all: usize) -> Vec<usize> {
    match assembly.plan.chunks() {
        [] => vec![all],
        chunks => chunks.iter().map(|chunk| chunk.pts.len()).collect(),
    }
}

/// The packets of all parts, by part; what is left over goes to the last.
fn split(packets: &[String], counts: &[usize]) -> Vec<Vec<String>> {
    let mut rest = packets;
    let last = counts.len().saturating_sub(1);
    let mut parts = Vec::with_capacity(counts.len());
    for (at, count) in counts.iter().enumerate() {
        let take = if at == last { rest.len() } else { (*count).min(rest.len()) };
        let (part, left) = rest.split_at(take);
        parts.push(part.to_vec());
        rest = left;
    }
    parts
}

impl Measured<'_> {
    fn time_base(&self) -> TimeBase {
        self.assembly.plan.video.time_base
    }

    fn origin_seconds(&self) -> f64 {
        self.assembly.plan.origin_micros as f64 / 1e6
    }

    /// Time in the output of a source tick, microseconds.
    fn output_micros(&self, tick: i64) -> i64 {
        self.time_base().micros(tick) - self.assembly.plan.origin_micros
    }

    /// Time of each part's first frame, source ticks.
    fn part_starts(&self) -> Vec<i64> {
        let mut at = 0;
        let mut starts = Vec::with_capacity(self.counts.len());
        for count in &self.counts {
            starts.extend(self.planned.get(at));
            at += count;
        }
        starts
    }

    fn video_args(&self) -> VideoArgs<'_> {
        let video = &self.assembly.plan.video;
        let source = self.assembly.media.video();
        VideoArgs {
            path: self.assembly.source,
            codec: source.map_or("", |(stream, _)| stream.codec.as_str()),
            pixel_format: self.assembly.source_pixels(),
            stream: video.stream,
            time_base: video.time_base,
            encode: self.assembly.encode,
        }
    }

    fn frame_times(&self) -> Check {
        let stream = self.output.streams.get(&0);
        let found = stream.and_then(|stream| Some((stream.shown()?, stream.time_base?)));
        let Some((found, base)) = found else {
            return Check::new("frames", false, "the output has no timed video");
        };
        let plan = self.assembly.plan;
        let step = plan.container.timestamp_step().max(base.seconds(1) / 2.0);
        check::frame_times(
            (&self.planned, self.time_base()),
            (&found, base),
            plan.origin_micros,
            step,
        )
    }

    /// Whether the output lasts as long as the source really does, leaving out
    /// how long the last picture stays, and the source as long as it declares.
    fn duration(&self) -> Check {
        let declared = self.assembly.media.duration.unwrap_or(0.0);
        if let Some(reached) = self.source.stops_early(declared) {
            return check::duration(declared, reached);
        }
        let base = self.time_base();
        let video = self.planned.last().map(|last| base.seconds(*last));
        let tracks = self.assembly.plan.tracks.iter();
        let audio = tracks.filter(|track| sound::is_audio(track));
        let audio = audio.filter_map(|track| self.source.streams.get(&track.stream)?.span());
        let ends = audio.map(|span| span.end).chain(video);
        let end = ends.map(|end| end - self.origin_seconds()).fold(0.0, f64::max);
        let spans = self.output.streams.values().filter_map(|stream| stream.span());
        let found = spans.map(|span| span.end).fold(0.0, f64::max);
        check::duration(end, found)
    }
}
