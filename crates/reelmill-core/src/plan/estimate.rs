//! What a plan will take and give: rough, from general experience.

use super::{Cut, Estimate, PlanLimits, VideoEncode};
use crate::encoder::VideoEncoder;
use crate::media::{MediaInfo, VideoInfo};
use crate::packets::PacketIndex;
use crate::rate::{Aim, Rate};

/// Bytes of a source that are read, written and checked in a second, from our
/// own runs on a 2-core machine: order of magnitude.
const COPIED_PER_SECOND: f64 = 150e6;

/// What a source of so many bytes would take and give when nothing is encoded.
#[must_use]
pub fn copied(bytes: u64) -> Estimate {
    Estimate { seconds: bytes as f64 / COPIED_PER_SECOND, bytes }
}

/// Million pixels a second that one thread encodes at usual speeds, and bits
/// for each pixel; from our own runs on a 2-core machine, order of magnitude.
fn experience(encoder: VideoEncoder) -> (f64, f64) {
    match encoder {
        VideoEncoder::X264 => (22.0, 0.08),
        VideoEncoder::X265 => (6.0, 0.05),
        VideoEncoder::SvtAv1 => (14.0, 0.04),
        VideoEncoder::Vp9 => (4.0, 0.06),
        VideoEncoder::Ffv1 => (60.0, 4.0),
        // Whoever has hardware has it for its speed.
        _ => (150.0, 0.1),
    }
}

/// Thousands of pixels a second that one thread of `encoder` usually encodes.
#[must_use]
pub fn usual_speed(encoder: VideoEncoder) -> f64 {
    experience(encoder).0 * 1000.0
}

/// What `seconds` of video of `size` pixels at `fps` frames a second would take
/// and give, encoded in `slots` places at once.
#[must_use]
pub fn rough(
    encoder: VideoEncoder,
    size: (u32, u32),
    fps: f64,
    seconds: f64,
    slots: u32,
) -> Estimate {
    let all = f64::from(size.0) * f64::from(size.1) * fps * seconds;
    let (rate, bits) = experience(encoder);
    let bytes = (all * bits / 8.0) as u64;
    Estimate { seconds: all / 1e6 / rate / f64::from(slots.max(1)), bytes }
}

/// Times that a film is encoded for a size, as a rule.
const USUAL_PASSES: f64 = 2.0;

impl Estimate {
    /// The same when a size is aimed at.
    pub(super) fn towards(self, rate: Option<&Rate>, media: &MediaInfo) -> Self {
        let Some(rate) = rate else { return self };
        let (seconds, sound) = (self.seconds * USUAL_PASSES, audio_bytes(media));
        let pictures = |bits: u64| bits as f64 * media.duration.unwrap_or(0.0) / 8.0;
        match rate.aim {
            Aim::Bitrate { bits } => Self { seconds, bytes: (pictures(bits) + sound) as u64 },
            Aim::MaxSize { bytes } if bytes < self.bytes => Self { seconds, bytes },
            Aim::MaxSize { .. } => self,
        }
    }
}

fn audio_bytes(media: &MediaInfo) -> f64 {
    let bits: u64 = media.audio().filter_map(|(stream, _)| stream.bit_rate).sum();
    bits as f64 * media.duration.unwrap_or(0.0) / 8.0
}

/// The same for a source that is known, and of which `index` lists the frames, if anything
/// does: a damaged or unusual header may declare days where there are seconds.
pub(super) fn estimate(
    media: &MediaInfo,
    (info, index): (&VideoInfo, Option<&PacketIndex>),
    encode: &VideoEncode,
    cut: &Cut,
    limits: PlanLimits,
) -> Estimate {
    let declared = info.fps().unwrap_or(25.0) * media.duration.unwrap_or(0.0);
    let frames = index.map_or(declared, |index| index.packets.len() as f64);
    let all = f64::from(encode.size.0) * f64::from(encode.size.1) * frames;
    let (rate, bits) = experience(encode.encoder);
    let parallel = match cut {
        Cut::Chunks { chunks } => (chunks.len() as u32).min(limits.slots),
        Cut::Whole { .. } | Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => 1,
    };
    let bytes = all * bits / 8.0 + audio_bytes(media);
    Estimate { seconds: all / 1e6 / rate / f64::from(parallel.max(1)), bytes: bytes as u64 }
}
