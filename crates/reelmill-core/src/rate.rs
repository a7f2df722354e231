//! How large a film is to be: its average bit rate, or a cap on its file, held by one
//! rate factor over all its pieces.
//!
//! Every piece is encoded at the preset's rate factor; what that gave says which rate
//! factor gives the size that was asked for, and all pieces are encoded at that. A
//! piece never gets a share of bits: quality is the same all over the film, and bits
//! go where they are needed. Each pass is a plan of its own, made from the last one's
//! results by [`Rate::judge`].

mod solve;

#[cfg(test)]
mod tests;

use crate::check::Check;
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use serde::{Deserialize, Serialize};
use solve::{Scale, Wanted, curves, known, next};

/// What a film's size is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "aim", rename_all = "snake_case")]
pub enum Aim {
    /// So many bits a second of picture, on average over the film.
    Bitrate {
        /// How many.
        bits: u64,
    },
    /// At most so many bytes, all of the file counted.
    MaxSize {
        /// How many.
        bytes: u64,
    },
}

/// Most passes over a film: the regular ones, and one more for a cap that was missed
/// all the same, with rate factors that are known to fit, or surely high enough.
pub const MOST_PASSES: u32 = 5;

/// One pass that measures, one that is meant to do, and two that correct what the
/// first promised wrongly.
const REGULAR: u32 = 4;

/// By how much a bit rate may differ from the one aimed at, as a share of it.
const TOLERANCE: f64 = 0.03;

/// Share of a cap that is made use of at least, unless the quality that was asked for
/// needs less.
const FULL: f64 = 0.95;

/// Share of a cap that is aimed at; the rest is for what predictions are off.
const FILL: f64 = 0.985;

/// The same when there is no pass left to correct it.
const LAST_FILL: f64 = 0.97;

/// How far beyond the last rate factor the very last pass goes, where nothing is known
/// to fit.
const FAR: f64 = 3.0;

/// An encoded piece.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Coded {
    /// The rate factor.
    pub crf: f64,
    /// Bytes of pictures that it gave, without any container.
    pub bytes: u64,
}

/// How one piece is encoded in a pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The rate factor.
    pub crf: f64,
    /// What earlier passes made of the piece, the last one last.
    pub before: Vec<Coded>,
}

/// One pass towards a size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// What is asked for.
    #[serde(flatten)]
    pub aim: Aim,
    /// Which pass it is, from 1.
    pub pass: u32,
    /// Each piece, in order; empty in the first pass, when every piece gets the
    /// preset's rate factor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Setting>,
}

/// What a pass yielded.
#[derive(Debug, Clone, Copy)]
pub struct Yield<'a> {
    /// The encoder.
    pub encoder: VideoEncoder,
    /// The preset's rate factor.
    pub first: f64,
    /// Every piece, in order.
    pub made: &'a [Coded],
    /// Seconds that the film lasts.
    pub seconds: f64,
    /// Bytes of the file that are not pictures: sound, subtitles, container. Of no
    /// meaning where a bit rate is aimed at.
    pub other: u64,
}

/// What a pass comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It is as asked for, or as near as can be.
    Enough,
    /// Another pass is needed: this one.
    Again(Rate),
    /// It cannot be had.
    Hopeless(Failure),
}

impl Yield<'_> {
    /// Bytes of pictures.
    #[must_use]
    pub fn pictures(&self) -> u64 {
        self.made.iter().map(|piece| piece.bytes).sum()
    }

    /// Bits of picture a second, on average.
    #[must_use]
    pub fn bits(&self) -> f64 {
        if self.seconds > 0.0 { self.pictures() as f64 * 8.0 / self.seconds } else { 0.0 }
    }

    /// The lowest and the highest rate factor among the pieces.
    #[must_use]
    pub fn crfs(&self) -> (f64, f64) {
        let crfs = || self.made.iter().map(|piece| piece.crf);
        (crfs().fold(f64::INFINITY, f64::min), crfs().fold(f64::NEG_INFINITY, f64::max))
    }
}

impl Rate {
    /// The first pass.
    #[must_use]
    pub fn new(aim: Aim) -> Self {
        Self { aim, pass: 1, pieces: Vec::new() }
    }

    /// The rate factor of the piece at `place`, where it is not the preset's.
    #[must_use]
    pub fn crf(&self, place: usize) -> Option<f64> {
        self.pieces.get(place).map(|piece| piece.crf)
    }

    /// What comes of this pass.
    #[must_use]
    pub fn judge(&self, got: Yield<'_>) -> Judgement {
        let Some(scale) = Scale::of(got.encoder).filter(|_| !got.made.is_empty()) else {
            return Judgement::Enough;
        };
        match self.aim {
            Aim::Bitrate { bits } => self.judge_bitrate(got, bits as f64, scale),
            Aim::MaxSize { bytes } => self.judge_size(got, bytes, scale),
        }
    }

    fn judge_bitrate(&self, got: Yield<'_>, bits: f64, scale: Scale) -> Judgement {
        let near = (got.bits() / bits - 1.0).abs() <= TOLERANCE;
        if near || self.pass >= REGULAR || got.seconds <= 0.0 {
            return Judgement::Enough;
        }
        let wanted = Wanted { bytes: bits * got.seconds / 8.0, under: false };
        self.again(&got, self.crfs_for(&got, wanted, scale)).unwrap_or(Judgement::Enough)
    }

    fn judge_size(&self, got: Yield<'_>, cap: u64, scale: Scale) -> Judgement {
        // Never better than was asked for: a cap is no target.
        let scale = Scale { low: got.first.clamp(scale.low, scale.high), ..scale };
        let file = got.pictures().saturating_add(got.other);
        let (lowest, highest) = got.crfs();
        let fill = if self.pass + 1 == REGULAR { LAST_FILL } else { FILL };
        if file <= cap {
            let full = file as f64 >= FULL * cap as f64;
            // Should a larger one be too large, this one is known to fit.
            let last = self.pass == 1 || self.pass >= REGULAR;
            if full || last || highest <= scale.low {
                return Judgement::Enough;
            }
            let crfs = self.crfs_for(&got, room(cap, fill, got.other), scale);
            return self.again(&got, crfs).unwrap_or(Judgement::Enough);
        }
        if got.other >= cap {
            return hopeless(&format!(
                "sound and all else but the picture take {} bytes, and at most {cap} are allowed",
                got.other
            ));
        }
        if lowest >= scale.high || self.pass >= MOST_PASSES {
            return hopeless(&format!(
                "at most {cap} bytes are allowed, and the smallest file that was made, at crf \
                 {highest} in pass {}, has {file}",
                self.pass
            ));
        }
        let above = |by: f64| vec![scale.snap(highest + by); got.made.len()];
        if self.pass == REGULAR {
            let fits = known(&self.history(&got), room(cap, 1.0, got.other).bytes);
            let again = self.again(&got, fits.unwrap_or_else(|| above(FAR)));
            return again.unwrap_or(Judgement::Enough);
        }
        let crfs = self.crfs_for(&got, room(cap, fill, got.other), scale);
        let again = self.again(&got, crfs).or_else(|| self.again(&got, above(1.0)));
        again.unwrap_or(Judgement::Enough)
    }

    /// The rate factors by which the pictures have what is wanted.
    fn crfs_for(&self, got: &Yield<'_>, wanted: Wanted, scale: Scale) -> Vec<f64> {
        next(&curves(&self.history(got), scale), wanted, scale, self.pass > 1)
    }

    /// The next pass with those rate factors, unless nothing would change.
    fn again(&self, got: &Yield<'_>, crfs: Vec<f64>) -> Option<Judgement> {
        let changed = crfs.iter().zip(got.made).any(|(crf, made)| differs(*crf, made.crf));
        let settings = crfs.into_iter().zip(self.history(got));
        let pieces = settings.map(|(crf, before)| Setting { crf, before }).collect();
        changed.then_some(Judgement::Again(Self { pass: self.pass + 1, pieces, ..self.clone() }))
    }

    /// What is known of each piece, this pass last.
    fn history(&self, got: &Yield<'_>) -> Vec<Vec<Coded>> {
        let before = |at: usize| self.pieces.get(at).map_or(&[][..], |piece| &piece.before);
        let with = |(at, made): (usize, &Coded)| {
            let mut all = before(at).to_vec();
            // A piece that was kept is known already.
            all.retain(|one| differs(one.crf, made.crf));
            all.push(*made);
            all
        };
        got.made.iter().enumerate().map(with).collect()
    }

    /// What is told of a film that is enough; `file` is its size in bytes.
    #[must_use]
    pub fn check(&self, got: Yield<'_>, file: u64) -> Check {
        let (low, high) = got.crfs();
        let crf = if differs(low, high) { format!("{low} to {high}") } else { format!("{low}") };
        let passes =
            if self.pass == 1 { "1 pass".to_owned() } else { format!("{} passes", self.pass) };
        match self.aim {
            Aim::Bitrate { bits } => {
                let reached = got.bits();
                let off = reached / bits as f64 - 1.0;
                let missed = match off.abs() <= TOLERANCE {
                    true => "",
                    false if self.pass < REGULAR => "; the encoder comes no nearer",
                    false => "; no nearer in that many",
                };
                let detail = format!(
                    "{:.0} kb/s of picture on average, {:.0} aimed at; crf {crf}, {passes}{missed}",
                    reached / 1000.0,
                    bits as f64 / 1000.0
                );
                Check::new("bit rate", true, detail)
            }
            Aim::MaxSize { bytes } => {
                let detail = format!("{file} bytes, at most {bytes} allowed; crf {crf}, {passes}");
                Check::new("file size", file <= bytes, detail)
            }
        }
    }
}

/// What is left for the pictures of a file that may have a share `fill` of `cap`.
fn room(cap: u64, fill: f64, other: u64) -> Wanted {
    Wanted { bytes: (fill * cap as f64 - other as f64).max(1.0), under: true }
}

/// Whether two rate factors are not the same.
#[must_use]
pub fn differs(one: f64, other: f64) -> bool {
    (one - other).abs() > 1e-6
}

fn hopeless(why: &str) -> Judgement {
    let advice = "allow more, make the picture smaller (width, height), or encode the sound with \
                  fewer bits";
    Judgement::Hopeless(
        Failure::permanent(format!("the output would be too large: {why}")).advise(advice),
    )
}
