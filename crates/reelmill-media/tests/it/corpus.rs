//! All files of a media collection, when one is named.

use crate::convert::{Conversion, preset};
use reelmill_core::container::Container;
use std::path::{Path, PathBuf};
use std::time::Instant;

const CATEGORIES: &[&str] =
    &["container", "timing", "interlace_gop", "geometry", "tracks", "bench"];

fn files(root: &Path) -> Vec<PathBuf> {
    let wanted = std::env::var("REELMILL_TEST_ONLY").unwrap_or_default();
    let mut files = Vec::new();
    for category in CATEGORIES {
        let entries = std::fs::read_dir(root.join(category)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.to_string_lossy().contains(&wanted));
    files.sort();
    files
}

/// What became of a file, in words.
async fn outcome(file: &Path, container: Container) -> (bool, String) {
    let preset = preset("h264", &["crf=0", "speed=ultrafast"]);
    let begun = Instant::now();
    let big = std::fs::metadata(file).is_ok_and(|meta| meta.len() > 6_000_000);
    let long = ["long_1080p", "movie_300"].iter().any(|name| file.to_string_lossy().contains(name));
    let seconds = if long {
        60.0
    } else if big {
        10.0
    } else {
        2.0
    };
    let made = match Conversion::run(file, &preset, container, seconds).await {
        Ok(made) => made,
        Err(failure) => {
            return (
                false,
                format!(
                    "refused ({}): {} {:?}",
                    failure.class.label(),
                    failure.message,
                    failure.tail
                ),
            );
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
    let judged = made.judge().await;
    let good = judged.is_ok() && verdict.as_ref().is_ok_and(|v| v.passed());
    let verdict = verdict.map_or_else(
        |f| format!("cannot verify: {f} {:?}", f.tail),
        |v| if v.passed() { "verified".into() } else { v.complaint() },
    );
    let judged =
        judged.map_or_else(|why| format!("JUDGED WRONG: {why}"), |n| format!("{n} frames exact"));
    let cover = if made.encodes() { "audio encoded" } else { "" };
    (good, format!("{way}; {judged}; {verdict}; {cover} [{encoded:.1} s, {verified:.1} s]"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a media collection in REELMILL_TEST_MEDIA and many minutes"]
async fn every_file_is_right_or_refused() {
    let Ok(root) = std::env::var("REELMILL_TEST_MEDIA") else { return };
    let mut wrong = Vec::new();
    for file in files(Path::new(&root)) {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        for container in [Container::Mkv, Container::Mp4] {
            let (good, words) = outcome(&file, container).await;
            println!("{} {name} {container}: {words}", if good { "ok  " } else { "FAIL" });
            if !good {
                wrong.push(format!("{name} {container}"));
            }
        }
    }
    println!("{} not exact: {wrong:#?}", wrong.len());
}
