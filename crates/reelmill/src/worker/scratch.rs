//! A worker's scratch folder: its own while it lives, cleaned by whoever comes
//! after a crash.

use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Workers that may share one scratch folder.
const MAX_WORKERS: u32 = 256;

/// A scratch folder that no other living process uses.
#[derive(Debug)]
pub(crate) struct Scratch {
    place: PathBuf,
    path: PathBuf,
    worker: WorkerId,
    /// Held while we live: the lock ends with the process, however it ends.
    _lock: File,
}

impl Scratch {
    /// Takes the first free place under `root`, removing what a crashed worker
    /// left there. The place remembers the worker's id.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn claim(root: &Path) -> Result<Self, Failure> {
        let fail = |what: &str, e: &std::io::Error| {
            Failure::io(format!("{what} the scratch folder {}", root.display()), e)
        };
        fs::create_dir_all(root).map_err(|e| fail("create", &e))?;
        for number in 0..MAX_WORKERS {
            let path = root.join(format!("worker-{number}"));
            fs::create_dir_all(&path).map_err(|e| fail("use", &e))?;
            let lock = File::create(path.join("lock")).map_err(|e| fail("use", &e))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let worker = known_worker(&path).map_err(|e| fail("use", &e))?;
                    clean(&path.join("tasks")).map_err(|e| fail("clean", &e))?;
                    let tasks = path.join("tasks");
                    return Ok(Self { place: path, path: tasks, worker, _lock: lock });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(fail("lock", &errno.into())),
            }
        }
        Err(Failure::environment(format!("all places in {} are in use", root.display())))
    }

    /// Where tasks put their files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where what outlives its tasks is kept.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The id of the worker that lives here.
    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }
}

fn known_worker(place: &Path) -> std::io::Result<WorkerId> {
    let file = place.join("worker-id");
    if let Ok(text) = fs::read_to_string(&file)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    let id = WorkerId(clock::fresh());
    fs::write(&file, id.to_string())?;
    Ok(id)
}

fn clean(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_get_two_places_and_a_successor_inherits() {
        let root = tempfile::tempdir().unwrap();
        let first = Scratch::claim(root.path()).unwrap();
        let second = Scratch::claim(root.path()).unwrap();
        assert_ne!(first.worker(), second.worker());
        fs::write(first.path().join("left-over"), "x").unwrap();
        let (id, path) = (first.worker(), first.path().to_owned());
        drop(first);
        let heir = Scratch::claim(root.path()).unwrap();
        assert_eq!(heir.worker(), id);
        assert_eq!(heir.path(), path);
        assert!(!heir.path().join("left-over").exists());
    }
}
