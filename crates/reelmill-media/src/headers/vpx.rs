//! VP8 and VP9: the header of a key frame (RFC 6386 9.1; VP9 specification 6.2).

use super::picture::{Picture, Transfer};
use crate::bits::Bits;
use reelmill_core::facts::Chroma;

/// The picture that a VP9 key frame describes.
pub(super) fn vp9(frame: &[u8]) -> Option<Picture> {
    let mut bits = Bits::new(frame);
    if bits.uint(2)? != 2 {
        return None;
    }
    let profile = u32::from(bits.bit()?) | u32::from(bits.bit()?) << 1;
    if profile == 3 && bits.bit()? {
        return None;
    }
    // Not a repetition of another frame, and a key frame.
    if bits.bit()? || bits.bit()? {
        return None;
    }
    bits.skip(2)?;
    if bits.uint(24)? != 0x49_8342 {
        return None;
    }
    let bit_depth = match (profile >= 2).then(|| bits.bit()) {
        None => 8,
        Some(twelve) => {
            if twelve? {
                12
            } else {
                10
            }
        }
    };
    let space = bits.uint(3)?;
    let odd = profile % 2 == 1;
    let chroma = if space == 7 {
        bits.bit()?;
        if !odd {
            return None;
        }
        Chroma::Rgb
    } else {
        bits.bit()?;
        if odd {
            let (x, y) = (bits.bit()?, bits.bit()?);
            bits.bit()?;
            match (x, y) {
                (false, false) => Chroma::C444,
                (true, false) => Chroma::C422,
                (false, true) => Chroma::Other,
                (true, true) => return None,
            }
        } else {
            Chroma::C420
        }
    };
    let (width, height) = (bits.uint(16)? + 1, bits.uint(16)? + 1);
    Some(Picture { width, height, chroma, bit_depth, transfer: Transfer::Container })
}

/// The picture that a VP8 key frame describes.
pub(super) fn vp8(frame: &[u8]) -> Option<Picture> {
    if frame.first()? & 1 != 0 || frame.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let size = |at: usize| {
        let pair = [*frame.get(at)?, *frame.get(at + 1)?];
        Some(u32::from(u16::from_le_bytes(pair) & 0x3fff)).filter(|size| *size > 0)
    };
    Some(Picture {
        width: size(6)?,
        height: size(8)?,
        chroma: Chroma::C420,
        bit_depth: 8,
        transfer: Transfer::Container,
    })
}
