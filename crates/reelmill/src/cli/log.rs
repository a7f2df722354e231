//! Where the log goes: to standard error, or to files, a new one each day.

use super::args::{Cli, Command};
use super::out;
use reelmill_core::error::Failure;
use std::path::Path;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;

/// Log files that are kept, one for each day: a month.
const KEPT_FILES: usize = 31;

/// Starts the log: warnings, or what `-v` and `REELMILL_LOG` ask for. `serve` and
/// `work`, which talk through their log alone, start at "info".
///
/// # Errors
/// When the folder for log files cannot be used.
pub(super) fn start(cli: &Cli) -> Result<(), Failure> {
    let folder = match &cli.command {
        Command::Serve(args) => args.log_folder.as_deref(),
        Command::Work(args) => args.log_folder.as_deref(),
        _ => None,
    };
    let daemon = matches!(cli.command, Command::Serve(_) | Command::Work(_));
    let level = match (cli.common.quiet, cli.common.verbose + u8::from(daemon)) {
        (true, _) | (false, 0) => "error",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let usual = || {
        let ours = format!("off,reelmill={level},reelmill_media={level},reelmill_store={level}");
        EnvFilter::new(ours)
    };
    let filter = EnvFilter::try_from_env("REELMILL_LOG").unwrap_or_else(|_| usual());
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    let json = cli.common.json && daemon;
    // A second start in one process, as in tests, changes nothing.
    let _ = match folder {
        Some(folder) => {
            let log = log.with_writer(files(folder)?).with_ansi(false);
            if json { log.json().try_init() } else { log.with_target(false).try_init() }
        }
        None => {
            let log = log.with_writer(std::io::stderr).with_ansi(out::stderr_is_terminal());
            if json { log.json().try_init() } else { log.with_target(false).try_init() }
        }
    };
    Ok(())
}

/// Files in `folder`, made if it is not there; those beyond [`KEPT_FILES`] go.
fn files(folder: &Path) -> Result<RollingFileAppender, Failure> {
    let fail = |e: &std::io::Error| Failure::io(format!("log to {}", folder.display()), e);
    std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    // The appender tells an error without its kind: a file that is made beside
    // tells it whole.
    tempfile::tempfile_in(folder).map_err(|e| fail(&e))?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("reelmill.log")
        .max_log_files(KEPT_FILES)
        .build(folder)
        .map_err(|error| {
            Failure::environment(format!("cannot log to {}: {error}", folder.display()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_day_has_its_file_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("made/when needed");
        std::fs::create_dir_all(&place).unwrap();
        for day in 1..=KEPT_FILES + 5 {
            let name = format!("reelmill.log.2020-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
            std::fs::write(place.join(name), "old").unwrap();
        }
        std::fs::write(place.join("of somebody else"), "kept").unwrap();
        writeln!(files(&place).unwrap(), "a line").unwrap();
        let read = std::fs::read_dir(&place).unwrap();
        let names: Vec<String> =
            read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let ours = names.iter().filter(|name| name.starts_with("reelmill.log.")).count();
        assert_eq!(ours, KEPT_FILES, "{names:?}");
        assert!(names.iter().any(|name| name == "of somebody else"));
        let newest = names.iter().max().unwrap();
        assert_eq!(std::fs::read_to_string(place.join(newest)).unwrap(), "a line\n");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failure = files(&file).err().unwrap();
        assert!(failure.message.contains("cannot log to"), "{failure}");
    }
}
