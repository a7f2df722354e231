//! All files of a media collection, when one is named.
//!
//! `REELMILL_TEST_MEDIA` names its folder, `REELMILL_TEST_ONLY` a part of the
//! paths wanted, `REELMILL_TEST_SET` settings other than lossless ones, and
//! `REELMILL_TEST_SECONDS` the length of chunks.

use crate::convert::{Conversion, preset};
use reelmill_core::container::Container;
use reelmill_core::preset::Preset;
use std::path::{Path, PathBuf};
use std::time::Instant;

const CATEGORIES: &[&str] =
    &["container", "timing", "interlace_gop", "geometry", "tracks", "bench"];

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("REELMILL_TEST_{name}")).ok()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let wanted = setting("ONLY").unwrap_or_default();
    let mut files = Vec::new();
    for category in CATEGORIES {
        let entries = std::fs::read_dir(root.join(category)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.to_string_lossy().contains(&wanted));
    files.sort();
    files
}

/// Long or large files get long chunks, or a run would take hours.
fn chunk_seconds(file: &Path) -> f64 {
    let large = std::fs::metadata(file).is_ok_and(|meta| meta.len() > 6_000_000);
    let name = file.to_string_lossy();
    let long = ["long_1080p", "movie_300"].iter().any(|part| name.contains(part));
    let usual = if long {
        60.0
    } else if large {
        10.0
    } else {
        2.0
    };
    setting("SECONDS").and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn chosen_preset() -> (Preset, bool) {
    match setting("SET") {
        Some(set) => (preset("h264", &set.split_whitespace().collect::<Vec<_>>()), false),
        None => (preset("h264", &["crf=0", "speed=ultrafast"]), true),
    }
}

/// Whether the output is right, and what became of the file, in words.
async fn outcome(file: &Path, container: Container) -> (bool, String) {
    let (preset, lossless) = chosen_preset();
    let begun = Instant::now();
    let made = match Conversion::run(file, &preset, container, chunk_seconds(file)).await {
        Ok(made) => made,
        Err(failure) => {
            let (label, tail) = (failure.class.label(), failure.tail);
            return (false, format!("refused ({label}): {} {tail:?}", failure.message));
        }
    };
    let encoded = begun.elapsed().as_secs_f64();
    let way = match made.plan.whole_reason() {
        Some(reason) => format!("whole ({reason})"),
        None => format!("{} chunks", made.parts.len()),
    };
    let begun = Instant::now();
    let verdict = made.verify().await;
    let verified = begun.elapsed().as_secs_f64();
    // x264 is not lossless at any rate factor with more than eight bits.
    let exact = lossless && !made.plan.video.encode.pixel_format.contains("10");
    let judged = made.judge(exact).await;
    let good = judged.is_ok() && verdict.as_ref().is_ok_and(|verdict| verdict.passed());
    let verdict = match verdict {
        Err(failure) => format!("cannot verify: {failure} {:?}", failure.tail),
        Ok(verdict) if verdict.passed() => "verified".into(),
        Ok(verdict) => verdict.complaint(),
    };
    let judged = match judged {
        Ok(frames) if exact => format!("{frames} frames exact"),
        Ok(frames) => format!("{frames} frames in time"),
        Err(why) => format!("JUDGED WRONG: {why}"),
    };
    (good, format!("{way}; {judged}; {verdict} [{encoded:.1} s, {verified:.1} s]"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a media collection in REELMILL_TEST_MEDIA and many minutes"]
async fn every_file_is_right_or_refused() {
    let Some(root) = setting("MEDIA") else { return };
    let mut wrong = Vec::new();
    for file in files(Path::new(&root)) {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        for container in [Container::Mkv, Container::Mp4] {
            let (good, words) = outcome(&file, container).await;
            let mark = if good { "ok  " } else { "FAIL" };
            println!("{mark} {name} {container}: {words}");
            if !good && !words.starts_with("refused") {
                wrong.push(format!("{name} {container}: {words}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
