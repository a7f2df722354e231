//! The bytes that workers read and leave, fenced by their lease.

use super::ApiState;
use super::auth::Auth;
use super::body::{Named, Pieces, header, needed};
use super::download::{REPR_DIGEST, send, sha512_of};
use super::error::{ApiError, Kind};
use super::operation::{Content, Operation, Paths, Whom};
use super::rest_uploads::check_digest;
use super::wire::{EPOCH, LEASE, SHA512};
use crate::clock;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures::TryFutureExt;
use futures::future::try_join;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, TaskId};
use reelmill_core::job::Source;
use reelmill_core::lease::LeaseProof;
use reelmill_core::task::BlobRef;
use reelmill_store::{BlobRecord, BlobRole};

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| {
        Operation::new(Whom::Workers, method, path, id, summary)
            .header::<String>("X-Reelmill-Lease", true, "The lease's id")
            .header::<u64>("X-Reelmill-Epoch", true, "The task's epoch when it was granted")
            .fails(&[409])
    };
    let read = op(Method::GET, "/api/v1/tasks/{task}/source", "getSource", "A task's source")
        .header::<String>("Range", false, "Which bytes")
        .sends(200, "All of it", Content::Bytes("application/octet-stream"))
        .sends(206, "What was asked for", Content::Bytes("application/octet-stream"))
        .sends(304, "You have it", Content::Nothing)
        .fails(&[416]);
    let leave =
        op(Method::PUT, "/api/v1/tasks/{task}/output", "putResult", "Leave a task's result")
            .header::<String>("X-Reelmill-Sha512", false, "SHA-512 of the body; or Repr-Digest")
            .takes_bytes(&["application/octet-stream"])
            .gives::<BlobRef>(200, "What to report")
            .fails(&[507]);
    Paths::new(auth).on(read, source).on(leave, output)
}

async fn source(
    State(api): State<ApiState>,
    Named(task): Named<TaskId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_lease(&api, task, proof(&headers)?).await?;
    let job = api.coordinator.job(task.job).await?.ok_or_else(stale)?;
    let Source::Upload { blob, bytes, sha512, .. } = job.source else {
        let failure = Failure::permanent("the source is a file of one machine, not an upload");
        return Err(ApiError::new(Kind::Conflict, failure));
    };
    send(&api, &BlobRef { id: blob, bytes, sha512 }, &headers).await
}

async fn output(
    State(api): State<ApiState>,
    Named(task): Named<TaskId>,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<BlobRef>, ApiError> {
    let proof = proof(&headers)?;
    let announced = announced(&headers)?;
    check_lease(&api, task, proof).await?;
    let blob = store(&api, body).await?;
    let record =
        BlobRecord { blob, created: clock::now(), job: Some(task.job), role: BlobRole::Part };
    let kept = keep(&api, task, proof, &record, &announced).await;
    if kept.is_err() {
        throw_away(&api, record.blob.id).await;
    }
    kept.map(|()| axum::Json(record.blob))
}

/// Writes a body under a name of its own: two attempts never share one.
async fn store(api: &ApiState, body: Body) -> Result<BlobRef, ApiError> {
    let mut writer =
        api.coordinator.blobs().create(BlobId(clock::fresh())).await.map_err(Failure::from)?;
    let mut pieces = Pieces::of(body);
    let mut came = pieces.next().await?;
    while let Some(piece) = came {
        let write = writer.write(piece).map_err(|error| Failure::from(error).into());
        came = try_join(write, pieces.next()).await?.1;
    }
    Ok(writer.commit().await.map_err(Failure::from)?)
}

async fn keep(
    api: &ApiState,
    task: TaskId,
    proof: LeaseProof,
    record: &BlobRecord,
    announced: &str,
) -> Result<(), ApiError> {
    if !record.blob.sha512.eq_ignore_ascii_case(announced) {
        let message = "what arrived is not what was sent: the SHA-512 digests differ";
        let failure = Failure::transient(message).advise("send it again");
        return Err(ApiError::new(Kind::Unprocessable, failure));
    }
    // The body took its time: the task may be somebody else's by now.
    check_lease(api, task, proof).await?;
    Ok(api.coordinator.store().blob_put(record).await.map_err(Failure::from)?)
}

async fn throw_away(api: &ApiState, blob: BlobId) {
    if let Err(error) = api.coordinator.blobs().delete(blob).await {
        tracing::warn!(%error, %blob, "cannot delete a refused output");
    }
}

fn proof(headers: &HeaderMap) -> Result<LeaseProof, ApiError> {
    let lease = needed(headers, &LEASE, "the id of the lease")?;
    Ok(LeaseProof { lease, epoch: needed(headers, &EPOCH, "the epoch of the lease")? })
}

fn announced(headers: &HeaderMap) -> Result<String, ApiError> {
    let ours = header(headers, &SHA512)?;
    let standard = header(headers, &REPR_DIGEST)?.and_then(|value| sha512_of(&value));
    let digest = ours.or(standard).ok_or_else(|| {
        ApiError::malformed(format!("{SHA512} or {REPR_DIGEST} must tell the body's SHA-512"))
    })?;
    check_digest(&digest)?;
    Ok(digest)
}

async fn check_lease(api: &ApiState, id: TaskId, proof: LeaseProof) -> Result<(), ApiError> {
    let task = api.coordinator.store().task_get(id).await.map_err(Failure::from)?;
    let task = task.ok_or_else(stale)?;
    if task.is_held_by(proof) { Ok(()) } else { Err(stale()) }
}

fn stale() -> ApiError {
    let failure = Failure::permanent("the lease is not the task's current one")
        .advise("stop working on it; another worker has it, or it was cancelled");
    ApiError::new(Kind::Conflict, failure)
}
