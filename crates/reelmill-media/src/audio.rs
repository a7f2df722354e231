//! Encodes audio tracks, beside the video.

mod loudness;

pub(crate) use loudness::check as check_loudness;

use crate::args::{self, Apart, AudioTrack, audio_input, must_be_apart};
use crate::encode::{OnProgress, STALL, Source, refuse_read_error, remove, run};
use crate::listing::list;
use crate::probe::probe;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::media::{AudioInfo, MediaInfo, Stream, StreamKind};
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
    let tracks = encoded_tracks(tools, (source.path, out), tracks, &media, cancel).await?;
    let args = args::audio(source.path, source.start_micros, &tracks, out);
    let command = tools.ffmpeg(args);
    let output = run(command, on_progress, cancel).await?;
    refuse_read_error(&output)?;
    for apart in tracks.iter().filter_map(|track| track.apart.as_ref()) {
        remove(&apart.path).await?;
    }
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

/// How each track that is to be encoded is encoded; loudness is measured first. What has to
/// be taken out of the source for that goes to files beside `out`.
pub(crate) async fn encoded_tracks(
    tools: &Tools,
    (source, out): (&Path, &Path),
    tracks: &[TrackPlan],
    media: &MediaInfo,
    cancel: &CancellationToken,
) -> Result<Vec<AudioTrack>, Failure> {
    let mut found = Vec::new();
    for track in tracks {
        if let TrackAction::EncodeAudio { codec, bit_rate, channels, loudness, .. } = track.action {
            let (before, info) = audio_info(media, track.stream)?;
            let apart = match must_be_apart(&before.codec) {
                true => Some(taken_out(tools, source, before, out, cancel).await?),
                false => None,
            };
            let stream = track.stream;
            let correction = None;
            let mut track =
                AudioTrack { stream, info, codec, bit_rate, channels, correction, apart };
            if let Some(wanted) = loudness {
                track.correction =
                    loudness::correction(tools, source, &track, wanted, cancel).await?;
            }
            found.push(track);
        }
    }
    Ok(found)
}

/// A track in a file of its own, beside `out`.
async fn taken_out(
    tools: &Tools,
    source: &Path,
    stream: &Stream,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Apart, Failure> {
    let path = out.with_extension(format!("{}.amr", stream.index));
    let command = tools.ffmpeg(args::take_out(source, stream.index, &path)).stall_after(STALL);
    refuse_read_error(&command.run(cancel).await?)?;
    let start = stream.time_base.zip(stream.start_ticks);
    Ok(Apart {
        path,
        start_micros: start.map_or(0, |(base, ticks)| base.micros(ticks)),
        length_micros: stream.duration.map(|seconds| (seconds * 1e6) as i64),
    })
}

fn audio_info(media: &MediaInfo, index: u32) -> Result<(&Stream, AudioInfo), Failure> {
    let stream = media.streams.iter().find(|stream| stream.index == index);
    match stream.map(|stream| (stream, &stream.kind)) {
        Some((stream, StreamKind::Audio(info))) => Ok((stream, info.clone())),
        _ => Err(Failure::input(format!("stream {index} of the source is not audio any more"))
            .advise("the file was changed after it was planned: convert it again")),
    }
}
