//! What converting a file would come to, before anything is tried.

use super::rules::bit_rate;
use crate::facts::Facts;
use crate::plan::rough;
use crate::preset::Preset;
use serde::Serialize;

/// What conversions would come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Bytes of the outputs.
    pub bytes: u64,
    /// Seconds of work for one core.
    pub seconds: f64,
    /// Seconds of film.
    pub video_seconds: f64,
}

impl Forecast {
    /// Takes another one in.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.video_seconds += other.video_seconds;
    }
}

/// Frames per second where a file declares none.
const USUAL_FPS: f64 = 25.0;

/// Bits per second that a channel of sound takes where it is kept as it is.
const SOUND_RATE: f64 = 96_000.0;

/// What converting a file of `size` bytes with `preset` would come to, by
/// experience: right within a factor of two or so. An output is never taken to be
/// larger than its source, since such are thrown away.
#[must_use]
pub fn forecast(size: u64, facts: &Facts, preset: &Preset) -> Forecast {
    let seconds = facts.duration_ms.map_or(0.0, |ms| ms as f64 / 1000.0);
    let Some(video) = &facts.video else {
        return Forecast { bytes: size, seconds: 0.0, video_seconds: seconds };
    };
    if preset.remux {
        // Nothing is encoded: it is read and written once.
        return Forecast { bytes: size, seconds: size as f64 / 50e6, video_seconds: seconds };
    }
    let picture = scaled((video.width, video.height), preset);
    let fps = video.fps().unwrap_or(USUAL_FPS);
    let estimate = rough(preset.video.encoder, picture, fps, seconds, 1);
    let channels: u32 = facts.audio.iter().map(|track| track.channels).sum();
    let sound = f64::from(channels) * SOUND_RATE / 8.0 * seconds;
    let most = bit_rate(size, facts).map_or(u64::MAX, |_| size);
    let bytes = (estimate.bytes + sound as u64).min(most);
    Forecast { bytes, seconds: estimate.seconds, video_seconds: seconds }
}

fn scaled((width, height): (u32, u32), preset: &Preset) -> (u32, u32) {
    let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let factor = match (preset.video.width, preset.video.height) {
        (None, None) => 1.0,
        (Some(wide), None) => f64::from(wide) / w,
        (None, Some(high)) => f64::from(high) / h,
        (Some(wide), Some(high)) => return (wide, high),
    };
    let factor = if preset.video.upscale { factor } else { factor.min(1.0) };
    ((w * factor) as u32, (h * factor) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{AudioFacts, Chroma, MediaKind, VideoFacts};
    use crate::media::Hdr;
    use crate::preset::Presets;

    fn film(height: u32, seconds: u64) -> Facts {
        let video = VideoFacts {
            codec: "h264".into(),
            width: height * 16 / 9,
            height,
            rotation: 0,
            fps_milli: Some(25_000),
            bit_depth: 8,
            chroma: Chroma::C420,
            hdr: Hdr::None,
        };
        let sound =
            AudioFacts { codec: "aac".into(), channels: 2, sample_rate: 48_000, language: None };
        Facts {
            kind: MediaKind::Video,
            container: "mkv".into(),
            duration_ms: Some(seconds * 1000),
            video: Some(video),
            audio: vec![sound],
            subtitles: Vec::new(),
            made_by: None,
        }
    }

    #[test]
    fn longer_and_larger_pictures_cost_more_and_nothing_grows() {
        let presets = Presets::built_in().unwrap();
        let of = |height, seconds, set: &[String]| {
            forecast(8_000_000_000, &film(height, seconds), &presets.get("hevc", set).unwrap())
        };
        let (short, long, large) = (of(720, 60, &[]), of(720, 120, &[]), of(1080, 60, &[]));
        assert!(long.bytes > short.bytes && long.seconds > 1.9 * short.seconds);
        assert!(large.bytes > short.bytes && large.seconds > short.seconds);
        let small = of(1080, 60, &["height=720".into()]);
        assert_eq!(small, short);
        let tiny = forecast(1000, &film(1080, 60), &presets.get("hevc", &[]).unwrap());
        assert_eq!(tiny.bytes, 1000);
        let remux = forecast(5000, &film(1080, 60), &presets.get("dv81-remux", &[]).unwrap());
        assert_eq!(remux.bytes, 5000);
    }
}
