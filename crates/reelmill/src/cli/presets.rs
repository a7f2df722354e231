//! `reelmill presets`: what there is to choose from.

use super::args::Common;
use super::out;
use crate::exit::{Ending, Exit};
use crate::{farm, paths};
use clap::Args;
use reelmill_core::error::Failure;

/// `reelmill presets`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PresetsArgs {
    /// The preset to show whole.
    pub(crate) name: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &PresetsArgs, common: &Common) -> Result<Exit, Ending> {
    let presets = farm::presets().map_err(Ending::usage)?;
    if let Some(name) = &args.name {
        let preset = presets.get(name, &[]).map_err(Ending::usage)?;
        if common.json {
            out::json(&preset.shown()?);
        } else {
            let table = std::collections::BTreeMap::from([(name, preset.shown()?)]);
            let text = toml::to_string_pretty(&table)
                .map_err(|e| Failure::permanent(format!("cannot write the preset: {e}")))?;
            out::line(text.trim_end());
        }
        return Ok(Exit::Done);
    }
    for name in presets.names() {
        let preset = presets.get(name, &[]).map_err(Ending::usage)?;
        if common.json {
            out::json(&serde_json::json!({"name": name, "preset": preset.shown()?}));
        } else {
            out::line(&format!("{name:<12} {:<5} {}", preset.format, preset.description));
        }
    }
    if !common.json && !common.quiet {
        out::note(&format!("your own go into {}", paths::config().join("presets.toml").display()));
    }
    Ok(Exit::Done)
}
