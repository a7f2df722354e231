//! Media info: what a probe found in a source.

use crate::container::Container;
use crate::dolby::DolbyVision;
use crate::hdr::{ContentLight, MasteringDisplay};
use crate::time::TimeBase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a source is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MediaInfo {
    /// Names of the container format, as the demuxer calls itself
    /// (`matroska,webm`).
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Seconds, as the container declares; `None` when it does not.
    pub duration: Option<f64>,
    /// When the earliest stream starts, in microseconds; 0 when undeclared.
    pub start_micros: i64,
    /// The streams, in container order.
    pub streams: Vec<Stream>,
    /// Chapters, in order.
    pub chapters: Vec<Chapter>,
    /// Container-wide tags, keys lower-cased.
    pub tags: BTreeMap<String, String>,
}

/// One stream of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stream {
    /// Index within the container.
    pub index: u32,
    /// Codec name as FFmpeg gives it; `unknown` when it has none.
    pub codec: String,
    /// Profile, where the codec has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seconds per tick of its timestamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_base: Option<TimeBase>,
    /// First timestamp, ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ticks: Option<i64>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u64>,
    /// Dispositions that are set (`default`, `forced`, `comment`…).
    pub dispositions: Vec<String>,
    /// Tags, keys lower-cased.
    pub tags: BTreeMap<String, String>,
    /// What is particular to its kind.
    #[serde(flatten)]
    pub kind: StreamKind,
}

/// What is particular to a kind of stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamKind {
    /// Moving pictures.
    Video(VideoInfo),
    /// A still picture shown for the whole file (cover art).
    Cover(VideoInfo),
    /// Sound.
    Audio(AudioInfo),
    /// Text or picture subtitles.
    Subtitle,
    /// A font or another file carried along.
    Attachment,
    /// Anything else (timecode, telemetry…).
    Data,
}

/// Facts of a video stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VideoInfo {
    /// Pixels, as coded (before rotation).
    pub width: u32,
    /// Pixels, as coded (before rotation).
    pub height: u32,
    /// Pixel format, by FFmpeg's name.
    pub pixel_format: String,
    /// Sample aspect ratio; `None` when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_aspect: Option<(u32, u32)>,
    /// Average frames per second as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<(u32, u32)>,
    /// Field order.
    pub field_order: FieldOrder,
    /// Clockwise turn in degrees that a player applies: 0, 90, 180, 270.
    pub rotation: i32,
    /// Whether the display matrix also mirrors the picture.
    #[serde(default)]
    pub mirrored: bool,
    /// Colour description.
    pub colour: Colour,
    /// Kind of HDR signalled.
    pub hdr: Hdr,
    /// The display it was mastered on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mastering: Option<MasteringDisplay>,
    /// How bright it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<ContentLight>,
    /// Whether frames carry HDR10+ metadata (SMPTE ST 2094-40).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hdr10plus: bool,
    /// Dolby Vision metadata in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dolby_vision: Option<DolbyVision>,
}

/// Order of the fields of interlaced video.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FieldOrder {
    /// Whole frames, or nothing said.
    #[default]
    Progressive,
    /// Top field first.
    TopFirst,
    /// Bottom field first.
    BottomFirst,
}

/// Colour description: names as FFmpeg prints them, `None` where unset
/// (ITU-T H.273).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Colour {
    /// `tv` or `pc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Matrix coefficients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Transfer characteristics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// Colour primaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primaries: Option<String>,
    /// Chroma sample location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroma_location: Option<String>,
}

/// Kind of high dynamic range.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Hdr {
    /// Standard dynamic range.
    #[default]
    None,
    /// SMPTE ST 2084, with or without static metadata.
    Hdr10,
    /// ARIB STD-B67.
    Hlg,
    /// Dolby Vision, of whatever profile.
    DolbyVision,
}

/// Facts of an audio stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AudioInfo {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Channel layout, where declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
}

/// A named part of the programme.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Chapter {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// Its title, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Stream {
    /// Language tag, unless unset or undetermined.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.tags.get("language").map(String::as_str).filter(|tag| *tag != "und")
    }

    /// Title, where it has one.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.tags.get("title").map(String::as_str)
    }
}

impl MediaInfo {
    /// The main video stream: the first that is not cover art.
    #[must_use]
    pub fn video(&self) -> Option<(&Stream, &VideoInfo)> {
        self.streams.iter().find_map(|stream| match &stream.kind {
            StreamKind::Video(info) => Some((stream, info)),
            _ => None,
        })
    }

    /// The audio streams.
    pub fn audio(&self) -> impl Iterator<Item = (&Stream, &AudioInfo)> {
        self.streams.iter().filter_map(|stream| match &stream.kind {
            StreamKind::Audio(info) => Some((stream, info)),
            _ => None,
        })
    }

    /// Whether it is a still picture.
    #[must_use]
    pub fn is_still(&self) -> bool {
        let avif = || self.tags.get("major_brand").is_some_and(|brand| brand == "avif");
        self.format.ends_with("_pipe") || avif()
    }

    /// Whether it is a file of this format, of those that tell by themselves: pictures
    /// and bare AC-3.
    #[must_use]
    pub fn is_in(&self, container: Container) -> bool {
        match container {
            Container::Webp => self.is_format("webp_pipe"),
            Container::Jpeg => self.is_format("jpeg_pipe"),
            Container::Png => self.is_format("png_pipe"),
            Container::Avif => self.is_still() && !self.format.ends_with("_pipe"),
            Container::Ac3 => self.is_format("ac3"),
            _ => false,
        }
    }

    /// Whether the demuxer answers to `name`.
    #[must_use]
    pub fn is_format(&self, name: &str) -> bool {
        self.format.split(',').any(|part| part == name)
    }
}

impl VideoInfo {
    /// Width and height as shown, after rotation.
    #[must_use]
    pub fn upright_size(&self) -> (u32, u32) {
        if self.rotation.rem_euclid(180) == 90 {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        }
    }

    /// Frames per second, where declared.
    #[must_use]
    pub fn fps(&self) -> Option<f64> {
        self.frame_rate.map(|(num, den)| f64::from(num) / f64::from(den))
    }
}
