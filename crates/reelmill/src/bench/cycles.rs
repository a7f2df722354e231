//! Whole lives of jobs, and signs of life.

use super::{Yard, count, rate, tell};
use crate::api::tests::farm::{Player, analysed, finished};
use crate::clock;
use crate::coordinator::{Submission, USUAL_PRIORITY};
use crate::task_source::{Assignment, Order, Report, Standing, TaskSource};
use reelmill_core::id::{BlobId, JobId, TaskId, WorkerId};
use reelmill_core::job::{JobState, Source};
use reelmill_core::lease::{Lease, LeaseTerms};
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::{Encoded, Rules, Task, TaskEvent, TaskKind, TaskResult};
use reelmill_store::{NewJob, Store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Clients and workers at once.
const AT_ONCE: usize = 32;

/// A request as clients make it; nothing has to be uploaded for it.
pub(super) fn submission(number: usize) -> Submission {
    Submission {
        name: format!("film {number}.mkv"),
        owner: None,
        source: Source::Local { path: "film.mkv".to_owned() },
        preset: "h264".to_owned(),
        overrides: vec![],
        container: None,
        chunk_seconds: None,
        max_retries: None,
        priority: USUAL_PRIORITY,
        labels: BTreeMap::new(),
        idempotency_key: Some(format!("film {number}")),
        stage_path: None,
        item: None,
        dispatch: None,
    }
}

/// Made once: it is the worker's work, which is not measured here.
static ANALYSED: LazyLock<Report> = LazyLock::new(|| analysed(1));

/// What a worker would report.
pub(super) fn report(yard: &Yard, assignment: &Assignment) -> Report {
    let blob = || yard.blobs.put(BlobId(clock::fresh()), 1000);
    match &assignment.order {
        Order::Analyse { .. } => ANALYSED.clone(),
        Order::Encode { .. } => {
            let (blob, extradata) = (blob(), "e1".to_owned());
            let fingerprint = "x264-164".to_owned();
            let (frames, seconds) = (100, 1.0);
            let encoded = Encoded {
                blob,
                frames,
                seconds,
                extradata,
                fingerprint,
                pts: None,
                score: None,
                coded: None,
            };
            Report::Done { result: TaskResult::Encoded(encoded) }
        }
        Order::Finish(_) => finished(blob()),
    }
}

/// Accepted, analysed, encoded in one chunk, finished: three tasks, each claimed
/// and reported, through the coordinator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let yard = Arc::new(Yard::at(&folder.path().join("rows.db")).await);
    let jobs = count(5000, 50);
    let (next, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE / 2 {
        let (yard, next) = (yard.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return;
                }
                yard.coordinator.submit(submission(number)).await.unwrap();
            }
        });
    }
    for _ in 0..AT_ONCE / 2 {
        let (yard, ended) = (yard.clone(), ended.clone());
        tasks.spawn(async move {
            let player = Player::new();
            let source: &dyn TaskSource = yard.coordinator.as_ref();
            source.join(&player.hello()).await.unwrap();
            while ended.load(Ordering::Relaxed) < jobs {
                let claimed = source.claim(&player.ask(), Duration::from_millis(50)).await;
                let Some(assignment) = claimed.unwrap() else { continue };
                let done = player.done(&assignment, report(&yard, &assignment));
                assert_eq!(source.report(&done).await, Ok(Standing::Held));
                if assignment.kind == TaskKind::Finish {
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    let figure = rate(jobs, begun);
    let counts = yard.store.job_counts().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(JobState::Completed, jobs as u64)]));
    tell("whole jobs (3 tasks each), all synchronised", figure, "/s", "≥ 500");
    yard.store.close().await.unwrap();
}

/// Signs of life that are written, each by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let yard = Yard::at(&folder.path().join("rows.db")).await;
    let (leases, rounds) = (count(200, 20), count(100, 2));
    let terms = LeaseTerms::default();
    let rules = Rules { terms, retry: RetryPolicy::default(), chance: 0.5 };
    let mut held = Vec::new();
    for number in 0..leases {
        let job = yard.coordinator.submit(submission(number)).await.unwrap();
        let task = TaskId { job: job.id, generation: 0, number: 0 };
        let (worker, player) = (WorkerId(clock::fresh()), Player::new());
        let id = reelmill_core::id::LeaseId(clock::fresh());
        let lease = Lease::grant(id, worker, player.session, terms, clock::now());
        let event = TaskEvent::Claim(lease);
        let applied = yard.store.task_apply(task, event, rules, clock::now()).await.unwrap();
        held.push((task, applied.task.lease.unwrap().proof()));
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (task, proof) in held {
        let store = yard.store.clone();
        tasks.spawn(async move {
            for round in 0..rounds {
                let event = TaskEvent::Renew(proof, round as u64);
                store.task_apply(task, event, rules, clock::now()).await.unwrap();
            }
        });
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    tell("renewals, all written and synchronised", rate(leases * rounds, begun), "/s", "≥ 2000");
    yard.store.close().await.unwrap();
}

/// Jobs as they lie in the store, without the way through the coordinator.
pub(super) async fn fill(yard: &Yard, from: usize, to: usize) {
    let next = Arc::new(AtomicUsize::new(from));
    let request = yard.coordinator.request(&submission(0)).unwrap();
    let pattern = yard.coordinator.submit(submission(0)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (store, next) = (yard.store.clone(), next.clone());
        let (request, pattern) = (request.clone(), pattern.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return;
                }
                let mut job = pattern.clone();
                job.id = JobId(clock::fresh());
                job.name = format!("film {number}.mkv");
                job.request = request.clone();
                job.created = clock::now();
                let id = TaskId { job: job.id, generation: 0, number: 0 };
                let tasks = vec![Task::new(id, TaskKind::Analyse, 0, job.created)];
                let key = Some(format!("film {number}"));
                store.job_submit(NewJob { job, idempotency_key: key, tasks }).await.unwrap();
            }
        });
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
}
