//! Jobs, their plans and their history.

use super::rows::{bytes, decode, doc, encode, fault, id, task_id};
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
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

pub(super) async fn submit(
    db: &mut SqliteConnection,
    new: NewJob,
) -> Result<Submitted, StoreError> {
    if let Some(existing) = existing(db, &new).await? {
        return Ok(Submitted::Existing(existing));
    }
    let outcome = rollup::submit(&new)?;
    let job = &new.job;
    sqlx::query(
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
    .execute(&mut *db)
    .await
    .map_err(fault)?;
    if !job.labels.is_empty() {
        sqlx::query(
            "INSERT INTO job_labels (job, key, value, created)
             SELECT ?, key, value, ? FROM json_each(?)",
        )
        .bind(bytes(job.id.0))
        .bind(job.created.0)
        .bind(encode(&job.labels)?)
        .execute(&mut *db)
        .await
        .map_err(fault)?;
    }
    let now = outcome.job.updated;
    write_rest(db, &outcome, now).await?;
    Ok(Submitted::New)
}

/// The job that `new` is a repetition of.
async fn existing(db: &mut SqliteConnection, new: &NewJob) -> Result<Option<JobId>, StoreError> {
    let found = sqlx::query(
        "SELECT id, 0 AS by_key FROM jobs WHERE id = ?1
         UNION ALL
         SELECT id, 1 FROM jobs WHERE ifnull(owner, '') = ifnull(?2, '') AND idempotency_key = ?3
         ORDER BY by_key LIMIT 1",
    )
    .bind(bytes(new.job.id.0))
    .bind(&new.job.owner)
    .bind(&new.idempotency_key)
    .fetch_optional(&mut *db)
    .await
    .map_err(fault)?;
    found.map(|row| id(&row, 0).map(JobId)).transpose()
}

pub(super) async fn by_key(
    db: &mut SqliteConnection,
    owner: Option<&str>,
    key: &str,
) -> Result<Option<JobId>, StoreError> {
    let found = sqlx::query(
        "SELECT id FROM jobs WHERE ifnull(owner, '') = ifnull(?1, '') AND idempotency_key = ?2",
    )
    .bind(owner)
    .bind(key)
    .fetch_optional(db)
    .await
    .map_err(fault)?;
    found.map(|row| id(&row, 0).map(JobId)).transpose()
}

pub(super) async fn get(db: &mut SqliteConnection, job: JobId) -> Result<Option<Job>, StoreError> {
    let found = sqlx::query("SELECT doc FROM jobs WHERE id = ?").bind(bytes(job.0));
    let row = found.fetch_optional(db).await.map_err(fault)?;
    row.map(|row| doc(&row, 0, "a job")).transpose()
}

pub(super) async fn history(
    db: &mut SqliteConnection,
    job: JobId,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let rows = sqlx::query(
        "SELECT job, generation, number, seq, at, event FROM history
         WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(bytes(job.0))
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(fault)?;
    rows.iter().map(entry).collect()
}

pub(super) async fn history_since(
    db: &mut SqliteConnection,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let rows = sqlx::query(
        "SELECT job, generation, number, seq, at, event FROM history
         WHERE seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
    .map_err(fault)?;
    rows.iter().map(entry).collect()
}

pub(super) async fn history_last(db: &mut SqliteConnection) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar("SELECT ifnull(max(seq), 0) FROM history");
    last.fetch_one(db).await.map_err(fault)
}

fn entry(row: &SqliteRow) -> Result<HistoryEntry, StoreError> {
    let of_task: Option<u32> = row.try_get(1).map_err(fault)?;
    let task = of_task.map(|_| task_id(row, 0)).transpose()?;
    Ok(HistoryEntry {
        seq: row.try_get(3).map_err(fault)?,
        job: JobId(id(row, 0)?),
        task,
        at: Timestamp(row.try_get(4).map_err(fault)?),
        event: doc(row, 5, "a line of history")?,
    })
}

/// Writes what `decide` makes of a job and its tasks (those that are not
/// final, or all of the generation when `all`); the job afterwards.
pub(super) async fn change<F>(
    db: &mut SqliteConnection,
    id: JobId,
    load: Load,
    now: Timestamp,
    decide: F,
) -> Result<Option<Job>, StoreError>
where
    F: FnOnce(&Job, &[Task]) -> Result<Option<Outcome>, StoreError> + Send,
{
    let Some(job) = get(db, id).await? else { return Ok(None) };
    let tasks = match load {
        Load::None => Vec::new(),
        Load::Open => tasks::open(db, &job).await?,
        Load::All => tasks::of(db, job.id, job.generation).await?,
    };
    match decide(&job, &tasks)? {
        Some(outcome) => write(db, outcome, now).await.map(Some),
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
pub(super) async fn write(
    db: &mut SqliteConnection,
    outcome: Outcome,
    now: Timestamp,
) -> Result<Job, StoreError> {
    put(db, &outcome.job).await?;
    write_rest(db, &outcome, now).await?;
    Ok(outcome.job)
}

async fn write_rest(
    db: &mut SqliteConnection,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    tasks::put(db, &outcome.job, &outcome.tasks, LeaseTerms::default()).await?;
    for line in &outcome.notes {
        note(db, outcome.job.id, line, now).await?;
    }
    Ok(())
}

/// Stores a job that is there already.
pub(super) async fn put(db: &mut SqliteConnection, job: &Job) -> Result<(), StoreError> {
    sqlx::query("UPDATE jobs SET state = ?, priority = ?, doc = ? WHERE id = ?")
        .bind(job.state.label())
        .bind(job.priority)
        .bind(encode(job)?)
        .bind(bytes(job.id.0))
        .execute(db)
        .await
        .map_err(fault)?;
    Ok(())
}

/// Appends to a job's history.
pub(super) async fn note(
    db: &mut SqliteConnection,
    job: JobId,
    note: &Note,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO history (job, generation, number, at, event) VALUES (?, ?, ?, ?, ?)")
        .bind(bytes(job.0))
        .bind(note.task.map(|task| task.generation))
        .bind(note.task.map(|task| task.number))
        .bind(at.0)
        .bind(encode(&note.event)?)
        .execute(db)
        .await
        .map_err(fault)?;
    Ok(())
}

/// Appends to a job's history, if it is there.
pub(super) async fn remark(
    db: &mut SqliteConnection,
    job: JobId,
    at: Timestamp,
    event: Value,
) -> Result<bool, StoreError> {
    let there = sqlx::query("SELECT 1 FROM jobs WHERE id = ?").bind(bytes(job.0));
    if there.fetch_optional(&mut *db).await.map_err(fault)?.is_none() {
        return Ok(false);
    }
    note(db, job, &Note { task: None, event }, at).await?;
    Ok(true)
}

pub(super) async fn reprioritise(
    db: &mut SqliteConnection,
    id: JobId,
    priority: u8,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let decide = |job: &Job, _: &[Task]| Ok(rollup::reprioritise(job, priority, now));
    let job = change(db, id, Load::None, now, decide).await?;
    if let Some(job) = &job {
        sqlx::query("UPDATE tasks SET rank = ? WHERE job = ?")
            .bind(rank(job.priority, job.created))
            .bind(bytes(id.0))
            .execute(db)
            .await
            .map_err(fault)?;
    }
    Ok(job)
}

pub(super) async fn pin(
    db: &mut SqliteConnection,
    id: JobId,
    generation: u32,
    fingerprint: String,
) -> Result<Option<String>, StoreError> {
    let Some(mut job) = get(db, id).await?.filter(|job| job.generation == generation) else {
        return Ok(None);
    };
    if let Some(pin) = job.encoder_pin {
        return Ok(Some(pin));
    }
    job.encoder_pin = Some(fingerprint.clone());
    put(db, &job).await?;
    // House work needs no build: it stays unbound.
    let bind =
        sqlx::query("UPDATE tasks SET pin = ? WHERE job = ? AND doc ->> 'needs' IS NOT NULL");
    bind.bind(&fingerprint).bind(bytes(id.0)).execute(db).await.map_err(fault)?;
    Ok(Some(fingerprint))
}

pub(super) async fn delete(
    db: &mut SqliteConnection,
    job: JobId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let loosen = sqlx::query("UPDATE blobs SET job = NULL, loose_since = ? WHERE job = ?");
    loosen.bind(now.0).bind(bytes(job.0)).execute(&mut *db).await.map_err(fault)?;
    let delete = sqlx::query("DELETE FROM jobs WHERE id = ?").bind(bytes(job.0));
    Ok(delete.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn plan_get(
    db: &mut SqliteConnection,
    job: JobId,
    generation: u32,
) -> Result<Option<Plan>, StoreError> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT doc FROM plans WHERE job = ? AND generation = ?")
            .bind(bytes(job.0))
            .bind(generation)
            .fetch_optional(db)
            .await
            .map_err(fault)?;
    found.map(|text| decode(&text, format!("the plan of job {job}"))).transpose()
}

pub(super) async fn plan_put(
    db: &mut SqliteConnection,
    of: TaskId,
    plan: &Plan,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO plans (job, generation, doc) VALUES (?, ?, ?)")
        .bind(bytes(of.job.0))
        .bind(of.generation)
        .bind(encode(plan)?)
        .execute(db)
        .await
        .map_err(fault)?;
    Ok(())
}
