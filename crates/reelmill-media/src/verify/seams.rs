//! Decodes the output around its seams.

use super::promised::Promised;
use super::samples::Sample;
use super::selection::{around_seams, copy_only, groups};
use super::{Measured, pictures};
use crate::args::{self, Args, own_input, quiet, source_input};
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

/// The packets around the seams, copied.
pub(super) struct Copied {
    ranges: Vec<Range<usize>>,
    files: Vec<PathBuf>,
}

/// Copies from the output what `decode` decodes: the packets from the last
/// keyframe before every seam to a few after it, and the pictures of `samples`.
/// Which these are is known from the `parts`, before anything is known of the
/// output; whether it has them there is for `decode` to see.
///
/// # Errors
/// Says what cannot be, in the inner one.
pub(super) async fn copy(
    tools: &Tools,
    promised: &Promised<'_>,
    (parts, samples): (&Listed, &[Sample]),
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Result<Copied, String>, Failure> {
    let starts = promised.first_packets();
    let chosen: Vec<usize> = samples.iter().map(|sample| sample.output_packet).collect();
    if starts.iter().chain(&chosen).any(|packet| *packet >= parts.packets.len()) {
        return Ok(Err("the parts have too few frames".into()));
    }
    if let Some(part) = starts.iter().position(|start| !parts.packets[*start].key) {
        return Ok(Err(format!("part {part} does not start with a keyframe")));
    }
    let keys: Vec<bool> = parts.packets.iter().map(|packet| packet.key).collect();
    let ranges = around_seams(&keys, &starts, &chosen);
    let files = extract(tools, out, promised.assembly.scratch, &ranges, cancel).await?;
    Ok(Ok(Copied { ranges, files }))
}

/// Decodes what was copied.
pub(super) async fn decode(
    tools: &Tools,
    measured: &Measured<'_>,
    copied: Result<Copied, String>,
    samples: Vec<Sample>,
    cancel: &CancellationToken,
) -> Result<Seams, Failure> {
    let Copied { ranges, files } = match copied {
        Ok(copied) => copied,
        Err(why) => return Ok(Seams::failed(&why)),
    };
    let Some(video) = measured.output.streams.get(&0) else {
        return Ok(Seams::failed("the output has no video"));
    };
    if ranges.last().is_none_or(|last| last.end > video.packets.len()) {
        return Ok(Seams::failed("the output has too few frames"));
    }
    let mut starts = measured.promised.first_packets().into_iter();
    if let Some(part) = starts.position(|start| !video.packets[start].key) {
        return Ok(Seams::failed(&format!("part {part} does not start with a keyframe")));
    }
    let assembly = measured.promised.assembly;
    let range = args::full_range(
        &args::output_colour(assembly.encode, assembly.source_pixels()),
        &assembly.encode.pixel_format,
    );
    let place = (assembly.scratch, range);
    let times = samples.iter().map(|sample| video.packets[sample.output_packet].pts).collect();
    let mut seams = Seams { pictures: BTreeMap::new(), times, samples, planned: 0, wrong: None };
    for (file, ranges) in files.iter().zip(groups(&ranges)) {
        decode_group(tools, video, (file, ranges), place, &mut seams, cancel).await?;
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
    // NUT cannot be read back with a tag of some kilobytes.
    let bare = "-map_metadata -1 -map_metadata:s -1 -map_chapters -1";
    Args::new().words(bare).words("-avoid_negative_ts disabled -f nut").write(file)
}

async fn decode_group(
    tools: &Tools,
    video: &Listed,
    (file, ranges): (&PathBuf, &[Range<usize>]),
    (scratch, range): (&Path, &str),
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
    let found = match thumbs(tools, own_input(file), base, range, &times, cancel).await {
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
