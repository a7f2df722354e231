//! Databases of earlier versions, brought up to this one.

use super::db::{Db, Row, trouble};
use super::{MIGRATIONS, SqliteStore};
use crate::conformance::fixture::{at, blob, job, new_job};
use crate::{NewJob, ServiceStore, Store};
use reelmill_core::job::{Item, Source};
use rusqlite::{Connection, params, types::Value};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use std::path::Path;

/// A job with all that later versions look for in columns of their own.
fn submission() -> NewJob {
    let blob = blob(5);
    let item =
        Item { client_id: "tv".into(), version: None, file_name: None, size: None, checksum: None };
    let mut job = job(1);
    job.owner = Some("ann".into());
    job.priority = 70;
    let (bytes, sha512, file_name) = (4242, blob.sha512, "film.mkv".into());
    job.source = Source::Upload { blob: blob.id, bytes, sha512, file_name };
    job.item = Some(item);
    new_job(job)
}

/// The database as the version with the first `count` migrations left it, with a job
/// and a key.
async fn write(path: &Path, count: usize) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut db = options.connect().await.unwrap();
    let migrations = MIGRATIONS.iter().take(count).cloned().collect();
    Migrator::with_migrations(migrations).run(&mut db).await.unwrap();
    db.close().await.unwrap();
    let db = Connection::open(path).unwrap();
    let NewJob { job, tasks, .. } = submission();
    let doc = serde_json::to_string(&job).unwrap();
    db.execute(
        "INSERT INTO jobs (id, owner, state, priority, created, doc) VALUES (?, ?, ?, ?, ?, ?)",
        params![job.id.0.as_bytes(), job.owner, "queued", job.priority, job.created.0, doc],
    )
    .unwrap();
    for task in tasks {
        let place = crate::place::place(&job, &task, crate::conformance::fixture::RULES.terms);
        db.execute(
            "INSERT INTO tasks (job, generation, number, stage, state, epoch, class, pin, rank,
                                weight, due, doc)
             VALUES (?, 0, ?, 0, 'ready', 0, ?, ?, ?, ?, ?, ?)",
            params![
                job.id.0.as_bytes(),
                task.id.number,
                place.class,
                place.pin,
                place.rank,
                task.weight as i64,
                place.due.map(|due| due.0),
                serde_json::to_string(&task).unwrap(),
            ],
        )
        .unwrap();
    }
    // What a later version of the two would have written itself.
    if count >= 3 {
        db.execute("UPDATE tasks SET owner = 'ann'", []).unwrap();
    }
    if count >= 4 {
        db.execute("UPDATE jobs SET client = 'tv'", []).unwrap();
    }
    db.execute("INSERT INTO keys VALUES ('k1', 'ann', 'client', 'hash', 1, NULL)", [])
        .or_else(|_| {
            db.execute("INSERT INTO keys VALUES ('k1', 'ann', 'client', 'hash', 1, NULL, NULL)", [])
        })
        .unwrap();
}

/// All rows of a table, each column with its name.
async fn rows(store: &SqliteStore, table: &'static str) -> Vec<Vec<(String, Value)>> {
    let read = move |db: &Db| {
        let mut statement = db.0.prepare(&format!("SELECT * FROM {table}")).map_err(trouble)?;
        let names: Vec<String> = statement.column_names().iter().map(|&name| name.into()).collect();
        let row = |row: &Row<'_>| {
            let named = |(at, name): (usize, &String)| Ok((name.clone(), row.get(at)?));
            names.iter().enumerate().map(named).collect()
        };
        let found = statement.query_map([], row).map_err(trouble)?;
        found.collect::<Result<_, _>>().map_err(trouble)
    };
    store.search(read).await.unwrap()
}

#[tokio::test]
async fn what_earlier_versions_left_is_as_if_this_one_had_written_it() {
    let folder = tempfile::tempdir().unwrap();
    let new = SqliteStore::open(&folder.path().join("new.db")).await.unwrap();
    new.job_submit(submission()).await.unwrap();
    for count in 1..MIGRATIONS.iter().count() {
        let path = folder.path().join(format!("{count}.db"));
        write(&path, count).await;
        let store = SqliteStore::open(&path).await.unwrap();
        for table in ["jobs", "tasks"] {
            assert_eq!(rows(&store, table).await, rows(&new, table).await, "{count}: {table}");
        }
        let ready = store.tasks_ready(at(100), 10).await.unwrap();
        assert_eq!(ready, new.tasks_ready(at(100), 10).await.unwrap(), "{count}");
        assert_eq!(ready[0].owner, "ann");
        let key = store.key_by_id("k1").await.unwrap().unwrap();
        assert_eq!((key.name.as_str(), key.expires), ("ann", None));
        assert!(store.audit_list(0, 1).await.unwrap().is_empty());
    }
}
