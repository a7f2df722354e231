//! When workers measure how fast they are.

use crate::worker::When;
use clap::Args;

/// Measuring the encoders' speed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BenchmarkArgs {
    /// When to measure for a few seconds how fast each encoder is, so that a new worker
    /// gets the work that suits it.
    #[arg(long, value_name = "WHEN", env = "REELMILL_BENCHMARK", default_value = "auto")]
    pub(crate) benchmark: When,
}
