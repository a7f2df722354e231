//! Claims from a long queue.

use super::cycles::{fill, report};
use super::{Yard, count, percentile, tell, whole};
use crate::api::tests::farm::Player;
use crate::task_source::{Standing, TaskSource};
use reelmill_store::Store;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a worker works on what it claimed.
const WORK: Duration = Duration::from_secs(1);

/// What one claim costs, nobody else asking: milliseconds.
async fn one_by_one(yard: &Yard, claims: usize) -> f64 {
    let source: &dyn TaskSource = yard.coordinator.as_ref();
    let mut times = Vec::with_capacity(claims);
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    for _ in 0..claims {
        let begun = Instant::now();
        let claimed = source.claim(&player.ask(), Duration::ZERO).await.unwrap();
        times.push(begun.elapsed());
        let done = player.done(&claimed.unwrap(), crate::task_source::Report::Released);
        assert_eq!(source.report(&done).await, Ok(Standing::Held));
    }
    source.leave(player.id, player.session).await.unwrap();
    percentile(&mut times, 0.5)
}

/// Workers that claim, work for a while and report, over and over: what a claim
/// takes, milliseconds (the middle, and what one in a hundred takes longer than).
async fn many_at_once(yard: Arc<Yard>, workers: usize, rounds: usize) -> (f64, f64) {
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let yard = yard.clone();
        tasks.spawn(async move {
            let player = Player::new();
            let source: &dyn TaskSource = yard.coordinator.as_ref();
            source.join(&player.hello()).await.unwrap();
            // They do not all begin at the same moment.
            let work = if whole() { WORK } else { Duration::ZERO };
            tokio::time::sleep(work.mul_f64(worker as f64 / workers as f64)).await;
            let mut times = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                let begun = Instant::now();
                let claimed = source.claim(&player.ask(), Duration::from_secs(20)).await.unwrap();
                times.push(begun.elapsed());
                let assignment = claimed.unwrap();
                tokio::time::sleep(work).await;
                let done = player.done(&assignment, report(&yard, &assignment));
                assert_eq!(source.report(&done).await, Ok(Standing::Held));
            }
            times
        });
    }
    let mut times: Vec<Duration> = Vec::new();
    while let Some(some) = tasks.join_next().await.transpose().unwrap() {
        times.extend(some);
    }
    (percentile(&mut times, 0.5), percentile(&mut times, 0.99))
}

/// `REELMILL_BENCH_ROWS` names the database's place, to be used further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims() {
    let folder = tempfile::tempdir().unwrap();
    let place = std::env::var_os("REELMILL_BENCH_ROWS").map(PathBuf::from);
    let yard = Arc::new(Yard::at(&place.unwrap_or(folder.path().join("rows.db"))).await);
    let most: Vec<usize> = match std::env::var("REELMILL_BENCH").as_deref() {
        Ok("short") => vec![1000, 100_000],
        Ok(_) => vec![1000, 10_000, 100_000, 1_000_000],
        Err(_) => vec![50, 100],
    };
    let mut there = 0;
    let mut first = None;
    for size in most {
        let begun = Instant::now();
        fill(&yard, there, size).await;
        let filled = (size - there) as f64 / begun.elapsed().as_secs_f64();
        there = size;
        tell(&format!("jobs accepted a second, up to {size}"), filled, "/s", "");
        let cost = one_by_one(&yard, count(300, 5)).await;
        let base = *first.get_or_insert(cost);
        let times = format!("{:.2} × the first; flat", cost / base);
        tell(&format!("one claim with {size} queued"), cost, "ms", &times);
        if size == count(100_000, 100) {
            let (middle, slow) = many_at_once(yard.clone(), count(200, 10), count(20, 2)).await;
            tell("claims of 200 workers, 100,000 queued: middle", middle, "ms", "");
            tell("claims of 200 workers, 100,000 queued: 99 of 100", slow, "ms", "< 25");
        }
    }
    let counts = yard.store.job_counts().await.unwrap();
    assert!(counts.values().sum::<u64>() >= there as u64, "{counts:?}");
    yard.store.close().await.unwrap();
}
