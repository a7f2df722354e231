//! Which tags and dispositions go over into the output.

use crate::args::Metadata;
use reelmill_core::container::Container;
use reelmill_core::media::{MediaInfo, Stream};

/// Tags that tell about the source's coding, not about the programme; some
/// carry a language behind a dash (`bps-eng`).
const CODING: &[&str] = &[
    "bps",
    "duration",
    "encoder",
    "number_of_bytes",
    "number_of_frames",
    "rotate",
    "_statistics_tags",
    "_statistics_writing_app",
    "_statistics_writing_date_utc",
    "source_id",
];

/// Tags that QuickTime's relatives put on every track.
const QUICKTIME: &[&str] = &["handler_name", "vendor_id"];

/// Tags that name the source's file format.
const FORMAT: &[&str] = &["major_brand", "minor_version", "compatible_brands", "encoder"];

/// Dispositions that belong to pictures of cover art.
const STILL: &[&str] = &["attached_pic", "timed_thumbnails", "still_image"];

fn is_coding(key: &str) -> bool {
    let stem = key.split_once('-').map_or(key, |(stem, _)| stem);
    CODING.contains(&stem)
}

/// The tags of a stream that its encoded form gets.
pub(super) fn of_encoded(stream: &Stream, container: Container) -> Metadata {
    let undetermined = |key: &str, value: &str| key == "language" && value == "und";
    let gone = |key: &str| is_coding(key) || QUICKTIME.contains(&key);
    let tags = stream.tags.iter();
    tags.filter(|(key, value)| !gone(key) && !undetermined(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain([("encoder".to_owned(), String::new())])
        .chain(handler(stream, container))
        .collect()
}

/// The tags of a track of an output of sound alone; `extra` for one that stands
/// beside another form of it.
pub(crate) fn of_track(stream: &Stream, container: Container, extra: bool) -> Metadata {
    let mut tags = of_encoded(stream, container);
    tags.retain(|(key, value)| !value.is_empty() || key == "encoder");
    if extra {
        retitle(&mut tags);
    }
    tags
}

/// The tags of a track of a film that stands beside another form of it.
pub(super) fn of_extra(stream: &Stream, container: Container) -> Metadata {
    let mut tags = of_encoded(stream, container);
    retitle(&mut tags);
    tags
}

/// What the track beside another form of it is called.
pub(crate) const EXTRA_TITLE: &str = "Stereo";

/// Calls a track that stands beside another form of it by another title.
fn retitle(tags: &mut Metadata) {
    tags.retain(|(key, _)| key != "title" && key != "handler_name");
    tags.push(("title".into(), EXTRA_TITLE.into()));
    tags.push(("handler_name".into(), EXTRA_TITLE.into()));
}

/// The tags of a file of sound alone: those of the source, and those of `track`
/// where they have no place of their own.
pub(crate) fn of_sound(
    media: &MediaInfo,
    track: Option<&Stream>,
    container: Container,
) -> Metadata {
    let gone = |key: &str| {
        is_coding(key)
            || QUICKTIME.contains(&key)
            || FORMAT.contains(&key)
            || SOUND_CODING.contains(&key)
    };
    let mut tags = media.tags.clone();
    for (key, value) in track.iter().flat_map(|track| &track.tags) {
        tags.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let undetermined = |key: &str, value: &str| {
        key == "language" && (value == "und" || container == Container::M4a)
    };
    tags.retain(|key, value| !gone(key) && !value.is_empty() && !undetermined(key, value));
    tags.into_iter().collect()
}

/// Tags that tell how the source's sound is coded, or where it is cut.
const SOUND_CODING: &[&str] = &[
    "itunsmpb",
    "tlen",
    "encoded_by",
    "metadata_block_picture",
    "waveformatextensible_channel_mask",
];

/// The tags of a copied stream that must be removed, since FFmpeg copies all.
pub(super) fn stale(stream: &Stream, container: Container) -> Metadata {
    let quicktime = matches!(container, Container::Mp4 | Container::Mov);
    let gone = |key: &str| is_coding(key) || (!quicktime && QUICKTIME.contains(&key));
    let tags = stream.tags.keys().filter(|key| gone(key));
    tags.map(|key| (key.clone(), String::new())).chain(handler(stream, container)).collect()
}

/// Where players look for a track's title in QuickTime's relatives.
fn handler(stream: &Stream, container: Container) -> Option<(String, String)> {
    let quicktime = matches!(container, Container::Mp4 | Container::Mov);
    let title = stream.title().filter(|_| quicktime)?;
    Some(("handler_name".into(), title.to_owned()))
}

/// The tags of the file that must be removed.
pub(super) fn stale_global(media: &MediaInfo) -> Metadata {
    let tags = media.tags.keys().filter(|key| FORMAT.contains(&key.as_str()));
    tags.map(|key| (key.clone(), String::new())).collect()
}

/// The mark by which a converted file is known, so that it is never converted
/// again in a loop: a tag of the file. QuickTime's have no place for it.
pub(crate) fn made_here(container: Container) -> Option<(String, String)> {
    let key = match container {
        Container::Mp4 | Container::M4a => "encoding_tool",
        Container::Mkv | Container::Webm | Container::Mka => "REELMILL",
        Container::Opus | Container::Flac | Container::Mp3 => "REELMILL",
        // Bare streams and pictures have no tags.
        _ => return None,
    };
    Some((key.to_owned(), mark()))
}

/// The same mark in QuickTime: the handler of the picture, unless it is the
/// track's title.
pub(super) fn made_here_in(container: Container, tags: &mut Metadata) {
    if container == Container::Mov && !tags.iter().any(|(key, _)| key == "handler_name") {
        tags.push(("handler_name".into(), mark()));
    }
}

fn mark() -> String {
    format!("reelmill {}", env!("CARGO_PKG_VERSION"))
}

/// Whether reelmill has made this file.
#[must_use]
pub fn made_by_reelmill(media: &MediaInfo) -> bool {
    // Ogg keeps the tags of the file on its first track.
    let of_tracks = media.streams.iter().flat_map(|stream| &stream.tags);
    let of_tracks = of_tracks.filter(|(key, _)| {
        matches!(key.to_ascii_lowercase().as_str(), "reelmill" | "handler_name")
    });
    let handlers = of_tracks.map(|(_, value)| value);
    let global = media.tags.iter().filter(|(key, _)| {
        matches!(key.to_ascii_lowercase().as_str(), "reelmill" | "encoder" | "encoding_tool")
    });
    let mut marks = global.map(|(_, value)| value).chain(handlers);
    marks.any(|value| value.starts_with("reelmill "))
}

/// The dispositions of a stream that go over.
pub(crate) fn dispositions(stream: &Stream) -> Vec<String> {
    let flags = stream.dispositions.iter();
    flags.filter(|flag| !STILL.contains(&flag.as_str())).cloned().collect()
}
