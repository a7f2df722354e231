//! The worker service: [`TaskSource`] over gRPC.

use super::auth::Caller;
use super::listen::Closing;
use super::proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use super::proto::{
    MAX_MESSAGE, id, pack, pack_proof, pack_standing, proof, unpack, unpack_load, v1,
};
use crate::coordinator::Coordinator;
use crate::task_source::{Ask, Assignment, Done, Hello, Renewal, Report, SourceError, TaskSource};
use axum::Router;
use reelmill_core::binding::Speaker;
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Longest that a claim waits, whatever was asked.
const MAX_PATIENCE: Duration = Duration::from_secs(25);

/// The routes.
pub(crate) fn routes(coordinator: Arc<Coordinator>) -> Router {
    let service = WorkerServiceServer::new(Workers { coordinator })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    tonic::service::Routes::new(service).into_axum_router().reset_fallback()
}

struct Workers {
    coordinator: Arc<Coordinator>,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let speaker = speaker(&request);
        let request = request.into_inner();
        let mut hello: Hello = unpack(request.hello, "hello")?;
        hello.facts.house &= speaker.may_keep_house();
        same(hello.facts.id, id(&request.worker_id, "worker id")?)?;
        same(hello.session, id(&request.session_id, "session id")?)?;
        let coordinator = self.coordinator.clone();
        let terms = see_through(async move { coordinator.join_as(&hello, &speaker).await }).await?;
        let (lease_micros, heartbeat_micros) = (terms.lease, terms.heartbeat);
        Ok(Response::new(v1::JoinResponse { lease_micros, heartbeat_micros }))
    }

    async fn claim(
        &self,
        request: Request<v1::ClaimRequest>,
    ) -> Result<Response<v1::ClaimResponse>, Status> {
        let closing = request.extensions().get::<Closing>().cloned().unwrap_or_default();
        let speaker = speaker(&request);
        let request = request.into_inner();
        let mut ask: Ask = unpack(request.ask, "ask")?;
        ask.facts.house &= speaker.may_keep_house();
        let worker = ask.facts.id;
        same(worker, id(&request.worker_id, "worker id")?)?;
        same(ask.session, id(&request.session_id, "session id")?)?;
        self.coordinator.hear(worker, &speaker).await.map_err(refusal)?;
        let patience = Duration::from_millis(request.patience_millis.into()).min(MAX_PATIENCE);
        let (answer, granted) = oneshot::channel();
        let claim = Claim { coordinator: self.coordinator.clone(), ask, patience };
        tokio::spawn(claim.run(answer, closing.0));
        let granted = granted.await.map_err(|_| Status::internal("the claim broke down"))?;
        let Some(granted) = granted.map_err(refusal)? else {
            return Ok(Response::new(v1::ClaimResponse { assignment: None }));
        };
        match pack_assignment(&granted) {
            Ok(assignment) => Ok(Response::new(v1::ClaimResponse { assignment: Some(assignment) })),
            Err(status) => {
                self.give_up(&granted, worker, &status).await;
                Err(Status::unavailable(status.message()))
            }
        }
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let speaker = speaker(&request);
        let request = request.into_inner();
        let renewal = Renewal {
            task: id(&request.task_id, "task id")?,
            proof: proof(request.lease)?,
            worker: id(&request.worker_id, "worker id")?,
            progress: request.progress,
            rate: if request.rate.is_finite() { request.rate.max(0.0) } else { 0.0 },
            load: request.load.map(unpack_load),
        };
        self.coordinator.hear(renewal.worker, &speaker).await.map_err(refusal)?;
        let coordinator = self.coordinator.clone();
        let standing = see_through(async move { coordinator.renew(&renewal).await }).await?;
        Ok(Response::new(v1::RenewResponse { standing: pack_standing(standing) }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let speaker = speaker(&request);
        let request = request.into_inner();
        let done = Done {
            task: id(&request.task_id, "task id")?,
            proof: proof(request.lease)?,
            worker: id(&request.worker_id, "worker id")?,
            report: unpack(request.report, "report")?,
        };
        self.coordinator.hear(done.worker, &speaker).await.map_err(refusal)?;
        let coordinator = self.coordinator.clone();
        let standing = see_through(async move { coordinator.report(&done).await }).await?;
        Ok(Response::new(v1::ReportResponse { standing: pack_standing(standing) }))
    }

    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::LeaveResponse>, Status> {
        let speaker = speaker(&request);
        let request = request.into_inner();
        let worker = id(&request.worker_id, "worker id")?;
        let session = id(&request.session_id, "session id")?;
        self.coordinator.hear(worker, &speaker).await.map_err(refusal)?;
        let coordinator = self.coordinator.clone();
        see_through(async move { coordinator.leave(worker, session).await }).await?;
        Ok(Response::new(v1::LeaveResponse {}))
    }
}

/// Who calls, as one who speaks for a worker.
fn speaker<T>(request: &Request<T>) -> Speaker {
    let nobody = || Speaker::Worker(String::new());
    request.extensions().get::<Caller>().map_or_else(nobody, Caller::speaker)
}

fn same<T: PartialEq + Copy>(in_payload: T, in_message: T) -> Result<(), Status> {
    if in_payload == in_message {
        return Ok(());
    }
    Err(Status::invalid_argument("the ids of the message and of its payload differ"))
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn refusal(error: SourceError) -> Status {
    match &error {
        SourceError::Away(why) => Status::unavailable(why.clone()),
        SourceError::Refused(failure) => Status::permission_denied(failure.message.clone()),
        SourceError::Answered => Status::already_exists(error.to_string()),
    }
}

/// Runs a call to its end, though its sender hangs up.
async fn see_through<T: Send + 'static>(
    call: impl Future<Output = Result<T, SourceError>> + Send + 'static,
) -> Result<T, Status> {
    let ended = tokio::spawn(call).await;
    ended.map_err(|e| Status::internal(format!("the call broke down: {e}")))?.map_err(refusal)
}

fn pack_assignment(assignment: &Assignment) -> Result<v1::Assignment, Status> {
    Ok(v1::Assignment {
        task_id: assignment.task.to_string(),
        lease: pack_proof(assignment.proof),
        assignment: pack(assignment)?,
    })
}

impl Workers {
    /// Fails a task that no worker can ever be told of.
    async fn give_up(&self, granted: &Assignment, worker: WorkerId, why: &Status) {
        let failure =
            Failure::permanent(format!("the task cannot be handed out: {}", why.message()));
        let (task, proof, report) = (granted.task, granted.proof, Report::Failed { failure });
        if let Err(error) = self.coordinator.report(&Done { task, proof, worker, report }).await {
            tracing::warn!(%task, %error, "cannot fail a task that cannot be handed out");
        }
    }
}

/// A claim that waits. It runs beside the call: a grant that comes when the
/// worker has hung up is given back at once instead of running out.
struct Claim {
    coordinator: Arc<Coordinator>,
    ask: Ask,
    patience: Duration,
}

impl Claim {
    async fn run(
        self,
        mut answer: oneshot::Sender<Result<Option<Assignment>, SourceError>>,
        closing: CancellationToken,
    ) {
        let stop = closing.child_token();
        let claim = self.coordinator.claim_until(&self.ask, self.patience, &stop);
        tokio::pin!(claim);
        let granted = tokio::select! {
            granted = &mut claim => granted,
            () = answer.closed() => {
                stop.cancel();
                claim.await
            }
        };
        if let Err(Ok(Some(assignment))) = answer.send(granted) {
            self.give_back(&assignment).await;
        }
    }

    async fn give_back(&self, assignment: &Assignment) {
        let (task, proof) = (assignment.task, assignment.proof);
        let done = Done { task, proof, worker: self.ask.facts.id, report: Report::Released };
        if let Err(error) = self.coordinator.report(&done).await {
            tracing::warn!(%task, %error, "cannot give back a task whose worker hung up");
        }
    }
}
