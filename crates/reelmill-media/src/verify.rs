//! Measures an output and has it judged: is it what the plan promised?

mod dynamic;
mod hashes;
mod heard;
mod pictures;
mod promised;
mod samples;
mod seams;
mod selection;
mod sound;
mod streams;

use crate::args::{concat_input, source_input};
use crate::language_tags;
use crate::listing::{Listed, Listing, list};
use crate::probe::probe;
use crate::stitch::{Assembly, write_list};
use crate::tools::Tools;
use promised::Promised;
use reelmill_core::check::{self, Check, Verdict};
use reelmill_core::error::Failure;
use reelmill_core::media::{MediaInfo, StreamKind};
use samples::Sample;
use seams::Seams;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Everything measured, before any judgement.
struct Measured<'a> {
    promised: Promised<'a>,
    output: Listing,
    media: MediaInfo,
}

/// What an output is measured against: found without the output, so that it
/// can be while that is still being put together.
#[derive(Debug)]
pub struct Expected {
    source: Listing,
    packets: Vec<String>,
    parts: Listed,
}

/// Lists the packets of the source and of the video parts.
///
/// # Errors
/// When one of them cannot be read.
pub async fn expect(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<Expected, Failure> {
    let list_path = write_list(assembly, "verify.ffconcat").await?;
    let codec = assembly.encode.encoder.codec();
    let input = || concat_input(&list_path, assembly.parts.video);
    let (source, packets, parts) = tokio::try_join!(
        list(tools, source_input(assembly.source), "", cancel),
        hashes::packet_hashes(tools, input(), codec, cancel),
        list(tools, input(), "v:0", cancel),
    )?;
    Ok(Expected { source, packets, parts: parts.only().cloned().unwrap_or_default() })
}

/// Checks the output at `out` against its plan and what is `expected`.
///
/// `digests` are the parameter-set digests of the video parts, in order, as
/// their encoding told. A verdict that does not pass is an answer, not an error.
///
/// # Errors
/// When something cannot be measured at all.
pub async fn verify(
    tools: &Tools,
    assembly: Assembly<'_>,
    expected: Expected,
    digests: &[String],
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    let Expected { source, packets, parts } = expected;
    let promised = Promised::new(assembly, &source);
    let samples = samples::choose(&promised, &parts);
    // Nothing waits for another that need not: most of each is the start of a process.
    let (pictures, proof) = tokio::try_join!(
        Box::pin(pictures::of_source(tools, &promised, &samples, cancel)),
        Box::pin(measure(tools, (assembly, &source), (&parts, &samples), out, cancel)),
    )?;
    let Proof { measured, packets: have, seams, sound, dynamic } = proof;
    let mut checks = vec![
        measured.frame_times(),
        check::parameter_sets(digests.iter().map(String::as_str)),
        check::packets(&split(&packets, &measured.promised.counts), &have),
        seams.check(),
        pictures::compare(tools, &measured.promised, &seams, pictures, cancel).await?,
    ];
    checks.extend(sound);
    checks.extend(streams::checks(&measured));
    checks.extend(language_tags::check(assembly, out).await?);
    checks.extend(dynamic);
    checks.push(measured.duration());
    Ok(Verdict { checks })
}

/// What was found in the output.
struct Proof<'a> {
    measured: Measured<'a>,
    /// Fingerprints of its packets.
    packets: Vec<String>,
    seams: Seams,
    sound: Vec<Check>,
    dynamic: Vec<Check>,
}

async fn measure<'a>(
    tools: &Tools,
    (assembly, source): (Assembly<'a>, &'a Listing),
    (parts, samples): (&Listed, &[Sample]),
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Proof<'a>, Failure> {
    let codec = assembly.encode.encoder.codec();
    let promised = Promised::new(assembly, source);
    let (copied, media, output, packets) = tokio::try_join!(
        seams::copy(tools, &promised, (parts, samples), out, cancel),
        probe(tools, out, cancel),
        list(tools, source_input(out), "", cancel),
        hashes::packet_hashes(tools, source_input(out), codec, cancel),
    )?;
    let measured = Measured { promised, output, media };
    let (seams, sound, dynamic) = tokio::try_join!(
        seams::decode(tools, &measured, copied, samples.to_vec(), cancel),
        sound::checks(tools, &measured, cancel),
        Box::pin(dynamic::checks(tools, &measured, out, cancel)),
    )?;
    Ok(Proof { measured, packets, seams, sound, dynamic })
}

/// Seconds that the source claims to last. A film that claims more than any of its streams
/// does is not cut short: editors leave such headers behind.
fn declared(media: &MediaInfo) -> f64 {
    let whole = media.duration.unwrap_or(0.0);
    let heard = |kind: &StreamKind| matches!(kind, StreamKind::Video(_) | StreamKind::Audio(_));
    let streams = media.streams.iter().filter(|stream| heard(&stream.kind));
    let longest: Option<Vec<f64>> = streams.map(|stream| stream.duration).collect();
    longest.and_then(|all| all.into_iter().reduce(f64::max)).map_or(whole, |it| it.min(whole))
}

/// How far before the first packet the first frame may be, seconds.
const MOVED: f64 = 0.1;

/// The packets of all parts, by part; what is left over goes to the last.
fn split(packets: &[String], counts: &[usize]) -> Vec<Vec<String>> {
    let mut rest = packets;
    let last = counts.len().saturating_sub(1);
    let mut parts = Vec::with_capacity(counts.len());
    for (at, count) in counts.iter().enumerate() {
        let take = if at == last { rest.len() } else { (*count).min(rest.len()) };
        let (part, left) = rest.split_at(take);
        parts.push(part.to_vec());
        rest = left;
    }
    parts
}

impl Measured<'_> {
    fn frame_times(&self) -> Check {
        let stream = self.output.streams.get(&0);
        let found = stream.and_then(|stream| Some((stream.shown()?, stream.time_base?)));
        let Some((found, base)) = found else {
            return Check::new("frames", false, "the output has no timed video");
        };
        if let Some(why) = self.moved() {
            return Check::new("frames", false, why);
        }
        let plan = self.promised.assembly.plan;
        let step = plan.container.timestamp_step().max(base.seconds(1) / 2.0);
        check::frame_times(
            (&self.promised.planned, self.promised.time_base()),
            (&found, base),
            plan.origin_micros,
            step,
        )
    }

    /// Whether the frames as they were decoded begin before any packet of the source does:
    /// then their times were moved, and the sound's were not.
    fn moved(&self) -> Option<String> {
        let stream = self.promised.source.streams.get(&self.promised.assembly.plan.video.stream)?;
        let starts: Option<Vec<i64>> = stream.packets.iter().map(|packet| packet.pts).collect();
        let begins = stream.time_base?.seconds(starts?.into_iter().min()?);
        let found = self.promised.time_base().seconds(*self.promised.planned.first()?);
        (found < begins - MOVED).then(|| {
            format!("the first is at {found:.3} s, the source's first packet at {begins:.3} s")
        })
    }

    /// Whether the output lasts as long as the source really does, leaving out
    /// how long the last picture stays, and the source as long as it declares.
    fn duration(&self) -> Check {
        let declared = declared(self.promised.assembly.media);
        if let Some(reached) = self.promised.source.stops_early(declared) {
            return check::duration(declared, reached);
        }
        let base = self.promised.time_base();
        let video = self.promised.planned.last().map(|last| base.seconds(*last));
        let tracks = self.promised.assembly.plan.tracks.iter();
        let audio = tracks.filter(|track| sound::is_audio(track));
        let audio =
            audio.filter_map(|track| self.promised.source.streams.get(&track.stream)?.span());
        let ends = audio.map(|span| span.end).chain(video);
        let end = ends.map(|end| end - self.promised.origin_seconds()).fold(0.0, f64::max);
        let spans = self.output.streams.values().filter_map(|stream| stream.span());
        let found = spans.map(|span| span.end).fold(0.0, f64::max);
        check::duration(end, found)
    }
}
