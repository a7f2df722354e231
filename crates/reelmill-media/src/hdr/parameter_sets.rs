//! Parameter sets of HEVC, as far as the order of pictures depends on them.

use super::nal::NalKind;
use crate::bits::Bits;
use std::collections::BTreeMap;

/// What a slice header needs to know of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// Its number.
    pub id: u32,
    /// Bits of the picture order count that a slice states: 4 to 16.
    pub order_bits: u32,
    /// Whether each colour plane is coded as a picture of its own.
    pub separate_planes: bool,
    /// Width and height of the coded picture, before cropping, pixels.
    pub coded_size: (u32, u32),
}

/// What a slice header needs to know of a picture parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pps {
    /// Its number.
    pub id: u32,
    /// Number of the sequence parameter set that it belongs to.
    pub sps: u32,
    /// Whether slices state whether they are shown.
    pub output_flag: bool,
    /// Further bits in each slice header.
    pub extra_bits: u32,
}

/// The parameter sets that are in force, by number: a later one takes the place
/// of an earlier one of the same number.
#[derive(Debug, Clone, Default)]
pub struct ParameterSets {
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
}

impl ParameterSets {
    /// Takes note of `nal`, if it is a parameter set. One that cannot be read
    /// takes nothing's place; a slice that needs it will tell.
    pub fn note(&mut self, nal: &[u8]) {
        match NalKind::of(nal) {
            Some(NalKind::SPS) => {
                if let Some(sps) = sps(&nal[2..]) {
                    self.sps.insert(sps.id, sps);
                }
            }
            Some(NalKind::PPS) => {
                if let Some(pps) = pps(&nal[2..]) {
                    self.pps.insert(pps.id, pps);
                }
            }
            _ => {}
        }
    }

    /// The sets that a slice which names the picture parameter set `id` is
    /// coded with.
    #[must_use]
    pub fn of(&self, id: u32) -> Option<(&Sps, &Pps)> {
        let pps = self.pps.get(&id)?;
        Some((self.sps.get(&pps.sps)?, pps))
    }
}

/// The sequence parameter set whose payload this is (H.265, 7.3.2.2).
#[must_use]
pub fn sps(payload: &[u8]) -> Option<Sps> {
    let mut bits = Bits::of_payload(payload);
    bits.skip(4)?;
    let sub_layers = bits.uint(3)?;
    bits.skip(1)?;
    skip_profile(&mut bits, sub_layers)?;
    let id = bits.ue().filter(|id| *id < 16)?;
    let chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
    let separate_planes = chroma == 3 && bits.bit()?;
    let coded_size = (bits.ue()?, bits.ue()?);
    if bits.bit()? {
        for _ in 0..4 {
            bits.ue()?;
        }
    }
    let (_luma_depth, _chroma_depth) = (bits.ue()?, bits.ue()?);
    let order_bits = bits.ue().filter(|bits| *bits <= 12)? + 4;
    Some(Sps { id, order_bits, separate_planes, coded_size })
}

/// Passes over profile, tier and level (H.265, 7.3.3).
pub(crate) fn skip_profile(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    bits.skip(88 + 8)?;
    let mut present = Vec::with_capacity(8);
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// The picture parameter set whose payload this is (H.265, 7.3.2.3).
#[must_use]
pub fn pps(payload: &[u8]) -> Option<Pps> {
    let mut bits = Bits::of_payload(payload);
    let id = bits.ue().filter(|id| *id < 64)?;
    let sps = bits.ue().filter(|id| *id < 16)?;
    let _dependent_slices = bits.bit()?;
    let output_flag = bits.bit()?;
    let extra_bits = bits.uint(3)?;
    Some(Pps { id, sps, output_flag, extra_bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPS and PPS as x265 wrote them for 256x144.
    const SPS: &str =
        "42010102200000030090000003000003003ca0080809136595952930bc05a02000000300200000030321";
    const PPS: &str = "4401c073c189";

    #[test]
    fn the_sets_that_x265_writes_are_read() {
        let (sps_unit, pps_unit) = (hex::decode(SPS).unwrap(), hex::decode(PPS).unwrap());
        let read = sps(&sps_unit[2..]).unwrap();
        assert_eq!((read.id, read.order_bits, read.separate_planes), (0, 8, false));
        assert_eq!(read.coded_size, (256, 144));
        let expected = Pps { id: 0, sps: 0, output_flag: false, extra_bits: 0 };
        assert_eq!(pps(&pps_unit[2..]), Some(expected));
    }

    #[test]
    fn trap4_a_later_set_of_the_same_number_takes_the_place_of_the_earlier() {
        let mut sets = ParameterSets::default();
        let sps_unit = hex::decode(SPS).unwrap();
        sets.note(&sps_unit);
        sets.note(&hex::decode(PPS).unwrap());
        assert_eq!(sets.of(0).map(|(sps, _)| sps.order_bits), Some(8));
        // The same set with one bit flipped: the one that changes these bits only.
        let changed = (16..sps_unit.len() * 8).find_map(|at| {
            let mut changed = sps_unit.clone();
            changed[at / 8] ^= 0x80 >> (at % 8);
            let read = sps(&changed[2..])?;
            let same = read.id == 0 && read.coded_size == (256, 144) && !read.separate_planes;
            (same && read.order_bits != 8).then_some((changed, read.order_bits))
        });
        let (changed, bits) = changed.unwrap();
        sets.note(&changed);
        assert_eq!(sets.of(0).map(|(sps, _)| sps.order_bits), Some(bits));
        assert!(sets.of(1).is_none());
    }
}
