//! The server's network side: REST for clients, gRPC and byte transfer for
//! workers, on one port. Each handler parses, calls one method of the
//! coordinator, and renders what came of it.

mod auth;
mod body;
mod download;
pub(crate) mod error;
mod grpc;
mod listen;
pub(crate) mod proto;
mod range;
mod rest_jobs;
mod rest_output;
mod rest_system;
mod rest_tasks;
mod rest_uploads;
#[cfg(test)]
pub(crate) mod tests;
mod unstalled;
pub(crate) mod wire;

pub(crate) use auth::{Auth, create_key};
pub(crate) use listen::serve;
pub(crate) use reelmill_store::KeyRole as Role;

use crate::coordinator::Coordinator;
use auth::{Guard, Need, guard_grpc, guard_open, guard_rest};
use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use error::{ApiError, Kind};
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

/// All routes. Each belongs to a group with a guard: a route that is in none
/// cannot be written here.
pub(crate) fn router(state: ApiState) -> Router {
    let guard = |need| Guard::new(&state.auth, need);
    let open = state.auth.is_open();
    let clients = Router::new()
        .merge(rest_system::routes())
        .merge(rest_uploads::routes())
        .merge(rest_jobs::routes())
        .merge(rest_output::routes())
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(see_through))
        .layer(middleware::from_fn_with_state(guard(Need::Client), guard_rest));
    let workers = rest_tasks::routes()
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(see_through))
        .layer(middleware::from_fn_with_state(guard(Need::Worker), guard_rest));
    let calls = grpc::routes(state.coordinator.clone())
        .layer(middleware::from_fn_with_state(guard(Need::Worker), guard_grpc));
    let everybody = rest_system::open_routes().method_not_allowed_fallback(no_such_method);
    let all = Router::new().merge(clients).merge(workers).merge(everybody).with_state(state);
    let all = all.merge(calls).fallback(no_such_page);
    if open { all.layer(middleware::from_fn(guard_open)) } else { all }
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
