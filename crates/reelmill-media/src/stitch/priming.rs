//! Packets that only warm a decoder up, which an edit list leaves out.

use super::Assembly;
use crate::args::{Args, source_input};
use crate::listing::{Listed, Packet, list};
use crate::tools::Tools;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::preset::AudioCodec;
use reelmill_core::tracks::TrackAction;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Packets of a source that are looked at, of all streams together.
const LOOK: u32 = 5000;

/// Number of leading packets to leave out of each encoded track of `codec`.
///
/// Matroska has no edit lists: the packet that only warms the decoder up (1024
/// samples of AAC, 1105 of MP3) would be heard as silence before the sound.
/// Opus says how long its own is; that of AC-3 is 5 ms.
pub(super) fn of_encoder(container: Container, codec: AudioCodec) -> u32 {
    let heard = container == Container::Mkv && matches!(codec, AudioCodec::Aac | AudioCodec::Mp3);
    u32::from(heard)
}

/// Number of leading packets to leave out of each copied audio track, by its
/// stream in the source.
pub(super) async fn of_copies(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<u32, u32>, Failure> {
    let copies = assembly.plan.tracks.iter().any(|track| track.action == TrackAction::CopyAudio);
    if assembly.plan.container != Container::Mkv || !copies || !assembly.media.is_format("mov") {
        return Ok(BTreeMap::new());
    }
    let input = Args::new()
        .option("-read_intervals", format!("%+#{LOOK}"))
        .args(source_input(assembly.source));
    let listing = list(tools, input, "", cancel).await?;
    Ok(listing.streams.iter().map(|(index, stream)| (*index, unheard(stream))).collect())
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
