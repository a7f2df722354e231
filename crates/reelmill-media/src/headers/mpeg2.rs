//! MPEG-2: the sequence header and its extensions (ITU-T H.262 6.2.2).

use super::picture::{Picture, Transfer, chroma};
use crate::bits::Bits;

/// Seconds of a picture, as fractions, as the header numbers them.
const LENGTHS: [(u32, u32); 8] =
    [(1001, 24_000), (1, 24), (1, 25), (1001, 30_000), (1, 30), (1, 50), (1001, 60_000), (1, 60)];

/// The picture that the sequence headers in `data` describe, if they all agree, and how long
/// one is, in seconds as a fraction.
pub(super) fn picture(data: &[u8]) -> Option<(Picture, (u32, u32))> {
    let mut found = None;
    for at in memchr::memmem::find_iter(data, &[0, 0, 1, 0xB3]) {
        let here = sequence(&data[at + 4..])?;
        if found.is_some_and(|before| before != here) {
            return None;
        }
        found = Some(here);
    }
    found
}

fn sequence(data: &[u8]) -> Option<(Picture, (u32, u32))> {
    let mut bits = Bits::new(data);
    let (width, height) = (bits.uint(12)?, bits.uint(12)?);
    bits.skip(4)?;
    let (length, scale) = *LENGTHS.get(bits.uint(4)?.checked_sub(1)? as usize)?;
    let (mut extended, mut transfer) = (None, Transfer::Container);
    for at in memchr::memmem::find_iter(data, &[0, 0, 1]) {
        let (code, rest) = (*data.get(at + 3)?, Bits::new(data.get(at + 4..)?));
        match code {
            0xB5 => extension(rest, &mut extended, &mut transfer)?,
            // User data.
            0xB2 => {}
            _ => break,
        }
    }
    let Extended { chroma: format, width: wider, height: higher, times, over } = extended?;
    let (width, height) = (wider << 12 | width, higher << 12 | height);
    let picture = Picture { width, height, chroma: chroma(format)?, bit_depth: 8, transfer };
    let known = width > 0 && height > 0 && (1..=2).contains(&format);
    known.then_some((picture, (length * (over + 1), scale * (times + 1))))
}

struct Extended {
    chroma: u32,
    width: u32,
    height: u32,
    times: u32,
    over: u32,
}

/// Takes in an extension: that of the sequence itself, and how it is to be shown.
fn extension(
    mut bits: Bits<'_>,
    extended: &mut Option<Extended>,
    transfer: &mut Transfer,
) -> Option<()> {
    match bits.uint(4)? {
        1 => {
            bits.skip(9)?;
            let (chroma, width, height) = (bits.uint(2)?, bits.uint(2)?, bits.uint(2)?);
            bits.skip(12 + 1 + 8 + 1)?;
            let (times, over) = (bits.uint(2)?, bits.uint(5)?);
            *extended = Some(Extended { chroma, width, height, times, over });
        }
        2 => {
            bits.skip(3)?;
            if bits.bit()? {
                bits.skip(8)?;
                *transfer = Transfer::Stream(bits.uint(8)?);
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::facts::Chroma;

    #[test]
    fn the_extension_is_needed_and_all_must_agree() {
        // 720×576, 25 pictures a second, as FFmpeg writes it.
        let plain =
            hex::decode("000001b32d024033ffffe018000001b5148a00010000000001b8000040000000010000")
                .unwrap();
        let (found, length) = picture(&plain).unwrap();
        assert_eq!((found.width, found.height, found.chroma), (720, 576, Chroma::C420));
        assert_eq!(length, (1, 25));
        assert_eq!(picture(&plain[..12]), None, "MPEG-1");
        let mut other = plain.clone();
        other[4] = 0x2C;
        assert_eq!(picture(&[plain, other].concat()), None);
    }
}
