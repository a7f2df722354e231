//! What came of one file, told to people and programs.

use super::ends::Fate;
use crate::cli::out;
use reelmill_core::error::FailureClass;
use serde::Serialize;
use std::path::Path;

/// What came of one file, for people and programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) event: &'static str,
    pub(super) file: String,
    pub(super) result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<String>,
    pub(super) bytes_before: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_after: Option<u64>,
    #[serde(skip)]
    pub(super) class: Option<FailureClass>,
    /// It is in others' hands: nothing has been done about it.
    #[serde(skip)]
    pub(super) again: bool,
}

pub(super) fn line(file: &Path, fate: Fate) -> Line {
    let mut line = Line {
        event: "file",
        file: shown(file),
        result: "skipped",
        output: None,
        reason: None,
        job: None,
        bytes_before: 0,
        bytes_after: None,
        class: None,
        again: false,
    };
    match fate {
        Fate::Converted { output, before, after, job, note } => {
            (line.result, line.output, line.reason, line.job) =
                ("converted", Some(shown(&output)), note, job);
            (line.bytes_before, line.bytes_after) = (before, Some(after));
        }
        Fate::Planned(output) => (line.result, line.output) = ("planned", Some(shown(&output))),
        Fate::Skipped(reason) => line.reason = Some(reason),
        Fate::Kept { before, after, reason } => {
            (line.bytes_before, line.bytes_after) = (before, Some(after));
            line.reason = Some(reason);
        }
        Fate::Held(by) => {
            line.reason = Some(format!("{by} works on it"));
            line.again = true;
        }
        Fate::Failed(failure) => {
            line.result = "failed";
            line.class = Some(failure.class);
            line.reason = Some(failure.in_a_line());
        }
        Fate::Interrupted => line.reason = Some("interrupted".into()),
    }
    line
}

/// A path for people and programs; what is no text in it is shown as such.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn describe(line: &Line, root: &Path) -> String {
    let name = Path::new(&line.file);
    let name = name.strip_prefix(root).unwrap_or(name).display();
    let reason = line.reason.as_deref().unwrap_or_default();
    match (line.result, &line.output) {
        ("converted", Some(output)) => {
            let after = line.bytes_after.unwrap_or_default();
            let note = if reason.is_empty() { String::new() } else { format!("; {reason}") };
            format!(
                "{} {name} → {} ({} became {}){note}",
                out::paint("converted", "1;32"),
                Path::new(output).file_name().unwrap_or_default().to_string_lossy(),
                out::bytes(line.bytes_before),
                out::bytes(after)
            )
        }
        ("planned", Some(output)) => format!("would convert {name} → {output}"),
        ("failed", _) => {
            let reason = without(reason, &line.file);
            format!("{} {name}: {reason}", out::paint("failed", "1;31"))
        }
        _ => format!("skipped {name}: {reason}"),
    }
}

/// A reason without the `file` that it begins with, which has been named already.
fn without<'r>(reason: &'r str, file: &str) -> &'r str {
    let Some(rest) = reason.strip_prefix(file) else { return reason };
    rest.strip_prefix(": ").or_else(|| rest.strip_prefix(' ')).unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_file_once() {
        assert_eq!(
            without("/films/a.mkv: the output was refused", "/films/a.mkv"),
            "the output was refused"
        );
        assert_eq!(without("/films/a.mkv is empty", "/films/a.mkv"), "is empty");
        assert_eq!(without("no room in /tmp", "/films/a.mkv"), "no room in /tmp");
        assert_eq!(without(": odd", "/films/a.mkv"), ": odd");
    }
}
