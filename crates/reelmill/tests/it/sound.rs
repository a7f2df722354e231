//! Sound alone: every codec into every container that holds it, with tags, cover
//! art, loudness, languages and layouts, judged by an independent decode.

use super::convert::probe;
use super::support::{Place, Ran, ffmpeg, media, tool};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Two tracks (5.1 in English, stereo in German), tags, chapters and a cover.
fn album(place: &Place) -> PathBuf {
    let (path, cover, meta) =
        (place.path("album.mka"), place.path("cover.png"), place.path("meta.txt"));
    ffmpeg(&["-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1"], &cover);
    let text = ";FFMETADATA1\ntitle=A \\= B\nartist=Nobody\nalbum=None\ngenre=Noise\n\
        date=2001\ntrack=3\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=Two\n";
    std::fs::write(&meta, text).unwrap();
    let surround = "aevalsrc=0.2*sin(440*2*PI*t)|0.2*sin(550*2*PI*t)|0.1*sin(660*2*PI*t)|\
        0.05*sin(60*2*PI*t)|0.1*sin(770*2*PI*t)|0.1*sin(880*2*PI*t):s=48000:d=3:c=5.1";
    let stereo = "aevalsrc=0.3*sin(330*2*PI*t)|0.3*sin(335*2*PI*t):s=44100:d=3:c=stereo";
    let attach = format!("{}", cover.display());
    let args = [
        "-f",
        "lavfi",
        "-i",
        surround,
        "-f",
        "lavfi",
        "-i",
        stereo,
        "-i",
        meta.to_str().unwrap(),
        "-map",
        "0",
        "-map",
        "1",
        "-map_metadata",
        "2",
        "-map_chapters",
        "2",
        "-c:a",
        "flac",
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:0",
        "title=Main",
        "-metadata:s:a:1",
        "language=deu",
        "-disposition:a:0",
        "default",
        "-attach",
        &attach,
        "-metadata:s:t:0",
        "mimetype=image/png",
        "-metadata:s:t:0",
        "filename=cover.png",
    ];
    ffmpeg(&args, &path);
    path
}

/// Samples of each channel and the level of the whole, by FFmpeg's own count.
fn heard(path: &Path, stream: usize) -> (f64, f64) {
    let map = format!("0:a:{stream}");
    let filter = "aresample=48000,astats=measure_perchannel=none";
    let ran = tool("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "info", "-i"])
        .arg(path)
        .args(["-map", &map, "-af", filter, "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    let value = |name: &str| {
        let line = text.lines().rev().find(|line| line.contains(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap_or(f64::NAN)
    };
    (value("Number of samples:") / 48_000.0, value("RMS level dB:"))
}

/// Integrated loudness, by FFmpeg's other meter.
fn loudness(path: &Path, stream: usize) -> f64 {
    let map = format!("0:a:{stream}");
    let ran = tool("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "info", "-i"])
        .arg(path)
        .args(["-map", &map, "-af", "ebur128=framelog=verbose", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    let line = text.lines().rev().find(|line| line.trim().starts_with("I:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn convert(place: &Place, input: &Path, output: &str, args: &[&str]) -> PathBuf {
    let path = place.path(output);
    let mut command = place.reelmill();
    command.arg("convert").arg(input).arg("-o").arg(&path).args(args);
    Ran::of(&mut command).ok();
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    path
}

fn audio(probed: &Value) -> Vec<(String, i64)> {
    let streams = probed["streams"].as_array().unwrap().iter();
    let audio = streams.filter(|s| s["codec_type"] == "audio");
    audio
        .map(|s| (s["codec_name"].as_str().unwrap().to_owned(), s["channels"].as_i64().unwrap()))
        .collect()
}

/// A tag of the file or of its first stream, whatever the case of its name.
fn tag(probed: &Value, name: &str) -> Option<String> {
    let places = [&probed["format"]["tags"], &probed["streams"][0]["tags"]];
    places.iter().find_map(|tags| {
        let found = tags.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.as_str()?.to_owned())
    })
}

/// Preset, output, and its tracks' codecs and channels.
type Case = (&'static str, &'static str, &'static [(&'static str, i64)]);

#[test]
fn every_codec_goes_into_its_container_with_tags_and_cover() {
    let place = Place::new();
    let album = album(&place);
    let (source, _) = heard(&album, 0);
    let cases: [Case; 8] = [
        ("aac", "out.m4a", &[("aac", 6), ("aac", 2)]),
        ("opus", "out.opus", &[("opus", 6)]),
        ("flac", "out.flac", &[("flac", 6)]),
        ("mp3", "out.mp3", &[("mp3", 2)]),
        ("ac3", "out.ac3", &[("ac3", 6)]),
        ("audio", "out.mka", &[("flac", 6), ("flac", 2)]),
        // The name decides; what the preset encodes to does not fit.
        ("h264", "other.mp3", &[("mp3", 2)]),
        ("audio", "copy.flac", &[("flac", 6)]),
    ];
    for (preset, name, tracks) in cases {
        let output = convert(&place, &album, name, &["--preset", preset]);
        let probed = probe(&output);
        let wanted: Vec<(String, i64)> =
            tracks.iter().map(|(codec, channels)| ((*codec).to_owned(), *channels)).collect();
        assert_eq!(audio(&probed), wanted, "{name}");
        let (found, level) = heard(&output, 0);
        assert!((-0.02..0.15).contains(&(found - source)), "{name}: {found} s, not {source}");
        assert!((-40.0..-5.0).contains(&level), "{name}: {level} dB");
        if name.ends_with("ac3") {
            continue;
        }
        for (key, value) in [
            ("title", "A = B"),
            ("artist", "Nobody"),
            ("album", "None"),
            ("genre", "Noise"),
            ("track", "3"),
        ] {
            assert_eq!(tag(&probed, key).as_deref(), Some(value), "{name} {key}");
        }
        let covers = probed["streams"].as_array().unwrap().iter();
        let covers = covers.filter(|s| s["disposition"]["attached_pic"] == 1).count();
        assert_eq!(covers, 1, "{name}: {probed}");
        if name.ends_with("m4a") || name.ends_with("mka") {
            assert_eq!(probed["chapters"].as_array().unwrap().len(), 2, "{name}");
        }
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn loudness_languages_and_layouts_are_as_asked_for() {
    let place = Place::new();
    let album = album(&place);
    let set = ["--preset", "aac", "--set", "loudness=-20"];
    let output = convert(&place, &album, "loud.m4a", &set);
    for stream in 0..2 {
        let found = loudness(&output, stream);
        assert!((found + 20.0).abs() < 1.0, "track {stream}: {found} LUFS");
    }
    let set = ["--preset", "aac", "--set", "languages=de", "--set", "max_channels=1"];
    let output = convert(&place, &album, "german.m4a", &set);
    assert_eq!(audio(&probe(&output)), [("aac".to_owned(), 1)]);
    let set = ["--preset", "audio", "--set", "languages=eng", "--set", "add_stereo=true"];
    let output = convert(&place, &album, "both.mka", &set);
    let probed = probe(&output);
    assert_eq!(audio(&probed), [("flac".to_owned(), 6), ("aac".to_owned(), 2)]);
    assert_eq!(probed["streams"][1]["tags"]["title"], "Stereo");
    // No track in that language: all are kept, and the plan says so.
    let ran = place.run(["plan", "album.mka", "--preset", "audio", "--set", "languages=fr"]).ok();
    assert!(ran.out.contains("no track is in a language asked for (fr)"), "{}", ran.out);
}

#[test]
fn films_get_loudness_and_a_stereo_track_too() {
    let place = Place::new();
    let (film, album) = (place.path("film.mkv"), album(&place));
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=3", "-i", album.to_str().unwrap()];
    let rest = ["-map", "0:v", "-map", "1:a:0", "-c:v", "mpeg4", "-c:a", "copy"];
    ffmpeg(&[&picture[..], &rest[..]].concat(), &film);
    let mut args = super::convert::FAST.to_vec();
    args.extend(["--set", "loudness=-23", "--set", "add_stereo=true"]);
    let output = convert(&place, &film, "out.mp4", &args);
    let probed = probe(&output);
    assert_eq!(audio(&probed), [("aac".to_owned(), 6), ("aac".to_owned(), 2)]);
    for stream in 0..2 {
        let found = loudness(&output, stream);
        assert!((found + 23.0).abs() < 1.0, "track {stream}: {found} LUFS");
    }
    // The film's sound alone, taken out.
    let output = convert(&place, &film, "sound.m4a", &["--preset", "audio"]);
    assert_eq!(audio(&probe(&output)), [("flac".to_owned(), 6)]);
    let output = convert(&place, &film, "coded.m4a", &[]);
    assert_eq!(audio(&probe(&output)), [("aac".to_owned(), 6)]);
}

#[test]
fn a_coordinator_and_its_worker_make_sound_too() {
    let place = Place::new();
    let album = album(&place);
    let server = super::farm::Server::start(&place, &["--workers", "1"]);
    let mut command = place.reelmill();
    command.arg("submit").arg(&album).args(["--preset", "opus", "--server", &server.url]);
    Ran::of(command.args(["--wait", "-o", "fetched.opus"])).ok();
    assert_eq!(audio(&probe(&place.path("fetched.opus"))), [("opus".to_owned(), 6)]);
}

#[test]
fn what_has_no_sound_is_refused() {
    let place = Place::new();
    let silent = place.path("silent.mkv");
    ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-c:v", "mpeg4"], &silent);
    let refused = |args: &[&str]| {
        let mut command = place.reelmill();
        Ran::of(command.arg("convert").arg(&silent).args(args))
    };
    refused(&["-o", "out.m4a"]).refused(3, &["no sound", "what to do"]);
    refused(&["-o", "out.mkv", "--preset", "aac"]).refused(2, &["not for films"]);
    refused(&["-o", "out.m4a", "--set", "loudness=3"]).refused(2, &["loudness", "LUFS"]);
}

#[test]
fn a_track_of_which_nothing_is_heard_is_named() {
    let place = Place::new();
    let sound = place.path("sound.flac");
    ffmpeg(&["-f", "lavfi", "-i", "sine=d=1", "-c:a", "flac"], &sound);
    let mut bytes = std::fs::read(&sound).unwrap();
    let frames = bytes.windows(2).position(|pair| pair == [0xff, 0xf8]).unwrap();
    bytes[frames..].fill(0);
    std::fs::write(&sound, bytes).unwrap();
    for output in ["out.m4a", "out.flac"] {
        let mut command = place.reelmill();
        let ran = Ran::of(command.arg("convert").arg(&sound).args(["-o", output]));
        ran.refused(3, &["nothing in audio track 0 (flac)", "what to do"]);
    }
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

/// Old phones put five frames of AMR into a packet, of which FFmpeg decodes one.
#[test]
fn sound_of_old_phones_is_heard_to_its_end() {
    let Some(folder) = media("sound of old phones") else { return };
    let (place, input) = (Place::new(), folder.join("container/sample.3gp"));
    for name in ["film.mp4", "sound.m4a", "sound.mp3"] {
        let output = place.path(name);
        let mut command = place.reelmill();
        command.arg("convert").arg(&input).arg("-o").arg(&output);
        if name == "film.mp4" {
            command.args(["--set", "speed=ultrafast"]);
        }
        Ran::of(&mut command).ok();
        let heard = tool("ffmpeg")
            .args(["-nostats", "-ss", "4", "-i"])
            .arg(&output)
            .args(["-map", "0:a", "-af", "astats=measure_perchannel=none", "-f", "null", "-"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&heard.stderr).into_owned();
        let samples = told.lines().find_map(|line| line.split("Number of samples: ").nth(1));
        let samples: f64 = samples.unwrap_or_else(|| panic!("{name}: {told}")).parse().unwrap();
        assert!(samples > 6000.0, "{name}: {samples} samples of 8 kHz after 4 s");
    }
}

/// The levels of the channels, decibels.
fn levels(path: &Path) -> Vec<f64> {
    let ran = tool("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "info", "-i"])
        .arg(path)
        .args([
            "-af",
            "astats=measure_overall=none:measure_perchannel=RMS_level",
            "-f",
            "null",
            "-",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    let said = text.lines().filter_map(|line| line.split_once("RMS level dB: "));
    said.map(|(_, level)| level.parse().unwrap_or(f64::NEG_INFINITY)).collect()
}

/// A codec that cannot say a layout would have it mixed into one of as many channels, and
/// quieter for that; what each channel says is kept in a wider one instead.
#[test]
fn channels_keep_their_places_and_levels_where_a_codec_cannot_say_their_layout() {
    let place = Place::new();
    for (layout, volumes, format, wide) in [
        // Left, right, centre, back: the back on both sides, each 3 dB down.
        ("4.0", &[0.8, 0.4, 0.2, 0.1][..], "flac", [0.8, 0.4, 0.2, 0.0707, 0.0707].as_slice()),
        // Left, right, bass, with silence for centre and back.
        ("2.1", &[0.8, 0.4, 0.2], "flac", &[0.8, 0.4, 0.0, 0.2, 0.0, 0.0]),
        ("4.0", &[0.8, 0.4, 0.2, 0.1], "m4a", &[0.8, 0.4, 0.2, 0.1]),
    ] {
        let tones: Vec<String> = volumes
            .iter()
            .enumerate()
            .map(|(n, volume)| format!("{volume}*sin({}*2*PI*t)", 300 + 200 * n))
            .collect();
        let made = format!("aevalsrc={}:c={layout}:s=48000:d=2", tones.join("|"));
        let source = place.path("source.wav");
        ffmpeg(&["-f", "lavfi", "-i", &made, "-c:a", "pcm_s16le"], &source);
        let preset = if format == "m4a" { "aac" } else { "flac" };
        let output = convert(&place, &source, &format!("{layout}.{format}"), &["--preset", preset]);
        let found = levels(&output);
        assert_eq!(found.len(), wide.len(), "{layout} to {format}: {found:?}");
        for (found, amplitude) in found.iter().zip(wide) {
            let wanted = 20.0 * (amplitude / f64::sqrt(2.0)).log10();
            let silent = *amplitude == 0.0 && *found < -90.0;
            assert!(silent || (found - wanted).abs() < 0.5, "{layout} {format}: {found} {wanted}");
        }
    }
}
