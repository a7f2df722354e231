//! Puts metadata into a stream whose encoder left it out.

use super::access_unit::AccessUnit;
use super::nal::{NalKind, write};
use reelmill_core::error::Failure;
use std::io::Write;

/// What one picture gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// A NAL unit of Dolby Vision metadata (type 62).
    pub rpu: Option<&'a [u8]>,
    /// An SEI unit of HDR10+ metadata (type 39).
    pub hdr10_plus: Option<&'a [u8]>,
}

/// Writes an access unit with its metadata: HDR10+ right before the slices,
/// Dolby Vision after everything, save what ends the stream.
///
/// # Errors
/// Class input, when the picture has Dolby Vision metadata already or there is no
/// picture; when it cannot be written.
pub fn write_with(
    unit: &AccessUnit,
    metadata: Metadata<'_>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if unit.place.is_none() {
        return Err(Failure::input("the stream has an access unit without a picture"));
    }
    if metadata.rpu.is_some() && unit.of_kind(NalKind::RPU).next().is_some() {
        return Err(Failure::input("a picture has Dolby Vision metadata already"));
    }
    let io = |error: std::io::Error| Failure::io("write the HEVC stream", &error);
    let (mut hdr10_plus, mut rpu) = (metadata.hdr10_plus, metadata.rpu);
    let kind_of = |nal: &[u8]| NalKind::of(nal).unwrap_or(NalKind(0));
    for nal in unit.nals() {
        let kind = kind_of(nal);
        if kind.is_slice()
            && let Some(sei) = hdr10_plus.take()
        {
            write(sei, out).map_err(io)?;
        }
        if matches!(kind, NalKind::EOS | NalKind::EOB)
            && let Some(rpu) = rpu.take()
        {
            write(rpu, out).map_err(io)?;
        }
        write(nal, out).map_err(io)?;
    }
    rpu.map_or(Ok(()), |rpu| write(rpu, out).map_err(io))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdr::access_unit::read_all;

    const RPU: [u8; 3] = [62 << 1, 1, 9];
    const SEI: [u8; 3] = [39 << 1, 1, 8];

    #[test]
    fn metadata_goes_before_the_slices_and_to_the_end() {
        let aud: &[u8] = &[35 << 1, 1, 0x50];
        let sets: [&str; 2] = [
            "42010102200000030090000003000003003ca0080809136595952930bc05a02000000300200000030321",
            "4401c073c189",
        ];
        let sets = sets.map(|text| hex::decode(text).unwrap());
        let idr: &[u8] = &[19 << 1, 1, 0xAF, 0x80];
        let more: &[u8] = &[19 << 1, 1, 0x2F, 0x80];
        let eos: &[u8] = &[36 << 1, 1];
        let nals = [aud, &sets[0], &sets[1], idr, more, eos];
        let stream: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 1][..], nal].concat()).collect();
        let mut written = Vec::new();
        let metadata = Metadata { rpu: Some(&RPU), hdr10_plus: Some(&SEI) };
        read_all(&stream[..], &mut |unit| write_with(&unit, metadata, &mut written)).unwrap();
        let mut found = Vec::new();
        read_all(&written[..], &mut |unit| {
            found.push(unit.nals().map(<[u8]>::to_vec).collect::<Vec<_>>());
            write_with(&unit, metadata, &mut Vec::new())
        })
        .unwrap_err();
        let expected = [aud, &sets[0], &sets[1], &SEI, idr, more, &RPU, eos];
        assert_eq!(found, [expected.map(<[u8]>::to_vec).to_vec()]);
    }
}
