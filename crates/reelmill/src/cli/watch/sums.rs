//! What a watch came to, told when it ends.

use crate::cli::args::Common;
use crate::cli::out;

/// Files by what came of them, and bytes of those that were converted.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) converted: u64,
    pub(super) kept: u64,
    pub(super) failed: u64,
    pub(super) before: u64,
    pub(super) after: u64,
}

impl Sums {
    /// Tells people and programs.
    pub(super) fn tell(&self, common: &Common) {
        let Self { converted, kept, failed, before, after } = self;
        if common.json {
            out::json(&serde_json::json!({
                "event": "summary", "converted": converted, "kept": kept, "failed": failed,
                "bytes_before": before, "bytes_after": after,
            }));
        } else if !common.quiet {
            let (before, after) = (out::bytes(*before), out::bytes(*after));
            out::line(&format!(
                "{converted} converted ({before} became {after}), {kept} kept, {failed} failed"
            ));
        }
    }
}
