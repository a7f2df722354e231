//! Every real file we have, through cut, encode, stitch and verify, judged by
//! an independent decode.

use super::judge::{Decoded, decode, same_frames};
use super::support::{Place, Ran, long, media};
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;

/// What the manifest says of a file.
struct Entry {
    file: String,
    clean: bool,
}

const CATEGORIES: [&str; 6] =
    ["bench", "container", "timing", "interlace_gop", "geometry", "tracks"];

/// Longer files are left to the long run, seconds; and of those that are there for
/// their length or size, what has more pixels in all its frames.
const SHORT: f64 = 20.0;
const PIXELS: u64 = 150_000_000;
const PLAIN: [&str; 2] = ["bench", "geometry"];

fn manifest(folder: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut rows = text.lines();
    let header: Vec<&str> = rows.next().unwrap().split('\t').collect();
    let column = |name: &str| header.iter().position(|have| *have == name).unwrap();
    let (file, duration, streams, verdict) =
        (column("file"), column("duration_s"), column("streams"), column("decode"));
    let frames = column("video_frames_decoded_vs_packets");
    let small = |row: &[&str]| {
        let plain = PLAIN.iter().any(|category| row[file].starts_with(category));
        !plain || pixels(row[streams], row[frames]) <= PIXELS
    };
    rows.map(|row| row.split('\t').collect::<Vec<_>>())
        .filter(|row| CATEGORIES.iter().any(|c| row[file].starts_with(&format!("{c}/"))))
        .filter(|row| row[streams].contains(":v:"))
        .filter(|row| {
            long() || row[duration].parse::<f64>().is_ok_and(|d| d <= SHORT) && small(row)
        })
        .map(|row| Entry { file: row[file].to_owned(), clean: row[verdict] == "ok" })
        .collect()
}

/// Pixels of all frames of the first picture in `streams`, of which `frames` (decoded/in
/// packets) were counted; 0 where the manifest does not tell.
fn pixels(streams: &str, frames: &str) -> u64 {
    let size = |word: &str| {
        let (width, height) = word.split_once('x')?;
        Some(width.parse::<u64>().ok()? * height.parse::<u64>().ok()?)
    };
    let one = streams.split_whitespace().find_map(size).unwrap_or(0);
    let count = frames.split('/').next().and_then(|count| count.parse::<u64>().ok());
    one * count.unwrap_or(0)
}

/// Files whose pixels cannot equal those of a plain decode, and why; their
/// frames and times must.
const OTHER_PIXELS: [(&str, &str); 2] = [
    ("container/VID_0001.ogv", "the decoder gives 364 columns of a picture of 360"),
    ("geometry/resolution-change.webm", "its size changes; frames are scaled to the first"),
];

/// Converts one file; yields a row of the table, or what is wrong.
fn judge(input: &Path, source: &Decoded, format: &str, chunk: &str) -> Result<String, String> {
    let place = Place::new();
    let output = place.path(&format!("out.{format}"));
    let mut command = place.reelmill();
    command.arg("convert").arg(input).arg("-o").arg(&output);
    let preset = if format == "mkv" { "lossless" } else { "h264" };
    command.args(["--preset", preset, "--chunk-seconds", chunk, "--json"]);
    command.args(["--set", "dolby_vision=drop", "--set", "hdr10plus=drop"]);
    if preset == "h264" {
        command.args(["--set", "speed=ultrafast", "--set", "crf=20"]);
    }
    let ran = Ran::of(&mut command);
    if ran.code != 0 {
        let told = ran.events().pop().unwrap_or_default();
        let message = told["failure"]["message"].as_str().unwrap_or("no message").to_owned();
        return match ran.code {
            3 => Ok(format!("refused: {message}")),
            code => Err(format!("exit {code}: {message} {}", ran.err)),
        };
    }
    let events = ran.events();
    let planned: Vec<_> = events.iter().filter(|e| e["event"] == "planned").collect();
    let chunks = planned.last().map_or(1, |e| e["chunks"].as_u64().unwrap_or(1));
    let whole = planned.last().and_then(|e| e["whole_reason"].as_str().map(str::to_owned));
    let tolerance = if format == "mkv" { 0.001 } else { 0.000_02 };
    let output = decode(&output, None);
    let (source, output) = (relative(source), relative(&output));
    let excepted = OTHER_PIXELS.iter().any(|(file, _)| input.ends_with(file));
    same_frames(&source, &output, tolerance, preset == "lossless" && !excepted)?;
    let how = whole.map_or(format!("{chunks} chunks"), |reason| format!("whole: {reason}"));
    Ok(format!("exact, {} frames, {how}", source.frames.len()))
}

/// Times relative to the first frame: where a container's clock starts differs.
fn relative(decoded: &Decoded) -> Decoded {
    let first = decoded.frames.first().map_or(0.0, |frame| frame.time);
    let frames = decoded.frames.iter().cloned();
    let frames = frames.map(|mut frame| {
        frame.time -= first;
        frame
    });
    Decoded { frames: frames.collect(), errors: decoded.errors }
}

#[test]
fn every_real_file_is_exact_or_refused_with_a_reason() {
    let Some(folder) = media("the media corpus") else { return };
    let lengths: &[&str] = if long() { &["5", "2"] } else { &["2"] };
    let formats: &[&str] = if long() { &["mkv", "mp4"] } else { &["mkv"] };
    let entries = Mutex::new(manifest(&folder).into_iter());
    let told = Mutex::new((0, String::new()));
    let one = || {
        while let Some(entry) = next(&entries) {
            let input = folder.join(&entry.file);
            assert!(input.is_file(), "{} is missing", input.display());
            let source = decode(&input, None);
            for (format, chunk) in formats.iter().flat_map(|f| lengths.iter().map(move |l| (f, l)))
            {
                let row = judge(&input, &source, format, chunk);
                let text = row.clone().unwrap_or_else(|why| format!("WRONG: {why}"));
                println!("{:<60} {format} {chunk}s  {text}", entry.file);
                let refused = row.as_ref().is_ok_and(|text| text.starts_with("refused"));
                let (rows, wrong) = &mut *told.lock().unwrap();
                *rows += 1;
                if row.is_err() || (refused && entry.clean && source.errors == 0) {
                    writeln!(wrong, "{} {format} {chunk}s: {text}", entry.file).unwrap();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..at_once()).map(|_| scope.spawn(one)).collect();
        one();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    let (rows, wrong) = told.into_inner().unwrap();
    assert!(rows > 50, "the manifest lists more files than {rows}");
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn next(entries: &Mutex<std::vec::IntoIter<Entry>>) -> Option<Entry> {
    entries.lock().unwrap().next()
}

/// Files converted beside each other: short ones leave most cores of a large machine idle.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}
