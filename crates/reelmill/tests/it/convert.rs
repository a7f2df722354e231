//! `reelmill convert` and its neighbours, as a user runs them.

use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, clip, ffmpeg, tool, wait_for};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// Fast settings, so that tests test us rather than the encoder.
pub(crate) const FAST: [&str; 4] = ["--set", "speed=ultrafast", "--set", "crf=30"];

fn probe(path: &Path) -> Value {
    let ran = tool("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_streams", "-show_chapters", "-show_format"])
        .arg(path)
        .output()
        .unwrap();
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn kinds(probed: &Value) -> Vec<String> {
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
        ("h264", "mkv", "h264"),
        ("h264", "mp4", "h264"),
        ("h264", "mov", "h264"),
        ("hevc", "mkv", "hevc"),
        ("hevc", "mp4", "hevc"),
        ("hevc", "mov", "hevc"),
        ("av1", "mkv", "av1"),
        ("av1", "mp4", "av1"),
        ("av1", "webm", "av1"),
        ("vp9", "mkv", "vp9"),
        ("vp9", "mp4", "vp9"),
        ("vp9", "webm", "vp9"),
    ];
    let place = Place::new();
    let input = clip(6);
    let source = decode(&input, None);
    for (preset, format, codec) in cases {
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
fn everything_beside_the_picture_is_kept() {
    let place = Place::new();
    let input = rich_film(&place);
    let output = place.path("kept.mkv");
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    let (before, after) = (probe(&input), probe(&output));
    assert_eq!(kinds(&after), kinds(&before));
    assert_eq!(after["chapters"].as_array().unwrap().len(), 2);
    let facts = |probed: &Value| -> Vec<Value> {
        let streams = probed["streams"].as_array().unwrap().iter();
        streams
            .map(|s| {
                let tags = &s["tags"];
                serde_json::json!([
                    tags["language"],
                    tags["title"],
                    tags["filename"],
                    tags["mimetype"],
                    s["disposition"]["default"],
                    s["disposition"]["forced"],
                    s["color_space"],
                    s["color_transfer"],
                    s["color_primaries"],
                    s["color_range"],
                ])
            })
            .collect()
    };
    assert_eq!(facts(&after), facts(&before));
    assert_eq!(after["chapters"][1]["tags"]["title"], "Second half");
    assert_eq!(after["format"]["tags"]["title"], "A Film");
}

#[test]
fn what_the_target_cannot_hold_is_converted_or_told_beforehand() {
    let place = Place::new();
    let input = rich_film(&place);
    let ran = place.run(["plan".as_ref(), input.as_os_str(), "--format".as_ref(), "mp4".as_ref()]);
    let plan = ran.ok().out;
    assert!(plan.contains("mp4 cannot hold attachments"), "{plan}");
    let output = place.path("held.mp4");
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    let after = probe(&output);
    let kinds = kinds(&after);
    assert!(kinds.contains(&"subtitle:mov_text".to_owned()), "{kinds:?}");
    assert_eq!(after["chapters"].as_array().unwrap().len(), 2);
    assert_eq!(after["streams"][2]["tags"]["language"], "fre");
}

/// Two audio tracks, subtitles, chapters, an attachment, colour description.
fn rich_film(place: &Place) -> std::path::PathBuf {
    let film = place.path("film.mkv");
    let (subtitles, chapters, font) =
        (place.path("s.srt"), place.path("c.txt"), place.path("font.ttf"));
    std::fs::write(&subtitles, "1\n00:00:01,000 --> 00:00:03,000\nHello\n\n").unwrap();
    std::fs::write(&font, "not really a font").unwrap();
    std::fs::write(
        &chapters,
        ";FFMETADATA1\ntitle=A Film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=4000\ntitle=First half\n\
         [CHAPTER]\nTIMEBASE=1/1000\nSTART=4000\nEND=8000\ntitle=Second half\n",
    )
    .unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (clip, subtitles, chapters, font) =
        (text(&clip(8)), text(&subtitles), text(&chapters), text(&font));
    let args = [
        "-i",
        &clip,
        "-i",
        &subtitles,
        "-i",
        &chapters,
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-map",
        "0:a",
        "-map",
        "1:s",
        "-map_metadata",
        "2",
        "-map_chapters",
        "2",
        "-attach",
        &font,
        "-metadata:s:t",
        "mimetype=application/x-truetype-font",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "copy",
        "-c:s",
        "srt",
        "-colorspace",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_range",
        "tv",
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:0",
        "title=Main",
        "-metadata:s:a:1",
        "language=fre",
        "-metadata:s:a:1",
        "title=Commentary",
        "-disposition:a:1",
        "0",
        "-metadata:s:s:0",
        "language=ger",
        "-disposition:s:0",
        "forced",
    ];
    ffmpeg(&args, &film);
    film
}

#[test]
fn sound_keeps_its_place() {
    let place = Place::new();
    let input = place.path("late.mkv");
    let source = clip(8);
    let args = [
        "-i",
        source.to_str().unwrap(),
        "-itsoffset",
        "1.5",
        "-i",
        source.to_str().unwrap(),
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
    ];
    ffmpeg(&args, &input);
    for (name, extra) in [("copied.mkv", "audio.mode=copy"), ("encoded.mp4", "audio.mode=encode")] {
        let output = place.path(name);
        let mut command = place.reelmill();
        command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
        Ran::of(command.args(["--chunk-seconds", "2", "--set", extra])).ok();
        let (before, after) = (spans(&input), spans(&output));
        for (want, have) in before.iter().zip(&after) {
            assert!((want - have).abs() < 0.020, "{name}: {before:?} became {after:?}");
        }
    }
}

/// First and last moment of decoded sound, seconds after the first picture.
fn spans(path: &Path) -> [f64; 2] {
    let times = |select: &str| -> Vec<f64> {
        let ran = tool("ffprobe")
            .args(["-v", "error", "-select_streams", select, "-show_entries"])
            .args(["frame=best_effort_timestamp_time", "-of", "json"])
            .arg(path)
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let frames = found["frames"].as_array().unwrap().iter();
        frames
            .filter_map(|frame| frame["best_effort_timestamp_time"].as_str()?.parse().ok())
            .collect()
    };
    let (pictures, sounds) = (times("v:0"), times("a:0"));
    // An encoder's first frame is priming: silence that players skip.
    [sounds[1] - pictures[0], sounds[sounds.len() - 2] - pictures[0]]
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
