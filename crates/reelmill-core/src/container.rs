//! Output containers and what each can hold.

use crate::preset::AudioCodec;
use serde::{Deserialize, Serialize};

/// A container format that reelmill writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// Matroska.
    Mkv,
    /// MPEG-4 part 14.
    Mp4,
    /// WebM.
    Webm,
    /// QuickTime.
    Mov,
    /// MPEG-4 part 14 with sound alone.
    M4a,
    /// Matroska with sound alone.
    Mka,
    /// Ogg, for Opus and its relatives.
    Opus,
    /// FLAC's own.
    Flac,
    /// MPEG audio layer III with ID3 tags.
    Mp3,
    /// A bare AC-3 stream.
    Ac3,
    /// A picture in WebP, animated or not.
    Webp,
    /// A picture in AVIF.
    Avif,
    /// A picture in JPEG.
    #[serde(rename = "jpg")]
    Jpeg,
    /// A picture in PNG.
    Png,
}

/// What an output is, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Moving pictures, with or without sound.
    Film,
    /// Sound alone.
    Sound,
    /// A still picture, or a short animation.
    Picture,
}

impl OutputKind {
    /// The format of an output of this kind where none is named.
    #[must_use]
    pub fn usual(self) -> Container {
        match self {
            Self::Film => Container::Mkv,
            Self::Sound => Container::M4a,
            Self::Picture => Container::Webp,
        }
    }
}

/// What becomes of a subtitle track in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtitleFate {
    /// Held as it is.
    Copy,
    /// Converted to SubRip.
    SubRip,
    /// Converted to MPEG-4 timed text.
    MovText,
    /// Converted to WebVTT.
    WebVtt,
    /// Cannot be held.
    Drop,
}

const TEXT_SUBTITLES: &[&str] = &["subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"];

/// Sound that Matroska holds as FFmpeg 5.1 writes and reads it. AMR is not here:
/// phones put several frames into a packet, of which FFmpeg would play one.
const MATROSKA_AUDIO: [&str; 48] = [
    "aac",
    "aac_latm",
    "ac3",
    "adpcm_ct",
    "adpcm_g722",
    "adpcm_g726",
    "adpcm_ima_oki",
    "adpcm_ima_wav",
    "adpcm_ms",
    "adpcm_yamaha",
    "alac",
    "dts",
    "eac3",
    "flac",
    "g723_1",
    "g729",
    "gsm_ms",
    "imc",
    "mlp",
    "mp1",
    "mp2",
    "mp3",
    "opus",
    "pcm_alaw",
    "pcm_f32le",
    "pcm_f64le",
    "pcm_mulaw",
    "pcm_s16be",
    "pcm_s16le",
    "pcm_s24be",
    "pcm_s24le",
    "pcm_s32be",
    "pcm_s32le",
    "pcm_s64le",
    "pcm_u8",
    "qdm2",
    "ra_144",
    "speex",
    "truehd",
    "truespeech",
    "tta",
    "vorbis",
    "wavpack",
    "wmalossless",
    "wmapro",
    "wmav1",
    "wmav2",
    "wmavoice",
];

impl Container {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Mkv,
        Self::Mp4,
        Self::Webm,
        Self::Mov,
        Self::M4a,
        Self::Mka,
        Self::Opus,
        Self::Flac,
        Self::Mp3,
        Self::Ac3,
        Self::Webp,
        Self::Avif,
        Self::Jpeg,
        Self::Png,
    ];

    /// What an output in it is.
    #[must_use]
    pub fn kind(self) -> OutputKind {
        match self {
            Self::Mkv | Self::Mp4 | Self::Webm | Self::Mov => OutputKind::Film,
            Self::M4a | Self::Mka | Self::Opus | Self::Flac | Self::Mp3 | Self::Ac3 => {
                OutputKind::Sound
            }
            Self::Webp | Self::Avif | Self::Jpeg | Self::Png => OutputKind::Picture,
        }
    }

    /// The preset that makes it where none is named.
    #[must_use]
    pub fn usual_preset(self) -> &'static str {
        match self {
            Self::Mkv | Self::Mp4 | Self::Mov => "h264",
            Self::Webm => "vp9",
            Self::M4a => "aac",
            Self::Mka => "audio",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Ac3 => "ac3",
            Self::Webp => "webp",
            Self::Avif => "avif",
            Self::Jpeg => "jpeg",
            Self::Png => "png",
        }
    }

    /// The name users type, which is the usual file extension too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkv => "mkv",
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Mov => "mov",
            Self::M4a => "m4a",
            Self::Mka => "mka",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Ac3 => "ac3",
            Self::Webp => "webp",
            Self::Avif => "avif",
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    /// The names of all, for messages.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|container| container.name()).collect();
        names.join(", ")
    }

    /// The container that a file extension (without the dot) stands for.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "mkv" => Some(Self::Mkv),
            "mp4" | "m4v" => Some(Self::Mp4),
            "webm" => Some(Self::Webm),
            "mov" => Some(Self::Mov),
            "m4a" | "m4b" => Some(Self::M4a),
            "mka" => Some(Self::Mka),
            "opus" | "ogg" | "oga" => Some(Self::Opus),
            "flac" => Some(Self::Flac),
            "mp3" => Some(Self::Mp3),
            "ac3" => Some(Self::Ac3),
            "webp" => Some(Self::Webp),
            "avif" => Some(Self::Avif),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            _ => None,
        }
    }

    /// Whether it can hold video of `codec`.
    #[must_use]
    pub fn holds_video(self, codec: &str) -> bool {
        match self {
            Self::Mkv => true,
            Self::Mp4 => matches!(codec, "h264" | "hevc" | "av1" | "vp9" | "mpeg4"),
            Self::Webm => matches!(codec, "vp8" | "vp9" | "av1"),
            Self::Mov => matches!(codec, "h264" | "hevc" | "prores" | "mpeg4"),
            _ => false,
        }
    }

    /// Whether it can hold audio of `codec`.
    #[must_use]
    pub fn holds_audio(self, codec: &str) -> bool {
        match self {
            Self::Mkv | Self::Mka => MATROSKA_AUDIO.contains(&codec),
            Self::Mp4 | Self::M4a => {
                matches!(codec, "aac" | "ac3" | "eac3" | "mp3" | "opus" | "flac" | "alac")
            }
            Self::Webm => matches!(codec, "opus" | "vorbis"),
            Self::Mov => {
                matches!(codec, "aac" | "ac3" | "eac3" | "mp3" | "alac" | "pcm_s16le" | "pcm_s24le")
            }
            Self::Opus => matches!(codec, "opus" | "vorbis"),
            Self::Flac => codec == "flac",
            Self::Mp3 => codec == "mp3",
            Self::Ac3 => codec == "ac3",
            Self::Webp | Self::Avif | Self::Jpeg | Self::Png => false,
        }
    }

    /// The codec to encode to where `wanted` cannot be held.
    #[must_use]
    pub fn audio_codec(self, wanted: AudioCodec) -> AudioCodec {
        match self {
            _ if self.holds_audio(wanted.codec()) => wanted,
            Self::Webm | Self::Opus => AudioCodec::Opus,
            Self::Flac => AudioCodec::Flac,
            Self::Mp3 => AudioCodec::Mp3,
            Self::Ac3 => AudioCodec::Ac3,
            _ => AudioCodec::Aac,
        }
    }

    /// Whether it holds one audio track and no more.
    #[must_use]
    pub fn holds_one_track(self) -> bool {
        matches!(self, Self::Opus | Self::Flac | Self::Mp3 | Self::Ac3)
    }

    /// Whether it can hold tags and chapters.
    #[must_use]
    pub fn holds_tags(self) -> bool {
        self != Self::Ac3
    }

    /// What becomes of a subtitle track of `codec`.
    #[must_use]
    pub fn subtitle(self, codec: &str) -> SubtitleFate {
        let text = TEXT_SUBTITLES.contains(&codec);
        match (self, codec) {
            (Self::Mkv, "mov_text" | "text") => SubtitleFate::SubRip,
            (Self::Mkv, "eia_608" | "dvb_teletext" | "unknown") => SubtitleFate::Drop,
            (Self::Mkv, _) => SubtitleFate::Copy,
            (Self::Mp4 | Self::Mov, "mov_text") => SubtitleFate::Copy,
            (Self::Mp4 | Self::Mov, _) if text => SubtitleFate::MovText,
            (Self::Webm, "webvtt") => SubtitleFate::Copy,
            (Self::Webm, _) if text => SubtitleFate::WebVtt,
            _ => SubtitleFate::Drop,
        }
    }

    /// Whether it can carry attached files such as fonts.
    #[must_use]
    pub fn holds_attachments(self) -> bool {
        matches!(self, Self::Mkv | Self::Mka)
    }

    /// Whether it can carry cover art of picture codec `codec`.
    #[must_use]
    pub fn holds_cover(self, codec: &str) -> bool {
        match self {
            Self::Mkv | Self::Mka => matches!(codec, "mjpeg" | "png" | "gif" | "tiff" | "bmp"),
            Self::Mp4 | Self::M4a => matches!(codec, "mjpeg" | "png" | "bmp"),
            Self::Opus | Self::Flac | Self::Mp3 => matches!(codec, "mjpeg" | "png"),
            _ => false,
        }
    }

    /// Rounding of timestamps in this container, in seconds: Matroska's usual
    /// millisecond, none elsewhere.
    #[must_use]
    pub fn timestamp_step(self) -> f64 {
        match self {
            Self::Mkv | Self::Webm | Self::Mka => 0.001,
            _ => 0.0,
        }
    }
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Container {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|container| container.name() == text)
            .ok_or_else(|| format!("'{text}' is not a format; use {}", Self::names()))
    }
}
