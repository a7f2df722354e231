//! Chunks: what each piece of a video stream must yield, and which bytes it needs.

use crate::pts::PtsList;
use serde::{Deserialize, Serialize};

/// The unit of parallel encoding: the frames in `[start, end)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Place in the order, from 0.
    pub number: u32,
    /// Timestamp of its first frame, ticks.
    pub start: i64,
    /// Why there; nothing for the first, and where nobody kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<StartsAt>,
    /// Where an encoder that remembers begins, ticks: some frames earlier, which it
    /// encodes and throws away, so that it goes about the first frame as it would in
    /// the middle of the film.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<i64>,
    /// Timestamp of the next chunk's first frame; `None` for the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// Keyframes to start decoding from, ticks: the one before the chunk's own
    /// first, then further back for when that does not yield the right frames.
    /// When all fail, decoding starts at the beginning.
    pub prerolls: Vec<i64>,
    /// The frames, ticks.
    pub pts: PtsList,
    /// The source bytes needed from the first pre-roll on, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteRange>,
    /// Predicted work, in a unit that only compares the chunks of one job.
    pub weight: u64,
}

/// Why a chunk starts where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartsAt {
    /// A scene begins there.
    Scene,
    /// The encoder would have put a keyframe there by count.
    Interval,
    /// The source has a keyframe there.
    Keyframe,
    /// So that all encoders end together.
    Balance,
}

/// A half-open range of bytes in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Bytes fetched on either side of a chunk's own: demuxers look around
/// (600 transport-stream packets; measured to suffice for mkv, mp4, webm, ts).
const SLICE_MARGIN: u64 = 600 * 188;

/// Share of a source above which fetching all of it is simpler.
const SLICE_WORTH: f64 = 0.75;

/// The bytes of a source that suffice for a chunk: the skeleton that every
/// reader needs and the chunk's own with a margin. Sorted, disjoint; empty when
/// the whole source is needed.
#[must_use]
pub fn slice(skeleton: &[ByteRange], own: Option<ByteRange>, source: u64) -> Vec<ByteRange> {
    let Some(own) = own.filter(|_| !skeleton.is_empty()) else {
        return Vec::new();
    };
    let mut ranges = skeleton.to_vec();
    ranges.push(ByteRange {
        start: own.start.saturating_sub(SLICE_MARGIN),
        end: own.end.saturating_add(SLICE_MARGIN),
    });
    ranges.iter_mut().for_each(|range| range.end = range.end.min(source));
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<ByteRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    let wanted: u64 = merged.iter().map(|range| range.end - range.start).sum();
    if wanted as f64 > source as f64 * SLICE_WORTH { Vec::new() } else { merged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_skeleton_and_the_chunk() {
        let range = |start, end| ByteRange { start, end };
        let skeleton = [range(0, 65_536), range(9_990_000, 10_000_000)];
        let own = Some(range(5_000_000, 6_000_000));
        let ranges = slice(&skeleton, own, 10_000_000);
        assert_eq!(ranges, [skeleton[0], range(4_887_200, 6_112_800), skeleton[1]]);
        let all = Some(range(100_000, 9_900_000));
        assert!(slice(&skeleton, all, 10_000_000).is_empty(), "most of it: fetch all");
        assert!(slice(&[], own, 10_000_000).is_empty(), "layout unknown: fetch all");
    }
}
