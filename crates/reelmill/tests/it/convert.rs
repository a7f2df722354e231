//! `reelmill convert` and its neighbours, as a user runs them.

use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, clip, ffmpeg, long, tool, wait_for};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// Fast settings, so that tests test us rather than the encoder.
pub(crate) const FAST: [&str; 4] = ["--set", "speed=ultrafast", "--set", "crf=30"];

pub(crate) fn probe(path: &Path) -> Value {
    let ran = tool("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_streams", "-show_chapters", "-show_format"])
        .arg(path)
        .output()
        .unwrap();
    serde_json::from_slice(&ran.stdout).unwrap()
}

pub(crate) fn kinds(probed: &Value) -> Vec<String> {
    let streams = probed["streams"].as_array().unwrap().iter();
    streams.map(|s| format!("{}:{}", s["codec_type"], s["codec_name"]).replace('"', "")).collect()
}

#[test]
fn chunks_come_out_as_the_frames_that_went_in() {
    let place = Place::new();
    let (input, output) = (clip(20), place.path("out.mkv"));
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output);
    let ran =
        Ran::of(command.args(["--preset", "lossless", "--chunk-seconds", "3", "--json"])).ok();
    let events = ran.events();
    let planned = events.iter().find(|e| e["event"] == "planned").unwrap();
    assert!(planned["chunks"].as_u64().unwrap() >= 6, "{planned}");
    assert_eq!(planned["frames_total"], 480);
    let finished = events.last().unwrap();
    assert_eq!(finished["event"], "finished");
    assert!(events.iter().any(|e| e["event"] == "progress"));
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, true).unwrap();
    assert_eq!(place.leftovers(), Vec::<std::path::PathBuf>::new());
    assert_eq!(place.names(), ["out.mkv", "scratch"]);
}

#[test]
fn every_preset_goes_into_every_format_that_can_hold_it() {
    let cases = [
        ("h264", "mov", "h264"),
        ("hevc", "mp4", "hevc"),
        ("av1", "webm", "av1"),
        ("vp9", "mkv", "vp9"),
        ("h264", "mkv", "h264"),
        ("h264", "mp4", "h264"),
        ("hevc", "mkv", "hevc"),
        ("hevc", "mov", "hevc"),
        ("av1", "mkv", "av1"),
        ("av1", "mp4", "av1"),
        ("vp9", "mp4", "vp9"),
        ("vp9", "webm", "vp9"),
    ];
    // Each preset and each format is among the first.
    let cases = if long() { &cases[..] } else { &cases[..4] };
    let place = Place::new();
    let input = clip(6);
    let source = decode(&input, None);
    for &(preset, format, codec) in cases {
        let output = place.path(&format!("{preset}.{format}"));
        let fast = match preset {
            "av1" => "speed=12",
            "vp9" => "speed=8",
            _ => "speed=ultrafast",
        };
        let mut command = place.reelmill();
        command.arg("convert").arg(&input).arg("-o").arg(&output);
        command.args(["--preset", preset, "--chunk-seconds", "2", "--set", fast]);
        Ran::of(&mut command).ok();
        let tolerance = if matches!(format, "mkv" | "webm") { 0.001 } else { 0.000_01 };
        let same = same_frames(&source, &decode(&output, None), tolerance, false);
        same.unwrap_or_else(|why| panic!("{preset} in {format}: {why}"));
        let audio = if format == "webm" { "opus" } else { "aac" };
        assert_eq!(
            kinds(&probe(&output))[..2],
            [format!("video:{codec}"), format!("audio:{audio}")]
        );
    }
}

#[test]
fn an_interrupted_conversion_goes_on_where_it_stopped() {
    let place = Place::new();
    let (input, output) = (clip(60), place.path("out.mp4"));
    let start = || {
        let mut command = place.reelmill();
        command.arg("convert").arg(&input).arg("-o").arg(&output);
        command.args(["--chunk-seconds", "4", "--set", "speed=slow", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut running = Running::start(&mut start());
    let mut lines = lines_of(&mut running);
    wait_for("two finished chunks", || {
        let event: Value = serde_json::from_str(&lines.next()?.ok()?).unwrap();
        (event["chunks_done"].as_u64() >= Some(2)).then_some(())
    });
    running.signal("INT");
    assert_eq!(running.wait(), 130);
    assert_eq!(place.names(), ["scratch"], "nothing half-written beside the output");
    let events = Ran::of(&mut start()).ok().events();
    let planned = events.iter().find(|e| e["event"] == "planned").unwrap();
    assert!(planned["chunks_done"].as_u64().unwrap() >= 2, "{planned}");
    same_frames(&decode(&input, None), &decode(&output, None), 0.000_01, false).unwrap();
    assert_eq!(place.leftovers(), Vec::<std::path::PathBuf>::new());
}

fn lines_of(
    running: &mut Running,
) -> std::io::Lines<std::io::BufReader<std::process::ChildStdout>> {
    use std::io::BufRead;
    std::io::BufReader::new(running.0.stdout.take().unwrap()).lines()
}

#[test]
fn a_killed_conversion_goes_on_too_and_leaves_no_encoder_behind() {
    let place = Place::new();
    let (input, output) = (clip(60), place.path("out.mkv"));
    let start = || {
        let mut command = place.reelmill();
        command.arg("convert").arg(&input).arg("-o").arg(&output);
        command.args(["--chunk-seconds", "4", "--set", "speed=slow", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut running = Running::start(&mut start());
    let mut lines = lines_of(&mut running);
    wait_for("a finished chunk", || {
        let event: Value = serde_json::from_str(&lines.next()?.ok()?).unwrap();
        (event["chunks_done"].as_u64() >= Some(1)).then_some(())
    });
    running.kill();
    let scratch = place.path("scratch");
    wait_for("the encoders' end", || encoders_below(&scratch).is_empty().then_some(()));
    let events = Ran::of(&mut start()).ok().events();
    let planned = events.iter().find(|e| e["event"] == "planned").unwrap();
    assert!(planned["chunks_done"].as_u64().unwrap() >= 1, "{planned}");
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
}

/// Processes whose command line names a file below `folder`.
fn encoders_below(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.starts_with("ffmpeg") || line.contains("/ffmpeg "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[test]
fn smaller_pictures_keep_their_shape() {
    let place = Place::new();
    let output = place.path("small.mkv");
    let mut command = place.reelmill();
    command.arg("convert").arg(clip(6)).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--width", "160"])).ok();
    let video = &probe(&output)["streams"][0];
    assert_eq!((&video["width"], &video["height"]), (&160.into(), &90.into()));
}

#[test]
fn own_presets_are_found() {
    let place = Place::new();
    std::fs::create_dir(place.path("config")).unwrap();
    let own = "[tiny]\ndescription = \"small\"\nformat = \"mp4\"\n[tiny.video]\nencoder = \"x264\"\n\
               speed = \"ultrafast\"\nheight = 90\n";
    std::fs::write(place.path("config").join("presets.toml"), own).unwrap();
    assert!(place.run(["presets"]).ok().out.contains("tiny"));
    let output = place.path("out");
    std::fs::create_dir(&output).unwrap();
    let mut command = place.reelmill();
    Ran::of(command.arg("convert").arg(clip(6)).arg("-o").arg(&output).args(["-p", "tiny"])).ok();
    let video = &probe(&output.join("clip-6.mp4"))["streams"][0];
    assert_eq!(video["height"], 90);
}

#[test]
fn several_inputs_go_into_a_folder_and_a_bad_one_stops_nothing() {
    let place = Place::new();
    let (bad, folder) = (place.path("bad.mkv"), place.path("out"));
    std::fs::write(&bad, "no film").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let mut command = place.reelmill();
    command.arg("convert").arg(&bad).arg(clip(6)).arg("-o").arg(&folder).args(FAST);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(folder.join("clip-6.mkv").exists());
}

#[test]
fn plan_tells_and_writes_nothing() {
    let place = Place::new();
    let input = clip(60);
    let ran = place.run(["plan".as_ref(), input.as_os_str(), "--json".as_ref()]).ok();
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["container"], "mkv");
    assert!(plan["video"]["cut"]["chunks"].as_array().unwrap().len() >= 2, "{plan}");
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[test]
fn what_cannot_be_cut_is_encoded_whole_with_the_reason() {
    let place = Place::new();
    let (input, output) = (place.path("old.avi"), place.path("out.mkv"));
    let args = ["-i", clip(6).to_str().unwrap().to_owned().leak(), "-c:v", "mpeg4", "-an"];
    ffmpeg(&args, &input);
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    let ran = Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    assert!(ran.err.contains("encoded in one piece"), "{}", ran.err);
    let source = decode(&input, None);
    same_frames(&source, &decode(&output, None), 0.001, false).unwrap();
}

/// Pictures whose size changes have other parameter sets in another chunk.
#[test]
fn what_turns_out_not_to_be_cuttable_is_encoded_again_whole() {
    let place = Place::new();
    let (input, list) = (place.path("sizes.mkv"), place.path("list.txt"));
    for (name, size) in [("a.mkv", "160x120"), ("b.mkv", "160x90")] {
        let source = format!("testsrc2=s={size}:r=25:d=4");
        let args = ["-f", "lavfi", "-i", &source, "-c:v", "libvpx", "-g", "25", "-b:v", "500k"];
        ffmpeg(&args, &place.path(name));
    }
    std::fs::write(&list, "file a.mkv\nfile b.mkv\n").unwrap();
    ffmpeg(&["-f", "concat", "-i", list.to_str().unwrap(), "-c", "copy"], &input);
    let output = place.path("out.mp4");
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    let ran = Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    assert!(ran.err.contains("was made by another encoder or setting"), "{}", ran.err);
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
}

#[test]
fn a_header_that_tells_of_more_than_the_tracks_have_is_not_believed() {
    let place = Place::new();
    let (input, output) = (place.path("long.mp4"), place.path("out.mkv"));
    let clip = clip(6);
    ffmpeg(&["-i", clip.to_str().unwrap(), "-map", "0:v", "-map", "0:a", "-c", "copy"], &input);
    let mut bytes = std::fs::read(&input).unwrap();
    let at = bytes.windows(4).position(|word| word == b"mvhd").unwrap() + 4 + 4 + 8 + 4;
    let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    bytes[at..at + 4].copy_from_slice(&(2 * length).to_be_bytes());
    std::fs::write(&input, bytes).unwrap();
    assert_eq!(
        probe(&input)["format"]["duration"].as_str().unwrap().split_once('.').unwrap().0,
        "12"
    );
    let mut command = place.reelmill();
    Ran::of(command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST)).ok();
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
}

#[test]
fn lossless_video_of_an_odd_size_has_as_many_slices_as_it_can() {
    let place = Place::new();
    let (input, output) = (place.path("odd.mkv"), place.path("out.mkv"));
    let source = "testsrc2=s=176x144:r=25:d=1,crop=175:143:0:0:exact=1";
    ffmpeg(&["-f", "lavfi", "-i", source, "-c:v", "libvpx", "-pix_fmt", "yuv420p"], &input);
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(["--preset", "lossless"]);
    Ran::of(&mut command).ok();
    same_frames(&decode(&input, None), &decode(&output, None), 0.001, true).unwrap();
}
