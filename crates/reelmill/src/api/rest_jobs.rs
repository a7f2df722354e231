//! Jobs: submit, list, look, cancel, retry, reorder.

use super::ApiState;
use super::auth::Caller;
use super::body::{Json, Named, Params, header};
use super::error::{ApiError, CREATED, Kind};
use super::wire::{IDEMPOTENCY_KEY, JobRequest, Page, PriorityRequest, SourceRequest};
use crate::clock;
use crate::coordinator::{JobView, Submission, USUAL_PRIORITY, no_job};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::LOCATION;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::job::{Job, JobState, Source};
use reelmill_store::{HistoryEntry, JobFilter, KeyRole};
use serde::Deserialize;

/// Items on a page, unless asked otherwise, and at most.
const USUAL_PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

/// Longest name of a job, bytes; longest key of a request.
const MAX_NAME: usize = 255;

/// Most labels of a job, and their longest key and value, bytes.
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 256;

/// The routes.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/v1/jobs", get(list).post(submit))
        .route("/api/v1/jobs/{id}", get(show))
        .route("/api/v1/jobs/{id}/events", get(events))
        .route("/api/v1/jobs/{id}/cancel", post(cancel))
        .route("/api/v1/jobs/{id}/retry", post(retry))
        .route("/api/v1/jobs/{id}/priority", put(reprioritise))
}

/// The job that a path names by its id or the beginning of it, if the caller
/// may see it.
pub(crate) async fn find(api: &ApiState, caller: &Caller, text: &str) -> Result<Job, ApiError> {
    let nothing = || ApiError::missing(no_job(text));
    if !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(nothing());
    }
    let job = api.coordinator.find(text).await.map_err(ApiError::missing)?;
    if caller.sees(job.owner.as_deref()) { Ok(job) } else { Err(nothing()) }
}

/// How a submission is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitParams {
    /// Only say what it would come to; the source need not be there.
    #[serde(default)]
    dry_run: bool,
}

async fn submit(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<SubmitParams>,
    headers: HeaderMap,
    Json(request): Json<JobRequest>,
) -> Result<Response, ApiError> {
    check(&request)?;
    let SourceRequest::Upload(upload) = request.source;
    let key = idempotency_key(&headers)?;
    let first = accepted(&api, &caller, key.as_deref(), upload).await?;
    let source = match &first {
        Some(job) => job.source.clone(),
        None if params.dry_run => Source::Local { path: String::new() },
        None => uploaded(&api, upload, &request.name).await?,
    };
    let submission = Submission {
        name: request.name,
        owner: caller.name.clone(),
        source,
        preset: request.preset,
        overrides: request.overrides,
        container: request.format,
        chunk_seconds: request.chunk_seconds,
        max_retries: request.max_retries,
        priority: request.priority.unwrap_or(USUAL_PRIORITY),
        labels: request.labels,
        idempotency_key: key,
        stage_path: None,
    };
    if params.dry_run {
        return Ok(axum::Json(api.coordinator.request(&submission)?).into_response());
    }
    let begun = clock::now();
    let job = match first {
        Some(job) => job,
        None => api.coordinator.submit(submission.clone()).await?,
    };
    let is_new = job.created >= begun;
    let fits = || caller.sees(job.owner.as_deref()) && is_same(&api, &job, &submission);
    if !(is_new || fits()) {
        let message = "that Idempotency-Key was used for another request";
        let failure = Failure::permanent(message).advise("take a new key for a new request");
        return Err(ApiError::new(Kind::Unprocessable, failure));
    }
    let location = AppendHeaders([(LOCATION, format!("/api/v1/jobs/{}", job.id))]);
    let view = axum::Json(api.coordinator.view(job).await?);
    Ok(if is_new {
        (CREATED, location, view).into_response()
    } else {
        (location, view).into_response()
    })
}

/// The job that was made of `upload` under `key` before. It may have ended since
/// and its source be thrown away.
async fn accepted(
    api: &ApiState,
    caller: &Caller,
    key: Option<&str>,
    upload: BlobId,
) -> Result<Option<Job>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    let job = api.coordinator.accepted(caller.name.as_deref(), key).await?;
    let same = |job: &Job| matches!(job.source, Source::Upload { blob, .. } if blob == upload);
    Ok(job.filter(same))
}

async fn uploaded(api: &ApiState, upload: BlobId, name: &str) -> Result<Source, ApiError> {
    let blob = api.coordinator.uploaded(upload).await?.ok_or_else(|| {
        let failure = Failure::permanent(format!("there is no finished upload '{upload}'"));
        ApiError::new(Kind::Unprocessable, failure.advise("upload the file and finish it first"))
    })?;
    let file_name = name.to_owned();
    Ok(Source::Upload { blob: blob.id, bytes: blob.bytes, sha512: blob.sha512, file_name })
}

/// Whether a job that is there is what `submission` asks for again.
fn is_same(api: &ApiState, job: &Job, submission: &Submission) -> bool {
    let presets = &api.coordinator.settings().presets;
    let preset = presets.get(&submission.preset, &submission.overrides);
    let Ok(preset) = preset else { return false };
    job.name == submission.name
        && job.source.same_bytes(&submission.source)
        && job.labels == submission.labels
        && job.request.container == submission.container.unwrap_or(preset.format)
        && job.request.chunk_seconds == submission.chunk_seconds
        && job.request.preset == preset
}

fn check(request: &JobRequest) -> Result<(), ApiError> {
    let wrong = |message: String| ApiError::new(Kind::Unprocessable, Failure::permanent(message));
    let name = &request.name;
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {MAX_NAME} bytes and no control characters");
        return Err(wrong(message));
    }
    if request.priority.is_some_and(|priority| priority > 100) {
        return Err(wrong("a priority lies between 0 and 100".to_owned()));
    }
    let fits = |(key, value): (&String, &String)| {
        !key.is_empty() && key.len() <= MAX_LABEL && value.len() <= MAX_LABEL
    };
    if request.labels.len() > MAX_LABELS || !request.labels.iter().all(fits) {
        let message = format!(
            "a job has at most {MAX_LABELS} labels, each key and value at most {MAX_LABEL} bytes"
        );
        return Err(wrong(message));
    }
    Ok(())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let key = header(headers, &IDEMPOTENCY_KEY)?;
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_NAME) {
        let message = format!("an Idempotency-Key has 1 to {MAX_NAME} characters");
        return Err(ApiError::malformed(message));
    }
    Ok(key)
}

/// What to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// States, with commas between.
    state: Option<String>,
    limit: Option<u32>,
    after: Option<JobId>,
    /// A label that jobs must have, `key=value`.
    label: Option<String>,
}

impl ListParams {
    fn filter(self, caller: &Caller) -> Result<JobFilter, ApiError> {
        let words = self.state.as_deref().unwrap_or_default().split(',').map(str::trim);
        let states: Result<Vec<JobState>, String> =
            words.filter(|word| !word.is_empty()).map(str::parse).collect();
        let label = match self.label {
            None => None,
            Some(text) => {
                let pair = text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
                let malformed = || ApiError::malformed(format!("'{text}' is not key=value"));
                Some(pair.ok_or_else(malformed)?)
            }
        };
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ApiError::malformed(format!("limit lies between 1 and {MAX_PAGE}")));
        }
        let owner = match caller.role {
            KeyRole::Admin => None,
            KeyRole::Client | KeyRole::Worker => Some(caller.name.clone().unwrap_or_default()),
        };
        let states = states.map_err(ApiError::malformed)?;
        Ok(JobFilter { states, owner, label, after: self.after, limit })
    }
}

async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Job>>, ApiError> {
    let filter = params.filter(&caller)?;
    let items = api.coordinator.jobs(&filter).await?;
    let full = items.len() == filter.limit as usize;
    let next = items.last().filter(|_| full).map(|job| job.id.to_string());
    Ok(axum::Json(Page { items, next }))
}

async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<JobView>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    Ok(axum::Json(api.coordinator.view(job).await?))
}

/// Which part of a history to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventParams {
    /// The number of the last entry that is known.
    after: Option<i64>,
}

async fn events(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    Params(params): Params<EventParams>,
) -> Result<axum::Json<Page<HistoryEntry>>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let items = api.coordinator.history(job.id, params.after.unwrap_or(0)).await?;
    let next = items.last().map(|entry| entry.seq.to_string());
    Ok(axum::Json(Page { items, next }))
}

async fn cancel(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<JobView>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.cancel(job.id).await.map_err(ApiError::conflict)?;
    Ok(axum::Json(api.coordinator.view(job).await?))
}

async fn retry(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<JobView>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.retry(job.id).await.map_err(ApiError::conflict)?;
    Ok(axum::Json(api.coordinator.view(job).await?))
}

async fn reprioritise(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    Json(request): Json<PriorityRequest>,
) -> Result<axum::Json<JobView>, ApiError> {
    if request.priority > 100 {
        let failure = Failure::permanent("a priority lies between 0 and 100");
        return Err(ApiError::new(Kind::Unprocessable, failure));
    }
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.reprioritise(job.id, request.priority).await?;
    Ok(axum::Json(api.coordinator.view(job).await?))
}
