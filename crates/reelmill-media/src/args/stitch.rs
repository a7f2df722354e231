//! The command that joins the parts and all other tracks into the output.

use super::encoder::colour;
use super::{
    AUDIO_LEAD_MICROS, Args, audio_input, concat_input, micros, own_input, quiet, source_input,
    unmoved,
};
use crate::probe::file_url;
use reelmill_core::container::Container;
use reelmill_core::media::{Colour, FieldOrder};
use reelmill_core::time::TimeBase;
use std::path::{Path, PathBuf};

/// Tags to set on a stream or file; an empty value removes the tag.
pub type Metadata = Vec<(String, String)>;

/// Where the output's video comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoInput<'a> {
    /// A list of parts, made by [`super::concat_list`], and the parts; its zero
    /// is the first frame.
    List(&'a Path, &'a [PathBuf]),
    /// One file, made by [`super::whole`].
    Whole(&'a Path),
}

/// What the output is made from.
#[derive(Debug, Clone, Copy)]
pub struct StitchInputs<'a> {
    /// The video.
    pub video: VideoInput<'a>,
    /// Time in the output of the video input's zero, microseconds.
    pub offset_micros: i64,
    /// The source, for every track that is copied.
    pub source: &'a Path,
    /// Time in the source that becomes the output's zero, microseconds.
    pub origin_micros: i64,
    /// Encoded audio, made by [`super::audio`].
    pub audio: Option<&'a Path>,
}

/// The picture of the output.
#[derive(Debug, Clone)]
pub struct StitchVideo<'a> {
    /// Its codec, by FFmpeg's name.
    pub codec: &'a str,
    /// Seconds per tick that its times are whole multiples of.
    pub time_base: TimeBase,
    /// Colour description.
    pub colour: &'a Colour,
    /// Field order.
    pub field_order: FieldOrder,
    /// Tags.
    pub tags: Metadata,
    /// Dispositions.
    pub dispositions: Vec<String>,
}

/// Where a track's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackSource<'a> {
    /// A stream of the source, by its index.
    Source(u32),
    /// A stream of the encoded audio, by its index.
    Audio(u32),
    /// A file to attach.
    File(&'a Path),
}

/// What must be repaired in the packets of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    #[default]
    Nothing,
    /// So many packets at the beginning are left out: priming, not to be heard.
    DropFirst(u32),
    /// A packet of unknown duration (the last one) lasts so many ticks.
    LastDuration(i64),
    /// Packets without content are left out: subtitles that show nothing, at which
    /// FFmpeg's reader of WebM gives up.
    DropEmpty,
}

/// A track beside the picture.
#[derive(Debug, Clone)]
pub struct StitchTrack<'a> {
    /// Where its packets come from.
    pub from: TrackSource<'a>,
    /// FFmpeg's encoder for it, or `copy`.
    pub codec: &'static str,
    /// What must be repaired in its packets.
    pub repair: Repair,
    /// Tags.
    pub tags: Metadata,
    /// Dispositions; `None` leaves them to FFmpeg.
    pub dispositions: Option<Vec<String>>,
}

/// Joins everything into `out`. Tracks appear in the order given, files to
/// attach last.
#[must_use]
pub fn stitch(
    container: Container,
    inputs: StitchInputs<'_>,
    video: &StitchVideo<'_>,
    tracks: &[StitchTrack<'_>],
    tags: &Metadata,
    out: &Path,
) -> Args {
    let mut args = opened(inputs).words("-map 0:v:0");
    let (files, mapped): (Vec<_>, Vec<_>) =
        tracks.iter().partition(|track| matches!(track.from, TrackSource::File(_)));
    for track in mapped.iter().chain(&files) {
        args = match track.from {
            TrackSource::Source(stream) => args.option("-map", format!("1:{stream}")),
            TrackSource::Audio(stream) => args.option("-map", format!("2:{stream}")),
            TrackSource::File(path) => args.option("-attach", file_url(path)).reads(path),
        };
    }
    args = args.words("-map_chapters 1 -map_metadata 1");
    args = picture(args, container, video);
    for (at, track) in (1..).zip(mapped.iter().chain(&files)) {
        args = one(args, at, track);
    }
    for (key, value) in tags {
        args = args.option("-metadata", format!("{key}={value}"));
    }
    format(args, container, video.time_base).write(out)
}

/// Reads the inputs in one thread where FFmpeg can (5.1): with one for each, which wait
/// for each other at every packet, a copy beside other work takes several times as long.
const IN_TURN: &str = "-thread_queue_size 0";

fn opened(inputs: StitchInputs<'_>) -> Args {
    let mut args = quiet()
        .words("-progress pipe:1 -copyts")
        .words(IN_TURN)
        .option("-itsoffset", micros(inputs.offset_micros))
        .join(match inputs.video {
            VideoInput::List(list, parts) => concat_input(list, parts),
            VideoInput::Whole(file) => own_input(file),
        })
        .words(IN_TURN)
        .join(unmoved(-inputs.origin_micros))
        .join(source_input(inputs.source));
    if let Some(audio) = inputs.audio {
        args = args
            .words(IN_TURN)
            .option("-itsoffset", micros(-AUDIO_LEAD_MICROS))
            .join(audio_input(audio));
    }
    args
}

fn picture(args: Args, container: Container, video: &StitchVideo<'_>) -> Args {
    let mut args = colour(args.words("-c:0 copy"), video.colour);
    args = match video.field_order {
        FieldOrder::Progressive => args,
        FieldOrder::TopFirst => args.words("-field_order:v:0 tt"),
        FieldOrder::BottomFirst => args.words("-field_order:v:0 bb"),
    };
    if video.codec == "hevc" && matches!(container, Container::Mp4 | Container::Mov) {
        args = args.words("-tag:0 hvc1");
    }
    described(args, 0, &video.tags, Some(&video.dispositions))
}

fn one(args: Args, at: usize, track: &StitchTrack<'_>) -> Args {
    let mut args = match track.from {
        TrackSource::File(_) => args,
        TrackSource::Source(_) | TrackSource::Audio(_) => {
            args.option(format!("-c:{at}"), track.codec)
        }
    };
    let filter = match track.repair {
        Repair::Nothing | Repair::DropFirst(0) => None,
        Repair::DropFirst(count) => Some(format!("noise=amount=0:drop='lt(n,{count})'")),
        Repair::DropEmpty => Some("noise=amount=0:drop='lt(size,1)'".to_owned()),
        Repair::LastDuration(ticks) => {
            Some(format!("setts=duration='if(eq(DURATION,0),{ticks},DURATION)'"))
        }
    };
    if let Some(filter) = filter {
        args = args.option(format!("-bsf:{at}"), filter);
    }
    described(args, at, &track.tags, track.dispositions.as_deref())
}

/// Tags and dispositions of the output's stream `at`.
pub(super) fn described(
    mut args: Args,
    at: usize,
    tags: &Metadata,
    flags: Option<&[String]>,
) -> Args {
    for (key, value) in tags {
        args = args.option(format!("-metadata:s:{at}"), format!("{key}={value}"));
    }
    match flags {
        None => args,
        Some([]) => args.option(format!("-disposition:{at}"), "0"),
        Some(flags) => args.option(format!("-disposition:{at}"), flags.join("+")),
    }
}

/// What makes times exact in each container. FLAC in MP4 counts as
/// experimental in older releases.
fn format(args: Args, container: Container, base: TimeBase) -> Args {
    match container {
        Container::Mkv => args.words(
            "-default_mode passthrough -avoid_negative_ts disabled -fflags +bitexact -f matroska",
        ),
        Container::Webm => args.words("-avoid_negative_ts disabled -fflags +bitexact -f webm"),
        // Sound alone has a command of its own.
        _ => {
            let scale = timescale(base).to_string();
            args.words("-movflags +faststart")
                .option("-video_track_timescale", &scale)
                .option("-movie_timescale", &scale)
                .words("-strict experimental -fflags +bitexact -f")
                .arg(container.name())
        }
    }
}

/// Ticks per second of an MP4 video track: a multiple of the source's, so that
/// every time is whole, and fine enough to place the first frame within 6 µs.
fn timescale(base: TimeBase) -> u32 {
    let den = base.den();
    den.saturating_mul(90_000u32.div_ceil(den)).min(i32::MAX as u32)
}
