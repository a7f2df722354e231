//! How the statements that run most find their rows: through an index, to the
//! point, so that they cost the same however many jobs there are.

use super::{SqliteStore, listing, queue, tasks};
use crate::JobFilter;
use reelmill_core::id::JobId;
use reelmill_core::job::JobState;
use reelmill_core::time::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

/// How SQLite goes about a statement, one step a line.
async fn steps(statement: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let mut db = store.reader().await.unwrap();
    let rows = sqlx::query(explain).fetch_all(&mut *db).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
}

#[tokio::test]
async fn frequent_statements_go_by_an_index_to_the_point() {
    for (statement, wanted) in [
        (queue::READY, "SEARCH tasks USING INDEX tasks_ready (class=? AND pin=?)"),
        (queue::GROUPS, "SEARCH tasks USING COVERING INDEX tasks_ready (class=? AND pin>?)"),
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
        (queue::STUCK, "SEARCH tasks USING INDEX tasks_failed (job=? AND generation=?)"),
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
            JobFilter { label, ..all },
            "SEARCH job_labels USING PRIMARY KEY (key=? AND value=? AND (created,job)<(?,?))",
        ),
    ] {
        let steps = steps(listing::statement(&filter, after).sql().as_str()).await;
        assert!(steps.contains(wanted), "{filter:?}\n{steps}");
    }
}
