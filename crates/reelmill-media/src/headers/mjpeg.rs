//! Motion JPEG: the header of a frame (ITU-T T.81 B.2.2).

use super::picture::{Picture, Transfer};
use super::window::Fields;
use reelmill_core::facts::Chroma;

/// Segments before the picture.
const MAX_SEGMENTS: usize = 50;

/// The picture that the beginning of a frame describes, if it is coded plainly and its
/// colour is sampled as cameras do.
pub(super) fn picture(frame: &[u8]) -> Option<Picture> {
    let mut rest = Fields(frame.strip_prefix(&[0xff, 0xd8])?);
    for _ in 0..MAX_SEGMENTS {
        if rest.byte()? != 0xff {
            return None;
        }
        let kind = rest.byte()?;
        let length = rest.uint(2)?.checked_sub(2)?;
        let segment = rest.take(length as usize)?;
        match kind {
            0xc0 => return start_of_frame(segment),
            // Tables, comments, and what programs add.
            0xc4 | 0xdb | 0xdd | 0xe0..=0xed | 0xfe => {}
            _ => return None,
        }
    }
    None
}

fn start_of_frame(segment: &[u8]) -> Option<Picture> {
    let [8, h1, h0, w1, w0, 3, name, first, _, _, second, _, _, third, _] = *segment else {
        return None;
    };
    let chroma = match (first, second, third) {
        (0x22, 0x11, 0x11) => Chroma::C420,
        (0x21, 0x11, 0x11) | (0x22, 0x12, 0x12) if name != b'Q' => Chroma::C422,
        _ => return None,
    };
    let (width, height) =
        (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    let picture = Picture { width, height, chroma, bit_depth: 8, transfer: Transfer::Container };
    (width > 0 && height > 0).then_some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_frames_are_answered_for() {
        let plain = hex::decode("ffd8ffdb0004aabbffc0001108007800a003012200021101031101").unwrap();
        let found = picture(&plain).unwrap();
        assert_eq!((found.width, found.height, found.chroma), (160, 120, Chroma::C420));
        let with = |at: usize, value: u8| {
            let mut bytes = plain.clone();
            bytes[at] = value;
            picture(&bytes)
        };
        assert_eq!(with(19, 0x21).map(|it| it.chroma), Some(Chroma::C422));
        assert_eq!(with(19, 0x11), None, "4:4:4, or red, green and blue");
        assert_eq!(with(9, 0xc2), None, "progressive");
        assert_eq!(with(12, 12), None, "deep");
        assert_eq!(picture(&plain[..20]), None, "cut short");
    }
}
