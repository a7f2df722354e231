//! Whether each audio track is there from beginning to end, in its place.

use super::Measured;
use crate::args::{quiet, source_input};
use crate::encode::STALL;
use crate::listing::Listed;
use crate::process::ToolCommand;
use crate::tools::Tools;
use reelmill_core::check::{self, Check, Span};
use reelmill_core::error::Failure;
use reelmill_core::preset::AudioCodec;
use reelmill_core::time::TimeBase;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Decoders may need some packets before they give sound; beyond so many
/// seconds, sound is missing.
const DECODER_DELAY: f64 = 0.2;

/// One check for each audio track.
pub(super) async fn checks(
    tools: &Tools,
    measured: &Measured<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Check>, Failure> {
    let tracks = measured.assembly.plan.tracks.iter().filter(|track| is_audio(track));
    let heard = first_heard(tools, measured, cancel).await?;
    let outputs = measured.output_audio();
    let origin = measured.origin_seconds();
    let check = |(number, track): (usize, &TrackPlan)| {
        let source = measured.source.streams.get(&track.stream).and_then(Listed::span);
        let output = outputs.get(number).copied();
        let heard = heard.get(&track.stream).copied();
        one((number, track), source, output, heard, origin)
    };
    Ok(tracks.enumerate().map(check).collect())
}

pub(super) fn is_audio(track: &TrackPlan) -> bool {
    matches!(track.action, TrackAction::CopyAudio | TrackAction::EncodeAudio { .. })
}

fn one(
    (number, track): (usize, &TrackPlan),
    source: Option<Span>,
    output: Option<&Listed>,
    heard: Option<f64>,
    origin: f64,
) -> Check {
    let name = format!("audio {number}");
    match (source, output.and_then(Listed::span)) {
        (None, None) => Check::new(&name, true, "empty, as in the source"),
        (None, Some(_)) => Check::new(&name, true, "the source's times are not known"),
        (Some(_), None) => Check::new(&name, false, "missing or empty"),
        (Some(source), Some(found)) => {
            let delay = heard.map_or(0.0, |heard| heard - source.start);
            let delay = if delay.abs() <= DECODER_DELAY { delay } else { 0.0 };
            let wanted = Span { start: source.start - origin + delay, end: source.end - origin };
            check::audio_span(number, wanted, found, slack(track, output) + delay.max(0.0))
        }
    }
}

/// Seconds that the last packet may reach beyond the end: one frame of the
/// codec, which the encoder fills up.
fn slack(track: &TrackPlan, output: Option<&Listed>) -> f64 {
    let rate = output.map_or(0, |output| output.sample_rate).max(8000);
    let samples = match track.action {
        TrackAction::EncodeAudio { codec, .. } => match codec {
            AudioCodec::Aac => 1024,
            AudioCodec::Opus => rate / 50,
            AudioCodec::Ac3 => 1536,
            AudioCodec::Mp3 => 2 * 1152,
            AudioCodec::Flac => 0,
        },
        _ => 0,
    };
    f64::from(samples) / f64::from(rate)
}

/// When the first sound of each encoded track comes out of its decoder,
/// seconds, by its stream in the source.
async fn first_heard(
    tools: &Tools,
    measured: &Measured<'_>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<u32, f64>, Failure> {
    let tracks = measured.assembly.plan.tracks.iter();
    let encoded = |track: &&TrackPlan| matches!(track.action, TrackAction::EncodeAudio { .. });
    let streams: Vec<u32> = tracks.filter(encoded).map(|track| track.stream).collect();
    if streams.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut args = quiet().arg("-copyts").args(source_input(measured.assembly.source));
    for stream in &streams {
        args = args.option("-map", format!("0:{stream}"));
    }
    let args = args.words("-frames:a 1 -c:a pcm_s16le -f framecrc pipe:1");
    let command = ToolCommand::new(&tools.ffmpeg).args(args).stall_after(STALL);
    let text = String::from_utf8_lossy(&command.run(cancel).await?.stdout).into_owned();
    let place = |(number, seconds)| Some((*streams.get(number)?, seconds));
    Ok(first_times(&text).into_iter().filter_map(place).collect())
}

/// The first time of each stream in FFmpeg's `framecrc` format, seconds.
fn first_times(text: &str) -> BTreeMap<usize, f64> {
    let mut bases: BTreeMap<usize, TimeBase> = BTreeMap::new();
    let mut times = BTreeMap::new();
    for line in text.lines() {
        if let Some(base) = line.strip_prefix("#tb ") {
            let parsed: Option<(usize, TimeBase)> = base
                .split_once(':')
                .and_then(|(at, base)| Some((at.trim().parse().ok()?, base.trim().parse().ok()?)));
            bases.extend(parsed);
            continue;
        }
        let mut fields = line.split(',').map(str::trim);
        let number = fields.next().and_then(|number| number.parse::<usize>().ok());
        let pts = fields.nth(1).and_then(|pts| pts.parse::<i64>().ok());
        if let (Some(number), Some(pts)) = (number, pts)
            && let Some(base) = bases.get(&number)
        {
            times.entry(number).or_insert_with(|| base.seconds(pts));
        }
    }
    times
}

impl Measured<'_> {
    /// The output's audio streams, in order.
    fn output_audio(&self) -> Vec<&Listed> {
        let streams = self.media.audio().map(|(stream, _)| stream.index);
        streams.filter_map(|index| self.output.streams.get(&index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_times_are_read_per_stream() {
        let text = "#software: Lavf\n#tb 0: 1/48000\n#tb 1: 1/44100\n\
                    1,  -44100,  -44100,  1152,  2304, 0x1\n\
                    0,  4800,  4800,  1024,  2304, 0x1\n0, 9600, 9600, 1024, 2304, 0x1\n";
        assert_eq!(first_times(text), BTreeMap::from([(0, 0.1), (1, -1.0)]));
    }
}
