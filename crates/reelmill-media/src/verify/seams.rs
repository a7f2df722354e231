//! Decodes the output around its seams.

use super::samples::Sample;
use super::selection::{around_seams, copy_only, groups};
use super::{Measured, pictures};
use crate::args::{Args, own_input, quiet, source_input};
use crate::encode::STALL;
use crate::listing::Listed;
use crate::tools::Tools;
use pictures::{Thumb, thumbs};
use reelmill_core::check::Check;
use reelmill_core::error::{Failure, FailureClass};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// What decoding around the seams yielded.
pub(super) struct Seams {
    /// Pictures by their time, ticks of the output's video.
    pictures: BTreeMap<i64, Thumb>,
    /// The pictures to compare, one of each part.
    pub samples: Vec<Sample>,
    /// Time of each sample, ticks of the output's video.
    times: Vec<Option<i64>>,
    planned: usize,
    wrong: Option<String>,
}

impl Seams {
    fn failed(why: &str) -> Self {
        Self {
            pictures: BTreeMap::new(),
            samples: Vec::new(),
            times: Vec::new(),
            planned: 0,
            wrong: Some(why.to_owned()),
        }
    }

    /// The samples with their pictures in the output.
    pub(super) fn shown(&self) -> impl Iterator<Item = (Sample, &Thumb)> {
        let pairs = self.samples.iter().zip(&self.times);
        pairs.filter_map(|(sample, pts)| Some((*sample, self.pictures.get(&(*pts)?)?)))
    }

    /// Whether everything around the seams could be decoded.
    pub(super) fn check(&self) -> Check {
        let detail = match &self.wrong {
            Some(wrong) => wrong.clone(),
            None => format!(
                "{} frames around {} seams",
                self.planned,
                self.samples.len().saturating_sub(1)
            ),
        };
        Check::new("seams", self.wrong.is_none(), detail)
    }
}

/// Seconds by which the packets are shown later for this, for NUT cannot hold one
/// that is decoded before zero.
const LEAD: u32 = 10;

/// Decodes the output from the last keyframe before every seam to a few frames
/// after it, and the pictures of `samples`.
pub(super) async fn decode(
    tools: &Tools,
    measured: &Measured<'_>,
    samples: Vec<Sample>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Seams, Failure> {
    let Some(video) = measured.output.streams.get(&0) else {
        return Ok(Seams::failed("the output has no video"));
    };
    let starts = measured.promised.first_packets();
    let needed = starts.iter().copied().chain(samples.iter().map(|sample| sample.output_packet));
    if needed.max().is_none_or(|last| last >= video.packets.len()) {
        return Ok(Seams::failed("the output has too few frames"));
    }
    if let Some(part) = starts.iter().position(|start| !video.packets[*start].key) {
        return Ok(Seams::failed(&format!("part {part} does not start with a keyframe")));
    }
    let keys: Vec<bool> = video.packets.iter().map(|packet| packet.key).collect();
    let chosen: Vec<usize> = samples.iter().map(|sample| sample.output_packet).collect();
    let ranges = around_seams(&keys, &starts, &chosen);
    let scratch = measured.promised.assembly.scratch;
    let files = extract(tools, out, scratch, &ranges, cancel).await?;
    let mut seams = Seams {
        pictures: BTreeMap::new(),
        times: chosen.iter().map(|packet| video.packets[*packet].pts).collect(),
        samples,
        planned: 0,
        wrong: None,
    };
    for (file, ranges) in files.iter().zip(groups(&ranges)) {
        decode_group(tools, video, (file, ranges), scratch, &mut seams, cancel).await?;
        crate::encode::remove(file).await?;
    }
    Ok(seams)
}

/// Copies the chosen packets of the output into files of their own.
async fn extract(
    tools: &Tools,
    out: &Path,
    scratch: &Path,
    ranges: &[Range<usize>],
    cancel: &CancellationToken,
) -> Result<Vec<PathBuf>, Failure> {
    let mut args =
        quiet().arg("-copyts").option("-itsoffset", LEAD.to_string()).join(source_input(out));
    let mut files = Vec::new();
    for (number, group) in groups(ranges).enumerate() {
        let file = scratch.join(format!("seams{number}.nut"));
        args = args.words("-map 0:v:0").join(copy_only(group)).join(into_nut(&file));
        files.push(file);
    }
    tools.ffmpeg(args).stall_after(STALL).run(cancel).await?;
    Ok(files)
}

/// Output options for a NUT file.
pub(super) fn into_nut(file: &Path) -> Args {
    Args::new().words("-avoid_negative_ts disabled -f nut").write(file)
}

async fn decode_group(
    tools: &Tools,
    video: &Listed,
    (file, ranges): (&PathBuf, &[Range<usize>]),
    scratch: &Path,
    seams: &mut Seams,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let chosen = ranges.iter().flat_map(|range| &video.packets[range.clone()]);
    let mut want: Vec<i64> = chosen.filter_map(|packet| packet.pts).collect();
    want.sort_unstable();
    seams.planned += want.len();
    let Some(base) = video.time_base else {
        seams.wrong = Some("the output's video has no time base".into());
        return Ok(());
    };
    let times = scratch.join("seams.txt");
    let found = match thumbs(tools, own_input(file), base, None, &times, cancel).await {
        Ok(mut found) => {
            let lead = base.ticks_in(f64::from(LEAD));
            found.pictures.iter_mut().for_each(|(pts, _)| *pts -= lead);
            found
        }
        Err(failure) if decodes_badly(&failure) => {
            seams.wrong = Some(format!("decoding failed: {}", failure.message));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let mut have: Vec<i64> = found.pictures.iter().map(|(pts, _)| *pts).collect();
    have.sort_unstable();
    // Two pictures may share a time, as they did in the source; the comparison
    // below sees whether they should.
    let by_decoder = |line: &&String| !line.contains("non monotonically increasing dts");
    if let Some(line) = found.errors.iter().find(by_decoder) {
        seams.wrong = Some(format!("the decoder complains: {line}"));
    } else if have != want {
        let missing = want.iter().find(|pts| !have.contains(pts));
        let place =
            missing.map_or(String::new(), |pts| format!(", first at {:.3} s", base.seconds(*pts)));
        seams.wrong = Some(format!("{} of {} frames decoded{place}", have.len(), want.len()));
    }
    seams.pictures.extend(found.pictures);
    Ok(())
}

/// Whether the failure is the stream's fault, not the machine's.
fn decodes_badly(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Input)
        || (failure.class == FailureClass::Transient
            && failure.exit_status.is_some_and(|status| status > 0))
}
