//! What went wrong, where, and what to do about it.

use serde::{Deserialize, Serialize};

/// What kind of failure it is; decides whether and where to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The source cannot be converted, on any machine (not media, truncated…).
    Input,
    /// The request cannot be met however often it is tried (wrong setting…).
    Permanent,
    /// May work when tried again (busy, connection lost…).
    Transient,
    /// The worker that had the task died, hung or was cut off.
    WorkerLost,
    /// The task took worker after worker with it.
    Quarantined,
    /// The attempt ran past its deadline or made no progress.
    Timeout,
    /// Decoding contradicts the packet index: the job must be planned again,
    /// without cutting.
    Recut,
    /// The machine lacks something: a tool, an encoder, a permission.
    Environment,
    /// No space is left where output or temporary files go.
    NoSpace,
    /// Somebody cancelled it.
    Cancelled,
}

impl FailureClass {
    /// Whether another attempt of the same task may end differently.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::Transient
            | Self::WorkerLost
            | Self::Timeout
            | Self::Environment
            | Self::NoSpace => true,
            Self::Input | Self::Permanent | Self::Quarantined | Self::Recut | Self::Cancelled => {
                false
            }
        }
    }

    /// Whether the same source and settings fail again, whenever and wherever they are tried.
    #[must_use]
    pub fn lasting(self) -> bool {
        matches!(self, Self::Input | Self::Permanent)
    }

    /// The class as people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::WorkerLost => "worker lost",
            Self::Quarantined => "quarantined",
            Self::Timeout => "timeout",
            Self::Recut => "cannot be cut",
            Self::Environment => "environment",
            Self::NoSpace => "no space",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A failure, told so that a person can act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// Its kind.
    pub class: FailureClass,
    /// What happened and where, one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The command that failed, as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its exit status; negative for the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The last lines that the tool wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

impl Failure {
    /// A failure of `class` with a message and nothing else yet.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            advice: None,
            command: None,
            exit_status: None,
            tail: Vec::new(),
        }
    }

    /// The source is at fault.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Input, message)
    }

    /// The request is at fault.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }

    /// It may work later.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, message)
    }

    /// This machine is at fault.
    #[must_use]
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Environment, message)
    }

    /// The same failure with a piece of advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The failure of an operation on a file: `what` says which operation on
    /// which file ("write /out/film.mkv").
    #[must_use]
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let message = format!("cannot {what}: {error}");
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::new(FailureClass::NoSpace, message)
                    .advise("free some space there, or choose another place (--scratch, -o)")
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::environment(message)
                    .advise("check the permissions of the file and its folder")
            }
            ErrorKind::NotFound => Self::permanent(message).advise("check the path"),
            _ => Self::transient(message),
        }
    }

    /// What happened, and what to do about it, for who reads of it later.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        let advice = self.advice.as_ref().map(|advice| format!(" ({advice})"));
        format!("{}{}", self.message, advice.unwrap_or_default())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_told_apart_from_other_io_errors() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Failure::io("write x", &full).class, FailureClass::NoSpace);
        let other = std::io::Error::other("cable");
        assert_eq!(Failure::io("write x", &other).class, FailureClass::Transient);
    }
}
