//! What becomes of the tracks beside the picture.

use crate::container::{Container, OutputKind, SubtitleFate};
use crate::media::{AudioInfo, MediaInfo, Stream, StreamKind};
use crate::preset::{AudioCodec, AudioMode, AudioPreset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
        /// How loud it is made; as loud as it is when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loudness: Option<Loudness>,
        /// Whether it stands beside another form of the same track.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        extra: bool,
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

impl TrackAction {
    /// Whether it yields an audio track.
    #[must_use]
    pub fn is_audio(&self) -> bool {
        matches!(self, Self::CopyAudio | Self::EncodeAudio { .. })
    }
}

/// How loud a track is made, by EBU R 128.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loudness {
    /// Integrated loudness, LUFS.
    pub integrated: f64,
    /// Highest true peak, dBTP.
    pub true_peak: f64,
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
        let film = container.kind() == OutputKind::Film;
        let main = media.video().map(|(stream, _)| stream.index).filter(|_| film);
        let mut tracks = Self::default();
        let chosen = chosen_audio(media, container, audio, &mut tracks.notes);
        for stream in media.streams.iter().filter(|stream| Some(stream.index) != main) {
            let unwanted = chosen.get(&stream.index).cloned();
            let decided =
                unwanted.map_or_else(|| decide(stream, container, audio, &mut tracks.notes), Err);
            match decided {
                Ok(action) => tracks.kept.push(TrackPlan { stream: stream.index, action }),
                Err(reason) => tracks.dropped.push(Dropped {
                    stream: stream.index,
                    what: describe(stream),
                    reason,
                }),
            }
        }
        if audio.add_stereo {
            add_stereo(media, container, audio, &mut tracks);
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

/// The audio streams that are not wanted, and why.
fn chosen_audio(
    media: &MediaInfo,
    container: Container,
    audio: &AudioPreset,
    notes: &mut Vec<String>,
) -> BTreeMap<u32, String> {
    let mut unwanted = BTreeMap::new();
    if !audio.languages.is_empty() {
        let speaks = |stream: &Stream| {
            stream.language().is_some_and(|tag| audio.languages.iter().any(|want| same(want, tag)))
        };
        if media.audio().any(|(stream, _)| speaks(stream)) {
            let others = media.audio().filter(|(stream, _)| !speaks(stream));
            unwanted = others
                .map(|(stream, _)| (stream.index, "its language was not asked for".to_owned()))
                .collect();
        } else if media.audio().next().is_some() {
            notes.push(format!(
                "no track is in a language asked for ({}): all are kept",
                audio.languages.join(", ")
            ));
        }
    }
    if container.holds_one_track() {
        let left = || media.audio().filter(|(stream, _)| !unwanted.contains_key(&stream.index));
        let default = |(stream, _): &(&Stream, &AudioInfo)| {
            stream.dispositions.iter().any(|flag| flag == "default")
        };
        let first = left().find(default).or_else(|| left().next());
        let first = first.map(|(stream, _)| stream.index);
        let others: Vec<u32> =
            left().map(|(stream, _)| stream.index).filter(|at| Some(*at) != first).collect();
        let reason = format!("{container} holds one track");
        unwanted.extend(others.into_iter().map(|at| (at, reason.clone())));
    }
    unwanted
}

/// Whether two language tags name one language: in two or three letters, with
/// or without a region.
fn same(one: &str, other: &str) -> bool {
    let stem = |tag: &str| tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let (one, other) = (stem(one), stem(other));
    let long = |tag: String| {
        LANGUAGES.iter().find(|forms| forms.contains(&tag.as_str())).map_or(tag, |f| f[1].into())
    };
    long(one) == long(other)
}

/// Two letters, three letters, and the older three letters, of the languages
/// that films are most often in.
const LANGUAGES: &[[&str; 3]] = &[
    ["ar", "ara", "ara"],
    ["cs", "ces", "cze"],
    ["da", "dan", "dan"],
    ["de", "deu", "ger"],
    ["el", "ell", "gre"],
    ["en", "eng", "eng"],
    ["es", "spa", "spa"],
    ["fi", "fin", "fin"],
    ["fr", "fra", "fre"],
    ["he", "heb", "heb"],
    ["hi", "hin", "hin"],
    ["hu", "hun", "hun"],
    ["it", "ita", "ita"],
    ["ja", "jpn", "jpn"],
    ["ko", "kor", "kor"],
    ["nl", "nld", "dut"],
    ["no", "nor", "nor"],
    ["pl", "pol", "pol"],
    ["pt", "por", "por"],
    ["ro", "ron", "rum"],
    ["ru", "rus", "rus"],
    ["sv", "swe", "swe"],
    ["tr", "tur", "tur"],
    ["uk", "ukr", "ukr"],
    ["zh", "zho", "chi"],
];

/// A stereo form of the first surround track, where the output has no stereo.
fn add_stereo(media: &MediaInfo, container: Container, audio: &AudioPreset, tracks: &mut Tracks) {
    let channels = |track: &TrackPlan| match track.action {
        TrackAction::EncodeAudio { channels, .. } => Some(channels),
        TrackAction::CopyAudio => {
            let found = media.audio().find(|(stream, _)| stream.index == track.stream);
            found.map(|(_, info)| info.channels)
        }
        _ => None,
    };
    let counts: Vec<(usize, u32, u32)> = (tracks.kept.iter().enumerate())
        .filter_map(|(at, track)| Some((at, track.stream, channels(track)?)))
        .collect();
    let wide = counts.iter().find(|(_, _, channels)| *channels > 2);
    let Some((at, stream, _)) = wide.filter(|_| counts.iter().all(|(_, _, count)| *count > 2))
    else {
        return;
    };
    if container.holds_one_track() || !container.holds_audio("aac") {
        tracks.notes.push(format!("{container} cannot hold the added stereo track"));
        return;
    }
    let action = TrackAction::EncodeAudio {
        codec: AudioCodec::Aac,
        bit_rate: STEREO_BITS,
        channels: 2,
        loudness: audio.loudness(),
        extra: true,
    };
    tracks.notes.push(format!("stream {stream}: a stereo AAC form is added"));
    tracks.kept.insert(at + 1, TrackPlan { stream: *stream, action });
}

/// Bits per second of an added stereo track.
const STEREO_BITS: u32 = 192_000;

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
        StreamKind::Cover(info) if info.width == 0 && !container.holds_attachments() => {
            Err("its picture has no size: it is empty or damaged".into())
        }
        StreamKind::Cover(_) if container.holds_cover(codec) => Ok(TrackAction::Cover),
        StreamKind::Cover(_) => Err(format!("{container} cannot hold {codec} cover art")),
        StreamKind::Video(_) if container.kind() == OutputKind::Sound => {
            Err(format!("{container} holds sound alone"))
        }
        StreamKind::Video(_) => Err("only the first video stream is converted".into()),
        StreamKind::Data => Err("data streams cannot be carried over".into()),
    }
}

/// Samples as they are, in forms that Matroska does not know (of Blu-ray and DVD among them)
/// and FLAC keeps every bit of.
const RAW: [&str; 11] = [
    "pcm_bluray",
    "pcm_dvd",
    "pcm_s8",
    "pcm_s8_planar",
    "pcm_s16be_planar",
    "pcm_s16le_planar",
    "pcm_s24le_planar",
    "pcm_u16be",
    "pcm_u16le",
    "pcm_u24be",
    "pcm_u24le",
];

fn decide_audio(
    stream: &Stream,
    info: &AudioInfo,
    container: Container,
    preset: &AudioPreset,
    notes: &mut Vec<String>,
) -> TrackAction {
    let most = preset.max_channels.unwrap_or(u32::MAX);
    let as_it_is = preset.loudness.is_none() && info.channels <= most;
    let held = container.holds_audio(&stream.codec);
    if preset.mode == AudioMode::Copy && held && as_it_is {
        return TrackAction::CopyAudio;
    }
    let raw = preset.mode == AudioMode::Copy && RAW.contains(&stream.codec.as_str());
    let wanted = match container {
        Container::Mkv | Container::Mka if raw && !held => AudioCodec::Flac,
        _ => preset.codec,
    };
    let codec = container.audio_codec(wanted);
    let (channels, mixed) = codec.channels_for(info, most);
    if preset.mode == AudioMode::Copy && !held {
        let from = &stream.codec;
        let to = codec.codec();
        notes.push(format!(
            "stream {}: {from} audio is encoded to {to}, since {container} cannot hold {from}",
            stream.index
        ));
    }
    notes.extend(mixed.map(|how| format!("stream {}: {how}", stream.index)));
    let bit_rate = match codec {
        AudioCodec::Flac => 0,
        AudioCodec::Mp3 => (preset.bitrate_per_channel * channels).min(320_000),
        AudioCodec::Ac3 => (preset.bitrate_per_channel * channels).clamp(96_000, 640_000),
        AudioCodec::Aac | AudioCodec::Opus => preset.bitrate_per_channel * channels,
    };
    TrackAction::EncodeAudio {
        codec,
        bit_rate,
        channels,
        loudness: preset.loudness(),
        extra: false,
    }
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
    use crate::media::VideoInfo;

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
        let cover = VideoInfo { width: 600, height: 600, ..VideoInfo::default() };
        let audio =
            |channels| StreamKind::Audio(AudioInfo { sample_rate: 48_000, channels, layout: None });
        let streams = vec![
            stream(0, "h264", StreamKind::Video(crate::media::VideoInfo::default())),
            stream(1, "aac", audio(2)),
            stream(2, "dts", audio(6)),
            stream(3, "subrip", StreamKind::Subtitle),
            stream(4, "hdmv_pgs_subtitle", StreamKind::Subtitle),
            stream(5, "ttf", StreamKind::Attachment),
            stream(6, "mjpeg", StreamKind::Cover(cover)),
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
    fn what_matroska_does_not_know_is_encoded_without_loss_where_that_can_be() {
        let info = AudioInfo { sample_rate: 48_000, channels: 2, layout: None };
        let made = |codec: &str| {
            let mut media = rich();
            media.streams = vec![stream(1, codec, StreamKind::Audio(info.clone()))];
            let tracks = Tracks::decide(&media, Container::Mkv, &AudioPreset::default());
            match tracks.kept[0].action {
                TrackAction::EncodeAudio { codec, bit_rate, .. } => Some((codec, bit_rate > 0)),
                _ => None,
            }
        };
        assert_eq!(made("pcm_s16le"), None);
        assert_eq!(made("truehd"), None);
        assert_eq!(made("pcm_bluray"), Some((AudioCodec::Flac, false)));
        assert_eq!(made("pcm_dvd"), Some((AudioCodec::Flac, false)));
        assert_eq!(made("amr_nb"), Some((AudioCodec::Aac, true)));
        assert_eq!(made("adpcm_thp"), Some((AudioCodec::Aac, true)));
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
