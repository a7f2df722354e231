//! Whole folders, as a user runs them.

use super::support::{Place, Ran, clip, ffmpeg, wait_for};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) const FAST: [&str; 4] = ["--set", "speed=ultrafast", "--set", "crf=40"];

/// A film of a second with a picture and sound of its own, some kilobytes.
pub(super) fn tiny(path: &Path, number: usize) {
    let picture = format!("testsrc2=size=96x64:rate=12:duration=1,hue=h={}", number * 7 % 360);
    let args = ["-f", "lavfi", "-i", &picture, "-c:v", "libx264", "-preset", "ultrafast"];
    ffmpeg(&[&args[..], &["-crf", "4", "-pix_fmt", "yuv420p"]].concat(), path);
}

pub(super) fn films(place: &Place) -> PathBuf {
    let films = place.path("films");
    std::fs::create_dir_all(&films).unwrap();
    films
}

pub(super) fn convert(place: &Place, folder: &Path, args: &[&str]) -> Command {
    let mut command = place.reelmill();
    command.arg("convert").arg("--dir").arg(folder).args(args).args(FAST);
    command
}

pub(super) fn summary(ran: &Ran) -> Value {
    let last = ran.events().pop().unwrap_or_default();
    assert_eq!(last["event"], "summary", "{}{}", ran.out, ran.err);
    last
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The reason that was told for a file.
fn reason(ran: &Ran, file: &str) -> String {
    let events = ran.events();
    let told = events.iter().find(|event| {
        event["event"] == "file" && event["file"].as_str().unwrap_or_default().ends_with(file)
    });
    let told = told.unwrap_or_else(|| panic!("nothing told of {file}: {}{}", ran.out, ran.err));
    format!("{}: {}", told["result"].as_str().unwrap(), told["reason"].as_str().unwrap_or_default())
}

#[test]
fn a_folder_is_converted_whatever_lies_in_it_and_a_second_run_has_nothing_to_do() {
    let place = Place::new();
    let films = films(&place);
    std::fs::create_dir_all(films.join("deep/er")).unwrap();
    tiny(&films.join("deep/er/one.mkv"), 1);
    tiny(&films.join("two.mkv"), 2);
    std::fs::write(films.join("bad.mkv"), "no film").unwrap();
    std::fs::write(films.join("empty.mkv"), "").unwrap();
    std::fs::write(films.join("text.txt"), "no media").unwrap();
    std::os::unix::fs::symlink("two.mkv", films.join("link.mkv")).unwrap();
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1"], &films.join("sound.mkv"));
    let told = place.path("told");
    std::fs::create_dir(&told).unwrap();
    let hook = |name: &str, program: &str| {
        format!(
            "[[hook]]\nname='{name}'\nkind='command'\ncommand={program}\non=['converted','failed']\n"
        )
    };
    let touch = format!("['/bin/touch','{}/{{event}} {{preset}}']", told.display());
    let hooks = hook("touch", &touch) + &hook("false", "['/bin/false']");
    std::fs::create_dir_all(place.path("config")).unwrap();
    std::fs::write(place.path("config").join("hooks.toml"), hooks).unwrap();
    let run = || Ran::of(&mut convert(&place, &films, &["--format", "mp4", "--json"]));
    let first = run();
    assert_eq!(names(&told), ["converted h264", "failed h264"]);
    let hooks_failed = first.events().into_iter().filter(|event| event["event"] == "hook_failed");
    assert_eq!(hooks_failed.count(), 4, "{}", first.out);
    assert_eq!(first.code, 5, "{}{}", first.out, first.err);
    let told = summary(&first);
    assert_eq!((&told["converted"], &told["failed"]), (&2.into(), &2.into()), "{told}");
    assert!(reason(&first, "bad.mkv").starts_with("failed: "));
    assert!(reason(&first, "empty.mkv").starts_with("failed: "));
    assert!(reason(&first, "link.mkv").contains("symbolic link"));
    assert!(reason(&first, "sound.mkv").contains("no picture"));
    assert!(films.join("deep/er/one.mp4").exists() && films.join("two.mp4").exists());
    assert!(films.join("deep/er/one.mkv").exists(), "without --replace the source stays");
    assert_eq!(names(&films.join("deep/er")), ["one.mkv", "one.mp4"], "and nothing else");
    let second = run();
    let told = summary(&second);
    assert_eq!((&told["converted"], &told["failed"]), (&0.into(), &2.into()), "{told}");
    assert!(reason(&second, "two.mkv").contains("is there already"));
    assert!(reason(&second, "two.mp4").contains("reelmill made it"));
}

#[test]
fn a_dry_run_writes_nothing_and_another_tree_mirrors_the_folders() {
    let place = Place::new();
    let films = films(&place);
    std::fs::create_dir(films.join("a")).unwrap();
    tiny(&films.join("a/one.mkv"), 1);
    let dry = Ran::of(&mut convert(&place, &films, &["--replace", "--dry-run", "--json"])).ok();
    assert_eq!(summary(&dry)["planned"], 1);
    assert_eq!(names(&films), ["a"], "no records either");
    let small = place.path("small");
    let out = ["--output-dir", small.to_str().unwrap(), "--format", "webm", "--preset", "vp9"];
    let mut command = place.reelmill();
    command.arg("convert").arg("--dir").arg(&films).args(out);
    Ran::of(command.args(["--set", "crf=60", "--keep-bigger"])).ok();
    assert_eq!(names(&small.join("a")), ["one.webm"]);
    assert_eq!(names(&films.join("a")), ["one.mkv"]);
}

#[test]
fn every_container_carries_the_mark_by_which_its_files_are_known() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("film.mkv"), 1);
    for (format, preset) in [("mkv", "h264"), ("mp4", "h264"), ("mov", "h264"), ("webm", "vp9")] {
        let out = place.path(format);
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).arg("--output-dir").arg(&out);
        command.args(["--format", format, "--preset", preset, "--keep-bigger"]);
        Ran::of(&mut command).ok();
        let again = Ran::of(&mut convert(&place, &out, &["--format", "mkv", "--json"])).ok();
        let file = format!("film.{format}");
        assert!(reason(&again, &file).contains("reelmill made it"), "{format}: {}", again.out);
    }
}

#[test]
fn an_output_that_is_no_smaller_is_discarded() {
    let place = Place::new();
    let films = films(&place);
    let film = films.join("film.mkv");
    let picture = "testsrc2=size=96x64:rate=12:duration=1";
    ffmpeg(&["-f", "lavfi", "-i", picture, "-c:v", "libx264", "-crf", "51"], &film);
    let before = std::fs::read(&film).unwrap();
    let convert = |more: &[&str]| {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--replace", "--json"]);
        Ran::of(command.args(["--set", "speed=ultrafast"]).args(more)).ok()
    };
    let ran = convert(&["--set", "crf=0"]);
    assert!(reason(&ran, "film.mkv").contains("no smaller"), "{}", ran.out);
    assert_eq!(std::fs::read(&film).unwrap(), before);
    assert_eq!(names(&films), [".reelmill", "film.mkv"]);
    let again = convert(&["--set", "crf=0"]);
    assert!(reason(&again, "film.mkv").contains("no smaller"), "it is remembered: {}", again.out);
    assert_eq!(std::fs::read(&film).unwrap(), before);
    let dry = convert(&["--set", "crf=0", "--dry-run"]);
    assert!(reason(&dry, "film.mkv").contains("no smaller"), "nothing would be: {}", dry.out);
    // Other settings are another matter.
    let other = convert(&["--set", "crf=0", "--keep-bigger"]);
    assert_eq!(summary(&other)["converted"], 1, "{}", other.out);
}

#[test]
fn one_bad_file_alone_is_refused_and_a_missing_folder_too() {
    let place = Place::new();
    let bad = place.path("bad.mkv");
    std::fs::write(&bad, "no film").unwrap();
    let ran = place.run(["convert".as_ref(), "--file".as_ref(), bad.as_os_str()]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    place.run(["convert", "--dir", "nowhere"]).refused(3, &["nowhere"]);
    place.run(["convert", "--file", "nowhere.mkv"]).refused(3, &["nowhere.mkv"]);
    place.run(["convert", "--dir", ".", "--preset", "none"]).refused(2, &["no preset 'none'"]);
    place.run(["convert", "--dir", ".", "--lock-expiry", "-1"]).refused(2, &["-1"]);
}

#[test]
fn an_interrupted_folder_goes_on_where_it_stopped() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("a.mkv"), 1);
    std::fs::copy(clip(60), films.join("b.mkv")).unwrap();
    let start = || {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--replace", "--json"]);
        command.args(["--chunk-seconds", "4", "--set", "crf=45", "--keep-bigger"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut running = super::support::Running::start(&mut start());
    wait_for("a chunk of the second film", || {
        let done = place.leftovers().iter().any(|path| path.to_string_lossy().contains("/blobs/"));
        (done && films.join("b.mkv.mediabox.lock").exists()).then_some(())
    });
    running.signal("INT");
    assert_eq!(running.wait(), 130);
    assert_eq!(names(&films), [".reelmill", "a.mkv", "b.mkv"], "no lock, nothing half-written");
    let again = Ran::of(&mut start()).ok();
    assert!(reason(&again, "a.mkv").contains("reelmill made it"));
    assert!(reason(&again, "b.mkv").starts_with("converted"), "{}", again.out);
}

#[test]
fn a_foreign_lock_that_is_fresh_is_respected() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("film.mkv"), 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let lock = format!(
        r#"{{"hostname": "nas", "pid": 1, "timestamp": {}, "file": "film.mkv", "locked_at": "x"}}"#,
        now.as_secs()
    );
    std::fs::write(films.join("film.mkv.mediabox.lock"), lock).unwrap();
    for mode in ["--replace", "--shared"] {
        let ran = Ran::of(&mut convert(&place, &films, &[mode])).ok();
        assert!(ran.err.contains("nas (process 1) works on it"), "{}", ran.err);
    }
    let listed = place.run(["locks".as_ref(), films.as_os_str()]).ok();
    assert!(listed.out.contains("working") && listed.out.contains("nas (process 1)"));
    place.run(["locks".as_ref(), "--clean".as_ref(), films.as_os_str()]).ok();
    assert!(films.join("film.mkv.mediabox.lock").exists(), "it is fresh");
    let stale = ["locks", "--clean", "--expiry", "0.000001", films.to_str().unwrap()];
    let cleaned = place.run(stale).ok();
    assert!(cleaned.out.contains("removed"), "{}", cleaned.out);
    assert_eq!(names(&films), [".reelmill", "film.mkv"]);
}

#[test]
fn looking_for_locks_changes_nothing() {
    let place = Place::new();
    let films = films(&place);
    place.run(["locks".as_ref(), films.as_os_str()]).ok();
    assert!(names(&films).is_empty());
    place.run(["locks", "nowhere"]).refused(3, &["nowhere"]);
}

#[test]
fn sound_and_pictures_of_a_folder_are_converted_each_by_its_preset() {
    let place = Place::new();
    let folder = films(&place);
    tiny(&folder.join("film.mkv"), 1);
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1"], &folder.join("song.flac"));
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1"];
    ffmpeg(&picture, &folder.join("photo.png"));
    for bad in ["bad.flac", "bad.jpg"] {
        std::fs::write(folder.join(bad), "neither sound nor picture").unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&folder).args(["--json", "--keep-bigger"]);
        let ran = Ran::of(command.args(args));
        let told = summary(&ran);
        let counts = ["converted", "skipped", "failed"].map(|name| told[name].as_u64().unwrap());
        (counts, ran)
    };
    let both = [&["--type", "both", "--preset", "h264", "--preset", "opus"][..], &FAST].concat();
    let (counts, ran) = run(&both);
    assert_eq!((counts, ran.code), ([2, 0, 1], 5), "{}{}", ran.out, ran.err);
    assert!(folder.join("song.opus").exists() && folder.join("film.h264.mkv").exists());
    let (counts, ran) = run(&["--type", "audio"]);
    assert_eq!(counts, [1, 1, 1], "{}", ran.out);
    assert!(folder.join("song.m4a").exists(), "AAC is usual");
    assert!(reason(&ran, "song.opus").contains("reelmill made it"));
    let (counts, ran) = run(&["--type", "audio", "--format", "mp3"]);
    assert_eq!(counts, [1, 2, 1], "{}", ran.out);
    assert!(reason(&ran, "song.m4a").contains("reelmill made it"));
    let (counts, ran) = run(&["--type", "image"]);
    assert_eq!((counts, ran.code), ([1, 0, 1], 5), "{}{}", ran.out, ran.err);
    let (counts, ran) = run(&["--type", "image"]);
    assert_eq!(counts, [0, 2, 1], "{}", ran.out);
    assert!(reason(&ran, "photo.webp").contains("webp already"));
    assert!(reason(&ran, "photo.png").contains("is there already"));
    let mut refused = convert(&place, &folder, &["--type", "image"]);
    Ran::of(&mut refused).refused(2, &["has no video", "'speed'"]);
    let one = |file: &str| {
        place.run(["convert", "--file", file, "--output-dir", "out", "--keep-bigger"]).ok();
    };
    one("films/song.flac");
    one("films/photo.png");
    assert_eq!(names(&place.path("out")), ["photo.webp", "song.m4a"]);
}
