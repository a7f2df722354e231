//! Whether the lists in Dolby Vision metadata are as short as real ones. The
//! library makes room for as many entries as a count states, before it reads
//! them: a count that lies would end the process.

use crate::bits::Bits;

/// Pieces of a mapping, and blocks of metadata: what the standards allow.
const MAX_PIVOTS_MINUS_2: u32 = 7;
const MAX_BLOCKS: u32 = 255;

/// Bits that the second list of blocks needs at least, with what follows it.
const SECOND_LIST: usize = 56;

/// What the rest of the metadata depends on.
struct Header {
    integers: bool,
    /// Bits of a coefficient's fraction.
    fraction: usize,
    residual: bool,
    compressed: bool,
    blocks: bool,
    mapping: bool,
}

/// Whether no list in `plain` (an RPU from its prefix on, without emulation
/// prevention bytes) states more entries than it may have, and none is cut off.
pub(super) fn hold(plain: &[u8]) -> bool {
    let mut bits = Bits::new(plain);
    let Some(header) = header(&mut bits) else { return false };
    let Some(header) = header else { return true };
    if header.mapping && !mapping(&mut bits, &header).unwrap_or(false) {
        return false;
    }
    !header.blocks || blocks(&mut bits, &header).unwrap_or(false)
}

/// `None` at the end of the data; nothing when the library refuses it by itself.
fn header(bits: &mut Bits<'_>) -> Option<Option<Header>> {
    bits.skip(8 + 6)?;
    let format = bits.uint(11)?;
    bits.skip(8)?;
    let mut header = Header {
        integers: true,
        fraction: 0,
        residual: true,
        compressed: false,
        blocks: false,
        mapping: false,
    };
    // Without it the library takes depths for 0 and refuses them.
    if !bits.bit()? || format & 0x700 != 0 {
        return Some(None);
    }
    bits.skip(1)?;
    header.integers = bits.uint(2)? == 0;
    header.fraction = if header.integers { bits.ue()? as usize } else { 32 };
    bits.skip(3)?;
    let depths = [bits.ue()?, bits.ue()? & 0xFF, bits.ue()?];
    if depths[0] != 2 || depths[1] != 2 || header.fraction > 32 {
        return Some(None);
    }
    bits.skip(1)?;
    header.compressed = bits.uint(3)? == 1;
    bits.skip(1)?;
    header.residual = !bits.bit()?;
    header.blocks = bits.bit()?;
    header.mapping = !bits.bit()?;
    if !header.mapping {
        bits.ue()?;
    }
    Some(Some(header))
}

fn coefficient(bits: &mut Bits<'_>, header: &Header) -> Option<()> {
    if header.integers {
        bits.ue()?;
    }
    bits.skip(header.fraction)
}

/// `Some(false)` for a count that lies.
fn mapping(bits: &mut Bits<'_>, header: &Header) -> Option<bool> {
    const DEPTH: usize = 10;
    for _ in 0..3 {
        bits.ue()?;
    }
    let mut pieces = [0; 3];
    for pieces in &mut pieces {
        let stated = bits.ue()?;
        if stated > MAX_PIVOTS_MINUS_2 {
            return Some(false);
        }
        bits.skip((stated as usize + 2) * DEPTH)?;
        *pieces = stated + 1;
    }
    if header.residual {
        bits.skip(3 + 2 * DEPTH)?;
    }
    bits.ue()?;
    bits.ue()?;
    for _ in 0..pieces.iter().sum() {
        match bits.ue()? {
            0 => {
                let order = bits.ue()?;
                // The library refuses other orders, and lines.
                if order > 1 || order == 0 && bits.bit()? {
                    return Some(true);
                }
                (0..order + 2).try_for_each(|_| coefficient(bits, header))?;
            }
            1 => {
                let order = bits.uint(2)?;
                (0..1 + 7 * (order + 1)).try_for_each(|_| coefficient(bits, header))?;
            }
            _ => return Some(true),
        }
    }
    if header.residual {
        for _ in 0..3 {
            bits.skip(DEPTH)?;
            (0..3).try_for_each(|_| coefficient(bits, header))?;
        }
    }
    Some(true)
}

fn blocks(bits: &mut Bits<'_>, header: &Header) -> Option<bool> {
    for _ in 0..3 {
        bits.ue()?;
    }
    // Matrices, signal and source, all of fixed lengths.
    bits.skip(if header.compressed { 0 } else { 509 })?;
    if !list(bits)? {
        return Some(false);
    }
    if bits.remaining() < SECOND_LIST { Some(true) } else { list(bits) }
}

fn list(bits: &mut Bits<'_>) -> Option<bool> {
    let count = bits.ue()?;
    if count > MAX_BLOCKS {
        return Some(false);
    }
    bits.align();
    for _ in 0..count {
        let length = bits.ue()? as usize;
        bits.skip(8 + length.checked_mul(8)?)?;
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as they are written down, filled up to bytes.
    fn packed(text: &str) -> Vec<u8> {
        let bits: Vec<bool> = text.chars().filter(|c| *c != ' ').map(|c| c == '1').collect();
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0u8, |sum, (at, bit)| sum | u8::from(*bit) << (7 - at))
        };
        bits.chunks(8).map(byte).collect()
    }

    /// A header with metadata and no mapping of its own, compressed, then `rest`.
    fn metadata(rest: &str) -> Vec<u8> {
        let header = "00011001 000010 00000000000 0001 0000 1 0 01 00 0 011 011 00101 0 001 0 0";
        // Metadata, the mapping of before with its number, three numbers.
        packed(&format!("{header} 1 1 1 1 1 1 {rest}"))
    }

    #[test]
    fn counts_that_lie_are_found_and_others_are_not() {
        let zeros = "0".repeat(120);
        assert!(!hold(&metadata(&format!("{}1{zeros}", "0".repeat(30)))), "a count of 2^30");
        assert!(!hold(&metadata(&format!("{}1{zeros}", "0".repeat(60)))), "a count of 2^60");
        assert!(!hold(&[25, 8]), "cut off");
        assert!(hold(&packed(&format!("00011001 000010 00000000000 0001 0000 0 {zeros}"))));
    }
}
