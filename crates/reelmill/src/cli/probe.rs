//! `reelmill probe`: what a media file holds.

use super::args::Common;
use super::out;
use crate::exit::{Ending, Exit};
use clap::Args;
use reelmill_core::dolby::DolbyVision;
use reelmill_core::error::FailureClass;
use reelmill_core::media::{Hdr, MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::tracks::describe;
use reelmill_media::probe::probe;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// `reelmill probe`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProbeArgs {
    /// The file to look at.
    pub(crate) input: PathBuf,
}

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
    let hdr = tell_hdr(video);
    format!(", {}x{} {}{fps}{turned}{colour}{hdr}", video.width, video.height, video.pixel_format)
}

/// The kinds of HDR, as the stream itself shows them.
fn tell_hdr(video: &VideoInfo) -> String {
    let mut kinds = match (video.hdr, &video.dolby_vision) {
        (Hdr::None, _) => Vec::new(),
        (Hdr::Hdr10, _) => vec!["HDR10".to_owned()],
        (Hdr::Hlg, _) => vec!["HLG".to_owned()],
        (Hdr::DolbyVision, Some(dolby)) => vec![tell_dolby(dolby)],
        (Hdr::DolbyVision, None) => {
            vec!["Dolby Vision by its container only: none in the stream".to_owned()]
        }
    };
    if video.hdr10plus {
        kinds.push("HDR10+".to_owned());
    }
    if let Some(display) = video.mastering {
        kinds.push(format!("mastered to {} nits", display.max_luminance / 10_000));
    }
    if let Some(light) = video.light {
        kinds.push(format!("up to {} nits, frames to {}", light.max, light.average));
    }
    kinds.iter().map(|kind| format!(", {kind}")).collect()
}

fn tell_dolby(dolby: &DolbyVision) -> String {
    let layer = dolby.layer.map_or(String::new(), |layer| format!(" {}", layer.label()));
    let levels: Vec<String> = dolby.levels.iter().map(|level| format!("L{level}")).collect();
    format!("Dolby Vision profile {}{layer} ({})", dolby.profile, levels.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::dolby::EnhancementLayer;

    #[test]
    fn kinds_of_hdr_are_told_as_the_stream_shows_them() {
        let dolby = DolbyVision {
            profile: 7,
            layer: Some(EnhancementLayer::Fel),
            stream: 0,
            levels: vec![1, 5, 6],
            source_max_pq: Some(3079),
        };
        let mut video = VideoInfo { hdr: Hdr::DolbyVision, ..VideoInfo::default() };
        assert!(tell_hdr(&video).contains("none in the stream"));
        video.dolby_vision = Some(dolby);
        video.hdr10plus = true;
        assert_eq!(tell_hdr(&video), ", Dolby Vision profile 7 FEL (L1 L5 L6), HDR10+");
        assert_eq!(tell_hdr(&VideoInfo::default()), "");
    }
}
