//! Encodes for a score: the rate factor is found by trials on a sample of the
//! frames, and what was made is measured as a whole.

use super::{EncodedFile, OnProgress, VideoJob, refuse_read_error, remove, run};
use crate::args::{self, Frames};
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::plan::VideoEncode;
use reelmill_core::score::{Score, Target};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Pieces of fewer frames are tried as a whole.
const FEW: u64 = 240;

/// Times that a finished piece is encoded again because the sample had promised
/// something else.
const CORRECTIONS: usize = 2;

/// A piece of a film that is encoded for a score.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) tools: &'a Tools,
    pub(super) job: VideoJob<'a>,
    pub(super) frames: Frames,
    /// How many there are, as far as known.
    pub(super) count: u64,
    pub(super) target: Target,
    /// The encoded file; trials lie beside it.
    pub(super) out: &'a Path,
    pub(super) on_progress: OnProgress<'a>,
    pub(super) cancel: &'a CancellationToken,
}

/// A piece on its way to its score.
pub(super) struct Aim<'a> {
    piece: Piece<'a>,
    /// Rate factors and scores of the trials.
    tried: Vec<(f64, f64)>,
    /// The same of the piece as it was encoded, in order.
    made: Vec<(f64, f64)>,
    crf: f64,
}

impl<'a> Aim<'a> {
    /// Finds a rate factor by trials.
    ///
    /// # Errors
    /// When FFmpeg cannot encode or measure.
    pub(super) async fn take(piece: Piece<'a>) -> Result<Self, Failure> {
        let tried = piece.try_out().await?;
        let crf = piece.chosen(&tried);
        Ok(Self { piece, tried, made: Vec::new(), crf })
    }

    /// How to encode the piece next.
    pub(super) fn encode(&self) -> VideoEncode {
        with(self.piece.job.encode, self.crf)
    }

    /// Measures `file`, encoded so from `frames`; `None` when it is to be encoded once
    /// more.
    ///
    /// # Errors
    /// When FFmpeg cannot measure it.
    pub(super) async fn judge(
        &mut self,
        file: EncodedFile,
        frames: Frames,
    ) -> Result<Option<EncodedFile>, Failure> {
        let Piece { job, out, target, .. } = self.piece;
        let score = self.piece.measure(job, frames, out).await?;
        self.made.push((self.crf, score));
        if let Some(next) = self.piece.corrected(&self.tried, &self.made) {
            self.crf = next;
            return Ok(None);
        }
        let score = Some(Score { metric: target.metric, score, crf: self.crf });
        Ok(Some(EncodedFile { score, ..file }))
    }
}

impl Piece<'_> {
    fn limits(self) -> (f64, f64) {
        self.job.encode.encoder.crf_range().map_or((0.0, 0.0), |(low, high, _)| (low, high))
    }

    /// What trials on a sample tell: rate factors and their scores.
    ///
    /// # Errors
    /// When FFmpeg cannot encode or measure.
    async fn try_out(self) -> Result<Vec<(f64, f64)>, Failure> {
        let usual = self.job.encode.encoder.crf_range().map_or(0.0, |(_, _, usual)| usual);
        let mut crf = self.job.encode.crf.unwrap_or(usual);
        let frames = Frames { sample: self.count >= FEW, ..self.frames };
        let trial = self.out.with_file_name("trial.nut");
        let mut tried = Vec::new();
        loop {
            let encode = with(self.job.encode, crf);
            let job = VideoJob { encode: &encode, ..self.job };
            remove(&trial).await?;
            let command = self.tools.ffmpeg(args::trial(job.args(), frames, &trial));
            refuse_read_error(&run(command, self.on_progress, self.cancel).await?)?;
            tried.push((crf, self.measure(job, frames, &trial).await?));
            match self.target.next(&tried, self.limits()) {
                Some(next) => crf = next,
                None => break,
            }
        }
        remove(&trial).await?;
        Ok(tried)
    }

    /// The rate factor to encode with after the trials.
    fn chosen(self, tried: &[(f64, f64)]) -> f64 {
        let (low, high) = self.limits();
        let best = self.target.best(tried).unwrap_or(low);
        let met = tried.iter().any(|(crf, score)| *crf == best && self.target.met(*score));
        let crf = if met { best } else { self.target.estimate(tried) };
        ((crf * 4.0).round() / 4.0).clamp(low, high)
    }

    /// The rate factor to encode with again, when the piece came out as `made` (rate
    /// factors and scores, in order); `None` when that is good, or nothing better is
    /// to be had.
    fn corrected(self, tried: &[(f64, f64)], made: &[(f64, f64)]) -> Option<f64> {
        let (crf, score) = *made.last()?;
        if made.len() > CORRECTIONS || self.target.met(score) {
            return None;
        }
        let (low, high) = self.limits();
        let next = if made.len() > 1 {
            self.target.estimate(made)
        } else {
            // The curve of the sample, moved to where the whole was found.
            let there = Target { score, ..self.target }.estimate(tried);
            crf + self.target.estimate(tried) - there
        };
        let next = ((next * 4.0).round() / 4.0).clamp(crf - 12.0, crf + 12.0).clamp(low, high);
        (made.iter().all(|(known, _)| *known != next)).then_some(next)
    }

    async fn measure(self, job: VideoJob<'_>, frames: Frames, made: &Path) -> Result<f64, Failure> {
        let metric = self.target.metric;
        let command = self.tools.ffmpeg(args::score(job.args(), frames, made, metric));
        let output = run(command, self.on_progress, self.cancel).await.map_err(|failure| {
            let advice = format!("score by another measure than {}", metric.name());
            if failure.message.contains("No such filter") {
                failure.advise(advice)
            } else {
                failure
            }
        })?;
        refuse_read_error(&output)?;
        let found = output.stderr.iter().rev().find_map(|line| args::read_score(line, metric));
        found.ok_or_else(|| {
            Failure::transient(format!("FFmpeg did not tell the {} of a piece", metric.name()))
        })
    }
}

/// The same encode with another rate factor.
fn with(encode: &VideoEncode, crf: f64) -> VideoEncode {
    VideoEncode { crf: Some(crf), ..encode.clone() }
}
