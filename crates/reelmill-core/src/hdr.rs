//! High dynamic range: static metadata in exact units, and what of a source's
//! HDR an output keeps.

mod bars;

pub use bars::{Bars, adapt};

use crate::container::Container;
use crate::dolby::{self, DolbyKept};
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::media::{Hdr, VideoInfo};
use crate::preset::VideoPreset;
use serde::{Deserialize, Serialize};

/// The display that a picture was mastered on (SMPTE ST 2086).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct MasteringDisplay {
    /// Red primary, x and y, in 1/50000.
    pub red: (u16, u16),
    /// Green primary, x and y, in 1/50000.
    pub green: (u16, u16),
    /// Blue primary, x and y, in 1/50000.
    pub blue: (u16, u16),
    /// White point, x and y, in 1/50000.
    pub white: (u16, u16),
    /// Brightest, in 1/10000 candela per square metre.
    pub max_luminance: u32,
    /// Darkest, in 1/10000 candela per square metre.
    pub min_luminance: u32,
}

/// How bright the content gets (CTA-861.3), candela per square metre.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct ContentLight {
    /// Of the brightest pixel of all.
    pub max: u16,
    /// Of the brightest frame's average.
    pub average: u16,
}

/// Whether HDR metadata is kept.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Kept; a job that cannot keep it fails.
    #[default]
    Keep,
    /// Left out.
    Drop,
}

/// Whether Dolby Vision metadata is kept.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DolbyKeep {
    /// Kept where there is any; a job that cannot keep it fails.
    #[default]
    Keep,
    /// Left out.
    Drop,
    /// Kept; a source without it is refused.
    Require,
}

/// The HDR metadata that an output gets, beside its colour description.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HdrKept {
    /// Mastering display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mastering: Option<MasteringDisplay>,
    /// Content light level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<ContentLight>,
    /// Whether each frame keeps its HDR10+ metadata (SMPTE ST 2094-40).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hdr10plus: bool,
    /// Dolby Vision metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dolby_vision: Option<DolbyKept>,
}

impl HdrKept {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each frame has metadata of its own.
    #[must_use]
    pub fn per_frame(&self) -> bool {
        self.hdr10plus || self.dolby_vision.is_some()
    }
}

/// What becomes of the HDR of `info` in an output that `preset` asks for:
/// what is kept; things worth telling go to `notes`. `picture` is size and pixel
/// format of the output.
///
/// # Errors
/// Class permanent when something would be lost that the preset does not say
/// to drop.
pub fn decide(
    info: &VideoInfo,
    preset: &VideoPreset,
    container: Container,
    picture: ((u32, u32), &str),
    notes: &mut Vec<String>,
) -> Result<HdrKept, Failure> {
    let dolby_vision = dolby::for_encode(info, preset, container, picture, notes)?;
    if preset.hdr == Keep::Drop {
        note_dropped(info, notes);
        return Ok(HdrKept::default());
    }
    let hdr10plus = hdr10plus(info, preset, container, notes)?;
    Ok(HdrKept { mastering: info.mastering, light: info.light, hdr10plus, dolby_vision })
}

fn note_dropped(info: &VideoInfo, notes: &mut Vec<String>) {
    let lost = match info.hdr {
        Hdr::None | Hdr::Hlg => return,
        Hdr::Hdr10 if info.hdr10plus => "HDR10+ and mastering metadata",
        Hdr::Hdr10 if info.mastering.is_none() && info.light.is_none() => return,
        Hdr::Hdr10 => "mastering metadata",
        Hdr::DolbyVision if info.hdr10plus => "HDR10+ and mastering metadata",
        Hdr::DolbyVision => "mastering metadata",
    };
    notes.push(format!("{lost} is dropped, as asked for; the colour description is kept"));
}

fn hdr10plus(
    info: &VideoInfo,
    preset: &VideoPreset,
    container: Container,
    notes: &mut Vec<String>,
) -> Result<bool, Failure> {
    if !info.hdr10plus {
        return Ok(false);
    }
    if preset.hdr10plus == Keep::Drop {
        notes.push("HDR10+ metadata is dropped, as asked for".into());
        return Ok(false);
    }
    if preset.encoder == VideoEncoder::X265 && container != Container::Webm {
        return Ok(true);
    }
    let message = format!(
        "HDR10+ would be lost: reelmill carries it into HEVC only, not into {} by {}",
        preset.encoder.codec(),
        preset.encoder
    );
    Err(Failure::permanent(message)
        .advise("use --preset hevc, or drop it with --set hdr10plus=drop (HDR10 is kept then)"))
}

impl MasteringDisplay {
    /// Whether `other` is the same but for rounding to another container's
    /// units: 1/50000 in colours, 1/10000 or one part in 4096 in luminance.
    #[must_use]
    pub fn is_about(&self, other: &Self) -> bool {
        let point = |a: (u16, u16), b: (u16, u16)| a.0.abs_diff(b.0) <= 1 && a.1.abs_diff(b.1) <= 1;
        let light = |a: u32, b: u32| a.abs_diff(b) <= 1 + a / 4096;
        point(self.red, other.red)
            && point(self.green, other.green)
            && point(self.blue, other.blue)
            && point(self.white, other.white)
            && light(self.max_luminance, other.max_luminance)
            && light(self.min_luminance, other.min_luminance)
    }
}

impl std::fmt::Display for MasteringDisplay {
    /// In the form that x264 and x265 take.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let points = [("G", self.green), ("B", self.blue), ("R", self.red), ("WP", self.white)];
        for (name, (x, y)) in points {
            write!(f, "{name}({x},{y})")?;
        }
        write!(f, "L({},{})", self.max_luminance, self.min_luminance)
    }
}

impl std::fmt::Display for ContentLight {
    /// In the form that x264 and x265 take.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.max, self.average)
    }
}

#[cfg(test)]
mod tests;
