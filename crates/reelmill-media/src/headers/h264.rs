//! H.264: the sequence parameter set (ITU-T H.264 7.3.2.1), in an `avcC` record or among
//! the units of an elementary stream.

use super::annex_b::units;
use super::picture::{Length, Picture, Transfer, chroma, crop_unit};
use super::window::Fields;
use crate::bits::{Bits, unescape};
use reelmill_core::facts::Chroma;

/// Profiles whose parameter sets tell chroma and depth.
const HIGH: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The picture that an `avcC` record (ISO 14496-15) describes.
pub(super) fn picture(record: &[u8]) -> Option<Picture> {
    let mut fields = Fields(record);
    if fields.byte()? != 1 {
        return None;
    }
    fields.take(4)?;
    if fields.byte()? & 31 == 0 {
        return None;
    }
    let size = fields.uint(2)? as usize;
    let nal = fields.take(size)?;
    if nal.first()? & 31 != 7 {
        return None;
    }
    parameters(&unescape(&nal[1..])).map(|(picture, _)| picture)
}

/// The picture that the first units of an elementary stream describe, if they all agree, and
/// how long one is, in seconds as a fraction (length, unit), where that is told.
pub(super) fn annex_b(data: &[u8]) -> Option<(Picture, Length)> {
    let mut sets = units(data).filter(|unit| unit.first().is_some_and(|byte| byte & 31 == 7));
    let first = parameters(&unescape(&sets.next()?[1..]))?;
    sets.all(|set| parameters(&unescape(&set[1..])) == Some(first)).then_some(first)
}

/// Whether the first picture in an elementary stream can be decoded: its parameter sets are
/// there, and it goes by them. Without, FFmpeg does not come to know its colours.
pub(super) fn is_decodable(data: &[u8]) -> bool {
    let sequence = |unit: &[u8]| {
        let unit = unescape(unit.get(4..)?);
        Bits::new(&unit).ue()
    };
    let all = || units(data).filter(|unit| !unit.is_empty());
    let sequence = all().find(|unit| unit[0] & 31 == 7).and_then(sequence);
    let set = all().find(|unit| unit[0] & 31 == 8).and_then(|unit| set_ids(&unescape(&unit[1..])));
    let slices = memchr::memmem::find_iter(data, &[0, 0, 1]).filter_map(|at| data.get(at + 3..));
    let mut slices =
        slices.filter(|unit| matches!(unit.first(), Some(head) if matches!(head & 31, 1 | 5)));
    let slice = slices.next().and_then(|unit| {
        let mut bits = Bits::of_payload(&unit[1..]);
        (bits.ue()? == 0 && bits.ue()? <= 9).then(|| bits.ue())?
    });
    match (sequence, set, slice) {
        (Some(sequence), Some((set, of)), Some(used)) => sequence == of && set == used,
        _ => false,
    }
}

/// The numbers of a picture parameter set that FFmpeg takes, and of the sequence's it is for.
fn set_ids(data: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(data);
    let ids = (bits.ue().filter(|id| *id < 256)?, bits.ue()?);
    bits.skip(2)?;
    let (groups, references) = (bits.ue()?, [bits.ue()?, bits.ue()?]);
    bits.skip(3)?;
    bits.se()?;
    bits.se()?;
    let colour = bits.se()?;
    bits.skip(2)?;
    // Pictures that say to be redundant are not decoded.
    let redundant = bits.bit()?;
    let usual = groups == 0 && !redundant && references.iter().all(|count| *count < 32);
    (usual && (-12..=12).contains(&colour)).then_some(ids)
}

/// Picture and length of two fields.
fn parameters(data: &[u8]) -> Option<(Picture, Length)> {
    let mut bits = Bits::new(data);
    let profile = bits.uint(8)?;
    bits.skip(16)?;
    bits.ue().filter(|id| *id < 32)?;
    let (mut format, mut separate, mut depth) = (1, false, 8);
    if HIGH.contains(&profile) {
        format = bits.ue()?;
        separate = format == 3 && bits.bit()?;
        depth = bits.ue()?.checked_add(8)?;
        bits.ue().filter(|more| *more == depth - 8)?;
        bits.bit()?;
        if bits.bit()? {
            scaling_lists(&mut bits, if format == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue().filter(|frame_number| *frame_number <= 12)?;
    picture_order(&mut bits)?;
    bits.ue().filter(|references| *references <= 16)?;
    bits.bit()?;
    let across = bits.ue()?.checked_add(1)?;
    let down = bits.ue()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.bit()?;
    }
    bits.bit()?;
    let chroma = chroma(format)?;
    let fields = if frames_only { 1 } else { 2 };
    let mut width = across.checked_mul(16)?;
    let mut height = down.checked_mul(16 * fields)?;
    if bits.bit()? {
        let (x, y) = if separate { (1, 1) } else { crop_unit(chroma) };
        let sides = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?];
        width = width.checked_sub(sides[0].checked_add(sides[1])?.checked_mul(x)?)?;
        height = height.checked_sub(sides[2].checked_add(sides[3])?.checked_mul(y * fields)?)?;
    }
    let usable = bits.bit()?;
    let transfer = if usable { transfer(&mut bits)? } else { Transfer::Container };
    let length = if usable { length(&mut bits) } else { None };
    let bit_depth = u8::try_from(depth).ok().filter(|depth| *depth <= 14)?;
    // A picture coded in three colour planes with the identity matrix is RGB;
    // the caller cannot tell from here, so it is not answered for.
    if separate || (chroma == Chroma::C444 && transfer == Transfer::Stream(u32::MAX)) {
        return None;
    }
    // FFmpeg decodes pictures without colour to 4:2:0.
    let chroma = if chroma == Chroma::Gray { Chroma::C420 } else { chroma };
    let picture = Picture { width, height, chroma, bit_depth, transfer };
    (width > 0 && height > 0).then_some((picture, length))
}

/// How long two fields are, in what follows the colour description.
fn length(bits: &mut Bits<'_>) -> Length {
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    if !bits.bit()? {
        return None;
    }
    let (ticks, scale) = (bits.uint(32)?.checked_mul(2)?, bits.uint(32)?);
    (ticks > 0 && scale > 0).then_some((ticks, scale))
}

fn scaling_lists(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            bits.ue().filter(|order| *order <= 12)?;
        }
        1 => {
            bits.bit()?;
            bits.se()?;
            bits.se()?;
            let cycle = bits.ue()?;
            for _ in 0..(cycle <= 255).then_some(cycle)? {
                bits.se()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// The beginning of the usability information, up to the colour description.
/// `Stream(u32::MAX)` stands for the identity matrix.
fn transfer(bits: &mut Bits<'_>) -> Option<Transfer> {
    if bits.bit()? && bits.uint(8)? == 255 {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.bit()?;
    }
    if bits.bit()? {
        bits.skip(4)?;
        if bits.bit()? {
            bits.skip(8)?;
            let (transfer, matrix) = (bits.uint(8)?, bits.uint(8)?);
            return Some(Transfer::Stream(if matrix == 0 { u32::MAX } else { transfer }));
        }
    }
    Some(Transfer::Container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_its_sets_is_not_decodable() {
        // As x264 writes it; the last start code and what follows are of the slice.
        let plain = hex::decode(
            "0000000167 4d400deca0a0fd80880000030008000003019078a14cb0\
             0000000168ce0fc8 0000010605ff 0000000165b800"
                .replace(' ', ""),
        )
        .unwrap();
        assert!(is_decodable(&plain));
        let set = plain.windows(2).position(|it| it == [0x68, 0xCE]).unwrap();
        for (at, value) in
            [(set, 0xFF), (set + 1, 0x81), (set + 1, 0x4E), (set + 2, 0), (set + 3, 0x7F)]
        {
            let mut bytes = plain.clone();
            bytes[at] = value;
            assert!(!is_decodable(&bytes), "{} = {value}", at - set);
        }
    }
}
