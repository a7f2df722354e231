//! What killed processes leave under temporary names goes once it is old, and not before:
//! another machine may be at work under such a name.

use super::fire::{CASES, Fire, strace};
use super::folder::{convert, films, names};
use super::support::{Place, Ran, Running, ffmpeg, wait_for};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HOUR: u64 = 3600;

/// Makes a file or folder that was written to `hours` ago.
fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * HOUR);
    File::open(path).unwrap().set_modified(then).unwrap();
}

/// A name that somebody was killed under, `hours` ago.
fn left(at: PathBuf, hours: u64) -> PathBuf {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(&at, "half").unwrap();
    age(&at, hours);
    at
}

#[test]
fn what_a_kill_during_the_start_probe_leaves_goes_when_it_is_old() {
    if !strace("kills during the start probe of a share") {
        return;
    }
    let fire = Fire::new(CASES[1], None);
    let log = fire.place.path("log");
    let tmp = fire.films().join(".reelmill/tmp");
    fire.traced(&fire.replace(), Some("statfs:signal=SIGKILL:when=1"), &log);
    let killed = names(&tmp);
    assert!(killed.len() == 1 && killed[0].starts_with("probe-"), "{killed:?}");
    assert!(!names(&tmp.join(&killed[0])).is_empty(), "it was killed at work");
    fire.traced(&fire.clean(), None, &log).ok();
    assert_eq!(names(&tmp), killed, "somebody may be at it");
    age(&tmp.join(&killed[0]), 25);
    fire.traced(&fire.clean(), None, &log).ok();
    assert!(names(&tmp).is_empty(), "{:?}", names(&tmp));
}

#[test]
fn other_temporary_names_in_a_library_go_when_they_are_old() {
    let place = Place::new();
    let films = films(&place);
    std::fs::write(films.join("film.mkv"), "no film").unwrap();
    let names = [
        ".reelmill/tmp/clock-1",
        ".reelmill/queue/tmp-1",
        ".reelmill/queue/ended/tmp-1",
        ".reelmill/.scan-1",
        ".reelmill/.mark-1",
        ".reelmill-lock-1",
    ];
    let old = names.map(|name| left(films.join(name), 25));
    let fresh = names.map(|name| left(films.join(format!("{name}2")), 23));
    let shared = films.to_str().unwrap();
    place.run(["scan", shared]);
    place.run(["list", "--shared", shared]).ok();
    place.run(["locks", "--clean", shared]).ok();
    let there = |paths: &[PathBuf]| -> Vec<PathBuf> {
        paths.iter().filter(|path| path.exists()).cloned().collect()
    };
    assert_eq!(there(&old), Vec::<PathBuf>::new());
    assert_eq!(there(&fresh), fresh);
    left(films.join(".reelmill-lock-1"), 25);
    Ran::of(&mut convert(&place, &films, &["--shared"]));
    assert_eq!(there(&old), Vec::<PathBuf>::new(), "a conversion clears them away too");
}

#[test]
fn a_killed_holders_signs_of_life_go_when_another_finds_nothing_to_be_had() {
    let place = Place::new();
    let films = films(&place);
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=2"];
    ffmpeg(&[&picture[..], &["-c:v", "libx264", "-crf", "51"]].concat(), &films.join("film.mkv"));
    let start = || {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--replace", "--set", "crf=0"]);
        command
    };
    let slots = || place.files("films/.reelmill/slots");
    let beats = || slots().into_iter().filter(|path| path.to_string_lossy().ends_with(".beat"));
    let running = Running::start(&mut start());
    wait_for("a sign of life", || beats().next());
    running.kill();
    assert_eq!(beats().count(), 1, "it was killed at work");
    Ran::of(&mut start()).ok();
    let done = slots().into_iter().filter_map(|path| std::fs::read(path).ok());
    let last = done.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
    assert!(last.into_iter().any(|slot| slot["slot"] == "done"), "{:?}", slots());
    assert_eq!(beats().count(), 0, "{:?}", slots());
}
