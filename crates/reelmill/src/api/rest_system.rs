//! The server itself: is it there, is it well, what does it offer.

use super::ApiState;
use super::error::ApiError;
use super::wire::{Page, PresetView, VersionView};
use crate::coordinator::WorkerView;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use reelmill_core::error::Failure;

/// The routes that need no key.
pub(crate) fn open_routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(async || "OK"))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
}

/// The routes for clients.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/v1/version", get(version))
        .route("/api/v1/presets", get(presets))
        .route("/api/v1/workers", get(workers))
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
