//! Several processes on one folder, and users who go on using it meanwhile.

use super::fire::{Case, Fire, KINDS_OF_STEPS, Point, strace};
use super::folder::{convert, films, names, tiny};
use super::support::{Place, Ran, Running, clip, long, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// All files below a folder whose names end so.
fn ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(ending(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

fn worker(place: &Place, films: &Path, number: usize, run: usize) -> Running {
    let scratch = place.path(&format!("scratch{number}"));
    let args = ["--replace", "--shared", "--keep-bigger", "--wait", "--json"];
    let mut command = convert(place, films, &args);
    command.arg("--scratch").arg(scratch).args(["--workers", "1"]);
    let out = place.path(&format!("out-{number}-{run}"));
    command.stdout(std::fs::File::create(out).unwrap()).stderr(Stdio::null());
    Running::start(&mut command)
}

/// Whether the process has a lock in the folder.
fn works(films: &Path, running: &Running) -> bool {
    let locks = std::fs::read_dir(films).unwrap().flatten().map(|entry| entry.path());
    let mut locks = locks.filter(|path| path.to_string_lossy().ends_with(".mediabox.lock"));
    locks.any(|lock| {
        let says: Value = std::fs::read(lock)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        says["pid"] == running.0.id()
    })
}

/// What the slots of a folder tell of tries that were begun again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Again {
    /// Tries in all.
    tries: usize,
    /// Begun after one whose process was killed, by its number.
    after_killed: BTreeMap<u64, usize>,
    /// Begun although the process before was not killed: what is done twice for nothing.
    after_living: Vec<String>,
}

impl Again {
    fn told(films: &Path, killed: &[u64]) -> Self {
        let mut again = Self::default();
        for first in ending(&films.join(".reelmill/slots"), "/0.json") {
            let slots =
                (0..).map_while(|n| std::fs::read(first.with_file_name(format!("{n}.json"))).ok());
            let slots: Vec<Value> =
                slots.map(|text| serde_json::from_slice(&text).unwrap()).collect();
            again.tries += slots.iter().filter(|slot| slot["slot"] == "lease").count();
            for two in slots.windows(2).filter(|two| two[1]["slot"] == "lease") {
                let before = two[0]["who"]["pid"].as_u64().unwrap();
                if killed.contains(&before) && two[0]["slot"] == "lease" {
                    *again.after_killed.entry(before).or_default() += 1;
                } else {
                    again.after_living.push(format!("{} then {}", two[0], two[1]));
                }
            }
        }
        again
    }
}

/// Waits for the workers' end. What bounds it: for each file that gets done they have the
/// time that any condition has, so that a folder that nobody gets on with ends the test.
fn all_end(workers: &mut [Running], films: &Path) {
    let done = || names(&films.join(".reelmill/trash")).len();
    let mut over = false;
    while !over {
        let before = done();
        over = wait_for("another file, or the end", || {
            let over = workers.iter_mut().all(|worker| worker.0.try_wait().unwrap().is_some());
            (over || done() > before).then_some(over)
        });
    }
    for worker in workers {
        assert_eq!(worker.wait(), 0);
    }
}

/// How often the workers that came to their end say of `film` that they converted it.
fn told_converted(place: &Place, film: &str) -> usize {
    let runs = place.names().into_iter().filter(|name| name.starts_with("out-"));
    let text: String =
        runs.map(|name| std::fs::read_to_string(place.path(&name)).unwrap()).collect();
    let converted = |line: &&str| line.contains(film) && line.contains(r#""result":"converted""#);
    text.lines().filter(converted).count()
}

#[test]
fn four_processes_convert_each_file_once_though_two_are_killed_and_restarted() {
    let place = Place::new();
    let films = films(&place);
    let count = if long() { 200 } else { 8 };
    let kills = if long() { 20 } else { 2 };
    for number in 0..count {
        tiny(&films.join(format!("film{number:03}.mkv")), number);
    }
    let before: Vec<Vec<u8>> =
        (0..count).map(|n| std::fs::read(films.join(format!("film{n:03}.mkv"))).unwrap()).collect();
    let mut workers: Vec<Running> =
        (0..4).map(|number| worker(&place, &films, number, 0)).collect();
    let mut killed = Vec::new();
    for run in 1..=kills {
        let victim = run % 2;
        let over = |worker: &mut Running| worker.0.try_wait().unwrap().is_some();
        let ready = wait_for("a worker at work", || {
            let at_work = works(&films, &workers[victim]);
            (at_work || over(&mut workers[victim])).then_some(at_work)
        });
        if !ready {
            break;
        }
        let next = worker(&place, &films, victim, run);
        killed.push(u64::from(workers[victim].0.id()));
        std::mem::replace(&mut workers[victim], next).kill();
    }
    all_end(&mut workers, &films);
    let last = Ran::of(&mut convert(&place, &films, &["--replace", "--shared", "--json"])).ok();
    assert_eq!(last.events().pop().unwrap()["converted"], 0, "{}", last.out);
    let mut trash: Vec<Vec<u8>> = ending(&films.join(".reelmill/trash"), ".mkv")
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_eq!(trash.len(), count, "each original is kept once");
    for (number, original) in before.iter().enumerate() {
        let name = format!("film{number:03}.mkv");
        let now = std::fs::read(films.join(&name)).unwrap();
        assert_ne!(&now, original, "film {number} was converted");
        assert!(told_converted(&place, &name) <= 1, "film {number} was converted twice");
        let at = trash.iter().position(|kept| kept == original);
        trash.swap_remove(at.unwrap_or_else(|| panic!("original {number} is lost")));
    }
    assert_eq!(names(&films).len(), count + 1, "no lock, no part: {:?}", names(&films));
    assert!(names(&films.join(".reelmill/hold")).is_empty());
    let again = Again::told(&films, &killed);
    let (lost, living) = (again.after_killed.values().sum::<usize>(), again.after_living.len());
    println!(
        "{count} files, {} tries, {} kills: {lost} tries begun again after a kill, {living} others",
        again.tries,
        killed.len()
    );
    assert!(again.after_living.is_empty(), "done twice for nothing: {:#?}", again.after_living);
    assert!(again.after_killed.values().all(|tries| *tries == 1), "{again:?}");
    assert_eq!(again.tries, count + lost);
}

#[test]
fn a_user_who_changes_a_file_while_it_is_converted_keeps_the_change() {
    type Act = fn(&Path);
    let acts: [(&str, Act, Option<&[u8]>); 3] = [
        ("was changed", |film| std::fs::write(film, "edited").unwrap(), Some(b"edited")),
        (
            "was changed",
            |film| {
                std::fs::write(film.with_extension("new"), "replaced").unwrap();
                std::fs::rename(film.with_extension("new"), film).unwrap();
            },
            Some(b"replaced"),
        ),
        ("was deleted", |film| std::fs::remove_file(film).unwrap(), None),
    ];
    for (says, act, left) in acts {
        let place = Place::new();
        let films = films(&place);
        let film = films.join("film.mkv");
        std::fs::copy(clip(6), &film).unwrap();
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--replace", "--keep-bigger"]);
        command.args(["--set", "speed=medium", "--workers", "1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        wait_for("the lock", || films.join("film.mkv.mediabox.lock").exists().then_some(()));
        act(&film);
        let code = running.wait();
        let mut err = String::new();
        std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut err).unwrap();
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("failed film.mkv"), "{err}");
        if left.is_none() || err.contains("was changed") || err.contains("was deleted") {
            // Before its facts are read, a deleted file is one that is not there.
            let gone = err.contains("No such file") || err.contains("there is no file");
            assert!(err.contains(says) || (left.is_none() && gone), "{says}: {err}");
        }
        assert_eq!(std::fs::read(&film).ok().as_deref(), left);
        assert!(names(&films).iter().all(|name| name == ".reelmill" || name == "film.mkv"));
        assert!(names(&films.join(".reelmill/trash")).is_empty());
    }
}

/// What a user does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Replace,
    Edit,
    Delete,
    MoveAway,
}

impl Act {
    fn on(self, film: &Path) {
        let away = film.parent().unwrap().parent().unwrap().join("away.mkv");
        match self {
            Self::Replace => {
                std::fs::write(&away, "the user's").unwrap();
                std::fs::rename(&away, film).unwrap();
            }
            // What is being moved at this moment cannot be edited under its name.
            Self::Edit if film.exists() => std::fs::write(film, "the user's").unwrap(),
            Self::Delete if film.exists() => std::fs::remove_file(film).unwrap(),
            Self::MoveAway if film.exists() => std::fs::rename(film, &away).unwrap(),
            _ => {}
        }
    }
}

fn step(case: Case, point: &Point, act: Act) -> Result<(), String> {
    let fire = Fire::new(case, None);
    let log = fire.place.path("log");
    let told = |why: &str| format!("{case:?} {point:?} {act:?}: {why}");
    let inject = point.inject("signal=SIGSTOP");
    let mut running = Running::start(&mut fire.strace(&fire.replace(), Some(&inject), &log));
    let stopped = wait_for("the stop", || {
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
        let over = running.0.try_wait().unwrap().is_some();
        let stopped = text.lines().find(|line| line.contains("stopped by SIGSTOP"));
        let thread = stopped.map(|line| line.split_whitespace().next().unwrap().to_owned());
        (over || thread.is_some()).then_some(thread)
    });
    let Some(thread) = stopped else { return Ok(()) };
    let there = std::fs::read(fire.film()).ok();
    act.on(&fire.film());
    super::support::tool("kill").args(["-CONT", &thread]).status().unwrap();
    running.wait();
    for _ in 0..2 {
        fire.traced(&fire.clean(), None, &log).ok();
    }
    let at = |path: PathBuf| std::fs::read(path).ok();
    let everywhere: Vec<Vec<u8>> =
        fire.hidden().into_iter().chain([fire.film()]).filter_map(at).collect();
    let somewhere = |content: &[u8]| everywhere.iter().any(|there| there == content);
    let acted = there.is_some() || act == Act::Replace;
    match act {
        Act::Replace | Act::Edit if acted => {
            let shown = at(fire.film()).as_deref() == Some(&b"the user's"[..]);
            if !shown && !somewhere(b"the user's") {
                return Err(told("the user's file is lost"));
            }
        }
        Act::MoveAway if acted && at(fire.place.path("away.mkv")) != there => {
            return Err(told("what the user moved away was changed"));
        }
        _ => {}
    }
    let all_whole = everywhere.iter().all(|content| {
        [super::fire::OLD, super::fire::NEW, b"the user's"].contains(&content.as_slice())
    });
    if !all_whole {
        return Err(told("something is half-written"));
    }
    Ok(())
}

#[test]
fn a_user_who_acts_at_any_step_of_a_replacement_loses_nothing() {
    if !strace("users who act at any step of a replacement") {
        return;
    }
    let acts = [Act::Replace, Act::Edit, Act::Delete, Act::MoveAway];
    let mut wrong = Vec::new();
    let mut steps = 0;
    for case in super::fire::CASES {
        let points = Fire::new(case, None).points(&Fire::new(case, None).replace());
        let points: Vec<_> = points
            .into_iter()
            .filter(|point| KINDS_OF_STEPS.contains(&point.call.as_str()))
            .collect();
        let stride = if long() { 1 } else { points.len().div_ceil(5) };
        for (n, point) in points.iter().enumerate().filter(|(n, _)| n % stride == stride / 2) {
            let some = if long() { &acts[..] } else { &acts[n / stride % 4..][..1] };
            for act in some {
                steps += 1;
                wrong.extend(step(case, point, *act).err());
            }
        }
    }
    println!("{steps} steps");
    assert!(wrong.is_empty(), "{} of {steps}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_queue_in_the_folder_is_filled_by_one_and_emptied_by_another() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("one.mkv"), 1);
    std::fs::create_dir(films.join("series")).unwrap();
    tiny(&films.join("series/two.mkv"), 2);
    std::fs::write(films.join("series/bad.mkv"), "no film").unwrap();
    let shared = films.to_str().unwrap();
    let submit = |what: &str, args: &[&str]| {
        let what = films.join(what);
        let mut command = place.reelmill();
        command.arg("submit").arg(what).args(["--shared", shared, "--json"]).args(args);
        Ran::of(&mut command)
    };
    let settings = ["--set", "speed=ultrafast", "--set", "crf=40"];
    submit("one.mkv", &[&settings[..], &["--replace", "--priority", "10"]].concat()).ok();
    let again = submit("one.mkv", &settings).ok();
    assert_eq!(again.events()[0]["event"], "queued_already");
    submit("series", &[&settings[..], &["--format", "mp4"]].concat()).ok();
    assert_eq!(submit("none.mkv", &[]).code, 3);
    assert_eq!(submit("one.mkv", &["--preset", "none"]).code, 2);
    let list = || place.run(["list", "--shared", shared, "--json"]).ok().events();
    assert!(list().iter().all(|order| order["result"] == "waiting"));
    let last = &list()[2]["order"];
    assert_eq!((&last["file"], &last["replace"]), (&"one.mkv".into(), &true.into()));
    let args = ["--shared", "--queue", "--keep-bigger", "--json"];
    let ran = Ran::of(&mut convert(&place, &films, &args));
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert_eq!(names(&films), [".reelmill", "one.mkv", "series"]);
    assert_eq!(names(&films.join("series")), ["bad.mkv", "two.mkv", "two.mp4"]);
    let results: Vec<Value> = list().iter().map(|order| order["result"].clone()).collect();
    assert_eq!(results, ["failed", "converted", "converted"]);
    let ran = Ran::of(&mut convert(&place, &films, &args)).ok();
    assert_eq!(ran.events().len(), 1, "nothing waits: {}", ran.out);
}

#[test]
fn a_paused_worker_is_taken_over_and_changes_nothing_when_it_wakes() {
    let place = Place::new();
    let films = films(&place);
    let film = films.join("film.mkv");
    std::fs::copy(clip(6), &film).unwrap();
    let before = std::fs::read(&film).unwrap();
    let start = |number: usize| {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--replace", "--shared", "--json"]);
        command.args(["--keep-bigger", "--wait", "--lock-expiry", "1", "--set", "speed=medium"]);
        command.arg("--scratch").arg(place.path(&format!("scratch{number}")));
        command.stdout(std::fs::File::create(place.path(&format!("out{number}"))).unwrap());
        Running::start(&mut command)
    };
    let mut paused = start(0);
    wait_for("the first at work", || works(&films, &paused).then_some(()));
    paused.signal("STOP");
    assert_eq!(start(1).wait(), 0);
    let after = std::fs::read(&film).unwrap();
    assert!(after != before, "the second has converted it");
    paused.signal("CONT");
    assert_eq!(paused.wait(), 0);
    assert!(std::fs::read(&film).unwrap() == after, "the first has changed nothing");
    assert_eq!(names(&films), [".reelmill", "film.mkv"]);
    assert_eq!(names(&films.join(".reelmill/trash")).len(), 1);
    let told = std::fs::read_to_string(place.path("out0")).unwrap();
    assert!(!told.contains(r#""result":"converted""#), "{told}");
}
