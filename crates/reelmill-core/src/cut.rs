//! Where to cut a video stream, so that all encoders end together and few bits are
//! lost.

mod keys;
mod starts;
mod work;

pub(crate) use starts::SNAP;

use crate::chunk::{ByteRange, Chunk, StartsAt};
use crate::packets::{FrameIndex, Keyframe};
use crate::pts::PtsList;
use keys::Keys;
use starts::Bench;
use work::Work;

/// A film that is to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Film<'a> {
    /// Its frames.
    pub frames: &'a FrameIndex<'a>,
    /// Frames that were seen to begin scenes, ticks, ascending.
    pub scenes: &'a [i64],
    /// Longest distance of keyframes in the output, frames.
    pub interval: u32,
    /// Whether the encoder gives scenes keyframes unasked.
    pub scene_keys: bool,
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

/// Cuts `film` into chunks, at scenes and keyframes where they are near. Always at
/// least one chunk; together they hold every frame once.
#[must_use]
pub fn cut(film: Film<'_>, length: ChunkLength) -> Vec<Chunk> {
    let frames = film.frames;
    let (work, keys) = (Work::predict(frames), Keys::of(&film));
    let starts = Bench { frames, work: &work, keys: &keys }.starts(length);
    let ends = starts.iter().skip(1).copied().chain([frames.pts.len()]);
    let mut chunks = Vec::with_capacity(starts.len());
    let mut before = 0;
    for (number, range) in starts.iter().copied().zip(ends).enumerate() {
        let at = (range.0 > 0).then(|| keys.starts_at(before, range.0));
        before = range.0;
        chunks.push(chunk(frames, &work, number as u32, range, at));
    }
    chunks
}

/// Number of the last keyframe at or before `start`.
fn own_keyframe(frames: &FrameIndex<'_>, start: i64) -> usize {
    frames.keyframes.partition_point(|key| key.pts <= start).saturating_sub(1)
}

fn chunk(
    frames: &FrameIndex<'_>,
    work: &Work,
    number: u32,
    (from, to): (usize, usize),
    starts_at: Option<StartsAt>,
) -> Chunk {
    let ticks = frames.pts.ticks();
    let start = ticks[from];
    let end = ticks.get(to).copied();
    let own = own_keyframe(frames, start);
    let prerolls = if from == 0 { Vec::new() } else { prerolls(&frames.keyframes, own) };
    let first = prerolls.first().copied();
    Chunk {
        number,
        start,
        starts_at,
        warm_up: warm_up(ticks, from, first),
        end,
        prerolls,
        pts: PtsList::new(ticks[from..to].to_vec()).unwrap_or_default(),
        bytes: byte_range(frames, first, end),
        weight: work.between(from, to).round() as u64,
    }
}

/// Frames that are encoded before a chunk's own: x264 and x265 choose the quality of
/// keyframes by that of the frames before them, and without any, three steps too low
/// for quiet pictures, of which all that follow are made. Of eight, three are whole
/// pictures, which is all that counts.
const WARM_UP: usize = 8;

/// Where to warm up for a chunk that starts at frame `from`: not before the keyframe
/// that is decoded first, for what lies before that is not whole.
fn warm_up(ticks: &[i64], from: usize, preroll: Option<i64>) -> Option<i64> {
    let decoded = preroll.map_or(0, |key| ticks.partition_point(|&pts| pts < key));
    let begin = from.saturating_sub(WARM_UP).max(decoded);
    (begin < from).then(|| ticks[begin])
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

    fn film<'a>(frames: &'a FrameIndex<'a>, scenes: &'a [i64]) -> Film<'a> {
        Film { frames, scenes, interval: 250, scene_keys: true }
    }

    proptest! {
        #[test]
        fn chunks_hold_every_frame_once_in_order(
            frames in 20i64..3000, gop in 2i64..400, seconds in 0.2f64..30.0,
            slots in 1u32..20, fixed in any::<bool>(), interval in 1u32..400,
            mut scenes in prop::collection::vec(-5i64..3010, 0..40), scene_keys in any::<bool>(),
        ) {
            scenes.sort_unstable();
            let index = stream(frames, gop.min(frames / 2));
            let frames = index.frames("mov").unwrap();
            let length = if fixed { ChunkLength::Fixed(seconds) } else { ChunkLength::Auto { slots } };
            let film = Film { frames: &frames, scenes: &scenes, interval, scene_keys };
            let chunks = cut(film, length);
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
            cut(film(&frames, &[]), ChunkLength::Fixed(5.0)).iter().map(|c| c.start).collect();
        assert_eq!(starts, [0, 120, 240, 360]);
    }

    #[test]
    fn without_a_near_keyframe_any_frame_starts_a_chunk() {
        let index = stream(500, 400);
        let frames = index.frames("mov").unwrap();
        let chunks = cut(film(&frames, &[]), ChunkLength::Fixed(2.0));
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
            let chunks = cut(film(&frames, &[]), ChunkLength::Auto { slots });
            let shares = shares(&chunks, slots as usize);
            let fair = 1.0 / f64::from(slots);
            assert!(shares.iter().all(|share| (share - fair).abs() < 0.05), "{shares:?}");
            let shortest = chunks.iter().map(|chunk| chunk.pts.len()).min().unwrap();
            assert!(shortest >= 125, "{shortest} frames are less than 5 s");
        }
    }
}
