//! Jobs: submit, list, look, cancel, retry, reorder.

use super::auth::{Auth, Caller};
use super::body::{Json, Named, Params};
use super::error::ApiError;
use super::operation::{Operation, Paths, Whom};
use super::rest_submit::shown;
use super::wire::{Page, PriorityRequest};
use super::{ApiState, rest_submit};
use crate::coordinator::{JobView, no_job};
use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use reelmill_core::dispatch::status;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use reelmill_store::{JobFilter, KeyRole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Items on a page, unless asked otherwise, and at most.
const USUAL_PAGE: u32 = 50;
pub(super) const MAX_PAGE: u32 = 200;

/// Words for states, with commas between.
const STATES: &str = concat!(
    "^(uploading|queued|running|completed|skipped|rejected|failed|cancelled)",
    "(,(uploading|queued|running|completed|skipped|rejected|failed|cancelled))*$",
);

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| Operation::new(Whom::Clients, method, path, id, summary);
    let list_jobs = op(Method::GET, "/api/v1/jobs", "listJobs", "Jobs, newest first")
        .query::<ListParams>()
        .gives::<Page<Job>>(200, "A page of jobs");
    let show_job = op(Method::GET, "/api/v1/jobs/{job}", "getJob", "A job and how it fares")
        .gives::<JobView>(200, "The job");
    let cancel_job = op(Method::POST, "/api/v1/jobs/{job}/cancel", "cancelJob", "Cancel a job")
        .gives::<JobView>(200, "The job")
        .fails(&[409]);
    let retry_job = op(
        Method::POST,
        "/api/v1/jobs/{job}/retry",
        "retryJob",
        "Open a failed or cancelled job again; what is done stays done",
    )
    .gives::<Retried>(200, "The job")
    .fails(&[409]);
    let priority =
        op(Method::PUT, "/api/v1/jobs/{job}/priority", "setPriority", "Move a job in the queue")
            .takes::<PriorityRequest>()
            .gives::<JobView>(200, "The job");
    Paths::new(auth)
        .on(list_jobs, list)
        .merge(rest_submit::routes(auth))
        .on(show_job, show)
        .on(cancel_job, cancel)
        .on(retry_job, retry)
        .on(priority, reprioritise)
}

/// A job that was opened again.
#[derive(Debug, Serialize, JsonSchema)]
struct Retried {
    /// The job.
    #[serde(flatten)]
    view: JobView,
    /// What was done.
    message: String,
    /// The job's id.
    job_id: JobId,
    /// The dispatch protocol's word for its state.
    new_status: String,
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

/// What to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// States, with commas between.
    #[schemars(regex(pattern = STATES))]
    state: Option<String>,
    /// Jobs on a page.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// What `next` of the page before said.
    after: Option<JobId>,
    /// A label that jobs must have, `key=value`.
    #[schemars(regex(pattern = "^[^=]+=.*$"))]
    label: Option<String>,
    /// Whose jobs; only admins see those of others.
    owner: Option<String>,
    /// Accepted at this moment (microseconds since 1970) or later.
    since: Option<i64>,
    /// Accepted before this moment.
    until: Option<i64>,
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
            KeyRole::Admin => self.owner,
            _ => Some(caller.name.clone().unwrap_or_default()),
        };
        let (since, until) = (self.since.map(Timestamp), self.until.map(Timestamp));
        let states = states.map_err(ApiError::malformed)?;
        let after = self.after;
        Ok(JobFilter { states, owner, label, client: None, after, since, until, limit })
    }
}

async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Job>>, ApiError> {
    let filter = params.filter(&caller)?;
    page(&api, &caller, &filter).await.map(axum::Json)
}

/// A page of jobs.
pub(super) async fn page(
    api: &ApiState,
    caller: &Caller,
    filter: &JobFilter,
) -> Result<Page<Job>, ApiError> {
    if let Some(after) = filter.after {
        // The list cannot go on after what is gone, or is somebody else's.
        find(api, caller, &after.to_string()).await.map_err(|_| {
            ApiError::malformed(format!("the list cannot go on after job {after}: it is gone"))
        })?;
    }
    let items = api.coordinator.jobs(filter).await?;
    let full = items.len() == filter.limit as usize;
    let next = items.last().filter(|_| full).map(|job| job.id.to_string());
    Ok(Page { items, next })
}

async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    Ok(axum::Json(shown(&api, job).await?))
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
) -> Result<axum::Json<Retried>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.retry(job.id).await.map_err(ApiError::conflict)?;
    let new_status = status(job.state, job.dispatch.as_deref()).to_owned();
    let (job_id, message) = (job.id, "the job was opened again".to_owned());
    Ok(axum::Json(Retried { view: api.coordinator.view(job).await?, message, job_id, new_status }))
}

async fn reprioritise(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    Json(request): Json<PriorityRequest>,
) -> Result<axum::Json<JobView>, ApiError> {
    if request.priority > 100 {
        return Err(ApiError::unprocessable("a priority lies between 0 and 100"));
    }
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.reprioritise(job.id, request.priority).await?;
    Ok(axum::Json(api.coordinator.view(job).await?))
}
