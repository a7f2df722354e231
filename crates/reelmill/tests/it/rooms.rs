//! Temporary files: small work in memory, large work on disk, none where there is no
//! room. Two folders stand for memory and disk.

use super::farm::Server;
use super::support::{Place, Running, clip, wait_for};
use std::path::{Path, PathBuf};

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// A conversion that is stopped as soon as one of the folders has a file of it; in
/// which of the two that was.
fn used(place: &Place, limit: &str) -> &'static str {
    let (ram, spool) = (place.path("ram"), place.path("spool"));
    for folder in [&ram, &spool] {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).unwrap();
    }
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(6)).arg("-o").arg(place.path("out.mkv"));
    command.args(["--preset", "h264", "--workers", "1", "--quiet", "--ram-limit", limit]);
    command.arg("--ram-dir").arg(&ram).arg("--spool-dir").arg(&spool);
    let running = Running::start(&mut command);
    let found = wait_for("a file of the conversion", || {
        let has = |folder: &Path| !files(folder).is_empty();
        match (has(&ram), has(&spool)) {
            (true, false) => Some("ram"),
            (false, true) => Some("spool"),
            _ => None,
        }
    });
    running.kill();
    found
}

#[test]
fn a_small_conversion_is_done_in_memory_and_a_large_one_on_disk() {
    let place = Place::new();
    assert_eq!(used(&place, "1GiB"), "ram");
    assert_eq!(used(&place, "1KiB"), "spool");
    // To its end: nothing is left, and others' files in the folder stay.
    let ram = place.path("ram");
    std::fs::write(ram.join("mine.txt"), "mine").unwrap();
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(2)).arg("-o").arg(place.path("two.mkv"));
    command
        .args(["--preset", "h264", "--set", "speed=ultrafast", "--quiet", "--ram-dir"])
        .arg(&ram);
    super::support::Ran::of(&mut command).ok();
    assert!(place.path("two.mkv").exists());
    assert_eq!(files(&ram), [ram.join("mine.txt")]);
}

#[test]
fn a_coordinators_own_workers_use_memory_too() {
    let place = Place::new();
    let ram = place.path("memory");
    std::fs::create_dir(&ram).unwrap();
    let server = Server::start(&place, &["--workers", "1", "--ram-dir", ram.to_str().unwrap()]);
    let id = server.submit(&place, &clip(6), &["--set", "speed=medium", "--preset", "h264"]);
    let tasks = || -> Vec<PathBuf> {
        let mut found = files(&ram.join("reelmill"));
        found.retain(|path| path.to_string_lossy().contains("/tasks/"));
        found
    };
    wait_for("a file of the task in memory", || (!tasks().is_empty()).then_some(()));
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    wait_for("the task's files to be gone", || tasks().is_empty().then_some(()));
}

#[test]
fn a_worker_uses_memory_too_and_leaves_nothing_there() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let ram = place.path("memory");
    std::fs::create_dir(&ram).unwrap();
    let anna = server.worker(&place, "anna", &["--ram-dir", ram.to_str().unwrap()]);
    server.workers(&place, 1);
    let set = ["--set", "speed=medium", "--preset", "h264"];
    let id = server.submit(&place, &clip(6), &set);
    wait_for("a file of the task in memory", || {
        let tasks = files(&ram.join("reelmill"));
        tasks.iter().any(|path| path.to_string_lossy().contains("/tasks/")).then_some(())
    });
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    wait_for("the task's files to be gone", || {
        let tasks = files(&ram.join("reelmill"));
        (!tasks.iter().any(|path| path.to_string_lossy().contains("/tasks/"))).then_some(())
    });
    drop(anna);
}
