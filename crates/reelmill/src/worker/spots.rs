//! Where the temporary files of a task go: memory or disk, by what it needs and
//! what is free.

use crate::files::free;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::room::{Need, Spot, choose};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folders for temporary files.
#[derive(Debug)]
pub(crate) struct Spots {
    disk: PathBuf,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Memory {
    folder: PathBuf,
    /// Bytes that one task may need.
    most: u64,
    /// Bytes that tasks at work were promised.
    promised: AtomicU64,
}

/// Room for one task, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    /// The folder.
    pub(crate) folder: &'a Path,
    /// What was promised, and of which sum.
    promise: Option<(&'a AtomicU64, u64)>,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some((sum, bytes)) = self.promise {
            sum.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Spots {
    /// All in the folder `disk`.
    pub(crate) fn on(disk: PathBuf) -> Self {
        Self { disk, memory: None }
    }

    /// Tasks that need at most `most` bytes in the folder `memory`, if it has room.
    pub(crate) fn with_memory(self, memory: PathBuf, most: u64) -> Self {
        Self { memory: Some(Memory { folder: memory, most, promised: AtomicU64::new(0) }), ..self }
    }

    /// Room for a task.
    ///
    /// # Errors
    /// Class no space, when there is none.
    pub(crate) fn room(&self, need: Need) -> Result<Room<'_>, Failure> {
        let memory = self.memory.as_ref();
        let there = memory.and_then(|memory| {
            // What is promised may be written already; then less is taken than there is.
            let promised = memory.promised.fetch_add(need.likely, Ordering::Relaxed);
            Some((free(&memory.folder)?.saturating_sub(promised), memory.most))
        });
        let spot = choose(need, there, free(&self.disk));
        match (spot, memory) {
            (Ok(Spot::Memory), Some(memory)) => {
                let promise = Some((&memory.promised, need.likely));
                return Ok(Room { folder: &memory.folder, promise });
            }
            (_, Some(memory)) => {
                memory.promised.fetch_sub(need.likely, Ordering::Relaxed);
            }
            (_, None) => {}
        }
        match spot {
            Ok(_) => Ok(Room { folder: &self.disk, promise: None }),
            Err(free) => Err(no_room(&self.disk, need, free)),
        }
    }
}

/// What to say where there is no room.
pub(crate) fn no_room(folder: &Path, need: Need, free: u64) -> Failure {
    let message = format!(
        "{} has {free} bytes free, but at least {} are needed",
        folder.display(),
        need.least
    );
    Failure::new(FailureClass::NoSpace, message)
        .advise("free some space there, or choose another place with --scratch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_share_the_memory_that_there_is_and_the_rest_goes_onto_the_disk() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spots = Spots::on(disk.path().to_owned());
        let all = Need::exactly(1 << 20);
        assert_eq!(spots.room(all).unwrap().folder, disk.path(), "there is no other");
        let spots = spots.with_memory(memory.path().to_owned(), 1 << 40);
        let there = free(memory.path()).unwrap();
        let half = Need { least: 0, likely: there / 4 * 3 };
        let first = spots.room(half).unwrap();
        assert_eq!(first.folder, memory.path());
        let second = spots.room(half).unwrap();
        assert_eq!(second.folder, disk.path(), "promised to the first");
        drop((first, second));
        assert_eq!(spots.room(half).unwrap().folder, memory.path(), "free again");
        let large = Need { least: 0, likely: 1 << 41 };
        assert_eq!(spots.room(large).unwrap().folder, disk.path(), "over the limit");
        let failure = spots.room(Need::exactly(1 << 60)).unwrap_err();
        assert_eq!(failure.class, FailureClass::NoSpace);
        assert!(failure.message.contains("at least 1152921504606846976"), "{failure}");
    }
}
