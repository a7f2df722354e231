//! Files that cannot be converted: told with the reason, and not tried for ever.

use super::folder::{FAST, films, summary};
use super::support::{Place, Ran, clip};
use serde_json::Value;
use std::path::{Path, PathBuf};

const RULES: [&str; 6] = ["--preset", "h264", "--set", "speed=ultrafast", "--set", "crf=40"];

/// A library with one film, whose second half is missing.
fn damaged(place: &Place) -> (PathBuf, PathBuf) {
    let root = films(place);
    let film = root.join("half.mkv");
    std::fs::copy(clip(8), &film).unwrap();
    let file = std::fs::File::options().write(true).open(&film).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    (root, film)
}

fn scan(place: &Place, root: &Path) {
    place.run(["scan".as_ref(), root.as_os_str()]).ok();
}

/// Files that `query` lists with these arguments.
fn listed(place: &Place, root: &Path, args: &[&str]) -> Vec<Value> {
    let mut command = place.reelmill();
    command.arg("query").arg(root).args(RULES).args(args).arg("--json");
    Ran::of(&mut command).ok().events()
}

/// What a watch told that ended when nothing was left to do.
fn watch(place: &Place, root: &Path, more: &[&str]) -> Vec<String> {
    let mut command = place.reelmill();
    command.arg("watch").arg(root).args(["--json", "--settle", "0s", "--once", "--min-free", "0"]);
    let events = Ran::of(command.args(RULES).args(more)).events();
    let word = |event: Value| event["event"].as_str().unwrap_or_default().to_owned();
    events
        .into_iter()
        .map(word)
        .filter(|word| ["begun", "failed"].contains(&word.as_str()))
        .collect()
}

/// The reason for which a conversion of the folder failed.
fn convert(place: &Place, root: &Path, more: &[&str]) -> String {
    let mut command = place.reelmill();
    command.arg("convert").arg("--dir").arg(root).args(["--json", "--preset", "h264"]);
    let ran = Ran::of(command.args(FAST).args(more));
    assert_eq!(summary(&ran)["failed"], 1, "{}{}", ran.out, ran.err);
    ran.events()[0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_damaged_file_has_its_own_answer_on_every_machine_until_it_changes() {
    let place = Place::new();
    let (root, film) = damaged(&place);
    scan(&place, &root);
    assert_eq!(listed(&place, &root, &["--needs-conversion"]).len(), 1);
    assert_eq!(watch(&place, &root, &[]), ["begun", "failed"]);
    assert_eq!(watch(&place, &root, &[]), Vec::<String>::new(), "it would fail again");
    let elsewhere = Place::new();
    scan(&elsewhere, &root);
    for place in [&place, &elsewhere] {
        assert!(listed(place, &root, &["--needs-conversion"]).is_empty());
        assert!(listed(place, &root, &["--kept"]).is_empty());
        let failed = listed(place, &root, &["--failed"]);
        assert_eq!((failed.len(), &failed[0]["verdict"]["action"]), (1, &"failed".into()));
        let why = failed[0]["failed"]["reason"].as_str().unwrap();
        assert!(!why.is_empty() && failed[0]["failed"]["at"].is_string(), "{}", failed[0]);
        let mut command = place.reelmill();
        let told = Ran::of(command.arg("query").arg("--why").arg(&film).args(RULES)).ok().out;
        assert!(told.contains("failed, and would again") && told.contains(why), "{told}");
        let actions = listed(place, &root, &["--by-action"]);
        assert_eq!((actions.len(), &actions[0]["verdict"]["action"]), (1, &"failed".into()));
    }
    assert_eq!(watch(&elsewhere, &root, &[]), Vec::<String>::new(), "nor is it tried there");
    let other = listed(&place, &root, &["--set", "width=64", "--needs-conversion"]);
    assert_eq!(other.len(), 1, "other settings");
    std::fs::copy(clip(8), &film).unwrap();
    scan(&place, &root);
    assert!(listed(&place, &root, &["--failed"]).is_empty());
    assert_eq!(listed(&place, &root, &["--needs-conversion"]).len(), 1, "it has changed");
}

#[test]
fn a_folder_of_a_library_remembers_what_failed_until_it_is_asked_again() {
    for mode in [&[][..], &["--replace"]] {
        let place = Place::new();
        let (root, film) = damaged(&place);
        scan(&place, &root);
        let before = std::fs::read(&film).unwrap();
        let first = convert(&place, &root, mode);
        assert!(!first.contains("failed before"), "{first}");
        let second = convert(&place, &root, mode);
        assert!(second.contains("it failed before: ") && second.contains("--again"), "{second}");
        let dry = convert(&place, &root, &[mode, &["--dry-run"]].concat());
        assert!(dry.contains("it failed before: "), "{dry}");
        let again = convert(&place, &root, &[mode, &["--again"]].concat());
        assert!(!again.contains("failed before"), "{again}");
        let other = convert(&place, &root, &[mode, &["--set", "width=64"]].concat());
        assert!(!other.contains("failed before"), "other settings: {other}");
        assert_eq!(listed(&place, &root, &["--failed"]).len(), 1);
        assert!(std::fs::read(&film).unwrap() == before);
    }
}

#[test]
fn what_failed_for_a_passing_reason_still_needs_conversion_and_rests_a_while() {
    let place = Place::new();
    let root = films(&place);
    std::fs::copy(clip(6), root.join("film.mkv")).unwrap();
    scan(&place, &root);
    std::fs::write(place.path("taken"), "a file, where a folder is to be").unwrap();
    let out = place.path("taken/out");
    let more = ["--output-dir", out.to_str().unwrap()];
    assert_eq!(watch(&place, &root, &more), ["begun", "failed"]);
    assert_eq!(listed(&place, &root, &["--needs-conversion"]).len(), 1);
    assert!(listed(&place, &root, &["--failed"]).is_empty());
    assert_eq!(watch(&place, &root, &more), Vec::<String>::new(), "not at once again");
}
