//! What a watch asks for, for each file.

use crate::cli::args::{Cli, Command, ConvertArgs};
use crate::cli::library_args::WatchArgs;
use crate::exit::Ending;
use clap::Parser;
use reelmill_core::error::Failure;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The conversion of the file at `path`, as the command line would ask for it.
///
/// # Errors
/// When the command line of the watch allows no such conversion.
pub(super) fn order(
    args: &WatchArgs,
    path: &Path,
    preset: &str,
    set: &[String],
) -> Result<ConvertArgs, Ending> {
    let mut words: Vec<OsString> =
        ["reelmill", "convert", "--preset", preset, "--file"].map(OsString::from).into();
    words.push(path.into());
    for setting in set {
        words.extend(["--set".into(), setting.into()]);
    }
    let flags = [
        (args.replace, "--replace"),
        (args.shared, "--shared"),
        (args.keep_bigger, "--keep-bigger"),
    ];
    words.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| OsString::from(flag)));
    if let Some(dir) = &args.output_dir {
        words.extend(["--output-dir".into(), PathBuf::from(dir).into()]);
    }
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Convert(order)) => Ok(order),
        Ok(_) => Err(Ending::usage(Failure::permanent("this is no conversion"))),
        Err(error) => Err(Ending::usage(Failure::permanent(error.to_string()))),
    }
}
