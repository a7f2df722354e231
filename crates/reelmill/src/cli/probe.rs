//! `reelmill probe`: what a media file holds.

use super::args::{Common, ProbeArgs};
use super::out;
use crate::exit::{Ending, Exit};
use reelmill_core::error::FailureClass;
use reelmill_core::media::{MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::tracks::describe;
use reelmill_media::probe::probe;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(crate) async fn run(args: &ProbeArgs, common: &Common) -> Result<Exit, Ending> {
    let tools = common.tools().await?;
    let probed = probe(&tools, &args.input, &CancellationToken::new()).await;
    let media = probed.map_err(|failure| match failure.class {
        FailureClass::Cancelled | FailureClass::Timeout => Ending::from(failure),
        _ => Ending::input(failure),
    })?;
    if common.json {
        out::json(&media);
    } else {
        for line in tell(&media) {
            out::line(&line);
        }
    }
    Ok(Exit::Done)
}

fn tell(media: &MediaInfo) -> Vec<String> {
    let duration = media.duration.map_or("unknown length".into(), out::seconds);
    let mut lines = vec![format!("{}, {}, {duration}", media.format, out::bytes(media.size))];
    lines.extend(media.streams.iter().map(tell_stream));
    if !media.chapters.is_empty() {
        lines.push(format!("  {} chapters", media.chapters.len()));
    }
    lines
}

fn tell_stream(stream: &Stream) -> String {
    let what = describe(stream);
    let facts = match &stream.kind {
        StreamKind::Video(video) | StreamKind::Cover(video) => tell_video(video),
        StreamKind::Audio(audio) => {
            let layout = audio.layout.clone().unwrap_or_else(|| format!("{} ch", audio.channels));
            format!(", {} Hz {layout}", audio.sample_rate)
        }
        StreamKind::Subtitle | StreamKind::Attachment | StreamKind::Data => String::new(),
    };
    let flags = match stream.dispositions.join(" ") {
        flags if flags.is_empty() => flags,
        flags => format!(" [{flags}]"),
    };
    format!("  {}: {what}{facts}{flags}", stream.index)
}

fn tell_video(video: &VideoInfo) -> String {
    let fps = video.fps().map_or(String::new(), |fps| format!(", {fps:.3} fps"));
    let turned = match video.rotation {
        0 => String::new(),
        degrees => format!(", turned {degrees}°"),
    };
    let colour = match (&video.colour.primaries, &video.colour.transfer) {
        (Some(primaries), Some(transfer)) => format!(", {primaries}/{transfer}"),
        _ => String::new(),
    };
    let hdr = match video.hdr {
        reelmill_core::media::Hdr::None => String::new(),
        hdr => format!(", {hdr:?}"),
    };
    format!(", {}x{} {}{fps}{turned}{colour}{hdr}", video.width, video.height, video.pixel_format)
}
