//! Processes killed, paused and restarted at random while jobs are handed in
//! and worked on: every accepted job is completed, its output is right, and no
//! finished chunk is encoded again.
//!
//! `REELMILL_CHAOS_SEED` chooses the faults; with `REELMILL_TEST_LONG=1` there
//! are 300 jobs and ten minutes of faults.

use super::farm::{Server, events};
use super::judge::{Decoded, decode, same_frames};
use super::support::{Place, Ran, Running, clip, long, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// Of the coordinator; pauses last longer.
const COORDINATOR: [&str; 4] = ["--workers", "0", "--lease-seconds", "2"];

/// Longer than a lease.
const PAUSE: Duration = Duration::from_secs(3);

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn pass(time: Duration) {
    let end = Instant::now() + time;
    wait_for("time to pass", || (Instant::now() >= end).then_some(()));
}

/// A coordinator and its workers, as processes.
struct Town<'a> {
    place: &'a Place,
    server: Option<Server>,
    workers: Vec<Option<Running>>,
}

impl<'a> Town<'a> {
    fn new(place: &'a Place) -> Self {
        let server = Server::start(place, &COORDINATOR);
        let workers = (0..WORKERS).map(|at| Some(Self::worker(&server, place, at))).collect();
        Self { place, server: Some(server), workers }
    }

    /// Worker `at`, in a scratch folder of its own: the same one when it is
    /// started again.
    fn worker(server: &Server, place: &Place, at: usize) -> Running {
        let scratch = place.path(&format!("worker-{at}"));
        let args = ["--scratch", scratch.to_str().unwrap(), "--drain-seconds", "0"];
        server.worker(place, &format!("w{at}"), &args)
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Kills, pauses or restarts one of the processes.
    fn fault(&mut self, kind: u64, at: usize) {
        match kind {
            0 => {
                if let Some(worker) = self.workers[at].take() {
                    worker.kill();
                }
                self.workers[at] = Some(Self::worker(self.server(), self.place, at));
            }
            1 => {
                let worker = self.workers[at].as_ref().unwrap();
                worker.signal("STOP");
                pass(PAUSE);
                worker.signal("CONT");
            }
            2 => {
                let server = self.server.take().unwrap();
                self.server = Some(server.crash_and_restart(self.place, &COORDINATOR, &[]));
            }
            _ => {
                self.server().running.signal("STOP");
                pass(PAUSE);
                self.server().running.signal("CONT");
            }
        }
    }
}

/// Hands a film in until it is accepted; yields the job's id.
fn hand_in(place: &Place, url: &str, film: &str, number: usize) -> String {
    let key = format!("film-{number}");
    let request = ["--idempotency-key", &key, "--chunk-seconds", "1", "--set", "speed=ultrafast"];
    wait_for("a job to be accepted", || {
        let mut command = place.reelmill();
        let ran = Ran::of(command.args(["submit", film, "--json", "--server", url]).args(request));
        if ran.code != 0 {
            return None;
        }
        ran.events().iter().find_map(|event| Some(event["job"].as_str()?.to_owned()))
    })
}

/// The state of every job.
fn states(town: &Town<'_>) -> BTreeMap<String, String> {
    let ran = town.server().client(town.place, &["list", "--json", "--limit", "1000"]).ok();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ran.events().iter().map(|job| (text(&job["id"]), text(&job["state"]))).collect()
}

/// Whether a job's output is right and nothing finished was done again.
fn check(town: &Town<'_>, id: &str, film: &Decoded) {
    let output = town.place.path("output.mkv");
    let fetch = ["fetch", id, "--overwrite", "-o", output.to_str().unwrap()];
    town.server().client(town.place, &fetch).ok();
    same_frames(film, &decode(&output, None), 0.001, false)
        .unwrap_or_else(|wrong| panic!("job {id}: {wrong}"));
    let times = times_done(&events(town.server(), town.place, id));
    assert!(times.len() >= 3 && times.values().all(|n| *n == 1), "job {id}: {times:?}");
}

/// How often each task counted as done.
fn times_done(history: &[Value]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for entry in history.iter().filter(|entry| entry["event"]["event"] == "done") {
        *times.entry(entry["task"].to_string()).or_insert(0) += 1;
    }
    times
}

#[test]
fn nothing_is_lost_whatever_is_killed() {
    let (jobs, faults) = if long() { (300, None) } else { (10, Some(6)) };
    let seed = std::env::var("REELMILL_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_261_127);
    let (mut dice, begun) = (Dice(seed), Instant::now());
    let films: Vec<PathBuf> = [2, 4].map(clip).to_vec();
    let decoded: Vec<Decoded> = films.iter().map(|film| decode(film, None)).collect();
    let place = Place::new();
    let mut town = Town::new(&place);
    let url = town.server().url.clone();
    let mut counts = [0; 4];
    let ids: Vec<String> = std::thread::scope(|scope| {
        let hands = scope.spawn(|| {
            let film = |number: usize| films[number % films.len()].to_str().unwrap();
            (0..jobs).map(|number| hand_in(&place, &url, film(number), number)).collect::<Vec<_>>()
        });
        let mut made = 0;
        let on = |made: u64| match faults {
            Some(most) => made < most,
            None => begun.elapsed() < Duration::from_secs(600),
        };
        while on(made) {
            pass(Duration::from_millis(300 + dice.below(1500)));
            // Each kind at least once, then at random.
            let kind = if made < 4 { made } else { dice.below(4) };
            town.fault(kind, dice.below(WORKERS as u64) as usize);
            counts[kind as usize] += 1;
            made += 1;
        }
        hands.join().unwrap()
    });
    let [killed, paused, crashed, stopped] = counts;
    println!(
        "seed {seed}: {jobs} jobs; {killed} workers killed, {paused} paused; \
         coordinator killed {crashed} times, paused {stopped} times"
    );
    let (mut ended, mut all) = (0, BTreeMap::new());
    while ended < jobs {
        // However slow the machine is: one after the other must end.
        (ended, all) = wait_for("another job to end", || {
            let all = states(&town);
            let open =
                |state: &&String| ["queued", "running", "uploading"].contains(&state.as_str());
            let now = all.len() - all.values().filter(open).count();
            (now > ended).then_some((now, all))
        });
    }
    assert_eq!(all.len(), jobs, "each job is there once");
    for id in &ids {
        assert_eq!(all.get(id).map(String::as_str), Some("completed"), "job {id}, seed {seed}");
    }
    for (number, id) in ids.iter().enumerate() {
        check(&town, id, &decoded[number % decoded.len()]);
    }
    println!("all {jobs} right after {:.0} s", begun.elapsed().as_secs_f64());
}
