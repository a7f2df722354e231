//! Handing out tasks: the coordinator as a [`TaskSource`].

use super::Coordinator;
use super::fleet::Waiting;
use super::live::Running;
use crate::clock;
use crate::task_source::{
    Ask, Assignment, Done, Hello, Renewal, SourceError, Standing, TaskSource, Terms,
};
use async_trait::async_trait;
use reelmill_core::binding::Speaker;
use reelmill_core::error::Failure;
use reelmill_core::id::{SessionId, WorkerId};
use reelmill_core::lease::LeaseProof;
use reelmill_core::load::Speeds;
use reelmill_core::task::{Task, TaskEvent};
use reelmill_store::{Applied, ApplyError, WorkerRecord, WorkerState};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Claimable tasks looked at for one claim.
pub(super) const LOOK_AHEAD: u32 = 64;

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
            let _one_at_a_time = self.enlisting.lock().await;
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

/// What a worker says of its speed, as far as it can be true.
fn benchmarks(hello: &Hello) -> Speeds {
    let sane = |speed: &f64| speed.is_finite() && *speed > 0.0;
    let all = hello.benchmarks.iter().filter(|(_, speed)| sane(speed));
    all.map(|(encoder, speed)| (*encoder, *speed)).collect()
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
        let _one_at_a_time = self.enlisting.lock().await;
        self.hear(hello.facts.id, speaker).await?;
        if self.fleet.is_over(hello.facts.id, hello.session) {
            return Ok(terms);
        }
        self.free_earlier_runs(hello.facts.id, hello.session).await.map_err(away)?;
        let now = clock::now();
        let known = self.store.worker_get(hello.facts.id).await.map_err(|e| away(e.into()))?;
        let paused = known.as_ref().is_some_and(|known| known.state == WorkerState::Paused);
        let before = known.as_ref().and_then(|known| known.key.clone());
        let same_run = known.as_ref().filter(|known| known.session == hello.session);
        let record = WorkerRecord {
            key: self.bind(before, speaker).await.map_err(away)?,
            facts: hello.facts.clone(),
            name: hello.name.clone(),
            session: hello.session,
            slots: hello.slots,
            version: hello.version.clone(),
            started: same_run.map_or(now, |known| known.started),
            seen: now,
            state: if paused { WorkerState::Paused } else { WorkerState::Active },
            benchmarks: benchmarks(hello),
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

    /// Notes that a worker was heard of, unless that was done a moment ago.
    async fn seen(&self, worker: WorkerId, session: SessionId) {
        if !self.noted.is_news(worker, session, clock::now()) {
            return;
        }
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
        if !self.fleet.is_current(worker, session) && !self.fleet.is_over(worker, session) {
            let _one_at_a_time = self.enlisting.lock().await;
            if let Some(record) = self.store.worker_get(worker).await? {
                // A late word of an earlier run may have taken its place, or it was
                // silent for long.
                let record = WorkerRecord { session, state: record.state.heard(), ..record };
                self.store.worker_put(&record).await?;
                self.fleet.note(&record);
            }
        }
        if let Some(load) = ask.load {
            self.fleet.load(worker, load);
        }
        Ok(())
    }
}
