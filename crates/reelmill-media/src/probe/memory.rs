//! What was found out about files lately: a job asks about its source several
//! times, each for some 0.2 s of starting tools.

use reelmill_core::media::MediaInfo;
use std::collections::VecDeque;
use std::fs::Metadata;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Longer than the tick of any file system's clock (FAT: 2 s).
const TICK: Duration = Duration::from_secs(3);

/// Files that are remembered.
const MOST: usize = 16;

/// Which state of which file: equal only where nothing was written in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, seconds and nanoseconds of the last change of the inode.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            size: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            inode: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the next write is sure to change it: clocks of file systems tick
    /// slowly, and elsewhere than on Unix files have no number.
    fn tells(&self) -> bool {
        let age = self.modified.and_then(|at| at.elapsed().ok());
        cfg!(unix) && age.is_some_and(|age| age > TICK)
    }
}

/// The files that were probed last, the latest first.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<VecDeque<(Stamp, MediaInfo)>>);

impl Memory {
    /// What was found out about the file in this state, if it was lately.
    pub(super) fn recall(&self, stamp: &Stamp) -> Option<MediaInfo> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(one, _)| one == stamp).map(|(_, media)| media.clone())
    }

    pub(super) fn keep(&self, stamp: Stamp, media: &MediaInfo) {
        if !stamp.tells() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front((stamp, media.clone()));
        known.truncate(MOST);
    }
}
