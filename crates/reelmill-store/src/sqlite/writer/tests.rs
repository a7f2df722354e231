//! Groups of writes: who shares a flush shares nothing else.

use super::super::db::{Db, column, query};
use super::super::{SqliteStore, workers};
use crate::{Store, StoreError};
use std::cell::Cell;
use std::sync::mpsc;

thread_local! {
    /// What is left out on the thread that writes.
    static LEFT_OUT: Cell<&'static str> = const { Cell::new("") };
}

pub(super) fn leaves_out(protection: &str) -> bool {
    LEFT_OUT.get() == protection
}

const NOTHING: &str = "";

/// A database whose writer leaves `protection` out.
async fn store(folder: &tempfile::TempDir, protection: &'static str) -> SqliteStore {
    let store = SqliteStore::open(&folder.path().join("rows.db")).await.unwrap();
    let set = store.writer.run(move |_| {
        LEFT_OUT.set(protection);
        Ok::<_, StoreError>(())
    });
    set.await.unwrap();
    store
}

fn note(db: &Db, name: &str) -> Result<(), StoreError> {
    workers::meta_put(db, name, Some("written"))
}

/// Runs `second` and `third` in one group: behind a first one that goes on until they
/// have been queued.
async fn together<A, B>(store: &SqliteStore, second: A, third: B) -> [Result<(), StoreError>; 3]
where
    A: FnOnce(&Db) -> Result<(), StoreError> + Send + 'static,
    B: FnOnce(&Db) -> Result<(), StoreError> + Send + 'static,
{
    let (open, gate) = mpsc::sync_channel(1);
    let first = store.writer.run(move |db| {
        note(db, "first")?;
        gate.recv().map_err(|_| StoreError::Io("nobody came".into()))
    });
    let all = async {
        tokio::join!(biased; first, store.writer.run(second), store.writer.run(third), async {
            open.send(()).unwrap();
        })
    };
    let (first, second, third, ()) = all.await;
    [first, second, third]
}

/// Which of the three left something behind.
async fn left(store: &SqliteStore) -> [bool; 3] {
    let mut left = [false; 3];
    for (left, name) in left.iter_mut().zip(["first", "second", "third"]) {
        *left = store.meta_get(name).await.unwrap().is_some();
    }
    left
}

/// One that fails after it has written, between two that do not.
async fn one_fails(protection: &'static str) -> ([bool; 3], [bool; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, protection).await;
    let fails = |db: &Db| {
        note(db, "second")?;
        Err(StoreError::Invalid("it is not wanted".into()))
    };
    let answers = together(&store, fails, |db| note(db, "third")).await;
    (answers.map(|answer| answer.is_ok()), left(&store).await)
}

#[tokio::test]
async fn one_that_fails_is_undone_alone() {
    let right = ([true, false, true], [true, false, true]);
    assert_eq!(one_fails(NOTHING).await, right);
    for mutant in ["undo", "failures-alone"] {
        assert_ne!(one_fails(mutant).await, right, "{mutant} is not noticed");
    }
}

#[tokio::test]
async fn one_that_panics_is_undone_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, NOTHING).await;
    let panics = |db: &Db| {
        note(db, "second")?;
        panic!("as a bug would");
    };
    let answers = together(&store, panics, |db| note(db, "third")).await;
    assert_eq!(answers.map(|answer| answer.is_ok()), [true, false, true]);
    assert_eq!(left(&store).await, [true, false, true]);
}

/// All of a group whose commit fails, and one after it.
async fn commit_fails(protection: &'static str) -> ([bool; 3], [bool; 3], bool) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, protection).await;
    // That there is no such job shows at the end of the transaction only.
    let late = |db: &Db| {
        db.script("PRAGMA defer_foreign_keys = ON")?;
        let orphan = "INSERT INTO history (job, at, event) VALUES (x'00', 0, '{}')";
        query(orphan).execute(db).map(|_| ())
    };
    let answers = together(&store, late, |db| note(db, "third")).await;
    let left = left(&store).await;
    let next = store.writer.run(|db| note(db, "next")).await;
    (answers.map(|answer| answer.is_ok()), left, next.is_ok())
}

#[tokio::test]
async fn nobody_is_answered_before_all_is_committed() {
    let right = ([false; 3], [false; 3], true);
    assert_eq!(commit_fails(NOTHING).await, right);
    assert_ne!(commit_fails("answer-after-commit").await, right, "it is not noticed");
}

#[tokio::test]
async fn what_is_committed_is_flushed_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, NOTHING).await;
    let asked = store.writer.run(|db| {
        let level: i64 = query("PRAGMA synchronous").value(db)?;
        let mode = query("PRAGMA journal_mode").first(db, |row| column(row, 0))?;
        Ok::<_, StoreError>((level, mode))
    });
    // FULL: each commit flushes the log.
    assert_eq!(asked.await.unwrap(), (2, Some("wal".to_owned())));
}
