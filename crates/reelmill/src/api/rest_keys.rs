//! Keys: make, list, revoke; tokens with which a worker gets a key of its own.

use super::ApiState;
use super::auth::{Auth, create_key_until, enrol};
use super::body::{Json, Named};
use super::error::{ApiError, CREATED, Kind, NO_CONTENT};
use super::operation::{Content, Operation, Paths, Whom};
use super::wire::Page;
use crate::clock;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use reelmill_core::error::Failure;
use reelmill_core::time::Timestamp;
use reelmill_store::{KeyRecord, KeyRole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long an enrolment token works, microseconds.
const ENROL_TIME: i64 = 15 * 60 * 1_000_000;

/// Longest life of a key, seconds: a hundred years.
const MAX_SECONDS: u64 = 3_153_600_000;

/// Longest name of a key, bytes.
const MAX_NAME: usize = 255;

/// A key to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRequest {
    /// Whose it is: owns the jobs that are submitted with it.
    #[schemars(length(min = 1, max = 255))]
    pub(crate) name: String,
    /// What it allows: `client`, `worker`, `admin`; `enrol` for a token with
    /// which one worker gets a key of its own, within 15 minutes.
    pub(crate) role: KeyRole,
    /// Seconds after which it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_153_600_000u64))]
    pub(crate) expires_in_seconds: Option<u64>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeyView {
    /// The part by which it is named; not secret.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) name: String,
    /// What it allows.
    pub(crate) role: KeyRole,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// When it was revoked (or used, if it works once).
    pub(crate) revoked: Option<Timestamp>,
    /// When it ends by itself.
    pub(crate) expires: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NewKey {
    /// The key itself: it is shown now or never.
    pub(crate) key: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub(crate) view: KeyView,
}

/// A worker that wants a key of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolRequest {
    /// The token that an admin made.
    #[schemars(length(min = 1, max = 255))]
    pub(crate) token: String,
    /// What to call the worker.
    #[schemars(length(min = 1, max = 255))]
    pub(crate) name: String,
    /// The key that the worker had until now: it opens nothing afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub(crate) former: Option<String>,
}

impl From<KeyRecord> for KeyView {
    fn from(record: KeyRecord) -> Self {
        let KeyRecord { id, name, role, created, revoked, expires, .. } = record;
        Self { id, name, role, created, revoked, expires }
    }
}

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| Operation::new(Whom::Admins, method, path, id, summary);
    Paths::new(auth)
        .on(
            op(Method::GET, "/api/v1/keys", "listKeys", "All keys, oldest first")
                .gives::<Page<KeyView>>(200, "Without their secrets"),
            list,
        )
        .on(
            op(Method::POST, "/api/v1/keys", "createKey", "Make a key, or an enrolment token")
                .takes::<KeyRequest>()
                .gives::<NewKey>(201, "The key: it is shown only now"),
            create,
        )
        .on(
            op(Method::DELETE, "/api/v1/keys/{key_id}", "revokeKey", "Revoke a key").sends(
                204,
                "It opens nothing any more",
                Content::Nothing,
            ),
            revoke,
        )
        .on(
            Operation::new(
                Whom::Everybody,
                Method::POST,
                "/api/v1/enrol",
                "enrol",
                "Get a worker's key for an enrolment token",
            )
            .takes::<EnrolRequest>()
            .gives::<NewKey>(201, "The worker's own key")
            .fails(&[401]),
            enrolled,
        )
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {MAX_NAME} bytes and no control characters");
        return Err(ApiError::unprocessable(message));
    }
    Ok(())
}

async fn list(State(api): State<ApiState>) -> Result<axum::Json<Page<KeyView>>, ApiError> {
    let keys = api.coordinator.store().key_list().await.map_err(Failure::from)?;
    Ok(axum::Json(Page::whole(keys.into_iter().map(KeyView::from).collect())))
}

async fn create(
    State(api): State<ApiState>,
    Json(request): Json<KeyRequest>,
) -> Result<(StatusCode, axum::Json<NewKey>), ApiError> {
    check_name(&request.name)?;
    let seconds = request.expires_in_seconds;
    if seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ApiError::unprocessable("a key lives for 1 second to 100 years"));
    }
    let wanted = seconds.map(|seconds| seconds as i64 * 1_000_000);
    let life = match request.role {
        KeyRole::Enrol => Some(wanted.unwrap_or(ENROL_TIME).min(ENROL_TIME)),
        _ => wanted,
    };
    let expires = life.map(|life| clock::now().plus_micros(life));
    let store = api.coordinator.store().as_ref();
    let (record, key) = create_key_until(store, request.role, &request.name, expires).await?;
    Ok((CREATED, axum::Json(NewKey { key, view: record.into() })))
}

async fn revoke(
    State(api): State<ApiState>,
    Named(id): Named<String>,
) -> Result<StatusCode, ApiError> {
    let store = api.coordinator.store();
    if store.key_revoke(&id, clock::now()).await.map_err(Failure::from)? {
        return Ok(NO_CONTENT);
    }
    let known = store.key_by_id(&id).await.map_err(Failure::from)?.is_some();
    let message = if known { "the key was revoked before" } else { "there is no such key" };
    Err(ApiError::missing(Failure::permanent(message).advise("'reelmill keys list' shows all")))
}

async fn enrolled(
    State(api): State<ApiState>,
    Json(request): Json<EnrolRequest>,
) -> Result<(StatusCode, axum::Json<NewKey>), ApiError> {
    check_name(&request.name)?;
    let store = api.coordinator.store().as_ref();
    let made = enrol(store, &request.token, &request.name, request.former.as_deref()).await;
    let (record, key) = made.map_err(|failure| ApiError::own(Kind::Unauthenticated, failure))?;
    Ok((CREATED, axum::Json(NewKey { key, view: record.into() })))
}
