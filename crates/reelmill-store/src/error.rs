//! What can go wrong with rows.

use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::task::Refused;
use std::path::PathBuf;
use thiserror::Error;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Another writer kept it busy for too long; asking again may work.
    #[error("the job database is busy: {0}")]
    Busy(String),
    /// Reading or writing failed.
    #[error("the job database cannot be read or written: {0}")]
    Io(String),
    /// No space is left where it lies.
    #[error("no space is left for the job database: {0}")]
    Full(String),
    /// It was written by a later version of this program.
    #[error("the job database {path} has version {found}, this program knows {known}")]
    NewerDatabase {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// What it holds makes no sense.
    #[error("the job database is damaged: {0}")]
    Corrupt(String),
    /// Another process has it open.
    #[error("the job database {path} is in use by {}", holder(*pid))]
    InUse {
        /// Where it is.
        path: PathBuf,
        /// The other process, where known.
        pid: Option<u32>,
    },
    /// It lies where its locks and logs do not work.
    #[error("the job database {path} lies on a network file system ({kind})")]
    NetworkFileSystem {
        /// Where it is.
        path: PathBuf,
        /// Which kind.
        kind: String,
    },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl StoreError {
    /// What to do about it, one sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Busy(_) => "try again in a moment",
            Self::Io(_) => "check the disk and the permissions of the state folder",
            Self::Full(_) => "free some space on the disk of the state folder",
            Self::NewerDatabase { .. } => {
                "start the newer program again, or restore the backup made before the upgrade"
            }
            Self::Corrupt(_) => "restore the state folder from a backup",
            Self::InUse { .. } => "stop the other process, or choose another state folder",
            Self::NetworkFileSystem { .. } => {
                "choose a state folder on a disk of this machine; only blobs may lie on the network"
            }
            Self::Invalid(_) => "correct the request",
        }
    }

    /// The same as a [`Failure`], for reports.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let class = match self {
            Self::Busy(_) | Self::Io(_) => FailureClass::Transient,
            Self::Full(_) => FailureClass::NoSpace,
            Self::Invalid(_) => FailureClass::Permanent,
            _ => FailureClass::Environment,
        };
        Failure::new(class, self.to_string()).advise(self.advice())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        error.failure()
    }
}

/// Why an event was not applied to a task.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The event does not count.
    #[error("the report was not taken: {}", reason(*.0))]
    Refused(Refused),
    /// There is no such task.
    #[error("there is no such task")]
    NoSuchTask,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn reason(refused: Refused) -> &'static str {
    match refused {
        Refused::Stale => "the lease it names is not the current one",
        Refused::Repeated => "it was taken before",
        Refused::NotNow => "the task is in no state for it",
    }
}

impl From<Refused> for ApplyError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
