//! As much of a film of HEVC in Matroska as is needed where nothing of it is decoded: which
//! tracks there are, and what its pictures say of Dolby Vision.

use super::Shown;
use super::ebml::{children, element, text, uint};
use super::matroska::{Head, duration, dynamic, entries, head};
use super::mkv_track::{Entry, picture_of};
use super::picture::Picture;
use super::window::{Look, Window, unsure};
use reelmill_core::dolby::{DolbyVision, EnhancementLayer};
use reelmill_core::facts::Chroma;
use reelmill_core::media::{AudioInfo, Colour, Hdr, MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::time::TimeBase;
use std::collections::BTreeMap;

const ATTACHMENTS: u32 = 0x1941_A469;

/// Nanoseconds of a tick, as nearly all files have it.
const MILLISECOND: u64 = 1_000_000;

/// Attached files that are looked at.
const MAX_ATTACHMENTS: usize = 200;

/// The film; unsure where there is anything but one picture with Dolby Vision, sound,
/// subtitles and fonts. Sound and subtitles are counted only.
pub(super) fn film(file: &mut Window) -> Look<MediaInfo> {
    let head = head(file)?;
    let (Some(info), Some(tracks)) = (&head.info, &head.tracks) else {
        return unsure("no tracks in its headers");
    };
    let mut kinds = Vec::new();
    for entry in entries(tracks)? {
        kinds.push(match entry.kind {
            1 => StreamKind::Video(picture(file, &head, &entry, kinds.len() as u32)?),
            2 => StreamKind::Audio(AudioInfo::default()),
            0x11 => StreamKind::Subtitle,
            _ => return unsure("a track of an unusual kind"),
        });
    }
    if kinds.iter().filter(|kind| matches!(kind, StreamKind::Video(_))).count() != 1 {
        return unsure("not one picture");
    }
    kinds.extend(fonts(file, &head)?);
    let scale = children(info)?.into_iter().find(|(id, _)| *id == 0x2A_D7B1);
    if scale.is_some_and(|(_, scale)| uint(scale) != MILLISECOND) {
        return unsure("unusual ticks");
    }
    Ok(MediaInfo {
        format: "matroska,webm".to_owned(),
        size: file.len,
        duration: duration(info)?.map(|micros| micros as f64 / 1e6),
        start_micros: 0,
        streams: kinds.into_iter().zip(0..).map(|(kind, index)| stream(kind, index)).collect(),
        chapters: Vec::new(),
        tags: BTreeMap::new(),
    })
}

fn stream(kind: StreamKind, index: u32) -> Stream {
    let codec = if matches!(kind, StreamKind::Video(_)) { "hevc" } else { "unknown" };
    Stream {
        index,
        codec: codec.to_owned(),
        profile: None,
        time_base: TimeBase::new(1, 1000),
        start_ticks: None,
        duration: None,
        bit_rate: None,
        dispositions: Vec::new(),
        tags: BTreeMap::new(),
        kind,
    }
}

/// The picture with all that decides about its Dolby Vision.
fn picture(file: &mut Window, head: &Head, entry: &Entry, index: u32) -> Look<VideoInfo> {
    let Shown { codec, picture, transfer, frame_rate, .. } = picture_of(entry, None)?;
    let Picture { width, height, chroma, bit_depth, .. } = picture;
    if (codec, chroma, bit_depth) != ("hevc", Chroma::C420, 10) {
        return unsure("a picture without Dolby Vision");
    }
    let transfer = match transfer {
        2 => None,
        16 => Some("smpte2084".to_owned()),
        18 => Some("arib-std-b67".to_owned()),
        _ => return unsure("an unusual transfer"),
    };
    let found = dynamic(file, head, entry)?;
    let Some(dolby) = found.dolby_vision.clone() else {
        return unsure("a picture without Dolby Vision");
    };
    if dolby.layer == Some(EnhancementLayer::Fel) && found.mastering.is_none() {
        return unsure("the container may know the mastering display");
    }
    Ok(VideoInfo {
        width,
        height,
        pixel_format: "yuv420p10le".to_owned(),
        frame_rate: Some(frame_rate),
        colour: Colour { transfer, ..Colour::default() },
        hdr: Hdr::DolbyVision,
        dolby_vision: Some(DolbyVision { stream: index, ..dolby }),
        ..*found
    })
}

/// The attached files, of which FFmpeg makes streams; unsure where one is a picture.
fn fonts(file: &mut Window, head: &Head) -> Look<Vec<StreamKind>> {
    let Some(at) = head.seeks.get(&ATTACHMENTS) else { return Ok(Vec::new()) };
    let attachments = element(file, *at)?;
    let end = attachments.end(file.len)?;
    let (mut at, mut found) = (attachments.content, Vec::new());
    while at < end && found.len() < MAX_ATTACHMENTS {
        let attached = element(file, at)?;
        at = attached.end(end)?;
        if attached.id == 0x61A7 {
            font(file, (attached.content, at))?;
            found.push(StreamKind::Attachment);
        }
    }
    Ok(found)
}

/// Sees to it that an attached file is whole and no picture.
fn font(file: &mut Window, (mut at, end): (u64, u64)) -> Look<()> {
    let (mut named, mut kind) = (false, String::new());
    while at < end {
        let part = element(file, at)?;
        match part.id {
            0x466E => named = true,
            0x4660 => kind = text(&part.read(file)?),
            _ => {}
        }
        at = part.end(end)?;
    }
    if !named || kind.is_empty() || kind.starts_with("image/") {
        return unsure("attached files that FFmpeg takes for something else");
    }
    Ok(())
}
