//! Tasks from a coordinator elsewhere: [`TaskSource`] over gRPC.

use crate::api::proto::v1::worker_service_client::WorkerServiceClient;
use crate::api::proto::{MAX_MESSAGE, pack, pack_load, pack_proof, standing, unpack, v1};
use crate::servers::{addresses, bearer, tell};
use crate::task_source::{
    Ask, Assignment, Done, Hello, Renewal, Report, SourceError, Standing, TaskSource, Terms,
};
use async_trait::async_trait;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{SessionId, WorkerId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

/// Longest that connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How often a silent coordinator is asked whether it is there, and how long it
/// may take to say so.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_TIME: Duration = Duration::from_secs(10);

/// Longest that an answer may take, beyond what a claim waits on purpose. A
/// report may carry megabytes.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Longest that a claim asks the coordinator to wait.
const MAX_PATIENCE: Duration = Duration::from_secs(25);

/// A coordinator elsewhere, or several of which one answers.
pub(crate) struct RemoteSource {
    servers: Vec<Channel>,
    current: AtomicUsize,
    token: Option<MetadataValue<Ascii>>,
}

impl RemoteSource {
    /// The coordinators at `servers` (`http://host:port`), who are shown `token`.
    /// Connects when first needed.
    ///
    /// # Errors
    /// When an address or the token is malformed.
    pub(crate) fn new(servers: &[String], token: Option<&str>) -> Result<Self, Failure> {
        let urls = addresses(servers)?;
        let servers = urls.iter().map(|url| channel(url.as_str())).collect::<Result<_, _>>()?;
        let token = token.map(metadata).transpose()?;
        Ok(Self { servers, current: AtomicUsize::new(0), token })
    }

    /// Makes a call to the server that answered last, or to the next one when
    /// that one is away.
    async fn call<T: Clone, R>(
        &self,
        message: T,
        time: Duration,
        call: impl AsyncFn(Client, Request<T>) -> Result<Response<R>, Status>,
    ) -> Result<R, Status> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = Status::unavailable("no server is known");
        for turn in 0..self.servers.len() {
            let at = (first + turn) % self.servers.len();
            let Some(channel) = self.servers.get(at) else { continue };
            let client = WorkerServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            let mut request = Request::new(message.clone());
            if let Some(token) = &self.token {
                request.metadata_mut().insert("authorization", token.clone());
            }
            let answer = tokio::time::timeout(time, call(client, request)).await;
            match answer.unwrap_or_else(|_| Err(Status::unavailable("no answer in time"))) {
                Ok(response) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                Err(status) if is_final(status.code()) => return Err(status),
                Err(status) => last = status,
            }
        }
        Err(last)
    }
}

type Client = WorkerServiceClient<Channel>;

fn metadata(token: &str) -> Result<MetadataValue<Ascii>, Failure> {
    let header = bearer(token)?;
    let mut value = MetadataValue::try_from(header.as_bytes()).map_err(|_| {
        Failure::permanent("the token has characters that no token has").advise("copy it again")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn channel(url: &str) -> Result<Channel, Failure> {
    let bad = |e: tonic::transport::Error| {
        Failure::permanent(format!("'{url}' is no server's address: {}", tell(&e)))
    };
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(bad)?;
    if url.starts_with("https://") {
        endpoint = endpoint.tls_config(crate::tls::grpc()).map_err(bad)?;
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIME)
        .http2_keep_alive_interval(ASK_EVERY)
        .keep_alive_timeout(ASK_TIME)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .connect_lazy())
}

/// Whether another server, or the same one later, would answer the same.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::AlreadyExists
    )
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn source_error(status: Status) -> SourceError {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            let message = format!("the coordinator refuses us: {}", status.message());
            let advice =
                "give this worker's own key, or an admin's, with --token or REELMILL_TOKEN";
            SourceError::Refused(Failure::environment(message).advise(advice))
        }
        Code::FailedPrecondition => {
            let message = format!("the coordinator does not understand us: {}", status.message());
            let advice = "run the same version of reelmill here and there";
            SourceError::Refused(Failure::environment(message).advise(advice))
        }
        Code::AlreadyExists => SourceError::Answered,
        _ => SourceError::Away(tell(&status)),
    }
}

/// Whether a message itself is at fault, so that sending it again is no use.
fn is_unsendable(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

#[async_trait]
impl TaskSource for RemoteSource {
    async fn join(&self, hello: &Hello) -> Result<Terms, SourceError> {
        let message = v1::JoinRequest {
            worker_id: hello.facts.id.to_string(),
            session_id: hello.session.to_string(),
            hello: pack(hello).map_err(source_error)?,
        };
        let call = async |mut client: Client, request| client.join(request).await;
        let terms = self.call(message, ANSWER_TIME, call).await.map_err(source_error)?;
        Ok(Terms { lease: terms.lease_micros, heartbeat: terms.heartbeat_micros })
    }

    async fn claim(
        &self,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Option<Assignment>, SourceError> {
        let patience = patience.min(MAX_PATIENCE);
        let message = v1::ClaimRequest {
            worker_id: ask.facts.id.to_string(),
            session_id: ask.session.to_string(),
            patience_millis: patience.as_millis() as u32,
            ask: pack(ask).map_err(source_error)?,
        };
        let call = async |mut client: Client, request| client.claim(request).await;
        let time = patience + ANSWER_TIME;
        let granted = self.call(message, time, call).await.map_err(source_error)?.assignment;
        let assignment = granted.map(|granted| unpack(granted.assignment, "assignment"));
        assignment.transpose().map_err(source_error)
    }

    async fn renew(&self, renewal: &Renewal) -> Result<Standing, SourceError> {
        let message = v1::RenewRequest {
            worker_id: renewal.worker.to_string(),
            task_id: renewal.task.to_string(),
            lease: pack_proof(renewal.proof),
            progress: renewal.progress,
            rate: renewal.rate,
            load: renewal.load.map(pack_load),
        };
        let call = async |mut client: Client, request| client.renew(request).await;
        let answer = self.call(message, ANSWER_TIME, call).await.map_err(source_error)?;
        standing(answer.standing).map_err(source_error)
    }

    async fn report(&self, done: &Done) -> Result<Standing, SourceError> {
        let message = |report: &Report| {
            Ok(v1::ReportRequest {
                worker_id: done.worker.to_string(),
                task_id: done.task.to_string(),
                lease: pack_proof(done.proof),
                report: pack(report)?,
            })
        };
        let call = async |mut client: Client, request| client.report(request).await;
        let told = match message(&done.report) {
            Ok(told) => self.call(told, ANSWER_TIME, call).await,
            Err(status) => Err(status),
        };
        let answer = match told {
            // A report that can never be sent must not be tried for ever: the
            // task fails instead.
            Err(status) if is_unsendable(&status) => {
                let why = format!("the report cannot be sent: {}", status.message());
                let failure = Failure::new(FailureClass::Permanent, why);
                let told = message(&Report::Failed { failure }).map_err(source_error)?;
                self.call(told, ANSWER_TIME, call).await
            }
            other => other,
        };
        standing(answer.map_err(source_error)?.standing).map_err(source_error)
    }

    async fn leave(&self, worker: WorkerId, session: SessionId) -> Result<(), SourceError> {
        let message =
            v1::LeaveRequest { worker_id: worker.to_string(), session_id: session.to_string() };
        let call = async |mut client: Client, request| client.leave(request).await;
        self.call(message, ANSWER_TIME, call).await.map_err(source_error)?;
        Ok(())
    }
}
