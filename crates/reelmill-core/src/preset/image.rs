//! What a preset says of still pictures.

use serde::{Deserialize, Serialize};

/// How to encode a still picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImagePreset {
    /// 1 to 100, higher is better; PNG is lossless whatever is said.
    pub quality: u32,
    /// Whether every pixel stays as it is, where the format can do that (WebP).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lossless: bool,
}

impl Default for ImagePreset {
    fn default() -> Self {
        Self { quality: 80, lossless: false }
    }
}

impl ImagePreset {
    pub(super) fn check(self) -> Result<(), String> {
        if (1..=100).contains(&self.quality) {
            return Ok(());
        }
        Err("quality must lie between 1 and 100".into())
    }
}
