//! Sending a blob: whole or in part, resumable, with its digest.

use super::ApiState;
use super::body::header;
use super::error::{ApiError, Kind, NOT_MODIFIED, PARTIAL};
use super::range::{Asked, asked};
use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reelmill_core::error::Failure;
use reelmill_core::task::BlobRef;
use reelmill_store::BlobError;
use tokio_util::io::ReaderStream;

/// A header of RFC 9530: the digest of the whole, whichever part is sent.
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Bytes read from storage at a time.
const READ: usize = 256 << 10;

/// The answer to a request for `blob`, as its headers ask. The blob's digest is
/// its entity tag.
pub(crate) async fn send(
    api: &ApiState,
    blob: &BlobRef,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let tag = format!("\"{}\"", blob.sha512);
    if header(request, &IF_NONE_MATCH)?.is_some_and(|known| names(&known, &tag)) {
        return Ok((NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let range = header(request, &RANGE)?;
    // A part of something else than what the asker has a part of is no use.
    let still_same = header(request, &IF_RANGE)?.is_none_or(|wanted| wanted == tag);
    let range = range.filter(|_| still_same);
    let part = match asked(range.as_deref(), blob.bytes) {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::BeyondEnd => return Err(beyond_end(blob.bytes)),
    };
    let reader = api.coordinator.blobs().read(blob.id, part.clone()).await.map_err(|error| {
        let missing = matches!(error, BlobError::Missing(_));
        let failure = Failure::from(error);
        if missing { ApiError::missing(failure) } else { failure.into() }
    })?;
    let body = Body::from_stream(ReaderStream::with_capacity(reader, READ));
    let length = part.as_ref().map_or(blob.bytes, |part| part.end - part.start);
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let mut put = |name, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    put(ETAG, tag);
    put(REPR_DIGEST, repr_digest(&blob.sha512));
    if let Some(part) = part {
        put(CONTENT_RANGE, format!("bytes {}-{}/{}", part.start, part.end - 1, blob.bytes));
        *response.status_mut() = PARTIAL;
    }
    Ok(response)
}

fn beyond_end(bytes: u64) -> ApiError {
    let failure = Failure::permanent(format!("there are only {bytes} bytes"));
    let error = ApiError::new(Kind::Range, failure);
    match HeaderValue::from_str(&format!("bytes */{bytes}")) {
        Ok(value) => error.with(CONTENT_RANGE, value),
        Err(_) => error,
    }
}

/// Whether an `If-None-Match` names `tag`.
fn names(header: &str, tag: &str) -> bool {
    let known = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
    header.split(',').any(|one| known(one.trim()))
}

/// A SHA-512 in hexadecimal as a `Repr-Digest`.
pub(crate) fn repr_digest(sha512: &str) -> String {
    let bytes = hex::decode(sha512).unwrap_or_default();
    format!("sha-512=:{}:", STANDARD.encode(bytes))
}

/// The SHA-512 in a `Repr-Digest`, hexadecimal.
pub(crate) fn sha512_of(repr_digest: &str) -> Option<String> {
    let items = repr_digest.split(',').map(str::trim);
    let value = items.filter_map(|item| item.strip_prefix("sha-512=")).next()?;
    let text = value.strip_prefix(':')?.strip_suffix(':')?;
    let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 64)?;
    Some(hex::encode(bytes))
}

/// A `Content-Disposition` that saves the body as `name` (RFC 6266): readable
/// by old programs in ASCII, by others whole.
pub(crate) fn disposition(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_control() || "/\\".contains(c) { '_' } else { c }).collect();
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"%;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes_nor_their_folder() {
        assert_eq!(
            disposition("Amélie \"2\"; x.mkv"),
            "attachment; filename=\"Am_lie _2__ x.mkv\"; \
             filename*=UTF-8''Am%C3%A9lie%20%222%22%3B%20x.mkv"
        );
        assert_eq!(
            disposition("../a\\b\r\n.mkv"),
            "attachment; filename=\".._a_b__.mkv\"; filename*=UTF-8''.._a_b__.mkv"
        );
    }

    #[test]
    fn digests_round_trip() {
        let sha512 = "0f".repeat(64);
        assert_eq!(sha512_of(&repr_digest(&sha512)), Some(sha512.clone()));
        assert_eq!(sha512_of(&format!("sha-256=:AA==:, {}", repr_digest(&sha512))), Some(sha512));
        for bad in ["", "sha-512=:AA==:", "sha-512=abc", "sha-512=:%:"] {
            assert_eq!(sha512_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn entity_tags_are_compared_weakly_for_if_none_match() {
        assert!(names("\"a\", W/\"b\"", "\"b\""));
        assert!(names("*", "\"b\""));
        assert!(!names("\"a\"", "\"b\""));
    }
}
