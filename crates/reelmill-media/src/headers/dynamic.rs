//! What the pictures of an HEVC stream say of HDR: Dolby Vision and HDR10+, whatever the
//! container claims. Only the metadata is read; slices are passed by.

use super::hevc;
use super::window::{Look, Stop, Window, unsure};
use crate::hdr::nal::NalKind;
use crate::probe::note;
use reelmill_core::media::VideoInfo;

/// Pictures that are looked at, at most: two seconds at the start, ten in further places,
/// where few reads give many.
pub(super) const PICTURES: [usize; 2] = [48, 240];

/// Reads at the start of a film, and in each further place, after which no further picture
/// is begun: those of large pictures lie far apart, and each may be a trip over the network.
pub(super) const READS: [u32; 2] = [120, 24];

/// Places all over a film with Dolby Vision at which some more pictures are looked at: a
/// later scene may have levels, or a fuller layer, that the first one has not.
const PLACES: u64 = 8;

/// Reads after which no further place is gone to.
const READS_IN_ALL: u32 = 320;

/// Evenly chosen ones of the numbers below `count`, the last one among them.
pub(super) fn spread(count: u64) -> Vec<u64> {
    let Some(last) = count.checked_sub(1) else { return Vec::new() };
    let mut chosen: Vec<u64> =
        (1..=PLACES).map(|n| last / PLACES * n + last % PLACES * n / PLACES).collect();
    chosen.dedup();
    chosen
}

/// Adds what pictures at `places` say of Dolby Vision, where the first ones have it. What
/// cannot be read there, or not within the budget, is no reason to doubt the rest.
pub(super) fn add<T: Copy>(
    file: &mut Window,
    info: &mut VideoInfo,
    places: impl FnOnce(&mut Window) -> Look<Vec<T>>,
    look: impl Fn(&mut Window, T, &mut VideoInfo) -> Look<()>,
) -> Look<()> {
    if info.dolby_vision.is_none() {
        return Ok(());
    }
    let forgiven = |stop| match stop {
        Stop::Io(error) => Err(Stop::Io(error)),
        Stop::Unsure(_) => Ok(()),
    };
    let places = match places(file) {
        Ok(places) => places,
        Err(stop) => return forgiven(stop),
    };
    let mut late = VideoInfo { dolby_vision: info.dolby_vision.take(), ..VideoInfo::default() };
    let mut all = Ok(());
    for place in places {
        if all.is_err() || file.reads() >= READS_IN_ALL {
            break;
        }
        all = look(file, place, &mut late).or_else(forgiven);
    }
    info.dolby_vision = late.dolby_vision;
    all
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
    if at > file.len {
        return unsure("pictures behind its end");
    }
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

/// What the units of the codec's private data say, which hold for all pictures that do
/// not say otherwise: some encoders write mastering metadata only there.
pub(super) fn beforehand(record: &[u8]) -> Box<VideoInfo> {
    let mut info = Box::<VideoInfo>::default();
    for (_, unit) in hevc::units(record) {
        if NalKind::of(unit) == Some(NalKind::SEI_PREFIX) {
            note(unit, 0, &mut info);
        }
    }
    info
}

/// How many bytes state the length of each unit, by the codec's private data.
pub(super) fn length_bytes(record: &[u8]) -> u64 {
    record.get(21).map_or(4, |byte| u64::from(byte & 3) + 1)
}
