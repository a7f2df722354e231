//! When Dolby Vision can be kept, and as what.

use super::{
    DolbyKept, DolbyVision, EnhancementLayer, MetadataOnly, convertible, fel_loss, level,
    none_in_stream,
};
use crate::container::Container;
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::hdr::{DolbyKeep, Keep};
use crate::media::{FieldOrder, Hdr, VideoInfo};
use crate::preset::VideoPreset;

const DROP: &str = "drop it with --set dolby_vision=drop (the base picture's HDR is kept then)";

/// What becomes of the Dolby Vision of `info` through an encode, the output being
/// `pixel_format` pixels of `size`.
///
/// # Errors
/// When it cannot be kept and is not to be dropped.
pub(crate) fn for_encode(
    info: &VideoInfo,
    preset: &VideoPreset,
    container: Container,
    (size, pixel_format): ((u32, u32), &str),
    notes: &mut Vec<String>,
) -> Result<Option<DolbyKept>, Failure> {
    let Some(found) = &info.dolby_vision else {
        return absent(info, preset, notes);
    };
    if found.profile == 5 {
        // Without its renderer the base picture is wrong too.
        convertible(found.profile)?;
    }
    let VideoPreset { encoder, hdr, dolby_vision, allow_fel_loss, .. } = same_frames(preset);
    if *hdr == Keep::Drop || *dolby_vision == DolbyKeep::Drop {
        notes.push(
            "Dolby Vision metadata is dropped, as asked for; the base picture is kept".into(),
        );
        return Ok(None);
    }
    convertible(found.profile).map_err(|failure| failure.advise(DROP))?;
    if *encoder != VideoEncoder::X265 || container == Container::Webm {
        let codec = encoder.codec();
        let message =
            format!("Dolby Vision would be lost: {codec} in {container} does not carry it");
        let advice = format!("use --preset dv81-hevc, or {DROP}");
        return Err(Failure::permanent(message).advise(advice));
    }
    if pixel_format != "yuv420p10le" {
        let message = format!("Dolby Vision needs 10-bit 4:2:0 pixels, not {pixel_format}");
        return Err(Failure::permanent(message).advise(DROP));
    }
    if info.field_order != FieldOrder::Progressive {
        return Err(Failure::input("interlaced video cannot be Dolby Vision").advise(DROP));
    }
    without_layer(info, found, *allow_fel_loss, notes)?;
    if info.colour.transfer.is_none() {
        return Err(no_colours());
    }
    let kept = kept(info, found, size).map_err(|failure| failure.advise(DROP))?;
    notes.push(told(found, kept));
    Ok(Some(kept))
}

/// One unit of metadata belongs to each frame, so that no setting may change which
/// frames there are. None does today; all are named here, so that the compiler asks
/// about a new one: one that drops, doubles or moves frames has to be refused.
fn same_frames(preset: &VideoPreset) -> &VideoPreset {
    let VideoPreset {
        encoder: _,
        crf: _,
        speed: _,
        tune: _,
        keyframe_seconds: _,
        width: _,
        height: _,
        upscale: _,
        hdr: _,
        hdr10plus: _,
        dolby_vision: _,
        allow_fel_loss: _,
        crop: _,
        // Each frame's two fields become one picture of the same time.
        deinterlace: _,
        tonemap: _,
        target_score: _,
        target_metric: _,
        bitrate: _,
        max_size: _,
        hardware: _,
    } = preset;
    preset
}

/// What becomes of the Dolby Vision of `info` where nothing is encoded.
///
/// # Errors
/// Class input when there is none, or none that can become profile 8.1.
pub(crate) fn for_metadata(
    info: &VideoInfo,
    how: MetadataOnly,
    notes: &mut Vec<String>,
) -> Result<DolbyKept, Failure> {
    let found = info.dolby_vision.as_ref().ok_or_else(none_in_stream)?;
    convertible(found.profile)?;
    without_layer(info, found, how.allow_fel_loss, notes)?;
    let kept = kept(info, found, (info.width, info.height))?;
    notes.push(format!("nothing is encoded; {}", told(found, kept)));
    if info.hdr10plus && how.hdr10plus == Keep::Drop {
        notes.push("HDR10+ metadata is dropped, as asked for".into());
    }
    Ok(kept)
}

/// An encode without colours would be taken for SDR; where nothing is encoded,
/// the stream stays as it was.
fn no_colours() -> Failure {
    Failure::input("the source has Dolby Vision metadata but does not say what its colours are")
        .advise(
            "players would take the output for SDR: state the source's colours first, \
             or drop Dolby Vision with --set dolby_vision=drop",
        )
}

/// Profile 8 of the kind that the base picture's colours make it; HDR10 where
/// they are not stated, as profile 7 always is.
fn kept(info: &VideoInfo, found: &DolbyVision, size: (u32, u32)) -> Result<DolbyKept, Failure> {
    let compatibility = match info.colour.transfer.as_deref() {
        Some("smpte2084") | None => 1,
        Some("arib-std-b67") => 4,
        Some(_) => 2,
    };
    let convert = found.profile == 7;
    if convert && compatibility != 1 {
        return Err(Failure::input(
            "the source's Dolby Vision is of profile 7, but its base picture is not HDR10",
        ));
    }
    let level = level(size, info.fps().unwrap_or(25.0));
    Ok(DolbyKept { stream: found.stream, convert, compatibility, level })
}

fn absent(
    info: &VideoInfo,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<Option<DolbyKept>, Failure> {
    if preset.dolby_vision == DolbyKeep::Require {
        return Err(none_in_stream());
    }
    if info.hdr == Hdr::DolbyVision {
        notes.push(
            "the container claims Dolby Vision, but there is none in the stream: nothing to keep"
                .into(),
        );
    }
    Ok(None)
}

fn told(found: &DolbyVision, kept: DolbyKept) -> String {
    if !kept.convert {
        return format!("Dolby Vision profile 8.{} is kept, frame by frame", kept.compatibility);
    }
    let layer = found.layer.map_or(String::new(), |layer| format!(" ({})", layer.label()));
    format!(
        "Dolby Vision profile 7{layer} becomes 8.1, frame by frame; the enhancement layer is left out"
    )
}

/// What leaving out a full enhancement layer loses.
fn without_layer(
    info: &VideoInfo,
    found: &DolbyVision,
    allowed: bool,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    if found.layer != Some(EnhancementLayer::Fel) {
        return Ok(());
    }
    let base = info.mastering.map(|display| display.max_luminance / 10_000);
    match fel_loss(found.source_max_pq, base).filter(|_| !allowed) {
        Some(loss) => Err(loss),
        None => {
            notes.push(
                "warning: the full enhancement layer (FEL) carries picture detail that is lost"
                    .into(),
            );
            Ok(())
        }
    }
}
