//! Dolby Vision: what can be known of it, and what may be done with it.

use crate::error::Failure;
use serde::{Deserialize, Serialize};

/// Kind of enhancement layer, which profile 7 has beside its base layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Whether metadata of `profile` may become profile 8.1.
///
/// # Errors
/// Class input, with the reason.
pub fn convertible(profile: u8) -> Result<(), Failure> {
    match profile {
        7 | 8 => Ok(()),
        5 => Err(Failure::input(
            "Dolby Vision profile 5 has no HDR10 base layer; \
             converting its metadata would give wrong colours",
        )
        .advise(
            "keep the file as it is, or render its picture to HDR10 or SDR, \
             which loses Dolby Vision",
        )),
        other => Err(Failure::input(format!(
            "Dolby Vision of profile {} cannot be converted to profile 8.1",
            if other == 0 { "unknown".to_owned() } else { other.to_string() }
        ))
        .advise("only profile 7 can be converted")),
    }
}

/// The picture has no Dolby Vision, whatever its container says.
#[must_use]
pub fn none_in_stream() -> Failure {
    Failure::input("there is no Dolby Vision in the stream")
        .advise("its container may say so, but no picture has the metadata; nothing to convert")
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
            "the full enhancement layer brightens the picture to {wanted:.0} nits; \
             its base layer was mastered to {base:.0}: profile 8.1 would lose that"
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

/// The record that says in a container: profile 8.1, an HDR10 base layer, no
/// enhancement layer. `size` in pixels, `fps` in pictures a second.
#[must_use]
pub fn record_81(size: (u64, u64), fps: f64) -> [u8; 24] {
    let (profile, level, compatible) = (8u8, level(size, fps), 1u8);
    let mut record = [0; 24];
    record[0] = 1;
    record[2] = profile << 1 | level >> 5;
    // Metadata present, no enhancement layer, base layer present.
    record[3] = level << 3 | 0b101;
    record[4] = compatible << 4;
    record
}

/// Dolby Vision's level for pictures of so many pixels, so often.
fn level(size: (u64, u64), fps: f64) -> u8 {
    const MOST: [f64; 9] = [
        22_118_400.0,
        27_648_000.0,
        49_766_400.0,
        62_208_000.0,
        124_416_000.0,
        199_065_600.0,
        248_832_000.0,
        398_131_200.0,
        497_664_000.0,
    ];
    let rate = (size.0 * size.1) as f64 * fps;
    let at = MOST.iter().position(|most| rate <= most * 1.001);
    at.map_or(10, |at| at as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_nits_that_the_standard_lists() {
        assert!((nits(3079) - 1000.0).abs() < 5.0, "{}", nits(3079));
        assert!((nits(3696) - 4000.0).abs() < 20.0, "{}", nits(3696));
        assert!(fel_loss(Some(3696), Some(1000)).is_some());
        assert!(fel_loss(Some(3079), Some(1000)).is_none());
        assert!(fel_loss(None, Some(1000)).is_none() && fel_loss(Some(3696), None).is_none());
    }

    #[test]
    fn levels_are_those_of_the_reference() {
        let of = |size, fps| level(size, fps);
        let film = 24_000.0 / 1001.0;
        assert_eq!(
            [of((640, 360), film), of((1280, 720), 24.0), of((1920, 1080), film)],
            [1, 1, 3]
        );
        assert_eq!([of((3840, 2160), film), of((3840, 2160), 30.0)], [6, 7]);
        assert_eq!([of((3840, 2160), 48.0), of((3840, 2160), 60.0)], [8, 9]);
    }

    #[test]
    fn only_what_has_an_hdr10_base_is_converted() {
        assert!(convertible(7).is_ok() && convertible(8).is_ok());
        let five = convertible(5).unwrap_err();
        assert!(five.message.contains("no HDR10 base layer"), "{five}");
        assert!(convertible(4).is_err() && convertible(0).is_err());
    }
}
