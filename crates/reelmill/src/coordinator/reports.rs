//! Heartbeats and reports of workers: what holds, what counts, what is refused.

use super::Coordinator;
use super::judge::bytes_of;
use super::live::Running;
use crate::task_source::{Done, Renewal, Report, Standing};
use crate::{clock, mutant};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{TaskId, WorkerId};
use reelmill_core::job::{Job, Step};
use reelmill_core::lease::LeaseProof;
use reelmill_core::packets::Uncuttable;
use reelmill_core::task::{Refused, Task, TaskEvent, TaskResult, TaskState};
use reelmill_store::{Applied, ApplyError, BlobRecord, BlobRole};
use serde_json::json;

impl Coordinator {
    /// Renews a lease in the store.
    pub(super) async fn renew_stored(&self, renewal: &Renewal) -> Result<Standing, Failure> {
        self.mind_the_clock().await?;
        let now = clock::now();
        let Some(job) = self.job(renewal.task.job).await? else {
            return Ok(Standing::Lost);
        };
        let event = TaskEvent::Renew(renewal.proof, renewal.progress);
        match self.store.task_apply(renewal.task, event, self.rules(job.request.retry), now).await {
            Ok(Applied { task, job, .. }) => {
                let held = task.leases().find(|lease| lease.proof() == renewal.proof);
                if let Some(lease) = held {
                    let rate = renewal.rate;
                    let running = Running { rate, ..Running::new(&job, &task, lease, now) };
                    self.live.insert(renewal.task, running);
                }
                Ok(Standing::Held)
            }
            Err(ApplyError::Refused(_)) if mutant::leaves_out("fencing") => Ok(Standing::Held),
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => {
                self.note_stale(renewal.task, (renewal.worker, renewal.proof), "heartbeat").await;
                Ok(Standing::Lost)
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    async fn note_stale(&self, task: TaskId, (worker, proof): (WorkerId, LeaseProof), what: &str) {
        let event = json!({
            "event": "stale_refused", "what": what, "worker": worker, "task": task.number,
        });
        tracing::info!(%task, %worker, what, "stale report refused");
        if let Err(error) = self.store.job_note(task.job, clock::now(), event).await {
            tracing::warn!(%error, "cannot note a refused report");
        }
        // Whoever speaks was not killed by the task.
        let (event, now) = (TaskEvent::Alive(worker, proof.epoch), clock::now());
        let rules = self.rules(self.settings.retry);
        if let Err(ApplyError::Store(error)) = self.store.task_apply(task, event, rules, now).await
        {
            tracing::warn!(%error, "cannot acquit a task");
        }
    }

    /// Takes what a worker reports, if it still has the task.
    pub(super) async fn take_report(&self, done: &Done) -> Result<Standing, Failure> {
        let Some(job) = self.job(done.task.job).await? else {
            self.drop_refused(done).await;
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
            Report::Done { result: TaskResult::Missed { other } } => {
                self.next_pass(&job, done, *other, rules, now).await?
            }
            Report::Done { result } => match self.believed(&job, done, result).await? {
                (event, None) => self.store.task_apply(done.task, event, rules, now).await,
                (event, Some(bytes)) => {
                    self.store.task_complete(done.task, event, &bytes, rules, now).await
                }
            },
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
                if applied.task.lease.is_none() {
                    self.live.remove(done.task);
                }
                self.taken(done, &applied).await;
                self.after(&applied).await?;
                Ok(Standing::Held)
            }
            Err(ApplyError::Refused(Refused::Repeated)) => Ok(Standing::Held),
            Err(ApplyError::Refused(_)) if mutant::leaves_out("fencing") => Ok(Standing::Held),
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => {
                self.note_stale(done.task, (done.worker, done.proof), "result").await;
                self.drop_refused(done).await;
                Ok(Standing::Lost)
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// What a report of a result comes to: it counts, unless it cannot be true. With
    /// the row of its bytes, which must be there when it counts: no crash may leave
    /// bytes that nobody knows.
    async fn believed(
        &self,
        job: &Job,
        done: &Done,
        result: &TaskResult,
    ) -> Result<(TaskEvent, Option<BlobRecord>), Failure> {
        let complete = TaskEvent::Complete(done.proof, result.clone());
        let task = self.store.task_get(done.task).await?;
        let Some(task) = task.filter(|task| task.is_held_by(done.proof)) else {
            return Ok((complete, None));
        };
        if let Some(failure) = self.doubt(job, done, task.kind, result).await? {
            tracing::warn!(task = %done.task, worker = %done.worker, %failure, "not believed");
            return Ok((TaskEvent::Fail(done.proof, failure), None));
        }
        Ok((complete, row_of(job, result)))
    }

    /// What is to be learnt from a report that was taken.
    async fn taken(&self, done: &Done, applied: &Applied) {
        let task = &applied.task;
        if task.state != TaskState::Done {
            // Not believed, whatever it was.
            self.drop_refused(done).await;
            return;
        }
        let Report::Done { result: TaskResult::Encoded(encoded) } = &done.report else { return };
        let measured = (task.cost, encoded.seconds);
        if let Err(failure) = self.learn(done.worker, task.needs, measured).await {
            tracing::warn!(%failure, "cannot note a worker's speed");
        }
    }

    /// What a change of a task sets off beyond the store.
    pub(super) async fn after(&self, applied: &Applied) -> Result<(), Failure> {
        match applied.step {
            Step::Complete => self.drop_bytes(applied).await,
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
        if task.needs.is_some_and(|encoder| encoder.hardware().is_some()) {
            request.hardware_failed = Some(failure.message.clone());
            tracing::warn!(job = %id, why = %failure, "planning again without hardware");
        } else {
            let message = failure.message.clone();
            request.uncuttable = Some(Uncuttable::Contradicted { message });
            tracing::warn!(job = %id, why = %failure, "planning again without cutting");
        }
        self.store.job_replan(id, &request, clock::now()).await?;
        self.live.forget(|task, _| task.job == id);
        self.bell.notify_waiters();
        Ok(())
    }
}

/// The row of the bytes that a result of `job` names, if it names any.
fn row_of(job: &Job, result: &TaskResult) -> Option<BlobRecord> {
    let blob = bytes_of(result)?.clone();
    let role = match result {
        TaskResult::Finished(_) => BlobRole::Output,
        _ => BlobRole::Part,
    };
    Some(BlobRecord { blob, created: clock::now(), job: Some(job.id), role })
}
