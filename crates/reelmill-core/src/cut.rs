//! Where to cut a video stream, so that all encoders end together.

use crate::chunk::{ByteRange, Chunk};
use crate::packets::{FrameIndex, Keyframe};
use crate::pts::PtsList;

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

/// The same, tried in turn where few chunks must balance.
const SNAPS: [f64; 4] = [SNAP, 0.15, 0.05, 0.0];

/// From so many chunks a slot on, handing out the heaviest first balances them.
const MANY: f64 = 8.0;

/// What a chunk costs beside its frames, seconds of average film: starting
/// tools (0.35 CPU seconds measured).
const START_SECONDS: f64 = 0.5;

/// The same for a cut that is no keyframe of the source: the output gets a
/// keyframe where the film has no reason for one.
const OFF_KEY_SECONDS: f64 = 0.5;

/// Decoding a frame of pre-roll, as a share of encoding one.
const DECODE_SHARE: f64 = 0.07;

/// How far predictions are off, as a share of a chunk: encoders wait so long
/// for the last one.
const DOUBT: f64 = 0.1;

/// Frames whose bytes are averaged: several times the distance of two frames
/// that do not depend on others in between.
const WINDOW: usize = 24;

/// Keyframes back from the chunk's own to start decoding from: one suffices
/// for open GOPs; the rest is for containers that seek late.
const PREROLL_KEYFRAMES: [usize; 4] = [1, 2, 4, 8];

impl ChunkLength {
    /// Number of chunks for a stream of `seconds`, before they are balanced.
    #[must_use]
    pub fn count(self, seconds: f64) -> u32 {
        let wanted = match self {
            Self::Fixed(length) => (seconds / length).ceil(),
            Self::Auto { slots } => {
                let slots = f64::from(slots.max(1));
                let ideal = (seconds / (slots * 6.0)).clamp(MIN_AUTO_SECONDS, MAX_AUTO_SECONDS);
                // The last frame's own duration is not in `seconds`.
                (seconds / ideal + 0.1).floor()
            }
        };
        wanted.clamp(1.0, MAX_CHUNKS) as u32
    }
}

/// Cuts `frames` into chunks, at keyframes where one is near. Always at least
/// one chunk; together they hold every frame once.
#[must_use]
pub fn cut(frames: &FrameIndex<'_>, length: ChunkLength) -> Vec<Chunk> {
    let work = Work::predict(frames);
    let starts = starts(frames, &work, length);
    let all = frames.pts.len();
    let ends = starts.iter().skip(1).copied().chain([all]);
    let ranges = starts.iter().copied().zip(ends);
    let numbered = ranges.enumerate();
    numbered.map(|(number, range)| chunk(frames, &work, number as u32, range)).collect()
}

/// Predicted work of encoding: for each frame the root of the source's bytes a
/// frame around it. Fits what x264 took for parts of a film that differed
/// twentyfold in bytes (0.5 to 11 KB a frame) within some 10 %.
struct Work {
    /// Work of all frames before each frame, and of all.
    before: Vec<f64>,
}

impl Work {
    fn predict(frames: &FrameIndex<'_>) -> Self {
        let ticks = frames.pts.ticks();
        let mut bytes = vec![0u64; ticks.len()];
        for packet in &frames.source.packets {
            if let Some(at) = packet.pts.and_then(|pts| ticks.binary_search(&pts).ok()) {
                bytes[at] += u64::from(packet.size);
            }
        }
        let mut before = Vec::with_capacity(ticks.len() + 1);
        let mut sum = 0.0;
        before.push(sum);
        for window in bytes.chunks(WINDOW) {
            let mean = window.iter().sum::<u64>() as f64 / window.len() as f64;
            for _ in window {
                // A frame costs something even when it is a copy of the last.
                sum += mean.sqrt().max(1.0);
                before.push(sum);
            }
        }
        Self { before }
    }

    fn between(&self, from: usize, to: usize) -> f64 {
        self.before[to] - self.before[from]
    }

    fn all(&self) -> f64 {
        self.before[self.before.len() - 1]
    }

    /// The frame at which `share` of the work is done.
    fn frame_at(&self, share: f64) -> usize {
        let wanted = self.all() * share;
        self.before.partition_point(|before| *before < wanted)
    }
}

/// Index into the frame list of each chunk's first frame.
fn starts(frames: &FrameIndex<'_>, work: &Work, length: ChunkLength) -> Vec<usize> {
    let ticks = frames.pts.ticks();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let base = frames.source.time_base;
    let seconds = base.seconds(last - first);
    let count = length.count(seconds);
    let step = (last - first) as f64 / f64::from(count);
    match length {
        ChunkLength::Fixed(seconds) => {
            let at = |n: u32| first + base.ticks_in(seconds * f64::from(n));
            snapped(frames, (1..count).map(at), step * SNAP)
        }
        ChunkLength::Auto { slots } if f64::from(count) < MANY * f64::from(slots) => {
            balanced(frames, work, slots, count)
        }
        ChunkLength::Auto { .. } => {
            let at = |n: u32| first + (step * f64::from(n)) as i64;
            snapped(frames, (1..count).map(at), step * SNAP)
        }
    }
}

/// Each of the ascending `ideals` (ticks) moved to a keyframe within `reach`
/// ticks; the first frame comes first.
fn snapped(frames: &FrameIndex<'_>, ideals: impl Iterator<Item = i64>, reach: f64) -> Vec<usize> {
    let mut starts = vec![0];
    for ideal in ideals {
        let at = snap(frames, ideal, reach as i64);
        if at > starts[starts.len() - 1] && at < frames.pts.len() {
            starts.push(at);
        }
    }
    starts
}

/// Of several ways to cut into at most `most` chunks, and fewer by less than one
/// a slot, the one with which the last of `slots` encoders ends first.
fn balanced(frames: &FrameIndex<'_>, work: &Work, slots: u32, most: u32) -> Vec<usize> {
    let ticks = frames.pts.ticks();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let mut best: (f64, Vec<usize>) = (f64::INFINITY, vec![0]);
    for count in (most.saturating_sub(slots.max(1) - 1).max(1)..=most).rev() {
        let length = (last - first) as f64 / f64::from(count);
        let even = |n: u32| first + (length * f64::from(n)) as i64;
        let equal =
            |n: u32| ticks[work.frame_at(f64::from(n) / f64::from(count)).min(ticks.len() - 1)];
        for share in SNAPS {
            let reach = length * share;
            let ways = [
                snapped(frames, (1..count).map(even), reach),
                snapped(frames, (1..count).map(equal), reach),
            ];
            for starts in ways {
                let end = last_end(frames, work, &starts, slots);
                if end < best.0 {
                    best = (end, starts);
                }
            }
        }
    }
    best.1
}

/// When the last of `slots` encoders ends, heaviest chunk first, in units of
/// work; infinite when a chunk is much shorter than chunks should be.
fn last_end(frames: &FrameIndex<'_>, work: &Work, starts: &[usize], slots: u32) -> f64 {
    let ticks = frames.pts.ticks();
    let base = frames.source.time_base;
    let film = base.seconds(ticks[ticks.len() - 1] - ticks[0]);
    let second = work.all() / film.max(1e-3);
    let frame = work.all() / ticks.len() as f64;
    let mut costs = Vec::with_capacity(starts.len());
    for (n, &from) in starts.iter().enumerate() {
        let to = starts.get(n + 1).copied().unwrap_or(ticks.len());
        let until = if to < ticks.len() { ticks[to] } else { ticks[to - 1] };
        if starts.len() > 1 && base.seconds(until - ticks[from]) < MIN_AUTO_SECONDS / 2.0 {
            return f64::INFINITY;
        }
        costs.push(work.between(from, to) + second * START_SECONDS);
        if from > 0 {
            let own = own_keyframe(frames, ticks[from]);
            let on_key = frames.keyframes[own].pts == ticks[from];
            let back = frames.keyframes[own.saturating_sub(1)].pts;
            let preroll = from - ticks.partition_point(|&pts| pts < back);
            costs[n] += preroll as f64 * frame * DECODE_SHARE;
            costs[n] += if on_key { 0.0 } else { second * OFF_KEY_SECONDS };
        }
    }
    costs.sort_unstable_by(|a, b| b.total_cmp(a));
    let doubt = costs.first().map_or(0.0, |heaviest| heaviest * DOUBT);
    let mut ends = vec![0.0f64; slots.max(1) as usize];
    for cost in costs {
        if let Some(next) = ends.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *next += cost;
        }
    }
    ends.into_iter().fold(0.0, f64::max) + doubt
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

/// Number of the last keyframe at or before `start`.
fn own_keyframe(frames: &FrameIndex<'_>, start: i64) -> usize {
    frames.keyframes.partition_point(|key| key.pts <= start).saturating_sub(1)
}

fn chunk(frames: &FrameIndex<'_>, work: &Work, number: u32, (from, to): (usize, usize)) -> Chunk {
    let ticks = frames.pts.ticks();
    let start = ticks[from];
    let end = ticks.get(to).copied();
    let own = own_keyframe(frames, start);
    let prerolls = if from == 0 { Vec::new() } else { prerolls(&frames.keyframes, own) };
    let first = prerolls.first().copied();
    Chunk {
        number,
        start,
        end,
        prerolls,
        pts: PtsList::new(ticks[from..to].to_vec()).unwrap_or_default(),
        bytes: byte_range(frames, first, end),
        weight: work.between(from, to).round() as u64,
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
    fn chunks_are_counted_for_the_slots() {
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(52.0), 5);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(120.0), 12);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(7200.0), 120);
        assert_eq!(ChunkLength::Auto { slots: 100 }.count(7200.0), 600);
        assert_eq!(ChunkLength::Auto { slots: 2 }.count(5.0), 1);
    }

    /// Each slot's share of the work, the heaviest chunk first.
    fn shares(chunks: &[Chunk], slots: usize) -> Vec<f64> {
        let mut weights: Vec<u64> = chunks.iter().map(|chunk| chunk.weight).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let mut loads = vec![0u64; slots];
        for weight in &weights {
            *loads.iter_mut().min().unwrap() += weight;
        }
        let all: u64 = weights.iter().sum();
        loads.into_iter().map(|load| load as f64 / all as f64).collect()
    }

    #[test]
    fn few_chunks_of_uneven_film_weigh_the_same_on_every_slot() {
        // 52 s at 25 frames a second; the last quarter has 16 times the bytes.
        let mut index = stream(1300, 60);
        for packet in &mut index.packets {
            packet.size = if packet.pts.is_some_and(|pts| pts > 975) { 16_000 } else { 1000 };
        }
        let frames = index.frames("mov").unwrap();
        for slots in [2u32, 3] {
            let chunks = cut(&frames, ChunkLength::Auto { slots });
            let shares = shares(&chunks, slots as usize);
            let fair = 1.0 / f64::from(slots);
            assert!(shares.iter().all(|share| (share - fair).abs() < 0.05), "{shares:?}");
            let shortest = chunks.iter().map(|chunk| chunk.pts.len()).min().unwrap();
            assert!(shortest >= 125, "{shortest} frames are less than 5 s");
        }
    }

    #[test]
    fn work_grows_with_the_root_of_the_bytes() {
        let mut index = stream(480, 60);
        for packet in &mut index.packets {
            packet.size = if packet.pts.is_some_and(|pts| pts >= 240) { 4000 } else { 1000 };
        }
        let frames = index.frames("mov").unwrap();
        let work = Work::predict(&frames);
        let ratio = work.between(240, 480) / work.between(0, 240);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }
}
