//! FFmpeg, as commands find it.

use super::args::Common;
use crate::paths;
use reelmill_core::error::Failure;
use reelmill_media::sandbox::Cage;
use reelmill_media::tools::{ToolPaths, Tools};

impl Common {
    /// FFmpeg, in the sandbox that was asked for; who said lately which version it is,
    /// is not asked again.
    pub(crate) async fn tools(&self) -> Result<Tools, Failure> {
        let memory = Some(paths::scratch().join("tools.json"));
        self.find(ToolPaths { memory, ..ToolPaths::default() }).await
    }

    /// The same, tried again: for what works for days.
    pub(crate) async fn tried_tools(&self) -> Result<Tools, Failure> {
        self.find(ToolPaths::default()).await
    }

    async fn find(&self, paths: ToolPaths) -> Result<Tools, Failure> {
        Tools::find_in(Cage::choose(self.sandbox.wanted()).await?, &paths).await
    }
}
