//! What a preset says of sound.

use crate::media::AudioInfo;
use crate::tracks::Loudness;
use serde::{Deserialize, Serialize};

/// How to treat sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AudioPreset {
    /// What to do with a track.
    pub mode: AudioMode,
    /// Codec for tracks that are encoded.
    pub codec: AudioCodec,
    /// Bits per second for each channel of an encoded track.
    pub bitrate_per_channel: u32,
    /// Channels that a track keeps at most; more are mixed down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<u32>,
    /// Integrated loudness (EBU R 128) that every track is brought to, LUFS; as
    /// loud as it is when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness: Option<f64>,
    /// Highest true peak where `loudness` is given, dBTP; −1.5 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub true_peak: Option<f64>,
    /// Whether a stereo AAC track is added where there is surround sound alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub add_stereo: bool,
    /// Languages whose tracks are kept (`eng`, `de`…); all when empty, or when
    /// no track is in one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

impl AudioPreset {
    /// How loud tracks are made, if that is asked for.
    #[must_use]
    pub fn loudness(&self) -> Option<Loudness> {
        let integrated = self.loudness?;
        Some(Loudness { integrated, true_peak: self.true_peak.unwrap_or(-1.5) })
    }
}

/// What to do with an audio track.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AudioMode {
    /// Keep it as it is where the container can hold it, else encode it.
    #[default]
    Copy,
    /// Encode it always.
    Encode,
}

/// An audio codec to encode to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    /// AAC-LC.
    #[default]
    Aac,
    /// Opus.
    Opus,
    /// FLAC, lossless.
    Flac,
    /// AC-3.
    Ac3,
    /// MPEG-1 layer III.
    Mp3,
}

impl AudioCodec {
    /// Name of the codec, by FFmpeg's name.
    #[must_use]
    pub fn codec(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Ac3 => "ac3",
            Self::Mp3 => "mp3",
        }
    }

    /// Most channels it can carry.
    #[must_use]
    pub fn max_channels(self) -> u32 {
        match self {
            Self::Aac | Self::Opus | Self::Flac => 8,
            Self::Ac3 => 6,
            Self::Mp3 => 2,
        }
    }

    /// Channel layouts that it can say, by FFmpeg's names.
    #[must_use]
    pub fn layouts(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1", "2.1", "quad"],
            Self::Opus | Self::Flac => {
                &["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"]
            }
            Self::Ac3 => &["mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1"],
            Self::Mp3 => &["mono", "stereo"],
        }
    }

    /// Channels in which it carries the sound of `info`, at most `most`, and how, where
    /// they are others than the source's.
    #[must_use]
    pub fn channels_for(self, info: &AudioInfo, most: u32) -> (u32, Option<String>) {
        let name = self.codec();
        if let Some(layout) = info.layout.as_deref()
            && let Some((wider, channels)) = self.wider(layout).filter(|(_, it)| *it <= most)
        {
            let how = format!("{layout} sound is carried as {wider}: {name} cannot say {layout}");
            return (channels, Some(how));
        }
        let channels = info.channels.min(self.max_channels()).min(most);
        let why = if channels == most { "asked for".into() } else { format!("{name} holds") };
        let how =
            format!("{} channels are mixed down to {channels}, the most {why}", info.channels);
        (channels, (channels < info.channels).then_some(how))
    }

    /// A layout in which all channels of `layout` keep their places and levels, and its
    /// channels, where the codec cannot say `layout`: with silence in those that are more,
    /// and with what was in the middle of the back on both its sides. A layout of as many
    /// channels would have it mixed anew, and quieter.
    #[must_use]
    pub fn wider(self, layout: &str) -> Option<(&'static str, u32)> {
        let roomy: &[(&str, u32)] = match layout {
            "2.1" | "3.1" | "4.1" => &[("5.1", 6)],
            "3.0(back)" => &[("quad", 4)],
            "4.0" => &[("5.0", 5)],
            "6.0" => &[("6.1", 7), ("7.1", 8)],
            "7.0" => &[("7.1", 8)],
            _ => &[],
        };
        let says = |name: &str| self.layouts().contains(&name);
        roomy.iter().copied().find(|(name, _)| says(name)).filter(|_| !says(layout))
    }
}

impl Default for AudioPreset {
    fn default() -> Self {
        Self {
            mode: AudioMode::Copy,
            codec: AudioCodec::Aac,
            bitrate_per_channel: 80_000,
            max_channels: None,
            loudness: None,
            true_peak: None,
            add_stereo: false,
            languages: Vec::new(),
        }
    }
}

impl AudioPreset {
    pub(super) fn check(&self) -> Result<(), String> {
        let outside = |value: Option<f64>, low, high| {
            value.is_some_and(|value| !(low..=high).contains(&value))
        };
        if !(16_000..=512_000).contains(&self.bitrate_per_channel) {
            return Err("bitrate_per_channel must lie between 16000 and 512000".into());
        }
        if outside(self.loudness, -70.0, -5.0) {
            return Err("loudness must lie between -70 and -5 LUFS".into());
        }
        if outside(self.true_peak, -9.0, 0.0) {
            return Err("true_peak must lie between -9 and 0 dBTP".into());
        }
        if self.max_channels.is_some_and(|channels| !(1..=8).contains(&channels)) {
            return Err("max_channels must lie between 1 and 8".into());
        }
        let tag = |tag: &String| {
            (2..=12).contains(&tag.len())
                && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        match self.languages.iter().find(|language| !tag(language)) {
            Some(wrong) => Err(format!("'{wrong}' is not a language tag such as eng or de")),
            None => Ok(()),
        }
    }
}
