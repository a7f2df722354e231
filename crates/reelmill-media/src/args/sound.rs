//! The command that makes an output of sound alone.

use super::apart::mapped;
use super::audio::encoded;
use super::stitch::described;
use super::{Args, AudioTrack, Metadata, quiet, source_input};
use crate::probe::file_url;
use reelmill_core::container::Container;
use std::path::{Path, PathBuf};

/// A track of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundTrack {
    /// Stream index in the source.
    pub stream: u32,
    /// How it is encoded; as it is when not given.
    pub encode: Option<AudioTrack>,
    /// Tags.
    pub tags: Metadata,
    /// Dispositions.
    pub dispositions: Vec<String>,
}

/// Cover art.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoundCover {
    /// A stream of the source, by its index.
    Stream(u32),
    /// A file to attach, with its tags.
    File(PathBuf, Metadata),
}

/// An output of sound alone.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundOutput {
    /// Its container.
    pub container: Container,
    /// Its tracks.
    pub tracks: Vec<SoundTrack>,
    /// Its cover art.
    pub covers: Vec<SoundCover>,
    /// When the source begins, in microseconds.
    pub start_micros: i64,
    /// Tags of the file.
    pub tags: Metadata,
    /// A file in FFmpeg's form of tags with more of them, too long for a
    /// command.
    pub long_tags: Option<PathBuf>,
}

/// Makes `output` from `source` as the file `out`.
#[must_use]
pub fn sound(source: &Path, output: &SoundOutput, out: &Path) -> Args {
    let mut args = quiet().words("-progress pipe:1").join(source_input(source));
    if let Some(tags) = &output.long_tags {
        args = args.words("-protocol_whitelist file -f ffmetadata").open(tags);
    }
    let tracks = output.tracks.iter();
    let places = tracks.map(|it| (it.stream, it.encode.as_ref().and_then(|it| it.apart.as_ref())));
    let places: Vec<_> = places.collect();
    let inputs = 1 + usize::from(output.long_tags.is_some());
    args = mapped(args, inputs, -output.start_micros, &places);
    for cover in &output.covers {
        args = match cover {
            SoundCover::Stream(stream) => args.option("-map", format!("0:{stream}")),
            SoundCover::File(path, _) => args.option("-attach", file_url(path)).reads(path),
        };
    }
    let chapters = if output.container.holds_tags() { "0" } else { "-1" };
    let tags = if output.long_tags.is_some() { "1" } else { "-1" };
    args = args.option("-map_chapters", chapters).option("-map_metadata", tags);
    // FFmpeg would copy a track's tags over those of the file.
    args = args.words("-map_metadata:s -1");
    for (at, track) in output.tracks.iter().enumerate() {
        args = match &track.encode {
            Some(encode) => encoded(args, at, encode),
            None => args.option(format!("-c:{at}"), "copy"),
        };
        args = described(args, at, &track.tags, Some(&track.dispositions));
    }
    for (at, cover) in (output.tracks.len()..).zip(&output.covers) {
        args = match cover {
            SoundCover::Stream(_) => args
                .option(format!("-c:{at}"), "copy")
                .option(format!("-disposition:{at}"), "attached_pic"),
            SoundCover::File(_, tags) => described(args, at, tags, None),
        };
    }
    for (key, value) in &output.tags {
        args = args.option("-metadata", format!("{key}={value}"));
    }
    format(args, output).write(out)
}

/// FLAC in MP4 counts as experimental in older releases.
fn format(args: Args, output: &SoundOutput) -> Args {
    let args = args.words("-fflags +bitexact");
    match output.container {
        Container::Mka => args.words("-default_mode passthrough -f matroska"),
        Container::Opus => args.words("-f ogg"),
        Container::Flac => args.words("-f flac"),
        Container::Mp3 => args.words("-id3v2_version 3 -f mp3"),
        Container::Ac3 => args.words("-f ac3"),
        _ => args.words("-movflags +faststart -strict experimental -f mp4"),
    }
}

/// Decodes stream `stream` of `input`; how many samples there are and how loud
/// they are stands in the log, their digest on standard output.
#[must_use]
pub fn samples(input: Args, stream: u32) -> Args {
    Args::new()
        .words("-nostdin -hide_banner -nostats -loglevel info -y")
        .join(input)
        .option("-map", format!("0:{stream}"))
        .words(
            "-filter:a astats=measure_perchannel=none:measure_overall=RMS_level+Number_of_samples",
        )
        .words("-c:a pcm_s32le -f hash -hash md5 pipe:1")
}
