//! An independent judge of outputs, for tests: decodes files from beginning to
//! end with plain FFmpeg and compares every frame. Shares nothing with the ways
//! in which outputs are made or verified but the probe.

use crate::args::unmoved_ticks;
use crate::probe::{file_url, input_guard, probe};
use crate::process::ToolCommand;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::time::TimeBase;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// A decoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it is shown, microseconds on the file's own clock.
    pub micros: i64,
    /// Digest of its pixels.
    pub digest: String,
}

/// Decodes the main video of a file, each frame through `filter`.
///
/// # Errors
/// When there is no video or it cannot be decoded.
pub async fn frames(tools: &Tools, path: &Path, filter: &str) -> Result<Vec<Frame>, Failure> {
    let cancel = CancellationToken::new();
    let media = probe(tools, path, &cancel).await?;
    let video = media.video().map(|(stream, _)| (stream.time_base, stream.codec.clone()));
    let Some((Some(base), codec)) = video else {
        return Err(Failure::input("no video with a time base"));
    };
    // FFmpeg 5.1 decodes some Theora streams wrongly with several threads.
    let threads = if codec == "theora" { "1" } else { "0" };
    let mut frames = Vec::new();
    let mut on_line = |line: &str| frames.extend(parse(line, base));
    ToolCommand::uncaged(&tools.ffmpeg)
        .args(["-nostdin", "-v", "error", "-copyts", "-threads", threads])
        .args(unmoved_ticks(base).as_slice())
        .args(input_guard())
        .arg("-i")
        .arg(file_url(path))
        .args(["-map", "0:V:0", "-vf", filter, "-fps_mode", "passthrough", "-enc_time_base"])
        .arg(base.to_string())
        .args(["-f", "framehash", "-hash", "md5", "pipe:1"])
        .run_lines(&cancel, &mut on_line)
        .await?;
    Ok(frames)
}

/// A line of FFmpeg's `framehash`: stream, dts, pts, duration, size, digest.
fn parse(line: &str, base: TimeBase) -> Option<Frame> {
    let mut fields = line.split(',').map(str::trim);
    if line.starts_with('#') {
        return None;
    }
    let micros = base.micros(fields.nth(2)?.parse().ok()?);
    Some(Frame { micros, digest: fields.nth(2)?.to_owned() })
}

/// The coarsest tick of the containers that are written: Matroska's, microseconds.
const TICK: i64 = 1000;

/// Whether `output` shows exactly the frames of `source`, with `origin` of the
/// source's clock as the output's zero, within `tolerance`; all microseconds. Frames of a
/// damaged source that share a moment come a tick after each other.
///
/// # Errors
/// The first difference, in words.
pub fn compare(
    source: &[Frame],
    output: &[Frame],
    origin: i64,
    tolerance: i64,
) -> Result<(), String> {
    if source.len() != output.len() {
        return Err(format!("{} frames instead of {}", output.len(), source.len()));
    }
    let mut crowd = 0;
    for (number, (want, have)) in source.iter().zip(output).enumerate() {
        let shares = number > 0 && want.micros <= source[number - 1].micros;
        crowd = if shares { crowd + 1 } else { 0 };
        let off = have.micros - (want.micros - origin);
        if off < -tolerance || off > tolerance + crowd * TICK {
            return Err(format!("frame {number} is {off} µs off"));
        }
        if want.digest != have.digest {
            let other = source.iter().position(|frame| frame.digest == have.digest);
            return Err(format!("frame {number} shows another picture ({other:?})"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(micros: &[i64]) -> Vec<Frame> {
        micros.iter().map(|at| Frame { micros: *at, digest: String::new() }).collect()
    }

    #[test]
    fn frames_that_share_a_moment_come_a_tick_after_each_other() {
        let source = frames(&[0, 40_000, 40_000, 80_000]);
        let judged = |output: &[i64]| compare(&source, &frames(output), 0, 20);
        assert_eq!(judged(&[0, 40_000, 41_000, 80_000]), Ok(()));
        assert!(judged(&[0, 40_000, 42_000, 80_000]).unwrap_err().contains("frame 2 is 2000"));
        assert!(judged(&[0, 41_000, 41_000, 80_000]).unwrap_err().contains("frame 1 is 1000"));
        assert!(judged(&[0, 40_000, 41_000, 81_000]).unwrap_err().contains("frame 3 is 1000"));
    }
}
