//! How the statements that run most find their rows (through an index, to the
//! point, so that they cost the same however many jobs there are), and what
//! happens when the disk is full.

use super::db::{text, trouble};
use super::{SqliteStore, listing, queue, tasks};
use crate::conformance::fixture::{job, job_id, new_job};
use crate::{JobFilter, Store, StoreError, Submitted};
use reelmill_core::id::JobId;
use reelmill_core::job::JobState;
use reelmill_core::time::Timestamp;
use uuid::Uuid;

/// How SQLite goes about a statement, one step a line.
async fn steps(statement: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let steps = store.look(|db| {
        let mut statement = db.0.prepare(&explain).map_err(trouble)?;
        // Its values do not matter.
        let (mut rows, mut steps) = (statement.raw_query(), String::new());
        while let Some(row) = rows.next().map_err(trouble)? {
            steps = steps + text(row, 3)? + "\n";
        }
        Ok(steps)
    });
    steps.await.unwrap()
}

#[tokio::test]
async fn frequent_statements_go_by_an_index_to_the_point() {
    for (statement, wanted) in [
        (queue::READY, "SEARCH tasks USING INDEX tasks_ready (class=? AND pin=? AND owner=?)"),
        (
            queue::GROUPS,
            "SEARCH tasks USING COVERING INDEX tasks_ready (class=? AND pin=? AND owner>?)",
        ),
        (queue::DUE, "SEARCH tasks USING INDEX tasks_leased (due<?)"),
        (queue::LEASED, "SCAN tasks USING INDEX tasks_leased"),
        (queue::NEXT_DUE, "SEARCH tasks USING COVERING INDEX tasks_paused (due>?)"),
        (queue::EXTEND, "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"),
        (tasks::PAIRS, "tasks_by_stage (job=? AND generation=? AND stage=? AND state>?)"),
        (tasks::OPEN, "sqlite_autoindex_tasks_1 (job=? AND generation=?)"),
        (tasks::BY_IDS, "sqlite_autoindex_tasks_1 (job=? AND generation=? AND number=?)"),
        (tasks::WITH_JOB, "sqlite_autoindex_tasks_1 (job=? AND generation=? AND number=?)"),
    ] {
        let steps = steps(statement).await;
        assert!(steps.contains(wanted), "{statement}\n{steps}");
        assert!(!steps.contains("TEMP B-TREE"), "it sorts: {statement}\n{steps}");
    }
    for (statement, wanted) in [
        (queue::HELD, "SEARCH tasks USING INDEX tasks_held (worker=?)"),
        (queue::STUCK, "SEARCH tasks USING INDEX tasks_failed (job=?)"),
    ] {
        let steps = steps(statement).await;
        assert!(steps.contains(wanted), "{statement}\n{steps}");
    }
}

#[tokio::test]
async fn lists_read_no_more_rows_than_they_yield() {
    let after = Some((Timestamp(1), JobId(Uuid::from_u128(1))));
    let all = JobFilter { limit: 10, ..JobFilter::default() };
    let states = vec![JobState::Failed, JobState::Running, JobState::Failed];
    let label = Some(("show".into(), "alpha".into()));
    for (filter, wanted) in [
        (all.clone(), "USING INDEX jobs_by_age ((created,id)<(?,?))"),
        (JobFilter { states, ..all.clone() }, "jobs_by_state (state=? AND (created,id)<(?,?))"),
        (
            JobFilter { owner: Some("ann".into()), ..all.clone() },
            "jobs_by_owner (owner=? AND (created,id)<(?,?))",
        ),
        (
            JobFilter { client: Some("c1".into()), ..all.clone() },
            "jobs_by_client (client=? AND (created,id)<(?,?))",
        ),
        (
            JobFilter { label, ..all },
            "SEARCH job_labels USING PRIMARY KEY (key=? AND value=? AND (created,job)<(?,?))",
        ),
    ] {
        let steps = steps(listing::statement(&filter, after).text()).await;
        assert!(steps.contains(wanted), "{filter:?}\n{steps}");
    }
}

/// As a full disk does: the file may not grow beyond `pages`.
async fn limit(store: &SqliteStore, pages: i64) {
    let pragma = format!("PRAGMA max_page_count = {pages}");
    store.writer.run(move |db| db.script(&pragma)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
    limit(&store, 60).await;
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    for group in 0..25u128 {
        let submit = |number: u128| {
            let store = store.clone();
            tokio::spawn(async move { store.job_submit(new_job(job(number))).await })
        };
        let running: Vec<_> = (1..=8).map(|n| (group * 8 + n, submit(group * 8 + n))).collect();
        for (number, submission) in running {
            match submission.await.unwrap() {
                Ok(submitted) => {
                    assert_eq!(submitted, Submitted::New);
                    accepted.push(number);
                }
                Err(error) => {
                    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
                    refused.push(number);
                }
            }
        }
    }
    assert!(!accepted.is_empty() && !refused.is_empty(), "{accepted:?} {refused:?}");
    for number in &accepted {
        assert!(store.job_get(job_id(*number)).await.unwrap().is_some(), "{number} was lost");
        assert_eq!(store.tasks_of(job_id(*number), 0).await.unwrap().len(), 1);
    }
    for number in &refused {
        assert_eq!(store.job_get(job_id(*number)).await.unwrap(), None);
        assert!(store.tasks_of(job_id(*number), 0).await.unwrap().is_empty());
    }
    limit(&store, 1_000_000).await;
    for number in refused {
        let again = store.job_submit(new_job(job(number))).await;
        assert_eq!(again, Ok(Submitted::New));
    }
}
