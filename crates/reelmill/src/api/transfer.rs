//! Uploads with resume, downloads with offset, jobs live: over gRPC.

use super::auth::Caller;
use super::grpc_status::refusal;
use super::listen::Closing;
use super::proto::v1;
use super::proto::v1::transfer_service_server::{TransferService, TransferServiceServer};
use super::proto::v1::upload_request::Part;
use crate::coordinator::{Coordinator, NewUpload, UploadError, UploadState};
use crate::metrics::{add, metrics};
use axum::Router;
use futures::StreamExt;
use futures::stream::BoxStream;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::job::Job;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one message.
const PIECE: usize = 512 << 10;

/// Largest message taken.
const MAX_MESSAGE: usize = (4 << 20) + (64 << 10);

/// Bytes after which the sender is told what is safe.
const SYNC_EVERY: u64 = 64 << 20;

/// Longest pause between two messages.
const PAUSE: Duration = Duration::from_secs(60);

/// Longest time between two looks at a job that is watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The routes.
pub(super) fn routes(coordinator: Arc<Coordinator>) -> Router {
    let service =
        TransferServiceServer::new(Transfer { coordinator }).max_decoding_message_size(MAX_MESSAGE);
    tonic::service::Routes::new(service).into_axum_router().reset_fallback()
}

struct Transfer {
    coordinator: Arc<Coordinator>,
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("no key"))
}

fn upload_status(error: UploadError) -> Status {
    match error {
        UploadError::Unknown => Status::not_found("there is no such upload; begin a new one"),
        UploadError::Offset(UploadState { offset, length }) => {
            Status::failed_precondition(format!("the upload stands at {offset} of {length} bytes"))
        }
        UploadError::Failed(failure) => refusal(&failure),
    }
}

async fn find(coordinator: &Coordinator, caller: &Caller, id: &str) -> Result<Job, Status> {
    let nothing = || Status::not_found(format!("there is no job '{id}'"));
    let id: JobId = id.parse().map_err(|_| nothing())?;
    let job = coordinator.job(id).await.map_err(|f| refusal(&f))?;
    job.filter(|job| caller.sees(job.owner.as_deref())).ok_or_else(nothing)
}

/// Takes an upload, telling what is safe.
async fn receive(
    coordinator: &Coordinator,
    caller: &Caller,
    stream: &mut Streaming<v1::UploadRequest>,
    answer: &mpsc::Sender<Result<v1::UploadResponse, Status>>,
) -> Result<v1::UploadResponse, Status> {
    let next = async |stream: &mut Streaming<v1::UploadRequest>| {
        let next = tokio::time::timeout(PAUSE, stream.next()).await;
        next.map_err(|_| Status::deadline_exceeded("nothing more came"))?.transpose()
    };
    let first = next(stream).await?.and_then(|message| message.part);
    let Some(Part::Begin(begin)) = first else {
        return Err(Status::invalid_argument("the first message must begin the upload"));
    };
    let id = if begin.upload_id.is_empty() {
        let name = Some(begin.file_name).filter(|name| !name.is_empty());
        let owner = caller.name.clone();
        let new = NewUpload { length: begin.length, owner, name, key: None };
        coordinator.upload_begin(new).await.map_err(|f| refusal(&f))?
    } else {
        let unknown = || upload_status(UploadError::Unknown);
        let id: BlobId = begin.upload_id.parse().map_err(|_| unknown())?;
        let owner = coordinator.upload_owner(id).await.map_err(|f| refusal(&f))?;
        let owner = owner.ok_or_else(unknown)?;
        if !caller.sees(owner.as_deref()) {
            return Err(unknown());
        }
        id
    };
    let mut state = coordinator.upload_state(id).await.map_err(upload_status)?;
    let told = |state: UploadState, sha512: String| v1::UploadResponse {
        upload_id: id.to_string(),
        offset: state.offset,
        length: state.length,
        sha512,
    };
    // The sender waits for this before it sends a byte.
    let _ = answer.send(Ok(told(state, String::new()))).await;
    if state.offset < state.length {
        let mut turn = coordinator.upload_turn(id, state.offset).await.map_err(upload_status)?;
        let mut unsynced = 0;
        loop {
            let message = match next(stream).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(status) => {
                    // What came is kept.
                    turn.sync().await.map_err(upload_status)?;
                    return Err(status);
                }
            };
            let Some(Part::Data(data)) = message.part else {
                turn.sync().await.map_err(upload_status)?;
                return Err(Status::invalid_argument("after the first message come bytes"));
            };
            let length = data.len() as u64;
            if let Err(error) = turn.append(data.into()).await {
                turn.sync().await.map_err(upload_status)?;
                return Err(upload_status(error));
            }
            add(&metrics().bytes_in, length);
            unsynced += length;
            if unsynced >= SYNC_EVERY {
                unsynced = 0;
                state = turn.sync().await.map_err(upload_status)?;
                let _ = answer.send(Ok(told(state, String::new()))).await;
            }
        }
        state = turn.sync().await.map_err(upload_status)?;
    }
    if state.offset < state.length {
        return Ok(told(state, String::new()));
    }
    let blob = coordinator.upload_finish(id, None).await.map_err(upload_status)?;
    Ok(told(state, blob.sha512))
}

#[tonic::async_trait]
impl TransferService for Transfer {
    type UploadStream = ReceiverStream<Result<v1::UploadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let caller = caller(&request)?;
        let mut stream = request.into_inner();
        let (answer, answers) = mpsc::channel(8);
        let coordinator = self.coordinator.clone();
        tokio::spawn(async move {
            let last = receive(&coordinator, &caller, &mut stream, &answer).await;
            let _ = answer.send(last).await;
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    type DownloadStream = BoxStream<'static, Result<v1::DownloadResponse, Status>>;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let job = find(&self.coordinator, &caller, &request.job_id).await?;
        let blob = job.output.as_ref().and_then(|output| output.blob.clone()).ok_or_else(|| {
            Status::failed_precondition(format!("the job is {}: no output", job.state.label()))
        })?;
        if request.offset > blob.bytes {
            return Err(Status::out_of_range(format!("there are only {} bytes", blob.bytes)));
        }
        let range = request.offset..blob.bytes;
        let reader = self.coordinator.blobs().read(blob.id, Some(range)).await;
        let reader = reader.map_err(|e| refusal(&Failure::from(e)))?;
        let head = Some((blob.bytes, blob.sha512));
        let start = (reader, request.offset, head);
        let pieces = futures::stream::unfold(start, async |(mut reader, offset, head)| {
            let mut data = Vec::with_capacity(PIECE);
            match (&mut reader).take(PIECE as u64).read_to_end(&mut data).await {
                Ok(0) if head.is_none() => None,
                Ok(count) => {
                    add(&metrics().bytes_out, count as u64);
                    let (length, sha512) = head.unwrap_or_default();
                    let message = v1::DownloadResponse { offset, data, length, sha512 };
                    Some((Ok(message), (reader, offset + count as u64, None)))
                }
                Err(error) => {
                    Some((Err(Status::data_loss(error.to_string())), (reader, offset, None)))
                }
            }
        });
        Ok(Response::new(pieces.boxed()))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let closing = request.extensions().get::<Closing>().cloned().unwrap_or_default();
        let job = find(&self.coordinator, &caller, &request.into_inner().job_id).await?;
        let (answer, answers) = mpsc::channel(8);
        let coordinator = self.coordinator.clone();
        tokio::spawn(async move {
            let mut before = None;
            while !closing.0.is_cancelled() {
                let changed = coordinator.changed(LOOK_EVERY);
                let seen = watched(&coordinator, job.id).await;
                let (message, over) = match seen {
                    Ok((message, over)) => (message, over),
                    Err(status) => {
                        let _ = answer.send(Err(status)).await;
                        return;
                    }
                };
                if before.as_ref() != Some(&message) {
                    if answer.send(Ok(message.clone())).await.is_err() {
                        return;
                    }
                    before = Some(message);
                }
                if over {
                    return;
                }
                tokio::select! {
                    () = answer.closed() => return,
                    () = closing.0.cancelled() => return,
                    () = changed => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

async fn watched(
    coordinator: &Coordinator,
    id: JobId,
) -> Result<(v1::WatchResponse, bool), Status> {
    let job = coordinator.job(id).await.map_err(|f| refusal(&f))?;
    let job = job.ok_or_else(|| Status::not_found("the job is gone"))?;
    let over = job.state.is_final();
    let view = coordinator.view(job).await.map_err(|f| refusal(&f))?;
    let failure = view.job.failure.as_ref().map(|failure| failure.message.clone());
    let message = v1::WatchResponse {
        job_id: id.to_string(),
        state: view.job.state.label().to_owned(),
        frames_done: view.frames_done,
        frames_total: view.frames_total.unwrap_or(0),
        fps: view.fps,
        failure: failure.unwrap_or_default(),
    };
    Ok((message, over))
}
