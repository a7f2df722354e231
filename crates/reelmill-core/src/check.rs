//! Verdicts: whether an output is what the plan promised. Pure comparison; the
//! measuring is done elsewhere.

use crate::media::Colour;
use crate::time::TimeBase;
use serde::{Deserialize, Serialize};

/// The outcome of all checks of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verdict {
    /// Each check, in the order made.
    pub checks: Vec<Check>,
}

/// One check of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as promised.
    pub passed: bool,
    /// The figures.
    pub detail: String,
}

impl Verdict {
    /// Whether every check passed. An empty verdict proves nothing, so it does
    /// not pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// The failed checks as one sentence.
    #[must_use]
    pub fn complaint(&self) -> String {
        let failed = self.checks.iter().filter(|check| !check.passed);
        failed.map(|c| format!("{}: {}", c.name, c.detail)).collect::<Vec<_>>().join("; ")
    }
}

impl Check {
    /// A check named `name`.
    #[must_use]
    pub fn new(name: &str, passed: bool, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), passed, detail: detail.into() }
    }
}

/// Frame times: every planned frame must be there, in its place.
///
/// `planned` are source ticks, `found` ticks of the output; both ascending.
/// `origin` (µs) is the source time that became the output's zero; `step` (s)
/// is the rounding of the output container.
#[must_use]
pub fn frame_times(
    planned: (&[i64], TimeBase),
    found: (&[i64], TimeBase),
    origin: i64,
    step: f64,
) -> Check {
    let name = "frames";
    let ((planned, base), (found, found_base)) = (planned, found);
    if planned.len() != found.len() {
        let detail = format!("{} planned, {} found", planned.len(), found.len());
        return Check::new(name, false, detail);
    }
    let tolerance = step * 1e6 + 1.0 + if found_base.den() < 1_000_000 { 0.5 } else { 0.0 };
    let mut worst = 0.0f64;
    for (at, (want, have)) in planned.iter().zip(found).enumerate() {
        let off = (base.micros(*want) - origin - found_base.micros(*have)).abs() as f64;
        worst = worst.max(off);
        if off > tolerance {
            let detail = format!("frame {at} is {:.3} ms off its time", off / 1000.0);
            return Check::new(name, false, detail);
        }
    }
    let detail = format!("{} frames, at most {:.3} ms off", planned.len(), worst / 1000.0);
    Check::new(name, true, detail)
}

/// Packets: the stitched stream must consist of the chunks' packets, in order.
#[must_use]
pub fn packets(chunks: &[Vec<String>], stitched: &[String]) -> Check {
    let name = "chunk order";
    let mut at = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        let here = stitched.get(at..at + chunk.len()).unwrap_or_default();
        if here != chunk.as_slice() {
            let detail = format!("chunk {number} is not in its place or was altered");
            return Check::new(name, false, detail);
        }
        at += chunk.len();
    }
    if at != stitched.len() {
        let detail = format!("{} packets beyond the last chunk", stitched.len() - at);
        return Check::new(name, false, detail);
    }
    Check::new(name, true, format!("{} packets of {} chunks", at, chunks.len()))
}

/// Parameter sets: equal over all chunks, or players show garbage after a seam.
#[must_use]
pub fn parameter_sets<'a>(digests: impl IntoIterator<Item = &'a str>) -> Check {
    let name = "parameter sets";
    let mut digests = digests.into_iter().enumerate();
    let Some((_, first)) = digests.next() else {
        return Check::new(name, false, "no chunks");
    };
    match digests.find(|(_, digest)| *digest != first) {
        Some((at, _)) => {
            Check::new(name, false, format!("chunk {at} was made by another encoder or setting"))
        }
        None => Check::new(name, true, "the same for all chunks"),
    }
}

/// A track's time span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// How far audio may start or end from where the source's does, seconds.
pub const SYNC_TOLERANCE: f64 = 0.020;

/// An audio track's place: `source` and `output` relative to their video's
/// clock; `slack` (s) allows for one codec frame of padding at the end.
#[must_use]
pub fn audio_span(track: usize, source: Span, output: Span, slack: f64) -> Check {
    let start = output.start - source.start;
    let end = output.end - source.end;
    let passed =
        start.abs() <= SYNC_TOLERANCE && (-SYNC_TOLERANCE..=SYNC_TOLERANCE + slack).contains(&end);
    let detail =
        format!("starts {:+.1} ms, ends {:+.1} ms from the source's", start * 1e3, end * 1e3);
    Check::new(&format!("audio {track}"), passed, detail)
}

/// Something that must be equal in the output.
#[must_use]
pub fn equal<T: PartialEq + std::fmt::Debug>(name: &str, want: &T, have: &T) -> Check {
    let detail =
        if want == have { format!("{have:?}") } else { format!("{have:?} instead of {want:?}") };
    Check::new(name, want == have, detail)
}

/// Colour description: everything the source says must be said again; what it
/// leaves open may be filled in. Limited range goes without saying.
#[must_use]
pub fn colour(source: &Colour, output: &Colour) -> Check {
    let fields = [
        ("range", &source.range, &output.range),
        ("matrix", &source.space, &output.space),
        ("transfer", &source.transfer, &output.transfer),
        ("primaries", &source.primaries, &output.primaries),
    ];
    let wrong: Vec<String> = fields
        .iter()
        .filter(|(_, want, have)| want.is_some() && want != have)
        .filter(|(_, want, have)| !(have.is_none() && want.as_deref() == Some("tv")))
        .map(|(name, want, have)| {
            let say = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
            format!("{name} is {} instead of {}", say(have), say(want))
        })
        .collect();
    let detail = if wrong.is_empty() { "kept".to_owned() } else { wrong.join(", ") };
    Check::new("colour", wrong.is_empty(), detail)
}

/// Whether a source that claims to last `declared` seconds and was read to `reached` claims
/// nonsense, rather than being cut short.
#[must_use]
pub fn absurd(declared: f64, reached: f64) -> bool {
    declared > 100.0 * reached
}

/// Duration of a whole-file encode against what the source declares: shorter
/// by more than `max(0.5 s, 0.1 %)` means that reading stopped early.
#[must_use]
pub fn duration(declared: f64, found: f64) -> Check {
    let tolerance = (declared * 0.001).max(0.5);
    let passed = found >= declared - tolerance;
    let detail = format!("{found:.3} s found, {declared:.3} s declared");
    Check::new("duration", passed, detail)
}

/// Likeness of a sample picture: `distance` is the mean absolute difference of
/// small grey versions, 0..255.
#[must_use]
pub fn likeness(worst: Option<(usize, f64)>, samples: usize) -> Check {
    let name = "picture";
    match worst {
        Some((chunk, distance)) if distance > MAX_DISTANCE => Check::new(
            name,
            false,
            format!(
                "chunk {chunk} does not show what the source shows there ({distance:.0} grey levels off)"
            ),
        ),
        Some((_, distance)) => Check::new(
            name,
            true,
            format!("{samples} samples, at most {distance:.1} grey levels off"),
        ),
        None => Check::new(name, true, "no sample could be compared"),
    }
}

/// Mean absolute difference of 32×32 grey pictures above which two frames are
/// held to be different pictures; encodes at CRF 40 stay under 4.
pub const MAX_DISTANCE: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base(den: u32) -> TimeBase {
        TimeBase::new(1, den).unwrap()
    }

    #[test]
    fn an_empty_verdict_does_not_pass() {
        assert!(!Verdict { checks: vec![] }.passed());
    }

    #[test]
    fn missing_frames_and_shifted_frames_are_found() {
        let planned = [0, 3750, 7500, 11_250];
        let exact = [0, 42, 83, 125];
        let check = |found: &[i64]| {
            frame_times((&planned, base(90_000)), (found, base(1000)), 0, 0.001).passed
        };
        assert!(check(&exact));
        assert!(!check(&exact[..3]));
        assert!(!check(&[0, 42, 83, 128]));
    }

    #[test]
    fn the_origin_is_taken_off() {
        let planned = [126_000, 129_600];
        let check =
            frame_times((&planned, base(90_000)), (&[0, 3600], base(90_000)), 1_400_000, 0.0);
        assert!(check.passed, "{}", check.detail);
    }

    #[test]
    fn swapped_missing_and_foreign_chunks_are_found() {
        let chunk = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let chunks = [chunk(&["a", "b"]), chunk(&["c", "d"])];
        assert!(packets(&chunks, &chunk(&["a", "b", "c", "d"])).passed);
        assert!(!packets(&chunks, &chunk(&["c", "d", "a", "b"])).passed);
        assert!(!packets(&chunks, &chunk(&["a", "b"])).passed);
        assert!(!packets(&chunks, &chunk(&["a", "b", "c", "d", "e"])).passed);
    }

    #[test]
    fn another_encoders_chunk_is_found() {
        assert!(parameter_sets(["x", "x"]).passed);
        assert!(!parameter_sets(["x", "y"]).passed);
        assert!(!parameter_sets([]).passed);
    }

    #[test]
    fn truncated_audio_is_found() {
        let source = Span { start: 0.0, end: 60.0 };
        assert!(audio_span(0, source, Span { start: 0.01, end: 60.03 }, 0.03).passed);
        assert!(!audio_span(0, source, Span { start: 0.0, end: 59.9 }, 0.03).passed);
        assert!(!audio_span(0, source, Span { start: 0.05, end: 60.0 }, 0.03).passed);
    }

    #[test]
    fn colour_may_be_filled_in_but_not_lost() {
        let bt709 = Colour { space: Some("bt709".into()), ..Colour::default() };
        assert!(colour(&Colour::default(), &bt709).passed);
        assert!(!colour(&bt709, &Colour::default()).passed);
    }

    proptest! {
        #[test]
        fn rounding_to_milliseconds_always_passes(
            den in prop::sample::select(vec![24u32, 1000, 12_800, 30_000, 90_000]),
            start in 0i64..10_000_000, steps in prop::collection::vec(1i64..9000, 1..100),
        ) {
            let source = base(den);
            let mut ticks = vec![start];
            for step in steps {
                ticks.push(ticks[ticks.len() - 1] + step);
            }
            let found: Vec<i64> = ticks.iter().map(|t| (source.micros(*t) + 500).div_euclid(1000)).collect();
            prop_assert!(frame_times((&ticks, source), (&found, base(1000)), 0, 0.001).passed);
        }
    }
}
