//! Whatever is wrong gets one clear message, its exit code, and leaves nothing.

use super::support::{Place, Ran, clip, ffmpeg};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Converts `input` and expects a refusal that leaves nothing behind.
fn refused(place: &Place, input: &Path, code: i32, words: &[&str]) {
    let before = place.names();
    let output = place.path("out.mkv");
    let mut command = place.reelmill();
    command.arg("convert").arg(input).arg("-o").arg(&output);
    Ran::of(&mut command).refused(code, words);
    nothing_left(place, &before);
}

fn nothing_left(place: &Place, before: &[String]) {
    let after: Vec<String> = place.names().into_iter().filter(|name| name != "scratch").collect();
    let before: Vec<String> = before.iter().filter(|name| *name != "scratch").cloned().collect();
    assert_eq!(after, before);
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

fn file(place: &Place, name: &str, content: &[u8]) -> PathBuf {
    let path = place.path(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn missing_file() {
    let place = Place::new();
    refused(&place, &place.path("nowhere.mkv"), 3, &["nowhere.mkv", "what to do"]);
}

#[test]
fn a_folder() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder")).unwrap();
    refused(&place, &place.path("folder"), 3, &["folder"]);
}

#[test]
fn an_empty_file() {
    let place = Place::new();
    refused(&place, &file(&place, "empty.mkv", b""), 3, &["empty"]);
}

#[test]
fn a_text_file() {
    let place = Place::new();
    let text = b"Dear diary, this is not a film.\nNot at all.\n";
    refused(&place, &file(&place, "diary.mkv", text), 3, &["diary.mkv", "not a media file"]);
}

#[test]
fn truncated_files() {
    let place = Place::new();
    let whole = clip(20);
    let bytes = std::fs::read(&whole).unwrap();
    let half = file(&place, "half.mkv", &bytes[..bytes.len() / 2]);
    refused(&place, &half, 3, &["half.mkv"]);
    let mp4 = place.path("whole.mp4");
    ffmpeg(&["-i", whole.to_str().unwrap(), "-c", "copy"], &mp4);
    let bytes = std::fs::read(&mp4).unwrap();
    let half = file(&place, "half.mp4", &bytes[..bytes.len() / 2]);
    refused(&place, &half, 3, &["half.mp4"]);
    let front = place.path("front.mp4");
    ffmpeg(&["-i", whole.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart"], &front);
    let bytes = std::fs::read(&front).unwrap();
    let half = file(&place, "half-front.mp4", &bytes[..bytes.len() / 2]);
    refused(&place, &half, 3, &["half-front.mp4"]);
}

#[test]
fn sound_alone() {
    let place = Place::new();
    let sound = place.path("sound.m4a");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"], &sound);
    refused(&place, &sound, 3, &["sound.m4a", "no picture", "preset for sound alone"]);
}

#[test]
fn a_picture_alone_is_fine() {
    let place = Place::new();
    let (silent, output) = (place.path("silent.mkv"), place.path("out.mkv"));
    ffmpeg(&["-i", clip(6).to_str().unwrap(), "-an", "-c", "copy"], &silent);
    let mut command = place.reelmill();
    command.arg("convert").arg(&silent).arg("-o").arg(&output).args(super::convert::FAST);
    Ran::of(&mut command).ok();
    assert!(output.exists());
}

#[test]
fn output_equal_to_input() {
    let place = Place::new();
    let input = place.path("film.mkv");
    std::fs::copy(clip(6), &input).unwrap();
    let digest = std::fs::read(&input).unwrap();
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&input).arg("--overwrite");
    Ran::of(&mut command).refused(2, &["is the input itself"]);
    assert_eq!(std::fs::read(&input).unwrap(), digest);
}

#[test]
fn existing_output() {
    let place = Place::new();
    let output = file(&place, "out.mkv", b"precious");
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(6)).arg("-o").arg(&output);
    Ran::of(&mut command).refused(2, &["exists already", "--overwrite"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(6)).arg("-o").arg(&output).args(super::convert::FAST);
    Ran::of(command.arg("--overwrite")).ok();
    assert_ne!(std::fs::read(&output).unwrap(), b"precious");
}

#[test]
fn missing_output_folder() {
    let place = Place::new();
    let output = place.path("nowhere").join("out.mkv");
    let mut command = place.reelmill();
    Ran::of(command.arg("convert").arg(clip(6)).arg("-o").arg(&output)).refused(1, &["nowhere"]);
    nothing_left(&place, &[]);
}

#[test]
fn output_folder_not_writable() {
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere but to what is no folder of a real disk.
        let place = Place::new();
        let mut command = place.reelmill();
        command.arg("convert").arg(clip(6)).args(["-o", "/proc/out.mkv"]);
        Ran::of(&mut command).refused(1, &["/proc", "what to do"]);
        return;
    }
    let place = Place::new();
    let folder = place.path("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(6)).arg("-o").arg(folder.join("out.mkv"));
    Ran::of(&mut command).refused(1, &["locked", "permission"]);
}

#[test]
fn unknown_names() {
    let place = Place::new();
    let convert = |args: &[&str]| {
        let mut command = place.reelmill();
        command.arg("convert").arg(clip(6)).args(["-o", "out.mkv"]).args(args);
        Ran::of(&mut command)
    };
    convert(&["--preset", "h265"]).refused(2, &["no preset 'h265'", "hevc"]);
    convert(&["--set", "crf=99"]).refused(2, &["crf 99"]);
    convert(&["--set", "colour=red"]).refused(2, &["colour"]);
    convert(&["--format", "avi"]).refused(2, &["avi"]);
    convert(&["--preset", "vp9", "--format", "mov"]).refused(2, &["mov cannot hold vp9"]);
    convert(&["--chunk-seconds", "0"]).refused(2, &["chunk"]);
    place.run(["conver"]).refused(2, &["conver"]);
    nothing_left(&place, &[]);
}

#[test]
fn tools_missing_or_too_old() {
    let place = Place::new();
    let convert = || {
        let mut command = place.reelmill();
        command.arg("convert").arg(clip(6)).args(["-o", "out.mkv"]);
        command
    };
    let missing = Ran::of(convert().env("REELMILL_FFMPEG", "/nowhere/encoder"));
    missing.refused(1, &["/nowhere/encoder", "what to do"]);
    Ran::of(convert().env("PATH", place.path("empty"))).refused(1, &["FFmpeg", "install"]);
    let old = file(&place, "old", b"#!/bin/sh\necho 'ffmpeg version 4.4.2 Copyright'\n");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    let old = Ran::of(convert().env("REELMILL_FFMPEG", &old).env("REELMILL_FFPROBE", &old));
    old.refused(1, &["4.4.2", "5.1"]);
    nothing_left(&place, &["old".to_owned()]);
}

#[test]
fn no_space_left() {
    let group = "no space left: a full tmpfs";
    if !rustix::process::geteuid().is_root() {
        return super::support::not_run(group, "needs root to mount");
    }
    let place = Place::new();
    let full = place.path("full");
    std::fs::create_dir(&full).unwrap();
    // Too little to begin with, and enough to begin but not to end.
    for size in ["size=600k", "size=6m"] {
        let mount = super::support::tool("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(&full)
            .output()
            .unwrap();
        if !mount.status.success() {
            return super::support::not_run(group, "tmpfs cannot be mounted here");
        }
        let mut command = place.reelmill();
        command.arg("convert").arg(clip(20)).arg("-o").arg(full.join("out.mkv"));
        let output_full = Ran::of(command.args(["--preset", "lossless"]));
        let mut command = place.reelmill();
        command.arg("convert").arg(clip(20)).arg("-o").arg(place.path("out.mkv"));
        command.arg("--scratch").arg(&full);
        let scratch_full = Ran::of(command.args(["--preset", "lossless"]));
        let left = std::fs::read_dir(&full).unwrap().count();
        super::support::tool("umount").arg(&full).status().unwrap();
        output_full.refused(1, &["space", "what to do"]);
        scratch_full.refused(1, &["space", "what to do"]);
        assert!(left <= 1, "only the scratch folder may remain, found {left} entries");
        assert!(!place.path("out.mkv").exists());
    }
}

#[test]
fn port_in_use() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.run(["serve", "--listen", &address]).refused(1, &[&address, "--listen"]);
}

#[test]
fn coordinator_not_reachable() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{free}");
    let film = clip(6);
    let film = film.to_str().unwrap();
    place.run(["list", "--server", &server]).refused(4, &[&free.to_string(), "what to do"]);
    place
        .run(["submit", film, "--no-outbox", "--server", &server])
        .refused(4, &[&free.to_string()]);
    place.run(["status", "0123abcd", "--server", &server]).refused(4, &[&free.to_string()]);
}

#[test]
fn wrong_key_and_wrong_token() {
    let place = Place::new();
    let server = super::farm::Server::start(&place, &["--workers", "0", "--api-key", "right-key"]);
    let with = |args: &[&str]| {
        let mut command = place.reelmill();
        command.args(args).args(["--server", &server.url]);
        Ran::of(&mut command)
    };
    with(&["list"]).refused(4, &["key"]);
    with(&["list", "--api-key", "wrong-key"]).refused(4, &["key"]);
    with(&["list", "--api-key", "right-key"]).ok();
    with(&["work", "--token", "wrong-token"]).refused(4, &["token"]);
}

#[test]
fn json_errors_are_json() {
    let place = Place::new();
    let ran = place.run(["convert", "nowhere.mkv", "-o", "out.mkv", "--json"]);
    assert_eq!(ran.code, 3);
    let event = ran.events().pop().unwrap();
    assert_eq!(event["event"], "failed");
    assert_eq!(event["failure"]["class"], "input");
    assert!(event["failure"]["advice"].is_string());
}

#[test]
fn a_state_folder_in_use() {
    let place = Place::new();
    let _server = super::farm::Server::start(&place, &["--workers", "0"]);
    let mut command = place.reelmill();
    Ran::of(command.args(["serve", "--listen", "127.0.0.1:0"])).refused(1, &["in use"]);
}

/// FFmpeg decodes what is encrypted to noise, which is an output of the right length.
#[test]
fn encrypted_films_are_refused() {
    let place = Place::new();
    let (input, output) = (place.path("drm.mp4"), place.path("out.mkv"));
    let key = "00112233445566778899aabbccddeeff";
    let clip = clip(6);
    let args = ["-i", clip.to_str().unwrap(), "-map", "0:v", "-c", "copy", "-encryption_scheme"];
    let encryption = ["cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key];
    ffmpeg(&[&args[..], &encryption[..]].concat(), &input);
    let ran = Ran::of(place.reelmill().arg("convert").arg(&input).arg("-o").arg(&output));
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("is encrypted"), "{}", ran.err);
    assert!(!output.exists());
}
