//! The server itself: is it there, is it well, what does it offer, what is its
//! queue doing, who works.

use super::ApiState;
use super::auth::{Auth, Caller};
use super::body::{Json, Named, Params};
use super::error::ApiError;
use super::operation::{Content, Operation, Paths, Whom};
use super::wire::{Page, PresetView, VersionView};
use crate::coordinator::{QueueState, Stats, WorkerView};
use crate::metrics::{self, metrics};
use crate::mutant;
use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use reelmill_core::job::JobState;
use reelmill_store::{AuditEntry, KeyRole, WorkerState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the queue does, and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct QueueView {
    /// What it does.
    pub(crate) state: QueueState,
    /// Jobs by state.
    pub(crate) jobs: BTreeMap<JobState, u64>,
}

/// What the queue is to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueRequest {
    /// What.
    pub(crate) state: QueueState,
}

/// The dispatch protocol's view of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StatusView {
    /// `ok`.
    pub(crate) status: String,
    /// reelmill's version.
    pub(crate) version: String,
    /// Jobs by the dispatch protocol's words.
    pub(crate) jobs: BTreeMap<String, u64>,
    /// Engines by status.
    pub(crate) engines: BTreeMap<String, u64>,
}

/// Which part of the audit log to show.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuditParams {
    /// The number of the last line that is known.
    #[schemars(range(min = 0))]
    after: Option<i64>,
}

/// How much a worker may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitRequest {
    /// Tasks; `null` for as many as it has slots. 0 gives it none.
    #[schemars(range(min = 0, max = 1024))]
    pub(crate) limit: Option<u32>,
}

/// The routes.
#[expect(clippy::too_many_lines, reason = "a table of routes")]
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = Operation::new;
    let open = |path, id, summary| {
        op(Whom::Everybody, Method::GET, path, id, summary).sends(200, "It is", Content::Text)
    };
    let get = |path, id, summary| op(Whom::Clients, Method::GET, path, id, summary);
    let admin = |method, path, id, summary| op(Whom::Admins, method, path, id, summary);
    let state_of = |path, id, summary| {
        admin(Method::POST, path, id, summary).gives::<WorkerView>(200, "The worker")
    };
    Paths::new(auth)
        .on(open("/", "root", "Is a server here?"), async || "OK")
        .on(open("/livez", "livez", "Does the process answer?"), async || "ok")
        .on(open("/readyz", "readyz", "Can it work?"), ready)
        .on(
            op(Whom::AnyKey, Method::GET, "/metrics", "metrics", "Figures for Prometheus").sends(
                200,
                "The figures",
                Content::Text,
            ),
            figures,
        )
        .also(
            op(Whom::AnyKey, Method::GET, "/api/v1/version", "getVersion", "Which program answers")
                .gives::<VersionView>(200, "Its version"),
            &["/api/v1/version/"],
            version,
        )
        .also(
            op(
                Whom::AnyKey,
                Method::GET,
                "/api/v1/status",
                "getStatus",
                "How the server fares, in short",
            )
            .gives::<StatusView>(200, "Counts"),
            &["/api/v1/status/"],
            status,
        )
        .on(
            get("/api/v1/presets", "listPresets", "The presets on offer")
                .gives::<Page<PresetView>>(200, "All of them"),
            presets,
        )
        .on(
            get("/api/v1/workers", "listWorkers", "The workers")
                .gives::<Page<WorkerView>>(200, "All that are not gone"),
            workers,
        )
        .on(get("/api/v1/stats", "getStats", "Figures").gives::<Stats>(200, "Figures"), stats)
        .on(
            get("/api/v1/queue", "getQueue", "What the queue does").gives::<QueueView>(200, "It"),
            queue,
        )
        .on(
            admin(Method::PUT, "/api/v1/queue", "setQueue", "Open, pause or drain the queue")
                .takes::<QueueRequest>()
                .gives::<QueueView>(200, "The queue"),
            set_queue,
        )
        .on(
            state_of("/api/v1/workers/{worker}/pause", "pauseWorker", "Give a worker nothing new"),
            async |state: State<ApiState>, id: Named<WorkerId>| {
                set(state, id, WorkerState::Paused).await
            },
        )
        .on(
            state_of("/api/v1/workers/{worker}/resume", "resumeWorker", "Let a worker go on"),
            async |state: State<ApiState>, id: Named<WorkerId>| {
                set(state, id, WorkerState::Active).await
            },
        )
        .on(
            state_of(
                "/api/v1/workers/{worker}/drain",
                "drainWorker",
                "Let a worker end what it has",
            ),
            async |state: State<ApiState>, id: Named<WorkerId>| {
                set(state, id, WorkerState::Draining).await
            },
        )
        .on(
            admin(
                Method::PUT,
                "/api/v1/workers/{worker}/limit",
                "limitWorker",
                "Give a worker at most so many tasks at once",
            )
            .takes::<LimitRequest>()
            .gives::<WorkerView>(200, "The worker"),
            limit,
        )
        .on(
            state_of(
                "/api/v1/workers/{worker}/release",
                "releaseWorker",
                "Let a worker join with another key than the one it belongs to",
            ),
            release,
        )
        .on(
            admin(Method::GET, "/api/v1/audit", "listAudit", "Who did what, oldest first")
                .query::<AuditParams>()
                .gives::<Page<AuditEntry>>(200, "A page of lines"),
            audit,
        )
}

async fn ready(State(api): State<ApiState>) -> Result<&'static str, ApiError> {
    let checked = api.coordinator.store().check().await;
    checked.map(|()| "ready").map_err(|error| {
        let advice = error.advice();
        Failure::transient(error.to_string()).advise(advice).into()
    })
}

async fn version() -> axum::Json<VersionView> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    axum::Json(VersionView { version, api_version: "v1".to_owned() })
}

async fn status(State(api): State<ApiState>) -> Result<axum::Json<StatusView>, ApiError> {
    let mut jobs = BTreeMap::new();
    for (state, count) in api.coordinator.stats().await?.jobs {
        *jobs.entry(reelmill_core::dispatch::status(state, None).to_owned()).or_default() += count;
    }
    let mut engines = BTreeMap::new();
    for engine in api.coordinator.engines().await? {
        let word = match engine.status {
            reelmill_core::dispatch::EngineStatus::Idle => "idle",
            reelmill_core::dispatch::EngineStatus::Busy => "busy",
        };
        *engines.entry(word.to_owned()).or_default() += 1;
    }
    let (status, version) = ("ok".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Ok(axum::Json(StatusView { status, version, jobs, engines }))
}

async fn figures(State(api): State<ApiState>) -> Result<Response, ApiError> {
    let mut page = metrics::Page::default();
    api.coordinator.stats().await?.write(&mut page);
    metrics().write(&mut page);
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, page.text()).into_response())
}

async fn presets(State(api): State<ApiState>) -> Result<axum::Json<Page<PresetView>>, ApiError> {
    let presets = &api.coordinator.settings().presets;
    let view = |name: &str| {
        let preset = presets.get(name, &[])?;
        Ok(PresetView { name: name.to_owned(), preset })
    };
    let items: Result<Vec<_>, Failure> = presets.names().map(view).collect();
    Ok(axum::Json(Page::whole(items?)))
}

async fn workers(State(api): State<ApiState>) -> Result<axum::Json<Page<WorkerView>>, ApiError> {
    Ok(axum::Json(Page::whole(api.coordinator.workers().await?)))
}

async fn stats(State(api): State<ApiState>) -> Result<axum::Json<Stats>, ApiError> {
    Ok(axum::Json(api.coordinator.stats().await?))
}

async fn queue(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<QueueView>, ApiError> {
    let state = api.coordinator.queue_state().await?;
    // How much others have in the queue is an admin's business.
    let jobs = match caller.role {
        KeyRole::Admin => api.coordinator.stats().await?.jobs,
        _ => BTreeMap::new(),
    };
    Ok(axum::Json(QueueView { state, jobs }))
}

async fn set_queue(
    State(api): State<ApiState>,
    caller: Extension<Caller>,
    Json(request): Json<QueueRequest>,
) -> Result<axum::Json<QueueView>, ApiError> {
    api.coordinator.set_queue(request.state).await?;
    queue(State(api), caller).await
}

async fn set(
    State(api): State<ApiState>,
    Named(id): Named<WorkerId>,
    state: WorkerState,
) -> Result<axum::Json<WorkerView>, ApiError> {
    let view = api.coordinator.set_worker(id, state).await.map_err(ApiError::missing)?;
    Ok(axum::Json(view))
}

async fn limit(
    State(api): State<ApiState>,
    Named(id): Named<WorkerId>,
    Json(request): Json<LimitRequest>,
) -> Result<axum::Json<WorkerView>, ApiError> {
    if request.limit.is_some_and(|limit| limit > 1024) {
        return Err(ApiError::unprocessable("a worker's limit lies between 0 and 1024"));
    }
    let view = api.coordinator.limit_worker(id, request.limit).await?;
    let nothing = || ApiError::missing(Failure::permanent(format!("there is no worker {id}")));
    view.map(axum::Json).ok_or_else(nothing)
}

async fn release(
    State(api): State<ApiState>,
    Named(id): Named<WorkerId>,
) -> Result<axum::Json<WorkerView>, ApiError> {
    let view = api.coordinator.release_worker(id).await?;
    let nothing = || ApiError::missing(Failure::permanent(format!("there is no worker {id}")));
    view.map(axum::Json).ok_or_else(nothing)
}

async fn audit(
    State(api): State<ApiState>,
    Params(params): Params<AuditParams>,
) -> Result<axum::Json<Page<AuditEntry>>, ApiError> {
    let after = params.after.unwrap_or(0);
    if after < 0 && mutant::leaves_out("audit-range") {
        return Err(Failure::environment("there is no line before the first").into());
    }
    if after < 0 {
        return Err(ApiError::malformed("'after' is the number of a line: at least 0"));
    }
    let items = api.coordinator.store().audit_list(after, 200).await;
    let items = items.map_err(Failure::from)?;
    let next = items.last().map(|entry| entry.seq.to_string());
    Ok(axum::Json(Page { items, next }))
}
