//! Compares small pictures of source and output.

use super::promised::Promised;
use super::samples::Sample;
use super::seams::{Seams, into_nut};
use super::selection::copy_only;
use crate::args::{self, Args, SMALL_SIDE, VideoArgs, own_input, quiet, source_input};
use crate::encode::STALL;
use crate::tools::Tools;
use reelmill_core::check::{self, Check, MAX_DISTANCE};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::media::{StreamKind, VideoInfo};
use reelmill_core::plan::VideoEncode;
use reelmill_core::time::TimeBase;
use std::collections::BTreeMap;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// A small grey picture, row by row.
pub(super) type Thumb = Vec<u8>;

/// Pictures of the source that are decoded singly, at least (if needed) and at
/// most: each costs the start of a process and a part of a group of pictures.
const SINGLE_LEAST: usize = 1;
const SINGLE_MOST: usize = 40;

/// Small pictures with their times, and what the decoder complained about.
pub(super) struct Thumbs {
    pub pictures: Vec<(i64, Thumb)>,
    pub errors: Vec<String>,
}

/// Decodes the first video stream of `input`, through the filters `first`, to small
/// pictures with times in ticks of `base`; ends at the first error. The times pass
/// through the file `times`.
pub(super) async fn thumbs(
    tools: &Tools,
    input: Args,
    base: TimeBase,
    first: &str,
    times: &Path,
    cancel: &CancellationToken,
) -> Result<Thumbs, Failure> {
    let args = args::small_pictures(input, base, first, times);
    let command = tools.ffmpeg(args).stall_after(STALL);
    let output = command.run(cancel).await?;
    let text = tokio::fs::read_to_string(times)
        .await
        .map_err(|error| Failure::io(format_args!("read {}", times.display()), &error))?;
    let pts = text.lines().filter(|line| !line.starts_with('#'));
    let pts = pts.filter_map(|line| line.split(',').nth(2)?.trim().parse().ok());
    let pictures = output.stdout.chunks_exact(SMALL_SIDE * SMALL_SIDE).map(<[u8]>::to_vec);
    Ok(Thumbs { pictures: pts.zip(pictures).collect(), errors: output.stderr })
}

/// Pictures of the source for the `samples`, by part: all that are keyframes
/// there, and of the others some, those that follow a keyframe soonest. A decoder
/// that has gone astray on its way to a chunk is not itself again yet just there.
pub(super) async fn of_source(
    tools: &Tools,
    promised: &Promised<'_>,
    samples: &[Sample],
    cancel: &CancellationToken,
) -> Result<Wanted, Failure> {
    let most = (promised.counts.len() / 8).clamp(SINGLE_LEAST, SINGLE_MOST);
    let nearest = |mut some: Vec<Sample>| {
        some.sort_by_key(|sample| promised.way_to(*sample));
        some.truncate(most);
        some
    };
    let inner = samples.iter().filter(|sample| sample.source_packet.is_none()).copied();
    let (quick, mut wanted) = tokio::try_join!(
        key_pictures(tools, promised, samples, cancel),
        singles(tools, promised, nearest(inner.collect()), cancel),
    )?;
    wanted.astray |= quick.is_none();
    wanted.quick.extend(quick.unwrap_or_default());
    if wanted.quick.is_empty() && wanted.exact.is_empty() {
        let astray = wanted.astray;
        wanted = singles(tools, promised, nearest(samples.to_vec()), cancel).await?;
        wanted.astray |= astray;
    }
    Ok(wanted)
}

async fn singles(
    tools: &Tools,
    promised: &Promised<'_>,
    samples: Vec<Sample>,
    cancel: &CancellationToken,
) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    for sample in samples {
        if let Some(key) = promised.key_before(sample)
            && let Some(found) = single(tools, promised, sample, Some(key), cancel).await?
        {
            wanted.astray |= found.astray;
            wanted.quick.insert(sample.part, found.picture);
        } else if let Some(found) = exact(tools, promised, sample, cancel).await? {
            wanted.astray |= found.astray;
            wanted.exact.insert(sample.part, found.picture);
        }
    }
    Ok(wanted)
}

/// Pictures of the source, by part.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Made by decoding from the keyframe just before it, or a keyframe alone,
    /// which some streams do not allow.
    quick: BTreeMap<usize, Thumb>,
    /// Decoded as the encoder's input was.
    exact: BTreeMap<usize, Thumb>,
    /// Whether a decoder that began at a keyframe complained: so may have the encoders'.
    astray: bool,
}

/// A picture of the source that was decoded singly.
struct Single {
    picture: Thumb,
    /// Whether the decoder complained on its way there.
    astray: bool,
}

/// Compares a picture of each part with the source's picture of that time.
pub(super) async fn compare(
    tools: &Tools,
    promised: &Promised<'_>,
    seams: &Seams,
    wanted: Wanted,
    cancel: &CancellationToken,
) -> Result<Check, Failure> {
    let mut distances: Vec<(usize, f64)> = Vec::new();
    let mut doubtful = Vec::new();
    for (sample, have) in seams.shown() {
        let quick = wanted.quick.get(&sample.part).map(|want| distance(want, have));
        match (quick, wanted.exact.get(&sample.part)) {
            (Some(off), _) if off <= MAX_DISTANCE => distances.push((sample.part, off)),
            (Some(_), _) => doubtful.push((sample, have)),
            (None, Some(want)) => distances.push((sample.part, distance(want, have))),
            (None, None) => {}
        }
    }
    for (sample, have) in spread(&doubtful, SINGLE_MOST).collect::<Vec<_>>() {
        if let Some(want) = exact(tools, promised, sample, cancel).await? {
            distances.push((sample.part, distance(&want.picture, have)));
        }
    }
    // Some streams can be decoded from their beginning only, by what was said there. Both
    // the encoder and we may have begun at a keyframe, and then see the same wrong picture.
    let sought = |sample: &Sample| promised.preroll(*sample).is_some();
    if (wanted.astray || !doubtful.is_empty())
        && let Some((sample, have)) = seams.shown().find(|(sample, _)| sought(sample))
        && let Some(want) = single(tools, promised, sample, None, cancel).await?
    {
        distances.push((sample.part, distance(&want.picture, have)));
    }
    let worst = distances.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    Ok(check::likeness(worst, distances.len()))
}

/// Mean absolute difference, 0..255.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len().max(1) as f64
}

/// At most `most` of `items`, evenly.
fn spread<T: Copy>(items: &[T], most: usize) -> impl Iterator<Item = T> {
    let step = (items.len() as f64 / most as f64).max(1.0);
    let count = items.len().min(most);
    (0..count).filter_map(move |n| items.get((n as f64 * step) as usize).copied())
}

/// Pictures of those samples that are keyframes of the source, made by decoding
/// only these keyframes, by part; none where that does not work.
async fn key_pictures(
    tools: &Tools,
    promised: &Promised<'_>,
    samples: &[Sample],
    cancel: &CancellationToken,
) -> Result<Option<BTreeMap<usize, Thumb>>, Failure> {
    let keyed = samples.iter().filter_map(|sample| Some((sample.source_packet?, sample.part)));
    let mut chosen: Vec<(usize, usize)> = keyed.collect();
    chosen.sort_unstable();
    let mapped = promised.assembly.encode.tonemap.is_some();
    if chosen.is_empty() || promised.turned() || mapped {
        return Ok(Some(BTreeMap::new()));
    }
    let assembly = promised.assembly;
    let file = assembly.scratch.join("keys.nut");
    let packets: Vec<_> = chosen.iter().map(|(packet, _)| *packet..*packet + 1).collect();
    let args = quiet()
        .words("-copyts -itsoffset")
        .arg(format!("{}us", args::AUDIO_LEAD_MICROS - assembly.plan.origin_micros))
        .join(source_input(assembly.source))
        .option("-map", format!("0:{}", assembly.plan.video.stream))
        .join(copy_only(&packets))
        .join(into_nut(&file));
    let copied = tools.ffmpeg(args).stall_after(STALL).run(cancel).await;
    let base = promised.time_base();
    let found = match copied {
        Ok(_) => {
            let times = assembly.scratch.join("keys.txt");
            let first = promised.source_range() + &args::comparable(promised.video_args());
            thumbs(tools, own_input(&file), base, &first, &times, cancel).await
        }
        Err(failure) => Err(failure),
    };
    crate::encode::remove(&file).await?;
    match found {
        Ok(found) if found.pictures.len() == chosen.len() => {
            let pictures = found.pictures.into_iter().map(|(_, picture)| picture);
            Ok(Some(chosen.iter().map(|(_, part)| *part).zip(pictures).collect()))
        }
        Err(failure) if failure.class == FailureClass::Cancelled => Err(failure),
        _ => Ok(None),
    }
}

/// The source's picture of a sample, decoded as its chunk's encoder did.
async fn exact(
    tools: &Tools,
    promised: &Promised<'_>,
    sample: Sample,
    cancel: &CancellationToken,
) -> Result<Option<Single>, Failure> {
    single(tools, promised, sample, promised.preroll(sample), cancel).await
}

/// The source's picture of a sample, decoded from the keyframe `preroll` (ticks) with
/// all cores: nothing is encoded at the same time.
async fn single(
    tools: &Tools,
    promised: &Promised<'_>,
    sample: Sample,
    preroll: Option<i64>,
    cancel: &CancellationToken,
) -> Result<Option<Single>, Failure> {
    let video = promised.video_args();
    let encode = VideoEncode { threads: 0, ..video.encode.clone() };
    let video = VideoArgs { encode: &encode, ..video };
    let args = args::one_picture(video, sample.tick, preroll);
    match tools.ffmpeg(args).stall_after(STALL).run(cancel).await {
        Ok(output) => {
            let picture = output.stdout.get(..SMALL_SIDE * SMALL_SIDE).map(<[u8]>::to_vec);
            let astray = !output.stderr.is_empty();
            Ok(picture.map(|picture| Single { picture, astray }))
        }
        Err(failure) if failure.class == FailureClass::Cancelled => Err(failure),
        Err(_) => Ok(None),
    }
}

impl Promised<'_> {
    /// Ticks of the source that are decoded to reach a sample.
    fn way_to(&self, sample: Sample) -> u64 {
        let from = self.key_before(sample).or_else(|| self.preroll(sample));
        sample.tick.abs_diff(from.or_else(|| self.planned.first().copied()).unwrap_or(0))
    }

    /// Where the encoder of a sample's chunk began to decode, ticks.
    fn preroll(&self, sample: Sample) -> Option<i64> {
        self.assembly.plan.chunks().get(sample.part)?.prerolls.first().copied()
    }

    /// The source's last keyframe up to a sample, ticks; none where that is the first,
    /// or one cannot tell.
    fn key_before(&self, sample: Sample) -> Option<i64> {
        self.preroll(sample)?;
        let before = self.keys.partition_point(|key| *key <= sample.tick);
        self.keys.get(before.checked_sub(1)?).copied()
    }

    /// The filter for what range the source's pictures have.
    fn source_range(&self) -> String {
        let video = self.assembly.media.video();
        let full = |info: &VideoInfo| args::full_range(&info.colour, &info.pixel_format);
        video.map(|(_, info)| full(info)).unwrap_or_default().to_owned()
    }

    /// Whether the source's picture is turned or mirrored for showing.
    fn turned(&self) -> bool {
        self.assembly.media.video().is_some_and(|(stream, info)| {
            matches!(stream.kind, StreamKind::Video(_)) && (info.rotation != 0 || info.mirrored)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_evenly() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(spread(&items, 4).collect::<Vec<_>>(), [0, 25, 50, 75]);
        assert_eq!(spread(&items[..2], 4).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn distance_is_a_mean() {
        assert!((distance(&[0, 10, 20, 30], &[10, 10, 10, 30]) - 5.0).abs() < 1e-9);
    }
}
