//! Fetching the output of a job.

use super::ApiState;
use super::auth::Caller;
use super::body::Named;
use super::download::{disposition, send};
use super::error::{ApiError, Kind};
use super::rest_jobs::find;
use super::wire::output_name;
use axum::extract::State;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use reelmill_core::error::Failure;
use reelmill_core::job::{Job, JobState};
use reelmill_core::task::BlobRef;

/// The routes.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new().route("/api/v1/jobs/{id}/output", get(output))
}

async fn output(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let blob = finished(&job)?;
    let mut response = send(&api, blob, &headers).await?;
    if let Ok(value) = HeaderValue::from_str(&disposition(&output_name(&job))) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn finished(job: &Job) -> Result<&BlobRef, ApiError> {
    let conflict = |message: String, advice: &str| {
        ApiError::new(Kind::Conflict, Failure::permanent(message).advise(advice))
    };
    let Some(output) = job.output.as_ref().filter(|_| job.state == JobState::Completed) else {
        let message = format!("the job is {}: it has no output", job.state.label());
        let advice = if job.state.is_final() { "'reelmill retry' may help" } else { "wait for it" };
        return Err(conflict(message, advice));
    };
    output.blob.as_ref().ok_or_else(|| {
        conflict("the output went straight to a file of the server".into(), "fetch it from there")
    })
}
