//! Dolby Vision: what can be known of it, and what may be done with it: the one
//! policy for files whose metadata alone is converted and for those that are
//! encoded.

mod policy;

pub(crate) use policy::{for_encode, for_metadata};

use crate::error::Failure;
use crate::hdr::Keep;
use serde::{Deserialize, Serialize};

/// Kind of enhancement layer, which profile 7 has beside its base layer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EnhancementLayer {
    /// Minimal: it carries no picture; nothing is lost without it.
    Mel,
    /// Full: it carries what the base layer lacks.
    Fel,
}

impl EnhancementLayer {
    /// The kind as people write it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Mel => "MEL",
            Self::Fel => "FEL",
        }
    }
}

/// The Dolby Vision metadata found in a source's pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DolbyVision {
    /// Its profile, as the metadata itself tells it.
    pub profile: u8,
    /// Kind of enhancement layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<EnhancementLayer>,
    /// Index of the stream that carries it: the picture's own, or one beside it.
    pub stream: u32,
    /// Levels of metadata in the pictures that were looked at, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<u8>,
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

impl DolbyKept {
    /// The record that says so in a container: profile 8, metadata and base layer
    /// present, no enhancement layer.
    #[must_use]
    pub fn record(self) -> [u8; 24] {
        let bits: u16 = 8 << 9 | u16::from(self.level & 63) << 3 | 0b101;
        let mut record = [0; 24];
        record[0] = 1;
        record[2..4].copy_from_slice(&bits.to_be_bytes());
        record[4] = self.compatibility << 4;
        record
    }
}

/// The record of profile 7, as discs have it: metadata, enhancement and base
/// layer in one stream.
#[must_use]
pub fn record_7(level: u8) -> [u8; 24] {
    let bits: u16 = 7 << 9 | u16::from(level & 63) << 3 | 0b111;
    let mut record = [0; 24];
    record[0] = 1;
    record[2..4].copy_from_slice(&bits.to_be_bytes());
    record[4] = 6 << 4;
    record
}

/// How metadata is converted where nothing is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataOnly {
    /// Whether a full enhancement layer may be lost though it makes the picture
    /// brighter than the base layer is.
    pub allow_fel_loss: bool,
    /// What becomes of HDR10+ metadata.
    pub hdr10plus: Keep,
}

/// Whether metadata of `profile` may become profile 8.1.
///
/// # Errors
/// Class input, with the reason.
pub fn convertible(profile: u8) -> Result<(), Failure> {
    match profile {
        7 | 8 => Ok(()),
        5 => Err(Failure::input(
            "Dolby Vision Profile 5 has no HDR10 base layer; \
             metadata conversion gives wrong colours (purple and green)",
        )
        .advise(
            "keep the file as it is, or render its picture to HDR10 or SDR, \
             which loses Dolby Vision",
        )),
        other => Err(Failure::input(format!(
            "Dolby Vision of profile {} cannot become profile 8.1",
            if other == 0 { "unknown".to_owned() } else { other.to_string() }
        ))
        .advise("only profile 7 can be converted")),
    }
}

/// The picture has no Dolby Vision, whatever its container says.
#[must_use]
pub fn none_in_stream() -> Failure {
    Failure::input("there is no Dolby Vision in the stream")
        .advise("its container may say so, but no picture has the metadata; use another preset")
}

/// Why a full enhancement layer should not be thrown away: it makes the picture
/// brighter than the base layer can be. `source_max_pq` is the 12-bit PQ code of
/// the mastering display, `base_nits` what the base layer was mastered to.
#[must_use]
pub fn fel_loss(source_max_pq: Option<u16>, base_nits: Option<u32>) -> Option<Failure> {
    let (wanted, base) = (nits(source_max_pq?), f64::from(base_nits?));
    // Codes are rounded: 3079 is 1000 nits.
    (wanted > base * 1.02).then(|| {
        Failure::input(format!(
            "the full enhancement layer (FEL) brightens the picture from {base:.0} to {wanted:.0} \
             nits: profile 8.1 would lose that"
        ))
        .advise("give --allow-fel-loss to convert it nevertheless")
    })
}

/// Nits of a 12-bit PQ code (SMPTE ST 2084).
#[must_use]
pub fn nits(code: u16) -> f64 {
    let root = (f64::from(code) / 4095.0).powf(32.0 / 2523.0);
    let (c1, c2, c3) = (107.0 / 128.0, 2413.0 / 128.0, 2392.0 / 128.0);
    10_000.0 * ((root - c1).max(0.0) / (c2 - c3 * root)).powf(8192.0 / 1305.0)
}

/// Dolby's level for pictures of `size`, pixels, at `fps` a second.
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

#[cfg(test)]
mod tests;
