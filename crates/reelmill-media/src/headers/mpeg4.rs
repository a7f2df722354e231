//! MPEG-4 part 2 (Xvid, DivX): visual object and video object layer (ISO 14496-2 6.2).

use super::picture::{Picture, Transfer};
use crate::bits::Bits;
use reelmill_core::facts::Chroma;

/// Kinds of layers of the studio profile, whose headers are different.
const STUDIO: [u32; 2] = [14, 15];

/// The picture that the headers in `data` describe, up to the first picture; nothing where
/// there is none, or something unusual.
pub(super) fn picture(data: &[u8]) -> Option<Picture> {
    let (mut layer, mut transfer) = (None, Transfer::Container);
    for at in memchr::memmem::find_iter(data, &[0, 0, 1]) {
        let (Some(code), rest) = (data.get(at + 3), data.get(at + 4..)?) else { break };
        match code {
            0x20..=0x2F if layer.is_some() => return None,
            0x20..=0x2F => layer = Some(size(rest)?),
            // The studio profile.
            0xB0 if rest.first()? >> 4 == 0xE => return None,
            0xB5 => transfer = colour(rest)?,
            0xB6 => break,
            _ => {}
        }
    }
    let (width, height) = layer?;
    Some(Picture { width, height, chroma: Chroma::C420, bit_depth: 8, transfer })
}

/// Whether a picture begins in `data`.
pub(super) fn has_picture(data: &[u8]) -> bool {
    memchr::memmem::find(data, &[0, 0, 1, 0xB6]).is_some()
}

/// The transfer in a visual object.
fn colour(data: &[u8]) -> Option<Transfer> {
    let mut bits = Bits::new(data);
    if bits.bit()? {
        bits.skip(7)?;
    }
    let kind = bits.uint(4)?;
    if !matches!(kind, 1 | 2) || !bits.bit()? {
        return Some(Transfer::Container);
    }
    bits.skip(4)?;
    if !bits.bit()? {
        return Some(Transfer::Container);
    }
    bits.skip(8)?;
    Some(Transfer::Stream(bits.uint(8)?))
}

/// Width and height in a video object layer that shows rectangles of eight bits in 4:2:0.
fn size(data: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(data);
    bits.skip(1)?;
    if STUDIO.contains(&bits.uint(8)?) {
        return None;
    }
    let version = if bits.bit()? { bits.uint(7)? >> 3 } else { 1 };
    if bits.uint(4)? == 15 {
        bits.skip(16)?;
    }
    if bits.bit()? {
        let chroma = bits.uint(2)?;
        bits.skip(1)?;
        if bits.bit()? {
            bits.skip(79)?;
        }
        if chroma != 1 {
            return None;
        }
    }
    if bits.uint(2)? != 0 {
        return None;
    }
    bits.skip(1)?;
    let ticks = bits.uint(16)?;
    bits.skip(1)?;
    if ticks == 0 {
        return None;
    }
    if bits.bit()? {
        let width = 32 - (ticks - 1).leading_zeros();
        bits.skip(width.max(1) as usize)?;
    }
    bits.skip(1)?;
    let width = bits.uint(13)?;
    bits.skip(1)?;
    let height = bits.uint(13)?;
    bits.skip(1)?;
    // Interlaced, overlapped.
    bits.skip(2)?;
    match bits.uint(if version == 1 { 1 } else { 2 })? {
        0 => {}
        // Global motion: warping points, their accuracy, brightness.
        2 if bits.uint(6)? <= 3 => bits.skip(3)?,
        _ => return None,
    }
    let deep = bits.bit()?;
    (width > 0 && height > 0 && !deep).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers as Xvid writes them, of 640×480.
    fn xvid() -> Vec<u8> {
        hex::decode(
            "000001b003000001b509000001000000012000bc0406c400670c5010f0518f00\
             0001b25876694430303639000001b610610f85b035cc63ec8d",
        )
        .unwrap()
    }

    #[test]
    fn what_is_unusual_is_not_answered_for() {
        let plain = xvid();
        let found = picture(&plain).unwrap();
        assert_eq!((found.width, found.height, found.chroma), (640, 480, Chroma::C420));
        assert!(has_picture(&plain));
        let with = |at: usize, value: u8| {
            let mut bytes = plain.clone();
            bytes[at] = value;
            picture(&bytes)
        };
        assert_eq!(with(4, 0xE1), None, "studio profile");
        assert_eq!(picture(&plain[..24]), None, "cut short");
        assert_eq!(picture(&[&plain[..31], &plain[..]].concat()), None, "two layers");
    }
}
