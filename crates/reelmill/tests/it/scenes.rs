//! Chunks start with scenes, where the source's keyframes do not tell them.

use super::faults::{script, which};
use super::support::{Place, Ran, ffmpeg};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// 24 s at 25 frames a second, with a scene at frame 283 and a keyframe each second
/// whatever happens.
fn film(place: &Place) -> PathBuf {
    let path = place.path("film.mp4");
    let graph = "[1:v]negate[n];[0:v][n]concat=n=2,format=yuv420p";
    let args = "-f lavfi -t 11.32 -i testsrc2=s=320x240:r=25 -f lavfi -t 12.68 -i \
                testsrc2=s=320x240:r=25 -c:v libx264 -preset ultrafast -bf 2 -g 25 -sc_threshold 0";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.splice(12..12, ["-filter_complex", graph]);
    ffmpeg(&args, &path);
    path
}

fn planned(place: &Place, film: &Path, encoder: Option<&Path>) -> Value {
    let mut command = place.reelmill();
    command.arg("plan").arg(film).args(["--preset", "hevc", "--workers", "2", "--json"]);
    if let Some(encoder) = encoder {
        command.env("REELMILL_FFMPEG", encoder);
    }
    serde_json::from_str(&Ran::of(&mut command).ok().out).unwrap()
}

/// Number of the second chunk's first frame, and why it is that one.
fn second(plan: &Value) -> (u64, &str) {
    let chunks = plan["video"]["cut"]["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), 2);
    let per_frame = 12_800 / 25;
    let start = chunks[1]["start"].as_u64().unwrap();
    assert_eq!(plan["video"]["time_base"], "1/12800");
    (start / per_frame, chunks[1]["starts_at"].as_str().unwrap())
}

#[test]
fn chunks_start_with_scenes_and_without_when_nobody_can_look() {
    let place = Place::new();
    let film = film(&place);
    let plan = planned(&place, &film, None);
    assert_eq!(second(&plan), (283, "scene"));
    assert_eq!(plan, planned(&place, &film, None), "planned twice, planned the same");
    let blind = format!(
        "#!/bin/sh\ncase \"$*\" in *scdet*) echo 'No such filter: scdet' >&2; exit 1;; esac\n\
         exec {} \"$@\"\n",
        which("ffmpeg")
    );
    let plan = planned(&place, &film, Some(&script(&place, "blind", &blind)));
    assert_ne!(second(&plan).1, "scene");
    let notes = plan["notes"].to_string();
    assert!(notes.contains("not at scenes") && notes.contains("scdet"), "{notes}");
}
