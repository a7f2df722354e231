//! Libraries that are worked on by themselves.

use super::support::{Place, Ran, Running, clip, ffmpeg, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A library of films that get smaller, and rules that convert them quickly.
fn library(place: &Place) -> PathBuf {
    let root = place.path("films");
    std::fs::create_dir_all(root.join("A")).unwrap();
    std::fs::create_dir_all(place.path("config")).unwrap();
    for (name, rate) in [("A/one.avi", "24"), ("two.mkv", "25")] {
        let picture = format!("testsrc2=size=128x72:rate={rate}:duration=1");
        let args =
            ["-f", "lavfi", "-i", &picture, "-c:v", "mpeg4", "-q:v", "1", "-pix_fmt", "yuv420p"];
        ffmpeg(&args, &root.join(name));
    }
    let rules = "[[rule]]\nname='first'\nwhen={path='two*'}\npreset='h264'\n\
                 set=['speed=ultrafast','crf=40']\npriority=90\n\
                 [[rule]]\nname='rest'\nwhen={kind='video'}\npreset='h264'\nset=['speed=ultrafast','crf=40']\n";
    std::fs::write(place.path("config").join("rules.toml"), rules).unwrap();
    root
}

fn watch(place: &Place, root: &Path, more: &[&str]) -> Command {
    let mut command = place.reelmill();
    command.arg("watch").arg(root).args(["--json", "--settle", "0s", "--every", "200ms"]);
    command.args(["--min-free", "0"]).args(more);
    command
}

fn events(ran: &Ran, name: &str) -> Vec<Value> {
    ran.events().into_iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_watched_library_is_converted_by_priority_once_and_never_in_a_loop() {
    let place = Place::new();
    let root = library(&place);
    let told = place.path("told");
    let hooks = format!(
        "[[hook]]\nname='c'\nkind='command'\ncommand=['/bin/cp','{{path}}','{}']\n",
        told.display()
    );
    std::fs::write(place.path("config").join("hooks.toml"), hooks).unwrap();
    let ran = Ran::of(&mut watch(&place, &root, &["--replace", "--once"])).ok();
    let done = events(&ran, "converted");
    assert_eq!(done.len(), 2, "{}", ran.out);
    assert!(
        done[0]["path"].as_str().unwrap().ends_with("two.mkv"),
        "the urgent one first: {done:?}"
    );
    let sums = ran.events().pop().unwrap();
    assert_eq!((&sums["event"], &sums["converted"]), (&"summary".into(), &2.into()), "{sums}");
    assert!(sums["bytes_after"].as_u64() < sums["bytes_before"].as_u64(), "{sums}");
    let left = place.run(["query", "--needs-conversion", "--export", "paths"]).ok().out;
    assert_eq!(left, "", "what was converted is known as such at once");
    assert!(root.join("A/one.mkv").exists() && !root.join("A/one.avi").exists());
    assert_eq!(std::fs::read(told).unwrap(), std::fs::read(root.join("A/one.mkv")).unwrap());
    let again = Ran::of(&mut watch(&place, &root, &["--replace", "--once"])).ok();
    assert_eq!(events(&again, "begun"), Vec::<Value>::new(), "{}", again.out);
    let two = root.join("two.mkv");
    let why = place.run(["query".as_ref(), "--why".as_ref(), two.as_os_str()]).ok().out;
    assert!(why.contains("output of a conversion") && why.contains(" converted "), "{why}");
    let known = place.run(["query", "--search", "two", "--json"]).ok().out;
    assert!(known.contains("\"made_by\":\"reelmill "), "its tag says so, too: {known}");
    let bare = root.join("bare.mkv");
    ffmpeg(
        &["-i", two.to_str().unwrap(), "-c", "copy", "-map_metadata", "-1", "-fflags", "+bitexact"],
        &bare,
    );
    let third = Ran::of(&mut watch(&place, &root, &["--replace", "--once"])).ok();
    assert_eq!(events(&third, "begun").len(), 1, "another file without the tag is another file");
}

#[test]
fn a_file_that_is_not_worth_it_is_kept_and_not_tried_again() {
    let place = Place::new();
    let root = place.path("films");
    std::fs::create_dir_all(&root).unwrap();
    let args = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=128x72:rate=24:duration=1",
        "-c:v",
        "libx264",
        "-crf",
        "45",
    ];
    ffmpeg(&args, &root.join("small.mkv"));
    let more = ["--replace", "--once", "--preset", "lossless"];
    let ran = Ran::of(&mut watch(&place, &root, &more)).ok();
    assert_eq!(events(&ran, "kept").len(), 1, "{}", ran.out);
    let again = Ran::of(&mut watch(&place, &root, &more)).ok();
    assert_eq!(events(&again, "begun").len(), 0, "{}", again.out);
    let asked = Ran::of(&mut watch(&place, &root, &[&more[..], &["--keep-bigger"]].concat())).ok();
    assert_eq!(events(&asked, "converted").len(), 1, "{}", asked.out);
}

/// The first event of a name that a running watch tells.
fn told(lines: &mut impl Iterator<Item = std::io::Result<String>>, name: &str) -> Value {
    wait_for(name, || {
        let event: Value = serde_json::from_str(&lines.next()?.ok()?).ok()?;
        (event["event"] == name).then_some(event)
    })
}

#[test]
fn outside_of_its_hours_and_without_space_nothing_is_begun() {
    let place = Place::new();
    let root = library(&place);
    let hour = jiff::Zoned::now().hour();
    let closed = format!("{}:00-{}:00", (hour + 3) % 24, (hour + 4) % 24);
    for (more, word) in
        [(["--hours", closed.as_str()], "hours"), (["--min-free", "9000TB"], "free")]
    {
        let mut command = place.reelmill();
        command.arg("watch").arg(&root).args(["--json", "--settle", "0s"]).args(more);
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let waiting = told(&mut lines, "waiting");
        assert!(waiting["reason"].as_str().unwrap().contains(word), "{waiting}");
        running.signal("TERM");
        assert_eq!(running.wait(), 0);
    }
    assert!(root.join("A/one.avi").exists());
}

#[test]
fn running_work_is_handed_back_and_goes_on_later() {
    let place = Place::new();
    let root = place.path("films");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::copy(clip(8), root.join("long.mkv")).unwrap();
    let more = ["--preset", "h264", "--set", "speed=veryslow", "--set", "crf=40"];
    let mut command = watch(&place, &root, &more);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    told(&mut lines, "begun");
    running.signal("TERM");
    told(&mut lines, "handed_back");
    assert_eq!(running.wait(), 0);
    assert_eq!(std::fs::read(root.join("long.mkv")).unwrap(), std::fs::read(clip(8)).unwrap());
    let ran = Ran::of(&mut watch(&place, &root, &[&more[..], &["--once"]].concat())).ok();
    assert_eq!(events(&ran, "converted").len(), 1, "{}", ran.out);
}

#[test]
fn a_library_that_goes_away_is_an_alarm_and_its_return_is_noticed() {
    let place = Place::new();
    let root = library(&place);
    place.run(["scan".as_ref(), root.as_os_str()]).ok();
    let away = place.path("away");
    std::fs::rename(&root, &away).unwrap();
    let mut command = watch(&place, &root, &["--replace"]);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    told(&mut lines, "alarm");
    std::fs::rename(&away, &root).unwrap();
    told(&mut lines, "converted");
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
}
