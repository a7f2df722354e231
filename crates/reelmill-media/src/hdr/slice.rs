//! Slice headers of HEVC, as far as they tell which picture a slice is part of.

use super::nal::NalKind;
use super::parameter_sets::ParameterSets;
use crate::bits::Bits;

/// What the first slice of a picture tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstSlice {
    /// Low bits of the picture's order count; 0 for an IDR picture.
    pub order_low: u32,
    /// How many bits those are.
    pub order_bits: u32,
}

/// Whether `nal`, a slice, begins a picture.
#[must_use]
pub fn begins_picture(nal: &[u8]) -> bool {
    nal.get(2).is_some_and(|byte| byte & 0x80 != 0)
}

/// Reads the header of `nal`, the first slice of a picture (H.265, 7.3.6.1).
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn first_slice(nal: &[u8], sets: &ParameterSets) -> Result<FirstSlice, String> {
    let kind = NalKind::of(nal).filter(|kind| kind.is_slice()).ok_or("it is no slice")?;
    let short = "its header is cut off";
    let mut bits = Bits::of_payload(&nal[2..]);
    if !bits.bit().ok_or(short)? {
        return Err("it does not begin a picture".into());
    }
    if kind.is_random_access() {
        bits.skip(1).ok_or(short)?;
    }
    let id = bits.ue().ok_or(short)?;
    let (sps, pps) =
        sets.of(id).ok_or_else(|| format!("it needs parameter set {id}, which is not there"))?;
    let order_bits = sps.order_bits;
    if kind.is_idr() {
        return Ok(FirstSlice { order_low: 0, order_bits });
    }
    bits.skip(pps.extra_bits as usize).ok_or(short)?;
    bits.ue().ok_or(short)?;
    bits.skip(usize::from(pps.output_flag)).ok_or(short)?;
    bits.skip(if sps.separate_planes { 2 } else { 0 }).ok_or(short)?;
    let order_low = bits.uint(order_bits).ok_or(short)?;
    Ok(FirstSlice { order_low, order_bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told() {
        let sets = ParameterSets::default();
        let read = |nal: &[u8]| first_slice(nal, &sets).unwrap_err();
        assert!(read(&[64, 1, 0]).contains("no slice"));
        assert!(read(&[2, 1]).contains("cut off"));
        assert!(read(&[2, 1, 0x40]).contains("does not begin"));
        assert!(read(&[2, 1, 0xC0]).contains("parameter set 0, which is not there"));
    }
}
