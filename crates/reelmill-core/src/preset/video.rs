//! What a preset says of the picture.

use crate::encoder::VideoEncoder;
use crate::hardware::Hardware;
use crate::hdr::{DolbyKeep, Keep};
use crate::library::quantity::read_amount;
use crate::rate::Aim;
use crate::score::{Metric, Target};
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// How to encode the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VideoPreset {
    /// The encoder.
    pub encoder: VideoEncoder,
    /// Constant rate factor, in the encoder's own scale; lower is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf: Option<f64>,
    /// Speed setting, in the encoder's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Tuning, in the encoder's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<String>,
    /// Longest distance between keyframes, seconds.
    #[serde(default = "default_keyframe_seconds")]
    pub keyframe_seconds: f64,
    /// Output width in pixels; the height follows when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Output height in pixels; the width follows when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Whether the picture may be made larger than the source.
    #[serde(default)]
    pub upscale: bool,
    /// Whether HDR metadata of every kind is kept.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub hdr: Keep,
    /// Whether HDR10+ metadata is kept.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub hdr10plus: Keep,
    /// Whether Dolby Vision metadata is kept.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub dolby_vision: DolbyKeep,
    /// Whether a full enhancement layer may be left out even where it expands
    /// brightness.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_fel_loss: bool,
    /// The part of the upright picture that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Window>,
    /// What becomes of an interlaced picture.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub deinterlace: Deinterlace,
    /// How a picture of high dynamic range becomes one of standard range, if it
    /// shall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tonemap: Option<Tonemap>,
    /// The score that each piece is encoded for; `crf` is where the search begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_score: Option<f64>,
    /// By which measure.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub target_metric: Metric,
    /// Bits a second of picture that the film has on average; `crf` is where the
    /// search begins.
    #[serde(default, deserialize_with = "read_amount", skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// Bytes that the output has at most, all counted; with fewer at `crf` it stays so.
    #[serde(default, deserialize_with = "read_amount", skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Which hardware may encode instead, where it was proven.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub hardware: Hardware,
}

/// What becomes of an interlaced picture.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Deinterlace {
    /// It stays interlaced where the encoder can do that.
    #[default]
    Keep,
    /// Of the two fields of each frame one whole picture is made.
    On,
}

/// A curve by which bright colours are brought into standard range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tonemap {
    /// Keeps detail in shadows and highlights; darkens the whole a little.
    Hable,
    /// Keeps what is in range as it is, and bends the rest smoothly.
    Mobius,
    /// Keeps brightness overall; flattens highlights.
    Reinhard,
    /// Cuts off what is out of range.
    Clip,
}

impl Tonemap {
    /// Its name, by FFmpeg's filter too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hable => "hable",
            Self::Mobius => "mobius",
            Self::Reinhard => "reinhard",
            Self::Clip => "clip",
        }
    }
}

/// Bits a second that can be asked for.
const BITRATES: std::ops::RangeInclusive<u64> = 1_000..=10_000_000_000;

/// Bytes that an output can be limited to.
const SIZES: std::ops::RangeInclusive<u64> = 1_000..=100_000_000_000_000;

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_keyframe_seconds() -> f64 {
    10.0
}

impl VideoPreset {
    /// The score that is aimed at, if one is.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        let score = self.target_score?;
        Some(Target { metric: self.target_metric, score })
    }

    /// The size that is aimed at, if one is.
    #[must_use]
    pub fn aim(&self) -> Option<Aim> {
        let bitrate = self.bitrate.map(|bits| Aim::Bitrate { bits });
        bitrate.or(self.max_size.map(|bytes| Aim::MaxSize { bytes }))
    }

    /// Whether what is said of the output's size makes sense.
    fn check_size(&self) -> Result<(), String> {
        let said = [
            ("target_score", self.target_score.is_some()),
            ("bitrate", self.bitrate.is_some()),
            ("max_size", self.max_size.is_some()),
        ];
        let said: Vec<&str> = said.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        if let [one, other, ..] = said[..] {
            return Err(format!("{one} and {other} exclude each other"));
        }
        if let (Some(aim), None) = (self.aim(), self.encoder.crf_range()) {
            let name = if matches!(aim, Aim::Bitrate { .. }) { "bitrate" } else { "max_size" };
            return Err(format!("{} has no rate factor, so no {name} can be set", self.encoder));
        }
        if self.bitrate.is_some_and(|bits| !BITRATES.contains(&bits)) {
            return Err("bitrate must lie between 1k and 10G bits a second".into());
        }
        if self.max_size.is_some_and(|bytes| !SIZES.contains(&bytes)) {
            return Err("max_size must lie between 1kB and 100TB".into());
        }
        Ok(())
    }

    /// Whether what is said of hardware makes sense.
    fn check_hardware(&self) -> Result<(), String> {
        let encoder = self.encoder;
        if let Some(hardware) = encoder.hardware() {
            let name = hardware.name();
            return Err(format!("{encoder} stands in for another: set hardware = \"{name}\""));
        }
        if self.hardware != Hardware::Off && self.hardware.encoders(encoder.codec()).is_empty() {
            let name = self.hardware.name();
            return Err(format!("hardware '{name}' has no encoder for {}", encoder.codec()));
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let encoder = self.encoder;
        self.check_size()?;
        self.check_hardware()?;
        if let Some(crf) = self.crf {
            let Some((low, high, _)) = encoder.crf_range() else {
                return Err(format!("{encoder} has no crf"));
            };
            if !(low..=high).contains(&crf) {
                return Err(format!("crf {crf} is outside {low}–{high} for {encoder}"));
            }
        }
        if let Some(speed) = &self.speed
            && !encoder.speeds().contains(&speed.as_str())
        {
            let known = encoder.speeds().join(", ");
            return Err(format!("{encoder} has no speed '{speed}'; use one of: {known}"));
        }
        if let Some(tune) = &self.tune
            && !encoder.tunes().contains(&tune.as_str())
        {
            let known = match encoder.tunes() {
                [] => "it has none".to_owned(),
                tunes => format!("use one of: {}", tunes.join(", ")),
            };
            return Err(format!("{encoder} has no tune '{tune}'; {known}"));
        }
        if let Some(target) = self.target() {
            let (low, high) = target.metric.range();
            let name = target.metric.name();
            if encoder.crf_range().is_none() {
                return Err(format!("{encoder} is lossless, so no target_score can be set"));
            }
            if !(low..=high).contains(&target.score) {
                return Err(format!("a target_score by {name} must lie between {low} and {high}"));
            }
        }
        if self.tonemap.is_some() && self.dolby_vision == DolbyKeep::Require {
            return Err("tonemap leaves Dolby Vision out, which dolby_vision requires".into());
        }
        for (name, size) in [("width", self.width), ("height", self.height)] {
            if size.is_some_and(|size| !(16..=16384).contains(&size)) {
                return Err(format!("{name} must lie between 16 and 16384"));
            }
        }
        if !(0.1..=60.0).contains(&self.keyframe_seconds) {
            return Err("keyframe_seconds must lie between 0.1 and 60".into());
        }
        Ok(())
    }
}
