//! Failures as answers to gRPC calls.

use reelmill_core::error::{Failure, FailureClass};
use tonic::{Request, Status};

/// A failure as a gRPC status.
pub(super) fn refusal(failure: &Failure) -> Status {
    let message = match &failure.advice {
        Some(advice) => format!("{}; {advice}", failure.message),
        None => failure.message.clone(),
    };
    match failure.class {
        FailureClass::Input | FailureClass::Permanent | FailureClass::Recut => {
            Status::invalid_argument(message)
        }
        FailureClass::NoSpace => Status::resource_exhausted(message),
        FailureClass::Cancelled => Status::aborted(message),
        FailureClass::Transient | FailureClass::WorkerLost | FailureClass::Timeout => {
            Status::unavailable(message)
        }
        FailureClass::Environment | FailureClass::Quarantined => Status::internal(message),
    }
}

/// The address under which the caller sees this server.
pub(super) fn see<T>(request: &Request<T>) -> String {
    let seen = request.extensions().get::<Seen>();
    seen.map(|seen| seen.0.clone()).unwrap_or_default()
}

/// The authority that a request was sent to.
#[derive(Debug, Clone)]
pub(super) struct Seen(pub(super) String);
