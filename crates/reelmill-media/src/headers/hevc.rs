//! H.265: the sequence parameter set (ITU-T H.265 7.3.2.2), in an `hvcC` record or among the
//! units of an elementary stream.

use super::annex_b;
use super::picture::{Length, Picture, Transfer, chroma, crop_unit};
use super::window::Fields;
use crate::bits::{Bits, unescape};
use crate::hdr::parameter_sets::{pps, skip_profile};
use reelmill_core::facts::Chroma;

/// "Unspecified" among the transfer characteristics.
const UNSPECIFIED: u32 = 2;

/// The picture that an `hvcC` record (ISO 14496-15) describes.
pub(super) fn picture(record: &[u8]) -> Option<Picture> {
    let set = units(record).into_iter().find(|(kind, _)| *kind == 33)?.1;
    parameters(&unescape(set.get(2..)?)).map(|(picture, _)| picture)
}

/// The picture that the first units of an elementary stream describe, if they all agree, and
/// how long one is, in seconds as a fraction (length, unit), where that is told.
pub(super) fn annex_b(data: &[u8]) -> Option<(Picture, Length)> {
    let of = |kind: u8| {
        let found = annex_b::units(data).filter(move |unit| unit[..].first() == Some(&(kind << 1)));
        found.map(|unit| unescape(unit.get(2..).unwrap_or_default()))
    };
    let mut sets = of(33).map(|set| parameters(&set));
    let first = sets.next()??;
    // Without sets for its pictures FFmpeg does not come to know their colours.
    of(34).next().and_then(|set| pps(&set))?;
    let mut lengths = of(32).map(|set| length(&set));
    let one = lengths.next()?;
    let agree = sets.all(|set| set == Some(first)) && lengths.all(|it| it == one);
    // FFmpeg believes the set for all layers first.
    agree.then_some((first.0, one.or(first.1)))
}

/// How long a picture is by a video parameter set.
fn length(data: &[u8]) -> Length {
    let mut bits = Bits::new(data);
    bits.skip(12)?;
    let layers = bits.uint(3)?;
    bits.skip(17)?;
    skip_profile(&mut bits, layers)?;
    for _ in 0..if bits.bit()? { layers + 1 } else { 1 } {
        bits.ue()?;
        bits.ue()?;
        bits.ue()?;
    }
    let highest = bits.uint(6)?;
    let sets = bits.ue()?;
    bits.skip((sets.min(1024) * (highest + 1)) as usize)?;
    if !bits.bit()? {
        return None;
    }
    let (ticks, scale) = (bits.uint(32)?, bits.uint(32)?);
    (ticks > 0 && scale > 0).then_some((ticks, scale))
}

/// The units in an `hvcC` record and their kinds, as far as it is not damaged.
pub(super) fn units(record: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    // What is read before it ends is good.
    let _ = arrays(record, &mut found);
    found
}

fn arrays<'a>(record: &'a [u8], found: &mut Vec<(u8, &'a [u8])>) -> Option<()> {
    let mut fields = Fields(record);
    if fields.byte()? != 1 {
        return None;
    }
    fields.take(21)?;
    for _ in 0..fields.byte()? {
        let kind = fields.byte()? & 63;
        for _ in 0..fields.uint(2)? {
            let size = fields.uint(2)? as usize;
            found.push((kind, fields.take(size)?));
        }
    }
    Some(())
}

/// Picture and its length.
fn parameters(data: &[u8]) -> Option<(Picture, Length)> {
    let mut bits = Bits::new(data);
    bits.skip(4)?;
    let layers = bits.uint(3)?;
    bits.bit()?;
    skip_profile(&mut bits, layers)?;
    bits.ue()?;
    let format = bits.ue()?;
    let separate = format == 3 && bits.bit()?;
    let chroma = chroma(format)?;
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.bit()? {
        let (x, y) = if separate { (1, 1) } else { crop_unit(chroma) };
        let sides = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?];
        width = width.checked_sub(sides[0].checked_add(sides[1])?.checked_mul(x)?)?;
        height = height.checked_sub(sides[2].checked_add(sides[3])?.checked_mul(y)?)?;
    }
    let depth = bits.ue()?.checked_add(8)?;
    bits.ue()?;
    let order_bits = bits.ue()?.checked_add(4)?;
    let ordering = bits.bit()?;
    for _ in 0..if ordering { layers + 1 } else { 1 } {
        bits.ue()?;
        bits.ue()?;
        bits.ue()?;
    }
    let (transfer, identity, length) = beyond(&mut bits, order_bits)?;
    let bit_depth = u8::try_from(depth).ok().filter(|depth| *depth <= 16)?;
    if separate {
        return None;
    }
    let chroma = if identity && chroma == Chroma::C444 { Chroma::Rgb } else { chroma };
    let picture = Picture { width, height, chroma, bit_depth, transfer };
    (width > 0 && height > 0).then_some((picture, length))
}

/// Everything between the sizes and the usability information, and the
/// transfer, whether the matrix is the identity, and how long a picture is.
fn beyond(bits: &mut Bits<'_>, order_bits: u32) -> Option<(Transfer, bool, Length)> {
    for _ in 0..6 {
        bits.ue()?;
    }
    if bits.bit()? && bits.bit()? {
        scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.bit()? {
        bits.skip(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.bit()?;
    }
    reference_sets(bits)?;
    if bits.bit()? {
        let count = bits.ue()?;
        for _ in 0..(count <= 32).then_some(count)? {
            bits.skip(order_bits as usize + 1)?;
        }
    }
    bits.skip(2)?;
    if !bits.bit()? {
        return Some((Transfer::Stream(UNSPECIFIED), false, None));
    }
    let (transfer, identity) = usability(bits)?;
    Some((transfer, identity, shown_for(bits)))
}

fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        let mut list = 0;
        while list < 6 {
            if bits.bit()? {
                if size > 1 {
                    bits.se()?;
                }
                for _ in 0..if size == 0 { 16 } else { 64 } {
                    bits.se()?;
                }
            } else {
                bits.ue()?;
            }
            list += if size == 3 { 3 } else { 1 };
        }
    }
    Some(())
}

fn reference_sets(bits: &mut Bits<'_>) -> Option<()> {
    let sets = bits.ue()?;
    let mut previous = 0;
    for set in 0..(sets <= 64).then_some(sets)? {
        if set > 0 && bits.bit()? {
            bits.bit()?;
            bits.ue()?;
            let mut count = 0;
            for _ in 0..=previous {
                if bits.bit()? || bits.bit()? {
                    count += 1;
                }
            }
            previous = count;
        } else {
            let (negative, positive) = (bits.ue()?, bits.ue()?);
            previous = negative.checked_add(positive).filter(|count| *count <= 32)?;
            for _ in 0..previous {
                bits.ue()?;
                bits.bit()?;
            }
        }
    }
    Some(())
}

fn usability(bits: &mut Bits<'_>) -> Option<(Transfer, bool)> {
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
            return Some((Transfer::Stream(transfer), matrix == 0));
        }
    }
    Some((Transfer::Stream(UNSPECIFIED), false))
}

/// How long a picture is shown, in what follows the colour description.
fn shown_for(bits: &mut Bits<'_>) -> Length {
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    bits.skip(3)?;
    if bits.bit()? {
        // FFmpeg doubts such windows, and what follows.
        return None;
    }
    // Where less is left FFmpeg takes it for another, older form.
    if !bits.bit()? || bits.remaining() < 69 {
        return None;
    }
    let (ticks, scale) = (bits.uint(32)?, bits.uint(32)?);
    (ticks > 0 && scale > 0).then_some((ticks, scale))
}
