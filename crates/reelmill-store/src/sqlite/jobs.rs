//! Jobs, their plans and their history.

use super::db::{Db, Row, column, query, text};
use super::rows::{bytes, decode, doc, encode, id, task_id};
use super::tasks;
use crate::StoreError;
use crate::records::{HistoryEntry, NewJob, Submitted};
use crate::rollup::{self, Note, Outcome};
use reelmill_core::id::{JobId, TaskId};
use reelmill_core::job::Job;
use reelmill_core::lease::LeaseTerms;
use reelmill_core::plan::Plan;
use reelmill_core::schedule::rank;
use reelmill_core::task::Task;
use reelmill_core::time::Timestamp;
use serde_json::Value;

pub(super) fn submit(db: &Db, new: &NewJob) -> Result<Submitted, StoreError> {
    if let Some(existing) = existing(db, new)? {
        return Ok(Submitted::Existing(existing));
    }
    let outcome = rollup::submit(new)?;
    let job = &new.job;
    query(
        "INSERT INTO jobs (id, owner, idempotency_key, state, priority, created, client, doc)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(bytes(job.id.0))
    .bind(&job.owner)
    .bind(&new.idempotency_key)
    .bind(job.state.label())
    .bind(job.priority)
    .bind(job.created.0)
    .bind(job.item.as_ref().map(|item| &item.client_id))
    .bind(encode(job)?)
    .execute(db)?;
    if !job.labels.is_empty() {
        query(
            "INSERT INTO job_labels (job, key, value, created)
             SELECT ?, key, value, ? FROM json_each(?)",
        )
        .bind(bytes(job.id.0))
        .bind(job.created.0)
        .bind(encode(&job.labels)?)
        .execute(db)?;
    }
    let now = outcome.job.updated;
    write_rest(db, &outcome, now)?;
    Ok(Submitted::New)
}

/// The job that `new` is a repetition of.
fn existing(db: &Db, new: &NewJob) -> Result<Option<JobId>, StoreError> {
    let found = query(
        "SELECT id, 0 AS by_key FROM jobs WHERE id = ?1
         UNION ALL
         SELECT id, 1 FROM jobs WHERE ifnull(owner, '') = ifnull(?2, '') AND idempotency_key = ?3
         ORDER BY by_key LIMIT 1",
    )
    .bind(bytes(new.job.id.0))
    .bind(&new.job.owner)
    .bind(&new.idempotency_key);
    found.first(db, |row| id(row, 0).map(JobId))
}

pub(super) fn by_key(db: &Db, owner: Option<&str>, key: &str) -> Result<Option<JobId>, StoreError> {
    let found = query(
        "SELECT id FROM jobs WHERE ifnull(owner, '') = ifnull(?1, '') AND idempotency_key = ?2",
    )
    .bind(owner)
    .bind(key);
    found.first(db, |row| id(row, 0).map(JobId))
}

pub(super) fn get(db: &Db, job: JobId) -> Result<Option<Job>, StoreError> {
    let found = query("SELECT doc FROM jobs WHERE id = ?").bind(bytes(job.0));
    found.first(db, |row| doc(row, 0, "a job"))
}

pub(super) fn history(
    db: &Db,
    job: JobId,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryEntry>, StoreError> {
    query(
        "SELECT job, generation, number, seq, at, event FROM history
         WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(bytes(job.0))
    .bind(after)
    .bind(limit)
    .all(db, entry)
}

pub(super) fn history_since(
    db: &Db,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryEntry>, StoreError> {
    query(
        "SELECT job, generation, number, seq, at, event FROM history
         WHERE seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(after)
    .bind(limit)
    .all(db, entry)
}

pub(super) fn history_last(db: &Db) -> Result<i64, StoreError> {
    query("SELECT ifnull(max(seq), 0) FROM history").value(db)
}

fn entry(row: &Row<'_>) -> Result<HistoryEntry, StoreError> {
    let of_task: Option<u32> = column(row, 1)?;
    let task = of_task.map(|_| task_id(row, 0)).transpose()?;
    Ok(HistoryEntry {
        seq: column(row, 3)?,
        job: JobId(id(row, 0)?),
        task,
        at: Timestamp(column(row, 4)?),
        event: doc(row, 5, "a line of history")?,
    })
}

/// Writes what `decide` makes of a job and its tasks (those that are not
/// final, or all of the generation when `all`); the job afterwards.
pub(super) fn change<F>(
    db: &Db,
    id: JobId,
    load: Load,
    now: Timestamp,
    decide: F,
) -> Result<Option<Job>, StoreError>
where
    F: FnOnce(&Job, &[Task]) -> Result<Option<Outcome>, StoreError> + Send,
{
    let Some(job) = get(db, id)? else { return Ok(None) };
    let tasks = match load {
        Load::None => Vec::new(),
        Load::Open => tasks::open(db, &job)?,
        Load::All => tasks::of(db, job.id, job.generation)?,
    };
    match decide(&job, &tasks)? {
        Some(outcome) => write(db, outcome, now).map(Some),
        None => Ok(Some(job)),
    }
}

/// Which tasks of a job's generation a decision needs to see.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// None.
    None,
    /// Those that are not final.
    Open,
    /// All.
    All,
}

/// Writes an outcome; the job afterwards.
pub(super) fn write(db: &Db, outcome: Outcome, now: Timestamp) -> Result<Job, StoreError> {
    put(db, &outcome.job)?;
    write_rest(db, &outcome, now)?;
    Ok(outcome.job)
}

fn write_rest(db: &Db, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
    tasks::put(db, &outcome.job, &outcome.tasks, LeaseTerms::default())?;
    for line in &outcome.notes {
        note(db, outcome.job.id, line, now)?;
    }
    Ok(())
}

/// Stores a job that is there already.
pub(super) fn put(db: &Db, job: &Job) -> Result<(), StoreError> {
    query("UPDATE jobs SET state = ?, priority = ?, doc = ? WHERE id = ?")
        .bind(job.state.label())
        .bind(job.priority)
        .bind(encode(job)?)
        .bind(bytes(job.id.0))
        .execute(db)?;
    Ok(())
}

/// Appends to a job's history.
pub(super) fn note(db: &Db, job: JobId, note: &Note, at: Timestamp) -> Result<(), StoreError> {
    query("INSERT INTO history (job, generation, number, at, event) VALUES (?, ?, ?, ?, ?)")
        .bind(bytes(job.0))
        .bind(note.task.map(|task| task.generation))
        .bind(note.task.map(|task| task.number))
        .bind(at.0)
        .bind(encode(&note.event)?)
        .execute(db)?;
    Ok(())
}

/// Appends to a job's history, if it is there.
pub(super) fn remark(db: &Db, job: JobId, at: Timestamp, event: Value) -> Result<bool, StoreError> {
    let there = query("SELECT 1 FROM jobs WHERE id = ?").bind(bytes(job.0));
    if there.first(db, |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    note(db, job, &Note { task: None, event }, at)?;
    Ok(true)
}

pub(super) fn reprioritise(
    db: &Db,
    id: JobId,
    priority: u8,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let decide = |job: &Job, _: &[Task]| Ok(rollup::reprioritise(job, priority, now));
    let job = change(db, id, Load::None, now, decide)?;
    if let Some(job) = &job {
        query("UPDATE tasks SET rank = ?, priority = ? WHERE job = ?")
            .bind(rank(job.priority, job.created))
            .bind(job.priority)
            .bind(bytes(id.0))
            .execute(db)?;
    }
    Ok(job)
}

pub(super) fn pin(
    db: &Db,
    id: JobId,
    generation: u32,
    fingerprint: String,
) -> Result<Option<String>, StoreError> {
    let Some(mut job) = get(db, id)?.filter(|job| job.generation == generation) else {
        return Ok(None);
    };
    if let Some(pin) = job.encoder_pin {
        return Ok(Some(pin));
    }
    job.encoder_pin = Some(fingerprint.clone());
    put(db, &job)?;
    pin_tasks(db, id, &fingerprint)?;
    Ok(Some(fingerprint))
}

/// Notes at the tasks of a job which build it is bound to. House work needs none: it
/// stays unbound.
pub(super) fn pin_tasks(db: &Db, id: JobId, fingerprint: &str) -> Result<(), StoreError> {
    let bind = query("UPDATE tasks SET pin = ? WHERE job = ? AND doc ->> 'needs' IS NOT NULL");
    bind.bind(fingerprint).bind(bytes(id.0)).execute(db).map(|_| ())
}

pub(super) fn delete(db: &Db, job: JobId, now: Timestamp) -> Result<bool, StoreError> {
    let loosen = query("UPDATE blobs SET job = NULL, loose_since = ? WHERE job = ?");
    loosen.bind(now.0).bind(bytes(job.0)).execute(db)?;
    let delete = query("DELETE FROM jobs WHERE id = ?").bind(bytes(job.0));
    Ok(delete.execute(db)? > 0)
}

pub(super) fn plan_get(db: &Db, job: JobId, generation: u32) -> Result<Option<Plan>, StoreError> {
    let found = query("SELECT doc FROM plans WHERE job = ? AND generation = ?")
        .bind(bytes(job.0))
        .bind(generation);
    found.first(db, |row| decode(text(row, 0)?, format!("the plan of job {job}")))
}

pub(super) fn plan_put(db: &Db, of: TaskId, plan: &Plan) -> Result<(), StoreError> {
    query("INSERT INTO plans (job, generation, doc) VALUES (?, ?, ?)")
        .bind(bytes(of.job.0))
        .bind(of.generation)
        .bind(encode(plan)?)
        .execute(db)?;
    Ok(())
}
