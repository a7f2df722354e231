//! Facts of a media file as a library keeps them: what rules and queries ask,
//! and nothing that would have to be read from beyond a file's headers.

use crate::dolby::{DolbyVision, EnhancementLayer};
use crate::media::{AudioInfo, Hdr, MediaInfo, Stream, StreamKind, VideoInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a file of a library.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// What it is, all in all.
    pub kind: MediaKind,
    /// The container: the extension where that is one of the container's own,
    /// else its usual name (`mkv`, `mp4`, `avi`…).
    pub container: String,
    /// Milliseconds, as the container declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The main picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoFacts>,
    /// The audio tracks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audio: Vec<AudioFacts>,
    /// The subtitle tracks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtitles: Vec<SubtitleFacts>,
    /// The mark that reelmill left, if it made the file (see [`mark`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

/// What a file is, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Moving pictures, with or without sound.
    Video,
    /// Sound alone; cover art does not count.
    Audio,
    /// A still picture.
    Image,
    /// None of these.
    Other,
}

/// Facts of the main picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VideoFacts {
    /// Codec, by FFmpeg's name.
    pub codec: String,
    /// Pixels as shown, after rotation.
    pub width: u32,
    /// Pixels as shown, after rotation.
    pub height: u32,
    /// Clockwise turn in degrees that a player applies: 0, 90, 180, 270.
    #[serde(default)]
    pub rotation: u16,
    /// Average frames per 1000 seconds, where declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps_milli: Option<u32>,
    /// Bits of a sample; 0 when unknown.
    pub bit_depth: u8,
    /// How colour is sampled.
    pub chroma: Chroma,
    /// Kind of HDR signalled; Dolby Vision of HEVC only where the pictures have it.
    pub hdr: Hdr,
    /// Dolby Vision, as the first pictures have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dolby_vision: Option<DolbyFacts>,
    /// Whether the first pictures have HDR10+; nothing where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr10plus: Option<bool>,
}

/// Dolby Vision as pictures have it, whatever their container claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DolbyFacts {
    /// Profile.
    pub profile: u8,
    /// Kind of enhancement layer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<EnhancementLayer>,
    /// Levels of metadata, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<u8>,
}

impl DolbyFacts {
    /// What a library keeps of `found`.
    #[must_use]
    pub fn of(found: &DolbyVision) -> Self {
        Self { profile: found.profile, layer: found.layer, levels: found.levels.clone() }
    }

    /// Profile and layer as people write them: `7 FEL`.
    #[must_use]
    pub fn label(&self) -> String {
        let layer = self.layer.map_or(String::new(), |layer| format!(" {}", layer.label()));
        format!("{}{layer}", self.profile)
    }
}

/// How colour is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chroma {
    /// Not known.
    #[default]
    Unknown,
    /// Brightness alone.
    Gray,
    /// One colour sample for four pixels.
    #[serde(rename = "420")]
    C420,
    /// One colour sample for two pixels.
    #[serde(rename = "422")]
    C422,
    /// One colour sample for each pixel.
    #[serde(rename = "444")]
    C444,
    /// Something else (4:1:1, 4:4:0…).
    Other,
    /// Red, green, blue.
    Rgb,
}

/// Facts of an audio track.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AudioFacts {
    /// Codec, by FFmpeg's name.
    pub codec: String,
    /// Channels; 0 when unknown.
    pub channels: u32,
    /// Samples per second; 0 when unknown.
    pub sample_rate: u32,
    /// Language tag, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// Facts of a subtitle track.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubtitleFacts {
    /// Codec, by FFmpeg's name.
    pub codec: String,
    /// Language tag, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// What a file made by reelmill says of itself begins with this, in a tag that
/// its container keeps; the name of the preset follows.
pub const MARK: &str = "reelmill:";

/// The mark of an output made with `preset`.
#[must_use]
pub fn mark(preset: &str) -> String {
    format!("{MARK}{preset}")
}

/// The tags that may hold the mark among other words, lower-cased.
pub const MARK_TAGS: [&str; 2] = ["encoded_by", "keywords"];

/// The tag that is the mark, in containers that take any tag; lower-cased.
pub const MARK_TAG: &str = "reelmill";

/// What the name of the writing program begins with where that is the mark.
pub const MARK_PROGRAM: &str = "reelmill ";

/// The mark in a container's tags, whose keys are lower-cased: by it an output is
/// known for one and never converted again.
#[must_use]
pub fn made_by(tags: &BTreeMap<String, String>) -> Option<String> {
    let program = || tags.get("encoder").filter(|name| name.starts_with(MARK_PROGRAM));
    let among = MARK_TAGS.iter().find_map(|tag| find_mark(tags.get(*tag)?));
    among.or_else(|| tags.get(MARK_TAG).or_else(program).cloned())
}

/// The mark among the words of a tag's value.
#[must_use]
pub fn find_mark(value: &str) -> Option<String> {
    let word = value.split([',', ';', ' ']).find(|word| word.starts_with(MARK))?;
    Some(word.to_owned())
}

/// The mark where a container takes it only as the name of a track's handler.
fn handler_mark(stream: &Stream) -> Option<String> {
    stream.tags.get("handler_name").filter(|name| name.starts_with(MARK_PROGRAM)).cloned()
}

impl Facts {
    /// The facts in `media`; `extension` is that of the file's name.
    #[must_use]
    pub fn of(media: &MediaInfo, extension: &str) -> Self {
        let video = media.video().map(|(stream, info)| VideoFacts::of(&stream.codec, info));
        let audio: Vec<_> = media
            .audio()
            .map(|(stream, info)| AudioFacts::of(&stream.codec, info, stream.language()))
            .collect();
        let subtitles = media.streams.iter().filter(|s| s.kind == StreamKind::Subtitle);
        let subtitles = subtitles
            .map(|s| SubtitleFacts { codec: s.codec.clone(), language: lower(s.language()) })
            .collect();
        let kind = match (&video, audio.is_empty()) {
            (Some(_), _) if media.is_still() => MediaKind::Image,
            (Some(_), _) => MediaKind::Video,
            (None, false) => MediaKind::Audio,
            (None, true) => MediaKind::Other,
        };
        Self {
            kind,
            container: container(&media.format, extension),
            duration_ms: media.duration.map(millis),
            video,
            audio,
            subtitles,
            made_by: made_by(&media.tags).or_else(|| media.streams.iter().find_map(handler_mark)),
        }
    }
}

impl Facts {
    /// Whether an earlier version wrote them, which did not look at the pictures'
    /// own HDR metadata.
    #[must_use]
    pub fn outdated(&self) -> bool {
        self.video.as_ref().is_some_and(|video| {
            video.codec == "hevc" && video.hdr != Hdr::None && video.hdr10plus.is_none()
        })
    }
}

/// Whether HDR metadata may lie in the pictures of such a stream.
#[must_use]
pub fn may_be_dynamic(codec: &str, bit_depth: u8, hdr: Hdr) -> bool {
    codec == "hevc" && (bit_depth >= 10 || hdr != Hdr::None)
}

/// The kind of HDR where a container claims Dolby Vision and its pictures have none.
fn without_claim(transfer: Option<&str>) -> Hdr {
    match transfer {
        Some("smpte2084") => Hdr::Hdr10,
        Some("arib-std-b67") => Hdr::Hlg,
        _ => Hdr::None,
    }
}

impl VideoFacts {
    fn of(codec: &str, info: &VideoInfo) -> Self {
        let (width, height) = info.upright_size();
        let (chroma, bit_depth) = pixel_class(&info.pixel_format);
        let looked = may_be_dynamic(codec, bit_depth, info.hdr);
        let claim = looked && info.hdr == Hdr::DolbyVision && info.dolby_vision.is_none();
        Self {
            codec: codec.to_owned(),
            width,
            height,
            rotation: info.rotation.rem_euclid(360) as u16,
            fps_milli: info.frame_rate.map(fps_milli),
            bit_depth,
            chroma,
            hdr: if claim { without_claim(info.colour.transfer.as_deref()) } else { info.hdr },
            dolby_vision: info.dolby_vision.as_ref().map(DolbyFacts::of),
            hdr10plus: looked.then_some(info.hdr10plus),
        }
    }

    /// Frames per second, where declared.
    #[must_use]
    pub fn fps(&self) -> Option<f64> {
        self.fps_milli.map(|milli| f64::from(milli) / 1000.0)
    }
}

impl AudioFacts {
    fn of(codec: &str, info: &AudioInfo, language: Option<&str>) -> Self {
        Self {
            codec: codec.to_owned(),
            channels: info.channels,
            sample_rate: info.sample_rate,
            language: lower(language),
        }
    }
}

fn lower(language: Option<&str>) -> Option<String> {
    language.map(str::to_lowercase)
}

/// Seconds as milliseconds, by way of the microseconds that FFmpeg prints.
fn millis(seconds: f64) -> u64 {
    let micros = (seconds * 1e6).round() as u64;
    micros.saturating_add(500) / 1000
}

/// A frame rate as frames per 1000 seconds, rounded.
#[must_use]
pub fn fps_milli((num, den): (u32, u32)) -> u32 {
    let (num, den) = (u64::from(num), u64::from(den.max(1)));
    ((num * 1000 + den / 2) / den).min(u64::from(u32::MAX)) as u32
}

/// Extensions of each family of containers, the usual one first.
const FAMILIES: [(&str, &[&str]); 8] = [
    ("matroska", &["mkv", "webm", "mka", "mks", "mk3d"]),
    (
        "mov",
        &["mp4", "mov", "m4v", "m4a", "m4b", "3gp", "3g2", "qt", "ismv", "f4v", "avif", "heic"],
    ),
    ("mpegts", &["ts", "m2ts", "mts", "m2t", "trp"]),
    ("mpeg", &["mpg", "mpeg", "vob", "m2v", "m2p", "ps", "dat"]),
    ("asf", &["wmv", "asf", "wma"]),
    ("ogg", &["ogg", "ogv", "oga", "opus", "ogm", "spx"]),
    ("avi", &["avi", "divx"]),
    ("flv", &["flv"]),
];

/// The container's name: `extension` when it is one of the family's own.
#[must_use]
pub fn container(format: &str, extension: &str) -> String {
    let extension = extension.to_ascii_lowercase();
    let first = format.split(',').next().unwrap_or_default();
    match FAMILIES.iter().find(|(family, _)| *family == first) {
        Some((_, own)) if own.contains(&extension.as_str()) => extension,
        Some((_, own)) => own[0].to_owned(),
        None => first.to_owned(),
    }
}

/// How colour is sampled and the bits of a sample, by FFmpeg's name of the
/// pixel format.
#[must_use]
pub fn pixel_class(name: &str) -> (Chroma, u8) {
    let plain = name.trim_end_matches("le").trim_end_matches("be");
    let chroma = if plain.starts_with("gray") || plain.starts_with("mono") || plain == "ya8" {
        Chroma::Gray
    } else if plain.starts_with("yuv") || plain.starts_with("nv") || plain.starts_with('p') {
        match plain {
            "nv12" | "nv21" | "p010" | "p012" | "p016" => Chroma::C420,
            "nv16" | "nv20" | "p210" | "p216" => Chroma::C422,
            "nv24" | "nv42" | "p410" | "p416" => Chroma::C444,
            "pal8" => Chroma::Rgb,
            _ if plain.contains("420") => Chroma::C420,
            _ if plain.contains("422") => Chroma::C422,
            _ if plain.contains("444") => Chroma::C444,
            _ => Chroma::Other,
        }
    } else if ["gbr", "rgb", "bgr", "argb", "abgr", "x2", "0"].iter().any(|p| plain.starts_with(p))
    {
        Chroma::Rgb
    } else {
        return (Chroma::Unknown, 0);
    };
    (chroma, depth(plain))
}

/// The bits at the end of a pixel format's name; 8 when it tells none.
fn depth(plain: &str) -> u8 {
    match plain {
        "p010" | "p210" | "p410" | "nv20" => return 10,
        "p012" => return 12,
        "p016" | "p216" | "p416" | "rgb48" | "bgr48" | "rgba64" | "bgra64" => return 16,
        "monow" | "monob" => return 1,
        _ => {}
    }
    let letters = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &plain[letters.len()..];
    let tells = letters.ends_with('p') || letters.ends_with("gray");
    match digits.parse() {
        Ok(bits @ 9..=16) if tells => bits,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_formats_are_sorted_into_classes() {
        let class = |name| pixel_class(name);
        assert_eq!(class("yuv420p"), (Chroma::C420, 8));
        assert_eq!(class("yuvj420p"), (Chroma::C420, 8));
        assert_eq!(class("yuv420p10le"), (Chroma::C420, 10));
        assert_eq!(class("yuva444p12le"), (Chroma::C444, 12));
        assert_eq!(class("yuv422p"), (Chroma::C422, 8));
        assert_eq!(class("p010le"), (Chroma::C420, 10));
        assert_eq!(class("nv12"), (Chroma::C420, 8));
        assert_eq!(class("gray"), (Chroma::Gray, 8));
        assert_eq!(class("gray10le"), (Chroma::Gray, 10));
        assert_eq!(class("gbrp"), (Chroma::Rgb, 8));
        assert_eq!(class("gbrp10le"), (Chroma::Rgb, 10));
        assert_eq!(class("rgb24"), (Chroma::Rgb, 8));
        assert_eq!(class("rgb48be"), (Chroma::Rgb, 16));
        assert_eq!(class("pal8"), (Chroma::Rgb, 8));
        assert_eq!(class(""), (Chroma::Unknown, 0));
    }

    #[test]
    fn a_claim_without_metadata_is_not_believed_and_old_facts_are_known() {
        let mut info = VideoInfo {
            hdr: Hdr::DolbyVision,
            pixel_format: "yuv420p10le".into(),
            ..VideoInfo::default()
        };
        info.colour.transfer = Some("smpte2084".into());
        let facts = VideoFacts::of("hevc", &info);
        assert_eq!((facts.hdr, facts.hdr10plus), (Hdr::Hdr10, Some(false)));
        assert_eq!(VideoFacts::of("av1", &info).hdr, Hdr::DolbyVision, "nobody looked");
        let all = |video| Facts {
            kind: MediaKind::Video,
            container: "mkv".into(),
            duration_ms: None,
            video: Some(video),
            audio: Vec::new(),
            subtitles: Vec::new(),
            made_by: None,
        };
        assert!(!all(facts.clone()).outdated());
        let before = VideoFacts { hdr: Hdr::DolbyVision, hdr10plus: None, ..facts };
        assert!(all(before.clone()).outdated());
        assert!(!all(VideoFacts { hdr: Hdr::None, ..before }).outdated());
    }

    #[test]
    fn the_extension_counts_only_within_its_family() {
        assert_eq!(container("matroska,webm", "WebM"), "webm");
        assert_eq!(container("matroska,webm", "mp4"), "mkv");
        assert_eq!(container("mov,mp4,m4a,3gp,3g2,mj2", "mov"), "mov");
        assert_eq!(container("mpegts", "mp4"), "ts");
        assert_eq!(container("flac", "flac"), "flac");
    }

    #[test]
    fn the_mark_is_found_among_other_words() {
        assert_eq!(find_mark("family, reelmill:hevc"), Some("reelmill:hevc".into()));
        assert_eq!(find_mark(&mark("h264")), Some("reelmill:h264".into()));
        assert_eq!(find_mark("reelmill"), None);
        let of = |key: &str, value: &str| made_by(&BTreeMap::from([(key.into(), value.into())]));
        assert_eq!(of("keywords", "family, reelmill:hevc"), Some("reelmill:hevc".into()));
        assert_eq!(of("reelmill", "reelmill 1.0"), Some("reelmill 1.0".into()));
        assert_eq!(of("encoder", "reelmill 1.0"), Some("reelmill 1.0".into()));
        assert_eq!((of("encoder", "Lavf59"), of("title", "reelmill 1.0")), (None, None));
    }
}
