//! Films whose bit rate or size is given: one rate factor over all pieces, in passes
//! that are never mixed, and a cap that holds.

use super::convert::probe;
use super::farm::{Server, chunks};
use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, ffmpeg, tool, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Seconds of each half.
const HALF: f64 = 2.0;

/// Bits a second: three quarters of what the preset makes of it.
const BITS: f64 = 300_000.0;

/// A still picture, then noise.
fn film(place: &Place) -> PathBuf {
    let path = place.path("film.mkv");
    let half = |picture: &str| format!("{picture}s=160x90:r=12:d={HALF},format=yuv420p");
    let (still, noise) = (half("smptebars="), half("color=c=gray:"));
    let graph = format!("{still}[a];{noise},noise=alls=40:allf=t[b];[a][b]concat,format=yuv420p");
    let codec = "-c:v libx264 -preset ultrafast -crf 10 -g 12";
    let mut args = vec!["-filter_complex", &graph];
    args.extend(codec.split(' '));
    ffmpeg(&args, &path);
    path
}

/// A conversion of it in chunks, unless `args` say otherwise.
fn convert(place: &Place, output: &Path, args: &[&str]) -> std::process::Command {
    let mut command = place.reelmill();
    command.arg("convert").arg(place.path("film.mkv")).arg("-o").arg(output).args(args);
    command.args(["--overwrite", "--set", "speed=superfast", "--json"]);
    command
}

const IN_CHUNKS: [&str; 4] = ["--chunk-seconds", "2", "--workers", "2"];

/// Bytes of video before and after the middle, by an independent reader.
fn halves(output: &Path) -> (f64, f64) {
    let ran = tool("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-of", "json"])
        .args(["-show_entries", "packet=pts_time,size"])
        .arg(output)
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let mut halves = (0.0, 0.0);
    for packet in listed["packets"].as_array().unwrap() {
        let number = |key: &str| packet[key].as_str().unwrap().parse::<f64>().unwrap();
        let half = if number("pts_time") < HALF { &mut halves.0 } else { &mut halves.1 };
        *half += number("size");
    }
    halves
}

fn bits(output: &Path) -> f64 {
    let (first, second) = halves(output);
    (first + second) * 8.0 / (2.0 * HALF)
}

/// What the last event of a conversion says of the size.
fn told(ran: &Ran) -> String {
    let events = ran.events();
    let checks = events.last().unwrap()["verdict"]["checks"].as_array().unwrap().clone();
    let of_size = |check: &&Value| check["name"] == "bit rate" || check["name"] == "file size";
    checks.iter().find(of_size).unwrap()["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_bit_rate_holds_over_the_film_and_no_chunk_gets_the_same() {
    let place = Place::new();
    let input = film(&place);
    for (name, how) in [("chunks.mkv", &IN_CHUNKS[..]), ("whole.mp4", &["--workers", "1"])] {
        let output = place.path(name);
        let args = [how, &["--bitrate", "300k"]].concat();
        let ran = Ran::of(&mut convert(&place, &output, &args)).ok();
        let events = ran.events();
        let planned = events.iter().find(|event| event["event"] == "planned").unwrap();
        assert_eq!(planned["whole_reason"].is_null(), name == "chunks.mkv", "{planned}");
        let off = bits(&output) / BITS - 1.0;
        assert!(off.abs() < 0.05, "{off} {}", told(&ran));
        assert!(told(&ran).contains("300 aimed at; crf") && !told(&ran).contains("1 pass"));
        let (still, noise) = halves(&output);
        assert!(noise > 5.0 * still, "{still} {noise}");
        same_frames(&decode(&input, None), &decode(&output, None), 0.001, false).unwrap();
    }
}

#[test]
fn a_cap_holds_for_the_whole_file_or_is_refused() {
    let place = Place::new();
    film(&place);
    let output = place.path("out.mkv");
    let run = |cap: &str, mutant: &str| {
        let args = [&IN_CHUNKS[..], &["--max-size", cap]].concat();
        Ran::of(convert(&place, &output, &args).env("REELMILL_MUTANT", mutant))
    };
    let size = || std::fs::metadata(&output).unwrap().len();
    // Without the check the file is as large as the preset makes it, in one pass.
    let first = run("150kB", "size-cap").ok();
    assert_eq!(first.events().iter().filter(|event| event["pass"] == 2).count(), 0);
    let free = size();
    run("150kB", "").ok();
    assert!((135_000..=150_000).contains(&size()), "{} of {free}", size());
    assert!(free > 170_000, "{free}");

    // Pieces that are kept although they should be made again are noticed.
    let mixed = run("150kB", "passes-apart").events_of_failure();
    assert!(mixed.contains("not of one pass: piece"), "{mixed}");

    std::fs::remove_file(&output).unwrap();
    std::fs::remove_dir_all(place.path("scratch")).unwrap();
    let refused = run("4kB", "").events_of_failure();
    let words = "at most 4000 bytes are allowed, and the smallest file that was made, at crf 51";
    assert!(refused.contains(words), "{refused}");
    assert!(!output.exists());
    assert_eq!(place.names(), ["film.mkv", "scratch"]);
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new(), "chunks that can lead to no output");
}

#[test]
fn a_conversion_killed_in_its_second_pass_goes_on_there() {
    let place = Place::new();
    film(&place);
    let output = place.path("out.mkv");
    let args = ["--chunk-seconds", "1", "--workers", "1", "--bitrate", "300k"];
    let mut command = convert(&place, &output, &args);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let second = |event: &Value| event["pass"] == 2 && event["chunks_done"].as_u64() >= Some(1);
    wait_for("a finished chunk of the second pass", || {
        second(&serde_json::from_str(&lines.next()?.ok()?).unwrap()).then_some(())
    });
    running.kill();
    assert!(!output.exists());
    let ran = Ran::of(&mut convert(&place, &output, &args)).ok();
    let events = ran.events();
    let planned = events.iter().find(|event| event["event"] == "planned").unwrap();
    assert!(planned["pass"].as_u64() >= Some(2), "{planned}");
    assert!(second(planned) || planned["pass"].as_u64() > Some(2), "{planned}");
    assert!(events.iter().all(|event| event["pass"] != 1));
    let off = bits(&output) / BITS - 1.0;
    assert!(off.abs() < 0.05, "{off} {}", told(&ran));
}

#[test]
fn workers_and_a_coordinator_that_dies_between_passes_keep_to_the_bit_rate() {
    let place = Place::new();
    let input = film(&place);
    let args = ["--workers", "0", "--lease-seconds", "5"];
    let server = Server::start(&place, &args);
    let _workers = [server.worker(&place, "anna", &[]), server.worker(&place, "bert", &[])];
    server.workers(&place, 2);
    let settings = ["--chunk-seconds", "1", "--bitrate", "300k", "--set", "speed=superfast"];
    let id = server.submit(&place, &input, &settings);
    wait_for("the second pass", || {
        let pass = server.job(&place, &id)["size"]["pass"].as_u64();
        (pass >= Some(2)).then_some(())
    });
    let server = server.crash_and_restart(&place, &args, &[]);
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    let size = &job["size"];
    assert_eq!((&size["aim"], &size["bits"]), (&"bitrate".into(), &300_000.into()), "{size}");
    let off = size["reached_bits"].as_f64().unwrap() / BITS - 1.0;
    assert!(off.abs() < 0.05, "{size}");
    let coded = |chunk: &&Value| {
        let coded = &chunk["coded"];
        (coded["crf"].as_f64().unwrap(), coded["bytes"].as_u64().unwrap())
    };
    let made: Vec<(f64, u64)> = chunks(&job).iter().map(coded).collect();
    let low = size["crf_low"].as_f64().unwrap();
    let high = size["crf_high"].as_f64().unwrap();
    assert!(low > 21.0 && high - low <= 1.0 + 1e-9, "{size}");
    assert!(made.iter().all(|(crf, _)| (low..=high).contains(crf)), "{made:?}");
    let (least, most) = (made.iter().min_by_key(|it| it.1), made.iter().max_by_key(|it| it.1));
    assert!(most.unwrap().1 > 5 * least.unwrap().1, "{made:?}");
    let output = place.path("out.mkv");
    server.client(&place, &["fetch", &id, "-o", output.to_str().unwrap()]).ok();
    assert!((bits(&output) / BITS - 1.0).abs() < 0.05);
    assert_eq!(probe(&output)["streams"].as_array().unwrap().len(), 1);
    let status = server.client(&place, &["status", &id]).ok().out;
    assert!(status.contains("size      300 kb/s of picture aimed at; pass "), "{status}");
}

#[test]
fn sizes_that_make_no_sense_are_refused_at_once() {
    let place = Place::new();
    film(&place);
    let refused = |args: &[&str], words: &[&str]| {
        let mut command = place.reelmill();
        command.args(["convert", "film.mkv", "-o", "out.mkv"]).args(args);
        Ran::of(&mut command).refused(2, words);
    };
    refused(&["--bitrate", "1M", "--set", "max_size=1GB"], &["exclude each other"]);
    refused(&["--bitrate", "fast"], &["'fast' does not begin with a number"]);
    refused(&["--preset", "lossless", "--max-size", "1MB"], &["has no rate factor"]);
    assert_eq!(place.names(), ["film.mkv"]);
}
