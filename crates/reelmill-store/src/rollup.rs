//! What an event does to a job and its tasks: the part that all engines share,
//! so that they cannot drift apart. Values in, values out.

use crate::StoreError;
use crate::records::NewJob;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{JobId, TaskId};
use reelmill_core::job::{Job, JobState, Request, Source, Step, step};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::{
    Change, Refused, Rules, Task, TaskEvent, TaskKind, TaskResult, TaskState, Told, transition,
};
use reelmill_core::time::Timestamp;
use serde_json::{Value, json};

/// A line for a job's history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    /// Which task it is about; `None` for the job itself.
    pub(crate) task: Option<TaskId>,
    /// What happened.
    pub(crate) event: Value,
}

/// What to write: the job, tasks (new or changed, none of them leased) and
/// lines of history, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The job after it.
    pub(crate) job: Job,
    /// The tasks that changed or are new.
    pub(crate) tasks: Vec<Task>,
    /// What to tell.
    pub(crate) notes: Vec<Note>,
}

impl Outcome {
    pub(crate) fn new(mut job: Job, tasks: Vec<Task>, event: Value, now: Timestamp) -> Self {
        job.updated = now;
        Self { job, tasks, notes: vec![Note { task: None, event }] }
    }
}

/// Accepts a job.
pub(crate) fn submit(new: &NewJob) -> Result<Outcome, StoreError> {
    let NewJob { job, tasks, .. } = new;
    if job.state == JobState::Uploading && !tasks.is_empty() {
        let message = format!("job {} has tasks before its source is here", job.id);
        return Err(StoreError::Invalid(message));
    }
    let event = json!({"event": "submitted", "state": job.state});
    let now = job.updated;
    Ok(Outcome::new(job.clone(), tasks.clone(), event, now))
}

/// The source of a job is here.
pub(crate) fn uploaded(
    job: &Job,
    source: &Source,
    tasks: Vec<Task>,
    now: Timestamp,
) -> Option<Outcome> {
    if job.state != JobState::Uploading {
        return None;
    }
    let job = Job { source: source.clone(), state: JobState::Queued, ..job.clone() };
    Some(Outcome::new(job, tasks, json!({"event": "uploaded"}), now))
}

/// What the dispatch protocol made of a job: from `was` to `to`, which puts it
/// into `state`. `None` when it is not as it `was`.
pub(crate) fn dispatched(
    job: &Job,
    was: &Dispatch,
    to: &Dispatch,
    state: JobState,
    now: Timestamp,
) -> Option<Outcome> {
    if job.dispatch.as_deref() != Some(was) {
        return None;
    }
    let failure = (state == JobState::Failed).then(|| {
        let message = to.error_message.clone().unwrap_or_default();
        Failure::permanent(format!("the engine reported: {message}"))
    });
    let ended = state.is_final().then_some(now);
    let dispatch = Some(Box::new(to.clone()));
    let job = Job { state, ended, failure, dispatch, ..job.clone() };
    let event = json!({
        "event": "dispatched", "state": state, "engine": to.engine, "inside": to.inside,
        "retries": to.retries, "error": to.error_message,
    });
    Some(Outcome::new(job, Vec::new(), event, now))
}

/// What to say when a list cannot go on after `job`.
pub(crate) fn list_broken(job: JobId) -> StoreError {
    StoreError::Invalid(format!("the list cannot go on after job {job}: it is gone"))
}

/// Cancels a job; `open` are its tasks that are not final.
pub(crate) fn cancel(job: &Job, open: &[Task], now: Timestamp) -> Option<Outcome> {
    let event = json!({"event": "cancelled", "tasks": open.len()});
    close(job, JobState::Cancelled, None, open, event, now)
}

/// Ends a job as failed, rejected or skipped.
pub(crate) fn end(
    job: &Job,
    state: JobState,
    failure: Failure,
    open: &[Task],
    now: Timestamp,
) -> Result<Option<Outcome>, StoreError> {
    if !matches!(state, JobState::Failed | JobState::Rejected | JobState::Skipped) {
        return Err(StoreError::Invalid(format!("a job cannot be ended as {}", state.label())));
    }
    let event = json!({"event": state.label(), "failure": failure});
    Ok(close(job, state, Some(failure), open, event, now))
}

fn close(
    job: &Job,
    state: JobState,
    failure: Option<Failure>,
    open: &[Task],
    event: Value,
    now: Timestamp,
) -> Option<Outcome> {
    if job.state.is_final() {
        return None;
    }
    let job = Job { state, failure, ended: Some(now), ..job.clone() };
    Some(Outcome::new(job, cancelled(open, now), event, now))
}

/// Opens a failed or cancelled job again; `tasks` are those of its generation.
pub(crate) fn reopen(job: &Job, tasks: &[Task], now: Timestamp) -> Option<Outcome> {
    if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
        return None;
    }
    let mut reopened = changed(tasks, &TaskEvent::Reopen, now);
    let stage = reopened.iter().map(|task| task.stage).min()?;
    let encoded = |task: &Task| {
        task.state == TaskState::Done
            && !task.kind.is_house_work()
            && matches!(task.result, Some(TaskResult::Encoded(_)))
    };
    let begun = tasks.iter().any(|task| task.state == TaskState::Done);
    let mut job = Job {
        state: if begun { JobState::Running } else { JobState::Queued },
        stage,
        failure: None,
        ended: None,
        output: None,
        losses: 0,
        ..job.clone()
    };
    if !tasks.iter().any(encoded) {
        job.encoder_pin = None;
    }
    let event = json!({"event": "reopened", "tasks": reopened.len()});
    for task in unblocked(&job, &reopened, now) {
        if let Some(place) = reopened.iter_mut().find(|other| other.id == task.id) {
            *place = task;
        }
    }
    Some(Outcome::new(job, reopened, event, now))
}

/// Plans a job again, from the analysis on.
pub(crate) fn replan(
    job: &Job,
    request: &Request,
    open: &[Task],
    now: Timestamp,
) -> Option<Outcome> {
    if !matches!(job.state, JobState::Queued | JobState::Running) {
        return None;
    }
    let job = Job {
        request: request.clone(),
        generation: job.generation + 1,
        stage: 0,
        encoder_pin: None,
        ..job.clone()
    };
    let id = TaskId { job: job.id, generation: job.generation, number: 0 };
    let mut tasks = cancelled(open, now);
    tasks.push(Task::new(id, TaskKind::Analyse, 0, now));
    let event = json!({"event": "replanned", "generation": job.generation});
    Some(Outcome::new(job, tasks, event, now))
}

/// Changes a job's priority.
pub(crate) fn reprioritise(job: &Job, priority: u8, now: Timestamp) -> Option<Outcome> {
    let priority = priority.min(100);
    if job.state.is_final() || job.priority == priority {
        return None;
    }
    let job = Job { priority, ..job.clone() };
    let event = json!({"event": "priority", "priority": priority});
    Some(Outcome::new(job, Vec::new(), event, now))
}

/// Lets `event` happen to `task` of `job`. An analysis, and a finish that found the
/// size to be missed, are only completed by what brings a plan (`planned`): without
/// one their job could not go on.
pub(crate) fn happen(
    job: &Job,
    task: &Task,
    event: TaskEvent,
    planned: bool,
    rules: Rules,
    now: Timestamp,
) -> Result<Change, Refused> {
    let brings = match &event {
        TaskEvent::Complete(_, result) => {
            let missed = matches!(result, TaskResult::Missed { .. });
            Some(task.kind == TaskKind::Analyse || missed)
        }
        _ => None,
    };
    let opens = matches!(
        event,
        TaskEvent::Claim(_) | TaskEvent::Rival(_) | TaskEvent::Unblock | TaskEvent::Reopen
    );
    let live = matches!(job.state, JobState::Queued | JobState::Running)
        && task.id.generation == job.generation;
    if opens && !live {
        return Err(Refused::NotNow);
    }
    let may_run = task.stage <= job.stage;
    if !may_run && matches!(event, TaskEvent::Claim(_) | TaskEvent::Unblock) {
        return Err(Refused::NotNow);
    }
    let rules = Rules { retry: job.patience(rules.retry), ..rules };
    let mut change = transition(task, event, rules, now)?;
    if brings.is_some_and(|brings| brings != planned) {
        return Err(Refused::NotNow);
    }
    if change.task.state == TaskState::Waiting && may_run {
        change.task = transition(&change.task, TaskEvent::Unblock, rules, now)?.task;
    }
    Ok(change)
}

/// Whether a change by `event` can move `job` on. A claim does so only with the first
/// task that is begun.
pub(crate) fn rolls_up(event: &TaskEvent, job: &Job) -> bool {
    match event {
        TaskEvent::Renew(..) | TaskEvent::Grace | TaskEvent::Alive(..) => false,
        TaskEvent::Claim(_) | TaskEvent::Rival(_) => job.state != JobState::Running,
        _ => true,
    }
}

/// How a job follows one of its tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Follow {
    /// The job after it.
    pub(crate) job: Job,
    /// What it did.
    pub(crate) step: Step,
    /// What to tell, when the job changed.
    pub(crate) note: Option<Note>,
}

impl Follow {
    fn stay(job: &Job, step: Step) -> Self {
        Self { job: job.clone(), step, note: None }
    }

    /// Whether the job's other tasks that are not final change too.
    pub(crate) fn concerns_others(&self) -> bool {
        self.note.is_some() && matches!(self.step, Step::Advance { .. } | Step::GiveUp)
    }

    /// Those that do, of `open`, as they are afterwards.
    pub(crate) fn others(&self, open: &[Task], now: Timestamp) -> Vec<Task> {
        match self.step {
            Step::Advance { .. } => unblocked(&self.job, open, now),
            Step::GiveUp => cancelled(open, now),
            Step::Stay | Step::Start | Step::Complete => Vec::new(),
        }
    }
}

/// How `job` follows a change of one of its tasks; `tasks` holds (stage, state)
/// of all tasks of the generation after it (each pair once is enough).
pub(crate) fn follow(
    job: &Job,
    change: &Change,
    tasks: &[(u8, TaskState)],
    now: Timestamp,
) -> Follow {
    let task = &change.task;
    if task.id.generation != job.generation {
        return Follow::stay(job, Step::Stay);
    }
    let job = &with_losses(job, change);
    let step = step(job.state, job.stage, tasks);
    let mut next = job.clone();
    let event = match step {
        Step::Stay => return Follow::stay(job, Step::Stay),
        Step::Start => {
            next.state = JobState::Running;
            json!({"event": "started"})
        }
        Step::Advance { stage } => {
            next.state = JobState::Running;
            next.stage = stage;
            json!({"event": "stage", "stage": stage})
        }
        Step::Complete => {
            next.state = JobState::Completed;
            next.ended = Some(now);
            if let Some(TaskResult::Finished(output)) = &task.result {
                next.output = Some(output.clone());
            }
            json!({"event": "completed"})
        }
        Step::GiveUp => match (task.state, &task.failure) {
            (TaskState::Failed, Some(failure)) if failure.class == FailureClass::Recut => {
                return Follow::stay(job, Step::GiveUp);
            }
            (TaskState::Failed | TaskState::Quarantined, failure) => {
                next.state = JobState::Failed;
                next.ended = Some(now);
                next.failure.clone_from(failure);
                json!({"event": "failed", "failure": failure})
            }
            // Another task failed before, and the job waits to be planned again.
            _ => return Follow::stay(job, Step::Stay),
        },
    };
    next.updated = now;
    Follow { job: next, step, note: Some(Note { task: None, event }) }
}

/// The job, with the workers counted that were lost on it since one of its tasks
/// was done.
fn with_losses(job: &Job, change: &Change) -> Job {
    let losses = match &change.told {
        Some(Told::Done { .. }) => 0,
        Some(Told::Retrying { failure, .. } | Told::GaveUp { failure, .. })
            if failure.class == FailureClass::WorkerLost =>
        {
            job.losses.saturating_add(1)
        }
        _ => job.losses,
    };
    Job { losses, ..job.clone() }
}

/// What history tells of a task's change: the core's own words, and which
/// task.
pub(crate) fn told(task: &Task, told: &Told) -> Note {
    let mut event = serde_json::to_value(told).unwrap_or_else(|_| json!({"event": "changed"}));
    if let Value::Object(fields) = &mut event {
        fields.insert("kind".into(), json!(task.kind));
        fields.insert("number".into(), json!(task.id.number));
    }
    Note { task: Some(task.id), event }
}

/// The tasks of `open` that may run now, as they are afterwards.
pub(crate) fn unblocked(job: &Job, open: &[Task], now: Timestamp) -> Vec<Task> {
    let may: Vec<Task> = open.iter().filter(|task| task.stage <= job.stage).cloned().collect();
    changed(&may, &TaskEvent::Unblock, now)
}

fn cancelled(open: &[Task], now: Timestamp) -> Vec<Task> {
    changed(open, &TaskEvent::Cancel, now)
}

/// The tasks to which `event` can happen, as they are afterwards.
fn changed(tasks: &[Task], event: &TaskEvent, now: Timestamp) -> Vec<Task> {
    let terms = LeaseTerms::default();
    let rules = Rules { terms, retry: RetryPolicy::default(), chance: 0.0 };
    let change = |task| transition(task, event.clone(), rules, now).ok();
    tasks.iter().filter_map(change).map(|change| change.task).collect()
}
