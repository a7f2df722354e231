//! Encodes audio tracks, beside the video.

mod loudness;

pub(crate) use loudness::check as check_loudness;

use crate::args::{self, AudioTrack, audio_input, source_input};
use crate::encode::{OnProgress, Source, refuse_read_error, remove, run};
use crate::listing::list;
use crate::probe::probe;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::media::{AudioInfo, MediaInfo, StreamKind};
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Encodes those of `tracks` that are to be encoded into the file `out` (NUT or
/// MP4, whatever its name), in order, one stream each. Times in it count from the source's start, plus
/// [`args::AUDIO_LEAD_MICROS`].
///
/// # Errors
/// When a track is not in the source, or as the encoder failed.
pub async fn encode_audio(
    tools: &Tools,
    source: Source<'_>,
    tracks: &[TrackPlan],
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    remove(out).await?;
    let media = probe(tools, source.path, cancel).await?;
    let tracks = encoded_tracks(tools, source.path, tracks, &media, cancel).await?;
    let args = args::audio(source.path, source.start_micros, &tracks, out);
    let command = tools.ffmpeg(args);
    let output = run(command, on_progress, cancel).await?;
    refuse_read_error(&output)?;
    let listing = list(tools, audio_input(out), "a", cancel).await?;
    if listing.streams.len() != tracks.len() || !listing.errors.is_empty() {
        let message =
            format!("{} of {} audio tracks were encoded", listing.streams.len(), tracks.len());
        return Err(Failure::transient(message));
    }
    for (at, track) in (0..).zip(&tracks) {
        if let Some(correction) = &track.correction {
            let input = audio_input(out);
            loudness::check(tools, input, at, correction.wanted, cancel).await?;
        }
    }
    Ok(())
}

/// How each track that is to be encoded is encoded; loudness is measured first.
pub(crate) async fn encoded_tracks(
    tools: &Tools,
    source: &Path,
    tracks: &[TrackPlan],
    media: &MediaInfo,
    cancel: &CancellationToken,
) -> Result<Vec<AudioTrack>, Failure> {
    let mut found = Vec::new();
    for track in tracks {
        if let TrackAction::EncodeAudio { codec, bit_rate, channels, loudness, .. } = track.action {
            let info = audio_info(media, track.stream)?;
            let stream = track.stream;
            let mut track =
                AudioTrack { stream, info, codec, bit_rate, channels, correction: None };
            if let Some(wanted) = loudness {
                let input = source_input(source);
                track.correction =
                    loudness::correction(tools, input, &track, wanted, cancel).await?;
            }
            found.push(track);
        }
    }
    Ok(found)
}

fn audio_info(media: &MediaInfo, index: u32) -> Result<AudioInfo, Failure> {
    let stream = media.streams.iter().find(|stream| stream.index == index);
    match stream.map(|stream| &stream.kind) {
        Some(StreamKind::Audio(info)) => Ok(info.clone()),
        _ => Err(Failure::input(format!("stream {index} of the source is not audio any more"))
            .advise("the file was changed after it was planned: convert it again")),
    }
}
