//! Output containers and what each can hold.

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

impl Container {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mkv, Self::Mp4, Self::Webm, Self::Mov];

    /// The name users type, which is the usual file extension too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkv => "mkv",
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Mov => "mov",
        }
    }

    /// The container that a file extension (without the dot) stands for.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "mkv" => Some(Self::Mkv),
            "mp4" | "m4v" => Some(Self::Mp4),
            "webm" => Some(Self::Webm),
            "mov" => Some(Self::Mov),
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
        }
    }

    /// Whether it can hold audio of `codec`.
    #[must_use]
    pub fn holds_audio(self, codec: &str) -> bool {
        match self {
            Self::Mkv => !matches!(codec, "adpcm_ima_qt" | "unknown"),
            Self::Mp4 => {
                matches!(codec, "aac" | "ac3" | "eac3" | "mp3" | "opus" | "flac" | "alac")
            }
            Self::Webm => matches!(codec, "opus" | "vorbis"),
            Self::Mov => {
                matches!(codec, "aac" | "ac3" | "eac3" | "mp3" | "alac" | "pcm_s16le" | "pcm_s24le")
            }
        }
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
            (Self::Mp4 | Self::Mov | Self::Webm, _) => SubtitleFate::Drop,
        }
    }

    /// Whether it can carry attached files such as fonts.
    #[must_use]
    pub fn holds_attachments(self) -> bool {
        self == Self::Mkv
    }

    /// Whether it can carry cover art of picture codec `codec`.
    #[must_use]
    pub fn holds_cover(self, codec: &str) -> bool {
        match self {
            Self::Mkv => matches!(codec, "mjpeg" | "png" | "gif" | "tiff" | "bmp"),
            Self::Mp4 => matches!(codec, "mjpeg" | "png" | "bmp"),
            Self::Webm | Self::Mov => false,
        }
    }

    /// Rounding of timestamps in this container, in seconds: Matroska's usual
    /// millisecond, none elsewhere.
    #[must_use]
    pub fn timestamp_step(self) -> f64 {
        match self {
            Self::Mkv | Self::Webm => 0.001,
            Self::Mp4 | Self::Mov => 0.0,
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
            .ok_or_else(|| format!("'{text}' is not a format; use mkv, mp4, webm or mov"))
    }
}
