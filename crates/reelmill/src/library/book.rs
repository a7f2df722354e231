//! Which rules hold for a library, and its files judged by them.

use super::place::Place;
use crate::farm;
use crate::paths;
use crate::share::library::FOLDER;
use reelmill_core::error::Failure;
use reelmill_core::library::outcome::Past;
use reelmill_core::library::rules::{BUILT_IN, Rules, Subject, Verdict};
use reelmill_core::preset::Presets;
use reelmill_store::FoundFile;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The rules of a library, within its folder of records; and those of this
/// machine, within the folder of configuration.
const FILE: &str = "rules.toml";

/// Rules that hold.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    /// The rules.
    pub(crate) rules: Rules,
    /// Where they stand, for people.
    pub(crate) origin: String,
    /// Changes when they do.
    pub(crate) digest: String,
}

/// Which rules the command line asks for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// Those that hold anyway.
    Usual,
    /// Those in this file.
    File(PathBuf),
    /// All video, with this preset and these changes of it.
    Preset(String, Vec<String>),
}

impl Book {
    /// The rules of a library: as asked for; else its own, this machine's, the
    /// built-in ones.
    ///
    /// # Errors
    /// When they cannot be read, or name a preset that is not there.
    pub(crate) fn open(place: &Place, asked: &Asked) -> Result<Self, Failure> {
        let presets = farm::presets()?;
        if let Asked::Preset(preset, set) = asked {
            let told = presets.get(preset, set)?;
            let rules = Rules::all_video(preset, &told, set);
            let profiles = &rules.rules[0].when.dolby_vision_profile.0;
            let digest = digest(&format!("{preset}\n{}\n{profiles:?}", set.join("\n")));
            let which = if profiles.is_empty() { "" } else { " with Dolby Vision" };
            let origin = format!("preset '{preset}' for all video{which}");
            return Ok(Self { rules, origin, digest });
        }
        let own = place.root.join(FOLDER).join(FILE);
        let machine = paths::config().join(FILE);
        let (text, origin) = match asked {
            Asked::File(path) => (read(path)?, path.display().to_string()),
            _ => match (optional(&own)?, optional(&machine)?) {
                (Some(text), _) => (text, own.display().to_string()),
                (None, Some(text)) => (text, machine.display().to_string()),
                (None, None) => (BUILT_IN.to_owned(), "the built-in rules".to_owned()),
            },
        };
        let rules = Rules::parse(&text, &origin)?;
        check(&rules, &presets, &origin)?;
        Ok(Self { rules, digest: digest(&text), origin })
    }

    /// What becomes of a file.
    pub(crate) fn judge(&self, file: &FoundFile, past: &Past) -> Verdict {
        let path = file.file.path();
        self.rules.judge(subject(file, &path, past.output)).after(past)
    }
}

/// What rules look at of a file.
pub(crate) fn subject<'a>(file: &'a FoundFile, path: &'a [u8], output: bool) -> Subject<'a> {
    let facts = file.file.facts.as_ref().map_err(|trouble| trouble.reason.as_str());
    Subject { path, size: file.file.size, facts, output }
}

fn check(rules: &Rules, presets: &Presets, origin: &str) -> Result<(), Failure> {
    for rule in &rules.rules {
        let Some(preset) = &rule.preset else { continue };
        presets.get(preset, &rule.set).map_err(|failure| Failure {
            message: format!("{origin}: rule '{}': {}", rule.name, failure.message),
            ..failure
        })?;
    }
    Ok(())
}

fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..12])
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::io(format!("read {}", path.display()), &e))
}

fn optional(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(format!("read {}", path.display()), &error)),
    }
}
