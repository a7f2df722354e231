//! What becomes of the tracks beside the picture.

use crate::container::{Container, SubtitleFate};
use crate::media::{AudioInfo, MediaInfo, Stream, StreamKind};
use crate::preset::{AudioCodec, AudioMode, AudioPreset};
use serde::{Deserialize, Serialize};

/// A track of the source that is kept beside the main video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackPlan {
    /// Stream index in the source.
    pub stream: u32,
    /// What is done with it.
    #[serde(flatten)]
    pub action: TrackAction,
}

/// What is done with a kept track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum TrackAction {
    /// Audio as it is.
    CopyAudio,
    /// Audio encoded anew.
    EncodeAudio {
        /// To this codec.
        codec: AudioCodec,
        /// Bits per second; 0 for lossless codecs.
        bit_rate: u32,
        /// Channels.
        channels: u32,
    },
    /// A subtitle track as it is, or converted to another text form.
    Subtitle {
        /// How.
        fate: SubtitleFate,
    },
    /// An attached file.
    Attachment,
    /// Cover art.
    Cover,
}

/// A stream that the output will not have, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Stream index in the source.
    pub stream: u32,
    /// What it is, in words.
    pub what: String,
    /// Why it cannot be kept.
    pub reason: String,
}

/// Which tracks are kept and which are not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracks {
    /// Kept, in source order.
    pub kept: Vec<TrackPlan>,
    /// Dropped, in source order.
    pub dropped: Vec<Dropped>,
    /// Things worth telling.
    pub notes: Vec<String>,
}

impl Tracks {
    /// Decides for every stream of `media` but the main video.
    #[must_use]
    pub fn decide(media: &MediaInfo, container: Container, audio: &AudioPreset) -> Self {
        let main = media.video().map(|(stream, _)| stream.index);
        let mut tracks = Self::default();
        for stream in media.streams.iter().filter(|stream| Some(stream.index) != main) {
            match decide(stream, container, audio, &mut tracks.notes) {
                Ok(action) => tracks.kept.push(TrackPlan { stream: stream.index, action }),
                Err(reason) => tracks.dropped.push(Dropped {
                    stream: stream.index,
                    what: describe(stream),
                    reason,
                }),
            }
        }
        tracks
    }

    /// For a file whose tracks all stay as they are, but the one of the stream
    /// `layer`, which is taken out.
    #[must_use]
    pub fn all(media: &MediaInfo, layer: Option<u32>) -> Self {
        let main = media.video().map(|(stream, _)| stream.index);
        let mut tracks = Self::default();
        for stream in media.streams.iter().filter(|stream| Some(stream.index) != main) {
            let index = stream.index;
            let dropped = |reason: &str| Dropped {
                stream: index,
                what: describe(stream),
                reason: reason.to_owned(),
            };
            let action = match &stream.kind {
                StreamKind::Audio(_) => TrackAction::CopyAudio,
                StreamKind::Subtitle => TrackAction::Subtitle { fate: SubtitleFate::Copy },
                StreamKind::Attachment => TrackAction::Attachment,
                StreamKind::Cover(_) => TrackAction::Cover,
                StreamKind::Video(_) if layer == Some(index) => {
                    tracks.dropped.push(dropped("it is Dolby Vision's enhancement layer"));
                    continue;
                }
                StreamKind::Video(_) => {
                    tracks
                        .notes
                        .push(format!("stream {index}: {} stays as it is", describe(stream)));
                    continue;
                }
                StreamKind::Data => {
                    tracks.dropped.push(dropped("data streams cannot be carried over"));
                    continue;
                }
            };
            tracks.kept.push(TrackPlan { stream: index, action });
        }
        tracks
    }
}

fn decide(
    stream: &Stream,
    container: Container,
    audio: &AudioPreset,
    notes: &mut Vec<String>,
) -> Result<TrackAction, String> {
    let codec = stream.codec.as_str();
    let cannot = || format!("{container} cannot hold {codec}");
    match &stream.kind {
        StreamKind::Audio(_) if codec == "unknown" => Err("its codec is not known".into()),
        StreamKind::Audio(info) if info.channels == 0 || info.sample_rate == 0 => {
            Err("it has no channels or no sample rate: the track is empty or damaged".into())
        }
        StreamKind::Audio(info) => Ok(decide_audio(stream, info, container, audio, notes)),
        StreamKind::Subtitle => match container.subtitle(codec) {
            SubtitleFate::Drop => Err(cannot()),
            fate => Ok(TrackAction::Subtitle { fate }),
        },
        StreamKind::Attachment if container.holds_attachments() => Ok(TrackAction::Attachment),
        StreamKind::Attachment => Err(format!("{container} cannot hold attachments")),
        StreamKind::Cover(_) if container.holds_cover(codec) => Ok(TrackAction::Cover),
        StreamKind::Cover(_) => Err(format!("{container} cannot hold {codec} cover art")),
        StreamKind::Video(_) => Err("only the first video stream is converted".into()),
        StreamKind::Data => Err("data streams cannot be carried over".into()),
    }
}

fn decide_audio(
    stream: &Stream,
    info: &AudioInfo,
    container: Container,
    preset: &AudioPreset,
    notes: &mut Vec<String>,
) -> TrackAction {
    if preset.mode == AudioMode::Copy && container.holds_audio(&stream.codec) {
        return TrackAction::CopyAudio;
    }
    let codec = if container.holds_audio(preset.codec.codec()) {
        preset.codec
    } else if container == Container::Webm {
        AudioCodec::Opus
    } else {
        AudioCodec::Aac
    };
    let channels = info.channels.min(codec.max_channels());
    if preset.mode == AudioMode::Copy {
        let from = &stream.codec;
        let to = codec.codec();
        notes.push(format!(
            "stream {}: {from} audio is encoded to {to}, since {container} cannot hold {from}",
            stream.index
        ));
    }
    if channels < info.channels {
        notes.push(format!(
            "stream {}: {} channels are mixed down to {channels}, the most {} holds",
            stream.index,
            info.channels,
            codec.codec()
        ));
    }
    let bit_rate = match codec {
        AudioCodec::Flac => 0,
        AudioCodec::Mp3 => (preset.bitrate_per_channel * channels).min(320_000),
        AudioCodec::Ac3 => (preset.bitrate_per_channel * channels).clamp(96_000, 640_000),
        AudioCodec::Aac | AudioCodec::Opus => preset.bitrate_per_channel * channels,
    };
    TrackAction::EncodeAudio { codec, bit_rate, channels }
}

/// A stream in a few words: `English dts audio "Commentary"`.
#[must_use]
pub fn describe(stream: &Stream) -> String {
    let kind = match stream.kind {
        StreamKind::Video(_) => "video",
        StreamKind::Cover(_) => "cover art",
        StreamKind::Audio(_) => "audio",
        StreamKind::Subtitle => "subtitles",
        StreamKind::Attachment => "attachment",
        StreamKind::Data => "data",
    };
    let mut words = vec![stream.codec.clone(), kind.to_owned()];
    if let Some(language) = stream.language() {
        words.insert(0, language.to_owned());
    }
    if let Some(title) = stream.title().or(stream.tags.get("filename").map(String::as_str)) {
        words.push(format!("\"{title}\""));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn stream(index: u32, codec: &str, kind: StreamKind) -> Stream {
        Stream {
            index,
            codec: codec.into(),
            profile: None,
            time_base: None,
            start_ticks: None,
            duration: None,
            bit_rate: None,
            dispositions: vec![],
            tags: BTreeMap::from([("language".into(), "eng".into())]),
            kind,
        }
    }

    fn rich() -> MediaInfo {
        let audio =
            |channels| StreamKind::Audio(AudioInfo { sample_rate: 48_000, channels, layout: None });
        let streams = vec![
            stream(0, "h264", StreamKind::Video(crate::media::VideoInfo::default())),
            stream(1, "aac", audio(2)),
            stream(2, "dts", audio(6)),
            stream(3, "subrip", StreamKind::Subtitle),
            stream(4, "hdmv_pgs_subtitle", StreamKind::Subtitle),
            stream(5, "ttf", StreamKind::Attachment),
            stream(6, "mjpeg", StreamKind::Cover(crate::media::VideoInfo::default())),
            stream(7, "bin_data", StreamKind::Data),
        ];
        MediaInfo {
            format: "matroska,webm".into(),
            size: 1,
            duration: Some(1.0),
            start_micros: 0,
            streams,
            chapters: vec![],
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn each_container_keeps_what_it_can_and_tells_the_rest() {
        let decided: BTreeMap<&str, _> = Container::ALL
            .iter()
            .map(|container| {
                let tracks = Tracks::decide(&rich(), *container, &AudioPreset::default());
                (container.name(), (tracks.kept, tracks.dropped, tracks.notes))
            })
            .collect();
        insta::assert_json_snapshot!(decided);
    }
}
