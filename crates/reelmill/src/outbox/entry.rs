//! A request that waits for a server, in the form in which it is kept.

use super::source::{LocalPath, Source};
use crate::api::wire::JobRequest;
use crate::clock;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Version of the form. A program that knows a lower one leaves the file alone.
const VERSION: u32 = 1;

/// A request to convert a file of this machine, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    version: u32,
    /// Its name, which sorts by time and is never given twice.
    pub(crate) id: Uuid,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Base addresses of the servers that may have it, the first that answers counts.
    pub(crate) servers: Vec<String>,
    /// Names the request to a server, so that it never makes a second job of it.
    pub(crate) key: String,
    /// What is to be converted.
    pub(crate) source: Source,
    /// How; its source is filled in when it is sent.
    pub(crate) request: JobRequest,
    /// Where the output goes, if it is to be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Output>,
    /// How far it is.
    pub(crate) stage: Stage,
    /// What kept it from going on, when that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<Trouble>,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// No server has it.
    Waiting,
    /// A server has the source. It was or will be asked for the job: nobody else
    /// may be asked any more.
    Uploaded {
        /// The server's base address.
        server: String,
        /// The source there.
        blob: BlobId,
    },
    /// A server has the job.
    Sent {
        /// The server's base address.
        server: String,
        /// The job.
        job: JobId,
    },
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// A file, or a folder in which it is called like its job.
    path: LocalPath,
    /// Whether it was a folder when it was named.
    folder: bool,
    /// Whether it may replace a file that is there.
    pub(crate) overwrite: bool,
}

/// What kept an entry from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// Whether no server could be reached: nothing is wrong with the request.
    pub(crate) away: bool,
    /// What happened.
    pub(crate) failure: Failure,
}

/// Where an entry stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has not been sent.
    Waiting,
    /// It cannot be sent as it is.
    Refused,
    /// A server has the job.
    Sent,
    /// The job failed, or its output cannot be fetched.
    Failed,
}

impl State {
    /// The word for it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// What a new entry asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Base addresses of servers.
    pub(crate) servers: Vec<String>,
    /// How the user named the request, if so.
    pub(crate) key: Option<String>,
    /// What is to be converted.
    pub(crate) source: Source,
    /// How.
    pub(crate) request: JobRequest,
    /// Where the output goes.
    pub(crate) output: Option<Output>,
}

impl Entry {
    /// A new one, of which no server knows yet.
    pub(crate) fn new(wanted: Wanted) -> Self {
        let id = clock::fresh();
        Self {
            version: VERSION,
            id,
            created: clock::now(),
            servers: wanted.servers,
            key: wanted.key.unwrap_or_else(|| id.to_string()),
            source: wanted.source,
            request: wanted.request,
            output: wanted.output,
            stage: Stage::Waiting,
            trouble: None,
        }
    }

    /// Reads what [`Entry::write`] wrote.
    ///
    /// # Errors
    /// When it is damaged, or of a version that this program does not know.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |error: serde_json::Error| {
            Failure::permanent(format!("it is damaged: {error}"))
                .advise("submit the file again; 'reelmill sync --forget' takes this away")
        };
        let head: Head = serde_json::from_slice(text).map_err(damaged)?;
        if head.version > VERSION {
            let message = format!(
                "it is of version {}, and this reelmill knows {VERSION}: a newer one wrote it",
                head.version
            );
            return Err(Failure::permanent(message).advise("use that newer one"));
        }
        serde_json::from_slice(text).map_err(damaged)
    }

    /// The text that is kept.
    ///
    /// # Errors
    /// When it cannot be put into words.
    pub(crate) fn write(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::permanent(format!("a request cannot be kept: {error}")))
    }

    /// Whether `other` asks for the very same.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        self.source == other.source
            && self.request == other.request
            && self.output == other.output
            && self.servers == other.servers
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        let stuck = self.trouble.as_ref().is_some_and(|trouble| !trouble.away);
        match (&self.stage, stuck) {
            (Stage::Waiting | Stage::Uploaded { .. }, false) => State::Waiting,
            (Stage::Waiting | Stage::Uploaded { .. }, true) => State::Refused,
            (Stage::Sent { .. }, false) => State::Sent,
            (Stage::Sent { .. }, true) => State::Failed,
        }
    }

    /// The servers to turn to, in order. Before it is clear whether one has made
    /// a job, that one alone; later a job's own server first.
    pub(crate) fn turn_to(&self) -> Vec<&str> {
        let all = self.servers.iter().map(String::as_str);
        match &self.stage {
            Stage::Waiting => all.collect(),
            Stage::Uploaded { server, .. } => vec![server.as_str()],
            Stage::Sent { server, .. } => std::iter::once(server.as_str())
                .chain(all.filter(|other| other != server))
                .collect(),
        }
    }
}

impl Output {
    /// What the user calls `path`.
    ///
    /// # Errors
    /// When the folder that it is relative to is gone.
    pub(crate) fn new(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        let whole = std::path::absolute(path)
            .map_err(|error| Failure::io(format!("find {}", path.display()), &error))?;
        let folder = whole.is_dir();
        Ok(Self { path: LocalPath(whole), folder, overwrite })
    }

    /// Where it goes, as it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path.0
    }

    /// The file that the output becomes when its job calls it `name`.
    ///
    /// # Errors
    /// When what was a folder is none any more, or the other way round.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = &self.path.0;
        let wrong = |what: String, advice: &str| {
            Err(Failure::new(FailureClass::Permanent, what).advise(advice))
        };
        match (self.folder, path.is_dir()) {
            (true, true) => Ok(path.join(name)),
            (false, false) => Ok(path.clone()),
            (true, false) => {
                wrong(format!("there is no folder {} any more", path.display()), "make it again")
            }
            (false, true) => wrong(
                format!("{} was to be a file, and is a folder now", path.display()),
                "move it away",
            ),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
