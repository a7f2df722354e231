//! Encoders in hardware: offered where they were proven, and left for software where
//! they fail. The hardware is an FFmpeg that makes x264 of NVENC, with a profile that
//! tells which of both was asked for.

use super::convert::{FAST, probe};
use super::faults::{script, which};
use super::judge::{decode, same_frames};
use super::support::{Place, Ran, clip};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The profile of what the hardware makes, and of what x264 does when it is in a hurry.
const HARDWARE: &str = "Main";
const SOFTWARE: &str = "Constrained Baseline";

/// The FFmpeg of a machine with hardware that does what `trial` says when it is tried
/// and `film` when it encodes: `works`, or words to fail with.
fn machine(place: &Place, trial: &str, film: &str) -> PathBuf {
    std::fs::create_dir_all(place.path("devices/nvidia0")).unwrap();
    let does = |what: &str| match what {
        "works" => "set -- \"$@\" libx264 -preset veryfast -profile:v main".to_owned(),
        words => format!("echo '{words}' >&2; exit 1"),
    };
    let text = format!(
        "#!/bin/sh\nall=\"$*\"\nleft=$#\nwhile [ $left -gt 0 ]; do\nword=$1; shift; left=$((left - 1))\n\
         case $word in h264_nvenc) case $all in *lavfi*) {};; *) {};; esac;;\n\
         *_nvenc) exit 1;; *) set -- \"$@\" \"$word\";; esac\ndone\nexec {} \"$@\"\n",
        does(trial),
        does(film),
        which("ffmpeg")
    );
    script(place, "machine", &text)
}

fn run(place: &Place, machine: &Path, args: &[&str]) -> Ran {
    let mut command = place.reelmill();
    command.args(args).env("REELMILL_FFMPEG", machine);
    command.env("REELMILL_TEST_DEVICES", place.path("devices"));
    Ran::of(&mut command).ok()
}

/// Converts the clip with any hardware; the profile that the output has.
fn convert(place: &Place, machine: &Path) -> (String, Ran) {
    let (input, output) = (clip(12), place.path("out.mkv"));
    let mut args = vec!["convert", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    args.extend(["--overwrite", "--set", "hardware=auto"]);
    args.extend(FAST);
    let ran = run(place, machine, &args);
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
    let profile = probe(&output)["streams"][0]["profile"].as_str().unwrap().to_owned();
    (profile, ran)
}

fn plan(place: &Place, machine: &Path) -> Value {
    let input = clip(12);
    let args = ["plan", input.to_str().unwrap(), "--json", "--set", "hardware=nvenc"];
    serde_json::from_str(&run(place, machine, &args).out).unwrap()
}

/// What `doctor` says of an encoder: its state and why.
fn doctor(place: &Place, machine: &Path, encoder: &str) -> (String, String) {
    let ran = run(place, machine, &["doctor", "--json"]);
    let what = format!("encoder {encoder}");
    let finding = ran.events().into_iter().find(|finding| finding["what"] == what.as_str());
    let finding = finding.unwrap_or_else(|| panic!("{what}: {}", ran.out));
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

#[test]
fn hardware_that_was_proven_encodes_the_film_whole() {
    let place = Place::new();
    let machine = machine(&place, "works", "works");
    let (state, detail) = doctor(&place, &machine, "h264-nvenc");
    assert!(state == "ok" && detail.contains("works (build"), "{state} {detail}");
    let (state, detail) = doctor(&place, &machine, "h264-vaapi");
    assert!(state == "absent" && detail.contains("no such hardware"), "{state} {detail}");
    let planned = plan(&place, &machine);
    assert_eq!(planned["video"]["encode"]["encoder"], "h264-nvenc");
    assert_eq!(planned["video"]["cut"]["reason"]["why"], "hardware");
    assert!(planned["notes"].to_string().contains("h264-nvenc encodes instead of x264"));
    assert_eq!(convert(&place, &machine).0, HARDWARE);
}

#[test]
fn hardware_that_is_listed_and_fails_is_not_offered() {
    let place = Place::new();
    let machine = machine(&place, "Cannot load libcuda.so.1", "works");
    let (state, detail) = doctor(&place, &machine, "h264-nvenc");
    assert!(state == "absent" && detail.contains("libcuda"), "{state} {detail}");
    let planned = plan(&place, &machine);
    assert_eq!(planned["video"]["encode"]["encoder"], "x264");
    let notes = planned["notes"].to_string();
    assert!(notes.contains("x264 encodes, not hardware: no h264 encoder"), "{notes}");
    assert_eq!(convert(&place, &machine).0, SOFTWARE);
}

#[test]
fn hardware_that_fails_on_the_way_leaves_the_film_to_software() {
    let place = Place::new();
    let machine = machine(&place, "works", "OpenEncodeSessionEx failed: out of memory");
    let (profile, ran) = convert(&place, &machine);
    assert_eq!(profile, SOFTWARE);
    let told = "note: x264 encodes, not hardware: h264-nvenc failed:";
    assert!(ran.err.contains(told), "{}", ran.err);
    assert!(ran.err.contains("OpenEncodeSessionEx"), "{}", ran.err);
}
