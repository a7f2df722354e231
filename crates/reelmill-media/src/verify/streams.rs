//! Whether every kept track, tag, chapter and attachment is in the output.

use super::Measured;
use crate::args::output_colour;
use crate::stitch::{EXTRA_TITLE, dispositions};
use reelmill_core::check::{self, Check};
use reelmill_core::container::{Container, SubtitleFate};
use reelmill_core::media::{Chapter, MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::tracks::{TrackAction, TrackPlan};

/// How far a chapter may move, seconds: containers count milliseconds.
const CHAPTER_TOLERANCE: f64 = 0.002;

/// How far the shape of the picture may change by rounding to whole pixels.
const SHAPE_TOLERANCE: f64 = 0.02;

/// All checks of what can be read from headers.
pub(super) fn checks(measured: &Measured<'_>) -> Vec<Check> {
    let Some((_, video)) = measured.media.video() else {
        return vec![Check::new("video", false, "the output has no picture")];
    };
    let encode = measured.promised.assembly.encode;
    let codec = measured.media.video().map(|(stream, _)| stream.codec.as_str());
    vec![
        check::equal("codec", &Some(encode.encoder.codec()), &codec),
        check::equal("size", &encode.size, &(video.width, video.height)),
        shape(measured, video),
        check::colour(
            &output_colour(encode, measured.promised.assembly.source_pixels()),
            &video.colour,
        ),
        picture(measured),
        tracks(measured, "audio", is_audio),
        tracks(measured, "subtitles", is_subtitle),
        attachments(measured),
        covers(measured),
        chapters(measured),
    ]
}

/// Width over height as shown, over 1 for square pixels.
fn shape(measured: &Measured<'_>, video: &VideoInfo) -> Check {
    let encode = measured.promised.assembly.encode;
    let source = measured.promised.assembly.media.video().map(|(_, info)| info);
    let ratio = |aspect: Option<(u32, u32)>| match aspect {
        Some((x, y)) if x > 0 && y > 0 => f64::from(x) / f64::from(y),
        _ => 1.0,
    };
    let aspect = source.map_or(1.0, |info| ratio(info.sample_aspect));
    let turned = source.is_some_and(|info| info.rotation.rem_euclid(180) == 90);
    let pixel = if turned { 1.0 / aspect } else { aspect };
    let side = |(width, height): (u32, u32)| f64::from(width) / f64::from(height.max(1));
    let want = side(encode.part_size()) * pixel;
    let have = side((video.width, video.height)) * ratio(video.sample_aspect);
    let passed = (have / want - 1.0).abs() < SHAPE_TOLERANCE;
    Check::new("shape", passed, format!("{have:.3} wide by 1 high, {want:.3} in the source"))
}

/// What must be the same of a track.
#[derive(Debug, PartialEq)]
struct Facts {
    codec: Option<String>,
    language: Option<String>,
    title: Option<String>,
    flags: Vec<String>,
}

fn is_audio(stream: &Stream) -> bool {
    matches!(stream.kind, StreamKind::Audio(_))
}

fn is_subtitle(stream: &Stream) -> bool {
    matches!(stream.kind, StreamKind::Subtitle)
}

/// What is told of the picture's track, whatever it is encoded to.
fn picture(measured: &Measured<'_>) -> Check {
    let assembly = measured.promised.assembly;
    let container = assembly.plan.container;
    let streams = (assembly.media.streams.iter(), measured.media.video());
    let (mut source, Some((found, _))) = streams else {
        return Check::new("picture track", false, "missing");
    };
    let wrong = source.find(|stream| stream.index == assembly.plan.video.stream).and_then(|it| {
        let title = it.title().map(str::to_owned);
        let want = Facts { codec: None, title, ..facts(container, it) };
        differing(&want, &facts(container, found))
    });
    Check::new("picture track", wrong.is_none(), wrong.unwrap_or_else(|| "as planned".into()))
}

fn tracks(measured: &Measured<'_>, name: &str, kind: fn(&Stream) -> bool) -> Check {
    let plan = measured.promised.assembly.plan;
    let source = &measured.promised.assembly.media.streams;
    let planned: Vec<Facts> = plan
        .tracks
        .iter()
        .filter_map(|track| {
            let stream = source.iter().find(|stream| stream.index == track.stream)?;
            kind(stream).then(|| expected(plan.container, track, stream))
        })
        .collect();
    let found = measured.media.streams.iter().filter(|stream| kind(stream));
    let found: Vec<Facts> = found.map(|stream| facts(plan.container, stream)).collect();
    let name = format!("{name} tracks");
    if planned.len() != found.len() {
        let detail = format!("{} instead of {}", found.len(), planned.len());
        return Check::new(&name, false, detail);
    }
    for (number, (want, have)) in planned.iter().zip(&found).enumerate() {
        if let Some(wrong) = differing(want, have) {
            return Check::new(&name, false, format!("track {number}: {wrong}"));
        }
    }
    Check::new(&name, true, format!("{} as planned", found.len()))
}

fn differing(want: &Facts, have: &Facts) -> Option<String> {
    let say = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    if want.codec.is_some() && want.codec != have.codec {
        return Some(format!("it is {} instead of {}", say(&have.codec), say(&want.codec)));
    }
    if want.language.is_some() && want.language != have.language {
        let (have, want) = (say(&have.language), say(&want.language));
        return Some(format!("its language is {have} instead of {want}"));
    }
    if want.title.is_some() && want.title != have.title {
        let (have, want) = (say(&have.title), say(&want.title));
        return Some(format!("its title is {have} instead of {want}"));
    }
    (want.flags != have.flags)
        .then(|| format!("it is marked {:?} instead of {:?}", have.flags, want.flags))
}

fn expected(container: Container, track: &TrackPlan, stream: &Stream) -> Facts {
    let codec = match &track.action {
        TrackAction::EncodeAudio { codec, .. } => Some(codec.codec()),
        TrackAction::Subtitle { fate } => match fate {
            SubtitleFate::SubRip => Some("subrip"),
            SubtitleFate::MovText => Some("mov_text"),
            SubtitleFate::WebVtt => Some("webvtt"),
            SubtitleFate::Copy | SubtitleFate::Drop => Some(stream.codec.as_str()),
        },
        _ => Some(stream.codec.as_str()),
    };
    let codec = codec.map(str::to_owned);
    if let TrackAction::EncodeAudio { extra: true, .. } = track.action {
        let title = Some(EXTRA_TITLE.to_owned());
        return Facts { codec, title, flags: Vec::new(), ..facts(container, stream) };
    }
    let title = stream.title().map(str::to_owned);
    Facts { codec, title, ..facts(container, stream) }
}

/// What a container says of a track: MP4 knows languages by three letters, has
/// titles as names of handlers, and always has a default track.
fn facts(container: Container, stream: &Stream) -> Facts {
    let mp4 = matches!(container, Container::Mp4 | Container::Mov);
    let language = stream.language().filter(|tag| !mp4 || tag.len() == 3);
    let handler = stream.tags.get("handler_name").map(String::as_str).filter(|_| mp4);
    let known: &[&str] = if mp4 { &[] } else { &["default", "forced"] };
    let mut flags: Vec<String> =
        dispositions(stream).into_iter().filter(|flag| known.contains(&flag.as_str())).collect();
    flags.sort();
    Facts {
        codec: Some(stream.codec.clone()),
        language: language.map(str::to_owned),
        title: stream.title().or(handler).map(str::to_owned),
        flags,
    }
}

fn attachments(measured: &Measured<'_>) -> Check {
    let kept = measured.kept(|track| track.action == TrackAction::Attachment);
    let names = |streams: &mut dyn Iterator<Item = &Stream>| -> Vec<String> {
        streams.map(|stream| stream.tags.get("filename").cloned().unwrap_or_default()).collect()
    };
    let mut found =
        measured.media.streams.iter().filter(|stream| stream.kind == StreamKind::Attachment);
    check::equal("attachments", &names(&mut kept.into_iter()), &names(&mut found))
}

fn covers(measured: &Measured<'_>) -> Check {
    let kept = measured.kept(|track| track.action == TrackAction::Cover).len();
    let is_cover = |stream: &&Stream| matches!(stream.kind, StreamKind::Cover(_));
    let found = measured.media.streams.iter().filter(is_cover).count();
    check::equal("cover art", &kept, &found)
}

/// Chapters that begin before the output does, or have no title, may be
/// adjusted by the container.
fn chapters(measured: &Measured<'_>) -> Check {
    let wanted = &measured.promised.assembly.media.chapters;
    let found = &measured.media.chapters;
    if wanted.len() != found.len() {
        let detail = format!("{} instead of {}", found.len(), wanted.len());
        return Check::new("chapters", false, detail);
    }
    let origin = measured.promised.origin_seconds();
    let mp4 = matches!(measured.promised.assembly.plan.container, Container::Mp4 | Container::Mov);
    let differs = |(number, (want, have)): (usize, (&Chapter, &Chapter))| {
        let start = (want.start - origin).max(0.0);
        let moved = (have.start - start).abs() > CHAPTER_TOLERANCE && !(mp4 && number == 0);
        let renamed = want.title.is_some() && want.title != have.title;
        (moved || renamed).then(|| format!("chapter {number} is {have:?} instead of {want:?}"))
    };
    match wanted.iter().zip(found).enumerate().find_map(differs) {
        Some(detail) => Check::new("chapters", false, detail),
        None => Check::new("chapters", true, format!("{} as in the source", found.len())),
    }
}

impl Measured<'_> {
    /// The source's streams that the plan keeps in a certain way.
    fn kept(&self, how: fn(&TrackPlan) -> bool) -> Vec<&Stream> {
        let tracks = self.promised.assembly.plan.tracks.iter().filter(|track| how(track));
        let media: &MediaInfo = self.promised.assembly.media;
        tracks
            .filter_map(|track| media.streams.iter().find(|stream| stream.index == track.stream))
            .collect()
    }
}
