//! What the first pictures of an HEVC stream say of HDR: Dolby Vision and HDR10+,
//! whatever the container claims. Only the metadata is read; slices are passed by.

use super::window::{Look, Window, unsure};
use crate::hdr::nal::NalKind;
use crate::probe::note;
use reelmill_core::media::VideoInfo;

/// Pictures that are looked at, at most: two seconds.
pub(super) const PICTURES: usize = 48;

/// Reads after which no further picture is begun: those of large pictures lie far
/// apart, and each may be a trip over the network.
const READS: u32 = 150;

/// Whether another picture is to be looked at after so many.
pub(super) fn more(file: &Window, seen: usize) -> bool {
    seen < PICTURES && file.reads() < READS
}

/// NAL units of one picture that are looked at; discs' pictures have some thirty.
const UNITS: usize = 200;

/// Bytes of one unit of metadata; larger ones are not looked into.
const LARGEST: u64 = 64 << 10;

/// Reads the metadata in one picture: `size` bytes at `at`, each unit behind its
/// length of `length_bytes`.
pub(super) fn picture(
    file: &mut Window,
    (at, size): (u64, u64),
    length_bytes: u64,
    info: &mut VideoInfo,
) -> Look<()> {
    let (mut at, end) = (at, at.saturating_add(size));
    for _ in 0..UNITS {
        if at + length_bytes + 2 > end {
            return Ok(());
        }
        let head = file.bytes(at, length_bytes + 2)?;
        let (length, start) = head.split_at(length_bytes as usize);
        let length = length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let kind = NalKind::of(start);
        at += length_bytes;
        if length > end - at {
            return unsure("damaged pictures");
        }
        let telling = matches!(kind, Some(NalKind::RPU | NalKind::SEI_PREFIX));
        if telling && length <= LARGEST {
            note(file.bytes(at, length)?, 0, info);
        }
        at += length;
    }
    Ok(())
}

/// How many bytes state the length of each unit, by the codec's private data.
pub(super) fn length_bytes(record: &[u8]) -> u64 {
    record.get(21).map_or(4, |byte| u64::from(byte & 3) + 1)
}
