//! How fast a worker will be of which little is known.

use super::{OVERHEAD, Seat, USUAL_TIME};
use crate::encoder::VideoEncoder;
use crate::load::Speeds;
use std::collections::BTreeMap;

/// Speed of a worker of which nothing is known where nothing is known of any,
/// thousands of pixels a second: x264 at 720p and 30 frames a second.
const USUAL_SPEED: f64 = 27_000.0;

/// No machine is held for slower than a tenth of what it is.
const LEAST_SCORE: f64 = 0.1;

/// What the workers of a farm have shown, so that newcomers can be guessed.
#[derive(Debug, Clone, Default)]
pub struct Typical {
    /// The middle one of the speeds that the seats have shown.
    shown: Speeds,
    /// What came of a benchmark in real work: speed over benchmark, the middle one of
    /// the seats that have both. A benchmark is another film than any that comes.
    kept: BTreeMap<VideoEncoder, f64>,
    /// The same over all encoders.
    kept_by_any: Option<f64>,
}

impl Typical {
    /// What these seats have shown.
    #[must_use]
    pub fn of(seats: &[Seat<'_>]) -> Self {
        let mut shown: BTreeMap<VideoEncoder, Vec<f64>> = BTreeMap::new();
        let mut kept: BTreeMap<VideoEncoder, Vec<f64>> = BTreeMap::new();
        for seat in seats {
            for (encoder, speed) in seat.speeds {
                shown.entry(*encoder).or_default().push(*speed);
                if let Some(benchmark) = seat.benchmarks.get(encoder) {
                    kept.entry(*encoder).or_default().push(speed / benchmark);
                }
            }
        }
        let all = kept.values().flatten().copied().collect();
        Self { shown: middles(shown), kept: middles(kept), kept_by_any: middle(all) }
    }

    /// Seconds that `cost` thousands of pixels take with `encoder` on `seat`.
    #[must_use]
    pub fn seconds(&self, seat: &Seat<'_>, encoder: Option<VideoEncoder>, cost: u64) -> f64 {
        let Some(encoder) = encoder.filter(|_| cost > 0) else { return USUAL_TIME };
        OVERHEAD + cost as f64 / self.speed(seat, encoder, USUAL_SPEED).max(1.0)
    }

    /// Thousands of pixels a second that `seat` encodes: as it has shown, else as its
    /// benchmark lets expect, else as the others have shown, else `usual`; less what
    /// its machine has not to spare.
    pub(super) fn speed(&self, seat: &Seat<'_>, encoder: VideoEncoder, usual: f64) -> f64 {
        let shown = seat.speeds.get(&encoder).copied();
        let benchmark = || Some(seat.benchmarks.get(&encoder)? * self.kept(encoder));
        let speed = shown.or_else(benchmark).or_else(|| self.shown.get(&encoder).copied());
        speed.unwrap_or(usual) * seat.score.max(LEAST_SCORE)
    }

    fn kept(&self, encoder: VideoEncoder) -> f64 {
        self.kept.get(&encoder).copied().or(self.kept_by_any).unwrap_or(1.0)
    }
}

fn middles(all: BTreeMap<VideoEncoder, Vec<f64>>) -> Speeds {
    all.into_iter().filter_map(|(encoder, values)| Some((encoder, middle(values)?))).collect()
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
