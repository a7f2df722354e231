//! Completion scripts and the manual page.

use super::args::Cli;
use crate::exit::{Ending, Exit};
use clap::{Args, CommandFactory};
use reelmill_core::error::Failure;

/// `reelmill completions`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// `reelmill completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Ending> {
    clap_complete::generate(args.shell, &mut Cli::command(), "reelmill", &mut std::io::stdout());
    Ok(Exit::Done)
}

/// `reelmill man`.
pub(crate) fn man() -> Result<Exit, Ending> {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map_err(|e| Failure::io("write the manual page", &e))?;
    Ok(Exit::Done)
}
