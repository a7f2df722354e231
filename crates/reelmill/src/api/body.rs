//! Taking requests apart: bodies with limits of size and time, parameters,
//! headers. Whatever is wrong becomes an [`ApiError`].

use super::error::{ApiError, Kind};
use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reelmill_core::error::Failure;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Largest JSON body.
const MAX_JSON: usize = 1 << 20;

/// Longest that a whole JSON body may take.
const JSON_TIME: Duration = Duration::from_secs(30);

/// Longest pause in a body of bytes.
const PAUSE: Duration = Duration::from_secs(60);

/// Longest that a piece may take: slower than 1.7 kB/s nobody needs to be.
const PIECE_TIME: Duration = Duration::from_secs(600);

/// Bytes handed on at a time.
pub(crate) const PIECE: usize = 1 << 20;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let kind = content_type(request.headers());
        if kind != "application/json" && !kind.ends_with("+json") {
            let message = format!("the body must be application/json, not '{kind}'");
            let failure = Failure::permanent(message).advise("set the Content-Type header");
            return Err(ApiError::new(Kind::ContentType, failure));
        }
        let body = tokio::time::timeout(JSON_TIME, whole(request.into_body()));
        let body = body.await.map_err(|_| too_slow())??;
        parse(&body).map(Self)
    }
}

pub(crate) async fn whole(body: Body) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut all = BytesMut::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.map_err(|error| cut(&error))?);
        if all.len() > MAX_JSON {
            let message = format!("the body has more than {MAX_JSON} bytes");
            return Err(ApiError::new(Kind::TooLarge, Failure::permanent(message)));
        }
    }
    Ok(all.freeze())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Twice, since a wrong shape can show before a broken end does.
    serde_json::from_slice::<serde::de::IgnoredAny>(body)
        .map_err(|error| ApiError::malformed(format!("the body is not JSON: {error}")))?;
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (place, why) = (error.path().to_string(), error.inner());
        let message = match place.as_str() {
            "." => format!("the body is not as needed: {why}"),
            field => format!("'{field}' is not as needed: {why}"),
        };
        ApiError::new(Kind::Unprocessable, Failure::permanent(message))
    })
}

fn cut(error: &axum::Error) -> ApiError {
    ApiError::malformed(format!("the body broke off: {error}"))
}

fn too_slow() -> ApiError {
    ApiError::new(Kind::TooSlow, Failure::transient("the body came too slowly"))
}

/// The media type of a body, without its parameters; empty when not given.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A body as pieces of up to [`PIECE`] bytes.
pub(crate) struct Pieces {
    stream: BodyDataStream,
    /// What came and was not handed on yet.
    held: BytesMut,
    /// Why no more comes.
    end: Option<Result<(), ApiError>>,
}

impl Pieces {
    /// The pieces of `body`.
    pub(crate) fn of(body: Body) -> Self {
        Self { stream: body.into_data_stream(), held: BytesMut::new(), end: None }
    }

    /// The next piece; `None` at the end. When the body breaks off, what came
    /// before is handed on first.
    ///
    /// # Errors
    /// When the body breaks off or pauses for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let begun = Instant::now();
        if self.end.is_none() && self.held.capacity() < PIECE {
            // Or it would be copied each time that it grows.
            self.held.reserve(PIECE + PIECE / 4);
        }
        while self.end.is_none() && self.held.len() < PIECE {
            if begun.elapsed() > PIECE_TIME {
                self.end = Some(Err(too_slow()));
                break;
            }
            match tokio::time::timeout(PAUSE, self.stream.next()).await {
                Ok(Some(Ok(bytes))) => self.held.extend_from_slice(&bytes),
                Ok(None) => self.end = Some(Ok(())),
                Ok(Some(Err(error))) => self.end = Some(Err(cut(&error))),
                Err(_) => self.end = Some(Err(too_slow())),
            }
        }
        if !self.held.is_empty() {
            let piece = self.held.len().min(PIECE);
            return Ok(Some(self.held.split_to(piece).freeze()));
        }
        match self.end.take() {
            Some(Err(error)) => Err(error),
            _ => {
                self.end = Some(Ok(()));
                Ok(None)
            }
        }
    }
}

/// A JSON value as a request; what is wrong with it is told with its place.
///
/// # Errors
/// When it is not such a request.
pub(crate) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let message = format!("{}: {}", error.path(), error.inner());
        ApiError::new(Kind::Unprocessable, Failure::permanent(message))
    })
}

/// A header's value as text, where there is one.
pub(crate) fn header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| ApiError::malformed(format!("{name} is not text")))?;
    Ok(Some(text.trim().to_owned()))
}

/// A header that must be there, parsed; `what` says what it should be.
pub(crate) fn needed<T: FromStr>(
    headers: &HeaderMap,
    name: &HeaderName,
    what: &str,
) -> Result<T, ApiError> {
    let text = header(headers, name)?
        .ok_or_else(|| ApiError::malformed(format!("the header {name} is missing: {what}")))?;
    text.parse().map_err(|_| ApiError::malformed(format!("{name}: '{text}' is not {what}")))
}

/// The one parameter of a path, parsed. What does not parse names nothing, and
/// so is not found.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|e| ApiError::malformed(e.to_string()))?;
        let nothing = || ApiError::missing(Failure::permanent(format!("there is no '{text}'")));
        text.parse().map(Self).map_err(|_| nothing())
    }
}

/// The parameters after the question mark.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        let Query(params) = query.map_err(|e| ApiError::malformed(e.to_string()))?;
        Ok(Self(params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(pieces: Vec<Result<Bytes, std::io::Error>>) -> Body {
        Body::from_stream(futures::stream::iter(pieces))
    }

    #[tokio::test]
    async fn what_came_before_a_cut_is_handed_on_before_the_error() {
        let cut = Err(std::io::Error::other("cable"));
        let sent = vec![Ok(Bytes::from(vec![7; PIECE])), Ok(Bytes::from_static(b"rest")), cut];
        let mut pieces = Pieces::of(body_of(sent));
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), PIECE);
        assert_eq!(pieces.next().await.unwrap().unwrap(), "rest");
        assert_eq!(pieces.next().await.unwrap_err().kind(), Kind::Malformed);
    }

    #[tokio::test]
    async fn pieces_are_never_larger_than_the_limit() {
        let sent = vec![Ok(Bytes::from(vec![7; 2 * PIECE + 5]))];
        let mut pieces = Pieces::of(body_of(sent));
        let mut sizes = Vec::new();
        while let Some(piece) = pieces.next().await.unwrap() {
            sizes.push(piece.len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 5]);
        assert!(pieces.next().await.unwrap().is_none());
    }

    #[test]
    fn broken_json_and_wrong_json_are_told_apart() {
        assert_eq!(parse::<u8>(b"{").unwrap_err().kind(), Kind::Malformed);
        assert_eq!(parse::<u8>(b"\"x\"").unwrap_err().kind(), Kind::Unprocessable);
        assert_eq!(parse::<u8>(b"1 2").unwrap_err().kind(), Kind::Malformed);
    }
}
