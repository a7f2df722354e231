//! Each category of real media with its sensible presets: a verified output, or
//! a refusal that names the cause; nothing else, and nothing left behind.

use super::judge::decode;
use super::support::{Place, Ran, long, media};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of the media, and the outputs and settings to try on its files.
struct Row {
    category: &'static str,
    ways: &'static [(&'static str, &'static [&'static str])],
}

const FILM: &[(&str, &[&str])] = &[
    ("mkv", &["--preset", "h264", "--set", "speed=ultrafast", "--chunk-seconds", "4"]),
    ("mp4", &["--preset", "h264", "--set", "speed=ultrafast", "--chunk-seconds", "4"]),
    ("webm", &["--preset", "vp9", "--set", "speed=8", "--height", "90"]),
];
const SOUND: &[(&str, &[&str])] = &[
    ("m4a", &["--preset", "aac"]),
    ("opus", &["--preset", "opus"]),
    ("flac", &["--preset", "flac"]),
    ("mp3", &["--preset", "mp3"]),
    ("mka", &["--preset", "audio"]),
];

const ROWS: [Row; 12] = [
    Row { category: "container", ways: FILM },
    Row { category: "timing", ways: FILM },
    Row { category: "interlace_gop", ways: FILM },
    Row { category: "geometry", ways: FILM },
    Row { category: "tracks", ways: FILM },
    Row { category: "hdr", ways: FILM },
    Row { category: "pixfmt", ways: FILM },
    Row { category: "raw_es", ways: FILM },
    Row { category: "broken", ways: FILM },
    Row { category: "misnamed", ways: FILM },
    Row { category: "names", ways: FILM },
    Row { category: "audio", ways: SOUND },
];

/// Files larger than this are left to the long run, bytes; of each category the
/// short run takes one.
const SMALL: u64 = 60_000;

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    if !long() {
        files.retain(|file| file.metadata().unwrap().len() < SMALL);
        files.truncate(1);
    }
    files
}

/// Converts one file; whether there is an output, or why not.
fn one(input: &Path, format: &str, args: &[&str]) -> Result<Option<String>, String> {
    let place = Place::new();
    let output = place.path(&format!("out.{format}"));
    let mut command = place.reelmill();
    command.arg("convert").arg("-o").arg(&output).args(args).arg("--").arg(input);
    let ran = Ran::of(&mut command);
    if !place.leftovers().is_empty() && ran.code != 130 {
        return Err(format!("left {:?}", place.leftovers()));
    }
    match ran.code {
        0 if FILM.iter().any(|(film, _)| *film == format) => {
            let (source, made) = (decode(input, None), decode(&output, None));
            let (want, have) = (source.frames.len(), made.frames.len());
            // Sound that is copied keeps the source's own damage.
            if made.errors > source.errors || (want != have && source.errors == 0) {
                return Err(format!("{have} frames of {want}, {} errors", made.errors));
            }
            Ok(None)
        }
        0 => Ok(None),
        1 | 3 => {
            let mut lines = ran.err.lines().skip_while(|line| line.starts_with("note: "));
            let line = lines.next().unwrap_or_default().to_owned();
            let told = line.starts_with("error: ") && ran.err.matches("error:").count() == 1;
            let clean = !ran.err.contains("panicked") && !output.exists();
            if told && clean { Ok(Some(line)) } else { Err(ran.err) }
        }
        code => Err(format!("exit {code}: {}", ran.err)),
    }
}

#[test]
fn every_category_is_converted_or_refused_with_the_cause() {
    let Some(folder) = media("the matrix of media and presets") else { return };
    let mut table: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in &ROWS {
        for file in files(&folder.join(row.category)) {
            for (format, args) in row.ways {
                let shown = file.strip_prefix(&folder).unwrap().display().to_string();
                let count = table.entry((row.category, format)).or_default();
                match one(&file, format, args) {
                    Ok(None) => count[0] += 1,
                    Ok(Some(why)) => {
                        count[1] += 1;
                        println!("{shown} {format}: {why}");
                    }
                    Err(why) => wrong.push(format!("{shown} {format}: {why}")),
                }
            }
        }
    }
    println!("{:<14} {:<5} {:>9} {:>8}", "category", "to", "converted", "refused");
    for ((category, format), [converted, refused]) in &table {
        println!("{category:<14} {format:<5} {converted:>9} {refused:>8}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(table.values().map(|row| row[0]).sum::<usize>() >= ROWS.len());
}
