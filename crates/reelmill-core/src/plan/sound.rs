//! Plans of outputs that are sound alone.

use super::{Estimate, PLAN_VERSION, Plan, VideoPlan};
use crate::container::Container;
use crate::error::Failure;
use crate::media::MediaInfo;
use crate::preset::Preset;
use crate::tracks::{TrackAction, TrackPlan, Tracks};

/// The plan of an output that is sound alone.
pub(super) fn sound_alone(
    media: &MediaInfo,
    preset: &Preset,
    container: Container,
) -> Result<Plan, Failure> {
    let tracks = Tracks::decide(media, container, &preset.audio);
    if !tracks.kept.iter().any(|track| track.action.is_audio()) {
        let why = tracks.dropped.first().map_or(String::new(), |lost| format!(": {}", lost.reason));
        let message = format!("the source has no sound that {container} can hold{why}");
        return Err(Failure::input(message).advise("choose a source with sound"));
    }
    let seconds = media.duration.unwrap_or(0.0);
    let bits = |track: &TrackPlan| match track.action {
        TrackAction::EncodeAudio { bit_rate, .. } if bit_rate > 0 => f64::from(bit_rate),
        TrackAction::EncodeAudio { .. } => LOSSLESS_BITS,
        TrackAction::CopyAudio => {
            let stream = media.streams.iter().find(|stream| stream.index == track.stream);
            stream.and_then(|stream| stream.bit_rate).unwrap_or(192_000) as f64
        }
        _ => 0.0,
    };
    let bytes = tracks.kept.iter().map(bits).sum::<f64>() * seconds / 8.0;
    Ok(Plan {
        version: PLAN_VERSION,
        container,
        origin_micros: media.start_micros,
        video: VideoPlan::default(),
        tracks: tracks.kept,
        dropped: tracks.dropped,
        notes: tracks.notes,
        skeleton: Vec::new(),
        source_bytes: media.size,
        estimate: Estimate { seconds: seconds / SOUND_SPEED, bytes: bytes as u64 },
    })
}

/// Bits per second of stereo in FLAC, roughly.
const LOSSLESS_BITS: f64 = 800_000.0;

/// Seconds of sound that are encoded in one second, roughly.
const SOUND_SPEED: f64 = 40.0;
