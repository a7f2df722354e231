//! How good a picture is: scores, and the search for the rate factor that gives one.

use crate::check::Check;
use serde::{Deserialize, Serialize};

/// A measure of likeness to the source.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Structural similarity, 0 to 1, over all planes.
    #[default]
    Ssim,
    /// VMAF, 0 to 100.
    Vmaf,
    /// XPSNR, decibels, the worst plane's.
    Xpsnr,
}

/// A score that is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Target {
    /// The measure.
    pub metric: Metric,
    /// The score, in its own scale.
    pub score: f64,
}

/// What an encode was measured at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Score {
    /// The measure.
    pub metric: Metric,
    /// The score, in its own scale: the mean of all frames.
    pub score: f64,
    /// The constant rate factor that gave it.
    pub crf: f64,
}

/// Most encodes of a sample for one chunk.
pub const MOST_TRIALS: usize = 5;

/// Rate factors are whole multiples of it.
const STEP: f64 = 0.25;

/// What a step of 1 in the rate factor costs at first sight, in units of
/// [`Metric::linear`].
const USUAL_SLOPE: f64 = 0.35;

/// Farthest that one trial goes from the last.
const FARTHEST: f64 = 12.0;

impl Metric {
    /// Its name in presets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssim => "ssim",
            Self::Vmaf => "vmaf",
            Self::Xpsnr => "xpsnr",
        }
    }

    /// Lowest and highest score that can be aimed at.
    #[must_use]
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Ssim => (0.5, 0.9999),
            Self::Vmaf => (20.0, 99.0),
            Self::Xpsnr => (20.0, 60.0),
        }
    }

    /// A scale on which the score falls about evenly with the rate factor: decibels
    /// of what is lost.
    #[must_use]
    pub fn linear(self, score: f64) -> f64 {
        match self {
            Self::Ssim => -10.0 * (1.0 - score).max(1e-9).log10(),
            Self::Vmaf => score / 4.0,
            Self::Xpsnr => score,
        }
    }

    /// How far a score may be from the one aimed at, in units of [`Self::linear`].
    #[must_use]
    pub fn tolerance(self) -> f64 {
        0.15
    }
}

impl Target {
    /// How far `score` lies above it (below: negative), in units of
    /// [`Metric::linear`].
    #[must_use]
    pub fn excess(&self, score: f64) -> f64 {
        self.metric.linear(score) - self.metric.linear(self.score)
    }

    /// Whether `score` is as aimed at, within the tolerance.
    #[must_use]
    pub fn met(&self, score: f64) -> bool {
        self.excess(score).abs() <= self.metric.tolerance()
    }

    /// The rate factor to try after `tried` (rate factors and their scores), within
    /// `low..=high`; `None` when enough is known.
    #[must_use]
    pub fn next(&self, tried: &[(f64, f64)], (low, high): (f64, f64)) -> Option<f64> {
        let last = tried.last()?;
        if self.met(last.1) || tried.len() >= MOST_TRIALS {
            return None;
        }
        let wanted = self.estimate(tried);
        let wanted = wanted.clamp(last.0 - FARTHEST, last.0 + FARTHEST).clamp(low, high);
        let wanted = (wanted / STEP).round() * STEP;
        let known = tried.iter().any(|(crf, _)| (crf - wanted).abs() < STEP / 2.0);
        (!known).then_some(wanted.clamp(low, high))
    }

    /// The rate factor at which the score is likely to be met.
    #[must_use]
    pub fn estimate(&self, tried: &[(f64, f64)]) -> f64 {
        let points: Vec<(f64, f64)> =
            tried.iter().map(|(crf, score)| (*crf, self.excess(*score))).collect();
        // The nearest point above the score, and the nearest below it.
        let nearest = |above: bool| {
            let side = points.iter().filter(|(_, off)| (*off >= 0.0) == above);
            side.min_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).copied()
        };
        match (nearest(true), nearest(false)) {
            (Some((a, over)), Some((b, under))) if over > under => {
                a + (b - a) * over / (over - under)
            }
            (Some(one), _) | (None, Some(one)) => {
                let other = points.iter().filter(|(crf, _)| *crf != one.0);
                let other = other.min_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
                let slope = other.map(|(crf, off)| (off - one.1) / (one.0 - crf));
                let slope = slope.filter(|slope| (0.05..2.0).contains(slope));
                one.0 + one.1 / slope.unwrap_or(USUAL_SLOPE)
            }
            (None, None) => 0.0,
        }
    }

    /// Of the encodes that were `tried`, the one to take: the smallest that is good
    /// enough, or else the best.
    #[must_use]
    pub fn best(&self, tried: &[(f64, f64)]) -> Option<f64> {
        let least = -self.metric.tolerance();
        let enough = tried.iter().filter(|(_, score)| self.excess(*score) >= least);
        let smallest = enough.max_by(|a, b| a.0.total_cmp(&b.0));
        let best = || tried.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        smallest.or_else(best).map(|(crf, _)| *crf)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:.4} at crf {}", self.metric.name(), self.score, self.crf)
    }
}

/// What the `count` pieces of a film were measured at: the mean by frames, the
/// lowest, and how many are below what was aimed at, which their encoder cannot
/// reach. Every piece must have been measured.
#[must_use]
pub fn check(target: &Target, pieces: &[(u64, Score)], count: usize) -> Check {
    let name = "score";
    let lowest = pieces.iter().map(|(_, it)| it.score).min_by(f64::total_cmp);
    let (Some(lowest), true) = (lowest, pieces.len() == count) else {
        return Check::new(name, false, format!("{} of {count} pieces measured", pieces.len()));
    };
    let frames: u64 = pieces.iter().map(|(frames, _)| frames).sum();
    let sum: f64 = pieces.iter().map(|(frames, it)| *frames as f64 * it.score).sum();
    let mean = sum / frames.max(1) as f64;
    let least = -2.0 * target.metric.tolerance();
    let under = pieces.iter().filter(|(_, it)| target.excess(it.score) < least).count();
    let below = if under > 0 { format!("; {under} below that") } else { String::new() };
    let metric = target.metric.name();
    let told = format!(
        "{metric} {mean:.4} on average, {lowest:.4} in the lowest of {count} pieces, {} aimed at{below}",
        target.score
    );
    Check::new(name, true, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(target: Target, curve: impl Fn(f64) -> f64, range: (f64, f64)) -> Vec<(f64, f64)> {
        let mut tried = vec![(23.0, curve(23.0))];
        while let Some(crf) = target.next(&tried, range) {
            tried.push((crf, curve(crf)));
        }
        tried
    }

    proptest! {
        /// Whatever a film's curve: few trials, and what is taken is as good as was
        /// asked for where that can be reached.
        #[test]
        fn few_trials_find_the_rate_factor(
            slope in 0.12f64..0.7, at in 9.0f64..28.0, bend in -0.004f64..0.004, score in 0.9f64..0.995,
        ) {
            let target = Target { metric: Metric::Ssim, score };
            let linear = |crf: f64| at - slope * (crf - 23.0) + bend * (crf - 23.0).powi(2);
            let curve = |crf: f64| 1.0 - 10f64.powf(-linear(crf) / 10.0);
            let tried = search(target, curve, (0.0, 51.0));
            prop_assert!(tried.len() <= MOST_TRIALS);
            let best = target.best(&tried).unwrap();
            let reachable = target.excess(curve(8.0)) > 0.0 && target.excess(curve(46.0)) < 0.0;
            if reachable && slope > 0.2 {
                let off = target.excess(curve(best));
                prop_assert!((-0.3..1.5).contains(&off), "{off} {tried:?}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_scale_end_the_search() {
        let target = Target { metric: Metric::Ssim, score: 0.98 };
        assert_eq!(search(target, |_| 0.5, (0.0, 51.0)).last().unwrap().0, 0.0);
        assert_eq!(search(target, |_| 0.9999, (0.0, 51.0)).last().unwrap().0, 51.0);
        assert_eq!(target.best(&[(20.0, 0.99), (24.0, 0.981), (30.0, 0.9)]), Some(24.0));
        assert_eq!(target.best(&[(20.0, 0.9), (30.0, 0.8)]), Some(20.0));
    }

    #[test]
    fn the_summary_weighs_by_frames() {
        let target = Target { metric: Metric::Ssim, score: 0.98 };
        let piece = |frames, score| (frames, Score { metric: Metric::Ssim, score, crf: 20.0 });
        let pieces = [piece(300, 0.98), piece(100, 0.94)];
        let told = check(&target, &pieces, 2).detail;
        assert!(told.contains("0.9700 on average, 0.9400 in the lowest of 2"), "{told}");
        assert!(told.contains("1 below"), "{told}");
        assert!(!check(&target, &pieces, 3).passed, "one was not measured");
    }
}
