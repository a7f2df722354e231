//! What another pass over a film does to its job, on every engine.

use crate::rollup::{Outcome, unblocked};
use reelmill_core::id::TaskId;
use reelmill_core::job::Job;
use reelmill_core::plan::Plan;
use reelmill_core::task::{Task, TaskState};
use reelmill_core::time::Timestamp;
use serde_json::json;

/// Begins another pass over a job: the next generation, with `tasks`, some of which
/// may be done already. `finish` is the task of the last pass that asks for it, `plan`
/// the new one's plan. The job stays bound to its build of the encoder.
pub(crate) fn another_pass(
    job: &Job,
    finish: TaskId,
    plan: &Plan,
    tasks: Vec<Task>,
    now: Timestamp,
) -> Outcome {
    let open = tasks.iter().filter(|task| task.state != TaskState::Done);
    let stage = open.map(|task| task.stage).min().unwrap_or(job.stage);
    let job = Job { generation: finish.generation + 1, stage, ..job.clone() };
    let pass = plan.video.rate.as_ref().map(|rate| rate.pass);
    let event = json!({"event": "pass", "pass": pass, "generation": job.generation});
    let ready = unblocked(&job, &tasks, now);
    let rest = tasks.into_iter().filter(|task| ready.iter().all(|one| one.id != task.id));
    let tasks = rest.chain(ready.iter().cloned()).collect();
    Outcome::new(job, tasks, event, now)
}
