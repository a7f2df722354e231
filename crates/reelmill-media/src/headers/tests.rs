//! Both ways of looking give the same facts, and no damage breaks the quick one.

mod made;

use super::*;
use crate::fixture;
use crate::probe::probe;
use crate::tools::Tools;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// The folder of real media; says so where there is none.
fn corpus() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("REELMILL_TEST_MEDIA") {
        return Some(folder.into());
    }
    if let Some(list) = std::env::var_os("REELMILL_NOT_RUN") {
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(list, "NOT RUN: headers of real media (REELMILL_TEST_MEDIA is not set)").unwrap();
    }
    None
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

async fn tool_facts(tools: &Tools, path: &Path) -> Result<Facts, String> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_owned();
    let media = probe(tools, path, &CancellationToken::new()).await.map_err(|f| f.message)?;
    Ok(Facts::of(&media, &extension))
}

/// The tool's facts without what only later pictures tell: more levels of metadata.
fn as_first_pictures_tell(mut tool: Facts, quick: &Facts) -> Facts {
    let dolby = |facts: &Facts| facts.video.as_ref()?.dolby_vision.clone();
    if let (Some(first), Some(video)) = (dolby(quick), &mut tool.video)
        && let Some(all) = &mut video.dolby_vision
        && first.levels.iter().all(|level| all.levels.contains(level))
    {
        all.levels = first.levels;
    }
    tool
}

/// What differs, field by field.
fn differences(quick: &Facts, tool: &Facts) -> Vec<String> {
    let (quick, tool) = (serde_json::to_value(quick).unwrap(), serde_json::to_value(tool).unwrap());
    let (quick, tool) = (quick.as_object().unwrap(), tool.as_object().unwrap());
    let keys: std::collections::BTreeSet<_> = quick.keys().chain(tool.keys()).collect();
    keys.into_iter()
        .filter(|key| quick.get(*key) != tool.get(*key))
        .map(|key| format!("{key}: {:?} but the tool says {:?}", quick.get(key), tool.get(key)))
        .collect()
}

#[tokio::test]
async fn both_ways_give_the_same_facts_of_every_real_file() {
    let Some(folder) = corpus() else { return };
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let tools = fixture::tools().await;
    let (mut sure, mut wrong) = (0, String::new());
    for path in paths {
        let name = path.strip_prefix(&folder).unwrap().display();
        let Headers::Facts(quick) = read(&path).unwrap() else {
            let Headers::Unsure(reason) = read(&path).unwrap() else { unreachable!() };
            println!("{name:<70} ask the tool: {reason}");
            continue;
        };
        if quick.kind == MediaKind::Image {
            println!("{name:<70} still picture: {quick:?}");
            continue;
        }
        sure += 1;
        let differences = match tool_facts(&tools, &path).await {
            Ok(tool) => differences(&quick, &as_first_pictures_tell(tool, &quick)),
            Err(message) => vec![format!("the tool says: {message}")],
        };
        println!("{name:<70} {}", if differences.is_empty() { "same" } else { "DIFFERENT" });
        for difference in differences {
            writeln!(wrong, "{name}: {difference}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(sure > 60, "the quick way answered for {sure} files only");
}

/// A film with everything that the quick way reads, in both containers.
async fn samples(dir: &Path) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (name, options) in [
        ("a.mkv", "-c:a ac3 -metadata:s:a:0 language=ger"),
        ("b.mp4", ""),
        ("c.mov", "-movflags +faststart"),
        ("d.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
        ("e.mkv", "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a flac"),
        ("f.mkv", "-metadata REELMILL=us -metadata:s:v:0 ENCODED_BY=reelmill:x"),
        ("g.mkv", "-metadata:s:v:0 REELMILL=them"),
        ("h.mp4", "-metadata keywords=a,reelmill:hevc"),
        ("i.avi", "-c:v mpeg4 -c:a libmp3lame"),
        ("j.avi", "-bf 0 -c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le"),
    ] {
        let path = fixture::film(dir, name, 1, options).await;
        samples.push(std::fs::read(path).unwrap());
    }
    samples
}

#[tokio::test]
async fn made_files_are_answered_for_without_the_tool() {
    let dir = tempfile::tempdir().unwrap();
    samples(dir.path()).await;
    let tools = fixture::tools().await;
    for name in ["a.mkv", "b.mp4", "c.mov", "d.webm", "e.mkv", "f.mkv", "g.mkv", "h.mp4", "i.avi"] {
        let path = dir.path().join(name);
        let Headers::Facts(quick) = read(&path).unwrap() else {
            panic!("{name}: {:?}", read(&path).unwrap());
        };
        assert_eq!(
            differences(&quick, &tool_facts(&tools, &path).await.unwrap()),
            Vec::<String>::new()
        );
    }
    let Headers::Facts(facts) = read(&dir.path().join("a.mkv")).unwrap() else { panic!() };
    assert_eq!(facts.audio[0].language.as_deref(), Some("ger"));
    for (name, mark) in [("f.mkv", Some("us")), ("g.mkv", None), ("h.mp4", Some("reelmill:hevc"))] {
        let Headers::Facts(facts) = read(&dir.path().join(name)).unwrap() else { panic!() };
        assert_eq!(facts.made_by.as_deref(), mark, "{name}");
    }
}

/// Damaged bytes as a file.
fn look_at(bytes: &[u8]) -> Headers {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    of_open(file, bytes.len() as u64, "mkv").unwrap()
}

#[test]
fn no_damage_makes_it_fail_or_run_away() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut samples = runtime.block_on(samples(dir.path()));
    for (name, options) in [("k.ts", ""), ("l.m2ts", "-c:v mpeg2video -c:a ac3")] {
        let path = runtime.block_on(fixture::film(dir.path(), name, 1, options));
        samples.push(std::fs::read(path).unwrap());
    }
    if let Some(folder) = corpus() {
        let mut paths = Vec::new();
        files(&folder, &mut paths);
        let small = |path: &PathBuf| std::fs::metadata(path).unwrap().len() < 200_000;
        samples.extend(paths.iter().filter(|p| small(p)).map(|p| std::fs::read(p).unwrap()));
    }
    let long = std::env::var_os("REELMILL_TEST_LONG").is_some();
    let cases = if long { 200_000 } else { 3000 };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    // Most of what is read lies in the first and last bytes.
    let place = prop_oneof![3 => 0usize..2000, 1 => any::<usize>()];
    let change =
        (place, prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x80), Just(1)], 1usize..9);
    let input = (
        any::<prop::sample::Index>(),
        prop::collection::vec(change, 1..12),
        any::<Option<usize>>(),
    );
    let test = runner.run(&input, |(which, changes, cut)| {
        let mut bytes = which.get(&samples).clone();
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len() + 1);
        }
        for (at, value, run) in changes {
            let (len, at) = (bytes.len(), at % bytes.len());
            bytes[at..(at + run).min(len)].fill(value);
        }
        look_at(&bytes);
        Ok(())
    });
    test.unwrap();
}

#[test]
fn a_file_cut_short_is_never_answered_for() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for bytes in runtime.block_on(samples(dir.path())) {
        for cut in [1, 100, bytes.len() / 3, bytes.len() - 8] {
            let left = &bytes[..bytes.len() - cut];
            assert!(matches!(look_at(left), Headers::Unsure(_)), "{cut} bytes less");
        }
    }
}

#[test]
fn fractions_are_reduced_as_ffmpeg_does() {
    assert_eq!(reduce(1_000_000_000, 41_708_333, 30_000), (24_000, 1001));
    assert_eq!(reduce(1_000_000_000, 40_000_000, 30_000), (25, 1));
    assert_eq!(reduce(0, 5, 100), (0, 1));
}
