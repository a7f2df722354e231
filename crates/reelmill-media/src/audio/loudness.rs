//! How loud a track is, by EBU R 128.

use crate::args::{self, Args, AudioTrack, Correction};
use crate::encode::{STALL, refuse_read_error};
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::tracks::Loudness;
use serde::Deserialize;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// How far from the wanted loudness a track may come out, LU. Encoders change
/// it a little; where peaks leave no room, the limiter holds it below.
const TOLERANCE: f64 = 1.5;

/// The figures that FFmpeg's `loudnorm` prints, as texts.
#[derive(Debug, Deserialize)]
struct Figures {
    input_i: String,
    input_tp: String,
    input_lra: String,
    input_thresh: String,
    target_offset: String,
}

impl Figures {
    /// The object at the end of what the filter said.
    fn read(said: &[String]) -> Option<Self> {
        let from = said.iter().rposition(|line| line.trim() == "{")?;
        let to = said.iter().rposition(|line| line.trim() == "}")?;
        serde_json::from_str(&said.get(from..=to)?.join("\n")).ok()
    }

    fn correction(&self, wanted: Loudness) -> Option<Correction> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|it| it.is_finite());
        Some(Correction {
            wanted,
            integrated: number(&self.input_i)?.clamp(-99.0, 0.0),
            true_peak: number(&self.input_tp)?.clamp(-99.0, 99.0),
            range: number(&self.input_lra)?.clamp(0.0, 99.0),
            threshold: number(&self.input_thresh)?.clamp(-99.0, 0.0),
            offset: number(&self.target_offset)?.clamp(-99.0, 99.0),
        })
    }
}

/// What brings `track` of `source` to the `wanted` loudness; nothing does where
/// it is silent.
///
/// # Errors
/// When it cannot be decoded.
pub(super) async fn correction(
    tools: &Tools,
    source: &Path,
    track: &AudioTrack,
    wanted: Loudness,
    cancel: &CancellationToken,
) -> Result<Option<Correction>, Failure> {
    let (input, stream) = track.place(source);
    let args = args::loudness(input, stream, Some(track), wanted);
    Ok(measure(tools, args, cancel).await?.correction(wanted))
}

/// Refuses a track that is not as loud as it was to become.
///
/// # Errors
/// When it is too loud or too quiet, or cannot be decoded.
pub(crate) async fn check(
    tools: &Tools,
    input: Args,
    stream: u32,
    wanted: Loudness,
    cancel: &CancellationToken,
) -> Result<f64, Failure> {
    let args = args::loudness(input, stream, None, wanted);
    let found = measure(tools, args, cancel).await?.correction(wanted);
    let found = found.map_or(f64::NEG_INFINITY, |found| found.integrated);
    if (found - wanted.integrated).abs() <= TOLERANCE {
        return Ok(found);
    }
    let message = format!("the sound came out at {found} LUFS instead of {}", wanted.integrated);
    Err(Failure::permanent(message)
        .advise("peaks may leave no room for that: choose a lower loudness, or a higher true_peak"))
}

async fn measure(
    tools: &Tools,
    args: Args,
    cancel: &CancellationToken,
) -> Result<Figures, Failure> {
    let output = tools.ffmpeg(args).stall_after(STALL).run(cancel).await?;
    refuse_read_error(&output)?;
    Figures::read(&output.stderr)
        .ok_or_else(|| Failure::transient("the loudness of the sound could not be measured"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"[Parsed_loudnorm_0 @ 0x55c33d538e00] 
{
	"input_i" : "-21.75",
	"input_tp" : "-21.07",
	"input_lra" : "0.00",
	"input_thresh" : "-31.75",
	"output_i" : "-15.95",
	"output_tp" : "-15.28",
	"output_lra" : "0.00",
	"output_thresh" : "-25.95",
	"normalization_type" : "dynamic",
	"target_offset" : "-0.05"
}"#;

    #[test]
    fn figures_are_read_and_silence_needs_no_correction() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let wanted = Loudness { integrated: -16.0, true_peak: -1.5 };
        let found = Figures::read(&lines(SAID)).unwrap().correction(wanted).unwrap();
        assert_eq!((found.integrated, found.true_peak, found.offset), (-21.75, -21.07, -0.05));
        let silent = SAID.replace("-21.75", "-inf");
        assert_eq!(Figures::read(&lines(&silent)).unwrap().correction(wanted), None);
        assert!(Figures::read(&lines("no figures")).is_none());
    }
}
