//! Conditions of rules: what must hold of a file.

use super::glob::Glob;
use super::quantity::{read_amount, read_millis};
use super::rules::Subject;
use crate::dolby::EnhancementLayer;
use crate::facts::{Facts, MediaKind, VideoFacts};
use crate::media::Hdr;
use serde::Deserialize;

/// Conditions; all that are given must hold. One that asks for what is not known
/// of a file does not hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Path within the library.
    pub path: Many<Glob>,
    /// What it is.
    pub kind: Many<MediaKind>,
    /// Its container.
    pub container: Many<String>,
    /// Codec of the picture.
    pub codec: Many<String>,
    /// Kind of HDR.
    pub hdr: Many<Hdr>,
    /// Profile of Dolby Vision, as the pictures have it.
    pub dolby_vision_profile: Many<u8>,
    /// Kind of enhancement layer.
    pub dolby_vision_layer: Many<EnhancementLayer>,
    /// Whether there is HDR10+.
    pub hdr10plus: Option<bool>,
    /// Pixels as shown, at least.
    pub width_min: Option<u32>,
    /// Pixels as shown, at most.
    pub width_max: Option<u32>,
    /// Pixels as shown, at least.
    pub height_min: Option<u32>,
    /// Pixels as shown, at most.
    pub height_max: Option<u32>,
    /// Bits of a sample, at least.
    pub bit_depth_min: Option<u8>,
    /// Codec of an audio track.
    pub audio_codec: Many<String>,
    /// Language of an audio track.
    pub audio_language: Many<String>,
    /// Language of a subtitle track.
    pub subtitle_language: Many<String>,
    /// It lasts so long or longer, milliseconds.
    #[serde(deserialize_with = "read_millis")]
    pub longer_than: Option<u64>,
    /// It is shorter, milliseconds.
    #[serde(deserialize_with = "read_millis")]
    pub shorter_than: Option<u64>,
    /// It has so many bytes or more.
    #[serde(deserialize_with = "read_amount")]
    pub larger_than: Option<u64>,
    /// It has fewer bytes.
    #[serde(deserialize_with = "read_amount")]
    pub smaller_than: Option<u64>,
    /// Bits per second, all in all, or more.
    #[serde(deserialize_with = "read_amount")]
    pub bit_rate_above: Option<u64>,
    /// Fewer bits per second.
    #[serde(deserialize_with = "read_amount")]
    pub bit_rate_below: Option<u64>,
}

/// One or several; any of them will do. None: it is not asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "not a word that may stand here, nor a list of such words")]
        enum Written<T> {
            One(T),
            Several(Vec<T>),
        }
        Ok(match Written::deserialize(from)? {
            Written::One(one) => Self(vec![one]),
            Written::Several(several) => Self(several),
        })
    }
}

impl<T> Many<T> {
    fn allows(&self, fits: impl Fn(&T) -> bool) -> bool {
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

/// Whether a bound that may not be given holds for what may not be known.
fn bound<T: PartialOrd + Copy>(
    bound: Option<T>,
    value: Option<T>,
    holds: impl Fn(T, T) -> bool,
) -> bool {
    match (bound, value) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(bound), Some(value)) => holds(value, bound),
    }
}

impl Conditions {
    /// The key of the first condition that does not hold.
    pub(super) fn misfit(&self, subject: &Subject, facts: &Facts) -> Option<&'static str> {
        let video = facts.video.as_ref();
        let of = |get: fn(&VideoFacts) -> u32| video.map(get);
        let same = |word: &String, value: &str| word.eq_ignore_ascii_case(value);
        let spoken = |word: &String| {
            facts.audio.iter().any(|t| t.language.as_deref().is_some_and(|l| same(word, l)))
        };
        let written = |word: &String| {
            facts.subtitles.iter().any(|t| t.language.as_deref().is_some_and(|l| same(word, l)))
        };
        let (at_least, less) = (|v, b| v >= b, |v, b| v < b);
        let rate = bit_rate(subject.size, facts);
        let (size, duration) = (Some(subject.size), facts.duration_ms);
        let dolby = video.and_then(|v| v.dolby_vision.as_ref());
        let all = [
            ("path", self.path.allows(|glob| glob.fits(subject.path))),
            ("kind", self.kind.allows(|kind| *kind == facts.kind)),
            ("container", self.container.allows(|word| same(word, &facts.container))),
            ("codec", self.codec.allows(|word| video.is_some_and(|v| same(word, &v.codec)))),
            ("hdr", self.hdr.allows(|hdr| video.is_some_and(|v| v.hdr == *hdr))),
            (
                "dolby_vision_profile",
                self.dolby_vision_profile.allows(|it| dolby.is_some_and(|dv| dv.profile == *it)),
            ),
            (
                "dolby_vision_layer",
                self.dolby_vision_layer.allows(|it| dolby.is_some_and(|dv| dv.layer == Some(*it))),
            ),
            (
                "hdr10plus",
                self.hdr10plus.is_none_or(|wanted| {
                    video.is_some_and(|v| v.hdr10plus.unwrap_or_default() == wanted)
                }),
            ),
            ("width_min", bound(self.width_min, of(|v| v.width), |v, b| v >= b)),
            ("width_max", bound(self.width_max, of(|v| v.width), |v, b| v <= b)),
            ("height_min", bound(self.height_min, of(|v| v.height), |v, b| v >= b)),
            ("height_max", bound(self.height_max, of(|v| v.height), |v, b| v <= b)),
            ("bit_depth_min", bound(self.bit_depth_min, video.map(|v| v.bit_depth), |v, b| v >= b)),
            (
                "audio_codec",
                self.audio_codec.allows(|word| facts.audio.iter().any(|t| same(word, &t.codec))),
            ),
            ("audio_language", self.audio_language.allows(spoken)),
            ("subtitle_language", self.subtitle_language.allows(written)),
            ("longer_than", bound(self.longer_than, duration, at_least)),
            ("shorter_than", bound(self.shorter_than, duration, less)),
            ("larger_than", bound(self.larger_than, size, at_least)),
            ("smaller_than", bound(self.smaller_than, size, less)),
            ("bit_rate_above", bound(self.bit_rate_above, rate, at_least)),
            ("bit_rate_below", bound(self.bit_rate_below, rate, less)),
        ];
        all.into_iter().find(|(_, holds)| !holds).map(|(key, _)| key)
    }
}

/// Bits per second, all in all, where the duration is known.
#[must_use]
pub fn bit_rate(size: u64, facts: &Facts) -> Option<u64> {
    let millis = facts.duration_ms.filter(|millis| *millis > 0)?;
    Some((u128::from(size) * 8000 / u128::from(millis)).min(u128::from(u64::MAX)) as u64)
}

/// What a file has where a condition did not hold.
pub(super) fn told(key: &str, subject: &Subject, facts: &Facts) -> String {
    let video = facts.video.as_ref();
    let picture = |tell: &dyn Fn(&VideoFacts) -> String| video.map_or("no picture".into(), tell);
    let list = |words: Vec<&str>| if words.is_empty() { "none".into() } else { words.join(", ") };
    let word = |value: serde_json::Value| value.as_str().unwrap_or("unknown").to_owned();
    match key {
        "path" => String::from_utf8_lossy(subject.path).into_owned(),
        "kind" => serde_json::to_value(facts.kind).map_or(String::new(), word),
        "container" => facts.container.clone(),
        "codec" => picture(&|v| v.codec.clone()),
        "hdr" => picture(&|v| serde_json::to_value(v.hdr).map_or(String::new(), word)),
        "dolby_vision_profile" | "dolby_vision_layer" => picture(&|v| {
            let dolby = v.dolby_vision.as_ref();
            dolby.map_or("no Dolby Vision".into(), |dv| format!("profile {}", dv.label()))
        }),
        "hdr10plus" => picture(&|v| match v.hdr10plus {
            Some(true) => "HDR10+".into(),
            _ => "no HDR10+".into(),
        }),
        "width_min" | "width_max" | "height_min" | "height_max" => {
            picture(&|v| format!("{}x{}", v.width, v.height))
        }
        "bit_depth_min" => picture(&|v| format!("{} bits", v.bit_depth)),
        "audio_codec" => list(facts.audio.iter().map(|t| t.codec.as_str()).collect()),
        "audio_language" => {
            list(facts.audio.iter().filter_map(|t| t.language.as_deref()).collect())
        }
        "subtitle_language" => {
            list(facts.subtitles.iter().filter_map(|t| t.language.as_deref()).collect())
        }
        "longer_than" | "shorter_than" => {
            facts.duration_ms.map_or("no length is known".into(), |ms| format!("{} s", ms / 1000))
        }
        "larger_than" | "smaller_than" => format!("{} bytes", subject.size),
        "bit_rate_above" | "bit_rate_below" => bit_rate(subject.size, facts)
            .map_or("no bit rate is known".into(), |rate| format!("{} kbit/s", rate / 1000)),
        _ => "it holds".into(),
    }
}
