//! Every request gets an id, a line in the log, a place in the figures, and,
//! when it changes something or was refused, a line in the audit log.

use super::ApiState;
use super::auth::Caller;
use super::listen::Peer;
use crate::clock;
use crate::metrics::metrics;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use reelmill_store::AuditEntry;
use std::time::Instant;

/// Names a request, from the client on through all logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const MAX_ID: usize = 64;

/// Watches a request from its first to its last moment.
pub(crate) async fn watch(
    State(api): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.to_string());
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let mut response = next.run(request).await;
    let time = begun.elapsed();
    let status = response.status().as_u16();
    metrics().answered(status, time);
    let who = match response.extensions().get::<Caller>() {
        Some(caller) => caller.name.clone().unwrap_or_else(|| "admin".to_owned()),
        None => "nobody".to_owned(),
    };
    let millis = time.as_secs_f64() * 1e3;
    tracing::debug!(request = %id, %method, path, status, who, from = peer, millis, "request");
    if is_audited(&method, &path, status) {
        let entry = AuditEntry {
            seq: 0,
            at: clock::now(),
            who,
            from: peer,
            what: format!("{method} {path}"),
            status,
            request: id.clone(),
        };
        if let Err(error) = api.coordinator.store().audit_add(&entry).await {
            tracing::error!(%error, what = entry.what, "cannot write the audit log");
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=MAX_ID).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(fits).map_or_else(|| clock::fresh().to_string(), str::to_owned)
}

/// What changes something for somebody, and what was refused for want of a
/// right. Not: pieces of bytes, signs of life, questions.
fn is_audited(method: &Method, path: &str, status: u16) -> bool {
    if matches!(status, 401 | 403) {
        return true;
    }
    let routine = path.ends_with("/heartbeat")
        || path.contains("/tasks/")
        || path.starts_with("/reelmill.v1.")
        || path.starts_with("/replication.NodeService")
        || path.ends_with("/GetVideoStatus")
        || path.ends_with("/RetrieveVideo");
    let changes = matches!(*method, Method::POST | Method::PUT | Method::DELETE);
    changes && !routine && (200..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        let id = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert_ne!(id(bad), bad);
            assert_eq!(id(bad).len(), 36);
        }
    }

    #[test]
    fn changes_and_refusals_are_audited_and_questions_are_not() {
        assert!(is_audited(&Method::POST, "/api/v1/jobs", 201));
        assert!(is_audited(&Method::GET, "/api/v1/keys", 403));
        assert!(is_audited(&Method::DELETE, "/jobs/7", 200));
        assert!(!is_audited(&Method::GET, "/api/v1/jobs", 200));
        assert!(!is_audited(&Method::POST, "/api/v1/jobs", 422));
        assert!(!is_audited(&Method::PATCH, "/api/v1/uploads/7", 204));
        assert!(!is_audited(&Method::POST, "/engines/heartbeat", 200));
    }
}
