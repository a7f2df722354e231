//! How the statements that run most find their rows: through an index, to the
//! point, so that they cost the same however many jobs there are.

use super::{SqliteStore, queue, tasks};
use crate::JobFilter;
use crate::sqlite::listing;
use sqlx::{Row, SqliteConnection};

async fn steps(db: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(db).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn p() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
    let mut db = store.reader().await.unwrap();
    for s in [queue::READY, queue::GROUPS, queue::LEASED, queue::HELD, queue::DUE, queue::STUCK, queue::NEXT_DUE, queue::EXTEND, tasks::PAIRS, tasks::OPEN, tasks::BY_IDS, tasks::WITH_JOB] {
        println!("{s}\n   {:#?}", steps(&mut db, s).await);
    }
    let filters = [
        JobFilter { limit: 10, ..JobFilter::default() },
    ];
    let _ = (filters, listing::list);
}
