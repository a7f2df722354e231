//! A process that is killed at any moment loses nothing that it acknowledged.
#![expect(clippy::unwrap_used, reason = "a test")]

use reelmill_core::id::JobId;
use reelmill_core::preset::Presets;
use reelmill_core::task::{Task, TaskKind};
use reelmill_core::{
    container::Container, id::TaskId, job::*, retry::RetryPolicy, time::Timestamp,
};
use reelmill_store::{NewJob, SqliteStore, Store};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use uuid::Uuid;

/// Names the folder to the process that is going to be killed.
const FOLDER: &str = "REELMILL_TEST_CRASH_FOLDER";

fn new_job(number: u128) -> NewJob {
    let id = JobId(Uuid::from_u128(number));
    let preset = Presets::built_in().unwrap().get("h264", &[]).unwrap();
    let request = Request {
        preset_name: "h264".into(),
        preset,
        container: Container::Mkv,
        chunk_seconds: None,
        retry: RetryPolicy::default(),
        stage_path: None,
        uncuttable: None,
        hardware_failed: None,
    };
    let now = Timestamp(1_700_000_000_000_000);
    let job = Job {
        id,
        name: format!("film {number}"),
        owner: None,
        created: now,
        updated: now,
        ended: None,
        priority: 50,
        labels: BTreeMap::new(),
        source: Source::Local { path: "film.mkv".into() },
        request,
        state: JobState::Queued,
        generation: 0,
        stage: 0,
        media: None,
        encoder_pin: None,
        losses: 0,
        output: None,
        failure: None,
        item: None,
        dispatch: None,
    };
    let task = TaskId { job: id, generation: 0, number: 0 };
    let tasks = vec![Task::new(task, TaskKind::Analyse, 0, now)];
    NewJob { job, idempotency_key: Some(format!("key {number}")), tasks }
}

/// Run as a process of its own, by the test below: accepts jobs from several
/// sides for as long as it lives, and says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_jobs_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = SqliteStore::open(&Path::new(&folder).join("jobs.db")).await.unwrap();
    let accepted = store.job_counts().await.unwrap().values().sum::<u64>();
    let mut sides = tokio::task::JoinSet::new();
    for side in 0..8u128 {
        let store = store.clone();
        sides.spawn(async move {
            // A side begins behind all that earlier runs can have accepted.
            let start = u128::from(accepted) * 1000 + side * 100;
            for number in 0.. {
                let number = start + number % 100 + 1_000_000 * (number / 100);
                store.job_submit(new_job(number)).await.unwrap();
                // One write for each line: lines of two sides never mix.
                let line = format!("accepted {number}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    sides.join_all().await;
}

#[expect(clippy::disallowed_methods, reason = "the process is this test itself")]
fn run_and_kill(folder: &Path, after: usize) -> Vec<u128> {
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(program);
    command.args(["--exact", "accept_jobs_until_killed", "--nocapture"]);
    let mut child = command.env(FOLDER, folder).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut accepted = Vec::new();
    for line in lines {
        let line = line.unwrap();
        if let Some(number) = line.split("accepted ").nth(1) {
            accepted.push(number.parse().unwrap());
        }
        if accepted.len() == after {
            // What is still in the pipe was acknowledged too: it is read on.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(accepted.len() >= after);
    accepted
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut accepted = Vec::new();
    for after in [1, 17, 120] {
        accepted.extend(run_and_kill(folder.path(), after));
        let store = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
        for number in &accepted {
            let new = new_job(*number);
            assert_eq!(store.job_get(new.job.id).await.unwrap().as_ref(), Some(&new.job));
            assert_eq!(store.tasks_of(new.job.id, 0).await.unwrap(), new.tasks);
            assert_eq!(store.job_history(new.job.id, 0, 10).await.unwrap().len(), 1);
        }
        store.close().await.unwrap();
        drop(store);
    }
}
