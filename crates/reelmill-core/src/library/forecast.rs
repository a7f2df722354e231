//! What converting a file would come to, before anything is tried.

use super::rules::bit_rate;
use crate::facts::Facts;
use crate::plan::{Estimate, copied, rough};
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

/// How much trials came to, of what experience had said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Bytes of the picture.
    pub bytes: f64,
    /// Seconds of work.
    pub seconds: f64,
}

/// Nothing was tried.
pub const UNTRIED: Factors = Factors { bytes: 1.0, seconds: 1.0 };

/// What the picture of a file converted with `preset` would come to, by
/// experience: right within a factor of two or so. `None` where nothing is encoded.
#[must_use]
pub fn picture(facts: &Facts, preset: &Preset) -> Option<Estimate> {
    let video = facts.video.as_ref().filter(|_| !preset.remux)?;
    let size = scaled((video.width, video.height), preset);
    let fps = video.fps().unwrap_or(USUAL_FPS);
    Some(rough(preset.encoder()?, size, fps, seconds(facts), 1))
}

/// Which `count` of some pieces of work to try out, so that they lie evenly in all of
/// it: `sums` are the seconds of the work up to and with each. No piece comes twice;
/// where there are fewer, all.
#[must_use]
pub fn spread(sums: &[f64], count: u32) -> Vec<usize> {
    let work = sums.last().copied().unwrap_or(0.0);
    let mut chosen = std::collections::BTreeSet::new();
    for n in 0..(count as usize).min(sums.len()) {
        let wanted = work * (n as f64 + 0.5) / f64::from(count);
        let at = sums.partition_point(|sum| *sum < wanted);
        // A long piece that several would fall on is tried once, and its neighbours too.
        let free = (at..sums.len()).chain(0..at).find(|at| !chosen.contains(at));
        chosen.extend(free);
    }
    chosen.into_iter().collect()
}

fn seconds(facts: &Facts) -> f64 {
    facts.duration_ms.map_or(0.0, |ms| ms as f64 / 1000.0)
}

/// What converting a file of `size` bytes with `preset` would come to. An output
/// is never taken to be larger than its source, since such are thrown away.
#[must_use]
pub fn forecast(size: u64, facts: &Facts, preset: &Preset, tried: Factors) -> Forecast {
    let video_seconds = seconds(facts);
    let Some(picture) = picture(facts, preset) else {
        // Nothing is encoded: it is read and written once.
        let Estimate { seconds, bytes } = copied(size);
        return Forecast { bytes, seconds, video_seconds };
    };
    let channels: u32 = facts.audio.iter().map(|track| track.channels).sum();
    let sound = f64::from(channels) * SOUND_RATE / 8.0 * video_seconds;
    let most = bit_rate(size, facts).map_or(u64::MAX, |_| size);
    let bytes = ((picture.bytes as f64 * tried.bytes + sound) as u64).min(most);
    Forecast { bytes, seconds: picture.seconds * tried.seconds, video_seconds }
}

fn scaled((width, height): (u32, u32), preset: &Preset) -> (u32, u32) {
    let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let Some(wanted) = &preset.video else { return (width, height) };
    let factor = match (wanted.width, wanted.height) {
        (None, None) => 1.0,
        (Some(wide), None) => f64::from(wide) / w,
        (None, Some(high)) => f64::from(high) / h,
        (Some(wide), Some(high)) => return (wide, high),
    };
    let factor = if wanted.upscale { factor } else { factor.min(1.0) };
    ((w * factor) as u32, (h * factor) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{AudioFacts, Chroma, MediaKind, VideoFacts};
    use crate::media::Hdr;
    use crate::preset::Presets;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_many_are_tried_as_asked_for_and_each_once(
            works in proptest::collection::vec(0.0..1e6f64, 0..50), count in 0u32..60,
        ) {
            let mut sum = 0.0;
            let sums: Vec<f64> = works.iter().map(|work| { sum += work; sum }).collect();
            let chosen = spread(&sums, count);
            prop_assert_eq!(chosen.len(), works.len().min(count as usize));
            prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(chosen.iter().all(|at| *at < works.len()));
        }
    }

    #[test]
    fn trials_lie_evenly_in_the_work() {
        let even: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_eq!(spread(&even, 2), [1, 5]);
        assert_eq!(spread(&[90.0, 91.0, 92.0], 2), [0, 1], "the long one, and one more");
    }

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
            dolby_vision: None,
            hdr10plus: None,
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
            forecast(
                8_000_000_000,
                &film(height, seconds),
                &presets.get("hevc", set).unwrap(),
                UNTRIED,
            )
        };
        let (short, long, large) = (of(720, 60, &[]), of(720, 120, &[]), of(1080, 60, &[]));
        assert!(long.bytes > short.bytes && long.seconds > 1.9 * short.seconds);
        assert!(large.bytes > short.bytes && large.seconds > short.seconds);
        let small = of(1080, 60, &["height=720".into()]);
        assert_eq!(small, short);
        let tried = Factors { bytes: 0.5, seconds: 2.0 };
        let hevc = presets.get("hevc", &[]).unwrap();
        let half = forecast(8_000_000_000, &film(720, 60), &hevc, tried);
        assert!(half.bytes < short.bytes && half.seconds > 1.9 * short.seconds);
        let tiny = forecast(1000, &film(1080, 60), &presets.get("hevc", &[]).unwrap(), UNTRIED);
        assert_eq!(tiny.bytes, 1000);
        let remux =
            forecast(5000, &film(1080, 60), &presets.get("dv81-remux", &[]).unwrap(), UNTRIED);
        assert_eq!(remux.bytes, 5000);
    }
}
