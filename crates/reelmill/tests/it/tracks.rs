//! What lies beside the picture: sound, subtitles, chapters, attachments, tags.

use super::convert::{FAST, kinds, probe};
use super::support::{Place, Ran, clip, ffmpeg, tool};
use serde_json::Value;
use std::path::Path;

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

/// FFmpeg knows three letters only; what is told beyond them goes over all the same.
#[test]
fn languages_keep_their_country_and_script() {
    let place = Place::new();
    let input = rich_film(&place);
    let mut edit = tool("mkvpropedit");
    edit.arg(&input);
    for (track, tag) in [("v1", "es-419"), ("a1", "pt-BR"), ("s1", "zh-Hant-HK")] {
        edit.args(["--edit", &format!("track:{track}"), "--set", &format!("language-ietf={tag}")]);
    }
    assert!(edit.output().unwrap().status.success());
    let output = place.path("kept.mkv");
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    let wanted = tags(&input);
    assert!(wanted.contains(&"zh-Hant-HK".to_owned()), "{wanted:?}");
    let kept = tags(&output);
    assert_eq!(kept.len(), wanted.len());
    let told = wanted.iter().zip(&kept).filter(|(tag, _)| tag.contains('-'));
    assert_eq!(told.filter(|(wanted, kept)| wanted == kept).count(), 3, "{kept:?} {wanted:?}");
    assert_eq!(kinds(&probe(&output)), kinds(&probe(&input)));
}

/// The languages of all tracks as MKVToolNix reads them.
fn tags(film: &Path) -> Vec<String> {
    let output = tool("mkvmerge").arg("-J").arg(film).output().unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(read["warnings"].as_array().unwrap().is_empty(), "{}", read["warnings"]);
    let tracks = read["tracks"].as_array().unwrap().iter();
    let tag =
        |track: &Value| track["properties"]["language_ietf"].as_str().unwrap_or("").to_owned();
    tracks.map(tag).collect()
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
    // QuickTime's own numbers have none for French. (A picture of no language is "und" in
    // one of them and nothing in the other.)
    let output = place.path("held.mov");
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    let languages = |probed: &Value| -> Vec<Value> {
        let streams = probed["streams"].as_array().unwrap().iter();
        streams.skip(1).take(3).map(|stream| stream["tags"]["language"].clone()).collect()
    };
    assert_eq!(languages(&probe(&output)), languages(&after));
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

/// FFmpeg 5.1 moves the streams that are read of a transport stream to where it begins, if
/// that is at 0, or where the offset that it is given says so.
#[test]
fn sound_and_picture_of_a_transport_stream_keep_their_distance() {
    let place = Place::new();
    let source = clip(8);
    let source = source.to_str().unwrap();
    for (picture, sound, begin) in [("0.3", "0", "0"), ("0", "0.3", "0"), ("0", "0.3", "7")] {
        let input = place.path("apart.ts");
        let mut args = vec!["-itsoffset", picture, "-i", source, "-itsoffset", sound, "-i", source];
        args.extend(["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "ac3", "-copyts"]);
        args.extend(["-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", begin, "-y"]);
        ffmpeg(&args, &input);
        for (name, extra) in [("a.mkv", "audio.mode=copy"), ("b.mp4", "audio.mode=encode")] {
            let output = place.path(name);
            let mut command = place.reelmill();
            command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
            command.args(["--chunk-seconds", "2", "--overwrite", "--json", "--set", extra]);
            let planned = Ran::of(&mut command).ok().events();
            let planned = planned.into_iter().find(|event| event["event"] == "planned").unwrap();
            assert!(planned["chunks"].as_u64() > Some(2), "{picture} {sound}: {planned}");
            let (before, after) = (spans(&input), spans(&output));
            for (want, have) in before.iter().zip(&after) {
                assert!((want - have).abs() < 0.050, "{name}: {before:?} became {after:?}");
            }
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

/// A set of Blu-ray subtitles: a clear screen at each of the times (milliseconds).
fn sup(times: &[u32]) -> Vec<u8> {
    let segment = |kind: u8, millis: u32, data: &[u8]| {
        let mut bytes = b"PG".to_vec();
        bytes.extend((millis * 90).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.push(kind);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        bytes
    };
    let screen = |(number, millis): (usize, &u32)| {
        let composition = [7, 0x80, 4, 0x38, 0x10, 0, number as u8, 0x80, 0, 0, 0];
        [segment(0x16, *millis, &composition), segment(0x80, *millis, &[])].concat()
    };
    times.iter().enumerate().flat_map(screen).collect()
}

#[test]
fn image_subtitles_come_out_as_files_of_their_own() {
    let place = Place::new();
    let (film, plain) = (place.path("film.mkv"), place.path("plain.mkv"));
    std::fs::write(place.path("s.sup"), sup(&[1000, 2500, 4000])).unwrap();
    let subtitles = place.path("s.sup").to_str().unwrap().to_owned();
    let clip = clip(8).to_str().unwrap().to_owned();
    let inputs = ["-i", &clip, "-i", &subtitles, "-map", "0:v", "-map", "1:s", "-c", "copy"];
    ffmpeg(&[&inputs[..], &["-metadata:s:s:0", "language=fre"]].concat(), &film);
    std::fs::copy(&clip, &plain).unwrap();
    let run = |film: &Path| place.run(["subtitles".as_ref(), film.as_os_str()]);
    run(&film).ok();
    let made = std::fs::read(place.path("film.1.fre.sup")).unwrap();
    assert_eq!(made.iter().filter(|byte| **byte == 0x16).count(), 3);
    assert_eq!(made.len(), sup(&[1000, 2500, 4000]).len());
    run(&film).refused(2, &["exists already"]);
    run(&plain).refused(3, &["no image subtitles"]);
    run(&place.path("nothing.mkv")).refused(3, &["nothing.mkv"]);
    assert!(place.names().iter().all(|name| !name.contains("reelmill-part")));
}

/// NUT, in which chunks and sound wait, cannot be read back with tags of some kilobytes.
#[test]
fn titles_of_some_kilobytes_are_kept() {
    let place = Place::new();
    let (input, output) = (place.path("titled.mkv"), place.path("out.mp4"));
    let title = format!("title={}", "long ".repeat(1000));
    let clip = clip(6);
    let args = ["-i", clip.to_str().unwrap(), "-map", "0:v", "-map", "0:a", "-c:v", "copy"];
    let tags = ["-c:a", "mp2", "-metadata:s:v:0", &title, "-metadata:s:a:0", &title];
    ffmpeg(&[&args[..], &tags[..]].concat(), &input);
    let mut command = place.reelmill();
    command.arg("convert").arg(&input).arg("-o").arg(&output).args(FAST);
    Ran::of(command.args(["--chunk-seconds", "2"])).ok();
    let after = probe(&output);
    assert_eq!(after["streams"][1]["codec_name"], "aac");
    assert_eq!(after["streams"][1]["tags"]["handler_name"], &title["title=".len()..]);
}
