//! How large the picture becomes, and in which pixels.

use super::VideoEncode;
use crate::encoder::subsampled;
use crate::error::Failure;
use crate::hdr::HdrKept;
use crate::media::{FieldOrder, VideoInfo};
use crate::preset::VideoPreset;

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
    let (pixel_format, whole) = encoder.pixel_format(&info.pixel_format);
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
    let keep_fields = encoder.keeps_interlacing() && size == source_size;
    if interlaced && !keep_fields {
        notes.push(format!(
            "the interlaced picture is encoded as whole frames: {encoder} cannot mark fields"
        ));
    }
    let fps = info.fps().filter(|fps| fps.is_finite() && *fps > 0.0).unwrap_or(25.0);
    Ok(VideoEncode {
        encoder,
        crf: preset.crf.or(encoder.crf_range().map(|(_, _, usual)| usual)),
        speed: preset.speed.clone(),
        tune: preset.tune.clone(),
        keyframe_interval: ((fps * preset.keyframe_seconds).round() as u32).clamp(1, 10_000),
        pixel_format: pixel_format.to_owned(),
        source_size,
        window: preset.crop,
        size,
        crop,
        field_order: if keep_fields { info.field_order } else { FieldOrder::Progressive },
        colour: info.colour.clone(),
        hdr: HdrKept::default(),
        threads: 0,
    })
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
