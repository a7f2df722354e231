//! Asking for conversions.

use super::auth::{Auth, Caller};
use super::body::{Json, Params, from_value, header};
use super::error::{ApiError, CREATED, Kind};
use super::operation::{Operation, Paths, Whom};
use super::wire::{
    DispatchRequest, DryRun, EstimateView, IDEMPOTENCY_KEY, JobRequest, SourceFacts, SourceRequest,
};
use super::{ApiState, dsp_fields};
use crate::clock;
use crate::coordinator::{Film, Forecast, JobView, Submission, USUAL_PRIORITY};
use axum::Extension;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, Method};
use axum::response::{AppendHeaders, IntoResponse, Response};
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::job::{Item, Job, Request, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name of a job, bytes; longest key of a request.
const MAX_NAME: usize = 255;

/// Most labels of a job, and their longest key and value, bytes.
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 256;

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| Operation::new(Whom::Clients, method, path, id, summary);
    let submit_job = op(Method::POST, "/api/v1/jobs", "submitJob", "Ask for a conversion")
        .query::<SubmitParams>()
        .header::<String>(
            "Idempotency-Key",
            false,
            "Names the request: repeated, it has no second effect",
        )
        .takes::<Submitting>()
        .gives::<Told>(200, "The job that was made before; or what a dry run found")
        .gives::<JobView>(201, "The job")
        .fails(&[409, 507]);
    Paths::new(auth).on(submit_job, submit)
}

/// A request to convert something, in either form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for its schema")]
enum Submitting {
    /// reelmill's own.
    Job(Box<JobRequest>),
    /// The dispatch protocol's.
    Dispatch(DispatchRequest),
}

/// What a submission is answered with when nothing new was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for its schema")]
enum Told {
    /// The job.
    Job(Box<JobView>),
    /// What it would come to.
    DryRun(Box<DryRun>),
}

/// How a submission is meant.
#[derive(Debug, Deserialize, JsonSchema)]
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
    Json(body): Json<serde_json::Value>,
) -> Result<Response, ApiError> {
    if body.get("source_url").is_some() && body.get("source").is_none() {
        let dispatch = dsp_fields::request(&body)?;
        let job = api.coordinator.submit_dispatch(caller.name.clone(), dispatch).await?;
        return answer(&api, job, true).await;
    }
    let request: JobRequest = from_value(body)?;
    check(&request)?;
    if request.facts.is_some() && !params.dry_run {
        return Err(ApiError::unprocessable(
            "'facts' are for a dry run: a source speaks for itself",
        ));
    }
    let key = idempotency_key(&headers)?;
    let first = accepted(&api, &caller, key.as_deref(), &request.source).await?;
    let source = match &first {
        Some(job) => job.source.clone(),
        None => source(&api, &caller, &request, params.dry_run).await?,
    };
    if let Some(item) = &request.item {
        check_item(item, &source)?;
    }
    api.coordinator.check_kind(&request.name)?;
    let facts = request.facts;
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
        item: request.item,
        dispatch: None,
    };
    if params.dry_run {
        let request = api.coordinator.request(&submission)?;
        let estimate = estimate(&api, &request, facts, &submission).await?;
        return Ok(axum::Json(DryRun { request, estimate }).into_response());
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
    answer(&api, job, is_new).await
}

async fn answer(api: &ApiState, job: Job, is_new: bool) -> Result<Response, ApiError> {
    let location = AppendHeaders([(LOCATION, format!("/api/v1/jobs/{}", job.id))]);
    let view = axum::Json(shown(api, job).await?);
    Ok(if is_new {
        (CREATED, location, view).into_response()
    } else {
        (location, view).into_response()
    })
}

/// A job as it is shown: with the dispatch protocol's fields, for its clients.
pub(super) async fn shown(api: &ApiState, job: Job) -> Result<serde_json::Value, ApiError> {
    let fields = dsp_fields::fields(&job);
    let view = api.coordinator.view(job).await?;
    let mut value = serde_json::to_value(view)
        .map_err(|e| Failure::environment(format!("a job cannot be shown: {e}")))?;
    if let (serde_json::Value::Object(all), serde_json::Value::Object(more)) = (&mut value, fields)
    {
        all.extend(more);
    }
    Ok(value)
}

/// What a request would come to, from what its client knows of the source, or
/// from the source itself where it is here.
async fn estimate(
    api: &ApiState,
    request: &Request,
    facts: Option<SourceFacts>,
    submission: &Submission,
) -> Result<Option<EstimateView>, ApiError> {
    let film = match facts {
        Some(facts) => Some(Film {
            size: (facts.width, facts.height),
            fps: facts.fps,
            seconds: facts.duration_seconds,
            bytes: facts.bytes,
        }),
        None => api.coordinator.look_at(&submission.source).await,
    };
    let Some(film) = film else { return Ok(None) };
    let owner = submission.owner.as_deref();
    let told = api.coordinator.forecast(request, film, owner, submission.priority).await?;
    let Forecast { seconds, bytes, outlook, worker, workers, jobs_before } = told;
    Ok(Some(EstimateView { seconds, bytes, outlook, worker, workers, jobs_before }))
}

/// Whether the source is what its client says it is.
fn check_item(item: &Item, source: &Source) -> Result<(), ApiError> {
    let Source::Upload { bytes, sha512, .. } = source else { return Ok(()) };
    if item.size.is_some_and(|size| size != *bytes) {
        let message =
            format!("the item's size is given as {:?}, but {bytes} bytes arrived", item.size);
        return Err(ApiError::unprocessable(message));
    }
    if item.checksum.as_ref().is_some_and(|sum| !sum.eq_ignore_ascii_case(sha512)) {
        return Err(ApiError::unprocessable("the item's checksum is not that of what arrived"));
    }
    Ok(())
}

/// The job that was made of the same source under `key` before. It may have
/// ended since and its source be thrown away.
async fn accepted(
    api: &ApiState,
    caller: &Caller,
    key: Option<&str>,
    wanted: &SourceRequest,
) -> Result<Option<Job>, ApiError> {
    let (Some(key), SourceRequest::Upload(upload)) = (key, wanted) else { return Ok(None) };
    let job = api.coordinator.accepted(caller.name.as_deref(), key).await?;
    let same = |job: &Job| matches!(job.source, Source::Upload { blob, .. } if blob == *upload);
    Ok(job.filter(same))
}

async fn source(
    api: &ApiState,
    caller: &Caller,
    request: &JobRequest,
    dry_run: bool,
) -> Result<Source, ApiError> {
    let source = match &request.source {
        SourceRequest::Upload(upload) if dry_run => {
            let here = uploaded(api, caller, *upload, &request.name).await;
            return Ok(here.unwrap_or(Source::Local { path: String::new() }));
        }
        SourceRequest::Upload(upload) => {
            return uploaded(api, caller, *upload, &request.name).await;
        }
        SourceRequest::Url(url) => Source::Url { url: url.clone() },
        SourceRequest::Library(place) => {
            Source::Library { root: place.root.clone(), path: place.path.clone() }
        }
    };
    api.coordinator.check_source(&source)?;
    Ok(source)
}

async fn uploaded(
    api: &ApiState,
    caller: &Caller,
    upload: BlobId,
    name: &str,
) -> Result<Source, ApiError> {
    let nothing = || {
        let failure = Failure::permanent(format!("there is no finished upload '{upload}'"));
        ApiError::new(Kind::Unprocessable, failure.advise("upload the file and finish it first"))
    };
    let owner = api.coordinator.upload_owner(upload).await?.ok_or_else(nothing)?;
    if !caller.sees(owner.as_deref()) {
        return Err(nothing());
    }
    let blob = api.coordinator.uploaded(upload).await?.ok_or_else(nothing)?;
    let file_name = name.to_owned();
    Ok(Source::Upload { blob: blob.id, bytes: blob.bytes, sha512: blob.sha512, file_name })
}

/// Whether a job that is there is what `submission` asks for again.
fn is_same(api: &ApiState, job: &Job, submission: &Submission) -> bool {
    let presets = &api.coordinator.settings().presets;
    let preset = presets.get(&submission.preset, &submission.overrides);
    let Ok(preset) = preset else { return false };
    job.name == submission.name
        && (job.source.same_bytes(&submission.source) || is_remote_same(job, &submission.source))
        && job.labels == submission.labels
        && job.request.container == submission.container.unwrap_or(preset.format)
        && job.request.chunk_seconds == submission.chunk_seconds
        && job.request.preset == preset
}

/// A source by URL becomes an upload when it is here; then only its place is
/// compared, in that the job's key is the same.
fn is_remote_same(job: &Job, wanted: &Source) -> bool {
    matches!(wanted, Source::Url { .. } | Source::Library { .. })
        && matches!(job.source, Source::Upload { .. })
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

/// The name of a request, where its client gives it one.
///
/// # Errors
/// When it is empty, too long, or no text.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let key = header(headers, &IDEMPOTENCY_KEY)?;
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_NAME) {
        let message = format!("an Idempotency-Key has 1 to {MAX_NAME} characters");
        return Err(ApiError::malformed(message));
    }
    Ok(key)
}
