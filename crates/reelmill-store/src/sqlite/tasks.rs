//! Tasks.

use super::db::{Db, column, query, text};
use super::rows::{bytes, doc, encode, task_id, unword, whole, word};
use super::{blobs, jobs, queue};
use crate::error::{ApplyError, StoreError};
use crate::pass;
use crate::place::{self, Placed};
use crate::records::{Applied, Renewal};
use crate::rollup;
use reelmill_core::id::{JobId, TaskId};
use reelmill_core::job::{Job, Step};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::Plan;
use reelmill_core::task::{Change, Refused, Rules, Task, TaskEvent, TaskState, transition};
use reelmill_core::time::Timestamp;
use std::collections::BTreeMap;

/// Each (stage, state) that tasks of a generation are in, once. Jumps through
/// the index from one to the next, so it costs the same however many tasks
/// there are.
pub(super) const PAIRS: &str = "WITH RECURSIVE pairs (stage, state) AS (
             SELECT * FROM (SELECT stage, state FROM tasks WHERE job = ?1 AND generation = ?2
                            ORDER BY stage, state LIMIT 1)
             UNION ALL
             SELECT next.stage, next.state FROM pairs CROSS JOIN tasks AS next
             WHERE next.rowid = ifnull(
                 (SELECT rowid FROM tasks WHERE job = ?1 AND generation = ?2
                  AND stage = pairs.stage AND state > pairs.state
                  ORDER BY stage, state LIMIT 1),
                 (SELECT rowid FROM tasks WHERE job = ?1 AND generation = ?2
                  AND stage > pairs.stage ORDER BY stage, state LIMIT 1)))
         SELECT stage, state FROM pairs";

/// The tasks of a generation that are not final.
pub(super) const OPEN: &str = "SELECT doc FROM tasks WHERE job = ? AND generation = ?
         AND state IN ('waiting', 'ready', 'leased') ORDER BY number";

/// Tasks by their ids.
pub(super) const BY_IDS: &str =
    "SELECT tasks.job, tasks.generation, tasks.number, tasks.doc FROM json_each(?) AS wanted
         CROSS JOIN tasks ON tasks.job = unhex(wanted.value ->> 0)
         AND tasks.generation = wanted.value ->> 1 AND tasks.number = wanted.value ->> 2";

/// A task with its job.
pub(super) const WITH_JOB: &str =
    "SELECT tasks.doc, jobs.doc FROM tasks JOIN jobs ON jobs.id = tasks.job
         WHERE tasks.job = ? AND tasks.generation = ? AND tasks.number = ?";

pub(super) fn get(db: &Db, id: TaskId) -> Result<Option<Task>, StoreError> {
    query("SELECT doc FROM tasks WHERE job = ? AND generation = ? AND number = ?")
        .bind(bytes(id.job.0))
        .bind(id.generation)
        .bind(id.number)
        .first(db, |row| doc(row, 0, "a task"))
}

/// The tasks of a generation, by number.
pub(super) fn of(db: &Db, job: JobId, generation: u32) -> Result<Vec<Task>, StoreError> {
    query("SELECT doc FROM tasks WHERE job = ? AND generation = ? ORDER BY number")
        .bind(bytes(job.0))
        .bind(generation)
        .all(db, |row| doc(row, 0, "a task"))
}

/// The tasks of a job's generation that are not final, by number.
pub(super) fn open(db: &Db, job: &Job) -> Result<Vec<Task>, StoreError> {
    query(OPEN).bind(bytes(job.id.0)).bind(job.generation).all(db, |row| doc(row, 0, "a task"))
}

/// Stores tasks of `job`, new or in place of what they were.
pub(super) fn put(db: &Db, job: &Job, tasks: &[Task], terms: LeaseTerms) -> Result<(), StoreError> {
    let placed = Placed::from(job);
    for task in tasks {
        let place = place::place(job, task, terms);
        query(
            "INSERT INTO tasks (job, generation, number, stage, state, epoch, class, pin, rank,
                                weight, due, worker, rival, owner, priority, created, bytes, doc)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (job, generation, number) DO UPDATE SET
                 stage = excluded.stage, state = excluded.state, epoch = excluded.epoch,
                 class = excluded.class, pin = excluded.pin, rank = excluded.rank,
                 weight = excluded.weight, due = excluded.due, worker = excluded.worker,
                 rival = excluded.rival, owner = excluded.owner, priority = excluded.priority,
                 created = excluded.created, bytes = excluded.bytes, doc = excluded.doc",
        )
        .bind(bytes(task.id.job.0))
        .bind(task.id.generation)
        .bind(task.id.number)
        .bind(task.stage)
        .bind(word(&task.state)?)
        .bind(whole(task.epoch))
        .bind(place.class)
        .bind(place.pin)
        .bind(place.rank)
        .bind(whole(task.weight))
        .bind(place.due.map(|due| due.0))
        .bind(task.lease.as_ref().map(|lease| bytes(lease.worker.0)))
        .bind(task.rival.as_ref().map(|lease| bytes(lease.worker.0)))
        .bind(place.owner)
        .bind(placed.priority)
        .bind(placed.created.0)
        .bind(placed.bytes.map(whole))
        .bind(encode(task)?)
        .execute(db)?;
    }
    Ok(())
}

/// What an analysis brings, or a finish that asks for another pass.
pub(super) struct Planned {
    /// What the analysis found.
    pub(super) media: Option<MediaInfo>,
    pub(super) plan: Plan,
    pub(super) tasks: Vec<Task>,
}

/// What comes with an event, in the same transaction.
#[derive(Default)]
pub(super) struct Beside {
    /// A plan.
    pub(super) planned: Option<Planned>,
    /// The build that the job must be bound to; it is bound to it if it is not bound.
    pub(super) build: Option<String>,
}

/// Lets `event` happen to a task, and its job follow.
pub(super) fn apply(
    db: &Db,
    id: TaskId,
    event: TaskEvent,
    rules: Rules,
    now: Timestamp,
    beside: Beside,
) -> Result<Applied, ApplyError> {
    let Beside { planned, build } = beside;
    let (task, before) = with_job(db, id)?.ok_or(ApplyError::NoSuchTask)?;
    let mut job = before.clone();
    if let Some(build) = build {
        job.encoder_pin = Some(bind(db, id, &job, build)?);
    }
    let rolls_up = rollup::rolls_up(&event, &job);
    let change = rollup::happen(&job, &task, event, planned.is_some(), rules, now)?;
    replace(db, &task, &change.task, rules.terms)?;
    if let Some(told) = &change.told {
        jobs::note(db, id.job, &rollup::told(&change.task, told), now)?;
    }
    let mut fresh = Vec::new();
    match planned {
        Some(Planned { media: Some(media), plan, tasks }) => {
            jobs::plan_put(db, id, &plan)?;
            fresh = tasks;
            job = Job { media: Some(media), updated: now, ..job };
        }
        Some(Planned { media: None, plan, tasks }) => {
            let of = TaskId { generation: id.generation + 1, ..id };
            jobs::plan_put(db, of, &plan)?;
            let outcome = pass::another_pass(&job, id, &plan, tasks, now);
            let job = jobs::write(db, outcome, now)?;
            return Ok(Applied { task: change.task, job, step: Step::Stay, dropped: vec![] });
        }
        None => {}
    }
    let step = if rolls_up { follow(db, &mut job, &change, fresh, now)? } else { Step::Stay };
    if job != before {
        jobs::put(db, &job)?;
    }
    let dropped = if step == Step::Complete { blobs::let_go(db, id.job)? } else { vec![] };
    Ok(Applied { task: change.task, job, step, dropped })
}

/// Binds the job to a build, if it is not bound; refuses when it is to another one.
fn bind(db: &Db, id: TaskId, job: &Job, build: String) -> Result<String, ApplyError> {
    if job.generation != id.generation || job.encoder_pin.as_ref().is_some_and(|pin| *pin != build)
    {
        return Err(Refused::Stale.into());
    }
    if job.encoder_pin.is_none() {
        jobs::pin_tasks(db, job.id, &build)?;
    }
    Ok(build)
}

fn with_job(db: &Db, id: TaskId) -> Result<Option<(Task, Job)>, StoreError> {
    query(WITH_JOB)
        .bind(bytes(id.job.0))
        .bind(id.generation)
        .bind(id.number)
        .first(db, |row| Ok((doc(row, 0, "a task")?, doc(row, 1, "a job")?)))
}

/// Stores `after` in place of `before`, and refuses when it is no longer what
/// it was.
fn replace(db: &Db, before: &Task, after: &Task, terms: LeaseTerms) -> Result<(), ApplyError> {
    let written = query(
        "UPDATE tasks SET state = ?, epoch = ?, due = ?, worker = ?, rival = ?, doc = ?
         WHERE job = ? AND generation = ? AND number = ? AND epoch = ? AND state = ?",
    )
    .bind(word(&after.state)?)
    .bind(whole(after.epoch))
    .bind(place::due(after, terms).map(|due| due.0))
    .bind(after.lease.as_ref().map(|lease| bytes(lease.worker.0)))
    .bind(after.rival.as_ref().map(|lease| bytes(lease.worker.0)))
    .bind(encode(after)?)
    .bind(bytes(before.id.job.0))
    .bind(before.id.generation)
    .bind(before.id.number)
    .bind(whole(before.epoch))
    .bind(word(&before.state)?)
    .execute(db)?;
    if written == 1 { Ok(()) } else { Err(Refused::Stale.into()) }
}

/// Lets the job follow a change of a task, which has just been stored, and stores its
/// other tasks; `fresh` are new ones. The job itself is left to the caller.
fn follow(
    db: &Db,
    job: &mut Job,
    change: &Change,
    fresh: Vec<Task>,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let mut pairs = pairs(db, job)?;
    pairs.extend(fresh.iter().map(|task| (task.stage, task.state)));
    let follow = rollup::follow(job, change, &pairs, now);
    let mut others = BTreeMap::new();
    if follow.concerns_others() {
        let mut open = open(db, job)?;
        open.extend(fresh.iter().filter(|task| !task.state.is_final()).cloned());
        others.extend(follow.others(&open, now).into_iter().map(|task| (task.id, task)));
    }
    let fresh = fresh.into_iter().map(|task| others.remove(&task.id).unwrap_or(task));
    let mut changed: Vec<Task> = fresh.collect();
    changed.extend(others.into_values());
    put(db, &follow.job, &changed, LeaseTerms::default())?;
    if let Some(note) = &follow.note {
        jobs::note(db, job.id, note, now)?;
    }
    *job = follow.job;
    Ok(follow.step)
}

/// Each (stage, state) that tasks of the job's generation are in, once. Jumps
/// through the index from one to the next, so it costs the same however many
/// tasks there are.
fn pairs(db: &Db, job: &Job) -> Result<Vec<(u8, TaskState)>, StoreError> {
    query(PAIRS)
        .bind(bytes(job.id.0))
        .bind(job.generation)
        .all(db, |row| Ok((column(row, 0)?, unword(text(row, 1)?)?)))
}

pub(super) fn renew(
    db: &Db,
    renewals: Vec<Renewal>,
    rules: Rules,
    now: Timestamp,
) -> Result<Vec<Result<(), Refused>>, StoreError> {
    let ids: Vec<TaskId> = renewals.iter().map(|(id, ..)| *id).collect();
    let mut tasks = by_ids(db, &ids)?;
    let mut renewed = BTreeMap::new();
    let mut answers = Vec::with_capacity(renewals.len());
    for (id, proof, progress) in renewals {
        let event = TaskEvent::Renew(proof, progress);
        let change = tasks
            .get(&id)
            .ok_or(Refused::Stale)
            .and_then(|task| transition(task, event, rules, now));
        answers.push(change.map(|change| {
            tasks.insert(id, change.task.clone());
            renewed.insert(id, change.task);
        }));
    }
    let renewed: Vec<Task> = renewed.into_values().collect();
    queue::extend(db, &renewed, rules.terms)?;
    Ok(answers)
}

fn by_ids(db: &Db, ids: &[TaskId]) -> Result<BTreeMap<TaskId, Task>, StoreError> {
    let keys: Vec<_> =
        ids.iter().map(|id| (id.job.0.simple().to_string(), id.generation, id.number)).collect();
    let found = query(BY_IDS).bind(encode(&keys)?);
    let found = found.all(db, |row| Ok((task_id(row, 0)?, doc(row, 3, "a task")?)))?;
    Ok(found.into_iter().collect())
}
