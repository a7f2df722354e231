//! Libraries: scanned, asked about, queued.

use super::farm::Server;
use super::support::{Place, Ran, Running, clip, ffmpeg, tool, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Clips of a second: three codecs in two containers that are read in process,
/// and one that only the tool can tell about.
fn clips() -> &'static Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let picture = "testsrc2=size=128x72:rate=24:duration=1";
        let sound = "sine=duration=1";
        let make = |name: &str, more: &[&str]| {
            let args =
                [&["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound][..], more].concat();
            ffmpeg(&args, &folder.path().join(name));
        };
        let fast = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "2M"];
        make("a.mkv", &[&fast[..], &["-c:a", "aac", "-metadata:s:a:0", "language=ger"]].concat());
        make("b.mp4", &[&fast[..], &["-c:a", "aac"]].concat());
        make(
            "c.mkv",
            &[
                "-c:v",
                "libx265",
                "-preset",
                "ultrafast",
                "-x265-params",
                "log-level=none",
                "-c:a",
                "ac3",
            ],
        );
        make("d.avi", &["-c:v", "mpeg4", "-c:a", "mp3"]);
        // Not read in process.
        make("e.flv", &["-c:v", "flv", "-c:a", "mp3", "-ar", "44100"]);
        folder
    });
    folder.path()
}

fn copy(from: &str, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(clips().join(from), to).unwrap();
}

/// A library of five films.
fn library(place: &Place) -> PathBuf {
    let root = place.path("films");
    copy("a.mkv", &root.join("Old/One.mkv"));
    copy("b.mp4", &root.join("Old/Two.mp4"));
    copy("c.mkv", &root.join("New/Three.mkv"));
    copy("d.avi", &root.join("Four.avi"));
    std::fs::write(root.join("Old/Broken.mkv"), b"not a film at all").unwrap();
    // The built-in rules leave what is as small as these clips.
    std::fs::create_dir_all(root.join(".reelmill")).unwrap();
    let rules = "[[rule]]\nname='modern already'\nwhen={codec=['hevc','av1']}\n\
                 skip='its codec is a modern one already'\n\
                 [[rule]]\nname='to HEVC'\nwhen={kind='video'}\npreset='hevc'\n";
    std::fs::write(root.join(".reelmill/rules.toml"), rules).unwrap();
    root
}

fn scanned(ran: &Ran) -> Value {
    let found = ran.events().into_iter().find(|event| event["event"] == "scanned");
    found.unwrap_or_else(|| panic!("{}\n{}", ran.out, ran.err))
}

fn scan(place: &Place, root: &Path) -> Value {
    let ran = place.run(["scan".as_ref(), root.as_os_str(), "--json".as_ref()]).ok();
    scanned(&ran)
}

fn numbers(summary: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| summary[*name].as_u64().unwrap()).collect()
}

const COUNTS: [&str; 7] = ["files", "same", "new", "changed", "moved", "gone", "broken"];

fn query(place: &Place, args: &[&str]) -> String {
    place.run([&["query"][..], args].concat()).ok().out
}

#[test]
fn a_scan_tells_what_is_new_changed_moved_and_gone() {
    let place = Place::new();
    let root = library(&place);
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [5, 0, 5, 0, 0, 0, 1]);
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [5, 5, 0, 0, 0, 0, 0]);
    std::fs::rename(root.join("Old/One.mkv"), root.join("New/Moved.mkv")).unwrap();
    copy("b.mp4", &root.join("New/Three.mkv"));
    std::fs::remove_file(root.join("Four.avi")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\t%.mkv");
    copy("c.mkv", &root.join(odd));
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [5, 2, 1, 1, 1, 1, 0]);
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [5, 5, 0, 0, 0, 0, 0]);
    let history = query(&place, &["--history"]);
    let told = |words: &str| history.lines().any(|line| line.contains(words));
    assert!(told("New/Moved.mkv: moved from Old/One.mkv"), "{history}");
    assert!(told("New/Three.mkv: changed") && told("Four.avi: gone"), "{history}");
    // It comes back: it is the file that it was.
    copy("d.avi", &root.join("Four.avi"));
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [6, 5, 0, 0, 1, 0, 0]);
    let paths = place.run(["query", "--export", "paths", "--search", "odd"]).ok().out;
    assert!(paths.ends_with(".mkv\n"), "{paths:?}");
    // A part of it can be scanned by itself; the rest stays as it is known.
    std::fs::remove_file(root.join("Four.avi")).unwrap();
    std::fs::remove_file(root.join("New/Moved.mkv")).unwrap();
    assert_eq!(numbers(&scan(&place, &root.join("New")), &COUNTS), [1, 1, 0, 0, 0, 1, 0]);
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [4, 4, 0, 0, 0, 1, 0]);
}

#[test]
fn a_library_that_is_not_there_is_an_alarm_and_changes_nothing() {
    let place = Place::new();
    let root = library(&place);
    scan(&place, &root);
    let before = query(&place, &["--export", "json"]);
    let away = place.path("away");
    std::fs::rename(&root, &away).unwrap();
    let dir = root.to_str().unwrap();
    place.run(["scan", dir]).refused(6, &["known library", "nothing was changed", "mounted"]);
    // A mount's place that is empty.
    std::fs::create_dir(&root).unwrap();
    place.run(["scan", dir]).refused(6, &["no media file is there, though 5 are known"]);
    assert_eq!(query(&place, &["--export", "json"]), before);
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    assert_eq!(numbers(&scan(&place, &root), &COUNTS), [5, 5, 0, 0, 0, 0, 0]);
    // One folder is the place of a mount that is not there.
    std::fs::rename(root.join("New"), &away).unwrap();
    std::fs::create_dir(root.join("New")).unwrap();
    let ran = place.run(["scan", dir, "--json"]);
    assert_eq!(ran.code, 5, "{}", ran.out);
    assert_eq!(numbers(&scanned(&ran), &["gone", "unseen"]), [0, 1]);
    assert_eq!(query(&place, &["--export", "json"]), before);
    let ran = place.run(["scan", dir, "--json", "--accept-missing"]).ok();
    assert_eq!(numbers(&scanned(&ran), &["gone", "unseen"]), [1, 0]);
    place.run(["scan", "/there/is/no/such"]).refused(3, &["cannot read the folder"]);
    place.run(["scan", clip(2).to_str().unwrap()]).refused(3, &["is not a folder"]);
}

#[test]
fn another_machine_that_mounts_it_elsewhere_looks_at_nothing() {
    let place = Place::new();
    let root = library(&place);
    scan(&place, &root);
    let mine = query(&place, &["--export", "json"]);
    let elsewhere = place.path("mnt");
    std::fs::rename(&root, &elsewhere).unwrap();
    let other = Place::new();
    let mut command = other.reelmill();
    // It could not look if it wanted to.
    let ran =
        Ran::of(command.args(["scan", "--json"]).arg(&elsewhere).env("PATH", "/nowhere")).ok();
    let summary = scanned(&ran);
    assert_eq!(numbers(&summary, &["files", "adopted", "new", "unreadable"]), [5, 5, 0, 0]);
    let facts = |text: &str| {
        let lines: Vec<Value> = serde_json::from_str(text).unwrap();
        let key = |line: &Value| {
            (line["path"].to_string(), line["facts"].to_string(), line["verdict"].to_string())
        };
        let mut all: Vec<_> = lines.iter().map(key).collect();
        all.sort();
        all
    };
    assert_eq!(facts(&query(&other, &["--export", "json"])), facts(&mine));
    // And the first machine goes on with what the second found.
    copy("e.flv", &elsewhere.join("Five.flv"));
    let ran = other.run(["scan".as_ref(), elsewhere.as_os_str(), "--json".as_ref()]).ok();
    assert_eq!(numbers(&scanned(&ran), &["new"]), [1]);
    let mut command = place.reelmill();
    let ran =
        Ran::of(command.args(["scan", "--json"]).arg(&elsewhere).env("PATH", "/nowhere")).ok();
    assert_eq!(numbers(&scanned(&ran), &["files", "adopted", "new", "same"]), [6, 1, 0, 5]);
}

#[test]
fn an_interrupted_scan_goes_on_where_it_stopped() {
    let place = Place::new();
    let root = place.path("films");
    for n in 0..40 {
        copy("e.flv", &root.join(format!("{n}.flv")));
    }
    let mut command = place.reelmill();
    command.args(["scan", "--json", "--jobs", "1"]).arg(&root);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    wait_for("the first looks", || {
        let event: Value = serde_json::from_str(&lines.next()?.ok()?).ok()?;
        (event["looked"].as_u64()? > 0).then_some(())
    });
    running.signal("INT");
    assert_eq!(running.wait(), 130);
    let summary = scan(&place, &root);
    let [files, same, new] = numbers(&summary, &["files", "same", "new"])[..] else { panic!() };
    assert_eq!((files, same + new), (40, 40), "{summary}");
    assert!(same > 0, "what was found is kept: {summary}");
}

#[test]
fn what_cannot_be_read_never_stops_a_scan() {
    let place = Place::new();
    let root = library(&place);
    symlink(&root, root.join("Old/loop")).unwrap();
    symlink("nowhere", root.join("dangling.mkv")).unwrap();
    std::fs::create_dir(root.join("folder.mkv")).unwrap();
    let fifo = root.join("pipe.mkv");
    assert!(tool("mkfifo").arg(&fifo).status().unwrap().success());
    let summary = scan(&place, &root);
    assert_eq!(numbers(&summary, &["files", "new", "broken", "links"]), [5, 5, 1, 2]);
    let ran =
        place.run(["scan".as_ref(), root.as_os_str(), "--follow".as_ref(), "--json".as_ref()]).ok();
    assert_eq!(numbers(&scanned(&ran), &["files", "same"]), [5, 5], "the loop ends");
    let broken = query(&place, &["--unreadable"]);
    assert!(broken.contains("Old/Broken.mkv: skipped: it cannot be read"), "{broken}");
}

#[test]
fn questions_are_answered() {
    let place = Place::new();
    let root = library(&place);
    scan(&place, &root);
    let count = |args: &[&str]| query(&place, args).lines().count();
    assert_eq!(count(&["--codec", "h264"]), 2);
    assert_eq!(count(&["--codec", "AC3"]), 1);
    assert_eq!(count(&["--resolution", "128x72"]), 4);
    assert_eq!(count(&["--audio-language", "ger"]), 1);
    assert_eq!(count(&["--search", "old/t"]), 1);
    assert_eq!(count(&["--container", "mp4", "--type", "video"]), 1);
    assert_eq!(count(&["--hdr"]), 0);
    assert_eq!(count(&["--hdr", "none"]), 4);
    assert_eq!(count(&["--needs-conversion"]), 3);
    assert_eq!(count(&["--skipped"]), 2);
    assert_eq!(count(&[root.join("Old").to_str().unwrap()]), 3);
    let stats = query(&place, &["--stats"]);
    assert!(stats.contains("h264") && stats.lines().last().unwrap().contains("5 files"), "{stats}");
    let actions = query(&place, &["--by-action"]);
    assert!(actions.contains("3 files") && actions.contains("rule 'to HEVC'"), "{actions}");
    let page = place.run(["query", "--limit", "2"]).ok();
    assert_eq!(page.out.lines().count(), 2);
    let after = page.err.split("--after ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(count(&["--after", after]), 3);
    let file = place.path("out.csv");
    query(&place, &["--export", "csv", "-o", file.to_str().unwrap()]);
    let csv = std::fs::read_to_string(file).unwrap();
    assert_eq!(csv.lines().count(), 6);
    assert!(csv.starts_with("path,bytes,modified,kind"), "{csv}");
    let why = |name: &str| query(&place, &["--why", root.join(name).to_str().unwrap()]);
    let told = why("New/Three.mkv");
    assert!(
        told.contains("its codec is a modern one already")
            && told.contains("'modern already' decided"),
        "{told}"
    );
    let told = why("Old/One.mkv");
    assert!(
        told.contains("'modern already' was passed over: 'codec' does not fit: h264"),
        "{told}"
    );
    assert!(why("Old/Broken.mkv").contains("cannot be read"));
    let own = root.join(".reelmill/rules.toml");
    std::fs::write(&own, "[[rule]]\nname='all'\nwhen={path='Old/**'}\nskip='they are old'\n")
        .unwrap();
    assert!(why("Old/One.mkv").contains("skipped: they are old (rule 'all')"));
    assert!(why("New/Three.mkv").contains("no rule speaks of it"));
    place.run(["query", "--why", "/tmp/no/such.mkv"]).refused(3, &["is not known"]);
    std::fs::write(&own, "[[rule]]\nname='all'\npreset='h265'\n").unwrap();
    place.run(["scan", root.to_str().unwrap()]).refused(2, &["rule 'all'", "h265"]);
    let empty = Place::new();
    empty.run(["query"]).refused(2, &["no library was scanned"]);
}

#[test]
fn what_the_rules_want_is_queued_once() {
    let place = Place::new();
    let root = library(&place);
    let dir = root.to_str().unwrap();
    let ran = place.run(["scan", dir, "--enqueue", "--dry-run", "--json"]).ok();
    let plan = ran.events().into_iter().find(|event| event["event"] == "plan").unwrap();
    assert_eq!((plan["files"].as_u64(), plan["queued_before"].as_u64()), (Some(3), Some(0)));
    assert!(
        plan["video_seconds"].as_f64().unwrap() > 2.9 && plan["bytes_after"].as_u64().unwrap() > 0
    );
    place
        .run(["scan", dir, "--enqueue", "--server", "http://127.0.0.1:1"])
        .refused(4, &["127.0.0.1:1"]);
    let servers = Place::new();
    let server = Server::start(&servers, &["--workers", "0"]);
    let queue = |more: &[&str]| {
        let ran =
            server.client(&place, &[&["scan", dir, "--enqueue", "--json"][..], more].concat()).ok();
        ran.events().into_iter().find(|event| event["event"] == "enqueued").unwrap()
    };
    let first = queue(&["--limit", "1"]);
    assert_eq!(first["files"].as_u64(), Some(1));
    let rest = queue(&[]);
    assert_eq!((rest["files"].as_u64(), rest["queued_before"].as_u64()), (Some(2), Some(1)));
    let none = queue(&[]);
    assert_eq!((none["files"].as_u64(), none["queued_before"].as_u64()), (Some(0), Some(3)));
    // Another machine that knows nothing of it queues nothing twice either.
    let other = Place::new();
    let ran = server.client(&other, &["scan", dir, "--enqueue", "--json"]).ok();
    assert!(ran.out.contains("enqueued"));
    let jobs = server.client(&place, &["list", "--json"]).ok().events();
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert!(jobs.iter().all(|job| job["labels"]["path"].is_string()));
    let history = query(&place, &["--history"]);
    assert_eq!(history.matches("queued").count(), 3, "{history}");
}

#[test]
fn a_server_that_has_the_library_reads_the_files_itself() {
    let place = Place::new();
    let root = library(&place);
    let servers = Place::new();
    std::fs::create_dir_all(servers.path("config")).unwrap();
    let config = format!("[libraries]\nfilms = \"{}\"\n", root.display());
    std::fs::write(servers.path("config").join("serve.toml"), config).unwrap();
    let server = Server::start(&servers, &["--workers", "0"]);
    let dir = root.to_str().unwrap();
    let args = [
        "scan",
        dir,
        "--enqueue",
        "--library",
        "films",
        "--preset",
        "h264",
        "--set",
        "crf=30",
        "--json",
    ];
    let ran = server.client(&place, &args).ok();
    let done = ran.events().into_iter().find(|event| event["event"] == "enqueued").unwrap();
    assert_eq!(done["files"].as_u64(), Some(4), "all video");
    let jobs = server.client(&place, &["list", "--json"]).ok().events();
    assert_eq!(jobs.len(), 4);
    let ran = server
        .client(&place, &["scan", dir, "--enqueue", "--library", "shows", "--preset", "h264"]);
    ran.refused(5, &["could not be queued"]);
}
