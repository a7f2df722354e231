//! Writing to the terminal. A closed pipe or full log disk is no reason to
//! break down, so write errors are ignored here.

use reelmill_core::error::Failure;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// A line on standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A plan's note as a line: a warning says itself what it is.
pub(crate) fn noted(text: &str) -> String {
    if text.starts_with("warning: ") { text.to_owned() } else { format!("note: {text}") }
}

/// An error message on standard error.
pub(crate) fn error(text: &str) {
    note(&format!("{} {text}", paint("error:", "1;31")));
}

/// A value as one line of JSON on standard output.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(why) => error(&format!("cannot write JSON: {why}")),
    }
}

/// A failure: what happened, where, what to do. As JSON when asked.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    if as_json {
        json(&serde_json::json!({"event": "failed", "failure": failure}));
        return;
    }
    error(&failure.message);
    for line in failure.tail.iter().rev().take(5).rev() {
        note(&format!("  | {line}"));
    }
    if let Some(command) = &failure.command {
        note(&format!("  command: {command}"));
    }
    if let Some(advice) = &failure.advice {
        note(&format!("  {} {advice}", paint("what to do:", "1")));
    }
}

/// Whether a person reads standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// `text` in an ANSI style, when a person reads it and has not asked for none
/// (`NO_COLOR`).
pub(crate) fn paint(text: &str, style: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !stderr_is_terminal() {
        return text.to_owned();
    }
    format!("\u{1b}[{style}m{text}\u{1b}[0m")
}

/// Bytes for people: `1.4 GB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Seconds for people: `1:02:03`, `2:03`, `4.2 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_440_000_000), "1.4 GB");
        assert_eq!(seconds(4.25), "4.2 s");
        assert_eq!(seconds(123.4), "2:03");
        assert_eq!(seconds(3723.0), "1:02:03");
    }
}
