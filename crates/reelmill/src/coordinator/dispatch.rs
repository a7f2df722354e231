//! Handing out tasks and taking reports: the coordinator as a [`TaskSource`].

use super::Coordinator;
use super::live::Running;
use crate::task_source::{
    Ask, Assignment, Done, Hello, Renewal, Report, SourceError, Standing, TaskSource, Terms,
};
use crate::{clock, mutant};
use async_trait::async_trait;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{LeaseId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, Step};
use reelmill_core::lease::{Lease, LeaseProof};
use reelmill_core::packets::Uncuttable;
use reelmill_core::schedule::{Candidate, pick};
use reelmill_core::task::{Refused, Task, TaskEvent, TaskResult};
use reelmill_store::{Applied, ApplyError, BlobRecord, BlobRole, WorkerRecord, WorkerState};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Claimable tasks looked at for one claim.
const LOOK_AHEAD: u32 = 64;

/// Longest time between two looks at the store while a claim waits: other
/// coordinators and elapsed back-off do not ring the bell.
const POLL: Duration = Duration::from_secs(1);

#[async_trait]
impl TaskSource for Coordinator {
    async fn join(&self, hello: &Hello) -> Result<Terms, SourceError> {
        self.free_earlier_runs(hello.facts.id, hello.session).await.map_err(away)?;
        let now = clock::now();
        let known = self.store.worker_get(hello.facts.id).await.map_err(|e| away(e.into()))?;
        let paused = known.is_some_and(|known| known.state == WorkerState::Paused);
        let record = WorkerRecord {
            facts: hello.facts.clone(),
            name: hello.name.clone(),
            session: hello.session,
            slots: hello.slots,
            version: hello.version.clone(),
            started: now,
            seen: now,
            state: if paused { WorkerState::Paused } else { WorkerState::Active },
            details: json!({}),
        };
        self.store.worker_put(&record).await.map_err(|e| away(e.into()))?;
        tracing::info!(worker = %hello.name, id = %hello.facts.id, slots = hello.slots, "worker joined");
        let terms = self.settings.terms;
        Ok(Terms { lease: terms.length, heartbeat: terms.heartbeat() })
    }

    async fn claim(
        &self,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Option<Assignment>, SourceError> {
        self.claim_until(ask, patience, &CancellationToken::new()).await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<Standing, SourceError> {
        let now = clock::now();
        if let Some(known) = self.live.get(renewal.task)
            && known.proof == renewal.proof
            && now.since(known.stored) < self.settings.terms.heartbeat()
        {
            let (progress, rate) = (renewal.progress, renewal.rate);
            self.live.insert(renewal.task, Running { progress, rate, ..known });
            return Ok(Standing::Held);
        }
        self.renew_stored(renewal).await.map_err(away)
    }

    async fn report(&self, done: &Done) -> Result<Standing, SourceError> {
        let standing = self.take_report(done).await.map_err(away)?;
        self.live.forget(|task, running| *task == done.task && running.proof == done.proof);
        self.bell.notify_waiters();
        Ok(standing)
    }

    async fn leave(&self, worker: WorkerId, session: SessionId) -> Result<(), SourceError> {
        let leave = async {
            let dead = |held| held == session;
            self.free_runs(worker, dead, TaskEvent::Release).await?;
            self.store.worker_state(worker, WorkerState::Gone).await?;
            Ok(())
        };
        leave.await.map_err(away)
    }
}

fn away(failure: Failure) -> SourceError {
    SourceError::Away(failure.message)
}

impl Coordinator {
    /// The next task for a worker; waits up to `patience` for one, or until
    /// `stop`. To be run to its end: dropped, it may lose what it was granted.
    pub(crate) async fn claim_until(
        &self,
        ask: &Ask,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Option<Assignment>, SourceError> {
        let until = Instant::now() + patience;
        self.seen(ask.facts.id, ask.session).await;
        loop {
            let bell = self.bell.notified();
            if let Some(assignment) = self.try_claim(ask).await.map_err(away)? {
                return Ok(Some(assignment));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_cancelled() {
                return Ok(None);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(left.min(POLL), bell) => {}
            }
        }
    }

    async fn seen(&self, worker: WorkerId, session: SessionId) {
        if let Err(error) = self.store.worker_seen(worker, session, clock::now()).await {
            tracing::warn!(%error, "cannot note a worker's sign of life");
        }
    }

    /// Takes from `worker` what earlier runs of it held: they are dead.
    async fn free_earlier_runs(&self, worker: WorkerId, now: SessionId) -> Result<(), Failure> {
        self.free_runs(worker, |held| held != now, |_| TaskEvent::WorkerGone).await
    }

    async fn free_runs(
        &self,
        worker: WorkerId,
        dead: impl Fn(SessionId) -> bool,
        event: impl Fn(LeaseProof) -> TaskEvent,
    ) -> Result<(), Failure> {
        for task in self.store.tasks_held(worker).await? {
            let held = task.lease.as_ref().filter(|lease| dead(lease.session));
            if let Some(lease) = held {
                let proof = LeaseProof { lease: lease.id, epoch: task.epoch };
                self.apply(&task, event(proof)).await?;
            }
        }
        Ok(())
    }

    /// Applies `event` to a task; a refusal is no error here.
    pub(super) async fn apply(
        &self,
        task: &Task,
        event: TaskEvent,
    ) -> Result<Option<Applied>, Failure> {
        let Some(job) = self.job(task.id.job).await? else {
            return Ok(None);
        };
        let rules = self.rules(job.request.retry);
        match self.store.task_apply(task.id, event, rules, clock::now()).await {
            Ok(applied) => {
                self.live.remove(task.id);
                self.bell.notify_waiters();
                Box::pin(self.after(&applied)).await?;
                Ok(Some(applied))
            }
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => Ok(None),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    async fn try_claim(&self, ask: &Ask) -> Result<Option<Assignment>, Failure> {
        let _one_at_a_time = self.claiming.lock().await;
        if !self.hands_out_to(ask.facts.id).await? {
            return Ok(None);
        }
        let now = clock::now();
        let mut candidates = self.store.tasks_ready(now, LOOK_AHEAD).await?;
        while let Some(at) = pick(&candidates, &ask.facts, now) {
            let candidate = candidates.swap_remove(at);
            if let Some(assignment) = self.grant(ask, &candidate).await? {
                return Ok(Some(assignment));
            }
        }
        Ok(None)
    }

    async fn grant(&self, ask: &Ask, candidate: &Candidate) -> Result<Option<Assignment>, Failure> {
        let Some(job) = self.job(candidate.task.job).await? else {
            return Ok(None);
        };
        if !self.pinned_for(ask, candidate, &job).await? {
            return Ok(None);
        }
        let now = clock::now();
        let rules = self.rules(job.request.retry);
        let id = LeaseId(clock::fresh());
        let lease = Lease::grant(id, ask.facts.id, ask.session, rules.terms, now);
        let event = TaskEvent::Claim(lease);
        let applied = match self.store.task_apply(candidate.task, event, rules, now).await {
            Ok(applied) => applied,
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => return Ok(None),
            Err(ApplyError::Store(error)) => return Err(error.into()),
        };
        let proof = LeaseProof { lease: id, epoch: applied.task.epoch };
        let worker = ask.facts.id;
        let running = Running { worker, proof, progress: 0, rate: 0.0, stored: now };
        self.live.insert(candidate.task, running);
        self.assignment(&applied, proof).await.map(Some)
    }

    /// Whether the job's chunks may come from this worker's encoder build.
    async fn pinned_for(
        &self,
        ask: &Ask,
        candidate: &Candidate,
        job: &Job,
    ) -> Result<bool, Failure> {
        let Some(build) = candidate.needs.and_then(|encoder| ask.facts.fingerprint(encoder)) else {
            return Ok(true);
        };
        let pin = self.store.job_pin(job.id, candidate.task.generation, build).await;
        Ok(pin?.as_deref() == Some(build))
    }

    async fn renew_stored(&self, renewal: &Renewal) -> Result<Standing, Failure> {
        let now = clock::now();
        let Some(job) = self.job(renewal.task.job).await? else {
            return Ok(Standing::Lost);
        };
        let event = TaskEvent::Renew(renewal.proof, renewal.progress);
        match self.store.task_apply(renewal.task, event, self.rules(job.request.retry), now).await {
            Ok(_) => {
                let Renewal { worker, proof, progress, rate, .. } = *renewal;
                let running = Running { worker, proof, progress, rate, stored: now };
                self.live.insert(renewal.task, running);
                Ok(Standing::Held)
            }
            Err(ApplyError::Refused(_)) if mutant::leaves_out("fencing") => Ok(Standing::Held),
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => {
                self.note_stale(renewal.task, renewal.worker, "heartbeat").await;
                Ok(Standing::Lost)
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    async fn note_stale(&self, task: TaskId, worker: WorkerId, what: &str) {
        let event = json!({
            "event": "stale_refused", "what": what, "worker": worker, "task": task.number,
        });
        tracing::info!(%task, %worker, what, "stale report refused");
        if let Err(error) = self.store.job_note(task.job, clock::now(), event).await {
            tracing::warn!(%error, "cannot note a refused report");
        }
    }

    async fn take_report(&self, done: &Done) -> Result<Standing, Failure> {
        let Some(job) = self.job(done.task.job).await? else {
            return Ok(Standing::Lost);
        };
        let now = clock::now();
        let rules = self.rules(job.request.retry);
        let applied = match &done.report {
            Report::Analysed { media, plan } => {
                let tasks = plan.tasks(job.id, done.task.generation, now);
                let store = &self.store;
                store.plan_commit(done.task, done.proof, media, plan, tasks, rules, now).await
            }
            Report::Done { result } => {
                self.keep_blob(&job, result).await?;
                let event = TaskEvent::Complete(done.proof, result.clone());
                self.store.task_apply(done.task, event, rules, now).await
            }
            Report::Failed { failure } => {
                let event = TaskEvent::Fail(done.proof, failure.clone());
                self.store.task_apply(done.task, event, rules, now).await
            }
            Report::Released => {
                let event = TaskEvent::Release(done.proof);
                self.store.task_apply(done.task, event, rules, now).await
            }
        };
        match applied {
            Ok(applied) => {
                self.after(&applied).await?;
                Ok(Standing::Held)
            }
            Err(ApplyError::Refused(Refused::Repeated)) => Ok(Standing::Held),
            Err(ApplyError::Refused(_)) if mutant::leaves_out("fencing") => Ok(Standing::Held),
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => {
                self.note_stale(done.task, done.worker, "result").await;
                self.drop_blob(&done.report).await;
                Ok(Standing::Lost)
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// Notes to whom a result's bytes belong before the result counts, so that
    /// no crash in between leaves bytes that nobody knows.
    async fn keep_blob(&self, job: &Job, result: &TaskResult) -> Result<(), Failure> {
        let (blob, role) = match result {
            TaskResult::Encoded(encoded) => (&encoded.blob, BlobRole::Part),
            TaskResult::Finished(finished) => match &finished.blob {
                Some(blob) => (blob, BlobRole::Output),
                None => return Ok(()),
            },
            TaskResult::Analysed => return Ok(()),
        };
        let record =
            BlobRecord { blob: blob.clone(), created: clock::now(), job: Some(job.id), role };
        Ok(self.store.blob_put(&record).await?)
    }

    async fn drop_blob(&self, report: &Report) {
        let Report::Done { result: TaskResult::Encoded(encoded) } = report else {
            return;
        };
        let id = encoded.blob.id;
        if let Err(error) = self.blobs.delete(id).await {
            tracing::warn!(%error, blob = %id, "cannot delete a refused result");
        }
        if let Err(error) = self.store.blob_delete(id).await {
            tracing::warn!(%error, blob = %id, "cannot forget a refused result");
        }
    }

    /// What a change of a task sets off beyond the store.
    pub(super) async fn after(&self, applied: &Applied) -> Result<(), Failure> {
        match applied.step {
            Step::Complete => self.tidy_completed(&applied.job).await,
            Step::GiveUp => self.replan_if_cut_failed(&applied.task).await?,
            Step::Stay | Step::Start | Step::Advance { .. } => {}
        }
        Ok(())
    }

    /// A chunk whose frames were not those of the index: the job is planned
    /// again, in one piece.
    pub(super) async fn replan_if_cut_failed(&self, task: &Task) -> Result<(), Failure> {
        let failure = task.failure.as_ref();
        let Some(failure) = failure.filter(|f| f.class == FailureClass::Recut) else {
            return Ok(());
        };
        let id = task.id.job;
        let Some(job) = self.job(id).await?.filter(|job| job.generation == task.id.generation)
        else {
            return Ok(());
        };
        let mut request = job.request;
        request.uncuttable = Some(Uncuttable::Contradicted { message: failure.message.clone() });
        tracing::warn!(job = %id, why = %failure, "planning again without cutting");
        self.store.job_replan(id, &request, clock::now()).await?;
        self.live.forget(|task, _| task.job == id);
        self.bell.notify_waiters();
        Ok(())
    }
}
