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

/// Whether `output` shows exactly the frames of `source`, with `origin` of the
/// source's clock as the output's zero, within `tolerance`; all microseconds.
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
    for (number, (want, have)) in source.iter().zip(output).enumerate() {
        let off = have.micros - (want.micros - origin);
        if off.abs() > tolerance {
            return Err(format!("frame {number} is {off} µs off"));
        }
        if want.digest != have.digest {
            let other = source.iter().position(|frame| frame.digest == have.digest);
            return Err(format!("frame {number} shows another picture ({other:?})"));
        }
    }
    Ok(())
}
