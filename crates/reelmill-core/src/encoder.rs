//! Video encoders and the pixel formats each takes.

mod formats;

use crate::hardware::Hardware;
use formats::{EIGHT_AND_TEN, FFV1, VP9, X264, X265};
use serde::{Deserialize, Serialize};

/// A video encoder.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum VideoEncoder {
    /// H.264 by x264.
    X264,
    /// HEVC by x265.
    X265,
    /// AV1 by SVT-AV1.
    SvtAv1,
    /// VP9 by libvpx.
    Vp9,
    /// FFV1, lossless.
    Ffv1,
    /// H.264 by NVENC.
    H264Nvenc,
    /// HEVC by NVENC.
    HevcNvenc,
    /// AV1 by NVENC.
    Av1Nvenc,
    /// H.264 by Quick Sync Video.
    H264Qsv,
    /// HEVC by Quick Sync Video.
    HevcQsv,
    /// AV1 by Quick Sync Video.
    Av1Qsv,
    /// H.264 by VAAPI.
    H264Vaapi,
    /// HEVC by VAAPI.
    HevcVaapi,
    /// AV1 by VAAPI.
    Av1Vaapi,
    /// H.264 by AMF.
    H264Amf,
    /// HEVC by AMF.
    HevcAmf,
    /// AV1 by AMF.
    Av1Amf,
    /// H.264 by VideoToolbox.
    H264Videotoolbox,
    /// HEVC by VideoToolbox.
    HevcVideotoolbox,
}

/// Chroma subsampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Chroma {
    Gray,
    C420,
    C422,
    C440,
    C444,
}

/// What a pixel format name says, as far as choosing a codec's format needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PixelShape {
    chroma: Chroma,
    depth: u32,
    alpha: bool,
    /// Red, green and blue; what changes between that and brightness with colour is rounded.
    rgb: bool,
}

impl VideoEncoder {
    /// Those that presets name.
    pub const SOFTWARE: [Self; 5] = [Self::X264, Self::X265, Self::SvtAv1, Self::Vp9, Self::Ffv1];

    /// Those that may stand in for them.
    pub const HARDWARE: [Self; 14] = [
        Self::H264Nvenc,
        Self::HevcNvenc,
        Self::Av1Nvenc,
        Self::H264Qsv,
        Self::HevcQsv,
        Self::Av1Qsv,
        Self::H264Vaapi,
        Self::HevcVaapi,
        Self::Av1Vaapi,
        Self::H264Amf,
        Self::HevcAmf,
        Self::Av1Amf,
        Self::H264Videotoolbox,
        Self::HevcVideotoolbox,
    ];

    /// The kind of hardware it needs.
    #[must_use]
    pub fn hardware(self) -> Option<Hardware> {
        match self {
            Self::X264 | Self::X265 | Self::SvtAv1 | Self::Vp9 | Self::Ffv1 => None,
            Self::H264Nvenc | Self::HevcNvenc | Self::Av1Nvenc => Some(Hardware::Nvenc),
            Self::H264Qsv | Self::HevcQsv | Self::Av1Qsv => Some(Hardware::Qsv),
            Self::H264Vaapi | Self::HevcVaapi | Self::Av1Vaapi => Some(Hardware::Vaapi),
            Self::H264Amf | Self::HevcAmf | Self::Av1Amf => Some(Hardware::Amf),
            Self::H264Videotoolbox | Self::HevcVideotoolbox => Some(Hardware::Videotoolbox),
        }
    }

    /// Its name, as users type it in presets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H264Nvenc => "h264-nvenc",
            Self::HevcNvenc => "hevc-nvenc",
            Self::Av1Nvenc => "av1-nvenc",
            Self::H264Qsv => "h264-qsv",
            Self::HevcQsv => "hevc-qsv",
            Self::Av1Qsv => "av1-qsv",
            Self::H264Vaapi => "h264-vaapi",
            Self::HevcVaapi => "hevc-vaapi",
            Self::Av1Vaapi => "av1-vaapi",
            Self::H264Amf => "h264-amf",
            Self::HevcAmf => "hevc-amf",
            Self::Av1Amf => "av1-amf",
            Self::H264Videotoolbox => "h264-videotoolbox",
            Self::HevcVideotoolbox => "hevc-videotoolbox",
            Self::X264 => "x264",
            Self::X265 => "x265",
            Self::SvtAv1 => "svt-av1",
            Self::Vp9 => "vp9",
            Self::Ffv1 => "ffv1",
        }
    }

    /// The codec it writes, by FFmpeg's name.
    #[must_use]
    pub fn codec(self) -> &'static str {
        match self {
            Self::X264
            | Self::H264Nvenc
            | Self::H264Qsv
            | Self::H264Vaapi
            | Self::H264Amf
            | Self::H264Videotoolbox => "h264",
            Self::X265
            | Self::HevcNvenc
            | Self::HevcQsv
            | Self::HevcVaapi
            | Self::HevcAmf
            | Self::HevcVideotoolbox => "hevc",
            Self::SvtAv1 | Self::Av1Nvenc | Self::Av1Qsv | Self::Av1Vaapi | Self::Av1Amf => "av1",
            Self::Vp9 => "vp9",
            Self::Ffv1 => "ffv1",
        }
    }

    /// Lowest, highest and usual constant rate factor, or what hardware has for
    /// that; `None` where the encoder has no such thing.
    #[must_use]
    pub fn crf_range(self) -> Option<(f64, f64, f64)> {
        if let Some(hardware) = self.hardware() {
            return Some(match (hardware, self.codec()) {
                (Hardware::Videotoolbox, _) => (1.0, 100.0, 65.0),
                (Hardware::Nvenc, "av1") => (1.0, 63.0, 30.0),
                (Hardware::Vaapi | Hardware::Amf, "av1") => (1.0, 255.0, 120.0),
                _ => (1.0, 51.0, 23.0),
            });
        }
        match self {
            Self::X264 => Some((0.0, 51.0, 21.0)),
            Self::X265 => Some((0.0, 51.0, 23.0)),
            Self::SvtAv1 => Some((1.0, 63.0, 30.0)),
            Self::Vp9 => Some((0.0, 63.0, 31.0)),
            _ => None,
        }
    }

    /// The names or numbers its speed setting takes, slow to fast being the
    /// encoder's own order.
    #[must_use]
    pub fn speeds(self) -> &'static [&'static str] {
        match self {
            Self::X264 | Self::X265 => &[
                "placebo",
                "veryslow",
                "slower",
                "slow",
                "medium",
                "fast",
                "faster",
                "veryfast",
                "superfast",
                "ultrafast",
            ],
            Self::SvtAv1 => {
                &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13"]
            }
            Self::Vp9 => &["0", "1", "2", "3", "4", "5", "6", "7", "8"],
            _ => &[],
        }
    }

    /// The names its tuning takes.
    #[must_use]
    pub fn tunes(self) -> &'static [&'static str] {
        match self {
            Self::X264 => &[
                "film",
                "animation",
                "grain",
                "stillimage",
                "psnr",
                "ssim",
                "fastdecode",
                "zerolatency",
            ],
            Self::X265 => &["animation", "grain", "psnr", "ssim", "fastdecode", "zerolatency"],
            Self::SvtAv1 => &["psnr", "ssim"],
            _ => &[],
        }
    }

    /// Whether what it makes of a keyframe depends on the frames before.
    #[must_use]
    pub fn remembers(self) -> bool {
        matches!(self, Self::X264 | Self::X265)
    }

    /// Whether it begins scenes with keyframes unasked.
    #[must_use]
    pub fn keys_scenes(self) -> bool {
        matches!(self, Self::X264 | Self::X265)
    }

    /// Whether it can mark interlaced frames as such.
    #[must_use]
    pub fn keeps_interlacing(self) -> bool {
        matches!(self, Self::X264 | Self::Ffv1)
    }

    /// Whether 4:2:0 pictures must have an even number of rows and columns.
    #[must_use]
    pub fn needs_even_size(self) -> bool {
        !matches!(self, Self::Ffv1 | Self::Vp9)
    }

    /// The pixel format to encode `source` pixels in: the same if the encoder
    /// takes it, else the nearest that loses least. The flag says whether
    /// nothing is lost (chroma, depth and alpha all fit).
    #[must_use]
    pub fn pixel_format(self, source: &str) -> (&'static str, bool) {
        let formats = self.formats();
        if let Some(same) = formats.iter().find(|format| **format == source) {
            return (same, true);
        }
        let want = PixelShape::of(source);
        let best = formats
            .iter()
            .map(|format| (*format, PixelShape::of(format)))
            .min_by_key(|(format, have)| (want.loss(*have), format.len()));
        match best {
            Some((format, have)) => (format, want.loss(have).0 == 0),
            None => ("yuv420p", false),
        }
    }

    fn formats(self) -> &'static [&'static str] {
        match self {
            Self::X264 => X264,
            Self::X265 => X265,
            Self::Vp9 => VP9,
            Self::Ffv1 => FFV1,
            // NVENC and others take ten bits for H.264 on few cards or none.
            _ if self.codec() == "h264" => &["yuv420p"],
            _ => EIGHT_AND_TEN,
        }
    }
}

impl std::fmt::Display for VideoEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a pixel format stores chroma at half the luma's width or height, so
/// that odd sizes are a problem: (horizontally, vertically).
#[must_use]
pub fn subsampled(pixel_format: &str) -> (bool, bool) {
    match PixelShape::of(pixel_format).chroma {
        Chroma::C420 => (true, true),
        Chroma::C422 => (true, false),
        Chroma::C440 => (false, true),
        Chroma::C444 | Chroma::Gray => (false, false),
    }
}

/// Whether a pixel format is red, green and blue, directly or by a palette.
#[must_use]
pub fn is_rgb(pixel_format: &str) -> bool {
    ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"]
        .iter()
        .any(|start| pixel_format.starts_with(start))
}

impl PixelShape {
    fn of(name: &str) -> Self {
        let chroma = if name.starts_with("gray") || name.starts_with("mono") {
            Chroma::Gray
        } else if name.contains("422") || name.contains("uyvy") || name.contains("yuyv") {
            Chroma::C422
        } else if name.contains("440") {
            Chroma::C440
        } else if ["420", "nv12", "nv21", "p010", "p016", "410", "411"]
            .iter()
            .any(|part| name.contains(part))
        {
            Chroma::C420
        } else {
            Chroma::C444
        };
        let depth = [16, 14, 12, 10, 9]
            .into_iter()
            .find(|depth| {
                name.contains(&format!("p{depth}"))
                    || name.contains(&format!("gray{depth}"))
                    || name.contains(&format!("p0{depth}"))
            })
            .or_else(|| (name.contains("48") || name.contains("64")).then_some(16))
            .unwrap_or(8);
        let alpha = ["yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8"]
            .iter()
            .any(|part| name.starts_with(part));
        Self { chroma, depth, alpha, rgb: is_rgb(name) }
    }

    /// (kinds of loss, waste): what taking `have` for this costs.
    fn loss(self, have: Self) -> (u32, u32) {
        let chroma_lost = match (self.chroma, have.chroma) {
            (want, have) if want == have => 0,
            (Chroma::C422, Chroma::C440) | (Chroma::C440, Chroma::C422) => 4,
            (want, have) if have > want => 0,
            _ => 4,
        };
        let depth_lost = self.depth.saturating_sub(have.depth) * 8;
        let alpha_lost = u32::from(self.alpha && !have.alpha);
        let waste = have.depth.saturating_sub(self.depth)
            + 4 * u32::from(have.chroma != self.chroma)
            + 8 * u32::from(have.alpha && !self.alpha)
            + 100 * u32::from(have.rgb != self.rgb);
        (chroma_lost + depth_lost + alpha_lost, waste)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_nearest_pixel_format() {
        let cases = [
            (VideoEncoder::X264, "yuv420p", "yuv420p", true),
            (VideoEncoder::X264, "nv12", "yuv420p", true),
            (VideoEncoder::X264, "p010le", "yuv420p10le", true),
            (VideoEncoder::X264, "yuv420p12le", "yuv420p10le", false),
            (VideoEncoder::X264, "bgr24", "yuv444p", true),
            (VideoEncoder::X264, "yuv411p", "yuv420p", true),
            (VideoEncoder::SvtAv1, "yuv422p10le", "yuv420p10le", false),
            (VideoEncoder::Vp9, "yuva420p", "yuv420p", false),
            (VideoEncoder::Vp9, "yuvj420p", "yuv420p", true),
            (VideoEncoder::X265, "yuva444p12le", "yuv444p12le", false),
            (VideoEncoder::Ffv1, "yuva444p12le", "yuva444p16le", true),
            (VideoEncoder::Ffv1, "yuv440p12le", "yuv444p12le", true),
            (VideoEncoder::Ffv1, "gbrp12le", "gbrp12le", true),
            (VideoEncoder::Ffv1, "rgb48le", "rgb48le", true),
        ];
        for (encoder, source, format, whole) in cases {
            assert_eq!(encoder.pixel_format(source), (format, whole), "{encoder} {source}");
        }
    }
}
