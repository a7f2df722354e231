//! What came of a scan, and how far one is.

use super::walk::Complaint;
use reelmill_core::library::missing::{Alarm, FolderState, parent};
use reelmill_store::LibraryFile;
use serde::Serialize;

/// What came of a scan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Media files that are there.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Folders.
    pub(crate) folders: u64,
    /// Files that are as they were.
    pub(crate) same: u64,
    /// New files.
    pub(crate) new: u64,
    /// Files that were known with another size or time.
    pub(crate) changed: u64,
    /// Files that lie elsewhere now.
    pub(crate) moved: u64,
    /// Files that another machine's scan knew already.
    pub(crate) adopted: u64,
    /// Files that are gone.
    pub(crate) gone: u64,
    /// Known files whose folder is empty or cannot be read: kept.
    pub(crate) unseen: u64,
    /// Files that somebody writes to: left for the next scan.
    pub(crate) changing: u64,
    /// Files that are no media, or damaged: new and changed ones.
    pub(crate) broken: u64,
    /// Symbolic links that were passed by.
    pub(crate) links: u64,
    /// Folders and files that could not be read.
    pub(crate) unreadable: u64,
    /// The first of those: path and reason.
    pub(crate) complaints: Vec<(String, String)>,
    /// Folders that are empty though files are known in them.
    pub(crate) emptied: Vec<String>,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Progress {
    /// Files met by the walk so far.
    pub(crate) met: u64,
    /// Files looked at, of those that must be.
    pub(crate) looked: u64,
    /// Files that must be looked at; 0 while that is not known.
    pub(crate) to_look: u64,
    /// Seconds that the rest will take, once that can be told.
    pub(crate) eta_seconds: Option<f64>,
}

impl Summary {
    /// Counts a file that was looked at.
    pub(super) fn count(&mut self, file: &LibraryFile, changed: bool) {
        if changed {
            self.changed += 1;
        } else {
            self.new += 1;
        }
        if let Err(trouble) = &file.facts {
            if trouble.retry {
                self.unreadable += 1;
                let path = String::from_utf8_lossy(&file.path()).into_owned();
                self.complaints.push((path, trouble.reason.clone()));
            } else {
                self.broken += 1;
            }
        }
    }
}

/// A complaint for people.
pub(super) fn told(complaint: &Complaint) -> (String, String) {
    let path = String::from_utf8_lossy(&complaint.path).into_owned();
    (if path.is_empty() { ".".into() } else { path }, complaint.reason.clone())
}

/// An alarm for people.
pub(super) fn tell_alarm(alarm: Alarm) -> String {
    match alarm {
        Alarm::Empty { known } => format!("no media file is there, though {known} are known"),
        Alarm::MostMissing { known, missing } => {
            format!("{missing} of {known} known files are missing")
        }
    }
}

/// Notes the folder that is empty where its files are missed.
pub(super) fn note_empty(
    folder: &[u8],
    state: impl Fn(&[u8]) -> Option<FolderState>,
    emptied: &mut Vec<String>,
) {
    let mut at = folder;
    while state(at).is_none() && !at.is_empty() {
        at = parent(at);
    }
    let path = String::from_utf8_lossy(at).into_owned();
    if state(at) == Some(FolderState::Empty) && emptied.last() != Some(&path) {
        emptied.push(path);
    }
}
