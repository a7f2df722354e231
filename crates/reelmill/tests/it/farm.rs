//! A coordinator, workers and clients as separate processes.

use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, clip, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A running coordinator.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) url: String,
    address: String,
}

impl Server {
    /// Starts one on a free port, its state in `place`.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::listening(place, "127.0.0.1:0", args, &[])
    }

    /// Starts one on `address`, with environment `env`.
    pub(crate) fn listening(
        place: &Place,
        address: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = place.reelmill();
        command.args(["serve", "--json", "--listen", address]).args(args);
        command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running::start(&mut command);
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the coordinator ended early").unwrap();
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if event["event"] == "serving" {
                break event["address"].as_str().unwrap().to_owned();
            }
        };
        let scheme = if args.contains(&"--tls-cert") { "https" } else { "http" };
        Self { running, url: format!("{scheme}://{address}"), address }
    }

    /// Kills it (SIGKILL) and starts it anew on the same state and port.
    pub(crate) fn crash_and_restart(
        self,
        place: &Place,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        self.running.kill();
        Self::listening(place, &self.address, args, env)
    }

    /// Runs a client command against it.
    pub(crate) fn client(&self, place: &Place, args: &[&str]) -> Ran {
        let mut command = place.reelmill();
        Ran::of(command.args(args).args(["--server", &self.url]))
    }

    /// Submits a file and yields the job's id.
    pub(crate) fn submit(&self, place: &Place, film: &Path, args: &[&str]) -> String {
        let film = film.to_str().unwrap();
        let args: Vec<&str> =
            ["submit", film, "--json"].into_iter().chain(args.iter().copied()).collect();
        let ran = self.client(place, &args).ok();
        let events = ran.events();
        let id = events.iter().find_map(|event| event["job"].as_str());
        id.unwrap_or_else(|| panic!("no id in {}", ran.out)).to_owned()
    }

    /// The job as the API shows it.
    pub(crate) fn job(&self, place: &Place, id: &str) -> Value {
        let ran = self.client(place, &["status", id, "--json"]).ok();
        serde_json::from_str(ran.out.lines().last().unwrap()).unwrap()
    }

    /// Waits for the job's end.
    #[track_caller]
    pub(crate) fn ended(&self, place: &Place, id: &str) -> Value {
        wait_for("the job's end", || {
            let job = self.job(place, id);
            let open =
                ["queued", "running", "uploading"].iter().any(|state| job["state"] == *state);
            (!open).then_some(job)
        })
    }

    /// A worker process for it.
    pub(crate) fn worker(&self, place: &Place, name: &str, args: &[&str]) -> Running {
        let mut command = place.reelmill();
        command.args(["work", "--server", &self.url, "--slots", "1", "--name", name]).args(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running::start(&mut command)
    }

    /// Waits until so many workers have joined.
    pub(crate) fn workers(&self, place: &Place, count: usize) {
        wait_for("the workers", || {
            let ran = self.client(place, &["workers", "--json"]).ok();
            let encoding = ran.out.matches("\"encodes\":true").count();
            (encoding >= count).then_some(())
        });
    }
}

/// Chunks of a job (not analysis, audio, finish).
pub(crate) fn chunks(job: &Value) -> Vec<&Value> {
    job["chunks"].as_array().unwrap().iter().filter(|c| c["kind"] == "encode_chunk").collect()
}

#[test]
fn one_command_is_a_whole_system() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let (input, output) = (clip(20), place.path("out.mp4"));
    let film = input.to_str().unwrap();
    let args = [
        "submit",
        film,
        "--wait",
        "-o",
        output.to_str().unwrap(),
        "--chunk-seconds",
        "4",
        "--set",
        "speed=ultrafast",
    ];
    server.client(&place, &args).ok();
    same_frames(&decode(&input, None), &decode(&output, None), 0.000_01, false).unwrap();
    let listed = server.client(&place, &["list"]).ok().out;
    assert!(listed.contains("completed") && listed.contains("clip-20.mkv"), "{listed}");
}

#[test]
fn workers_without_the_file_encode_it_together() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let _workers = [server.worker(&place, "anna", &[]), server.worker(&place, "bert", &[])];
    server.workers(&place, 2);
    let (input, output) = (clip(60), place.path("out.mkv"));
    let id = server.submit(&place, &input, &["--chunk-seconds", "5", "--set", "speed=veryfast"]);
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    assert!(chunks(&job).len() >= 10);
    let history = events(&server, &place, &id);
    let claimed: std::collections::BTreeSet<String> = history
        .iter()
        .filter(|e| e["event"]["event"] == "claimed")
        .map(|e| e["event"]["worker"].to_string())
        .collect();
    assert!(claimed.len() >= 3, "the house and both workers took part: {claimed:?}");
    server.client(&place, &["fetch", &id, "-o", output.to_str().unwrap()]).ok();
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
    let again = server.client(&place, &["fetch", &id, "-o", output.to_str().unwrap()]);
    again.refused(2, &["exists"]);
}

/// A job's history.
pub(crate) fn events(server: &Server, place: &Place, id: &str) -> Vec<Value> {
    let ran = server.client(place, &["status", id, "--json", "--history"]).ok();
    let job: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    job["history"].as_array().unwrap().clone()
}

#[test]
fn a_job_can_be_cancelled_and_tried_again() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let worker = server.worker(&place, "anna", &[]);
    server.workers(&place, 1);
    let input = clip(60);
    let id = server.submit(&place, &input, &["--chunk-seconds", "5", "--set", "speed=slow"]);
    wait_for("a finished chunk", || {
        let job = server.job(&place, &id);
        chunks(&job).iter().any(|c| c["state"] == "done").then_some(())
    });
    server.client(&place, &["cancel", &id]).ok();
    assert_eq!(server.job(&place, &id)["state"], "cancelled");
    server.client(&place, &["cancel", &id]).refused(1, &["cancelled already"]);
    server.client(&place, &["retry", &id]).ok();
    let done: Vec<Value> = chunks(&server.job(&place, &id)).into_iter().cloned().collect();
    assert!(done.iter().any(|c| c["state"] == "done"), "finished chunks are kept: {done:?}");
    server.client(&place, &["cancel", &id]).ok();
    drop(worker);
}

#[test]
fn a_draining_worker_gives_back_what_it_has_at_no_cost() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let mut worker = server.worker(&place, "anna", &["--drain-seconds", "0"]);
    server.workers(&place, 1);
    let id =
        server.submit(&place, &clip(20), &["--chunk-seconds", "10", "--set", "speed=veryslow"]);
    wait_for("a leased chunk", || {
        let job = server.job(&place, &id);
        chunks(&job).iter().any(|c| c["state"] == "leased").then_some(())
    });
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);
    let job = server.job(&place, &id);
    assert!(chunks(&job).iter().all(|c| c["state"] != "leased"), "{job}");
    assert!(chunks(&job).iter().all(|c| c["failed_attempts"] == 0 && c["lost_workers"] == 0));
    let _other = server.worker(&place, "bert", &[]);
    assert_eq!(server.ended(&place, &id)["state"], "completed");
}

/// What lies in a server's state beside its rows and finished blobs.
fn unfinished(place: &Place) -> Vec<PathBuf> {
    let rows = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("reelmill.db") || path.starts_with(place.path("state/blobs/blobs"))
    };
    let mut found = place.files("state");
    found.retain(|path| !rows(path));
    found
}

#[test]
fn a_server_that_stops_leaves_nothing_half_done_and_one_that_crashed_clears_up() {
    let place = Place::new();
    let args = ["--workers", "1", "--drain-seconds", "0"];
    let mut server = Server::start(&place, &args);
    let id =
        server.submit(&place, &clip(60), &["--chunk-seconds", "20", "--set", "speed=veryslow"]);
    let at_work = |server: &Server| {
        wait_for("a chunk that is being written", || {
            let job = server.job(&place, &id);
            let busy = chunks(&job).iter().any(|c| c["frames_done"].as_u64() > Some(0));
            (busy && !unfinished(&place).is_empty()).then_some(())
        });
    };
    at_work(&server);
    server.running.signal("TERM");
    assert_eq!(server.running.wait(), 0);
    assert_eq!(unfinished(&place), Vec::<PathBuf>::new());
    assert!(place.path("state/reelmill.db").exists());
    assert!(!place.path("state/reelmill.db-wal").exists(), "the database's log is left");

    let server = Server::start(&place, &args);
    at_work(&server);
    let before = unfinished(&place);
    server.running.kill();
    assert_eq!(unfinished(&place), before, "nobody could clear up");
    let server = Server::start(&place, &["--workers", "0"]);
    assert_eq!(unfinished(&place), Vec::<PathBuf>::new());
    let job = server.job(&place, &id);
    assert!(chunks(&job).iter().all(|c| c["failed_attempts"] == 0), "{job}");
    server.client(&place, &["cancel", &id]).ok();
}

#[test]
fn a_source_that_is_no_film_fails_with_the_reason() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let diary = place.path("diary.mkv");
    std::fs::write(&diary, "not a film").unwrap();
    let id = server.submit(&place, &diary, &[]);
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "failed");
    assert_eq!(job["failure"]["class"], "input");
    let status = server.client(&place, &["status", &id]).ok().out;
    assert!(status.contains("not a media file"), "{status}");
}

#[test]
fn a_repeated_submission_makes_one_job() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let key = ["--idempotency-key", "tonight"];
    let first = server.submit(&place, &clip(6), &key);
    let second = server.submit(&place, &clip(6), &key);
    assert_eq!(first, second);
}

#[test]
fn a_dry_run_tells_what_a_film_would_come_to_and_sends_nothing() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let film = clip(6);
    let dry = ["submit", film.to_str().unwrap(), "--dry-run", "--preset", "hevc"];
    let told = server.client(&place, &dry).ok().out;
    for words in ["hevc to mkv", "of encoding", "no worker that is here can do it", "0 jobs before"]
    {
        assert!(told.contains(words), "{told}");
    }
    let ran = server.client(&place, &[&dry[..], &["--json"]].concat()).ok();
    let estimate = &ran.events()[0]["estimate"];
    assert!(estimate["bytes"].as_u64() > Some(1000), "{estimate}");
    server.client(&place, &["submit", "nothing.mkv", "--dry-run"]).refused(3, &["nothing.mkv"]);
    assert_eq!(server.client(&place, &["list", "--json"]).ok().out, "");
    let blobs = std::fs::read_dir(place.path("state/blobs")).unwrap();
    let kept = blobs.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).count();
    assert_eq!(kept, 0, "nothing was sent");
}
