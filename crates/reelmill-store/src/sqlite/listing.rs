//! Finding, listing and counting jobs.

use super::rows::{bytes, doc, fault, id, unword};
use crate::StoreError;
use crate::place;
use crate::records::JobFilter;
use crate::rollup;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) async fn find(
    db: &mut SqliteConnection,
    prefix: &str,
) -> Result<Vec<JobId>, StoreError> {
    let Some((low, high)) = place::id_range(prefix) else { return Ok(Vec::new()) };
    let rows = sqlx::query("SELECT id FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 3")
        .bind(bytes(Uuid::from_u128(low)))
        .bind(bytes(Uuid::from_u128(high)))
        .fetch_all(db)
        .await
        .map_err(fault)?;
    rows.iter().map(|row| id(row, 0).map(JobId)).collect()
}

pub(super) async fn list(
    db: &mut SqliteConnection,
    filter: &JobFilter,
) -> Result<Vec<Job>, StoreError> {
    let after = match filter.after {
        Some(id) => Some((created(db, id).await?, id)),
        None => None,
    };
    let rows = statement(filter, after).build().fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| doc(row, 0, "a job")).collect()
}

/// One branch for each state, each in the order of its index: none reads more
/// rows than it yields.
pub(super) fn statement(
    filter: &JobFilter,
    after: Option<(Timestamp, JobId)>,
) -> QueryBuilder<Sqlite> {
    let mut states: Vec<Option<JobState>> = filter.states.iter().copied().map(Some).collect();
    states.sort_unstable();
    states.dedup();
    if states.is_empty() {
        states.push(None);
    }
    let mut query = QueryBuilder::new("SELECT doc FROM (");
    for (at, state) in states.into_iter().enumerate() {
        query.push(if at == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
        branch(&mut query, filter, state, after);
        query.push(")");
    }
    query.push(") ORDER BY created DESC, id DESC LIMIT ").push_bind(filter.limit);
    query
}

fn branch(
    query: &mut QueryBuilder<Sqlite>,
    filter: &JobFilter,
    state: Option<JobState>,
    after: Option<(Timestamp, JobId)>,
) {
    let at = if let Some((key, value)) = &filter.label {
        query.push(
            "SELECT jobs.created, jobs.id, jobs.doc FROM job_labels
             CROSS JOIN jobs ON jobs.id = job_labels.job WHERE job_labels.key = ",
        );
        query.push_bind(key.clone());
        query.push(" AND job_labels.value = ").push_bind(value.clone());
        "job_labels.created, job_labels.job"
    } else {
        query.push("SELECT jobs.created, jobs.id, jobs.doc FROM jobs WHERE true");
        "jobs.created, jobs.id"
    };
    if let Some(state) = state {
        query.push(" AND jobs.state = ").push_bind(state.label());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND jobs.owner = ").push_bind(owner.clone());
    }
    if let Some(client) = &filter.client {
        query.push(" AND jobs.client = ").push_bind(client.clone());
    }
    let created = at.split(',').next().unwrap_or(at);
    if let Some(since) = filter.since {
        query.push(" AND ").push(created).push(" >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND ").push(created).push(" < ").push_bind(until.0);
    }
    if let Some((created, id)) = after {
        query.push(" AND (").push(at).push(") < (").push_bind(created.0);
        query.push(", ").push_bind(bytes(id.0)).push(")");
    }
    query.push(" ORDER BY ").push(at.replace(',', " DESC,")).push(" DESC LIMIT ");
    query.push_bind(filter.limit);
}

async fn created(db: &mut SqliteConnection, job: JobId) -> Result<Timestamp, StoreError> {
    let found = sqlx::query_scalar("SELECT created FROM jobs WHERE id = ?").bind(bytes(job.0));
    let created: Option<i64> = found.fetch_optional(db).await.map_err(fault)?;
    created.map(Timestamp).ok_or_else(|| rollup::list_broken(job))
}

pub(super) async fn oldest(
    db: &mut SqliteConnection,
    state: JobState,
) -> Result<Option<Timestamp>, StoreError> {
    let query = sqlx::query_scalar("SELECT min(created) FROM jobs WHERE state = ?");
    let oldest: Option<i64> = query.bind(state.label()).fetch_one(db).await.map_err(fault)?;
    Ok(oldest.map(Timestamp))
}

pub(super) async fn counts(
    db: &mut SqliteConnection,
) -> Result<BTreeMap<JobState, u64>, StoreError> {
    let query = sqlx::query("SELECT state, count(*) FROM jobs GROUP BY state");
    let rows = query.fetch_all(db).await.map_err(fault)?;
    let count = |row: &SqliteRow| {
        let state = unword(row.try_get(0).map_err(fault)?)?;
        let count: i64 = row.try_get(1).map_err(fault)?;
        Ok((state, count.unsigned_abs()))
    };
    rows.iter().map(count).collect()
}
