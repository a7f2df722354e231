//! Which tasks can be claimed, and which leases run out.

use super::rows::{bytes, doc, encode, fault, task_id};
use crate::StoreError;
use crate::place::{self, Placed};
use reelmill_core::id::{TaskId, WorkerId};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Rules, Task, TaskEvent, transition};
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::cmp::Reverse;

/// The first tasks of one group that can be claimed.
pub(super) const READY: &str =
    "SELECT tasks.rank, tasks.due, tasks.rowid, tasks.pin, jobs.priority, jobs.created,
                    tasks.doc, tasks.owner, jobs.doc ->> '$.source.bytes'
             FROM tasks CROSS JOIN jobs ON jobs.id = tasks.job
             WHERE tasks.state = 'ready' AND tasks.class = ? AND tasks.pin = ?
             AND tasks.owner = ? AND tasks.due <= ?
             ORDER BY tasks.rank, tasks.weight DESC, tasks.due, tasks.rowid LIMIT ?";

/// Each (class, pin, owner) of tasks that are ready, jumping through the index.
/// (A comparison of all at once would walk over all that are alike.)
pub(super) const GROUPS: &str = "WITH RECURSIVE found (class, pin, owner) AS (
             SELECT * FROM (SELECT class, pin, owner FROM tasks WHERE state = 'ready'
                            ORDER BY class, pin, owner LIMIT 1)
             UNION ALL
             SELECT next.class, next.pin, next.owner FROM found CROSS JOIN tasks AS next
             WHERE next.rowid = coalesce(
                 (SELECT rowid FROM tasks
                  WHERE state = 'ready' AND class = found.class AND pin = found.pin
                  AND owner > found.owner ORDER BY class, pin, owner LIMIT 1),
                 (SELECT rowid FROM tasks
                  WHERE state = 'ready' AND class = found.class AND pin > found.pin
                  ORDER BY class, pin, owner LIMIT 1),
                 (SELECT rowid FROM tasks WHERE state = 'ready' AND class > found.class
                  ORDER BY class, pin, owner LIMIT 1)))
         SELECT class, pin, owner FROM found";

/// Leased tasks, those due first, first.
pub(super) const LEASED: &str =
    "SELECT doc FROM tasks WHERE state = 'leased' ORDER BY due, rowid LIMIT ?";

/// Tasks that a worker holds.
pub(super) const HELD: &str = "SELECT doc FROM (
             SELECT job, generation, number, doc FROM tasks WHERE state = 'leased' AND worker = ?1
             UNION ALL
             SELECT job, generation, number, doc FROM tasks
             WHERE state = 'leased' AND rival IS NOT NULL AND rival = ?1
         ) ORDER BY job, generation, number";

/// Leased tasks whose lease may have ended.
pub(super) const DUE: &str =
    "SELECT job, generation, number FROM tasks WHERE state = 'leased' AND due <= ?
         ORDER BY due, rowid LIMIT ?";

/// Failed tasks of running jobs.
pub(super) const STUCK: &str = "SELECT tasks.doc FROM jobs CROSS JOIN tasks ON tasks.job = jobs.id
         AND tasks.generation = jobs.doc ->> 'generation' AND tasks.state = 'failed'
         WHERE jobs.state = 'running' ORDER BY tasks.job, tasks.number LIMIT ?";

/// When time alone changes something.
pub(super) const NEXT_DUE: &str = "SELECT min(due) FROM (
             SELECT min(due) AS due FROM tasks WHERE state = 'leased'
             UNION ALL
             SELECT min(due) FROM tasks WHERE state = 'ready' AND due > ?)";

/// Extends leases: the subquery finds each row by its key, the update goes by
/// row number.
pub(super) const EXTEND: &str = "UPDATE tasks SET due = new.due, doc = new.doc FROM (
             SELECT tasks.rowid AS row, value ->> 3 AS due, value ->> 4 AS doc
             FROM json_each(?) CROSS JOIN tasks ON tasks.job = unhex(value ->> 0)
             AND tasks.generation = value ->> 1 AND tasks.number = value ->> 2 LIMIT -1
         ) AS new WHERE tasks.rowid = new.row";

pub(super) async fn ready(
    db: &mut SqliteConnection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Candidate>, StoreError> {
    let mut found = Vec::new();
    let groups = groups(db).await?;
    let share = place::share(limit, groups.len());
    for (class, pin, owner) in groups {
        let rows = sqlx::query(READY)
            .bind(class)
            .bind(pin)
            .bind(owner)
            .bind(now.0)
            .bind(share)
            .fetch_all(&mut *db)
            .await
            .map_err(fault)?;
        for row in &rows {
            found.push(candidate(row)?);
        }
    }
    found.sort_by_key(|(order, _)| *order);
    Ok(found.into_iter().map(|(_, candidate)| candidate).collect())
}

async fn groups(db: &mut SqliteConnection) -> Result<Vec<Group>, StoreError> {
    let rows = sqlx::query(GROUPS).fetch_all(db).await.map_err(fault)?;
    let group = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    rows.iter().map(group).collect::<Result<_, _>>().map_err(fault)
}

/// Class, build, owner.
type Group = (String, String, String);

type Order = (i64, Reverse<u64>, i64, i64);

fn candidate(row: &SqliteRow) -> Result<(Order, Candidate), StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(fault);
    let task: Task = doc(row, 6, "a task")?;
    let order = (number(0)?, Reverse(task.weight), number(1)?, number(2)?);
    let pin: &str = row.try_get(3).map_err(fault)?;
    let bytes: Option<i64> = row.try_get(8).map_err(fault)?;
    let job = Placed {
        priority: row.try_get(4).map_err(fault)?,
        created: Timestamp(number(5)?),
        owner: row.try_get(7).map_err(fault)?,
        bytes: bytes.map(i64::unsigned_abs),
    };
    Ok((order, place::candidate(&task, &job, pin)))
}

pub(super) async fn leased(db: &mut SqliteConnection, limit: u32) -> Result<Vec<Task>, StoreError> {
    let query = sqlx::query(LEASED);
    let rows = query.bind(limit).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| doc(row, 0, "a task")).collect()
}

pub(super) async fn held(
    db: &mut SqliteConnection,
    worker: WorkerId,
) -> Result<Vec<Task>, StoreError> {
    let query = sqlx::query(HELD);
    let rows = query.bind(bytes(worker.0)).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| doc(row, 0, "a task")).collect()
}

pub(super) async fn due(
    db: &mut SqliteConnection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<TaskId>, StoreError> {
    let rows = sqlx::query(DUE).bind(now.0).bind(limit).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| task_id(row, 0)).collect()
}

pub(super) async fn stuck(db: &mut SqliteConnection, limit: u32) -> Result<Vec<Task>, StoreError> {
    let rows = sqlx::query(STUCK).bind(limit).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| doc(row, 0, "a task")).collect()
}

pub(super) async fn next_due(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let next: Option<i64> =
        sqlx::query_scalar(NEXT_DUE).bind(now.0).fetch_one(db).await.map_err(fault)?;
    Ok(next.map(Timestamp))
}

/// Gives every lease a full period again.
pub(super) async fn grace(
    db: &mut SqliteConnection,
    rules: Rules,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let leased = leased(db, u32::MAX).await?;
    let change = |task: &Task| transition(task, TaskEvent::Grace, rules, now).ok();
    let graced: Vec<Task> = leased.iter().filter_map(change).map(|change| change.task).collect();
    extend(db, &graced, rules.terms).await?;
    Ok(graced.len() as u64)
}

/// Stores leased tasks whose lease was extended.
pub(super) async fn extend(
    db: &mut SqliteConnection,
    tasks: &[Task],
    terms: LeaseTerms,
) -> Result<(), StoreError> {
    if tasks.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::with_capacity(tasks.len());
    for task in tasks {
        let due = place::due(task, terms).map(|due| due.0);
        let id = task.id;
        let job = id.job.0.simple().to_string();
        lines.push((job, id.generation, id.number, due, encode(task)?));
    }
    // The subquery finds each row by its key; the update goes by row number.
    sqlx::query(EXTEND).bind(encode(&lines)?).execute(db).await.map_err(fault)?;
    Ok(())
}
