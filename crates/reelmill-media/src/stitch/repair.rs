//! Packets of audio tracks that need repair: priming, unknown durations.

use super::Assembly;
use crate::args::{self, Args, Repair, audio_input, source_input};
use crate::listing::{Listed, Packet, list};
use crate::tools::Tools;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::tracks::TrackAction;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Packets of a source that are looked at, of all streams together.
const LOOK: u32 = 5000;

/// What to repair in each encoded track, in their order.
///
/// The packet that only warms the decoder up (1024 samples of AAC, 1105 of MP3)
/// would be heard as silence before the sound. MP4 says that it must not, but
/// only where it comes before the file's beginning; Matroska never. Opus says
/// how long its own is; that of AC-3 is 5 ms.
pub(super) async fn of_encoded(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Repair>, Failure> {
    let Some(audio) = assembly.parts.audio else {
        return Ok(Vec::new());
    };
    let listing = list(tools, audio_input(audio), "", cancel).await?;
    let edits = assembly.plan.container != Container::Mkv;
    Ok(listing.streams.values().map(|stream| repair(stream, edits)).collect())
}

fn repair(stream: &Listed, edits: bool) -> Repair {
    let last = stream.packets.last();
    match stream.codec.as_str() {
        "aac" | "mp3" => {
            let lead = args::AUDIO_LEAD_MICROS as f64 / 1e6;
            let late = stream.span().is_some_and(|span| span.start >= lead);
            Repair::DropFirst(u32::from(late || !edits))
        }
        // The file of encoded sound does not say how long a packet of Opus is; what lasts
        // no time in MP4 is not played.
        "opus" => close(stream),
        "flac" => match (last.and_then(|packet| packet.pts), stream.declared_end) {
            (Some(pts), Some(end)) if end > pts => Repair::LastDuration(end - pts),
            _ => Repair::Nothing,
        },
        _ => Repair::Nothing,
    }
}

/// Codecs whose packets have no length in Matroska.
const OPEN: [&str; 1] = ["alac"];

/// What to repair in each copied audio track, by its stream in the source: in Matroska
/// what MP4 says must not be heard, and in MP4 how long the last packet is, for what
/// lasts no time is not played.
pub(super) async fn of_copies(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<u32, Repair>, Failure> {
    let Assembly { plan, media, .. } = assembly;
    let copied: Vec<u32> = plan
        .tracks
        .iter()
        .filter(|track| track.action == TrackAction::CopyAudio)
        .map(|track| track.stream)
        .collect();
    let open = media
        .streams
        .iter()
        .any(|stream| copied.contains(&stream.index) && OPEN.contains(&stream.codec.as_str()));
    let out_of_mp4 = plan.container == Container::Mkv && media.is_format("mov");
    let into_mp4 = [Container::Mp4, Container::Mov].contains(&plan.container) && open;
    if copied.is_empty() || !(out_of_mp4 || into_mp4) {
        return Ok(BTreeMap::new());
    }
    let input = Args::new()
        .option("-read_intervals", format!("%+#{LOOK}"))
        .join(source_input(assembly.source));
    let listing = list(tools, input, "", cancel).await?;
    let streams = listing.streams.iter().filter(|(index, _)| copied.contains(index));
    let repair = |stream: &Listed| {
        if out_of_mp4 { Repair::DropFirst(unheard(stream)) } else { close(stream) }
    };
    Ok(streams.map(|(index, stream)| (*index, repair(stream))).collect())
}

/// Where no packet tells its length, the last is as long as the first.
fn close(stream: &Listed) -> Repair {
    match stream.packets.as_slice() {
        [first, second, ..] if first.duration.is_none() => match (first.pts, second.pts) {
            (Some(from), Some(to)) if to > from => Repair::LastDuration(to - from),
            _ => Repair::Nothing,
        },
        _ => Repair::Nothing,
    }
}

/// Leading packets of which less than half is heard.
fn unheard(stream: &Listed) -> u32 {
    let rate = f64::from(stream.sample_rate);
    let mostly_skipped = |packet: &&Packet| {
        let ticks = packet.duration.unwrap_or(0);
        let seconds = stream.time_base.map_or(0.0, |base| base.seconds(ticks));
        packet.discard || f64::from(packet.skip) * 2.0 > seconds * rate
    };
    stream.packets.iter().take_while(mostly_skipped).count() as u32
}
