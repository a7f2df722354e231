//! Uploads: tus 1.0 (core, creation, termination) and a finish with digest.

use super::ApiState;
use super::body::{Json, Named, Pieces, content_type, header, needed};
use super::error::{ApiError, CREATED, Kind, NO_CONTENT};
use super::wire::{FinishRequest, UPLOAD_BODY, UPLOAD_LENGTH, UPLOAD_OFFSET, UploadView};
use crate::coordinator::{Coordinator, UploadError, UploadState};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{post, put};
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");

/// The version of tus that is spoken.
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// Bytes that a crash of the server may cost a sender who sends all at once.
const SYNC_EVERY: usize = 64 << 20;

/// The routes.
pub(crate) fn routes() -> Router<ApiState> {
    let upload = axum::routing::head(state).patch(append).delete(discard).options(offer);
    Router::new()
        .route("/api/v1/uploads", post(begin).options(offer))
        .route("/api/v1/uploads/{id}", upload)
        .route("/api/v1/uploads/{id}/finish", post(finish).merge(put(finish)))
        .layer(middleware::from_fn(speak_tus))
}

/// Refuses other versions of tus where the sender names one, and names ours.
async fn speak_tus(request: Request, next: Next) -> Response {
    let theirs = request.headers().get(TUS_RESUMABLE);
    let mut response = if theirs.is_some_and(|version| *version != VERSION) {
        let failure = Failure::permanent("this server speaks tus 1.0.0 only");
        ApiError::new(Kind::Precondition, failure).with(TUS_VERSION, VERSION).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

async fn offer(State(api): State<ApiState>) -> Response {
    let most = HeaderValue::from(api.coordinator.settings().max_upload);
    let extensions = HeaderValue::from_static("creation,termination");
    let headers =
        AppendHeaders([(TUS_VERSION, VERSION), (TUS_EXTENSION, extensions), (TUS_MAX_SIZE, most)]);
    (NO_CONTENT, headers).into_response()
}

async fn begin(State(api): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let length: u64 = needed(&headers, &UPLOAD_LENGTH, "the number of bytes to come")?;
    let id = api.coordinator.upload_begin(length).await.map_err(ApiError::too_large)?;
    let location = header_value(&format!("/api/v1/uploads/{id}"))?;
    let headers = AppendHeaders([(LOCATION, location), (UPLOAD_OFFSET, HeaderValue::from(0))]);
    let view = UploadView { id, offset: 0, length };
    Ok((CREATED, headers, axum::Json(view)).into_response())
}

async fn state(
    State(api): State<ApiState>,
    Named(id): Named<BlobId>,
) -> Result<Response, ApiError> {
    let state = api.coordinator.upload_state(id).await?;
    let headers = AppendHeaders([
        (UPLOAD_OFFSET, HeaderValue::from(state.offset)),
        (UPLOAD_LENGTH, HeaderValue::from(state.length)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Ok(headers.into_response())
}

async fn append(
    State(api): State<ApiState>,
    Named(id): Named<BlobId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let kind = content_type(&headers);
    if kind != UPLOAD_BODY {
        let message = format!("the body must be {UPLOAD_BODY}, not '{kind}'");
        return Err(ApiError::new(Kind::ContentType, Failure::permanent(message)));
    }
    let offset: u64 = needed(&headers, &UPLOAD_OFFSET, "the offset to go on at")?;
    let announced = header(&headers, &CONTENT_LENGTH)?.and_then(|text| text.parse::<u64>().ok());
    let state = api.coordinator.upload_state(id).await?;
    if offset.saturating_add(announced.unwrap_or(0)) > state.length {
        return Err(too_much(state));
    }
    let state = receive(&api.coordinator, id, offset, body).await?;
    let headers = AppendHeaders([(UPLOAD_OFFSET, HeaderValue::from(state.offset))]);
    Ok((NO_CONTENT, headers).into_response())
}

/// Takes the bytes of a body. What came before it broke off is kept.
async fn receive(
    coordinator: &Coordinator,
    id: BlobId,
    offset: u64,
    body: Body,
) -> Result<UploadState, ApiError> {
    let mut turn = coordinator.upload_turn(id, offset).await?;
    let mut pieces = Pieces::of(body);
    let mut unsynced = 0;
    loop {
        let piece = match pieces.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(turn.close().await?),
            Err(error) => {
                turn.close().await?;
                return Err(error);
            }
        };
        if let Err(error) = turn.append(&piece).await {
            return Err(match error {
                UploadError::Offset(_) => too_much(turn.close().await?),
                other => other.into(),
            });
        }
        unsynced += piece.len();
        if unsynced >= SYNC_EVERY {
            let state = turn.close().await?;
            turn = coordinator.upload_turn(id, state.offset).await?;
            unsynced = 0;
        }
    }
}

fn too_much(state: UploadState) -> ApiError {
    let message = format!("more is sent than the {} bytes that were announced", state.length);
    ApiError::new(Kind::TooLarge, Failure::permanent(message))
        .with(UPLOAD_OFFSET, HeaderValue::from(state.offset))
}

async fn finish(
    State(api): State<ApiState>,
    Named(id): Named<BlobId>,
    Json(request): Json<FinishRequest>,
) -> Result<axum::Json<BlobRef>, ApiError> {
    if let Some(sha512) = &request.sha512 {
        check_digest(sha512)?;
    }
    let coordinator = &api.coordinator;
    coordinator.upload_state(id).await?;
    match coordinator.upload_finish(id, request.sha512.as_deref()).await {
        Ok(blob) => Ok(axum::Json(blob)),
        Err(UploadError::Failed(failure)) => {
            // A digest that differs ends the upload: it is gone then.
            let gone = matches!(coordinator.upload_state(id).await, Err(UploadError::Unknown));
            Err(if gone { ApiError::new(Kind::Unprocessable, failure) } else { failure.into() })
        }
        Err(other) => Err(other.into()),
    }
}

/// Whether `text` is a SHA-512 in hexadecimal.
pub(crate) fn check_digest(text: &str) -> Result<(), ApiError> {
    if text.len() == 128 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let failure = Failure::permanent("a SHA-512 has 128 hexadecimal digits");
    Err(ApiError::new(Kind::Unprocessable, failure))
}

async fn discard(
    State(api): State<ApiState>,
    Named(id): Named<BlobId>,
) -> Result<Response, ApiError> {
    if api.coordinator.upload_drop(id).await? {
        return Ok(NO_CONTENT.into_response());
    }
    Err(match api.coordinator.uploaded(id).await? {
        Some(_) => {
            let message = "the upload is finished already";
            let failure = Failure::permanent(message)
                .advise("without a job it is thrown away by itself; cancel the job that has it");
            ApiError::new(Kind::Conflict, failure)
        }
        None => UploadError::Unknown.into(),
    })
}

fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::malformed("that is no header's value"))
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Unknown => {
                let failure = Failure::permanent("there is no such upload");
                Self::missing(failure.advise("begin a new one"))
            }
            UploadError::Offset(state) => {
                let (offset, length) = (state.offset, state.length);
                let message = format!("the upload stands at {offset} of {length} bytes");
                Self::new(Kind::Conflict, Failure::permanent(message).advise("go on there"))
                    .with(UPLOAD_OFFSET, HeaderValue::from(offset))
            }
            UploadError::Failed(failure) => failure.into(),
        }
    }
}
