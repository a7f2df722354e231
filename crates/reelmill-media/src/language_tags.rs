//! Languages as BCP 47 writes them (`pt-BR`, `zh-Hant`), beside the three letters of
//! ISO 639-2 that every container has.
//!
//! FFmpeg 5.1 neither reads nor writes Matroska's element for them, so a Brazilian
//! track would come out as just Portuguese.

use crate::headers;
use crate::stitch::Assembly;
use reelmill_core::check::{self, Check};
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::media::Stream;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::path::Path;

/// What each track of the output is to be tagged with, in order, the picture first; empty
/// where the source says no more than three letters do, or the output has no place for it.
///
/// # Errors
/// Never by the source: what cannot be read has no tags.
pub(crate) async fn promised(assembly: Assembly<'_>) -> Result<Vec<Option<String>>, Failure> {
    let Assembly { plan, media, source, .. } = assembly;
    if plan.container != Container::Mkv || !media.is_format("matroska") {
        return Ok(Vec::new());
    }
    let tags = read(source).await?;
    let tag = |index: u32| {
        let stream = media.streams.iter().find(|stream| stream.index == index)?;
        tags.get(index as usize)?.clone().filter(|tag| says_more(tag, stream))
    };
    let attached =
        |track: &&TrackPlan| !matches!(track.action, TrackAction::Attachment | TrackAction::Cover);
    let others = plan.tracks.iter().filter(attached).map(|track| track.stream);
    let wanted: Vec<_> = [plan.video.stream].into_iter().chain(others).map(tag).collect();
    Ok(if wanted.iter().any(Option::is_some) { wanted } else { Vec::new() })
}

/// Whether `tag` says more than the stream's three letters.
fn says_more(tag: &str, stream: &Stream) -> bool {
    tag.contains('-') || (stream.language().is_none() && tag != "und")
}

/// Whether the file at `out` has the tags that it was to have; nothing where it was to have
/// none.
///
/// # Errors
/// When reading ended early.
pub(crate) async fn check(assembly: Assembly<'_>, out: &Path) -> Result<Option<Check>, Failure> {
    let wanted = promised(assembly).await?;
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut found = read(out).await?;
    found.resize(wanted.len(), None);
    let differs = wanted.iter().zip(&mut found);
    for (wanted, found) in differs {
        // What says no more than the three letters may be there or not.
        found.take_if(|_| wanted.is_none());
    }
    Ok(Some(check::equal("language tags", &wanted, &found)))
}

async fn read(path: &Path) -> Result<Vec<Option<String>>, Failure> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || headers::language_tags(&path)).await;
    read.map_err(|e| Failure::transient(format!("reading languages ended early: {e}")))
}
