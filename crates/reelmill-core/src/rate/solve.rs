//! The one rate factor that gives a film its size.

use super::{Coded, differs};
use crate::encoder::VideoEncoder;

/// On a scale to 51 bits halve with each step of so many (measured with x264 and x265).
const HALVING: f64 = 5.6;

/// The same on a scale to 63 (measured with SVT-AV1 and libvpx).
const HALVING_63: f64 = 10.0;

/// Two measurements closer than this tell nothing about a slope.
const APART: f64 = 0.5;

/// Least that a logarithm falls with each unit.
const LEAST_SLOPE: f64 = 0.001;

/// How far the rate factors of a film's pieces may differ when only some are encoded
/// again: less than anyone sees.
const SPREAD: f64 = 1.0;

/// When all pieces would have to move by more than this, all are encoded again.
const SMALL: f64 = 0.6;

/// The rate factors of an encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// The lowest that is used.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Steps in a unit.
    pub per: f64,
    /// By how much the logarithm of the bytes falls with each unit, as a rule.
    pub slope: f64,
}

impl Scale {
    /// Those of `encoder`, if it has any.
    pub(super) fn of(encoder: VideoEncoder) -> Option<Self> {
        let (low, high, _) = encoder.crf_range()?;
        // x264 and x265 take fractions, others round them.
        let fine = matches!(encoder, VideoEncoder::X264 | VideoEncoder::X265);
        let slope = std::f64::consts::LN_2 / if high > 51.0 { HALVING_63 } else { HALVING };
        // Lossless is another profile, which no piece may have alone.
        Some(Self { low: low.max(1.0), high, per: if fine { 10.0 } else { 1.0 }, slope })
    }

    /// The nearest rate factor that the encoder knows.
    pub(super) fn snap(self, crf: f64) -> f64 {
        ((crf * self.per).round() / self.per).clamp(self.low, self.high)
    }

    /// The nearest that gives no more bytes.
    fn snap_up(self, crf: f64) -> f64 {
        ((crf * self.per - 1e-6).ceil() / self.per).clamp(self.low, self.high)
    }

    fn fine(self) -> bool {
        self.per > 1.0
    }
}

/// How many bytes a piece has at a rate factor: on a logarithmic scale straight between
/// what was measured, and on as it went beyond that.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// What it was last encoded at.
    crf: f64,
    /// Rate factors, ascending, and logarithms of the bytes, descending.
    points: Vec<(f64, f64)>,
    /// Fall with each unit before the first point and after the last.
    slopes: (f64, f64),
}

impl Curve {
    fn bytes(&self, crf: f64) -> f64 {
        let (first, last) = (self.points[0], self.points[self.points.len() - 1]);
        let log = if crf <= first.0 {
            first.1 + self.slopes.0 * (first.0 - crf)
        } else if crf >= last.0 {
            last.1 - self.slopes.1 * (crf - last.0)
        } else {
            let at = self.points.partition_point(|point| point.0 < crf);
            let (from, to) = (self.points[at - 1], self.points[at]);
            from.1 + (to.1 - from.1) * (crf - from.0) / (to.0 - from.0)
        };
        log.exp()
    }

    fn now(&self) -> f64 {
        self.bytes(self.crf)
    }
}

/// The curves of pieces of which `history` is known, the last encode last.
pub(super) fn curves(history: &[Vec<Coded>], scale: Scale) -> Vec<Curve> {
    let sorted: Vec<Vec<(f64, f64)>> = history.iter().map(|known| points(known)).collect();
    // What the film has shown counts for pieces that have shown nothing.
    let (mut sum, mut weight) = (0.0, 0.0);
    for points in &sorted {
        if let (Some((slope, _)), Some(first)) = (end_slopes(points, scale), points.first()) {
            sum += slope * first.1.exp();
            weight += first.1.exp();
        }
    }
    let usual = if weight > 0.0 { sum / weight } else { scale.slope };
    let curve = |(known, points): (&Vec<Coded>, Vec<(f64, f64)>)| {
        let slopes = end_slopes(&points, scale).unwrap_or((usual, usual));
        Some(Curve { crf: known.last()?.crf, points, slopes })
    };
    history.iter().zip(sorted).filter_map(curve).collect()
}

/// What is known of a piece by rising rate factor; where chance made it rise, it falls.
fn points(known: &[Coded]) -> Vec<(f64, f64)> {
    let point = |piece: &Coded| (piece.crf, (piece.bytes.max(1) as f64).ln());
    let mut points: Vec<(f64, f64)> = known.iter().map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    for at in 1..points.len() {
        let least = (points[at].0 - points[at - 1].0) * LEAST_SLOPE;
        points[at].1 = points[at].1.min(points[at - 1].1 - least);
    }
    points
}

/// How the curve goes on at both ends, where points far enough apart tell.
fn end_slopes(points: &[(f64, f64)], scale: Scale) -> Option<(f64, f64)> {
    let (first, last) = (points.first()?, points.last()?);
    let slope = |one: &(f64, f64), other: &(f64, f64)| {
        ((one.1 - other.1) / (other.0 - one.0)).clamp(scale.slope / 4.0, scale.slope * 4.0)
    };
    let after = points.iter().find(|point| point.0 - first.0 >= APART)?;
    let before = points.iter().rfind(|point| last.0 - point.0 >= APART)?;
    Some((slope(first, after), slope(before, last)))
}

/// What the pieces are to have in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Bytes.
    pub bytes: f64,
    /// Whether less is better than more.
    pub under: bool,
}

impl Wanted {
    /// Whether going from `sum` to `other` is for the better.
    fn prefers(self, other: f64, sum: f64) -> bool {
        if self.under && (other > self.bytes || sum > self.bytes) {
            return other <= self.bytes || other < sum;
        }
        (other - self.bytes).abs() < (sum - self.bytes).abs()
    }
}

/// The rate factors by which the pieces have what is wanted, or as near as may be;
/// with `correct`, only as many pieces change as are needed where little is amiss.
pub(super) fn next(curves: &[Curve], wanted: Wanted, scale: Scale, correct: bool) -> Vec<f64> {
    let few = if correct { partly(curves, wanted, scale) } else { None };
    few.unwrap_or_else(|| evenly(curves, wanted, scale))
}

fn total(curves: &[Curve], crf: impl Fn(usize) -> f64) -> f64 {
    curves.iter().enumerate().map(|(at, curve)| curve.bytes(crf(at))).sum()
}

/// The largest first.
fn by_size(curves: &[Curve]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..curves.len()).collect();
    order.sort_by(|a, b| curves[*b].now().total_cmp(&curves[*a].now()));
    order
}

/// One rate factor for all; where the encoder has only whole ones, some pieces get the
/// next lower one, so that the sum comes near.
fn evenly(curves: &[Curve], wanted: Wanted, scale: Scale) -> Vec<f64> {
    let (mut low, mut high) = (scale.low, scale.high);
    if total(curves, |_| high) >= wanted.bytes {
        return vec![high; curves.len()];
    }
    if total(curves, |_| low) <= wanted.bytes {
        return vec![low; curves.len()];
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if total(curves, |_| middle) > wanted.bytes { low = middle } else { high = middle }
    }
    let up = scale.snap_up(high);
    let down = scale.snap(up - 1.0 / scale.per);
    let mut crfs = vec![up; curves.len()];
    let mut sum = total(curves, |_| up);
    let mut order = by_size(curves);
    // A piece that has this rate factor already need not be encoded again.
    order.sort_by_key(|at| differs(curves[*at].crf, down));
    for at in order {
        let with = sum + curves[at].bytes(down) - curves[at].bytes(up);
        if wanted.prefers(with, sum) {
            sum = with;
            crfs[at] = down;
        }
    }
    crfs
}

/// The largest pieces moved by a little, the others as they are; `None` where that is
/// not enough.
fn partly(curves: &[Curve], wanted: Wanted, scale: Scale) -> Option<Vec<f64>> {
    let now: f64 = curves.iter().map(Curve::now).sum();
    let up = now > wanted.bytes;
    let little = if up { SMALL } else { -SMALL };
    let beyond = total(curves, |at| curves[at].crf + little);
    if (beyond > wanted.bytes) == up {
        return None;
    }
    let ends = ends(curves, up, scale);
    let done = |sum: f64| if up { sum <= wanted.bytes } else { sum >= wanted.bytes };
    let mut crfs: Vec<f64> = curves.iter().map(|curve| curve.crf).collect();
    let mut sum = now;
    for at in by_size(curves) {
        let rest = sum - curves[at].now();
        let with = rest + curves[at].bytes(ends[at]);
        if done(sum) || !differs(ends[at], crfs[at]) {
            continue;
        }
        if scale.fine() && done(with) {
            // The last one goes only as far as it need.
            crfs[at] = scale.snap_up(reach(&curves[at], ends[at], wanted.bytes - rest));
            sum = wanted.bytes;
        } else if scale.fine() || wanted.prefers(with, sum) {
            crfs[at] = ends[at];
            sum = with;
        }
    }
    let short = (scale.fine() || (up && wanted.under)) && !done(sum);
    let moved = crfs.iter().zip(curves).any(|(crf, curve)| differs(*crf, curve.crf));
    (moved && !short).then_some(crfs)
}

/// How far each piece may go, so that the quality stays about the same all over.
fn ends(curves: &[Curve], up: bool, scale: Scale) -> Vec<f64> {
    let crfs = || curves.iter().map(|curve| curve.crf);
    let farthest = if up {
        crfs().fold(f64::INFINITY, f64::min) + SPREAD
    } else {
        crfs().fold(f64::NEG_INFINITY, f64::max) - SPREAD
    };
    let end = |crf: f64| scale.snap(if up { farthest.max(crf) } else { farthest.min(crf) });
    crfs().map(end).collect()
}

/// The rate factor between a curve's own and `end` at which it has `bytes`.
fn reach(curve: &Curve, end: f64, bytes: f64) -> f64 {
    let (mut low, mut high) = (curve.crf.min(end), curve.crf.max(end));
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if curve.bytes(middle) > bytes { low = middle } else { high = middle }
    }
    high
}

/// Rate factors at which every piece was encoded before, and which gave no more than
/// `bytes` in all; the lowest such.
pub(super) fn known(history: &[Vec<Coded>], bytes: f64) -> Option<Vec<f64>> {
    let mut bounds: Vec<f64> = history.iter().flatten().map(|piece| piece.crf).collect();
    bounds.sort_by(f64::total_cmp);
    let below = |known: &Vec<Coded>, bound: f64| {
        let below = known.iter().filter(|piece| piece.crf <= bound);
        below.max_by(|a, b| a.crf.total_cmp(&b.crf)).copied()
    };
    bounds.into_iter().find_map(|bound| {
        let set: Option<Vec<Coded>> = history.iter().map(|known| below(known, bound)).collect();
        let set = set?;
        let sum: f64 = set.iter().map(|piece| piece.bytes as f64).sum();
        (sum <= bytes).then(|| set.iter().map(|piece| piece.crf).collect())
    })
}
