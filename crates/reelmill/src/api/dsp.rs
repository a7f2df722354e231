//! The dispatch protocol: jobs, engines and their assignment, as programs
//! written for it expect them (docs/dispatch-protocol.md).

use super::ApiState;
use super::auth::{Auth, Caller};
use super::dsp_fields::{Fields, object, request};
use super::error::{ApiError, NO_CONTENT};
use super::operation::{Content, Operation, Paths, Whom};
use super::rest_jobs::find;
use crate::coordinator::{EngineView, Heartbeat};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use reelmill_core::dispatch::{DispatchEvent, EngineStatus, status};
use reelmill_core::error::Failure;
use reelmill_core::job::{Job, JobState};
use reelmill_store::{JobFilter, KeyRole};
use serde_json::{Map, Value, json};

/// The routes.
#[expect(clippy::too_many_lines, reason = "a table of routes")]
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = Operation::new;
    let (client, any) = (Whom::Clients, Whom::AnyKey);
    let old =
        |method, path, id| op(client, method, path, id, "See the dispatch protocol").undocumented();
    let v1 = |method, path, id, summary| op(any, method, path, id, summary).fails(&[404]);
    Paths::new(auth)
        .also(old(Method::POST, "/jobs/", "dspSubmit"), &["/jobs"], submit)
        .also(old(Method::GET, "/jobs/", "dspList"), &["/jobs"], list)
        .also(old(Method::GET, "/jobs/{job}", "dspShow"), &["/jobs/{job}/"], show)
        .also(old(Method::POST, "/jobs/{job}/retry", "dspRetry"), &["/jobs/{job}/retry/"], retry)
        .also(
            op(client, Method::DELETE, "/api/v1/jobs/{job}", "deleteJob", "Cancel a job")
                .gives::<Map<String, Value>>(200, "The job, as the dispatch protocol shows it"),
            &["/api/v1/jobs/{job}/", "/jobs/{job}", "/jobs/{job}/"],
            cancel,
        )
        .also(
            v1(
                Method::POST,
                "/api/v1/jobs/{job}/complete",
                "completeJob",
                "An engine has done a job",
            )
            .takes::<Map<String, Value>>()
            .gives::<Map<String, Value>>(200, "The job"),
            &["/api/v1/jobs/{job}/complete/", "/jobs/{job}/complete", "/jobs/{job}/complete/"],
            complete,
        )
        .also(
            v1(Method::POST, "/api/v1/jobs/{job}/fail", "failJob", "An engine could not do a job")
                .takes::<Map<String, Value>>()
                .gives::<Map<String, Value>>(200, "The job"),
            &["/api/v1/jobs/{job}/fail/", "/jobs/{job}/fail", "/jobs/{job}/fail/"],
            fail,
        )
        .also(
            v1(
                Method::GET,
                "/api/v1/engines",
                "listEngines",
                "Engines, and reelmill's own workers",
            )
            .gives::<Vec<EngineView>>(200, "All of them"),
            &["/api/v1/engines/", "/engines", "/engines/"],
            engines,
        )
        .also(
            v1(Method::POST, "/api/v1/engines/heartbeat", "heartbeat", "An engine says how it is")
                .takes::<Map<String, Value>>()
                .gives::<EngineView>(200, "The engine"),
            &["/api/v1/engines/heartbeat/", "/engines/heartbeat", "/engines/heartbeat/"],
            heartbeat,
        )
        .also(
            v1(
                Method::POST,
                "/api/v1/engines/benchmark_result",
                "benchmarkResult",
                "How fast an engine is",
            )
            .takes::<Map<String, Value>>()
            .gives::<Map<String, Value>>(200, "It is noted"),
            &[
                "/api/v1/engines/benchmark_result/",
                "/engines/benchmark_result",
                "/engines/benchmark_result/",
            ],
            benchmark,
        )
        .also(
            v1(Method::DELETE, "/api/v1/engines/{engine}", "deleteEngine", "Forget an engine")
                .gives::<Map<String, Value>>(200, "It is forgotten"),
            &["/api/v1/engines/{engine}/", "/engines/{engine}", "/engines/{engine}/"],
            forget,
        )
        .also(
            v1(Method::POST, "/api/v1/assign_job", "assignJob", "Give the next job to an engine")
                .may_take::<Map<String, Value>>()
                .gives::<Map<String, Value>>(200, "The job")
                .sends(204, "There is no job, or no engine for it", Content::Nothing),
            &["/api/v1/assign_job/", "/assign_job", "/assign_job/"],
            assign,
        )
}

async fn submit(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<axum::Json<Value>, ApiError> {
    let fields = Fields::of(body).await?;
    let dispatch = request(&Value::Object(fields.0))?;
    let job = api.coordinator.submit_dispatch(caller.name, dispatch).await?;
    Ok(axum::Json(object(&job)))
}

async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<Vec<Value>>, ApiError> {
    let owner = match caller.role {
        KeyRole::Admin => None,
        _ => Some(caller.name.unwrap_or_default()),
    };
    let filter = JobFilter { owner, ..JobFilter::default() };
    let mut jobs = api.coordinator.every_job(filter).await?;
    jobs.reverse();
    Ok(axum::Json(jobs.iter().map(object).collect()))
}

async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    Ok(axum::Json(object(&find(&api, &caller, &id).await?)))
}

async fn retry(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.retry(job.id).await.map_err(ApiError::bad)?;
    Ok(axum::Json(json!({
        "message": "the job was opened again", "job_id": job.id,
        "new_status": status(job.state, job.dispatch.as_deref()),
    })))
}

async fn cancel(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let job = api.coordinator.cancel(job.id).await.map_err(ApiError::bad)?;
    Ok(axum::Json(object(&job)))
}

/// The job that an engine reports on: workers report on any, clients on theirs.
async fn reported(api: &ApiState, caller: &Caller, id: &str) -> Result<Job, ApiError> {
    if caller.role == KeyRole::Worker {
        let all = Caller { role: KeyRole::Admin, ..caller.clone() };
        return find(api, &all, id).await;
    }
    find(api, caller, id).await
}

async fn complete(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<axum::Json<Value>, ApiError> {
    let fields = Fields::of(body).await?;
    let job = reported(&api, &caller, &id).await?;
    let output_url = fields.needed("output_url")?;
    let before = job.dispatch.as_ref().and_then(|dispatch| dispatch.output_url.as_ref());
    if job.state == JobState::Completed && before == Some(&output_url) {
        // Said again, because the answer was lost.
        return Ok(axum::Json(object(&job)));
    }
    let event = DispatchEvent::Complete { output_url };
    let job = api.coordinator.dispatch_event(&job, &event).await.map_err(ApiError::bad)?;
    Ok(axum::Json(object(&job)))
}

async fn fail(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<axum::Json<Value>, ApiError> {
    let fields = Fields::of(body).await?;
    let job = reported(&api, &caller, &id).await?;
    let event = DispatchEvent::Fail { message: fields.needed("error_message")? };
    let job = api.coordinator.dispatch_event(&job, &event).await.map_err(ApiError::bad)?;
    Ok(axum::Json(object(&job)))
}

async fn engines(State(api): State<ApiState>) -> Result<axum::Json<Vec<EngineView>>, ApiError> {
    Ok(axum::Json(api.coordinator.engines().await?))
}

async fn heartbeat(
    State(api): State<ApiState>,
    body: Body,
) -> Result<axum::Json<EngineView>, ApiError> {
    let fields = Fields::of(body).await?;
    let status = match fields.text("status")?.as_deref() {
        None => None,
        Some("idle") => Some(EngineStatus::Idle),
        Some("busy") => Some(EngineStatus::Busy),
        Some(_) => return Err(Fields::wrong("status", "'idle' or 'busy'")),
    };
    let beat = Heartbeat {
        engine_id: fields.name("engine_id")?,
        engine_type: fields.text("engine_type")?,
        supported_codecs: fields.texts("supported_codecs")?,
        status,
        storage_capacity_gb: fields.number("storage_capacity_gb")?,
        streaming_support: fields.flag("streaming_support")?,
        benchmark_time: fields.number("benchmark_time")?,
    };
    Ok(axum::Json(api.coordinator.heartbeat(beat).await?))
}

fn no_engine(id: &str) -> ApiError {
    ApiError::missing(Failure::permanent(format!("there is no engine '{id}'")))
}

async fn benchmark(State(api): State<ApiState>, body: Body) -> Result<axum::Json<Value>, ApiError> {
    let fields = Fields::of(body).await?;
    let id = fields.name("engine_id")?;
    let time = fields.number("benchmark_time")?;
    let time =
        time.ok_or_else(|| ApiError::malformed("'benchmark_time' is missing: a number is needed"))?;
    if !api.coordinator.benchmarked(&id, time).await? {
        return Err(no_engine(&id));
    }
    Ok(axum::Json(json!({"message": "noted", "engine_id": id, "benchmark_time": time})))
}

async fn forget(
    State(api): State<ApiState>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    if !api.coordinator.forget_engine(&id).await? {
        return Err(no_engine(&id));
    }
    Ok(axum::Json(json!({"message": "forgotten", "engine_id": id})))
}

async fn assign(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, ApiError> {
    let fields = Fields::of(body).await?;
    let engine = fields.text("engine_id")?;
    let fits = |job: &Job| caller.role == KeyRole::Worker || caller.sees(job.owner.as_deref());
    Ok(match api.coordinator.assign(engine.as_deref(), fits).await? {
        Some(job) => axum::Json(object(&job)).into_response(),
        None => NO_CONTENT.into_response(),
    })
}
