//! The first frames of the chunks: near where encoders would end together, at
//! places that cost few bits.

use super::keys::Keys;
use super::work::Work;
use super::{ChunkLength, MIN_AUTO_SECONDS, own_keyframe};
use crate::packets::FrameIndex;

/// How far a cut may move to meet a scene or a keyframe, as a share of the chunk
/// length.
pub(crate) const SNAP: f64 = 0.35;

/// The same, tried in turn where few chunks must balance.
const SNAPS: [f64; 4] = [SNAP, 0.15, 0.05, 0.0];

/// From so many chunks a slot on, handing out the heaviest first balances them.
const MANY: f64 = 8.0;

/// What a chunk costs beside its frames, seconds of average film: starting
/// tools (0.35 CPU seconds measured).
const START_SECONDS: f64 = 0.5;

/// Decoding a frame of pre-roll, as a share of encoding one.
const DECODE_SHARE: f64 = 0.07;

/// How far predictions are off, as a share of a chunk: encoders wait so long
/// for the last one.
const DOUBT: f64 = 0.1;

/// How many percent longer it may take for one percent fewer bits.
const BITS: f64 = 14.0;

/// A film, and what cutting it costs.
pub(super) struct Bench<'a> {
    pub(super) frames: &'a FrameIndex<'a>,
    pub(super) work: &'a Work,
    pub(super) keys: &'a Keys,
}

impl Bench<'_> {
    /// Index into the frame list of each chunk's first frame.
    pub(super) fn starts(&self, length: ChunkLength) -> Vec<usize> {
        let (first, last) = self.ends();
        let base = self.frames.source.time_base;
        let count = length.count(base.seconds(last - first));
        let step = (last - first) as f64 / f64::from(count);
        match length {
            ChunkLength::Fixed(seconds) => {
                let at = |n: u32| first + base.ticks_in(seconds * f64::from(n));
                self.snapped((1..count).map(at), step * SNAP)
            }
            ChunkLength::Auto { slots } if f64::from(count) < MANY * f64::from(slots) => {
                self.balanced(slots, count)
            }
            ChunkLength::Auto { .. } => {
                let at = |n: u32| first + (step * f64::from(n)) as i64;
                self.snapped((1..count).map(at), step * SNAP)
            }
        }
    }

    /// Ticks of the first and the last frame.
    fn ends(&self) -> (i64, i64) {
        let ticks = self.frames.pts.ticks();
        (ticks[0], ticks[ticks.len() - 1])
    }

    /// Each of the ascending `ideals` (ticks) moved to the best frame within `reach`
    /// ticks; the first frame comes first.
    fn snapped(&self, ideals: impl Iterator<Item = i64>, reach: f64) -> Vec<usize> {
        let ticks = self.frames.pts.ticks();
        let at = |tick: i64| ticks.partition_point(|&pts| pts < tick);
        let reach = reach as i64;
        let mut starts = vec![0];
        let mut before = 0;
        for ideal in ideals {
            let window = (at(ideal - reach), at(ideal + reach + 1));
            let start = self.keys.best(before, window, at(ideal));
            if start > before && start < ticks.len() {
                starts.push(start);
                before = start;
            }
        }
        starts
    }

    /// Of several ways to cut into at most `most` chunks, and fewer by less than one
    /// a slot, the one with which the last of `slots` encoders ends first, as far as
    /// that is worth its bits.
    fn balanced(&self, slots: u32, most: u32) -> Vec<usize> {
        let (work, ticks) = (self.work, self.frames.pts.ticks());
        let (first, last) = self.ends();
        let film = self.frames.source.time_base.seconds(last - first).max(1e-3);
        let mut best: (f64, Vec<usize>) = (f64::INFINITY, vec![0]);
        for count in (most.saturating_sub(slots.max(1) - 1).max(1)..=most).rev() {
            let length = (last - first) as f64 / f64::from(count);
            let even = |n: u32| first + (length * f64::from(n)) as i64;
            let equal =
                |n: u32| ticks[work.frame_at(f64::from(n) / f64::from(count)).min(ticks.len() - 1)];
            for share in SNAPS {
                let reach = length * share;
                let ways = [
                    self.snapped((1..count).map(even), reach),
                    self.snapped((1..count).map(equal), reach),
                ];
                for starts in ways {
                    let bits = self.keys.cost(&starts) / film;
                    let end = self.last_end(&starts, slots) * (1.0 + BITS * bits).max(0.1);
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
    fn last_end(&self, starts: &[usize], slots: u32) -> f64 {
        let (frames, work) = (self.frames, self.work);
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
                let back = frames.keyframes[own.saturating_sub(1)].pts;
                let preroll = from - ticks.partition_point(|&pts| pts < back);
                costs[n] += preroll as f64 * frame * DECODE_SHARE;
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
}
