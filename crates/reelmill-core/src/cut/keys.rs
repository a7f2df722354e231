//! Which keyframes an output gets, by where it is cut: each costs bits, unless a
//! scene begins there.

use super::Film;
use crate::chunk::StartsAt;
use crate::packets::FrameIndex;
use crate::scene;

/// What a keyframe costs where no scene begins, seconds of average film, where the
/// source does not tell (0.5 by what chunks of 1 and 2 s came to; measured with x264,
/// x265, SVT-AV1).
const KEY_SECONDS: f64 = 0.5;

/// The least and the most that a source is believed about that.
const KEY_RANGE: (f64, f64) = (0.3, 4.0);

/// The same for the places that a cut may move to: not quite so good as a scene is a
/// place where the encoder would have put a keyframe by count, since what it will
/// take for a scene is not known for sure.
const COUNTED: f64 = 0.1;

/// What it costs to start where the source has no keyframe: longer pre-roll.
const PREROLL: f64 = 0.05;

/// What it costs to move a cut as far as is allowed.
const FAR: f64 = 0.3;

/// By how much more a keyframe is believed to cost that the film in one piece has not,
/// and by how much less one that it has and the cut film has not: which moments are dear
/// is not known for sure, so keyframes had better stay where they are.
const DOUBT: f64 = 0.5;

/// The keyframes of an output to be.
pub(super) struct Keys {
    /// First frames of scenes, ascending.
    scenes: Vec<usize>,
    /// Keyframes of the source, ascending.
    source: Vec<usize>,
    /// Longest distance of keyframes in the output, frames.
    interval: usize,
    /// Whether the encoder gives scenes keyframes unasked.
    by_scene: bool,
    /// Frames in all.
    all: usize,
    /// What a keyframe costs, seconds of average film.
    key: f64,
    /// What each keyframe of `source` is larger by than other frames, against the mean.
    sizes: Vec<f64>,
}

/// How much cheaper and dearer than on average a keyframe is believed to be anywhere.
const SIZES: (f64, f64) = (0.5, 4.0);

/// The keyframes of the source: which frames they are, and by how much each is larger
/// than the frames up to the next one, against the mean of all. What moves in front of a
/// camera at rest makes one at the wrong moment several times as dear.
fn sized(frames: &FrameIndex<'_>) -> (Vec<usize>, Vec<f64>) {
    let (ticks, packets) = (frames.pts.ticks(), &frames.source.packets);
    let ends = frames.keyframes.iter().skip(1).map(|key| key.packet).chain([packets.len()]);
    let found = frames.keyframes.iter().zip(ends).filter_map(|(key, end)| {
        let place = ticks.binary_search(&key.pts).ok()?;
        let (first, others) = packets.get(key.packet..end)?.split_first()?;
        let bytes: f64 = others.iter().map(|packet| f64::from(packet.size)).sum();
        Some((place, (f64::from(first.size) - bytes / others.len().max(1) as f64).max(0.0)))
    });
    let (places, larger): (Vec<usize>, Vec<f64>) = found.unzip();
    let mean = larger.iter().sum::<f64>() / larger.len().max(1) as f64;
    let share = |larger: f64| if mean > 0.0 { larger / mean } else { 1.0 };
    let sizes = larger.into_iter().map(|larger| share(larger).clamp(SIZES.0, SIZES.1)).collect();
    (places, sizes)
}

/// What a keyframe costs, seconds of average film: in what hardly moves, most bits are
/// in keyframes. By how much larger those of the source are than its other frames.
fn key_seconds(frames: &FrameIndex<'_>) -> f64 {
    let packets = &frames.source.packets;
    let mean = |keyframe: bool| {
        let those = packets.iter().filter(|packet| packet.keyframe == keyframe);
        let (count, bytes) = those.fold((0u64, 0u64), |(count, bytes), packet| {
            (count + 1, bytes + u64::from(packet.size))
        });
        (count > 0).then(|| bytes as f64 / count as f64)
    };
    let ticks = frames.pts.ticks();
    let seconds = frames.source.time_base.seconds(ticks[ticks.len() - 1] - ticks[0]);
    let bytes: f64 = packets.iter().map(|packet| f64::from(packet.size)).sum();
    match (mean(true), mean(false)) {
        (Some(key), Some(other)) if bytes > 0.0 && seconds > 0.0 => {
            ((key - other) * seconds / bytes).clamp(KEY_RANGE.0, KEY_RANGE.1)
        }
        _ => KEY_SECONDS,
    }
}

impl Keys {
    pub(super) fn of(film: &Film<'_>) -> Self {
        let ticks = film.frames.pts.ticks();
        let at = |pts: &i64| ticks.binary_search(pts).ok();
        let mut scenes: Vec<usize> = film.scenes.iter().filter_map(at).collect();
        scenes.extend(scene::keyed(film.frames).unwrap_or_default());
        scenes.sort_unstable();
        scenes.dedup();
        let (source, sizes) = sized(film.frames);
        Self {
            scenes,
            source,
            sizes,
            interval: film.interval.max(1) as usize,
            by_scene: film.scene_keys,
            all: ticks.len(),
            key: key_seconds(film.frames),
        }
    }

    /// What the cuts at `starts` cost in keyframes, seconds of average film, beyond
    /// those that the film has in one piece; less than nothing where it saves some.
    pub(super) fn cost(&self, starts: &[usize]) -> f64 {
        let ends = starts.iter().skip(1).copied().chain([self.all]);
        let cut: Vec<usize> =
            starts.iter().zip(ends).flat_map(|(&from, to)| self.forced(from, to)).collect();
        let whole = self.forced(0, self.all);
        let only = |these: &[usize], others: &[usize]| -> f64 {
            let these = these.iter().filter(|at| !holds(others, **at));
            these.map(|at| self.dear(*at)).sum()
        };
        let (more, fewer) = (only(&cut, &whole), only(&whole, &cut));
        (more * (1.0 + DOUBT) - fewer * (1.0 - DOUBT)) * self.key
    }

    /// Keyframes in a piece of the frames `from..to` where no scene begins.
    fn forced(&self, from: usize, to: usize) -> Vec<usize> {
        let first = (from > 0 && !holds(&self.scenes, from)).then_some(from);
        first.into_iter().chain(self.counted(from, to)).collect()
    }

    /// What a keyframe at the frame `at` costs against the mean, by the source's nearest.
    fn dear(&self, at: usize) -> f64 {
        let after = self.source.partition_point(|key| *key < at);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let near = near.filter(|n| *n < self.source.len());
        let nearest = near.min_by_key(|n| self.source[*n].abs_diff(at));
        nearest.and_then(|n| self.sizes.get(n)).copied().unwrap_or(1.0)
    }

    /// Keyframes that an encoder puts by count into a piece of the frames `from..to`.
    fn counted(&self, from: usize, to: usize) -> Vec<usize> {
        let scenes: &[usize] =
            if self.by_scene { between(&self.scenes, from + 1, to) } else { &[] };
        let mut found = Vec::new();
        let mut last = from;
        for next in scenes.iter().copied().chain([to]) {
            found.extend((last + self.interval..next).step_by(self.interval));
            last = next;
        }
        found
    }

    /// The best frame to cut at among `from..to`, `ideal` being the one that is best for
    /// all other reasons, after a piece that starts at `before`.
    pub(super) fn best(&self, before: usize, (from, to): (usize, usize), ideal: usize) -> usize {
        let from = from.max(before + 1);
        let far = ideal.saturating_sub(from).max(to.saturating_sub(ideal + 1)).max(1) as f64;
        let counted = self.counted(before, to);
        let places = between(&self.scenes, from, to)
            .iter()
            .chain(between(&counted, from, to))
            .chain(between(&self.source, from, to))
            .copied()
            .chain([ideal]);
        let moved = |at: usize| KEY_SECONDS * self.dear(at) * (1.0 + DOUBT);
        let cost = |at: usize| {
            let key = match self.why(at, &counted) {
                StartsAt::Scene => 0.0,
                StartsAt::Interval => COUNTED,
                StartsAt::Keyframe => moved(at),
                // The source's keyframes come first, however far.
                StartsAt::Balance => moved(at) + FAR,
            };
            let preroll = if holds(&self.source, at) { 0.0 } else { PREROLL };
            key + preroll + FAR * at.abs_diff(ideal) as f64 / far
        };
        places.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(ideal)
    }

    /// Why a piece starts at frame `at` that comes after one that starts at `before`.
    pub(super) fn starts_at(&self, before: usize, at: usize) -> StartsAt {
        self.why(at, &self.counted(before, at + 1))
    }

    fn why(&self, at: usize, counted: &[usize]) -> StartsAt {
        if holds(&self.scenes, at) {
            StartsAt::Scene
        } else if holds(counted, at) {
            StartsAt::Interval
        } else if holds(&self.source, at) {
            StartsAt::Keyframe
        } else {
            StartsAt::Balance
        }
    }
}

fn holds(sorted: &[usize], frame: usize) -> bool {
    sorted.binary_search(&frame).is_ok()
}

/// Those of `sorted` in `from..to`.
fn between(sorted: &[usize], from: usize, to: usize) -> &[usize] {
    let start = sorted.partition_point(|&at| at < from);
    let end = sorted.partition_point(|&at| at < to).max(start);
    &sorted[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(scenes: &[usize], interval: usize, by_scene: bool) -> Keys {
        let source = (0..1000).step_by(100).collect();
        let sizes = vec![1.0; 10];
        Keys { scenes: scenes.to_vec(), source, sizes, interval, by_scene, all: 1000, key: 0.5 }
    }

    #[test]
    fn a_cut_costs_a_keyframe_unless_there_would_be_one() {
        let keys = keys(&[130, 400], 250, true);
        // In one piece: 0, 130, 380, 400, 650, 900.
        assert_eq!(keys.cost(&[0]), 0.0);
        assert_eq!(keys.cost(&[0, 400]), 0.0, "a scene");
        assert_eq!(keys.cost(&[0, 650]), 0.0, "counted from the scene at 400");
        let (more, fewer) = (KEY_SECONDS * (1.0 + DOUBT), KEY_SECONDS * (1.0 - DOUBT));
        assert_eq!(keys.cost(&[0, 560]), 2.0 * more - 2.0 * fewer, "560, 810 for 650, 900");
        assert_eq!(keys.cost(&[0, 660]), 2.0 * more - fewer, "660, 910 for 900");
        assert_eq!(keys.starts_at(400, 650), StartsAt::Interval);
        assert_eq!(keys.starts_at(0, 400), StartsAt::Scene);
        assert_eq!(keys.starts_at(0, 500), StartsAt::Keyframe);
        assert_eq!(keys.starts_at(0, 501), StartsAt::Balance);
    }

    #[test]
    fn what_cuts_move_of_an_encoder_that_gives_scenes_no_keyframes_costs_too() {
        let keys = keys(&[130, 400, 760], 250, false);
        // In one piece: 250, 500, 750.
        let (more, fewer) = (KEY_SECONDS * (1.0 + DOUBT), KEY_SECONDS * (1.0 - DOUBT));
        assert_eq!(keys.cost(&[0, 400]), 2.0 * more - 2.0 * fewer, "650, 900 for 500, 750");
        assert_eq!(keys.cost(&[0, 250, 400, 760]), more - 2.0 * fewer, "650 for 500, 750");
        assert_eq!(keys.cost(&[0, 250, 400, 500, 750]), 0.0, "all where they were");
    }

    #[test]
    fn a_keyframe_costs_what_those_of_the_source_are_larger_by() {
        // 20 s at 25 frames a second, a keyframe every 2 s, other frames of 1000 bytes.
        let seconds = |size: u32| {
            let mut index = crate::packets::tests::stream(500, 50);
            let keys = index.packets.iter_mut().filter(|packet| packet.keyframe);
            keys.for_each(|packet| packet.size = size);
            key_seconds(&index.frames("mov").unwrap())
        };
        assert!((0.5..0.6).contains(&seconds(20_000)), "{}", seconds(20_000));
        assert!((1.3..1.4).contains(&seconds(100_000)), "{}", seconds(100_000));
        assert_eq!(seconds(1000), KEY_RANGE.0);
    }

    #[test]
    fn keyframes_cost_more_where_those_of_the_source_are_large() {
        let mut keys = keys(&[], 300, true);
        keys.sizes = vec![1.0, 1.0, 1.0, 0.5, 1.0, 2.5, 1.0, 0.5, 1.0, 0.5];
        // In one piece: 300, 600, 900, worth 0.5, 1 and 0.5.
        assert_eq!(keys.cost(&[0, 600]), 0.0);
        let (more, fewer) = (0.5 * (1.0 + DOUBT), 0.5 * (1.0 - DOUBT));
        assert_eq!(keys.cost(&[0, 500]), (2.5 + 1.0) * more - (1.0 + 0.5) * fewer, "500, 800");
        assert_eq!(keys.cost(&[0, 400]), (1.0 + 0.5) * more - (1.0 + 0.5) * fewer, "400, 700");
        assert_eq!(keys.dear(549), 2.5);
        assert_eq!(keys.dear(551), 1.0);
        assert_eq!(keys.dear(999), 0.5);
        assert_eq!(keys.best(300, (400, 600), 520), 400, "not the large one at 500");
    }

    #[test]
    fn the_size_of_keyframes_is_told_against_their_mean() {
        let mut index = crate::packets::tests::stream(300, 100);
        // The other frames of 1000 bytes: larger by nothing, 99,000 and 1000.
        let sizes = [1000, 100_000, 2000];
        let keys = index.packets.iter_mut().filter(|packet| packet.keyframe);
        keys.zip(sizes).for_each(|(packet, size)| packet.size = size);
        let (places, shares) = sized(&index.frames("mov").unwrap());
        assert_eq!(places, [0, 100, 200]);
        assert_eq!(shares[0], SIZES.0);
        assert!((2.96..2.98).contains(&shares[1]), "{shares:?}");
        assert_eq!(shares[2], SIZES.0);
    }

    #[test]
    fn cuts_move_to_scenes_first_then_to_where_the_encoder_counts() {
        let keys = keys(&[130, 470], 250, true);
        assert_eq!(keys.best(0, (420, 580), 500), 470, "not the keyframe at 500");
        assert_eq!(keys.best(470, (680, 760), 705), 720, "not the keyframe at 700");
        assert_eq!(keys.best(470, (760, 840), 790), 800);
        assert_eq!(keys.best(470, (801, 840), 810), 810);
    }
}
