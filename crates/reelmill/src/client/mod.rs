//! The client: commands that talk to a coordinator.

pub(crate) mod admin;
pub(crate) mod args;
pub(crate) mod calls;
pub(crate) mod commands;
mod deliver;
mod display;
pub(crate) mod download;
mod render;
mod round;
pub(crate) mod submit;
pub(crate) mod sync;
mod told;
pub(crate) mod upload;

use std::path::PathBuf;

/// What every client command needs.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// Servers to talk to; the first that answers counts.
    pub(crate) servers: Vec<String>,
    /// The key to show.
    pub(crate) api_key: Option<String>,
    /// Print JSON, one event or object a line.
    pub(crate) json: bool,
    /// Print errors and results only.
    pub(crate) quiet: bool,
    /// The folder of requests that wait for a server.
    pub(crate) outbox: PathBuf,
    /// Whether the servers were named on this command line.
    pub(crate) chosen: bool,
}
