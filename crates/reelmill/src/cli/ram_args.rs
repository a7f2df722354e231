//! The arguments that say which temporary files are kept in memory.

use clap::Args;
use reelmill_core::library::quantity::amount;
use std::path::PathBuf;

/// Temporary files in memory.
#[derive(Debug, Clone, Args)]
pub(crate) struct RamArgs {
    /// Folder in memory (a tmpfs) for temporary files of small work; what is larger
    /// uses the scratch folder.
    #[arg(long, value_name = "DIR", env = "REELMILL_RAM_DIR")]
    ram_dir: Option<PathBuf>,
    /// Bytes that a piece of work may need to be done in memory.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = amount)]
    ram_limit: u64,
}

impl RamArgs {
    /// The part of the folder that is ours, and the most that one piece of work may
    /// need there. Others' files in the folder are never touched.
    pub(crate) fn memory(&self) -> Option<(PathBuf, u64)> {
        let folder = self.ram_dir.as_ref()?.join("reelmill");
        Some((folder, self.ram_limit))
    }
}
