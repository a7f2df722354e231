//! Rules: which files of a library are converted, how, and why not.

use super::conditions::told;
pub use super::conditions::{Conditions, Many, bit_rate};
use crate::error::Failure;
use crate::facts::{Facts, MediaKind};
use crate::hdr::DolbyKeep;
use crate::preset::Preset;
use serde::{Deserialize, Serialize};

/// The rules that hold when nobody wrote others.
pub const BUILT_IN: &str = include_str!("rules.toml");

/// Most rules in a file: each file is held against all of them.
const MOST: usize = 200;

/// Rules, the first that fits counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The rules, in order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called where it is told which rule decided.
    pub name: String,
    /// What must hold; always when it says nothing.
    #[serde(default)]
    pub when: Conditions,
    /// What must not hold, if it says anything.
    #[serde(default)]
    pub unless: Option<Conditions>,
    /// Convert with this preset…
    #[serde(default)]
    pub preset: Option<String>,
    /// …and these changes of it (`key=value`).
    #[serde(default)]
    pub set: Vec<String>,
    /// Or leave it as it is, for this reason.
    #[serde(default)]
    pub skip: Option<String>,
    /// Place in the queue: 0 (last) to 100 (first).
    #[serde(default = "usual_priority")]
    pub priority: u8,
}

fn usual_priority() -> u8 {
    50
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Path within the library.
    pub path: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// What it is, or why that cannot be told.
    pub facts: Result<&'a Facts, &'a str>,
    /// It is the output of a conversion, by its content.
    pub output: bool,
}

/// What becomes of a file, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Verdict {
    /// It is to be converted.
    Convert {
        /// By which rule.
        rule: String,
        /// With which preset.
        preset: String,
        /// Changes of the preset.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<String>,
        /// Place in the queue.
        priority: u8,
    },
    /// The rules want it converted, but that was tried: it stays as it is.
    Kept {
        /// By which rule it would be converted.
        rule: String,
        /// With which preset.
        preset: String,
        /// Changes of the preset.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<String>,
        /// Place in the queue, should it be asked for all the same.
        priority: u8,
        /// Why it stays.
        why: Left,
    },
    /// The rules want it converted, but that was tried and failed for a reason that will not
    /// change: it is tried again when it changes, by other settings, or when asked for.
    Failed {
        /// By which rule it would be converted.
        rule: String,
        /// With which preset.
        preset: String,
        /// Changes of the preset.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<String>,
        /// Place in the queue, should it be asked for all the same.
        priority: u8,
    },
    /// It stays as it is.
    Skip {
        /// By which rule, if by one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// Why.
        reason: String,
    },
}

/// Why a file that rules want converted is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// By these settings the output was no smaller.
    NoSmaller,
    /// Its conversion was taken back.
    Undone,
}

impl Left {
    /// In words.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::NoSmaller => "the output was no smaller",
            Self::Undone => "its conversion was undone",
        }
    }
}

/// The answers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Left by a rule, or because no rule speaks of it.
    Skip = 0,
    /// To be converted.
    Convert = 1,
    /// Tried, and left.
    Kept = 2,
    /// Tried, and failed for good.
    Failed = 3,
}

impl Verdict {
    /// Which answer it is.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            Self::Convert { .. } => Answer::Convert,
            Self::Kept { .. } => Answer::Kept,
            Self::Failed { .. } => Answer::Failed,
            Self::Skip { .. } => Answer::Skip,
        }
    }

    /// What is to be done, or would be if it was asked for all the same: rule, preset, changes
    /// and priority.
    #[must_use]
    pub fn order(&self) -> Option<(&str, &str, &[String], u8)> {
        match self {
            Self::Convert { rule, preset, set, priority }
            | Self::Kept { rule, preset, set, priority, .. }
            | Self::Failed { rule, preset, set, priority } => Some((rule, preset, set, *priority)),
            Self::Skip { .. } => None,
        }
    }

    /// Whether it is to be converted.
    #[must_use]
    pub fn converts(&self) -> bool {
        matches!(self, Self::Convert { .. })
    }

    /// One sentence for people.
    #[must_use]
    pub fn tell(&self) -> String {
        match self {
            Self::Convert { rule, preset, set, .. } if set.is_empty() => {
                format!("to be converted with preset '{preset}' (rule '{rule}')")
            }
            Self::Convert { rule, preset, set, .. } => {
                format!(
                    "to be converted with preset '{preset}' and {} (rule '{rule}')",
                    set.join(" ")
                )
            }
            Self::Kept { rule, preset, set, why, .. } => {
                let told = super::outcome::how(preset, set, None);
                format!("kept: {} (preset '{told}', rule '{rule}')", why.told())
            }
            Self::Failed { rule, preset, set, .. } => {
                let told = super::outcome::how(preset, set, None);
                format!("failed, and would again (preset '{told}', rule '{rule}')")
            }
            Self::Skip { rule: Some(rule), reason } => format!("skipped: {reason} (rule '{rule}')"),
            Self::Skip { rule: None, reason } => format!("skipped: {reason}"),
        }
    }
}

fn skip(reason: impl Into<String>) -> Verdict {
    Verdict::Skip { rule: None, reason: reason.into() }
}

impl Rules {
    /// Reads rules from a TOML text that `origin` names in errors.
    ///
    /// # Errors
    /// When it is not TOML, holds a word that means nothing, or a rule does not
    /// say what becomes of a file.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let fail = |why: String| {
            Failure::permanent(format!("{origin}: {why}"))
                .advise("'docs/rules.md' lists what may stand there")
        };
        let rules: Self = toml::from_str(text).map_err(|error| fail(error.to_string()))?;
        if rules.rules.len() > MOST {
            return Err(fail(format!("there are more than {MOST} rules")));
        }
        for rule in &rules.rules {
            let name = &rule.name;
            let why = match (&rule.preset, &rule.skip) {
                (Some(_), None) if rule.priority <= 100 => continue,
                (None, Some(_)) if rule.set.is_empty() => continue,
                (Some(_), None) => "a priority lies between 0 and 100",
                (None, Some(_)) => "it skips, so that there is nothing to set",
                _ => "it has to say either 'preset' or 'skip'",
            };
            return Err(fail(format!("rule '{name}': {why}")));
        }
        Ok(rules)
    }

    /// The rules that hold when nobody wrote others.
    ///
    /// # Errors
    /// Never, unless the built-in file is broken; a test guards that.
    pub fn built_in() -> Result<Self, Failure> {
        Self::parse(BUILT_IN, "the built-in rules")
    }

    /// One rule for all video that `preset` is for: convert it with that. A preset
    /// for Dolby Vision is for those that have it.
    #[must_use]
    pub fn all_video(preset: &str, told: &Preset, set: &[String]) -> Self {
        let profiles = match told.video.as_ref().map(|video| video.dolby_vision) {
            _ if told.remux => vec![7],
            Some(DolbyKeep::Require) => vec![7, 8],
            _ => Vec::new(),
        };
        let when = Conditions {
            kind: Many(vec![MediaKind::Video]),
            dolby_vision_profile: Many(profiles),
            ..Conditions::default()
        };
        let rule = Rule {
            name: "as asked".into(),
            when,
            unless: None,
            preset: Some(preset.to_owned()),
            set: set.to_vec(),
            skip: None,
            priority: usual_priority(),
        };
        Self { rules: vec![rule] }
    }

    /// What becomes of a file, and why.
    #[must_use]
    pub fn judge(&self, subject: Subject) -> Verdict {
        let facts = match subject.facts {
            Ok(facts) => facts,
            Err(reason) => return skip(format!("it cannot be read: {reason}")),
        };
        if subject.output {
            return skip("it is the output of a conversion");
        }
        if let Some(mark) = &facts.made_by {
            return skip(format!("reelmill made it ({mark})"));
        }
        let fits = |rule: &&Rule| rule.misfit(&subject, facts).is_none();
        match self.rules.iter().find(fits) {
            None => skip("no rule speaks of it"),
            Some(rule) => rule.verdict(),
        }
    }

    /// The rules up to the one that decided, each with what did not fit.
    #[must_use]
    pub fn passed_over(&self, subject: Subject) -> Vec<(String, String)> {
        let Ok(facts) = subject.facts else { return Vec::new() };
        let misfits = self.rules.iter().map(|rule| Some((rule, rule.misfit(&subject, facts)?)));
        misfits
            .take_while(Option::is_some)
            .flatten()
            .map(|(rule, key)| {
                (rule.name.clone(), format!("'{key}' does not fit: {}", told(key, &subject, facts)))
            })
            .collect()
    }
}

impl Rule {
    fn verdict(&self) -> Verdict {
        match &self.preset {
            Some(preset) => Verdict::Convert {
                rule: self.name.clone(),
                preset: preset.clone(),
                set: self.set.clone(),
                priority: self.priority,
            },
            None => Verdict::Skip {
                rule: Some(self.name.clone()),
                reason: self.skip.clone().unwrap_or_default(),
            },
        }
    }

    /// The key of the first condition that keeps it from fitting.
    fn misfit(&self, subject: &Subject, facts: &Facts) -> Option<&'static str> {
        self.when.misfit(subject, facts).or_else(|| {
            let unless = self.unless.as_ref()?;
            unless.misfit(subject, facts).is_none().then_some("unless")
        })
    }
}

#[cfg(test)]
mod tests;
