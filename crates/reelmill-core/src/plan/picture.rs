//! How the picture is encoded: how large it becomes, and in which pixels.

use crate::encoder::{VideoEncoder, subsampled};
use crate::error::Failure;
use crate::hdr::HdrKept;
use crate::media::{Colour, FieldOrder, VideoInfo};
use crate::preset::{Deinterlace, Tonemap, VideoPreset};
use crate::score::Target;
use crate::window::Window;
use serde::{Deserialize, Serialize};

/// How the picture is encoded: the same for every chunk of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// The encoder.
    pub encoder: VideoEncoder,
    /// Constant rate factor; `None` for lossless encoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf: Option<f64>,
    /// The score that each piece is encoded for; the rate factor is where the search
    /// begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Speed setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<String>,
    /// Longest distance between keyframes, frames.
    pub keyframe_interval: u32,
    /// Pixel format to encode in, by FFmpeg's name.
    pub pixel_format: String,
    /// Size of the decoded, upright picture, pixels.
    pub source_size: (u32, u32),
    /// Clockwise degrees by which the source's picture is turned upright.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turned: u16,
    /// Size of the output picture, pixels.
    pub size: (u32, u32),
    /// The part of the source's picture that is kept; all of it when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Whether the picture is cut to its even part rather than scaled.
    #[serde(default)]
    pub crop: bool,
    /// Whether each frame's two fields are made into one whole picture.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deinterlace: bool,
    /// How a picture of high dynamic range is brought into standard range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tonemap: Option<ToneMapping>,
    /// Field order to mark the output with.
    pub field_order: FieldOrder,
    /// Colour description.
    pub colour: Colour,
    /// HDR metadata.
    #[serde(default, skip_serializing_if = "HdrKept::is_nothing")]
    pub hdr: HdrKept,
    /// Encoder threads; 0 for as many as the machine has.
    pub threads: u32,
}

/// How a picture of high dynamic range is brought into standard range (BT.709).
/// The brightest value is the same for all chunks: what each of them holds must not
/// decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToneMapping {
    /// The curve.
    pub curve: Tonemap,
    /// The brightest value of the source, candela per square metre.
    pub peak: f64,
    /// The source's colour description: transfer, primaries, matrix, range.
    pub from: Colour,
}

impl VideoEncode {
    /// Size of what is kept of the source's picture, before scaling, pixels.
    #[must_use]
    pub fn part_size(&self) -> (u32, u32) {
        self.window.map_or(self.source_size, |window| (window.width, window.height))
    }
}

fn is_zero(turned: &u16) -> bool {
    *turned == 0
}

/// How the picture of `info` is encoded as `preset` says.
///
/// # Errors
/// When the source contradicts the request.
pub(super) fn video_encode(
    info: &VideoInfo,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<VideoEncode, Failure> {
    let encoder = preset.encoder;
    let tonemap = tone_mapping(info, preset, notes)?;
    let wanted = if tonemap.is_some() { SDR_PIXELS } else { info.pixel_format.as_str() };
    let (pixel_format, whole) = encoder.pixel_format(wanted);
    if !whole {
        notes.push(format!(
            "{} pixels become {pixel_format}, the nearest that {encoder} takes",
            info.pixel_format
        ));
    }
    let source_size = info.upright_size();
    if source_size.0 == 0 || source_size.1 == 0 {
        return Err(Failure::input("the video stream does not say how large its picture is")
            .advise("the picture is damaged, or larger than reelmill opens: check that it plays"));
    }
    if let Some(window) = preset.crop.filter(|window| !window.fits(source_size)) {
        let (width, height) = source_size;
        let message = format!("crop {window} does not lie within the picture of {width}x{height}");
        return Err(Failure::permanent(message).advise("crop is WIDTH:HEIGHT:X:Y, in pixels"));
    }
    let part = preset.crop.map_or(source_size, |window| (window.width, window.height));
    let (size, crop) = output_size(part, preset, pixel_format, notes);
    let interlaced = info.field_order != FieldOrder::Progressive;
    let deinterlace = interlaced && preset.deinterlace == Deinterlace::On;
    if preset.deinterlace == Deinterlace::On && !interlaced {
        notes.push("the picture is not interlaced, so there is nothing to deinterlace".into());
    }
    let keep_fields = encoder.keeps_interlacing() && size == source_size && !deinterlace;
    if interlaced && !keep_fields && !deinterlace {
        notes.push(format!(
            "the interlaced picture is encoded as whole frames: {encoder} cannot mark fields"
        ));
    }
    let fps = info.fps().filter(|fps| fps.is_finite() && *fps > 0.0).unwrap_or(25.0);
    Ok(VideoEncode {
        encoder,
        crf: preset.crf.or(encoder.crf_range().map(|(_, _, usual)| usual)),
        target: preset.target(),
        speed: preset.speed.clone(),
        tune: preset.tune.clone(),
        keyframe_interval: ((fps * preset.keyframe_seconds).round() as u32).clamp(1, 10_000),
        pixel_format: pixel_format.to_owned(),
        source_size,
        turned: info.rotation.rem_euclid(360) as u16,
        window: preset.crop,
        size,
        crop,
        deinterlace,
        field_order: if keep_fields { info.field_order } else { FieldOrder::Progressive },
        colour: if tonemap.is_some() { standard_range() } else { info.colour.clone() },
        tonemap,
        hdr: HdrKept::default(),
        threads: 0,
    })
}

/// Pixels of a tone-mapped picture.
const SDR_PIXELS: &str = "yuv420p";

/// The brightest value of a picture that does not tell, candela per square metre:
/// what most are mastered for.
const USUAL_PEAK: f64 = 1000.0;

/// BT.709 throughout.
fn standard_range() -> Colour {
    let bt709 = || Some("bt709".to_owned());
    Colour {
        range: Some("tv".into()),
        space: bt709(),
        transfer: bt709(),
        primaries: bt709(),
        chroma_location: Some("left".into()),
    }
}

/// How the picture of `info` is brought into standard range, if `preset` asks for it
/// and there is something to do.
///
/// # Errors
/// When the picture has no layer that can be mapped.
fn tone_mapping(
    info: &VideoInfo,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<Option<ToneMapping>, Failure> {
    let Some(curve) = preset.tonemap else { return Ok(None) };
    if info.dolby_vision.as_ref().is_some_and(|found| found.profile == 5) {
        let message = "Dolby Vision profile 5 has no HDR10 or HLG layer to map from";
        return Err(Failure::input(message).advise("another form of the film is needed"));
    }
    let transfer = info.colour.transfer.as_deref();
    if !matches!(transfer, Some("smpte2084" | "arib-std-b67")) {
        notes.push("the picture is of standard range, so there is nothing to map".into());
        return Ok(None);
    }
    let mastered = info.mastering.map(|display| f64::from(display.max_luminance) / 10_000.0);
    let light = info.light.map(|light| f64::from(light.max));
    let known = light.into_iter().chain(mastered).find(|peak| *peak > 100.0);
    let peak = known.unwrap_or(USUAL_PEAK).min(10_000.0);
    notes.push(format!(
        "high dynamic range is mapped to BT.709 by '{}' for a peak of {peak} cd/m²; HDR metadata \
         is left out",
        curve.name()
    ));
    Ok(Some(ToneMapping { curve, peak, from: info.colour.clone() }))
}

/// Output size, and whether it is reached by cropping one row or column.
fn output_size(
    source: (u32, u32),
    preset: &VideoPreset,
    pixel_format: &str,
    notes: &mut Vec<String>,
) -> ((u32, u32), bool) {
    let wanted = wanted_size(source, preset, notes);
    let (even_x, even_y) =
        if preset.encoder.needs_even_size() { subsampled(pixel_format) } else { (false, false) };
    let even = |size: u32, must: bool| if must { (size & !1).max(2) } else { size };
    let size = (even(wanted.0, even_x), even(wanted.1, even_y));
    let crop = wanted == source && size != source;
    if crop {
        notes.push(format!(
            "{}x{} is cut to {}x{}: {} needs even sizes with {pixel_format}",
            source.0, source.1, size.0, size.1, preset.encoder
        ));
    }
    (size, crop)
}

fn wanted_size(source: (u32, u32), preset: &VideoPreset, notes: &mut Vec<String>) -> (u32, u32) {
    let along = |size: u32, of: u32, other: u32| {
        let scaled = (f64::from(other) * f64::from(size) / f64::from(of) / 2.0).round() * 2.0;
        (scaled as u32).max(2)
    };
    let wanted = match (preset.width, preset.height) {
        (None, None) => return source,
        (Some(width), None) => (width, along(width, source.0, source.1)),
        (None, Some(height)) => (along(height, source.1, source.0), height),
        (Some(width), Some(height)) => (width, height),
    };
    if !preset.upscale && (wanted.0 > source.0 || wanted.1 > source.1) {
        notes.push(format!(
            "{}x{} would enlarge the picture, so it stays {}x{} (set upscale=true to enlarge)",
            wanted.0, wanted.1, source.0, source.1
        ));
        return source;
    }
    wanted
}
