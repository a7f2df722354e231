use super::fixture::*;
use crate::*;
use reelmill_core::task::*;
use reelmill_core::id::TaskId;
use std::sync::Arc;
use std::time::Instant;
use std::sync::atomic::*;

async fn cycle(store: &SqliteStore, n: u128) {
    submit(store, n).await;
    analyse(store, n, 1, at(10_000_000)).await;
    for k in [1,2,3] { work(store, task_id(n, k), 1, at(10_000_000)).await; }
}
#[tokio::test(flavor="multi_thread", worker_threads=2)]
async fn perf() {
    let folder = tempfile::tempdir_in(std::env::var("PERF_DIR").unwrap_or("/tmp".into())).unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap());
    for conc in [1usize, 16, 64] {
        let t = Instant::now();
        let next = Arc::new(AtomicU64::new(conc as u64 * 100_000));
        let mut hs = vec![];
        for _ in 0..conc { let (s, n) = (store.clone(), next.clone()); hs.push(tokio::spawn(async move {
            for _ in 0..(256/conc) { let k = n.fetch_add(1, Ordering::SeqCst) as u128; cycle(&s, k).await; } })); }
        for h in hs { h.await.unwrap(); }
        let e = t.elapsed().as_secs_f64();
        println!("conc {conc}: {:.0} life cycles/s (5 tasks each: 13 calls incl reads), {:.0} submit-only below", 256.0/e, 0.0);
        let t = Instant::now();
        let mut hs = vec![];
        for _ in 0..conc { let (s, n) = (store.clone(), next.clone()); hs.push(tokio::spawn(async move {
            for _ in 0..(512/conc) { let k = n.fetch_add(1, Ordering::SeqCst) as u128;
              let mut new = new_job(job(k)); new.tasks[0].kind = TaskKind::EncodeVideo; s.job_submit(new).await.unwrap();
              let p = claim(&*s, task_id(k,0), 1, at(10_000_000)).await;
              apply(&*s, task_id(k,0), TaskEvent::Complete(p, result(TaskKind::EncodeVideo)), at(10_000_001)).await.unwrap();
            } })); }
        for h in hs { h.await.unwrap(); }
        println!("conc {conc}: {:.0} submit+claim+complete/s", 512.0/t.elapsed().as_secs_f64());
    }
    // renewals
    let mut renewals = vec![];
    for k in 900_000..900_500u128 { submit(&*store, k).await; let p = claim(&*store, task_id(k,0), 1, at(10_000_000)).await; renewals.push((task_id(k,0), p, 1)); }
    let t = Instant::now();
    for _ in 0..10 { store.tasks_renew(&renewals, RULES, at(10_000_010)).await.unwrap(); }
    println!("renew batch500: {:.0}/s", 5000.0/t.elapsed().as_secs_f64());
    let t = Instant::now();
    let mut hs = vec![];
    for c in renewals.chunks(8) { let (s, c) = (store.clone(), c.to_vec()); hs.push(tokio::spawn(async move { for _ in 0..10 { s.tasks_renew(&c, RULES, at(10_000_010)).await.unwrap(); } })); }
    for h in hs { h.await.unwrap(); }
    println!("renew 8 per worker concurrent: {:.0}/s", 5000.0/t.elapsed().as_secs_f64());
    // queue growth
    let mut have = 0u32;
    for target in [1_000u32, 10_000, 100_000, 1_000_000] {
        while have < target {
            let k = 2_000_000 + u128::from(have);
            let step = 5000.min(target - have);
            let mut new = new_job(job(k));
            new.tasks = (0..step).map(|i| { let mut t = Task::new(TaskId{job: job_id(k), generation:0, number:i}, TaskKind::EncodeChunk, 0, at(1)); t.needs=Some(reelmill_core::encoder::VideoEncoder::X264); t }).collect();
            store.job_submit(new).await.unwrap();
            have += step;
        }
        let t = Instant::now();
        for _ in 0..50 { store.tasks_ready(at(10_000_000), 64).await.unwrap(); }
        let ready = t.elapsed().as_secs_f64()*1000.0/50.0;
        let t = Instant::now();
        for _ in 0..50 { let c = store.tasks_ready(at(10_000_000), 1).await.unwrap(); let x = c.last().unwrap().task; claim(&*store, x, 3, at(10_000_000)).await; }
        println!("queued {have}: tasks_ready(64) {ready:.2} ms; ready(1)+claim {:.2} ms", t.elapsed().as_secs_f64()*1000.0/50.0);
    }
}
