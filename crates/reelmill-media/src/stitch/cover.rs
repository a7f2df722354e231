//! Cover art: Matroska carries it as an attached file.

use super::Assembly;
use crate::args::{Metadata, quiet, source_input};
use crate::tools::Tools;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::media::Stream;
use reelmill_core::tracks::TrackAction;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// A picture taken out of the source.
#[derive(Debug, Clone)]
pub(crate) struct Cover {
    /// Its stream in the source.
    pub(crate) stream: u32,
    /// The picture's file.
    pub(crate) path: PathBuf,
    name: String,
    mime: &'static str,
}

impl Cover {
    /// The tags of the attachment.
    pub(crate) fn tags(&self) -> Metadata {
        vec![("mimetype".into(), self.mime.into()), ("filename".into(), self.name.clone())]
    }

    /// Its media type.
    pub(crate) fn mime(&self) -> &'static str {
        self.mime
    }
}

/// File extension and media type of a picture codec.
fn file_type(codec: &str) -> (&'static str, &'static str) {
    match codec {
        "png" => ("png", "image/png"),
        "gif" => ("gif", "image/gif"),
        "tiff" => ("tiff", "image/tiff"),
        "bmp" => ("bmp", "image/bmp"),
        _ => ("jpg", "image/jpeg"),
    }
}

/// Writes each cover that the plan keeps to a file, where the container wants
/// files; none otherwise.
pub(super) async fn extract(
    tools: &Tools,
    assembly: Assembly<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Cover>, Failure> {
    let mut covers = Vec::new();
    if assembly.plan.container != Container::Mkv {
        return Ok(covers);
    }
    let kept = assembly.plan.tracks.iter().filter(|track| track.action == TrackAction::Cover);
    for track in kept {
        let found = assembly.media.streams.iter().find(|stream| stream.index == track.stream);
        if let Some(stream) = found {
            let place = (assembly.source, assembly.scratch);
            covers.push(cover_file(tools, place, stream, covers.len(), cancel).await?);
        }
    }
    Ok(covers)
}

/// Writes cover art of the source, the first of the two paths, to a file in the
/// folder that is the second.
pub(crate) async fn cover_file(
    tools: &Tools,
    (source, scratch): (&Path, &Path),
    stream: &Stream,
    number: usize,
    cancel: &CancellationToken,
) -> Result<Cover, Failure> {
    let (extension, mime) = file_type(&stream.codec);
    let path = scratch.join(format!("cover{number}.{extension}"));
    let args = quiet()
        .join(source_input(source))
        .option("-map", format!("0:{}", stream.index))
        .words("-c copy -frames:v 1 -f image2 -update 1")
        .write(&path);
    tools.ffmpeg(args).run(cancel).await?;
    let usual = if number == 0 {
        format!("cover.{extension}")
    } else {
        format!("cover{number}.{extension}")
    };
    let name = stream.tags.get("filename").cloned().unwrap_or(usual);
    Ok(Cover { stream: stream.index, path, name, mime })
}
