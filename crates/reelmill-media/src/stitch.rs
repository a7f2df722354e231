//! Joins encoded parts and all kept tracks into the output.

mod cover;
mod repair;
mod tags;

pub(crate) use cover::cover_file;
pub use tags::made_by_reelmill;
pub(crate) use tags::{
    EXTRA_TITLE, dispositions, made_here, of_sound as sound_tags, of_track as track_tags,
};

use crate::args::{self, Repair, StitchInputs, StitchTrack, StitchVideo, TrackSource, VideoInput};
use crate::encode::{OnProgress, refuse_read_error, remove, run};
use crate::imprint;
use crate::language_tags;
use crate::tools::Tools;
use cover::Cover;
use reelmill_core::container::{Container, SubtitleFate};
use reelmill_core::error::Failure;
use reelmill_core::media::{MediaInfo, Stream};
use reelmill_core::plan::{Plan, VideoEncode};
use reelmill_core::pts::PtsList;
use reelmill_core::tracks::{TrackAction, TrackPlan};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The encoded files that an output is made from.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The chunks in order, or the one whole video.
    pub video: &'a [PathBuf],
    /// The encoded audio tracks, if the plan has any.
    pub audio: Option<&'a Path>,
}

/// Everything about an output that is known before it is put together.
#[derive(Debug, Clone, Copy)]
pub struct Assembly<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How its picture was encoded.
    pub encode: &'a VideoEncode,
    /// What the probe found in the source.
    pub media: &'a MediaInfo,
    /// The source.
    pub source: &'a Path,
    /// The encoded files.
    pub parts: Parts<'a>,
    /// For a whole video: the times of its frames, as its encoding told.
    pub whole_pts: Option<&'a PtsList>,
    /// A folder of this output's own for temporary files; up to about a tenth of
    /// the output's size.
    pub scratch: &'a Path,
}

/// Puts the output together at `out`.
///
/// # Errors
/// When parts are missing or FFmpeg cannot join them.
pub async fn stitch(
    tools: &Tools,
    assembly: Assembly<'_>,
    out: &Path,
    on_progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let Assembly { plan, encode, media, source, parts, .. } = assembly;
    remove(out).await?;
    let list = write_list(assembly, "parts.ffconcat").await?;
    let covers = cover::extract(tools, assembly, cancel).await?;
    let copies = repair::of_copies(tools, assembly, cancel).await?;
    let encoded = repair::of_encoded(tools, assembly, cancel).await?;
    let (video, zero) = assembly.video_input(&list)?;
    let inputs = StitchInputs {
        video,
        offset_micros: plan.video.time_base.micros(zero) - plan.origin_micros,
        source,
        origin_micros: plan.origin_micros,
        audio: parts.audio,
    };
    let stream = media.streams.iter().find(|stream| stream.index == plan.video.stream);
    let mut video_tags =
        stream.map(|stream| tags::of_encoded(stream, plan.container)).unwrap_or_default();
    tags::made_here_in(plan.container, &mut video_tags);
    let video = StitchVideo {
        codec: encode.encoder.codec(),
        time_base: plan.video.time_base,
        colour: &args::output_colour(encode, assembly.source_pixels()),
        field_order: encode.field_order,
        tags: video_tags,
        dispositions: stream.map(dispositions).unwrap_or_default(),
    };
    let tracks = tracks(assembly, &covers, (&copies, &encoded));
    let mut global = tags::stale_global(media);
    let languages = language_tags::promised(assembly).await?;
    let imprinted = (&encode.hdr, languages.as_slice());
    global.extend(imprint::reserve(plan.container, imprinted, media));
    global.extend(tags::made_here(plan.container));
    let command = tools.ffmpeg(args::stitch(plan.container, inputs, &video, &tracks, &global, out));
    let output = run(command, on_progress, cancel).await?;
    for line in &output.stderr {
        tracing::warn!(line, "while stitching");
    }
    refuse_read_error(&output)?;
    imprint::imprint(plan.container, imprinted, out).await?;
    if plan.container == Container::Mov {
        imprint::languages(out, assembly.languages()).await?;
    }
    Ok(())
}

impl Assembly<'_> {
    /// Source ticks of the first frame of each part.
    fn starts(&self) -> Result<Vec<i64>, Failure> {
        let starts: Vec<i64> = match self.whole_pts.and_then(|pts| pts.ticks().first()) {
            Some(first) if self.plan.chunks().is_empty() => vec![*first],
            _ => self.plan.chunks().iter().map(|chunk| chunk.start).collect(),
        };
        if starts.is_empty() || starts.len() != self.parts.video.len() {
            let message =
                format!("{} video parts for {} planned", self.parts.video.len(), starts.len());
            return Err(Failure::permanent(message));
        }
        Ok(starts)
    }

    /// The languages of the picture and the other tracks, in this order.
    fn languages(&self) -> Vec<Option<String>> {
        let tracks = self.plan.tracks.iter().map(|track| track.stream);
        let streams = [self.plan.video.stream].into_iter().chain(tracks);
        let find = |index| self.media.streams.iter().find(|stream| stream.index == index);
        streams.map(|index| find(index)?.language().map(str::to_owned)).collect()
    }

    /// Source ticks of all frames that the output must have.
    pub(crate) fn frames(&self) -> Vec<i64> {
        let whole = self.whole_pts.map(|pts| pts.ticks().to_vec());
        self.plan.frames().or(whole).unwrap_or_default()
    }

    /// Pixel format of the source's video.
    pub(crate) fn source_pixels(&self) -> &str {
        self.media.video().map_or("", |(_, info)| info.pixel_format.as_str())
    }

    /// The video input and the source tick of its zero.
    fn video_input<'b>(&self, list: &'b Path) -> Result<(VideoInput<'b>, i64), Failure>
    where
        Self: 'b,
    {
        let starts = self.starts()?;
        match (self.plan.chunks(), self.parts.video) {
            ([], [whole]) => {
                let base = self.plan.video.time_base;
                Ok((VideoInput::Whole(whole), args::lead_in(self.plan.origin_micros, base)))
            }
            _ => Ok((VideoInput::List(list, self.parts.video), starts[0])),
        }
    }
}

/// Writes the list of the video parts into the scratch folder as `name`.
pub(crate) async fn write_list(assembly: Assembly<'_>, name: &str) -> Result<PathBuf, Failure> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .map_err(|error| Failure::io(format_args!("find {}", path.display()), &error))
    };
    let paths: Vec<PathBuf> =
        assembly.parts.video.iter().map(absolute).collect::<Result<_, _>>()?;
    let starts = assembly.starts()?;
    let parts: Vec<(&Path, i64)> = paths.iter().map(PathBuf::as_path).zip(starts).collect();
    let text = args::concat_list(&parts, assembly.plan.video.time_base);
    let list = assembly.scratch.join(name);
    tokio::fs::write(&list, text)
        .await
        .map_err(|error| Failure::io(format_args!("write {}", list.display()), &error))?;
    Ok(list)
}

/// The tracks beside the picture in output order: as in the source, with
/// attachments and cover art last.
fn tracks<'a>(
    assembly: Assembly<'_>,
    covers: &'a [Cover],
    (copies, encoded): (&BTreeMap<u32, Repair>, &[Repair]),
) -> Vec<StitchTrack<'a>> {
    let Assembly { plan, media, .. } = assembly;
    let mut numbers = 0..;
    let mut tracks: Vec<(u8, StitchTrack<'a>)> = Vec::new();
    for track in &plan.tracks {
        let Some(stream) = media.streams.iter().find(|stream| stream.index == track.stream) else {
            continue;
        };
        let place = match track.action {
            TrackAction::Attachment => 1,
            TrackAction::Cover => 2,
            _ => 0,
        };
        let number = match track.action {
            TrackAction::EncodeAudio { .. } => numbers.next(),
            _ => None,
        };
        let mut made = one(plan.container, track, stream, number, covers);
        made.repair = match (&track.action, number) {
            (TrackAction::CopyAudio, _) => copies.get(&stream.index).copied(),
            (TrackAction::Subtitle { .. }, _) => {
                (plan.container == Container::Webm).then_some(Repair::DropEmpty)
            }
            (_, Some(number)) => encoded.get(number as usize).copied(),
            _ => None,
        }
        .unwrap_or_default();
        tracks.push((place, made));
    }
    tracks.sort_by_key(|(place, _)| *place);
    tracks.into_iter().map(|(_, track)| track).collect()
}

fn one<'a>(
    container: Container,
    track: &TrackPlan,
    stream: &Stream,
    encoded: Option<u32>,
    covers: &'a [Cover],
) -> StitchTrack<'a> {
    let copied = StitchTrack {
        from: TrackSource::Source(stream.index),
        codec: "copy",
        repair: Repair::Nothing,
        tags: tags::stale(stream, container),
        dispositions: Some(dispositions(stream)),
    };
    match &track.action {
        TrackAction::CopyAudio => copied,
        TrackAction::EncodeAudio { extra: true, .. } => StitchTrack {
            from: encoded.map_or(copied.from, TrackSource::Audio),
            tags: tags::of_extra(stream, container),
            dispositions: Some(Vec::new()),
            ..copied
        },
        TrackAction::EncodeAudio { .. } => StitchTrack {
            from: encoded.map_or(copied.from, TrackSource::Audio),
            tags: tags::of_encoded(stream, container),
            ..copied
        },
        TrackAction::Subtitle { fate } => {
            let codec = match fate {
                SubtitleFate::Copy | SubtitleFate::Drop => "copy",
                SubtitleFate::SubRip => "srt",
                SubtitleFate::MovText => "mov_text",
                SubtitleFate::WebVtt => "webvtt",
            };
            StitchTrack { codec, ..copied }
        }
        TrackAction::Attachment => StitchTrack { dispositions: None, ..copied },
        TrackAction::Cover => match covers.iter().find(|cover| cover.stream == stream.index) {
            Some(cover) => StitchTrack {
                from: TrackSource::File(&cover.path),
                tags: cover.tags(),
                dispositions: None,
                ..copied
            },
            None => StitchTrack { dispositions: Some(vec!["attached_pic".into()]), ..copied },
        },
    }
}
