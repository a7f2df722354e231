//! Handing out tasks: the coordinator as a [`TaskSource`].

use super::Coordinator;
use super::fleet::{Choice, Waiting};
use super::live::Running;
use crate::clock;
use crate::task_source::{
    Ask, Assignment, Done, Hello, Renewal, SourceError, Standing, TaskSource, Terms,
};
use async_trait::async_trait;
use reelmill_core::binding::Speaker;
use reelmill_core::error::Failure;
use reelmill_core::id::{LeaseId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, PROBATION, Step};
use reelmill_core::lease::{Lease, LeaseProof};
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskEvent};
use reelmill_store::{Applied, ApplyError, WorkerRecord, WorkerState};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Claimable tasks looked at for one claim.
pub(super) const LOOK_AHEAD: u32 = 64;

/// Candidates tried for one claim before it waits again: each may turn out to be
/// taken, or not to be had now.
const TRIES: u32 = 16;

/// Longest time between two looks at the store while a claim waits: other
/// coordinators and elapsed back-off do not ring the bell.
const POLL: Duration = Duration::from_secs(1);

#[async_trait]
impl TaskSource for Coordinator {
    async fn join(&self, hello: &Hello) -> Result<Terms, SourceError> {
        self.join_as(hello, &Speaker::House).await
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
        if let Some(known) = self.live.get(renewal.task, renewal.proof)
            && (0..self.settings.terms.heartbeat()).contains(&now.since(known.stored))
        {
            let (progress, rate) = (renewal.progress, renewal.rate);
            self.live.insert(renewal.task, Running { progress, rate, ..known });
            self.hear_load(renewal);
            return Ok(Standing::Held);
        }
        let standing = self.renew_stored(renewal).await.map_err(away)?;
        if standing == Standing::Held {
            self.hear_load(renewal);
        }
        Ok(standing)
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
            let known = self.store.worker_get(worker).await?;
            if known.is_some_and(|known| known.session == session) {
                self.store.worker_state(worker, WorkerState::Gone).await?;
                self.fleet.stands(worker, WorkerState::Gone);
            }
            Ok(())
        };
        leave.await.map_err(away)
    }
}

pub(super) fn away(failure: Failure) -> SourceError {
    SourceError::Away(failure.message)
}

impl Coordinator {
    /// A worker announces itself, for which `speaker` speaks: it belongs to the
    /// first key with which it does.
    pub(crate) async fn join_as(
        &self,
        hello: &Hello,
        speaker: &Speaker,
    ) -> Result<Terms, SourceError> {
        let terms = self.settings.terms;
        let terms = Terms { lease: terms.length, heartbeat: terms.heartbeat() };
        let _one_at_a_time = self.joining.lock().await;
        self.hear(hello.facts.id, speaker).await?;
        if self.fleet.is_over(hello.facts.id, hello.session) {
            return Ok(terms);
        }
        self.free_earlier_runs(hello.facts.id, hello.session).await.map_err(away)?;
        let now = clock::now();
        let known = self.store.worker_get(hello.facts.id).await.map_err(|e| away(e.into()))?;
        let paused = known.as_ref().is_some_and(|known| known.state == WorkerState::Paused);
        let before = known.as_ref().and_then(|known| known.key.clone());
        let record = WorkerRecord {
            key: self.bind(before, speaker).await.map_err(away)?,
            facts: hello.facts.clone(),
            name: hello.name.clone(),
            session: hello.session,
            slots: hello.slots,
            version: hello.version.clone(),
            started: now,
            seen: now,
            state: if paused { WorkerState::Paused } else { WorkerState::Active },
            speeds: known.as_ref().map(|known| known.speeds.clone()).unwrap_or_default(),
            limit: known.and_then(|known| known.limit),
            details: json!({}),
        };
        self.store.worker_put(&record).await.map_err(|e| away(e.into()))?;
        self.fleet.note(&record);
        tracing::info!(worker = %hello.name, id = %hello.facts.id, slots = hello.slots, "worker joined");
        Ok(terms)
    }

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
        self.meet(ask).await.map_err(away)?;
        loop {
            let bell = self.bell.notified();
            if let Some(assignment) = self.try_claim(ask).await? {
                return Ok(Some(assignment));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_cancelled() {
                return Ok(None);
            }
            let _waiting = Waiting::begin(&self.fleet, &ask.facts);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(left.min(POLL), bell) => {}
            }
        }
    }

    /// Notes what the machine of the lease's holder is at: a worker that encodes
    /// for hours asks for nothing meanwhile.
    fn hear_load(&self, renewal: &Renewal) {
        if let Some(load) = renewal.load
            && let Some(holder) = self.live.get(renewal.task, renewal.proof)
        {
            self.fleet.load(holder.worker, load);
        }
    }

    async fn seen(&self, worker: WorkerId, session: SessionId) {
        if let Err(error) = self.store.worker_seen(worker, session, clock::now()).await {
            tracing::warn!(%error, "cannot note a worker's sign of life");
        }
    }

    /// Takes from `worker` what earlier runs of it held: they are dead.
    async fn free_earlier_runs(&self, worker: WorkerId, now: SessionId) -> Result<(), Failure> {
        self.free_runs(worker, |held| held != now, TaskEvent::WorkerGone).await
    }

    async fn free_runs(
        &self,
        worker: WorkerId,
        dead: impl Fn(SessionId) -> bool,
        event: impl Fn(LeaseProof) -> TaskEvent,
    ) -> Result<(), Failure> {
        for task in self.store.tasks_held(worker).await? {
            let held = task.leases().filter(|held| held.worker == worker && dead(held.session));
            for lease in held {
                self.apply(&task, event(lease.proof())).await?;
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

    /// Makes sure that a worker is known that joined before this coordinator
    /// began, and notes what its machine is at.
    async fn meet(&self, ask: &Ask) -> Result<(), Failure> {
        let (worker, session) = (ask.facts.id, ask.session);
        if !self.fleet.is_current(worker, session)
            && !self.fleet.is_over(worker, session)
            && let Some(record) = self.store.worker_get(worker).await?
        {
            // A late word of an earlier run may have taken its place, or it was
            // silent for long.
            let record = WorkerRecord { session, state: record.state.heard(), ..record };
            self.store.worker_put(&record).await?;
            self.fleet.note(&record);
        }
        if let Some(load) = ask.load {
            self.fleet.load(worker, load);
        }
        Ok(())
    }

    async fn try_claim(&self, ask: &Ask) -> Result<Option<Assignment>, SourceError> {
        let _one_at_a_time = self.claiming.lock().await;
        let worker = ask.facts.id;
        if self.fleet.is_over(worker, ask.session) {
            return Ok(None);
        }
        let held = self.store.tasks_held(worker).await.map_err(|e| away(e.into()))?;
        if let Some(request) = ask.request {
            if let Some(assignment) = self.granted_before(request, &held).await.map_err(away)? {
                return Ok(Some(assignment));
            }
            if self.fleet.was_answered(worker, request) {
                return Err(SourceError::Answered);
            }
        }
        if held.len() >= self.fleet.most(worker) {
            return Ok(None);
        }
        self.find_task(ask).await.map_err(away)
    }

    /// A task for a worker that may have one more.
    async fn find_task(&self, ask: &Ask) -> Result<Option<Assignment>, Failure> {
        if !self.hands_out_to(ask.facts.id).await? {
            return Ok(None);
        }
        let mut candidates = self.store.tasks_ready(clock::now(), LOOK_AHEAD).await?;
        self.sort(&mut candidates);
        for _ in 0..TRIES {
            let granted = match self.choose(ask, &candidates) {
                Choice::Take(at) => self.grant(ask, &candidates.remove(at)).await?,
                Choice::Double(task) => return self.double(ask, task).await,
                Choice::Nothing => return Ok(None),
            };
            if granted.is_some() {
                return Ok(granted);
            }
        }
        Ok(None)
    }

    /// What was granted to this very question: its answer was lost.
    async fn granted_before(
        &self,
        request: LeaseId,
        held: &[Task],
    ) -> Result<Option<Assignment>, Failure> {
        let asked = |task: &&Task| task.leases().any(|lease| lease.id == request);
        let Some(task) = held.iter().find(asked) else { return Ok(None) };
        let Some(job) = self.job(task.id.job).await? else { return Ok(None) };
        let Some(lease) = task.leases().find(|lease| lease.id == request) else { return Ok(None) };
        let applied = Applied { task: task.clone(), job, step: Step::Stay };
        self.assignment(&applied, lease.proof()).await.map(Some)
    }

    async fn grant(&self, ask: &Ask, candidate: &Candidate) -> Result<Option<Assignment>, Failure> {
        let Some(job) = self.job(candidate.task.job).await? else {
            return Ok(None);
        };
        if job.losses >= PROBATION && self.is_worked_on(&job).await? {
            return Ok(None);
        }
        if !self.pinned_for(ask, candidate, &job).await? {
            return Ok(None);
        }
        self.lease(ask, candidate.task, &job, TaskEvent::Claim).await
    }

    /// Lets a second worker try a task that takes long where it is.
    async fn double(&self, ask: &Ask, task: TaskId) -> Result<Option<Assignment>, Failure> {
        let Some(job) = self.job(task.job).await? else { return Ok(None) };
        let encoder = job.request.encoder();
        let build = encoder.and_then(|encoder| ask.facts.fingerprint(encoder));
        if build.is_none() || job.encoder_pin.as_deref() != build {
            return Ok(None);
        }
        self.live.doubled(task);
        let granted = self.lease(ask, task, &job, TaskEvent::Rival).await?;
        if granted.is_some() {
            tracing::info!(%task, worker = %ask.facts.id, "a second worker tries it too");
        }
        Ok(granted)
    }

    /// Whether any task of the job is with a worker.
    async fn is_worked_on(&self, job: &Job) -> Result<bool, Failure> {
        let tasks = self.store.tasks_of(job.id, job.generation).await?;
        Ok(tasks.iter().any(|task| task.lease.is_some()))
    }

    async fn lease(
        &self,
        ask: &Ask,
        task: TaskId,
        job: &Job,
        event: impl Fn(Lease) -> TaskEvent,
    ) -> Result<Option<Assignment>, Failure> {
        let now = clock::now();
        let rules = self.rules(job.request.retry);
        let id = ask.request.unwrap_or_else(|| LeaseId(clock::fresh()));
        let lease = Lease::grant(id, ask.facts.id, ask.session, rules.terms, now);
        let applied = match self.store.task_apply(task, event(lease), rules, now).await {
            Ok(applied) => applied,
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => return Ok(None),
            Err(ApplyError::Store(error)) => return Err(error.into()),
        };
        self.fleet.answered(ask.facts.id, id);
        let Some(lease) = applied.task.leases().find(|lease| lease.id == id) else {
            return Ok(None);
        };
        let proof = lease.proof();
        self.live.insert(task, Running::new(&applied.job, &applied.task, lease, now));
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
}
