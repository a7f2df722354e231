//! What a tool's exit status and its last words mean.

use reelmill_core::error::{Failure, FailureClass};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// Lines of a tool's output that a failure carries.
const TAIL: usize = 20;

/// What a phrase in a tool's output means.
struct Meaning {
    phrase: &'static str,
    class: FailureClass,
    advice: &'static str,
}

const fn means(phrase: &'static str, class: FailureClass, advice: &'static str) -> Meaning {
    Meaning { phrase, class, advice }
}

const INCOMPLETE: &str = "the file is probably incomplete: copy or download it again";
const DAMAGED: &str = "check that the file plays; it may be damaged or not be media at all";
const FREE_SPACE: &str = "free some space where output and temporary files go";
const NO_MEMORY: &str = "run fewer tasks at a time on this machine, or give it more memory";
const NO_FEATURE: &str = "install an FFmpeg build that has it; 'reelmill doctor' shows what works";
const NO_ACCESS: &str = "check the permissions of the file and its folder";
const TOO_SMALL: &str = "SVT-AV1 cannot encode so small a picture: choose h264, hevc or vp9, or \
    another size";
const AWAY: &str = "check that the file still exists and its drive or share is mounted";

/// Said anywhere, these explain everything else: FFmpeg goes on to complain of
/// memory, say, where it was told not to open so many streams.
const REFUSED: &[Meaning] = &[
    means(
        "exceeds max_streams",
        FailureClass::Input,
        "the file has more streams than reelmill opens (200)",
    ),
    means(
        ") not on whitelist",
        FailureClass::Input,
        "it needs a decoder that reelmill does not open",
    ),
    means("Source Width must be at least", FailureClass::Input, TOO_SMALL),
    means("Source Height must be at least", FailureClass::Input, TOO_SMALL),
];

/// Said anywhere, these explain everything that was said after them.
const DECISIVE: &[Meaning] = &[
    means("No space left on device", FailureClass::NoSpace, FREE_SPACE),
    means("Disk quota exceeded", FailureClass::NoSpace, FREE_SPACE),
    means("Cannot allocate memory", FailureClass::Transient, NO_MEMORY),
    means("moov atom not found", FailureClass::Input, INCOMPLETE),
    means("Format not on whitelist", FailureClass::Input, DAMAGED),
    means("Error parsing AAC extradata", FailureClass::Input, DAMAGED),
    means(
        "specified max pixel count",
        FailureClass::Input,
        "the picture is larger than reelmill opens",
    ),
];

/// Of these, the one said last counts.
const USUAL: &[Meaning] = &[
    means("Unknown encoder", FailureClass::Environment, NO_FEATURE),
    means("Unknown decoder", FailureClass::Environment, NO_FEATURE),
    means("No such filter", FailureClass::Environment, NO_FEATURE),
    means("Unrecognized option", FailureClass::Environment, NO_FEATURE),
    means("Option not found", FailureClass::Environment, NO_FEATURE),
    means(
        "error while loading shared libraries",
        FailureClass::Environment,
        "install the tool again",
    ),
    means("Permission denied", FailureClass::Environment, NO_ACCESS),
    means("Read-only file system", FailureClass::Environment, NO_ACCESS),
    means("No such file or directory", FailureClass::Environment, AWAY),
    means("Input/output error", FailureClass::Transient, AWAY),
    means("Stale file handle", FailureClass::Transient, AWAY),
    means("Connection timed out", FailureClass::Transient, AWAY),
    means("Invalid data found", FailureClass::Input, DAMAGED),
    means("Unknown format", FailureClass::Input, DAMAGED),
    means("End of file", FailureClass::Input, INCOMPLETE),
];

/// The failure of a tool that ended with `status` (negative for a signal)
/// after writing the lines `said`.
pub(super) fn failed(program: &Path, command: String, status: i32, said: &[String]) -> Failure {
    let tool = tool_name(program);
    let mut failure = match explain(said) {
        Some((meaning, line)) => {
            Failure::new(meaning.class, format!("{tool} failed: {line}")).advise(meaning.advice)
        }
        None if status < 0 => killed(&tool, -status),
        None => {
            let line = said.iter().rev().map(|line| plain(line)).find(|line| !line.is_empty());
            let line = line.unwrap_or("it gave no reason");
            Failure::transient(format!("{tool} ended with status {status}: {line}"))
        }
    };
    failure.command = Some(command);
    failure.exit_status = Some(status);
    failure.tail = last_lines(said);
    failure
}

fn explain(said: &[String]) -> Option<(&'static Meaning, &str)> {
    let meaning = |meanings: &'static [Meaning], line: &String| {
        meanings.iter().find(|meaning| line.contains(meaning.phrase))
    };
    let find = |meanings: &'static [Meaning]| {
        said.iter().rev().find_map(|line| Some((meaning(meanings, line)?, plain(line))))
    };
    find(REFUSED).or_else(|| find(DECISIVE)).or_else(|| find(USUAL))
}

/// A line without the "[matroska @ 0x55d0]" that FFmpeg puts before it.
pub(crate) fn plain(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(inner) = rest.strip_prefix('[') {
        match inner.split_once(']') {
            Some((label, after)) if label.contains(" @ ") => rest = after.trim_start(),
            _ => break,
        }
    }
    rest
}

fn killed(tool: &str, signal: i32) -> Failure {
    /// SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV on Linux.
    const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];
    /// SIGXFSZ on Linux: files may grow only as far as there is room.
    const FILE_TOO_LARGE: i32 = 25;
    if signal == 9 {
        let message = format!("{tool} was killed by the system, probably for want of memory");
        return Failure::transient(message).advise(NO_MEMORY);
    }
    if signal == FILE_TOO_LARGE {
        let message = format!("{tool} was about to fill the disk: no space left");
        return Failure::new(FailureClass::NoSpace, message).advise(FREE_SPACE);
    }
    if CRASHES.contains(&signal) {
        return Failure::transient(format!("{tool} crashed (signal {signal})"))
            .advise("if it happens again on the same file, try a newer FFmpeg");
    }
    Failure::transient(format!("{tool} was ended by signal {signal}"))
}

/// The failure of a tool that could not be started.
pub(super) fn cannot_start(program: &Path, command: String, error: &io::Error) -> Failure {
    use io::ErrorKind;
    let message = format!("cannot start {}: {error}", program.display());
    let mut failure = match error.kind() {
        ErrorKind::NotFound => Failure::environment(message).advise("install it, or name its path"),
        ErrorKind::PermissionDenied => {
            Failure::environment(message).advise("check that the file may be executed")
        }
        ErrorKind::ArgumentListTooLong => Failure::permanent(message),
        _ => Failure::transient(message),
    };
    failure.command = Some(command);
    failure
}

/// The tool's name, without folder and extension.
pub(super) fn tool_name(program: &Path) -> String {
    let name = program.file_stem().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The last lines of `lines`, without the list of everything that would be opened.
pub(super) fn last_lines(lines: &[String]) -> Vec<String> {
    let last = lines.iter().skip(lines.len().saturating_sub(TAIL));
    let short = last.map(|line| {
        line.split_once(" not on whitelist '")
            .map_or(line.clone(), |it| format!("{} not on whitelist", it.0))
    });
    short.collect()
}

/// Options whose values are long and the same in every command: what they allow is
/// nothing that somebody who tries a command again needs to forbid.
const LISTS: [&str; 3] = ["-protocol_whitelist", "-format_whitelist", "-codec_whitelist"];

/// A command as one line that a shell would take, without the lists of what may be
/// opened.
pub(super) fn command_line(program: &Path, args: &[OsString]) -> String {
    let mut quoted = vec![quote(program.as_os_str())];
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if LISTS.iter().any(|option| word == option) {
            words.next();
        } else {
            quoted.push(quote(word));
        }
    }
    quoted.join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(status: i32, said: &[&str]) -> FailureClass {
        let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
        failed(Path::new("/usr/bin/ffmpeg"), String::new(), status, &said).class
    }

    #[test]
    fn a_file_that_outgrows_the_disk_is_no_crash() {
        let failure = killed("ffmpeg", 25);
        assert_eq!(failure.class, FailureClass::NoSpace);
        assert!(failure.message.contains("no space left"), "{failure}");
    }

    #[test]
    fn classes_follow_from_what_real_tools_said() {
        use FailureClass::{Environment, Input, NoSpace, Transient};
        let cases: [(i32, &[&str], FailureClass); 13] = [
            (
                1,
                &[
                    "av_interleaved_write_frame(): No space left on device",
                    "Error writing trailer of x.mkv: No space left on device",
                    "Conversion failed!",
                ],
                NoSpace,
            ),
            (
                1,
                &[
                    "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5590] moov atom not found",
                    "x.mp4: Invalid data found when processing input",
                ],
                Input,
            ),
            (1, &["t.txt: Invalid data found when processing input"], Input),
            (
                1,
                &[
                    "[srt @ 0x5652327cc280] Format not on whitelist 'mov,matroska'",
                    "t.srt: Invalid argument",
                ],
                Input,
            ),
            (
                1,
                &[
                    "[matroska @ 0x5561] Error parsing AAC extradata, unable to determine samplerate.",
                    "av_interleaved_write_frame(): Invalid argument",
                ],
                Input,
            ),
            (1, &["Unknown encoder 'libx265'"], Environment),
            (
                1,
                &[
                    "Unrecognized option 'fps_mode'.",
                    "Error splitting the argument list: Option not found",
                ],
                Environment,
            ),
            (1, &["file:/film.mkv: Permission denied"], Environment),
            (1, &["file:/film.mkv: No such file or directory"], Environment),
            (1, &["file:/nfs/film.mkv: Input/output error"], Transient),
            (
                1,
                &[
                    "x265 [error]: malloc of size 62914560 failed",
                    "Error while opening encoder: Cannot allocate memory",
                ],
                Transient,
            ),
            (-9, &[], Transient),
            (1, &["Conversion failed!"], Transient),
        ];
        for (status, said, class) in cases {
            assert_eq!(class_of(status, said), class, "{said:?}");
        }
    }

    #[test]
    fn a_failure_tells_cause_command_and_last_lines() {
        let mut said: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
        said.push("[h264 @ 0x1] [IMGUTILS @ 0x2] Input/output error".into());
        let failure = failed(Path::new("/bin/ffmpeg"), "ffmpeg -i x".into(), 1, &said);
        assert_eq!(failure.message, "ffmpeg failed: Input/output error");
        assert_eq!(failure.exit_status, Some(1));
        assert_eq!(failure.command.as_deref(), Some("ffmpeg -i x"));
        assert_eq!(failure.tail.len(), 20);
        assert!(failure.advice.is_some());
    }

    #[test]
    fn the_list_of_all_that_would_be_opened_is_not_shown() {
        let said = "[ass @ 0x5567] Format not on whitelist 'mov,matroska,mpegts'".to_owned();
        assert_eq!(last_lines(&[said]), ["[ass @ 0x5567] Format not on whitelist"]);
    }

    #[test]
    fn an_encoder_that_names_its_limit_is_believed() {
        let said = [
            "Svt[error]: Instance 1: Source Height must be at least 64",
            "[libsvtav1 @ 0x55b5f9e9ff00] Error setting encoder parameters: bad parameter",
            "Error initializing output stream 0:0 -- Error while opening encoder",
        ];
        assert_eq!(class_of(1, &said), FailureClass::Input);
    }

    #[test]
    fn command_lines_can_be_pasted_into_a_shell() {
        let args = ["-i", "file:it's a film.mkv", "", "a=b"].map(OsString::from);
        assert_eq!(
            command_line(Path::new("/usr/bin/ffmpeg"), &args),
            r"/usr/bin/ffmpeg -i 'file:it'\''s a film.mkv' '' a=b"
        );
        let args = ["-codec_whitelist", "h264,hevc", "-i", "x"].map(OsString::from);
        assert_eq!(command_line(Path::new("ffmpeg"), &args), "ffmpeg -i x");
    }
}
