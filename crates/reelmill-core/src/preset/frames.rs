//! What a preset means for single frames and what belongs to them: which films it is
//! for, and which settings there cannot be.

use super::Preset;
use crate::error::Failure;
use crate::hdr::{DolbyKeep, Keep};
use crate::media::MediaInfo;

/// Settings that people know from elsewhere, and that would change which frames there
/// are.
const FRAME_SETTINGS: [&str; 11] = [
    "fps",
    "frame_rate",
    "framerate",
    "r",
    "vsync",
    "decimate",
    "detelecine",
    "interpolate",
    "filter",
    "filters",
    "vf",
];

/// Why a setting that would change the frames is refused.
pub(super) fn changes_frames(table: &toml::Table) -> Option<String> {
    let video = table.get("video").and_then(toml::Value::as_table);
    let all = table.keys().chain(video.into_iter().flat_map(toml::Table::keys));
    let found = all.into_iter().find(|key| FRAME_SETTINGS.contains(&key.as_str()))?;
    Some(format!(
        "'{found}' is not a setting: every frame of the source is kept, at its time; \
         HDR10+ and Dolby Vision belong to single frames and would no longer fit"
    ))
}

impl Preset {
    /// What it sets, as TOML: without what has no meaning where nothing is encoded.
    ///
    /// # Errors
    /// Never, unless a value cannot be written as TOML.
    pub fn shown(&self) -> Result<toml::Table, Failure> {
        let fail = |e: toml::ser::Error| Failure::permanent(format!("cannot write it: {e}"));
        let mut table = toml::Table::try_from(self).map_err(fail)?;
        if self.remux {
            table.remove("audio");
            if let Some(video) = table.get_mut("video").and_then(toml::Value::as_table_mut) {
                for key in ["encoder", "keyframe_seconds", "upscale"] {
                    video.remove(key);
                }
                if video.is_empty() {
                    table.remove("video");
                }
            }
        }
        Ok(table)
    }

    /// Why `media` is nothing for this preset, where it is one for Dolby Vision: in
    /// a folder of all kinds of films such a film is passed by, not failed.
    #[must_use]
    pub fn not_for(&self, media: &MediaInfo) -> Option<String> {
        let video = self.video.as_ref();
        let requires = video.is_some_and(|video| video.dolby_vision == DolbyKeep::Require);
        if !self.remux && !requires {
            return None;
        }
        let (_, info) = media.video()?;
        let drops = video.is_some_and(|video| video.hdr10plus == Keep::Drop) && info.hdr10plus;
        match &info.dolby_vision {
            None => Some("there is no Dolby Vision in its pictures".into()),
            Some(found) if self.remux && found.profile == 8 && !drops => {
                Some("its Dolby Vision is of profile 8 already".into())
            }
            Some(_) => None,
        }
    }
}
