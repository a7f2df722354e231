//! Workers tell how fast they are before anybody has seen them work.

use super::farm::Server;
use super::support::{Place, clip, wait_for};
use serde_json::Value;
use std::path::PathBuf;

/// The workers, as programs get them.
fn workers(server: &Server, place: &Place) -> Vec<Value> {
    let ran = server.client(place, &["workers", "--json"]).ok();
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The worker of this name.
fn worker(server: &Server, place: &Place, name: &str) -> Option<Value> {
    workers(server, place).into_iter().find(|one| one["name"] == name)
}

/// The worker of this name, once it has told what its encoders can do.
fn measured(server: &Server, place: &Place, name: &str) -> Value {
    wait_for("the benchmark", || {
        let told = |one: &Value| one["benchmarks"].as_object().is_some_and(|all| !all.is_empty());
        worker(server, place, name).filter(told)
    })
}

fn kept(place: &Place) -> Vec<PathBuf> {
    let mut found = place.files("scratch");
    found.retain(|path| path.ends_with("benchmark.json"));
    found
}

#[test]
fn a_worker_measures_its_encoders_once_and_shows_how_fast_they_are() {
    let mut place = Place::new();
    place.set("REELMILL_BENCHMARK", "auto");
    let server = Server::start(&place, &["--workers", "0"]);
    let mut running = server.worker(&place, "anna", &[]);
    let first = measured(&server, &place, "anna");
    let proven = first["facts"]["encoders"].as_array().unwrap();
    let names: Vec<&str> = proven.iter().map(|one| one["encoder"].as_str().unwrap()).collect();
    for name in &names {
        let speed = first["benchmarks"][name].as_f64();
        assert!(speed.is_some_and(|speed| speed > 1.0), "{name} in {first}");
    }
    assert_eq!(first["speeds"].as_object().map(serde_json::Map::len), Some(0));
    let shown = server.client(&place, &["workers"]).ok().out;
    assert!(shown.contains("MPIX/S") && shown.contains("x264 ~"), "{shown}");
    running.signal("TERM");
    assert_eq!(running.wait(), 0);

    let files = kept(&place);
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let (text, before) = (std::fs::read_to_string(file).unwrap(), first["started"].clone());
    let running = server.worker(&place, "anna", &[]);
    let again = wait_for("the worker's return", || {
        worker(&server, &place, "anna").filter(|one| one["started"] != before)
    });
    assert_eq!(again["benchmarks"], first["benchmarks"], "told at once");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text, "not measured again");

    let job = server.submit(&place, &clip(20), &["--preset", "h264", "--set", "speed=slower"]);
    assert_eq!(server.ended(&place, &job)["state"], "completed");
    let after = worker(&server, &place, "anna").unwrap();
    assert!(after["speeds"]["x264"].as_f64().is_some_and(|speed| speed > 0.0), "{after}");
    let shown = server.client(&place, &["workers"]).ok().out;
    assert!(shown.contains("x264 ") && !shown.contains("x264 ~"), "what it has shown: {shown}");
    drop(running);
}

#[test]
fn a_worker_that_is_stopped_while_it_measures_signs_off_and_keeps_nothing() {
    let mut place = Place::new();
    place.set("REELMILL_BENCHMARK", "always");
    let server = Server::start(&place, &["--workers", "0"]);
    let mut running = server.worker(&place, "bert", &[]);
    wait_for("the worker", || worker(&server, &place, "bert"));
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
    assert_eq!(worker(&server, &place, "bert"), None, "who is gone is not listed");
    assert_eq!(kept(&place), Vec::<PathBuf>::new());
}

#[test]
fn the_workers_inside_a_coordinator_measure_once_for_all() {
    let mut place = Place::new();
    place.set("REELMILL_BENCHMARK", "auto");
    let server = Server::start(&place, &["--workers", "2"]);
    let all: Vec<Value> = wait_for("both benchmarks", || {
        let all = workers(&server, &place);
        let told = |one: &Value| one["benchmarks"]["x264"].is_number();
        (all.len() == 2 && all.iter().all(told)).then_some(all)
    });
    assert_eq!(all[0]["benchmarks"], all[1]["benchmarks"]);
}
