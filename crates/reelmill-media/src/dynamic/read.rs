//! Reads the units of metadata from a stream's packets, without decoding.

use super::ByTime;
use crate::args::{Args, micros, quiet, source_input, unmoved_ticks};
use crate::encode::{STALL, remove};
use crate::hdr::nal;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::time::TimeBase;
use std::io::{BufReader, Read};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Most bytes of metadata of one frame; real ones have a few hundred.
const MAX_PACKET: usize = 1 << 20;

/// Which part of a stream is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range {
    /// Keyframe to start at, ticks; `None` for the beginning.
    pub from: Option<i64>,
    /// Where to end, ticks; `None` for the end of the file.
    pub until: Option<i64>,
}

/// What was seen in a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Units by the time of their frame.
    pub frames: ByTime,
}

/// Reads SEI and Dolby Vision units of HEVC stream `stream`, their times in
/// ticks of `base`.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn read(
    tools: &Tools,
    path: &Path,
    stream: u32,
    base: TimeBase,
    range: Range,
    scratch: &Path,
    cancel: &CancellationToken,
) -> Result<Seen, Failure> {
    let name = tempfile::Builder::new().prefix("units").tempdir_in(scratch);
    let folder = name.map_err(|e| Failure::io(format_args!("use {}", scratch.display()), &e))?;
    let (units, times) = (folder.path().join("units.bin"), folder.path().join("units.txt"));
    let args = arguments(source_input(path), stream, base, range, (&units, &times));
    tools.ffmpeg(args).stall_after(STALL).run(cancel).await?;
    let shown = units.display().to_string();
    let seen = tokio::task::spawn_blocking(move || collect(&units, &times, base)).await;
    let seen = seen.map_err(|e| Failure::transient(format!("reading {shown} ended early: {e}")))?;
    remove(&folder.path().join("units.bin")).await?;
    seen
}

fn arguments(
    input: Args,
    stream: u32,
    base: TimeBase,
    range: Range,
    (units, times): (&Path, &Path),
) -> Args {
    let mut args = quiet().arg("-copyts");
    if let Some(from) = range.from {
        args = args
            .words("-seek_timestamp 1 -noaccurate_seek")
            .option("-ss", micros(base.micros(from) + 1));
    }
    if let Some(until) = range.until {
        args = args.option("-to", micros(base.micros(until) + 1));
    }
    let args = args.join(unmoved_ticks(base)).join(input);
    let copy = |args: Args| {
        args.option("-map", format!("0:{stream}"))
            .words("-c copy -copyinkf -bsf:v hevc_mp4toannexb,filter_units=pass_types=39|62")
    };
    let args = copy(args).words("-f data").write(units);
    copy(args).words("-f framecrc").write(times)
}

/// Cuts the units apart by the sizes of their packets.
fn collect(units: &Path, times: &Path, base: TimeBase) -> Result<Seen, Failure> {
    let io = |path: &Path, error: &std::io::Error| {
        Failure::io(format_args!("read {}", path.display()), error)
    };
    let text = std::fs::read_to_string(times).map_err(|e| io(times, &e))?;
    let file = std::fs::File::open(units).map_err(|e| io(units, &e))?;
    let mut file = BufReader::new(file);
    let mut seen = Seen::default();
    let (mut from, mut packet) = (base, Vec::new());
    for line in text.lines() {
        if let Some(stated) = line.strip_prefix("#tb 0: ") {
            from = stated.parse().unwrap_or(base);
        }
        let Some((pts, size)) = packet_line(line) else { continue };
        packet.resize(size.min(MAX_PACKET), 0);
        file.read_exact(&mut packet).map_err(|e| io(units, &e))?;
        let mut nals = Vec::new();
        nal::read_all(&packet[..], &mut |nal| {
            nals.push(nal.to_vec());
            Ok(())
        })?;
        // What has no time cannot be tied to a frame: it will be missed there.
        if let Some(tick) = pts.and_then(|pts| in_base(pts, from, base)) {
            seen.frames.entry(tick).or_default().extend(nals);
        }
    }
    Ok(seen)
}

/// Time and size in a line such as `0, -83, 0, 41, 465, 0xcc16813a`.
fn packet_line(line: &str) -> Option<(Option<i64>, usize)> {
    if line.starts_with('#') {
        return None;
    }
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let pts = fields.get(2)?.parse().ok().filter(|pts| *pts != i64::MIN);
    Some((pts, fields.get(4)?.parse().ok()?))
}

/// The same moment in ticks of `to`, the nearest.
fn in_base(ticks: i64, from: TimeBase, to: TimeBase) -> Option<i64> {
    if from == to {
        return Some(ticks);
    }
    let num = i128::from(ticks) * i128::from(from.num()) * i128::from(to.den());
    let den = i128::from(from.den()) * i128::from(to.num());
    i64::try_from((2 * num + den).div_euclid(2 * den)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_packets_are_read() {
        let line = "0,        -83,          0,       41,      465, 0xcc16813a, S=3, 8, 88, 8";
        assert_eq!(packet_line(line), Some((Some(0), 465)));
        let untimed = "0, NOPTS, NOPTS, 41, 7, 0x1";
        assert_eq!(packet_line(untimed), Some((None, 7)));
        assert_eq!(packet_line("#tb 0: 1/1000"), None);
    }

    #[test]
    fn times_go_over_to_the_pictures_ticks() {
        let base = |den| TimeBase::new(1, den).unwrap();
        assert_eq!(in_base(42, base(1000), base(24)), Some(1));
        assert_eq!(in_base(-42, base(1000), base(1000)), Some(-42));
    }
}
