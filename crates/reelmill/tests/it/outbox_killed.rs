//! What waits for a server while the process that delivers it is killed, or two
//! want to deliver: one job, one output, and nothing sent twice.

use super::farm::Server;
use super::fire::strace;
use super::outbox::{jobs, keep, nobody, sync, waiting};
use super::support::{Place, Ran, Running, clip, long, tool, wait_for};
use super::upload::{Gate, HEADS, PART, noise, sha512};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A sync that goes through `gate` to a server, and is killed once `is` holds.
fn killed_when(place: &Place, env: &[(&str, &str)], mut is: impl FnMut() -> bool) {
    let mut command = place.reelmill();
    command.args(["sync"]).envs(env.iter().copied());
    let running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for("the moment to kill", || is().then_some(()));
    running.kill();
}

/// `film` waits for a server behind a gate; then there is one.
fn gated(place: &Place, film: &Path, args: &[&str]) -> (Gate, Server) {
    let url = nobody();
    let gate = Gate::before(url.trim_start_matches("http://"));
    gate.open(usize::MAX);
    // Behind the gate is nobody yet: connections end at once.
    keep(place, &gate.url, film, &["--set", "speed=ultrafast"]);
    let server = Server::listening(place, url.trim_start_matches("http://"), args, &[]);
    (gate, server)
}

/// A film of so many parts that nobody could play.
fn noisy(place: &Place, parts: usize) -> PathBuf {
    let film = place.path("film.mkv");
    std::fs::write(&film, noise(parts * PART + 12_345)).unwrap();
    film
}

#[test]
fn a_sync_killed_in_mid_upload_goes_on_where_the_server_is() {
    let place = Place::new();
    let (parts, kills) = (4, 4);
    let film = noisy(&place, parts);
    let (gate, server) = gated(&place, &film, &["--workers", "0"]);
    let length = parts * PART + 12_345;
    let begun = gate.sent();
    for kill in 1..=kills {
        let odd = [0, 1, PART / 2, PART - 1][kill % 4];
        let to = gate.sent().max(begun + length * kill / (kills + 1)) + odd;
        gate.open(to);
        killed_when(&place, &[], || gate.sent() + (16 << 10) >= to);
    }
    gate.open(usize::MAX);
    let ran = sync(&place, &[]).ok();
    let sent = gate.sent() - begun;
    assert!(sent <= length + kills * (PART + HEADS) + HEADS, "{sent} bytes for {length}");
    let all = jobs(&server, &place);
    assert_eq!(all.len(), 1, "{}", ran.out);
    assert_eq!(all[0]["source"]["sha512"], sha512(&film).as_str());
    assert!(waiting(&place).is_empty());
    println!("{kills} kills: {sent} bytes sent for {length}");
}

/// How many jobs there are after a sync that was killed when the server had
/// made one, that one's end, and another sync.
fn jobs_after_a_lost_answer(env: &[(&str, &str)]) -> usize {
    let place = Place::new();
    let (gate, server) = gated(&place, &clip(6), &[]);
    gate.mute_after(Some("POST /api/v1/jobs HTTP"));
    killed_when(&place, env, || jobs(&server, &place).len() == 1);
    assert_eq!(waiting(&place).len(), 1, "nobody heard of the job");
    let id = jobs(&server, &place)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ended(&place, &id)["state"], "completed");
    // All but the output goes then, the source too.
    wait_for("one blob", || (place.files("state/blobs/blobs").len() == 1).then_some(()));
    gate.mute_after(None);
    let before = gate.sent();
    let mut command = place.reelmill();
    Ran::of(command.arg("sync").envs(env.iter().copied())).ok();
    assert!(waiting(&place).is_empty());
    if env.is_empty() {
        assert!(gate.sent() - before < HEADS, "the source was sent once more");
    }
    jobs(&server, &place).len()
}

#[test]
fn a_sync_killed_when_the_server_had_the_job_makes_no_second_one() {
    assert_eq!(jobs_after_a_lost_answer(&[]), 1);
}

#[test]
fn mutant_without_the_requests_key_is_caught() {
    assert_eq!(jobs_after_a_lost_answer(&[("REELMILL_MUTANT", "outbox-key")]), 2);
}

/// A sync that is in the middle of its upload.
fn in_mid_upload(place: &Place, gate: &Gate) -> Running {
    let before = gate.sent();
    gate.open(before + PART);
    let mut command = place.reelmill();
    command.arg("sync").stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(&mut command);
    wait_for("it to send", || (gate.sent() > before + PART / 2).then_some(()));
    running
}

#[test]
fn two_syncs_at_once_deliver_once() {
    let place = Place::new();
    let (gate, server) = gated(&place, &noisy(&place, 2), &["--workers", "0"]);
    let mut first = in_mid_upload(&place, &gate);
    place.run(["sync"]).refused(1, &["another process", &first.0.id().to_string()]);
    gate.open(usize::MAX);
    assert_eq!(first.wait(), 0);
    sync(&place, &[]).ok();
    assert_eq!(jobs(&server, &place).len(), 1);
}

#[test]
fn what_is_dismissed_while_it_is_sent_makes_no_job() {
    let place = Place::new();
    let (gate, server) = gated(&place, &noisy(&place, 2), &["--workers", "0"]);
    let mut running = in_mid_upload(&place, &gate);
    sync(&place, &["--forget", "0"]).ok();
    gate.open(usize::MAX);
    assert_eq!(running.wait(), 0);
    assert!(waiting(&place).is_empty());
    assert_eq!(jobs(&server, &place).len(), 0);
}

#[test]
fn an_interrupted_sync_goes_on_later() {
    let place = Place::new();
    let (gate, server) = gated(&place, &noisy(&place, 2), &["--workers", "0"]);
    let mut running = in_mid_upload(&place, &gate);
    running.signal("INT");
    assert_eq!(running.wait(), 130);
    assert_eq!(waiting(&place)[0]["state"], "waiting");
    gate.open(usize::MAX);
    let before = gate.sent();
    sync(&place, &[]).ok();
    assert!(gate.sent() - before < 2 * PART, "what was sent is sent again");
    assert_eq!(jobs(&server, &place).len(), 1);
}

/// The system calls by which a sync changes what others can see, and how often a
/// thread makes each, roughly.
const CALLS: [(&str, usize); 7] = [
    ("write", 16),
    ("writev", 6),
    ("fsync", 8),
    ("rename", 4),
    ("linkat", 1),
    ("unlink", 3),
    ("flock", 6),
];

/// A system call, and which time that a thread makes it.
type Shot = (&'static str, usize);

/// A sync that is killed at a shot.
fn under_fire(place: &Place, (call, number): Shot) -> Command {
    let plain = place.reelmill();
    let mut command = tool("strace");
    command.args(["-f", "-qq", "-o"]).arg(place.path("log"));
    command.arg("-e").arg(format!("trace={call}"));
    command.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={number}"));
    command.arg(plain.get_program()).arg("sync").current_dir(place.path("."));
    for (key, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

#[test]
fn a_sync_killed_at_any_system_call_makes_one_job_and_one_output() {
    if !strace("an outbox under fire") {
        return;
    }
    let all = CALLS.iter().flat_map(|(call, times)| (1..=*times).map(move |time| (*call, time)));
    let shots: Vec<Shot> = if long() { all.collect() } else { all.step_by(5).collect() };
    let (home, url, film) = (Place::new(), nobody(), clip(6));
    let places: Vec<(Shot, Place)> = shots.iter().map(|shot| (*shot, Place::new())).collect();
    let label = |(call, number): Shot| format!("shot={call}-{number}");
    for (shot, place) in &places {
        let args = ["-o", "out.mkv", "--set", "speed=ultrafast", "--label", &label(*shot)];
        keep(place, &url, &film, &args);
    }
    let server = Server::listening(&home, url.trim_start_matches("http://"), &[], &[]);
    let made = |shot: Shot| {
        server.client(&home, &["list", "--json", "--label", &label(shot)]).ok().events()
    };
    let mut hit = 0;
    // Killed twice in a row: what goes on is killed, too. -1 stands for a signal.
    let mut fire = |place: &Place, (call, number): Shot| {
        for number in [number, number.div_ceil(2)] {
            let ran = Ran::in_time(&mut under_fire(place, (call, number)));
            hit += usize::from(ran.code == -1);
        }
    };
    for (shot, place) in &places {
        fire(place, *shot);
        sync(place, &[]);
        assert_eq!(made(*shot).len(), 1, "{shot:?}");
    }
    for (shot, place) in &places {
        let id = made(*shot)[0]["id"].as_str().unwrap().to_owned();
        let job = server.ended(&home, &id);
        assert_eq!(job["state"], "completed", "{job}");
        // Now while it fetches.
        fire(place, *shot);
        sync(place, &[]).ok();
        assert!(waiting(place).is_empty(), "{shot:?}");
        assert_eq!(made(*shot).len(), 1, "{shot:?}");
        let output = sha512(&place.path("out.mkv"));
        assert_eq!(job["output"]["sha512"], output.as_str(), "{shot:?}");
        let parts = place.names().into_iter().filter(|name| name.ends_with(".part"));
        assert_eq!(parts.count(), 0, "{shot:?}: {:?}", place.names());
    }
    assert!(hit > places.len(), "of {} shots only {hit} hit", places.len() * 4);
    println!("{hit} of {} runs were killed", places.len() * 4);
}
