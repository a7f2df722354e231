//! The independent judge: decodes source and output anew with FFmpeg and
//! compares every frame and its time. Knows nothing of reelmill's own index.

use super::support::tool;
use std::path::Path;

/// A decoded frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Seconds.
    pub(crate) time: f64,
    /// Digest of its pixels.
    pub(crate) hash: String,
}

/// All frames of a file's main video, and how many error lines decoding gave.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) frames: Vec<Frame>,
    pub(crate) errors: usize,
}

/// Decodes the main video of `path`; `filter` is applied to the pictures.
pub(crate) fn decode(path: &Path, filter: Option<&str>) -> Decoded {
    let mut command = tool("ffmpeg");
    // The container's own clock: FFmpeg would set a start before zero (codec
    // delay) to zero and move the picture with it.
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-copyts"]);
    let kind = kind(path);
    if kind.lines().any(|line| line == "mpegts") {
        // Where the file begins at 0, FFmpeg 5.1 would move the picture to it; a microsecond
        // keeps it from that and is nothing in ticks of 1/90000 s.
        command.args(["-itsoffset", "-1us"]);
    }
    if kind.contains("theora") {
        // FFmpeg 5.1 decodes Theora wrongly with frame threads.
        command.args(["-threads", "1"]);
    }
    command.arg("-i").arg(path).args(["-map", "0:V:0"]);
    if let Some(filter) = filter {
        command.args(["-vf", filter]);
    }
    command.args(["-fps_mode", "passthrough", "-enc_time_base", "1:1000000"]);
    command.args(["-f", "framehash", "-hash", "md5", "-"]);
    let ran = command.output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr).lines().count();
    let mut base = (0.0, 1.0);
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#tb 0: ") {
            let (num, den) = rest.split_once('/').unwrap();
            base = (num.parse().unwrap(), den.parse().unwrap());
        }
        if line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let pts: f64 = fields[2].parse().unwrap();
        frames.push(Frame { time: pts * base.0 / base.1, hash: fields[5].to_owned() });
    }
    Decoded { frames, errors }
}

/// The codec of the main video, and the container.
fn kind(path: &Path) -> String {
    let ran = tool("ffprobe")
        .args(["-v", "error", "-select_streams", "V:0"])
        .args(["-show_entries", "stream=codec_name:format=format_name", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Whether `output` has exactly the frame times of `source` (to `tolerance`
/// seconds), and, when `pixels`, exactly its pixels.
///
/// # Errors
/// What differs first.
pub(crate) fn same_frames(
    source: &Decoded,
    output: &Decoded,
    tolerance: f64,
    pixels: bool,
) -> Result<(), String> {
    if source.frames.len() != output.frames.len() {
        let (want, have) = (source.frames.len(), output.frames.len());
        return Err(format!("{have} frames instead of {want}"));
    }
    for (at, (want, have)) in source.frames.iter().zip(&output.frames).enumerate() {
        let off = have.time - want.time;
        if off.abs() > tolerance {
            return Err(format!("frame {at} is {:.4} s off", off));
        }
        if pixels && want.hash != have.hash {
            return Err(format!("frame {at} has other pixels"));
        }
    }
    // What a damaged source makes its decoder say may be said again.
    if output.errors > 0 && source.errors == 0 {
        return Err(format!("decoding the output gave {} error lines", output.errors));
    }
    Ok(())
}
