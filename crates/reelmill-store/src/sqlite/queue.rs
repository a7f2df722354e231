//! Which tasks can be claimed, and which leases run out.

use super::db::{Db, Row, column, query, text};
use super::rows::{bytes, doc, encode, task_id};
use crate::StoreError;
use crate::place::{self, Brief, Placed};
use reelmill_core::id::{TaskId, WorkerId};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Rules, Task, TaskEvent, transition};
use reelmill_core::time::Timestamp;
use std::cmp::Reverse;

/// The first tasks of one group that can be claimed.
pub(super) const READY: &str = "SELECT rank, due, rowid, pin, priority, created, doc, owner, bytes,
                    job, generation, number FROM tasks
             WHERE state = 'ready' AND class = ? AND pin = ? AND owner = ? AND due <= ?
             ORDER BY rank, weight DESC, due, rowid LIMIT ?";

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

/// Failed tasks of running jobs. (With the plus sign no job is taken apart that has no
/// failed task: most have none.)
pub(super) const STUCK: &str = "SELECT tasks.doc FROM jobs CROSS JOIN tasks ON tasks.job = jobs.id
         AND +tasks.generation = jobs.doc ->> 'generation' AND tasks.state = 'failed'
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

pub(super) fn ready(db: &Db, now: Timestamp, limit: u32) -> Result<Vec<Candidate>, StoreError> {
    let mut found = Vec::new();
    let groups = groups(db)?;
    let share = place::share(limit, groups.len());
    for (class, pin, owner) in groups {
        let group = query(READY).bind(class).bind(pin).bind(owner).bind(now.0).bind(share);
        found.extend(group.all(db, candidate)?);
    }
    found.sort_by_key(|(order, _)| *order);
    Ok(found.into_iter().map(|(_, candidate)| candidate).collect())
}

fn groups(db: &Db) -> Result<Vec<Group>, StoreError> {
    query(GROUPS).all(db, |row| Ok((column(row, 0)?, column(row, 1)?, column(row, 2)?)))
}

/// Class, build, owner.
type Group = (String, String, String);

type Order = (i64, Reverse<u64>, i64, i64);

fn candidate(row: &Row<'_>) -> Result<(Order, Candidate), StoreError> {
    let number = |at: usize| column::<i64>(row, at);
    let task: Brief = doc(row, 6, "a task")?;
    let order = (number(0)?, Reverse(task.weight), number(1)?, number(2)?);
    let bytes: Option<i64> = column(row, 8)?;
    let job = Placed {
        priority: column(row, 4)?,
        created: Timestamp(number(5)?),
        owner: column(row, 7)?,
        bytes: bytes.map(i64::unsigned_abs),
    };
    Ok((order, place::candidate(task_id(row, 9)?, task, &job, text(row, 3)?)))
}

pub(super) fn leased(db: &Db, limit: u32) -> Result<Vec<Task>, StoreError> {
    let query = query(LEASED);
    query.bind(limit).all(db, |row| doc(row, 0, "a task"))
}

pub(super) fn held(db: &Db, worker: WorkerId) -> Result<Vec<Task>, StoreError> {
    let query = query(HELD);
    query.bind(bytes(worker.0)).all(db, |row| doc(row, 0, "a task"))
}

pub(super) fn due(db: &Db, now: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    query(DUE).bind(now.0).bind(limit).all(db, |row| task_id(row, 0))
}

pub(super) fn stuck(db: &Db, limit: u32) -> Result<Vec<Task>, StoreError> {
    query(STUCK).bind(limit).all(db, |row| doc(row, 0, "a task"))
}

pub(super) fn next_due(db: &Db, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let next: Option<i64> = query(NEXT_DUE).bind(now.0).value(db)?;
    Ok(next.map(Timestamp))
}

/// Gives every lease a full period again.
pub(super) fn grace(db: &Db, rules: Rules, now: Timestamp) -> Result<u64, StoreError> {
    let leased = leased(db, u32::MAX)?;
    let change = |task: &Task| transition(task, TaskEvent::Grace, rules, now).ok();
    let graced: Vec<Task> = leased.iter().filter_map(change).map(|change| change.task).collect();
    extend(db, &graced, rules.terms)?;
    Ok(graced.len() as u64)
}

/// Stores leased tasks whose lease was extended.
pub(super) fn extend(db: &Db, tasks: &[Task], terms: LeaseTerms) -> Result<(), StoreError> {
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
    query(EXTEND).bind(encode(&lines)?).execute(db)?;
    Ok(())
}
