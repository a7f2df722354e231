//! Whether each audio track is there from beginning to end, in its place.

use super::{Measured, heard};
use crate::listing::Listed;
use crate::tools::Tools;
use reelmill_core::check::{self, Check, Span};
use reelmill_core::error::Failure;
use reelmill_core::preset::AudioCodec;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use tokio_util::sync::CancellationToken;

/// One check for each audio track.
pub(super) async fn checks(
    tools: &Tools,
    measured: &Measured<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Check>, Failure> {
    let tracks = measured.promised.assembly.plan.tracks.iter().filter(|track| is_audio(track));
    let heard = heard::spans(tools, measured, cancel).await?;
    let outputs = measured.output_audio();
    let origin = measured.promised.origin_seconds();
    let check = |(number, track): (usize, &TrackPlan)| {
        let source = measured.promised.source.streams.get(&track.stream);
        let output = outputs.get(number).copied();
        let span = heard.get(&track.stream).copied().or_else(|| source?.span());
        let slack = match track.action {
            TrackAction::EncodeAudio { codec, .. } => padding(codec, output),
            _ => source.map_or(0.0, packet_seconds),
        };
        let spans = (span, output.and_then(Listed::span));
        match (&track.action, source.zip(output)) {
            (TrackAction::CopyAudio, Some(both)) => {
                one(number, closed(spans, both), (origin, slack))
            }
            _ => one(number, spans, (origin, slack)),
        }
    };
    Ok(tracks.enumerate().map(check).collect())
}

pub(super) fn is_audio(track: &TrackPlan) -> bool {
    matches!(track.action, TrackAction::CopyAudio | TrackAction::EncodeAudio { .. })
}

/// The spans of a copied track in source and output; both end where their last packets
/// begin if one of the two does not tell how long it lasts (ALAC in Matroska).
fn closed(
    (source, output): (Option<Span>, Option<Span>),
    (from, to): (&Listed, &Listed),
) -> (Option<Span>, Option<Span>) {
    if !from.ends_openly() && !to.ends_openly() {
        return (source, output);
    }
    let until = |span: Option<Span>, listed: &Listed| {
        span.map(|span| Span { end: listed.last_start().unwrap_or(span.end), ..span })
    };
    (until(source, from), until(output, to))
}

fn one(
    number: usize,
    (source, output): (Option<Span>, Option<Span>),
    (origin, slack): (f64, f64),
) -> Check {
    let name = format!("audio {number}");
    match (source, output) {
        (None, None) => Check::new(&name, true, "empty, as in the source"),
        (None, Some(_)) => Check::new(&name, true, "the source's times are not known"),
        (Some(_), None) => Check::new(&name, false, "missing or empty"),
        (Some(source), Some(found)) => {
            let wanted = Span { start: source.start - origin, end: source.end - origin };
            check::audio_span(number, wanted, found, slack)
        }
    }
}

/// Seconds that the last packet may reach beyond the end: one frame of the
/// codec, which the encoder fills up.
fn padding(codec: AudioCodec, output: Option<&Listed>) -> f64 {
    let rate = output.map_or(0, |output| output.sample_rate).max(8000);
    let samples = match codec {
        AudioCodec::Aac => 1024,
        AudioCodec::Opus => rate / 50,
        AudioCodec::Ac3 => 1536,
        AudioCodec::Mp3 => 2 * 1152,
        AudioCodec::Flac => 0,
    };
    f64::from(samples) / f64::from(rate)
}

/// Seconds of a packet, at most 0.1: an edit list may end within the last one,
/// which is copied whole.
fn packet_seconds(stream: &Listed) -> f64 {
    let longest = stream.packets.iter().take(10).filter_map(|packet| packet.duration).max();
    stream.time_base.zip(longest).map_or(0.0, |(base, ticks)| base.seconds(ticks)).min(0.1)
}

impl Measured<'_> {
    /// The output's audio streams, in order.
    fn output_audio(&self) -> Vec<&Listed> {
        let streams = self.media.audio().map(|(stream, _)| stream.index);
        streams.filter_map(|index| self.output.streams.get(&index)).collect()
    }
}
