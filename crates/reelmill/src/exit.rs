//! Exit codes, as `docs/exit-codes.md` has them.

use reelmill_core::error::{Failure, FailureClass};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// The input was refused.
    Input = 3,
    /// The server cannot be reached, or refuses us.
    Unreachable = 4,
    /// Some inputs failed, others did not.
    Partly = 5,
    /// The files of a known library are missing as if it was not mounted.
    Alarm = 6,
    /// Interrupted.
    Interrupted = 130,
}

/// A failure and the exit code it leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    /// The code.
    pub(crate) exit: Exit,
    /// What went wrong.
    pub(crate) failure: Failure,
}

impl Ending {
    /// The request itself is wrong.
    pub(crate) fn usage(failure: Failure) -> Self {
        Self { exit: Exit::Usage, failure }
    }

    /// The input cannot be converted.
    pub(crate) fn input(failure: Failure) -> Self {
        let failure = Failure { class: FailureClass::Input, ..failure };
        Self { exit: Exit::Input, failure }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        let exit = match failure.class {
            FailureClass::Input => Exit::Input,
            FailureClass::Cancelled => Exit::Interrupted,
            FailureClass::Permanent
            | FailureClass::Transient
            | FailureClass::WorkerLost
            | FailureClass::Quarantined
            | FailureClass::Timeout
            | FailureClass::Recut
            | FailureClass::Environment
            | FailureClass::NoSpace => Exit::Failed,
        };
        Self { exit, failure }
    }
}
