//! Whether each audio track is there from beginning to end, in its place.

use super::Measured;
use crate::listing::Listed;
use reelmill_core::check::{self, Check, Span};
use reelmill_core::preset::AudioCodec;
use reelmill_core::tracks::{TrackAction, TrackPlan};

/// One check for each audio track.
pub(super) fn checks(measured: &Measured<'_>) -> Vec<Check> {
    let tracks = measured.assembly.plan.tracks.iter().filter(|track| is_audio(track));
    let outputs = measured.output_audio();
    tracks
        .enumerate()
        .map(|(number, track)| {
            let source = measured.source.streams.get(&track.stream);
            let output = outputs.get(number).copied();
            one(number, track, source, output, measured.origin_seconds())
        })
        .collect()
}

fn is_audio(track: &TrackPlan) -> bool {
    matches!(track.action, TrackAction::CopyAudio | TrackAction::EncodeAudio { .. })
}

fn one(
    number: usize,
    track: &TrackPlan,
    source: Option<&Listed>,
    output: Option<&Listed>,
    origin: f64,
) -> Check {
    let name = format!("audio {number}");
    let wanted = source.and_then(Listed::span);
    let found = output.and_then(Listed::span);
    match (wanted, found) {
        (None, None) => Check::new(&name, true, "empty, as in the source"),
        (None, Some(_)) => Check::new(&name, true, "the source's times are not known"),
        (Some(_), None) => Check::new(&name, false, "missing or empty"),
        (Some(wanted), Some(found)) => {
            let wanted = Span { start: wanted.start - origin, end: wanted.end - origin };
            check::audio_span(number, wanted, found, slack(track, output))
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

impl Measured<'_> {
    /// The output's audio streams, in order.
    fn output_audio(&self) -> Vec<&Listed> {
        let streams = self.media.audio().map(|(stream, _)| stream.index);
        streams.filter_map(|index| self.output.streams.get(&index)).collect()
    }
}
