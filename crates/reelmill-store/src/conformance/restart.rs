//! What is only true of engines that outlive their process.

use super::fixture::*;
use crate::{SqliteStore, Store, StoreError};
use reelmill_core::job::JobState;
use reelmill_core::task::{TaskEvent, TaskState};
use std::path::Path;
use std::sync::Arc;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/jobs.db");
    let store = open(&path).await;
    submit(&store, 1).await;
    analyse(&store, 1, 2, at(10)).await;
    work(&store, task_id(1, 1), 1, at(11)).await;
    let proof = claim(&store, task_id(1, 2), 1, at(12)).await;
    let before = (
        the_job(&store, 1).await,
        store.tasks_of(job_id(1), 0).await.unwrap(),
        store.history_since(0, 100).await.unwrap(),
    );
    // As in a crash: nothing is closed.
    drop(store);
    let store = reopen(&path).await;
    let after = (
        the_job(&store, 1).await,
        store.tasks_of(job_id(1), 0).await.unwrap(),
        store.history_since(0, 100).await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(store.plan_get(job_id(1), 0).await.unwrap(), Some(a_plan()));
    complete(&store, task_id(1, 2), proof, at(13)).await;
    for number in [3, 4] {
        work(&store, task_id(1, number), 1, at(14)).await;
    }
    assert_eq!(the_job(&store, 1).await.state, JobState::Completed);
    let seqs: Vec<i64> =
        store.history_since(0, 100).await.unwrap().iter().map(|entry| entry.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
    store.close().await.unwrap();
    drop(store);
    assert_eq!(the_job(&reopen(&path).await, 1).await.state, JobState::Completed);
}

/// The connections of a store that was dropped close on threads of their own.
async fn reopen(path: &Path) -> SqliteStore {
    loop {
        match SqliteStore::open(path).await {
            Err(StoreError::InUse { .. } | StoreError::Busy(_)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_second_coordinator_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).await;
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { pid: Some(_), .. }), "{error}");
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).await;
    submit(&store, 1).await;
    store.raise_version(99).await;
    drop(store);
    let error = loop {
        match SqliteStore::open(&path).await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, StoreError::NewerDatabase { found: 99, .. }), "{error:?}");
    assert!(error.advice().contains("newer program"));
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let text = "this is not a database ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_at_once_are_all_durable_and_failures_stay_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = Arc::new(open(&path).await);
    let mut running = Vec::new();
    for number in 1..=100u128 {
        let store = Arc::clone(&store);
        running.push(tokio::spawn(async move {
            submit(&*store, number).await;
            // Half of them ask for what is refused, in the middle of it all.
            if number % 2 == 0 {
                let sweep = apply(&*store, task_id(number, 0), TaskEvent::Sweep, at(1)).await;
                assert!(sweep.is_err());
            }
            claim(&*store, task_id(number, 0), number, at(2000)).await;
        }));
    }
    for one in running {
        one.await.unwrap();
    }
    drop(store);
    let store = reopen(&path).await;
    for number in 1..=100 {
        assert_eq!(state(&store, task_id(number, 0)).await, TaskState::Leased);
        assert_eq!(events(&store, number).await, ["submitted", "claimed", "started"]);
    }
}

#[tokio::test]
async fn a_caller_who_stops_waiting_leaves_no_half_of_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).await;
    for number in 1..=40u128 {
        // Polled a few times, then dropped: at some step of the submission.
        let mut submission = Box::pin(store.job_submit(new_job(job(number))));
        for _ in 0..number {
            let step = std::future::poll_fn(|context| {
                std::task::Poll::Ready(submission.as_mut().poll(context).is_ready())
            });
            if step.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(submission);
        submit(&store, 1000 + number).await;
    }
    for number in 1..=40 {
        let there = store.job_get(job_id(number)).await.unwrap().is_some();
        let tasks = store.tasks_of(job_id(number), 0).await.unwrap().len();
        assert_eq!(tasks, usize::from(there), "job {number}");
    }
}
