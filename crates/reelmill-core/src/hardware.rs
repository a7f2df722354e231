//! Encoders in graphics processors: which may stand in for the encoder that a preset
//! names, and when.

use crate::encoder::VideoEncoder;
use crate::media::FieldOrder;
use crate::plan::VideoEncode;
use serde::{Deserialize, Serialize};

/// Which hardware may encode instead of the preset's own encoder.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Hardware {
    /// None: software encodes.
    #[default]
    Off,
    /// Whichever was proven.
    Auto,
    /// NVIDIA's NVENC.
    Nvenc,
    /// Intel's Quick Sync Video.
    Qsv,
    /// VAAPI of Linux: Intel and AMD.
    Vaapi,
    /// AMD's AMF.
    Amf,
    /// Apple's VideoToolbox.
    Videotoolbox,
}

/// The kinds, those that do best first.
const KINDS: [Hardware; 5] =
    [Hardware::Nvenc, Hardware::Qsv, Hardware::Amf, Hardware::Videotoolbox, Hardware::Vaapi];

impl Hardware {
    /// Its name in presets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Nvenc => "nvenc",
            Self::Qsv => "qsv",
            Self::Vaapi => "vaapi",
            Self::Amf => "amf",
            Self::Videotoolbox => "videotoolbox",
        }
    }

    /// The encoders that it allows to make `codec` (FFmpeg's name), the best first.
    #[must_use]
    pub fn encoders(self, codec: &str) -> Vec<VideoEncoder> {
        let allowed = KINDS.iter().filter(|kind| self == Self::Auto || self == **kind);
        allowed
            .flat_map(|kind| {
                let of_kind = move |encoder: &&VideoEncoder| encoder.hardware() == Some(*kind);
                VideoEncoder::HARDWARE.iter().filter(of_kind)
            })
            .filter(|encoder| encoder.codec() == codec)
            .copied()
            .collect()
    }
}

/// How `encode`, made for software, is done by the hardware encoder `by`.
///
/// # Errors
/// Why hardware cannot do the same, for people.
pub fn stand_in(encode: &VideoEncode, by: VideoEncoder) -> Result<VideoEncode, String> {
    if !encode.hdr.is_nothing() {
        return Err(format!("{by} would lose HDR metadata"));
    }
    if encode.target.is_some() {
        return Err(format!("{by} does not search for a score"));
    }
    if encode.field_order != FieldOrder::Progressive {
        return Err(format!("{by} cannot mark fields"));
    }
    if by.pixel_format(&encode.pixel_format) != (encode.pixel_format.as_str(), true) {
        return Err(format!("{by} takes no {}", encode.pixel_format));
    }
    let crf = encode.crf.map(|crf| quality(by, crf));
    Ok(VideoEncode { encoder: by, crf, speed: None, tune: None, ..encode.clone() })
}

/// The number by which `by` is told how good the picture shall be, for the software
/// encoder's rate factor `crf`: near in quality, larger in bits. H.264 and HEVC count
/// to 51 everywhere; AV1 to 63 by SVT-AV1 and NVENC, to 255 elsewhere; VideoToolbox
/// from 1 to 100, the best being the highest.
fn quality(by: VideoEncoder, crf: f64) -> f64 {
    let av1 = by.codec() == "av1";
    let number = match by.hardware() {
        Some(Hardware::Videotoolbox) => 100.0 - 1.6 * crf,
        Some(Hardware::Qsv) if av1 => crf * 51.0 / 63.0,
        Some(Hardware::Vaapi | Hardware::Amf) if av1 => crf * 4.0,
        _ => crf,
    };
    let (low, high, _) = by.crf_range().unwrap_or((1.0, 51.0, 0.0));
    number.round().clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_every_kind_and_a_kind_itself() {
        use VideoEncoder as E;
        let auto = Hardware::Auto.encoders("h264");
        assert_eq!(auto, [E::H264Nvenc, E::H264Qsv, E::H264Amf, E::H264Videotoolbox, E::H264Vaapi]);
        assert_eq!(Hardware::Vaapi.encoders("hevc"), [E::HevcVaapi]);
        assert!(Hardware::Auto.encoders("ffv1").is_empty());
        assert!(Hardware::Off.encoders("h264").is_empty());
        for encoder in VideoEncoder::HARDWARE {
            assert!(Hardware::Auto.encoders(encoder.codec()).contains(&encoder), "{encoder}");
        }
    }

    #[test]
    fn rate_factors_become_the_hardwares_own_numbers() {
        use VideoEncoder as E;
        assert_eq!(quality(E::H264Nvenc, 21.0), 21.0);
        assert_eq!(quality(E::Av1Nvenc, 30.0), 30.0);
        assert_eq!(quality(E::Av1Vaapi, 30.0), 120.0);
        assert_eq!(quality(E::Av1Qsv, 63.0), 51.0);
        assert_eq!(quality(E::HevcVideotoolbox, 25.0), 60.0);
        assert_eq!(quality(E::H264Qsv, 0.0), 1.0);
    }
}
