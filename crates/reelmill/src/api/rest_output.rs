//! Fetching the output of a job.

use super::ApiState;
use super::auth::{Auth, Caller};
use super::body::Named;
use super::download::{disposition, send};
use super::error::{ApiError, Kind};
use super::operation::{Content, Operation, Paths, Whom};
use super::rest_jobs::find;
use super::wire::output_name;
use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use reelmill_core::error::Failure;
use reelmill_core::job::{Job, JobState};
use reelmill_core::task::BlobRef;

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, id, summary| {
        Operation::new(Whom::Clients, method, "/api/v1/jobs/{job}/output", id, summary)
            .header::<String>("Range", false, "Which bytes")
            .header::<String>("If-Range", false, "Only while this is its ETag")
            .header::<String>("If-None-Match", false, "Only when this is not its ETag")
            .sends(304, "You have it", Content::Nothing)
            .fails(&[409, 416])
    };
    let fetch = op(Method::GET, "getOutput", "The output of a completed job")
        .sends(200, "All of it", Content::Bytes("application/octet-stream"))
        .sends(206, "What was asked for", Content::Bytes("application/octet-stream"));
    let look = op(Method::HEAD, "headOutput", "The output's size and digest")
        .sends(200, "See the headers", Content::Nothing)
        .sends(206, "See the headers", Content::Nothing);
    Paths::new(auth).on(fetch, output).on(look, output)
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
