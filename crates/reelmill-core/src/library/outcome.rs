//! What came of converting files: one record for each try that ended, kept with the library
//! and read by every machine; and sums of them.

use super::rules::{Left, Verdict};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// There is an output.
    Converted,
    /// The output was no smaller than the source, which stays as it is.
    Kept,
    /// It could not be converted.
    Failed,
    /// A replacement was taken back: the original is in its place again.
    Undone,
}

/// What came of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When, by the machine's clock.
    pub at: Timestamp,
    /// The machine's name.
    pub machine: String,
    /// The source within its library, as [`crate::names::encode`] writes paths.
    pub file: String,
    /// Bytes of the source; of the original that is back.
    pub before: u64,
    /// Digest of the source's size and both its ends, hexadecimal.
    pub digest: String,
    /// How it ended.
    pub came: Came,
    /// The preset; empty where that is not known.
    #[serde(default)]
    pub preset: String,
    /// Preset, changes and format, as [`how`] names them.
    #[serde(default)]
    pub how: String,
    /// Bytes of the output, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// It failed, and the same settings will fail again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_good: bool,
    /// A watch made it, and wrote it into its own history.
    #[serde(default)]
    pub watch: bool,
}

/// Names all that decides about an output, beside the source: the preset, changes of it in
/// their order, and the format where that is not the preset's own.
#[must_use]
pub fn how(preset: &str, set: &[String], format: Option<&str>) -> String {
    let mut words = vec![preset.to_owned()];
    words.extend(set.iter().cloned());
    words.extend(format.map(|format| format!("format={format}")));
    words.join(" ")
}

/// What is known of a content when it is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// It is the output of a conversion.
    pub output: bool,
    /// By these settings the output was no smaller.
    pub kept: Vec<String>,
    /// By these settings it failed for a reason that will not change, and nothing else came
    /// of them since.
    pub failed: Vec<String>,
    /// Its conversion was taken back, and nothing came after that.
    pub undone: bool,
}

/// How often a file is tried that fails for reasons that may pass.
const TRIES: usize = 5;

/// Between the first two of these tries; each of the next pauses is twice as long: microseconds.
const REST: i64 = 10 * 60 * 1_000_000;

/// Whether a file is left alone that has failed so many `times`, for reasons that may pass, the
/// last one `since` microseconds ago.
#[must_use]
pub fn rests(times: usize, since: i64) -> bool {
    times >= TRIES || (times > 0 && since < REST << (times - 1))
}

impl Past {
    /// Takes in what came of the next try, by these settings.
    pub fn then(&mut self, came: Came, settings: &str, for_good: bool) {
        self.undone = came == Came::Undone;
        if came == Came::Kept {
            self.kept.push(settings.to_owned());
        }
        self.failed.retain(|failed| failed != settings);
        if came == Came::Failed && for_good {
            self.failed.push(settings.to_owned());
        }
    }
}

impl Verdict {
    /// The same, with regard to what was tried: a file is not tried again by the same settings
    /// when there is nothing to be had or it failed for good, nor after its conversion was taken
    /// back.
    #[must_use]
    pub fn after(self, past: &Past) -> Self {
        match self {
            Self::Convert { rule, preset, set, priority } => {
                let by = how(&preset, &set, None);
                let why = match (past.undone, past.kept.contains(&by)) {
                    (true, _) => Left::Undone,
                    (false, true) => Left::NoSmaller,
                    (false, false) if past.failed.contains(&by) => {
                        return Self::Failed { rule, preset, set, priority };
                    }
                    (false, false) => return Self::Convert { rule, preset, set, priority },
                };
                Self::Kept { rule, preset, set, priority, why }
            }
            other => other,
        }
    }
}

/// Sums of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Files that were converted.
    pub converted: u64,
    /// Files whose output was no smaller.
    pub kept: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Replacements that were taken back.
    pub undone: u64,
    /// Bytes of the converted files' sources.
    pub bytes_before: u64,
    /// Bytes of their outputs.
    pub bytes_after: u64,
    /// What was saved: before less after, less what was given back by undoing. Negative where
    /// files grew.
    pub bytes_saved: i64,
}

impl Saved {
    /// Takes `count` outcomes in, with the sums of their bytes before and after.
    pub fn add(&mut self, came: Came, count: u64, before: u64, after: u64) {
        let less = i64::try_from(i128::from(before) - i128::from(after)).unwrap_or(i64::MAX);
        match came {
            Came::Converted => {
                self.converted += count;
                self.bytes_before = self.bytes_before.saturating_add(before);
                self.bytes_after = self.bytes_after.saturating_add(after);
                self.bytes_saved = self.bytes_saved.saturating_add(less);
            }
            Came::Undone => {
                self.undone += count;
                self.bytes_saved = self.bytes_saved.saturating_sub(less);
            }
            Came::Kept => self.kept += count,
            Came::Failed => self.failed += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::rules::Answer;
    use proptest::prelude::*;

    fn convert(set: &[&str]) -> Verdict {
        let set = set.iter().map(|&word| word.to_owned()).collect();
        Verdict::Convert { rule: "r".into(), preset: "hevc".into(), set, priority: 50 }
    }

    #[test]
    fn a_kept_file_needs_conversion_only_by_other_settings() {
        let past = Past { kept: vec![how("hevc", &["crf=20".into()], None)], ..Past::default() };
        let kept = convert(&["crf=20"]).after(&past);
        assert!(matches!(kept, Verdict::Kept { why: Left::NoSmaller, .. }) && !kept.converts());
        assert!(convert(&[]).after(&past).converts(), "other settings");
        assert!(convert(&["crf=20", "speed=slow"]).after(&past).converts());
        let undone = Past { undone: true, ..Past::default() };
        assert!(!convert(&[]).after(&undone).converts(), "taken back for good");
        let skip = Verdict::Skip { rule: None, reason: "no".into() };
        assert_eq!(skip.clone().after(&past), skip);
    }

    #[test]
    fn a_file_that_failed_for_good_waits_for_other_settings_or_another_end() {
        let by = how("hevc", &[], None);
        let mut past = Past::default();
        past.then(Came::Failed, &by, false);
        assert!(convert(&[]).after(&past).converts(), "it may work the next time");
        past.then(Came::Failed, &by, true);
        let failed = convert(&[]).after(&past);
        assert!(matches!(failed, Verdict::Failed { .. }) && !failed.converts());
        assert_eq!((failed.answer(), failed.order().unwrap().1), (Answer::Failed, "hevc"));
        assert!(convert(&["crf=20"]).after(&past).converts(), "other settings");
        past.then(Came::Failed, &how("hevc", &["crf=20".into()], None), false);
        assert!(!convert(&[]).after(&past).converts(), "other settings tell nothing of these");
        past.then(Came::Failed, &by, false);
        assert!(convert(&[]).after(&past).converts(), "asked for again, it failed in another way");
        past.then(Came::Failed, &by, true);
        past.then(Came::Converted, &by, false);
        assert!(convert(&[]).after(&past).converts());
    }

    #[test]
    fn what_may_pass_is_tried_less_and_less_often_and_not_for_ever() {
        let minutes = |minutes: i64| minutes * 60 * 1_000_000;
        assert!(!rests(0, 0));
        for (times, pause) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
            assert!(rests(times, minutes(pause) - 1), "{times}");
            assert!(!rests(times, minutes(pause)), "{times}");
        }
        assert!(rests(5, i64::MAX) && rests(usize::MAX, i64::MAX), "at last it is left");
    }

    #[test]
    fn the_record_of_an_outcome_is_kept() {
        let outcome = Outcome {
            at: Timestamp(1_700_000_000_000_000),
            machine: "attic".into(),
            file: "A/film.mkv".into(),
            before: 100,
            digest: "00ff".into(),
            came: Came::Kept,
            preset: "hevc".into(),
            how: "hevc crf=20".into(),
            after: Some(120),
            note: None,
            for_good: false,
            watch: true,
        };
        insta::assert_snapshot!(serde_json::to_string(&outcome).unwrap());
        let old = r#"{"at":1,"machine":"m","file":"f","before":1,"digest":"0","came":"failed"}"#;
        assert_eq!(serde_json::from_str::<Outcome>(old).unwrap().how, "");
    }

    proptest! {
        /// In whatever parts they are added up, sums are the same, and taking everything back
        /// leaves nothing saved.
        #[test]
        fn sums_do_not_depend_on_parts(files in prop::collection::vec((0u64..1 << 50, 0u64..1 << 50), 0..20)) {
            let (mut one_by_one, mut at_once) = (Saved::default(), Saved::default());
            for (before, after) in &files {
                one_by_one.add(Came::Converted, 1, *before, *after);
            }
            let sum = |of: fn(&(u64, u64)) -> u64| files.iter().map(of).sum();
            let (before, after) = (sum(|file| file.0), sum(|file| file.1));
            at_once.add(Came::Converted, files.len() as u64, before, after);
            prop_assert_eq!(one_by_one, at_once);
            prop_assert_eq!(at_once.bytes_saved, before as i64 - after as i64);
            at_once.add(Came::Undone, files.len() as u64, before, after);
            prop_assert_eq!(at_once.bytes_saved, 0);
        }
    }
}
