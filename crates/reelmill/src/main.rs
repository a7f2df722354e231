//! reelmill: converts video on one machine or on many.

mod api;
#[cfg(test)]
mod bench;
mod cli;
mod client;
mod clock;
mod coordinator;
mod exit;
mod farm;
mod files;
mod library;
mod limits;
mod metrics;
mod mutant;
mod outbox;
mod outside;
mod paths;
mod remote_source;
mod serve_config;
mod servers;
mod share;
#[cfg(test)]
mod sim;
mod task_source;
#[cfg(test)]
mod task_source_suite;
mod tls;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run())
}
