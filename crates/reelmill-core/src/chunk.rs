//! Chunks: where to cut a video stream, and what each piece must yield.

use crate::packets::{FrameIndex, Keyframe};
use crate::pts::PtsList;
use serde::{Deserialize, Serialize};

/// The unit of parallel encoding: the frames in `[start, end)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Place in the order, from 0.
    pub number: u32,
    /// Timestamp of its first frame, ticks.
    pub start: i64,
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
    /// Predicted work, in source bytes to encode: good enough to order chunks.
    pub weight: u64,
}

/// A half-open range of bytes in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// How long chunks should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ChunkLength {
    /// As the user said, seconds.
    Fixed(f64),
    /// To keep this many slots busy.
    Auto {
        /// Encoders that can run at once.
        slots: u32,
    },
}

/// Shortest chunk that is chosen unasked, seconds: shorter ones cost bits
/// (10 s: about +1 %, 5 s: +9 %, 2 s: +30 %; measured with x264, x265, SVT-AV1).
pub const MIN_AUTO_SECONDS: f64 = 10.0;

/// Longest chunk that is chosen unasked, seconds: what a lost worker costs.
const MAX_AUTO_SECONDS: f64 = 60.0;

/// Most chunks of one job.
const MAX_CHUNKS: f64 = 20_000.0;

/// How far a cut may move to meet a keyframe, as a share of the chunk length.
const SNAP: f64 = 0.3;

/// Keyframes back from the chunk's own to start decoding from: one suffices
/// for open GOPs; the rest is for containers that seek late.
const PREROLL_KEYFRAMES: [usize; 4] = [1, 2, 4, 8];

impl ChunkLength {
    /// Number of chunks for a stream of `seconds`.
    #[must_use]
    pub fn count(self, seconds: f64) -> u32 {
        let wanted = match self {
            Self::Fixed(length) => (seconds / length).ceil(),
            Self::Auto { slots } => {
                let slots = f64::from(slots.max(1));
                let ideal = (seconds / (slots * 6.0)).clamp(MIN_AUTO_SECONDS, MAX_AUTO_SECONDS);
                // The last frame's own duration is not in `seconds`.
                even_rounds((seconds / ideal + 0.1).floor(), slots)
            }
        };
        wanted.clamp(1.0, MAX_CHUNKS) as u32
    }
}

/// Few chunks should come in whole rounds over the slots, or the last round
/// leaves machines idle.
fn even_rounds(count: f64, slots: f64) -> f64 {
    if count > slots && count < 4.0 * slots { (count / slots).floor() * slots } else { count }
}

/// Cuts `frames` into chunks of about equal length, at keyframes where one is
/// near. Always at least one chunk; together they hold every frame once.
#[must_use]
pub fn cut(frames: &FrameIndex<'_>, length: ChunkLength) -> Vec<Chunk> {
    let ticks = frames.pts.ticks();
    let starts = starts(frames, length);
    let ends = starts.iter().skip(1).copied().chain([ticks.len()]);
    let ranges = starts.iter().copied().zip(ends);
    ranges.enumerate().map(|(number, (from, to))| chunk(frames, number as u32, from, to)).collect()
}

/// Index into the frame list of each chunk's first frame.
fn starts(frames: &FrameIndex<'_>, length: ChunkLength) -> Vec<usize> {
    let ticks = frames.pts.ticks();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let base = frames.source.time_base;
    let count = i64::from(length.count(base.seconds(last - first)));
    let step = (last - first) as f64 / count as f64;
    let mut starts = vec![0];
    for n in 1..count {
        let ideal = match length {
            ChunkLength::Fixed(seconds) => first + base.ticks_in(seconds * n as f64),
            ChunkLength::Auto { .. } => first + (step * n as f64) as i64,
        };
        let at = snap(frames, ideal, (step * SNAP) as i64);
        if at > starts[starts.len() - 1] && at < ticks.len() {
            starts.push(at);
        }
    }
    starts
}

/// The frame nearest to `ideal` that is a keyframe within `reach` ticks, else
/// the first frame from `ideal` on.
fn snap(frames: &FrameIndex<'_>, ideal: i64, reach: i64) -> usize {
    let ticks = frames.pts.ticks();
    let from = frames.keyframes.partition_point(|key| key.pts < ideal - reach);
    frames.keyframes[from..]
        .iter()
        .take_while(|key| key.pts <= ideal + reach)
        .filter_map(|key| ticks.binary_search(&key.pts).ok())
        .min_by_key(|&at| ticks[at].abs_diff(ideal))
        .unwrap_or_else(|| ticks.partition_point(|&pts| pts < ideal))
}

fn chunk(frames: &FrameIndex<'_>, number: u32, from: usize, to: usize) -> Chunk {
    let ticks = frames.pts.ticks();
    let start = ticks[from];
    let end = ticks.get(to).copied();
    let own = frames.keyframes.partition_point(|key| key.pts <= start).saturating_sub(1);
    let prerolls = if from == 0 { Vec::new() } else { prerolls(&frames.keyframes, own) };
    let first = prerolls.first().copied();
    Chunk {
        number,
        start,
        end,
        prerolls,
        pts: PtsList::new(ticks[from..to].to_vec()).unwrap_or_default(),
        bytes: byte_range(frames, first, end),
        weight: weight(frames, start, end),
    }
}

fn prerolls(keyframes: &[Keyframe], own: usize) -> Vec<i64> {
    PREROLL_KEYFRAMES
        .iter()
        .filter_map(|back| own.checked_sub(*back))
        .filter(|&at| at > 0)
        .map(|at| keyframes[at].pts)
        .collect()
}

/// Packets read beyond a chunk's last: a decoder holds back frames (16 for
/// reordering, one for each of its threads), and reading stops only once a
/// frame past the chunk's end has come out.
const READ_AHEAD: usize = 64;

/// Bytes from the packet at keyframe `from` (or the start) to the last packet
/// shown before `end`, in decode order, and what is read ahead of it.
fn byte_range(frames: &FrameIndex<'_>, from: Option<i64>, end: Option<i64>) -> Option<ByteRange> {
    let packets = &frames.source.packets;
    let first = match from {
        None => 0,
        Some(pts) => frames.keyframes.iter().find(|key| key.pts == pts)?.packet,
    };
    let last = match end {
        None => packets.len() - 1,
        Some(end) => packets.iter().rposition(|p| p.pts.is_some_and(|pts| pts < end))?,
    };
    let last = (last + READ_AHEAD).min(packets.len() - 1);
    let mut range: Option<ByteRange> = None;
    for packet in packets.get(first..=last)? {
        let start = packet.pos?;
        let end = start + u64::from(packet.size);
        let known = range.get_or_insert(ByteRange { start, end });
        known.start = known.start.min(start);
        known.end = known.end.max(end);
    }
    range
}

fn weight(frames: &FrameIndex<'_>, start: i64, end: Option<i64>) -> u64 {
    let inside = |pts: i64| pts >= start && end.is_none_or(|end| pts < end);
    let packets = frames.source.packets.iter();
    packets.filter(|p| p.pts.is_some_and(inside)).map(|p| u64::from(p.size)).sum()
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
    use crate::packets::tests::stream;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_hold_every_frame_once_in_order(
            frames in 20i64..3000, gop in 2i64..400, seconds in 0.2f64..30.0,
            slots in 1u32..20, fixed in any::<bool>(),
        ) {
            let index = stream(frames, gop.min(frames / 2));
            let frames = index.frames("mov").unwrap();
            let length = if fixed { ChunkLength::Fixed(seconds) } else { ChunkLength::Auto { slots } };
            let chunks = cut(&frames, length);
            let joined: Vec<i64> =
                chunks.iter().flat_map(|c| c.pts.ticks().iter().copied()).collect();
            prop_assert_eq!(&joined, frames.pts.ticks());
            for (n, chunk) in chunks.iter().enumerate() {
                prop_assert_eq!(chunk.number as usize, n);
                prop_assert_eq!(chunk.pts.ticks()[0], chunk.start);
                prop_assert_eq!(chunk.end, chunks.get(n + 1).map(|next| next.start));
                prop_assert!(chunk.prerolls.iter().all(|&key| key < chunk.start));
                prop_assert!(chunk.prerolls.is_sorted_by(|a, b| a > b));
            }
        }
    }

    #[test]
    fn cuts_move_to_a_near_keyframe() {
        let index = stream(500, 60);
        let frames = index.frames("mov").unwrap();
        let starts: Vec<i64> =
            cut(&frames, ChunkLength::Fixed(5.0)).iter().map(|c| c.start).collect();
        assert_eq!(starts, [0, 120, 240, 360]);
    }

    #[test]
    fn without_a_near_keyframe_any_frame_starts_a_chunk() {
        let index = stream(500, 400);
        let frames = index.frames("mov").unwrap();
        let chunks = cut(&frames, ChunkLength::Fixed(2.0));
        assert_eq!(chunks[1].start, 50);
        assert!(chunks[1].prerolls.is_empty(), "the keyframe before is the very first");
    }

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

    #[test]
    fn few_chunks_come_in_whole_rounds() {
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(52.0), 4);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(120.0), 12);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(7200.0), 120);
        assert_eq!(ChunkLength::Auto { slots: 100 }.count(7200.0), 600);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(5.0), 1);
    }
}
