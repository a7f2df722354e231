//! Dolby Vision: what can be known of it, and what may be done with it.

use serde::{Deserialize, Serialize};

/// Kind of enhancement layer, which profile 7 has beside its base layer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EnhancementLayer {
    /// Minimal: it carries no picture; nothing is lost without it.
    Mel,
    /// Full: it carries what the base layer lacks.
    Fel,
}

impl EnhancementLayer {
    /// The kind as people write it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Mel => "MEL",
            Self::Fel => "FEL",
        }
    }
}
