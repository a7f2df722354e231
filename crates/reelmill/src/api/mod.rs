//! The server's network side: REST for clients, gRPC and byte transfer for
//! workers, on one port. Each handler parses, calls one method of the
//! coordinator, and renders what came of it.

mod auth;
mod body;
mod download;
mod dsp;
mod dsp_fields;
pub(crate) mod error;
mod grpc;
mod grpc_status;
mod listen;
mod openapi;
mod operation;
pub(crate) mod proto;
mod range;
mod replication;
mod rest_events;
mod rest_jobs;
mod rest_keys;
mod rest_output;
mod rest_submit;
mod rest_system;
mod rest_tasks;
mod rest_uploads;
mod rest_webhooks;
#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod transfer;
mod unstalled;
pub(crate) mod wire;

pub(crate) use auth::{Auth, create_key};
pub(crate) use listen::serve;
pub(crate) use reelmill_store::KeyRole as Role;
pub(crate) use rest_keys::{EnrolRequest, KeyRequest, KeyView, NewKey};
pub(crate) use rest_system::LimitRequest;

use crate::coordinator::Coordinator;
use auth::{Guard, Need, guard_grpc, guard_open};
use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use error::{ApiError, Kind};
use operation::Paths;
use reelmill_core::error::Failure;
use std::sync::Arc;

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct ApiState {
    /// Does what is asked.
    pub(crate) coordinator: Arc<Coordinator>,
    /// Tells who asks.
    pub(crate) auth: Auth,
}

/// All REST routes, each with its description and its guard.
fn paths(auth: &Auth) -> Paths {
    Paths::new(auth)
        .merge(rest_system::routes(auth))
        .merge(rest_uploads::routes(auth))
        .merge(rest_jobs::routes(auth))
        .merge(rest_output::routes(auth))
        .merge(rest_events::routes(auth))
        .merge(rest_keys::routes(auth))
        .merge(rest_webhooks::routes(auth))
        .merge(rest_tasks::routes(auth))
        .merge(dsp::routes(auth))
        .merge(openapi::routes(auth))
}

/// All routes.
pub(crate) fn router(state: ApiState) -> Router {
    let guard = Guard::new(&state.auth, Need::Worker);
    let open = state.auth.is_open();
    let (rest, _) = paths(&state.auth).into_parts();
    let rest = rest.method_not_allowed_fallback(no_such_method);
    let calls = grpc::routes(state.coordinator.clone())
        .layer(middleware::from_fn_with_state(guard, guard_grpc));
    let client = Guard::new(&state.auth, Need::Client);
    let transfers = replication::routes(state.coordinator.clone())
        .merge(transfer::routes(state.coordinator.clone()))
        .layer(middleware::from_fn_with_state(client, guard_grpc))
        .layer(middleware::from_fn(seen));
    let all = rest.with_state(state.clone()).merge(calls).merge(transfers).fallback(no_such_page);
    let all = if open { all.layer(middleware::from_fn(guard_open)) } else { all };
    all.layer(middleware::from_fn_with_state(state, trace::watch))
}

/// Remembers under which address a caller sees this server.
async fn seen(mut request: Request, next: Next) -> Response {
    let named = request.uri().authority().map(|authority| authority.to_string());
    let host = || Some(request.headers().get("host")?.to_str().ok()?.to_owned());
    if let Some(address) = named.or_else(host) {
        request.extensions_mut().insert(grpc_status::Seen(address));
    }
    next.run(request).await
}

async fn no_such_page(request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::missing(Failure::permanent(format!("there is nothing at {path}")))
}

async fn no_such_method(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::new(Kind::Method, Failure::permanent(format!("{path} knows no {method}")))
}

/// Lets a request that changes something run to its end, though its sender
/// hangs up: nothing stays half done.
async fn see_through(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    tokio::spawn(next.run(request)).await.unwrap_or_else(|error| {
        let failure = Failure::environment(format!("the request broke down: {error}"));
        ApiError::new(Kind::Broken, failure).into_response()
    })
}
