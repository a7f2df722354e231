//! Whole folders, replacing and undo, as a user runs them.

use super::support::{Place, Ran, clip};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const FAST: [&str; 4] = ["--set", "speed=ultrafast", "--set", "crf=40"];

#[test]
fn a_folder_is_converted_whatever_lies_in_it_and_a_second_run_has_nothing_to_do() {
    let place = Place::new();
    let films = place.path("films");
    std::fs::create_dir_all(films.join("deep")).unwrap();
    std::fs::copy(clip(6), films.join("deep/one.mkv")).unwrap();
    std::fs::write(films.join("bad.mkv"), "no film").unwrap();
    std::fs::write(films.join("text.txt"), "no media").unwrap();
    let run = || {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).args(["--format", "mp4", "--json"]);
        Ran::of(command.args(FAST))
    };
    let first = run();
    assert_eq!(first.code, 5, "{}{}", first.out, first.err);
    let summary = first.events().pop().unwrap();
    assert_eq!((&summary["converted"], &summary["failed"]), (&1.into(), &1.into()), "{summary}");
    assert!(films.join("deep/one.mp4").exists());
    assert!(films.join("deep/one.mkv").exists(), "without --replace the source stays");
    let second = run().events().pop().unwrap();
    assert_eq!(second["converted"], 0, "{second}");
}

#[test]
fn a_replaced_file_comes_back_by_undo() {
    let place = Place::new();
    let films = place.path("films");
    std::fs::create_dir(&films).unwrap();
    let film = films.join("film.mkv");
    std::fs::copy(clip(6), &film).unwrap();
    std::fs::set_permissions(&film, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (before, meta) = (std::fs::read(&film).unwrap(), std::fs::metadata(&film).unwrap());
    let run = |shared: &[&str]| {
        let mut command = place.reelmill();
        command.arg("convert").arg("--dir").arg(&films).arg("--replace").args(shared);
        Ran::of(command.args(FAST).arg("--keep-bigger")).ok()
    };
    for shared in [&[][..], &["--shared", "--again"][..]] {
        run(shared);
        let after = std::fs::metadata(&film).unwrap();
        assert_ne!(std::fs::read(&film).unwrap(), before);
        assert_eq!((after.mode(), after.mtime()), (meta.mode(), meta.mtime()));
        let names: Vec<_> =
            std::fs::read_dir(&films).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "the film and the records: {names:?}");
        assert!(run(&[]).err.contains("reelmill made it"));
        place.run(["undo".as_ref(), film.as_os_str()]).ok();
        assert_eq!(std::fs::read(&film).unwrap(), before);
    }
    assert!(run(&[]).err.contains("undone"));
}

#[test]
fn a_foreign_lock_that_is_fresh_is_respected() {
    let place = Place::new();
    let films = place.path("films");
    std::fs::create_dir(&films).unwrap();
    std::fs::copy(clip(6), films.join("film.mkv")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let lock = format!(
        r#"{{"hostname": "nas", "pid": 1, "timestamp": {}, "file": "film.mkv", "locked_at": "x"}}"#,
        now.as_secs()
    );
    std::fs::write(films.join("film.mkv.mediabox.lock"), lock).unwrap();
    let mut command = place.reelmill();
    command.arg("convert").arg("--dir").arg(&films).arg("--replace").args(FAST);
    let ran = Ran::of(&mut command).ok();
    assert!(ran.err.contains("nas (process 1) works on it"), "{}", ran.err);
    assert!(place.run(["locks".as_ref(), films.as_os_str()]).ok().out.contains("working"));
}
