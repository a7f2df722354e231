//! Finding, listing and counting jobs.

use super::db::{Db, Query, column, query, text};
use super::rows::{bytes, doc, id, unword};
use crate::StoreError;
use crate::place;
use crate::records::JobFilter;
use crate::rollup;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) fn find(db: &Db, prefix: &str) -> Result<Vec<JobId>, StoreError> {
    let Some((low, high)) = place::id_range(prefix) else { return Ok(Vec::new()) };
    query("SELECT id FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 3")
        .bind(bytes(Uuid::from_u128(low)))
        .bind(bytes(Uuid::from_u128(high)))
        .all(db, |row| id(row, 0).map(JobId))
}

pub(super) fn list(db: &Db, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
    let after = match filter.after {
        Some(id) => Some((created(db, id)?, id)),
        None => None,
    };
    statement(filter, after).all(db, |row| doc(row, 0, "a job"))
}

/// One branch for each state, each in the order of its index: none reads more
/// rows than it yields.
pub(super) fn statement(filter: &JobFilter, after: Option<(Timestamp, JobId)>) -> Query<'static> {
    let mut states: Vec<Option<JobState>> = filter.states.iter().copied().map(Some).collect();
    states.sort_unstable();
    states.dedup();
    if states.is_empty() {
        states.push(None);
    }
    let mut query = query("SELECT doc FROM (");
    for (at, state) in states.into_iter().enumerate() {
        query.push(if at == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
        branch(&mut query, filter, state, after);
        query.push(")");
    }
    query.push(") ORDER BY created DESC, id DESC LIMIT ").push_bind(filter.limit);
    query
}

fn branch(
    query: &mut Query<'_>,
    filter: &JobFilter,
    state: Option<JobState>,
    after: Option<(Timestamp, JobId)>,
) {
    let at = if let Some((key, value)) = &filter.label {
        query.push(
            "SELECT jobs.created, jobs.id, jobs.doc FROM job_labels
             CROSS JOIN jobs ON jobs.id = job_labels.job WHERE job_labels.key = ",
        );
        query.push_bind(key);
        query.push(" AND job_labels.value = ").push_bind(value);
        "job_labels.created, job_labels.job"
    } else {
        query.push("SELECT jobs.created, jobs.id, jobs.doc FROM jobs WHERE true");
        "jobs.created, jobs.id"
    };
    if let Some(state) = state {
        query.push(" AND jobs.state = ").push_bind(state.label());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND jobs.owner = ").push_bind(owner);
    }
    if let Some(client) = &filter.client {
        query.push(" AND jobs.client = ").push_bind(client);
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
    query.push(" ORDER BY ").push(&at.replace(',', " DESC,")).push(" DESC LIMIT ");
    query.push_bind(filter.limit);
}

fn created(db: &Db, job: JobId) -> Result<Timestamp, StoreError> {
    let found = query("SELECT created FROM jobs WHERE id = ?").bind(bytes(job.0));
    let created = found.first(db, |row| column(row, 0))?;
    created.map(Timestamp).ok_or_else(|| rollup::list_broken(job))
}

pub(super) fn oldest(db: &Db, state: JobState) -> Result<Option<Timestamp>, StoreError> {
    let query = query("SELECT min(created) FROM jobs WHERE state = ?");
    let oldest: Option<i64> = query.bind(state.label()).value(db)?;
    Ok(oldest.map(Timestamp))
}

pub(super) fn counts(db: &Db) -> Result<BTreeMap<JobState, u64>, StoreError> {
    let query = query("SELECT state, count(*) FROM jobs GROUP BY state");
    let counts = query.all(db, |row| {
        let count: i64 = column(row, 1)?;
        Ok((unword(text(row, 0)?)?, count.unsigned_abs()))
    })?;
    Ok(counts.into_iter().collect())
}
