//! Presets: how to encode. Read from TOML, overridden by `--set key=value`.

mod frames;
mod image;
mod sound;
mod video;

pub use image::ImagePreset;
pub use sound::{AudioCodec, AudioMode, AudioPreset};
pub use video::{Deinterlace, Tonemap, VideoPreset};

use crate::container::{Container, OutputKind};
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::hdr::{DolbyKeep, Keep};
use frames::changes_frames;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How to encode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// One line for `reelmill presets`.
    pub description: String,
    /// Output container, unless the output's file name says otherwise.
    pub format: Container,
    /// The picture; without it the preset is not for films.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoPreset>,
    /// The sound.
    #[serde(default)]
    pub audio: AudioPreset,
    /// A still picture, for the formats that hold one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImagePreset>,
    /// Whether nothing is encoded: Dolby Vision profile 7 becomes 8.1 by its
    /// metadata alone, and all else stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remux: bool,
}

/// A set of presets by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Presets(BTreeMap<String, toml::Table>);

/// The presets that come with reelmill.
pub const BUILT_IN: &str = include_str!("presets.toml");

/// Keys that `--set` accepts without their table's name.
const SHORT_KEYS: &[(&str, &str)] = &[
    ("crf", "video.crf"),
    ("hardware", "video.hardware"),
    ("speed", "video.speed"),
    ("tune", "video.tune"),
    ("width", "video.width"),
    ("height", "video.height"),
    ("upscale", "video.upscale"),
    ("keyframe_seconds", "video.keyframe_seconds"),
    ("quality", "image.quality"),
    ("lossless", "image.lossless"),
    ("loudness", "audio.loudness"),
    ("true_peak", "audio.true_peak"),
    ("max_channels", "audio.max_channels"),
    ("add_stereo", "audio.add_stereo"),
    ("languages", "audio.languages"),
    ("hdr", "video.hdr"),
    ("hdr10plus", "video.hdr10plus"),
    ("dolby_vision", "video.dolby_vision"),
    ("allow_fel_loss", "video.allow_fel_loss"),
    ("crop", "video.crop"),
    ("deinterlace", "video.deinterlace"),
    ("tonemap", "video.tonemap"),
    ("target_score", "video.target_score"),
    ("target_metric", "video.target_metric"),
    ("bitrate", "video.bitrate"),
    ("max_size", "video.max_size"),
];

impl Presets {
    /// The presets that come with reelmill.
    ///
    /// # Errors
    /// Never, unless the built-in file is broken; a test guards that.
    pub fn built_in() -> Result<Self, Failure> {
        let mut presets = Self(BTreeMap::new());
        presets.add(BUILT_IN, "the built-in presets")?;
        Ok(presets)
    }

    /// Adds the presets of a TOML text, replacing those of the same name.
    /// `origin` names the text in errors.
    ///
    /// # Errors
    /// When the text is not TOML or a preset in it is not valid.
    pub fn add(&mut self, text: &str, origin: &str) -> Result<(), Failure> {
        let table: toml::Table = toml::from_str(text)
            .map_err(|e| Failure::permanent(format!("{origin}: {}", one_line(&e))))?;
        for (name, value) in table {
            let toml::Value::Table(preset) = value else {
                let message = format!("{origin}: '{name}' is not a preset (a table)");
                return Err(Failure::permanent(message));
            };
            parse(&name, &preset).map_err(|mut failure| {
                failure.message = format!("{origin}: {}", failure.message);
                failure
            })?;
            self.0.insert(name, preset);
        }
        Ok(())
    }

    /// Names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The preset `name` with `overrides` (`key=value`) applied.
    ///
    /// # Errors
    /// When there is no such preset or an override does not fit.
    pub fn get(&self, name: &str, overrides: &[String]) -> Result<Preset, Failure> {
        let Some(table) = self.0.get(name) else {
            let known: Vec<&str> = self.names().collect();
            return Err(Failure::permanent(format!("there is no preset '{name}'"))
                .advise(format!("use one of: {} (see 'reelmill presets')", known.join(", "))));
        };
        let mut table = table.clone();
        for setting in overrides {
            apply(&mut table, setting)?;
        }
        parse(name, &table)
    }
}

/// Where nothing is encoded no encoder need be named.
const REMUXED: &str = "x265";

fn parse(name: &str, table: &toml::Table) -> Result<Preset, Failure> {
    if let Some(why) = changes_frames(table) {
        return Err(Failure::permanent(format!("preset '{name}': {why}"))
            .advise("change the frame rate with FFmpeg first, without HDR metadata"));
    }
    let mut table = table.clone();
    if table.get("remux").and_then(toml::Value::as_bool) == Some(true) {
        let video = table.entry("video").or_insert_with(|| toml::Table::new().into());
        if let Some(video) = video.as_table_mut() {
            video.entry("encoder").or_insert_with(|| REMUXED.into());
        }
    }
    let preset: Preset = table
        .try_into()
        .map_err(|e| Failure::permanent(format!("preset '{name}': {}", one_line(&e))))?;
    preset.check().map_err(|why| Failure::permanent(format!("preset '{name}': {why}")))?;
    Ok(preset)
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

/// Which part of a preset a setting (`key=value`) is about: `video`, `audio`,
/// `image`, or the key itself where it is in none.
#[must_use]
pub fn part_of(setting: &str) -> &str {
    let key = long_key(setting.split_once('=').map_or(setting, |(key, _)| key));
    key.split_once('.').map_or(key, |(part, _)| part)
}

fn long_key(key: &str) -> &str {
    SHORT_KEYS.iter().find(|(short, _)| *short == key).map_or(key, |(_, long)| *long)
}

fn apply(table: &mut toml::Table, setting: &str) -> Result<(), Failure> {
    let (key, value) = setting.split_once('=').ok_or_else(|| {
        Failure::permanent(format!("'--set {setting}' is not of the form key=value"))
            .advise("for example --set crf=20")
    })?;
    let short = key;
    let key = long_key(key);
    let part = part_of(setting);
    if ["video", "image"].contains(&part) && lacks(table, part) {
        let message = format!("the preset has no {part}, so '{short}' cannot be set");
        return Err(Failure::permanent(message).advise("name another preset with --preset"));
    }
    let mut parts = key.split('.').peekable();
    let mut table = table;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            table.insert(part.to_owned(), scalar(part, value));
            return Ok(());
        }
        let entry =
            table.entry(part.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let toml::Value::Table(inner) = entry else {
            return Err(Failure::permanent(format!("'{key}' is not a setting")));
        };
        table = inner;
    }
    Ok(())
}

/// Whether a preset has nothing of this part, and is not of a kind that may have.
fn lacks(table: &toml::Table, part: &str) -> bool {
    let format: Option<Container> =
        table.get("format").and_then(|format| format.clone().try_into().ok());
    let kind = format.map(Container::kind);
    let wanted = if part == "video" { OutputKind::Film } else { OutputKind::Picture };
    !table.contains_key(part) && kind.is_some_and(|kind| kind != wanted)
}

/// Speeds are words even when they look like numbers (SVT-AV1's are).
fn scalar(key: &str, value: &str) -> toml::Value {
    if key == "languages" {
        let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
        return words.map(|word| toml::Value::String(word.to_owned())).collect::<Vec<_>>().into();
    }
    if key != "speed" {
        if let Ok(number) = value.parse::<i64>() {
            return toml::Value::Integer(number);
        }
        if let Ok(number) = value.parse::<f64>() {
            return toml::Value::Float(number);
        }
        if let Ok(flag) = value.parse::<bool>() {
            return toml::Value::Boolean(flag);
        }
    }
    toml::Value::String(value.to_owned())
}

impl Preset {
    /// The encoder that makes the picture, if one does.
    #[must_use]
    pub fn encoder(&self) -> Option<VideoEncoder> {
        self.video.as_ref().filter(|_| !self.remux).map(|video| video.encoder)
    }

    /// The encoder of the picture, for an output in `container`: none where that
    /// is no film.
    #[must_use]
    pub fn encoder_for(&self, container: Container) -> Option<VideoEncoder> {
        self.encoder().filter(|_| container.kind() == OutputKind::Film)
    }

    /// Whether an output in `container` can be made with it.
    ///
    /// # Errors
    /// Why not: it encodes no picture, or to what the container cannot hold.
    pub fn fits(&self, container: Container) -> Result<(), Failure> {
        if container.kind() != OutputKind::Film {
            return Ok(());
        }
        let advice = "choose another format or preset";
        if self.video.is_none() {
            let message = format!("the preset is not for films, as {container} is");
            return Err(Failure::permanent(message).advise(advice));
        }
        let codec = self.codec();
        if container.holds_video(codec) {
            return Ok(());
        }
        Err(Failure::permanent(format!("{container} cannot hold {codec} video")).advise(advice))
    }

    /// The codec of the output's picture, by FFmpeg's name.
    #[must_use]
    pub fn codec(&self) -> &'static str {
        self.encoder().map_or("hevc", VideoEncoder::codec)
    }

    /// Where nothing is encoded, settings that need an encoder are refused rather
    /// than passed over.
    fn check_remux(&self) -> Result<(), String> {
        let Some(video) = &self.video else { return Ok(()) };
        let set = [
            ("crf", video.crf.is_some()),
            ("speed", video.speed.is_some()),
            ("tune", video.tune.is_some()),
            ("width", video.width.is_some()),
            ("height", video.height.is_some()),
            ("crop", video.crop.is_some()),
            ("deinterlace", video.deinterlace != Deinterlace::Keep),
            ("tonemap", video.tonemap.is_some()),
            ("target_score", video.target_score.is_some()),
            ("bitrate", video.bitrate.is_some()),
            ("max_size", video.max_size.is_some()),
            ("hdr", video.hdr == Keep::Drop),
            ("dolby_vision", video.dolby_vision == DolbyKeep::Drop),
            ("audio.mode", self.audio.mode == AudioMode::Encode),
        ];
        match set.iter().find(|(_, set)| *set) {
            Some((name, _)) => Err(format!("nothing is encoded, so '{name}' cannot be set")),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.remux {
            self.check_remux()?;
        }
        match &self.video {
            Some(video) => video.check()?,
            None if self.format.kind() == OutputKind::Film => {
                return Err(format!("a preset for {} needs 'video'", self.format));
            }
            None => {}
        }
        self.image.unwrap_or_default().check()?;
        self.audio.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{MediaInfo, Stream, StreamKind, VideoInfo};

    #[test]
    fn built_in_presets_are_valid_and_named_as_documented() {
        let presets = Presets::built_in().unwrap();
        let names: Vec<_> = presets.names().collect();
        let all = "aac ac3 audio av1 avif dv81-hevc dv81-remux flac h264 hevc jpeg lossless mp3 opus png vp9 webp";
        assert_eq!(names.join(" "), all);
        for name in names {
            presets.get(name, &[]).unwrap();
        }
    }

    #[test]
    fn overrides_take_short_and_long_keys() {
        let presets = Presets::built_in().unwrap();
        let set = ["crf=18".to_owned(), "video.speed=fast".into(), "format=mp4".into()];
        let preset = presets.get("h264", &set).unwrap();
        let video = preset.video.unwrap();
        assert_eq!(video.crf, Some(18.0));
        assert_eq!(video.speed.as_deref(), Some("fast"));
        assert_eq!(preset.format, Container::Mp4);
        let av1 = presets.get("av1", &["speed=10".into()]).unwrap();
        assert_eq!(av1.video.unwrap().speed.as_deref(), Some("10"));
        let aac = presets.get("aac", &["languages=eng, de".into(), "loudness=-16".into()]).unwrap();
        assert_eq!(aac.audio.languages, ["eng", "de"]);
        assert_eq!(aac.audio.loudness().unwrap().integrated, -16.0);
    }

    #[test]
    fn what_needs_an_encoder_is_refused_where_nothing_is_encoded() {
        let presets = Presets::built_in().unwrap();
        let get = |set: &str| presets.get("dv81-remux", &[set.to_owned()]);
        for set in ["crf=20", "width=640", "crop=16:16:0:0", "hdr=drop", "audio.mode=encode"] {
            let refused = get(set).unwrap_err();
            assert!(refused.message.contains("nothing is encoded"), "{refused}");
        }
        let preset = get("allow_fel_loss=true").unwrap();
        assert_eq!((preset.encoder(), preset.codec()), (None, "hevc"));
        assert_eq!(presets.get("h264", &[]).unwrap().encoder(), Some(VideoEncoder::X264));
    }

    #[test]
    fn a_preset_that_encodes_nothing_shows_no_encoder_and_can_be_read_back() {
        let mut presets = Presets::built_in().unwrap();
        let all: Vec<String> = presets.names().map(str::to_owned).collect();
        for name in all {
            let shown = presets.get(&name, &[]).unwrap().shown().unwrap();
            let of_remux = name == "dv81-remux";
            assert_eq!(of_remux, shown.get("remux").is_some(), "{name}");
            assert!(!of_remux || !shown.to_string().contains("encoder"), "{shown}");
            let text = toml::to_string(&BTreeMap::from([("mine", &shown)])).unwrap();
            presets.add(&text, "mine").unwrap();
            assert_eq!(presets.get("mine", &[]).unwrap(), presets.get(&name, &[]).unwrap());
        }
        let set = ["hdr10plus=drop".to_owned()];
        let shown = presets.get("dv81-remux", &set).unwrap().shown().unwrap();
        assert_eq!(shown["video"].to_string().trim(), r#"{ hdr10plus = "drop" }"#);
    }

    #[test]
    fn presets_for_dolby_vision_are_for_films_that_have_it() {
        let presets = Presets::built_in().unwrap();
        let film = |profile: Option<u8>, hdr10plus| {
            let dolby_vision = profile.map(|profile| crate::dolby::DolbyVision {
                profile,
                layer: None,
                stream: 0,
                levels: Vec::new(),
                source_max_pq: None,
            });
            let video = VideoInfo { dolby_vision, hdr10plus, ..VideoInfo::default() };
            let kind = StreamKind::Video(video);
            let stream = Stream {
                index: 0,
                codec: "hevc".into(),
                profile: None,
                time_base: None,
                start_ticks: None,
                duration: None,
                bit_rate: None,
                dispositions: Vec::new(),
                tags: BTreeMap::new(),
                kind,
            };
            MediaInfo {
                format: "matroska,webm".into(),
                size: 1,
                duration: None,
                start_micros: 0,
                streams: vec![stream],
                chapters: Vec::new(),
                tags: BTreeMap::new(),
            }
        };
        let told = |name: &str, set: &[&str], profile, plus| {
            let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
            presets.get(name, &set).unwrap().not_for(&film(profile, plus))
        };
        assert_eq!(told("hevc", &[], None, false), None);
        assert_eq!(told("dv81-remux", &[], Some(7), false), None);
        assert_eq!(told("dv81-remux", &[], Some(5), false), None, "refused, and said why");
        assert!(told("dv81-remux", &[], Some(8), true).unwrap().contains("already"));
        assert_eq!(told("dv81-remux", &["hdr10plus=drop"], Some(8), true), None);
        assert!(told("dv81-remux", &[], None, false).unwrap().contains("no Dolby Vision"));
        assert!(told("dv81-hevc", &[], None, false).unwrap().contains("no Dolby Vision"));
        assert_eq!(told("dv81-hevc", &[], Some(8), false), None);
    }

    #[test]
    fn settings_that_change_which_frames_there_are_are_refused_with_the_reason() {
        let mut presets = Presets::built_in().unwrap();
        for set in ["fps=30", "video.fps=24000/1001", "video.decimate=5", "video.filter=fps=30"] {
            let refused = presets.get("dv81-hevc", &[set.to_owned()]).unwrap_err();
            assert!(refused.message.contains("belong to single frames"), "{set}: {refused}");
        }
        let mine = "[mine]\ndescription = 'x'\nformat = 'mkv'\n\
                    [mine.video]\nencoder = 'x265'\ndecimate = 5\n";
        let refused = presets.add(mine, "presets.toml").unwrap_err();
        assert!(refused.message.contains("presets.toml") && refused.message.contains("decimate"));
        assert!(refused.advice.unwrap().contains("FFmpeg"));
    }

    #[test]
    fn a_size_is_read_as_people_write_it_and_excludes_other_aims() {
        let presets = Presets::built_in().unwrap();
        let get = |name: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
            presets.get(name, &set).map(|preset| preset.video.unwrap().aim())
        };
        use crate::rate::Aim::{Bitrate, MaxSize};
        let bits = Some(Bitrate { bits: 2_500_000 });
        assert_eq!(get("h264", &["bitrate=2500k"]).unwrap(), bits);
        assert_eq!(get("hevc", &["bitrate=2500000"]).unwrap(), bits);
        let bytes = 700 << 20;
        assert_eq!(get("av1", &["max_size=700MiB"]).unwrap(), Some(MaxSize { bytes }));
        assert_eq!(get("vp9", &[]).unwrap(), None);
        let wrong: [(&str, &[&str], &str); 7] = [
            ("h264", &["bitrate=1M", "max_size=1GB"], "bitrate and max_size exclude each other"),
            ("h264", &["bitrate=1M", "target_score=0.9"], "target_score and bitrate exclude"),
            ("h264", &["bitrate=12"], "between 1k and 10G"),
            ("h264", &["max_size=12"], "between 1kB and 100TB"),
            ("h264", &["max_size=3 elephants"], "is not an amount"),
            ("lossless", &["max_size=1MB"], "ffv1 has no rate factor, so no max_size"),
            ("dv81-remux", &["bitrate=1M"], "nothing is encoded, so 'bitrate'"),
        ];
        for (name, set, words) in wrong {
            let refused = get(name, set).unwrap_err().message;
            assert!(refused.contains(words), "{set:?}: {refused}");
        }
        let mine = "[mine]\ndescription = 'x'\nformat = 'mkv'\n[mine.video]\nencoder = 'x265'\n\
                    bitrate = '2500k'\n";
        let mut own = presets.clone();
        own.add(mine, "presets.toml").unwrap();
        let shown = own.get("mine", &[]).unwrap().shown().unwrap();
        assert_eq!(shown["video"]["bitrate"].as_integer(), Some(2_500_000));
    }

    #[test]
    fn bad_settings_say_what_is_wrong() {
        let presets = Presets::built_in().unwrap();
        let wrong = [
            "crf=99",
            "crf=high",
            "speed=warp",
            "colour=red",
            "crf",
            "audio.codec=wav",
            "loudness=-1",
            "languages=§",
        ];
        let refused = |set: &&str| presets.get("h264", &[(*set).to_owned()]).unwrap_err().message;
        let messages: Vec<String> = wrong.iter().map(refused).collect();
        insta::assert_json_snapshot!(messages);
        let vp9 = presets.get("vp9", &["tune=film".into()]).unwrap_err();
        assert!(vp9.message.contains("vp9 has no tune 'film'"), "{vp9}");
        assert!(presets.get("h265", &[]).unwrap_err().advice.unwrap().contains("hevc"));
    }
}
