//! Processes that die, hang or come back too late: the output is right,
//! finished chunks are not encoded again, late reports are refused. Each test
//! is run once more with the protection left out, and must then fail.

use super::farm::{Server, chunks, events};
use super::judge::{decode, same_frames};
use super::support::{Place, clip, wait_for};
use serde_json::Value;
use std::path::Path;

/// Ten chunks that take a while each.
const SLOWLY: [&str; 4] = ["--chunk-seconds", "6", "--set", "speed=slow"];

fn done(job: &Value) -> usize {
    chunks(job).iter().filter(|chunk| chunk["state"] == "done").count()
}

fn busy(job: &Value, worker: &str) -> bool {
    chunks(job)
        .iter()
        .any(|chunk| chunk["worker"] == worker && chunk["frames_done"].as_u64() > Some(0))
}

fn wait_until(server: &Server, place: &Place, id: &str, what: &str, is: impl Fn(&Value) -> bool) {
    wait_for(what, || is(&server.job(place, id)).then_some(()));
}

/// Fetches the output and judges it; yields the job.
fn right(server: &Server, place: &Place, id: &str, input: &Path) -> Value {
    let job = server.ended(place, id);
    assert_eq!(job["state"], "completed", "{job}");
    let output = place.path("out.mkv");
    server.client(place, &["fetch", id, "-o", output.to_str().unwrap()]).ok();
    same_frames(&decode(input, None), &decode(&output, None), 0.001, false).unwrap();
    job
}

/// How often each chunk was finished.
fn times_done(history: &[Value]) -> Vec<usize> {
    let mut times = std::collections::BTreeMap::new();
    for entry in history {
        if entry["event"]["event"] == "done" && entry["event"]["kind"] == "encode_chunk" {
            *times.entry(entry["task"].to_string()).or_insert(0) += 1;
        }
    }
    times.into_values().collect()
}

#[test]
fn a_worker_killed_in_mid_chunk() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0", "--lease-seconds", "3"]);
    let (anna, _bert) = (server.worker(&place, "anna", &[]), server.worker(&place, "bert", &[]));
    server.workers(&place, 2);
    let input = clip(60);
    let id = server.submit(&place, &input, &SLOWLY);
    wait_until(&server, &place, &id, "anna to be in mid-chunk", |job| busy(job, "anna"));
    anna.kill();
    let job = right(&server, &place, &id, &input);
    let lost: u64 = chunks(&job).iter().map(|c| c["lost_workers"].as_u64().unwrap()).sum();
    assert_eq!(lost, 1, "one worker was lost on one chunk");
    assert!(chunks(&job).iter().all(|c| c["failed_attempts"] == 0), "no attempt is charged");
    let times = times_done(&events(&server, &place, &id));
    assert!(times.len() >= 10 && times.iter().all(|n| *n == 1), "{times:?}");
}

fn coordinator_killed(env: &[(&str, &str)]) -> Vec<usize> {
    let place = Place::new();
    let args = ["--workers", "0", "--lease-seconds", "5"];
    let server = Server::start(&place, &args);
    let _workers = [server.worker(&place, "anna", &[]), server.worker(&place, "bert", &[])];
    server.workers(&place, 2);
    let input = clip(60);
    let id = server.submit(&place, &input, &SLOWLY);
    wait_until(&server, &place, &id, "three finished chunks", |job| done(job) >= 3);
    let server = server.crash_and_restart(&place, &args, env);
    right(&server, &place, &id, &input);
    times_done(&events(&server, &place, &id))
}

#[test]
fn the_coordinator_killed_and_restarted() {
    let times = coordinator_killed(&[]);
    assert!(times.len() >= 10 && times.iter().all(|n| *n == 1), "{times:?}");
}

#[test]
fn mutant_that_forgets_finished_chunks_is_caught() {
    let times = coordinator_killed(&[("REELMILL_MUTANT", "finished-chunks-kept")]);
    let encoded: usize = times.iter().sum();
    assert!(encoded > 10, "chunks were encoded again: {times:?}");
}

fn worker_paused(env: &[(&str, &str)]) -> (Vec<Value>, Vec<usize>) {
    let place = Place::new();
    let args = ["--workers", "0", "--lease-seconds", "3"];
    let server = Server::listening(&place, "127.0.0.1:0", &args, env);
    let (anna, _bert) = (server.worker(&place, "anna", &[]), server.worker(&place, "bert", &[]));
    server.workers(&place, 2);
    let input = clip(60);
    let id = server.submit(&place, &input, &SLOWLY);
    wait_until(&server, &place, &id, "anna to be in mid-chunk", |job| busy(job, "anna"));
    anna.signal("STOP");
    wait_until(&server, &place, &id, "anna's lease to end", |job| {
        chunks(job).iter().any(|chunk| chunk["lost_workers"] == 1)
    });
    anna.signal("CONT");
    right(&server, &place, &id, &input);
    let history = events(&server, &place, &id);
    let times = times_done(&history);
    let stale = history.into_iter().filter(|e| e["event"]["event"] == "stale_refused").collect();
    (stale, times)
}

#[test]
fn a_worker_paused_for_longer_than_its_lease() {
    let (stale, times) = worker_paused(&[]);
    assert!(!stale.is_empty(), "the late report is refused and told");
    assert!(times.len() >= 10 && times.iter().all(|n| *n == 1), "{times:?}");
}

#[test]
fn mutant_without_fencing_is_caught() {
    let (stale, _) = worker_paused(&[("REELMILL_MUTANT", "fencing")]);
    assert!(stale.is_empty(), "the test above would see that nothing is refused");
}
