//! Another pass over a film whose size is given.

use super::Coordinator;
use super::judge::bytes_of;
use crate::mutant;
use crate::task_source::Done;
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use reelmill_core::plan::Pieces;
use reelmill_core::rate::Judgement;
use reelmill_core::task::{Rules, Task, TaskEvent, TaskKind, TaskResult, TaskState};
use reelmill_core::time::Timestamp;
use reelmill_store::{Applied, ApplyError};

impl Coordinator {
    /// Takes the report that the pieces of a film have not the size that was asked for:
    /// the pass that follows is planned, and what need not be made again is kept. Both
    /// happen at once with the report, so that no crash finds one without the other.
    pub(super) async fn next_pass(
        &self,
        job: &Job,
        done: &Done,
        other: u64,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Result<Applied, ApplyError>, Failure> {
        let event = TaskEvent::Complete(done.proof, TaskResult::Missed { other });
        if job.generation != done.task.generation {
            // Said before, or too late: the store knows which.
            return Ok(self.store.task_apply(done.task, event, rules, now).await);
        }
        let plan = self.plan(job).await?;
        let before = self.store.tasks_of(job.id, job.generation).await?;
        let pieces = Pieces::of(&before).unwrap_or_default();
        let Ok(Some(Judgement::Again(rate))) = plan.judge(&pieces, other) else {
            let message = "the finish asks for another pass, which the pieces do not need";
            let event = TaskEvent::Fail(done.proof, Failure::transient(message));
            return Ok(self.store.task_apply(done.task, event, rules, now).await);
        };
        tracing::info!(job = %job.id, pass = rate.pass, "another pass, for the size asked for");
        let next = plan.with_rate(rate);
        let mut tasks = next.tasks_after(&before, job.id, job.generation + 1, now);
        if mutant::leaves_out("passes-apart") {
            let made = |task: &Task| task.kind != TaskKind::Finish && task.state == TaskState::Done;
            let kept =
                |(task, old): (&mut Task, &Task)| *task = Task { id: task.id, ..old.clone() };
            let old = before.iter().filter(|task| task.kind != TaskKind::Analyse);
            tasks.iter_mut().zip(old).filter(|(_, old)| made(old)).for_each(kept);
        }
        let store = &self.store;
        let committed =
            store.pass_commit(done.task, done.proof, other, &next, tasks.clone(), rules, now).await;
        if committed.is_ok() {
            self.drop_replaced(&before, &tasks).await;
        }
        Ok(committed)
    }

    /// Throws away the pieces that are made again.
    async fn drop_replaced(&self, before: &[Task], after: &[Task]) {
        let blob = |task: &Task| task.result.as_ref().and_then(bytes_of).map(|blob| blob.id);
        for old in before.iter().filter_map(blob) {
            if after.iter().filter_map(blob).any(|kept| kept == old) {
                continue;
            }
            if let Err(failure) = self.drop_stored(old).await {
                tracing::warn!(%failure, blob = %old, "cannot throw a replaced piece away");
            }
        }
    }
}
