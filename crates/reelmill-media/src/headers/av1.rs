//! AV1: the sequence header in an `av1C` record (AV1 specification 5.5).

use super::picture::{Picture, Transfer};
use crate::bits::Bits;
use reelmill_core::facts::Chroma;

const SEQUENCE_HEADER: u8 = 1;

/// The picture that an `av1C` record describes.
pub(super) fn picture(record: &[u8]) -> Option<Picture> {
    if *record.first()? != 0x81 {
        return None;
    }
    let mut obus = record.get(4..)?;
    for _ in 0..16 {
        let header = *obus.first()?;
        let mut at = if header & 4 != 0 { 2 } else { 1 };
        let size = if header & 2 != 0 { leb128(obus, &mut at)? } else { obus.len() - at };
        let content = obus.get(at..at.checked_add(size)?)?;
        if header >> 3 & 15 == SEQUENCE_HEADER {
            return sequence(content);
        }
        obus = obus.get(at + size..)?;
    }
    None
}

fn leb128(data: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..28).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn sequence(data: &[u8]) -> Option<Picture> {
    let mut bits = Bits::new(data);
    let profile = bits.uint(3)?;
    bits.bit()?;
    let reduced = bits.bit()?;
    if reduced {
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.uint(4)? + 1, bits.uint(4)? + 1);
    let (width, height) = (bits.uint(width_bits)? + 1, bits.uint(height_bits)? + 1);
    if !reduced && bits.bit()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !reduced {
        tools(&mut bits)?;
    }
    bits.skip(3)?;
    let (chroma, bit_depth, transfer) = colour(&mut bits, profile)?;
    let transfer = Transfer::Stream(transfer);
    Some(Picture { width, height, chroma, bit_depth, transfer })
}

fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut decoder_model = None;
    if bits.bit()? {
        bits.skip(64)?;
        if bits.bit()? {
            variable(bits)?;
        }
        if bits.bit()? {
            decoder_model = Some(bits.uint(5)? as usize + 1);
            bits.skip(32 + 10)?;
        }
    }
    let display_delay = bits.bit()?;
    for _ in 0..=bits.uint(5)? {
        bits.skip(12)?;
        if bits.uint(5)? > 7 {
            bits.bit()?;
        }
        if let Some(length) = decoder_model
            && bits.bit()?
        {
            bits.skip(2 * length + 1)?;
        }
        if display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    Some(())
}

/// `uvlc()`.
fn variable(bits: &mut Bits<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.bit()? {
        zeros += 1;
    }
    bits.skip(if zeros >= 32 { 0 } else { zeros })
}

/// Coding tools between the sizes and the colours.
fn tools(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let order_hint = bits.bit()?;
    if order_hint {
        bits.skip(2)?;
    }
    let screen_content = if bits.bit()? { true } else { bits.bit()? };
    if screen_content && !bits.bit()? {
        bits.bit()?;
    }
    if order_hint {
        bits.skip(3)?;
    }
    Some(())
}

fn colour(bits: &mut Bits<'_>, profile: u32) -> Option<(Chroma, u8, u32)> {
    let high = bits.bit()?;
    let depth = match (profile, high) {
        (2, true) => {
            if bits.bit()? {
                12
            } else {
                10
            }
        }
        (_, true) => 10,
        (_, false) => 8,
    };
    let mono = profile != 1 && bits.bit()?;
    let (mut primaries, mut transfer, mut matrix) = (2, 2, 2);
    if bits.bit()? {
        (primaries, transfer, matrix) = (bits.uint(8)?, bits.uint(8)?, bits.uint(8)?);
    }
    if mono {
        return Some((Chroma::Gray, depth, transfer));
    }
    if (primaries, transfer, matrix) == (1, 13, 0) {
        return Some((Chroma::Rgb, depth, transfer));
    }
    bits.bit()?;
    let chroma = match profile {
        0 => Chroma::C420,
        1 => Chroma::C444,
        2 if depth < 12 => Chroma::C422,
        2 => match (bits.bit()?, bits.bit()?) {
            (true, true) => Chroma::C420,
            (true, false) => Chroma::C422,
            (false, _) => return None,
        },
        _ => return None,
    };
    (matrix != 0).then_some((chroma, depth, transfer))
}
