//! When the sound of the source begins and ends as its decoder gives it: some
//! decoders start late, and some containers tell durations wrongly.

use super::Measured;
use crate::args::{Args, must_be_apart, quiet, source_input, unmoved};
use crate::encode::STALL;
use crate::listing::Listed;
use crate::tools::Tools;
use reelmill_core::check::Span;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::media::Stream;
use reelmill_core::time::TimeBase;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// How far before its last packet's end a track is decoded to find its end,
/// seconds.
const TAIL: f64 = 5.0;

/// How far a decoder may start after the first packet, seconds; beyond, sound
/// is missing.
const LATE: f64 = 0.2;

/// How far a decoder may end from where the last packet does, seconds.
const END: f64 = 0.5;

/// From when to when each track that is encoded can be heard in the source, by
/// its stream. Where decoding does not tell, or tells what cannot be, the
/// packets do.
pub(super) async fn spans(
    tools: &Tools,
    measured: &Measured<'_>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<u32, Span>, Failure> {
    let tracks = measured.promised.assembly.plan.tracks.iter();
    let encoded = |track: &&TrackPlan| matches!(track.action, TrackAction::EncodeAudio { .. });
    let mut spans = BTreeMap::new();
    for track in tracks.filter(encoded) {
        let stream = measured.promised.source.streams.get(&track.stream);
        if let Some(span) = stream.and_then(Listed::span) {
            spans.insert(track.stream, span);
        }
    }
    let media = measured.promised.assembly.media;
    let streams: Vec<u32> =
        spans.keys().copied().filter(|stream| tells_its_end(&media.streams, *stream)).collect();
    let decoded_ones = || spans.iter().filter(|(stream, _)| streams.contains(stream));
    let Some(tail) = decoded_ones().map(|(_, span)| span.end - TAIL).reduce(f64::min) else {
        return Ok(spans);
    };
    let first = Args::new().words("-frames:a 1");
    let seek = match keeps_times(measured) && decoded_ones().any(|(_, span)| span.start < tail) {
        true => Args::new()
            .words("-seek_timestamp 1 -noaccurate_seek")
            .option("-ss", format!("{tail:.3}")),
        false => Args::new(),
    };
    let (starts, ends) = tokio::try_join!(
        decoded(tools, measured, &streams, (Args::new(), first), cancel),
        decoded(tools, measured, &streams, (seek, Args::new()), cancel),
    )?;
    for (at, stream) in streams.iter().enumerate() {
        let Some(span) = spans.get_mut(stream) else { continue };
        if let Some(found) = starts.get(&at).filter(|it| (it.start - span.start).abs() <= LATE) {
            span.start = found.start;
        }
        if let Some(found) = ends.get(&at).filter(|it| (it.end - span.end).abs() <= END) {
            span.end = found.end;
        }
    }
    Ok(spans)
}

/// Whether what is decoded of a stream ends where its sound does: of a packet of AMR FFmpeg
/// decodes the first frame.
fn tells_its_end(streams: &[Stream], stream: u32) -> bool {
    !streams.iter().any(|it| it.index == stream && must_be_apart(&it.codec))
}

/// Whether packets have the same times after a seek. In MXF without an index (cut off, or
/// recorded so) they do not: FFmpeg 5.1 counts them from where it guesses to be.
fn keeps_times(measured: &Measured<'_>) -> bool {
    measured.promised.assembly.media.format.split(',').all(|name| name != "mxf")
}

/// From when to when `streams` give sound when decoded with some options before
/// the input and some before the output; empty when that fails.
async fn decoded(
    tools: &Tools,
    measured: &Measured<'_>,
    streams: &[u32],
    (before, after): (Args, Args),
    cancel: &CancellationToken,
) -> Result<BTreeMap<usize, Span>, Failure> {
    let mut args = quiet()
        .arg("-copyts")
        .join(before)
        .join(unmoved(0))
        .join(source_input(measured.promised.assembly.source));
    for stream in streams {
        args = args.option("-map", format!("0:{stream}"));
    }
    let args = args.join(after).words("-c:a pcm_s16le -f framecrc pipe:1");
    let mut heard = Heard::default();
    let command = tools.ffmpeg(args).stall_after(STALL);
    match command.run_lines(cancel, &mut |line| heard.push(line)).await {
        Err(failure) if failure.class == FailureClass::Cancelled => Err(failure),
        Err(_) => Ok(BTreeMap::new()),
        Ok(_) => Ok(heard.spans),
    }
}

/// Reads FFmpeg's `framecrc` format.
#[derive(Default)]
struct Heard {
    bases: BTreeMap<usize, TimeBase>,
    spans: BTreeMap<usize, Span>,
}

impl Heard {
    fn push(&mut self, line: &str) {
        if let Some(base) = line.strip_prefix("#tb ") {
            let parsed: Option<(usize, TimeBase)> = base
                .split_once(':')
                .and_then(|(at, base)| Some((at.trim().parse().ok()?, base.trim().parse().ok()?)));
            self.bases.extend(parsed);
            return;
        }
        let mut fields = line.split(',').map(str::trim);
        let at = fields.next().and_then(|at| at.parse::<usize>().ok());
        let mut ticks = fields.skip(1).map(|field| field.parse::<i64>().ok());
        let (pts, duration) = (ticks.next().flatten(), ticks.next().flatten());
        if let (Some(at), Some(pts), Some(duration)) = (at, pts, duration)
            && let Some(base) = self.bases.get(&at)
        {
            let (start, end) = (base.seconds(pts), base.seconds(pts + duration));
            let known = self.spans.entry(at).or_insert(Span { start, end });
            known.start = known.start.min(start);
            known.end = known.end.max(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_amr_is_told_by_its_packets() {
        let stream = |index, codec: &str| {
            let json = serde_json::json!({
                "index": index, "codec": codec, "dispositions": [], "tags": {}, "kind": "data",
            });
            serde_json::from_value::<Stream>(json).unwrap()
        };
        let streams = [stream(0, "h263"), stream(1, "amr_nb"), stream(2, "aac")];
        assert!(!tells_its_end(&streams, 1));
        assert!(tells_its_end(&streams, 2));
    }

    #[test]
    fn spans_are_read_per_stream() {
        let mut heard = Heard::default();
        let text = "#software: Lavf\n#tb 0: 1/48000\n#tb 1: 1/44100\n\
                    1,  -44100,  -44100,  44100,  2304, 0x1\n\
                    0,  4800,  4800,  4800,  2304, 0x1\n0, 9600, 9600, 4800, 2304, 0x1\n";
        text.lines().for_each(|line| heard.push(line));
        let spans = [(0, Span { start: 0.1, end: 0.3 }), (1, Span { start: -1.0, end: 0.0 })];
        assert_eq!(heard.spans, BTreeMap::from(spans));
    }
}
