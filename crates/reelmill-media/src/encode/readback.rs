//! Reads an encoded file back: what it holds, not what the encoder said.

use crate::args::own_input;
use crate::listing::list_encoded;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::time::TimeBase;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// What an encoded file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Seconds per tick.
    pub time_base: TimeBase,
    /// Times of its packets, ascending, ticks.
    pub pts: Vec<i64>,
    /// Whether the first packet is a keyframe.
    pub starts_with_keyframe: bool,
    /// Digest of the parameter sets.
    pub digest: String,
    /// Bytes of its packets, without the container.
    pub bytes: u64,
}

impl Encoded {
    /// Whether `other` has the same frames at the same times.
    pub(super) fn same_times(&self, other: &Self) -> bool {
        let scaled = |base: TimeBase, of: TimeBase, ticks: i64| {
            i128::from(ticks) * i128::from(base.num()) * i128::from(of.den())
        };
        let (one, two) = (self.time_base, other.time_base);
        self.pts.len() == other.pts.len()
            && self
                .pts
                .iter()
                .zip(&other.pts)
                .all(|(a, b)| scaled(one, two, *a) == scaled(two, one, *b))
    }
}

/// Reads the NUT file `path` back; `None` when it holds no video that can be
/// read without errors.
///
/// # Errors
/// When the reader cannot run or is cancelled.
pub(super) async fn read_back(
    tools: &Tools,
    path: &Path,
    cancel: &CancellationToken,
) -> Result<Option<Encoded>, Failure> {
    let listing = match list_encoded(tools, own_input(path), cancel).await {
        Ok(listing) => listing,
        Err(failure) if failure.class == reelmill_core::error::FailureClass::Input => {
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let Some(stream) = listing.only().filter(|_| listing.errors.is_empty()) else {
        return Ok(None);
    };
    let (Some(time_base), Some(pts)) = (stream.time_base, stream.shown()) else {
        return Ok(None);
    };
    let starts_with_keyframe = stream.packets.first().is_some_and(|packet| packet.key);
    let digest = stream.digest.clone();
    let bytes = stream.packets.iter().map(|packet| u64::from(packet.size)).sum();
    Ok(Some(Encoded { time_base, pts, starts_with_keyframe, digest, bytes }))
}
