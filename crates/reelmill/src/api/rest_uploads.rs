//! Uploads: tus 1.0 (core, creation, termination) and a finish with digest.

use super::ApiState;
use super::auth::{Auth, Caller};
use super::body::{Json, Named, Pieces, content_type, header, needed};
use super::error::{ApiError, CREATED, Kind, NO_CONTENT};
use super::operation::{Content, Operation, Paths, Whom};
use super::rest_submit::idempotency_key;
use super::wire::{
    FinishRequest, UPLOAD_BODY, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, UploadView,
};
use crate::coordinator::{NewUpload, UploadError, UploadState, UploadTurn};
use crate::metrics::{add, metrics};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::try_join;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");

/// The version of tus that is spoken.
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// What else than tus's own type the bytes of an upload may be called.
const BYTES: &str = "application/octet-stream";

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| Operation::new(Whom::Clients, method, path, id, summary);
    let (all, one) = ("/api/v1/uploads", "/api/v1/uploads/{upload}");
    let begin_one = op(Method::POST, all, "beginUpload", "Begin an upload")
        .header::<u64>("Upload-Length", true, "Bytes to come")
        .header::<String>(
            "Upload-Metadata",
            false,
            "As tus has it: 'filename' and its value in base64",
        )
        .header::<String>(
            "Idempotency-Key",
            false,
            "Names the request: repeated, it begins no second upload",
        )
        .gives::<UploadView>(201, "The upload; Location says where")
        .fails(&[412, 413, 422, 507]);
    let offer_all = op(Method::OPTIONS, all, "offerUploads", "What is spoken of tus")
        .sends(204, "See the headers", Content::Nothing)
        .undocumented();
    let offer_one = op(Method::OPTIONS, one, "offerUpload", "What is spoken of tus")
        .sends(204, "See the headers", Content::Nothing)
        .undocumented();
    let look = op(Method::HEAD, one, "getUpload", "How far an upload is")
        .sends(200, "Upload-Offset says it", Content::Nothing)
        .fails(&[412]);
    let go_on = op(Method::PATCH, one, "appendUpload", "Send bytes of an upload")
        .header::<u64>("Upload-Offset", true, "Where they belong")
        .takes_bytes(&[UPLOAD_BODY, BYTES])
        .sends(204, "They are stored", Content::Nothing)
        .fails(&[409, 412, 507]);
    let drop_it = op(Method::DELETE, one, "discardUpload", "Throw an upload away")
        .sends(204, "It is gone", Content::Nothing)
        .fails(&[409, 412]);
    let end = |method, id| {
        op(method, "/api/v1/uploads/{upload}/finish", id, "End an upload; its digest is compared")
            .takes::<FinishRequest>()
            .gives::<BlobRef>(200, "What is here")
            .fails(&[409, 412])
    };
    Paths::new(auth)
        .on(begin_one, begin)
        .on(offer_all, offer)
        .on(offer_one, offer)
        .on(look, state)
        .on(go_on, append)
        .on(drop_it, discard)
        .on(end(Method::POST, "finishUpload"), finish)
        .on(end(Method::PUT, "finishUploadAgain"), finish)
        .layered(|router| router.layer(middleware::from_fn(speak_tus)))
}

/// Refuses whom the upload does not belong to, as if it were not there.
async fn check_owner(api: &ApiState, caller: &Caller, id: BlobId) -> Result<(), ApiError> {
    let owner = api.coordinator.upload_owner(id).await?.ok_or(UploadError::Unknown)?;
    if caller.sees(owner.as_deref()) { Ok(()) } else { Err(UploadError::Unknown.into()) }
}

/// The file's name in a tus `Upload-Metadata`.
fn file_name(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = header(headers, &UPLOAD_METADATA)? else { return Ok(None) };
    for pair in text.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        if matches!(key, "filename" | "name") {
            let bytes = STANDARD.decode(value.trim()).ok();
            let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            return name.map(Some).ok_or_else(|| {
                ApiError::malformed(format!("{UPLOAD_METADATA}: the name is not UTF-8 in base64"))
            });
        }
    }
    Ok(None)
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

async fn begin(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let length: u64 = needed(&headers, &UPLOAD_LENGTH, "the number of bytes to come")?;
    let (owner, name, key) = (caller.name, file_name(&headers)?, idempotency_key(&headers)?);
    let new = NewUpload { length, owner, name, key };
    let id = api.coordinator.upload_begin(new).await.map_err(ApiError::too_large)?;
    let location = header_value(&format!("/api/v1/uploads/{id}"))?;
    let offset = api.coordinator.upload_state(id).await?.offset;
    let headers = AppendHeaders([(LOCATION, location), (UPLOAD_OFFSET, HeaderValue::from(offset))]);
    let view = UploadView { id, offset, length };
    Ok((CREATED, headers, axum::Json(view)).into_response())
}

async fn state(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<BlobId>,
) -> Result<Response, ApiError> {
    check_owner(&api, &caller, id).await?;
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
    Extension(caller): Extension<Caller>,
    Named(id): Named<BlobId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_owner(&api, &caller, id).await?;
    let kind = content_type(&headers);
    if kind != UPLOAD_BODY && kind != BYTES {
        let message = format!("the body must be {UPLOAD_BODY}, not '{kind}'");
        return Err(ApiError::new(Kind::ContentType, Failure::permanent(message)));
    }
    let offset: u64 = needed(&headers, &UPLOAD_OFFSET, "the offset to go on at")?;
    let announced = header(&headers, &CONTENT_LENGTH)?.and_then(|text| text.parse::<u64>().ok());
    let state = api.coordinator.upload_state(id).await?;
    if offset.saturating_add(announced.unwrap_or(0)) > state.length {
        return Err(too_much(state));
    }
    let turn = api.coordinator.upload_turn(id, offset).await?;
    let state = receive(turn, body).await?;
    let headers = AppendHeaders([(UPLOAD_OFFSET, HeaderValue::from(state.offset))]);
    Ok((NO_CONTENT, headers).into_response())
}

/// Takes the bytes of a body, reading a piece while the one before is written. What came
/// before it broke off is kept.
async fn receive(mut turn: UploadTurn, body: Body) -> Result<UploadState, ApiError> {
    let mut pieces = Pieces::of(body);
    let mut came = pieces.next().await;
    loop {
        let piece = match came {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(turn.sync().await?),
            Err(error) => {
                turn.sync().await?;
                return Err(error);
            }
        };
        let length = piece.len() as u64;
        // What cannot be written is told at once, however long the next piece takes.
        let both = try_join(turn.append(piece), pieces.next().map(Ok)).await;
        came = match both {
            Ok(((), next)) => next,
            Err(UploadError::Offset(_)) => return Err(too_much(turn.sync().await?)),
            Err(other) => return Err(other.into()),
        };
        add(&metrics().bytes_in, length);
    }
}

fn too_much(state: UploadState) -> ApiError {
    let message = format!("more is sent than the {} bytes that were announced", state.length);
    ApiError::new(Kind::TooLarge, Failure::permanent(message))
        .with(UPLOAD_OFFSET, HeaderValue::from(state.offset))
}

async fn finish(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<BlobId>,
    Json(request): Json<FinishRequest>,
) -> Result<axum::Json<BlobRef>, ApiError> {
    check_owner(&api, &caller, id).await?;
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
    Extension(caller): Extension<Caller>,
    Named(id): Named<BlobId>,
) -> Result<Response, ApiError> {
    check_owner(&api, &caller, id).await?;
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

#[cfg(test)]
mod tests {
    use super::super::body::PIECE;
    use super::*;
    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::StreamExt;
    use futures::stream::{iter, once, pending};
    use reelmill_store::{BlobError, BlobUpload};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::Notify;

    /// Counts bytes. Writing the first ones waits until they may be, or fails.
    struct Slow {
        offset: u64,
        may_write: Option<Arc<Notify>>,
    }

    #[async_trait]
    impl BlobUpload for Slow {
        fn offset(&self) -> u64 {
            self.offset
        }

        async fn append(&mut self, bytes: Bytes) -> Result<(), BlobError> {
            match &self.may_write {
                Some(may_write) if self.offset == 0 => may_write.notified().await,
                Some(_) => {}
                None => return Err(BlobError::NoSpace("write".into())),
            }
            self.offset += bytes.len() as u64;
            Ok(())
        }

        async fn sync(&mut self) -> Result<u64, BlobError> {
            Ok(self.offset)
        }

        async fn finish(self: Box<Self>, _: Option<&str>) -> Result<BlobRef, BlobError> {
            Err(BlobError::NoSpace("finish".into()))
        }
    }

    async fn received(
        may_write: Option<Arc<Notify>>,
        rest: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<UploadState, ApiError> {
        let length = PIECE as u64 + 4;
        let turn = UploadTurn::new(Box::new(Slow { offset: 0, may_write }), length);
        let first = iter([Ok(Bytes::from(vec![7; PIECE]))]);
        let receiving = receive(turn, Body::from_stream(first.chain(rest)));
        tokio::time::timeout(Duration::from_secs(20), receiving).await.expect("it waits")
    }

    #[tokio::test]
    async fn a_piece_is_read_while_the_one_before_is_written() {
        let may_write = Arc::new(Notify::new());
        let asked = may_write.clone();
        let rest = once(async move {
            asked.notify_one();
            Ok(Bytes::from_static(b"rest"))
        });
        let length = PIECE as u64 + 4;
        let state = received(Some(may_write), rest).await.unwrap();
        assert_eq!(state, UploadState { offset: length, length });
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_though_no_more_comes() {
        assert_eq!(received(None, pending()).await.unwrap_err().kind(), Kind::NoSpace);
    }
}
