//! Failures as HTTP: the only place that chooses and reads status codes.

use super::wire::Problem;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reelmill_core::error::{Failure, FailureClass};
use tonic::{Code, Status};

/// Success, and nothing to say.
pub(crate) const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
/// Something was made.
pub(crate) const CREATED: StatusCode = StatusCode::CREATED;
/// The asked range follows.
pub(crate) const PARTIAL: StatusCode = StatusCode::PARTIAL_CONTENT;
/// The asker has it already.
pub(crate) const NOT_MODIFIED: StatusCode = StatusCode::NOT_MODIFIED;

/// What kind of answer a failure gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request cannot be understood.
    Malformed,
    /// No key, or a wrong one.
    Unauthenticated,
    /// The key does not allow it, or the request comes from another site.
    Forbidden,
    /// It is not there.
    NotFound,
    /// The resource knows no such method.
    Method,
    /// The body came too slowly.
    TooSlow,
    /// It does not fit the present state.
    Conflict,
    /// A version of a protocol that we do not speak.
    Precondition,
    /// More bytes than are taken.
    TooLarge,
    /// Another content type is needed.
    ContentType,
    /// The range lies beyond the end.
    Range,
    /// Understood, but it cannot be done as asked.
    Unprocessable,
    /// Our own fault.
    Broken,
    /// Not now.
    Unavailable,
    /// No space is left.
    NoSpace,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Range => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The last part of the problem's type, and its title.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("malformed", "The request cannot be understood"),
            Self::Unauthenticated => ("unauthenticated", "A valid key is needed"),
            Self::Forbidden => ("forbidden", "That is not allowed"),
            Self::NotFound => ("not-found", "There is no such thing"),
            Self::Method => ("method", "That cannot be done here"),
            Self::TooSlow => ("too-slow", "The request came too slowly"),
            Self::Conflict => ("conflict", "It does not fit the present state"),
            Self::Precondition => ("precondition", "That version is not spoken here"),
            Self::TooLarge => ("too-large", "That is too much"),
            Self::ContentType => ("content-type", "Another content type is needed"),
            Self::Range => ("range", "The range lies beyond the end"),
            Self::Unprocessable => ("unprocessable", "It cannot be done as asked"),
            Self::Broken => ("broken", "The server has a fault"),
            Self::Unavailable => ("unavailable", "It cannot be done now"),
            Self::NoSpace => ("no-space", "No space is left"),
        }
    }
}

impl From<FailureClass> for Kind {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Input
            | FailureClass::Permanent
            | FailureClass::Quarantined
            | FailureClass::Recut => Self::Unprocessable,
            FailureClass::Cancelled => Self::Conflict,
            FailureClass::Transient | FailureClass::WorkerLost | FailureClass::Timeout => {
                Self::Unavailable
            }
            FailureClass::Environment => Self::Broken,
            FailureClass::NoSpace => Self::NoSpace,
        }
    }
}

/// A failure on its way to an HTTP client, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    kind: Kind,
    failure: Box<Failure>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// A failure that gets an answer of `kind`.
    pub(crate) fn new(kind: Kind, failure: Failure) -> Self {
        Self { kind, failure: Box::new(failure), headers: Vec::new() }
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, Failure::permanent(message))
    }

    /// Understood, but it cannot be done as asked.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unprocessable, Failure::permanent(message))
    }

    /// `failure`, which says that something is not there, unless it says that
    /// we could not look.
    pub(crate) fn missing(failure: Failure) -> Self {
        Self::own(Kind::NotFound, failure)
    }

    /// `failure`, which says that something is in the wrong state, unless it
    /// says that we could not look.
    pub(crate) fn conflict(failure: Failure) -> Self {
        Self::own(Kind::Conflict, failure)
    }

    /// `failure`, which says that something is too large, unless it says that
    /// we could not look.
    pub(crate) fn too_large(failure: Failure) -> Self {
        Self::own(Kind::TooLarge, failure)
    }

    /// `failure` as the dispatch protocol tells what does not fit: as a request
    /// that makes no sense, unless it says that we could not look.
    pub(crate) fn bad(failure: Failure) -> Self {
        Self::own(Kind::Malformed, failure)
    }

    /// `failure` as `kind`, unless it says that we could not look.
    pub(crate) fn own(kind: Kind, failure: Failure) -> Self {
        let kind = match failure.class {
            FailureClass::Permanent => kind,
            class => class.into(),
        };
        Self::new(kind, failure)
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What went wrong.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

impl ApiError {
    /// The same as an answer to a gRPC call.
    pub(crate) fn into_grpc(self) -> Response {
        let code = match self.kind {
            Kind::Unauthenticated => Code::Unauthenticated,
            Kind::Forbidden => Code::PermissionDenied,
            Kind::Broken => Code::Internal,
            Kind::Unavailable | Kind::NoSpace => Code::Unavailable,
            _ => Code::InvalidArgument,
        };
        let message = match &self.failure.advice {
            Some(advice) => format!("{}; {advice}", self.failure.message),
            None => self.failure.message.clone(),
        };
        Status::new(code, message).into_http::<Body>()
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.class.into(), failure)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        if status.is_server_error() {
            tracing::warn!(failure = %self.failure, status = status.as_u16(), "request failed");
        }
        let (name, title) = self.kind.names();
        let problem = Problem {
            kind: format!("urn:reelmill:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.failure.message,
            advice: self.failure.advice,
            class: Some(self.failure.class),
        };
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.kind {
            Kind::Unauthenticated => {
                let challenge = HeaderValue::from_static("Bearer realm=\"reelmill\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Kind::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        headers.extend(self.headers);
        response
    }
}

/// What a status code tells the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It worked.
    Fine,
    /// The key is missing, wrong or of another role.
    Refused,
    /// It is not there.
    Missing,
    /// It does not fit the present state.
    Conflict,
    /// The range lies beyond the end.
    BeyondEnd,
    /// The server, or one in between, cannot answer now: ask again.
    Later,
    /// The request will never work.
    Wrong,
}

impl Answer {
    /// Reads a status code.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Fine,
            401 | 403 => Self::Refused,
            404 | 410 => Self::Missing,
            409 => Self::Conflict,
            416 => Self::BeyondEnd,
            408 | 425 | 429 | 500 | 502 | 503 | 504 => Self::Later,
            _ => Self::Wrong,
        }
    }
}

/// Whether a status says that only the asked range follows.
pub(crate) fn is_partial(status: u16) -> bool {
    status == PARTIAL.as_u16()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_is_never_told_as_not_found() {
        let gone = ApiError::missing(Failure::permanent("there is no job '7'"));
        assert_eq!(gone.into_response().status(), StatusCode::NOT_FOUND);
        let away = ApiError::missing(Failure::transient("the database is busy")).into_response();
        assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(away.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn what_we_send_is_read_back_as_meant() {
        let read = |kind: Kind| Answer::of(kind.status().as_u16());
        assert_eq!(read(Kind::Unauthenticated), Answer::Refused);
        assert_eq!(read(Kind::NotFound), Answer::Missing);
        assert_eq!(read(Kind::Conflict), Answer::Conflict);
        assert_eq!(read(Kind::Unavailable), Answer::Later);
        assert_eq!(read(Kind::NoSpace), Answer::Wrong);
        assert_eq!(read(Kind::Unprocessable), Answer::Wrong);
        assert_eq!(Answer::of(CREATED.as_u16()), Answer::Fine);
    }
}
