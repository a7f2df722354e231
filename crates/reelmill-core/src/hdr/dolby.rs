//! Dolby Vision through a re-encode: when it can be kept, and as what.

use super::{DolbyKeep, Keep, pq_nits};
use crate::container::Container;
use crate::dolby::EnhancementLayer;
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::media::{Hdr, VideoInfo};
use crate::preset::VideoPreset;
use serde::{Deserialize, Serialize};

/// The Dolby Vision metadata found in a source's pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DolbyVision {
    /// Its profile, as the metadata itself tells it.
    pub profile: u8,
    /// Kind of enhancement layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<EnhancementLayer>,
    /// Index of the stream that carries it: the picture's own, or one beside it.
    pub stream: u32,
    /// The brightest that the mastering display showed, as a 12-bit PQ code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_max_pq: Option<u16>,
}

/// The Dolby Vision metadata that an output gets: profile 8, one unit a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DolbyKept {
    /// Index of the source's stream that it is read from.
    pub stream: u32,
    /// Whether it is converted from profile 7 to 8.1; else it stays as it is.
    pub convert: bool,
    /// What the base picture is without it: 1 HDR10, 2 SDR, 4 HLG.
    pub compatibility: u8,
    /// Dolby's level for the size and rate of the output.
    pub level: u8,
}

/// What becomes of the Dolby Vision of `info`, the output being `pixel_format`
/// pixels of `size`.
pub(super) fn decide(
    info: &VideoInfo,
    preset: &VideoPreset,
    container: Container,
    (size, pixel_format): ((u32, u32), &str),
    notes: &mut Vec<String>,
) -> Result<Option<DolbyKept>, Failure> {
    let Some(found) = info.dolby_vision else {
        return absent(info, preset, notes);
    };
    if found.profile == 5 {
        return Err(Failure::input(PROFILE_5).advise(
            "keep the file as it is, or make HDR10 or SDR of it with a player that renders Dolby Vision",
        ));
    }
    if preset.hdr == Keep::Drop || preset.dolby_vision == DolbyKeep::Drop {
        notes.push(
            "Dolby Vision metadata is dropped, as asked for; the base picture is kept".into(),
        );
        return Ok(None);
    }
    if !matches!(found.profile, 7 | 8) {
        let message = format!("Dolby Vision profile {} cannot be carried over", found.profile);
        return Err(Failure::permanent(message).advise(DROP));
    }
    if preset.encoder != VideoEncoder::X265 || container == Container::Webm {
        let codec = preset.encoder.codec();
        let message =
            format!("Dolby Vision would be lost: {codec} in {container} does not carry it");
        return Err(
            Failure::permanent(message).advise(format!("use --preset dv81-hevc, or {DROP}"))
        );
    }
    if pixel_format != "yuv420p10le" {
        let message = format!("Dolby Vision needs 10-bit 4:2:0 pixels, not {pixel_format}");
        return Err(Failure::permanent(message).advise(DROP));
    }
    if found.layer == Some(EnhancementLayer::Fel) {
        full_layer(info, found, preset, notes)?;
    }
    if info.field_order != crate::media::FieldOrder::Progressive {
        return Err(Failure::input("interlaced video cannot be Dolby Vision").advise(DROP));
    }
    let compatibility = match info.colour.transfer.as_deref() {
        Some("smpte2084") => 1,
        Some("arib-std-b67") => 4,
        None => return Err(no_colour()),
        Some(_) => 2,
    };
    let convert = found.profile == 7;
    if convert && compatibility != 1 {
        return Err(Failure::input(
            "the source's Dolby Vision is of profile 7, but its base picture is not HDR10",
        )
        .advise(DROP));
    }
    notes.push(told(found, convert, compatibility));
    let level = level(size, info.fps().unwrap_or(25.0));
    Ok(Some(DolbyKept { stream: found.stream, convert, compatibility, level }))
}

const PROFILE_5: &str = "Dolby Vision profile 5 has no HDR10 base layer: \
    any conversion without its renderer gives wrong (purple and green) colours";

const DROP: &str = "drop it with --set dolby_vision=drop (the base picture's HDR is kept then)";

fn no_colour() -> Failure {
    Failure::input("the source has Dolby Vision metadata but does not say what its colours are")
        .advise("players would take the output for SDR: state the source's colours first (mkvpropedit), or drop \
            Dolby Vision with --set dolby_vision=drop")
}

fn absent(
    info: &VideoInfo,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<Option<DolbyKept>, Failure> {
    if info.hdr == Hdr::DolbyVision {
        notes.push(
            "the container claims Dolby Vision, but there is none in the stream: nothing to keep"
                .into(),
        );
    }
    if preset.dolby_vision == DolbyKeep::Require {
        return Err(Failure::input("there is no Dolby Vision in the source")
            .advise("use another preset: hevc keeps what HDR there is"));
    }
    Ok(None)
}

fn told(found: DolbyVision, convert: bool, compatibility: u8) -> String {
    if !convert {
        return format!("Dolby Vision profile 8.{compatibility} is kept, frame by frame");
    }
    let layer = found.layer.map_or(String::new(), |layer| format!(" ({})", layer.label()));
    format!(
        "Dolby Vision profile 7{layer} becomes 8.1, frame by frame; the enhancement layer is left out"
    )
}

/// What leaving out a full enhancement layer loses.
fn full_layer(
    info: &VideoInfo,
    found: DolbyVision,
    preset: &VideoPreset,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    notes.push("the full enhancement layer (FEL) carries picture detail that is lost".into());
    let base = info.mastering.map(|display| f64::from(display.max_luminance) / 1e4);
    let (Some(base), Some(code)) = (base, found.source_max_pq) else {
        return Ok(());
    };
    let source = pq_nits(code);
    if source <= base * 1.05 || preset.allow_fel_loss {
        return Ok(());
    }
    let message = format!(
        "the full enhancement layer probably expands brightness from {base:.0} to {source:.0} nits; \
         without it that is lost"
    );
    Err(Failure::permanent(message).advise("--set allow_fel_loss=true converts it all the same"))
}

/// Dolby's level for pictures of `size` at `fps`.
#[must_use]
pub fn level(size: (u32, u32), fps: f64) -> u8 {
    const RATES: [f64; 10] = [
        22_118_400.0,
        27_648_000.0,
        49_766_400.0,
        62_208_000.0,
        124_416_000.0,
        199_065_600.0,
        248_832_000.0,
        398_131_200.0,
        497_664_000.0,
        995_328_000.0,
    ];
    let rate = f64::from(size.0) * f64::from(size.1) * fps;
    let fits = RATES.iter().position(|most| rate <= *most * 1.001);
    fits.map_or(13, |at| at as u8 + 1)
}
