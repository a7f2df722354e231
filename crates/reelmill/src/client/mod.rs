//! The client: commands that talk to a coordinator.

pub(crate) mod admin;
pub(crate) mod args;
pub(crate) mod calls;
pub(crate) mod commands;
mod display;
pub(crate) mod download;
mod render;
pub(crate) mod upload;

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
}
