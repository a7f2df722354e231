//! reelmill: converts video on one machine or on many.

mod api;
mod cli;
mod client;
mod clock;
mod coordinator;
mod exit;
mod farm;
mod files;
mod mutant;
mod paths;
mod remote_source;
mod servers;
mod task_source;
#[cfg(test)]
mod task_source_suite;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run())
}
