//! In which pieces a picture is encoded, and whether by hardware.

use super::{Cut, PlanLimits, VideoEncode, WholeReason};
use crate::check::absurd;
use crate::cut::{ChunkLength, Film, MIN_AUTO_SECONDS, cut};
use crate::hardware::{Hardware, stand_in};
use crate::media::MediaInfo;
use crate::packets::{PacketIndex, Uncuttable};
use crate::preset::VideoPreset;

/// Whether hardware encodes, which `encode` is changed for then; a note says why it
/// does not, though `preset` asks for it.
pub(super) fn by_hardware(
    encode: &mut VideoEncode,
    preset: &VideoPreset,
    limits: PlanLimits,
    notes: &mut Vec<String>,
) -> bool {
    if preset.hardware == Hardware::Off {
        return false;
    }
    let made = match limits.hardware {
        Some(by) if preset.aim().is_some() => Err(format!("{by} holds no size and no bit rate")),
        Some(by) => stand_in(encode, by),
        None => Err(format!("no {} encoder in hardware was proven", encode.encoder.codec())),
    };
    match made {
        Ok(made) => {
            notes.push(format!("{} encodes instead of {}", made.encoder, encode.encoder));
            *encode = made;
            true
        }
        Err(why) => {
            notes.push(format!("{} encodes, not hardware: {why}", encode.encoder));
            false
        }
    }
}

/// The picture of `media` in one piece.
pub(super) fn whole(media: &MediaInfo, reason: WholeReason) -> Cut {
    let declared = media.video().and_then(|(stream, _)| stream.duration).or(media.duration);
    Cut::Whole { reason, declared }
}

/// In which pieces the picture of `media` is encoded, `scenes` being known to begin
/// where they do.
pub(super) fn choose_cut(
    media: &MediaInfo,
    index: Result<&PacketIndex, Uncuttable>,
    (encode, scenes): (&VideoEncode, &[i64]),
    limits: PlanLimits,
) -> Cut {
    let index = match index {
        Ok(index) => index,
        Err(reason) => return whole(media, WholeReason::Unsafe(reason)),
    };
    let whole = |reason| match whole(media, reason) {
        Cut::Whole { reason, declared } => {
            Cut::Whole { reason, declared: declared.map(|it| believed(it, index)) }
        }
        other => other,
    };
    let frames = match index.frames(&media.format) {
        Ok(frames) => frames,
        Err(reason) => return whole(WholeReason::Unsafe(reason)),
    };
    let ticks = frames.pts.ticks();
    let seconds = index.time_base.seconds(ticks[ticks.len() - 1] - ticks[0]);
    let length = match limits.chunk_seconds {
        Some(seconds) => ChunkLength::Fixed(seconds),
        None if limits.slots < 2 => return whole(WholeReason::OneSlot),
        None if limits.queued >= limits.slots => return whole(WholeReason::Busy),
        None if seconds < 2.0 * MIN_AUTO_SECONDS => return whole(WholeReason::Short),
        None => ChunkLength::Auto { slots: limits.slots },
    };
    let film = Film {
        frames: &frames,
        scenes,
        interval: encode.keyframe_interval,
        scene_keys: encode.encoder.keys_scenes(),
    };
    let chunks = cut(film, length);
    if chunks.len() < 2 {
        return whole(WholeReason::Short);
    }
    Cut::Chunks { chunks }
}

/// Seconds that a film which claims to last `declared` does last: what it claims, unless
/// that is absurd beside its packets.
fn believed(declared: f64, index: &PacketIndex) -> f64 {
    let times = || index.packets.iter().filter_map(|packet| packet.pts);
    let ticks = times().min().zip(times().max()).map_or(0, |(first, last)| last - first);
    let there = index.time_base.seconds(ticks).max(1.0);
    if index.errors.is_empty() && absurd(declared, there) { there } else { declared }
}

/// A whole file may use the machine unless others wait for it too.
pub(super) fn threads(cut: &Cut, limits: PlanLimits) -> u32 {
    match cut {
        Cut::Whole { reason: WholeReason::Busy, .. } | Cut::Chunks { .. } => limits.threads,
        Cut::Whole { .. } | Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => 0,
    }
}
