//! Every planted damage is found, and the complaint names it.

use crate::convert::{Conversion, preset};
use crate::fixture::{ffmpeg, film, film_with_sound, rich_film};
use reelmill_core::container::Container;
use reelmill_core::plan::Cut;
use tempfile::TempDir;

/// A good conversion in four chunks with encoded audio.
async fn good(dir: &TempDir) -> Conversion {
    let source = film_with_sound(dir.path(), "film.mkv", 8, "").await;
    let preset = preset("h264", &["speed=veryfast", "audio.mode=encode"]);
    let made = Conversion::run(&source, &preset, Container::Mkv, 2.0).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    assert_eq!(made.parts.len(), 4);
    made
}

/// The complaint about an output that must not pass.
async fn complaint(made: &Conversion) -> String {
    let verdict = made.verify().await.unwrap();
    assert!(!verdict.passed(), "nobody noticed");
    verdict.complaint()
}

#[tokio::test]
async fn a_missing_chunk() {
    let dir = TempDir::new().unwrap();
    let mut made = good(&dir).await;
    let (plan, parts) = (made.plan.clone(), made.parts.clone());
    if let Cut::Chunks { chunks } = &mut made.plan.video.cut {
        chunks.remove(2);
    }
    made.parts.remove(2);
    made.stitch().await.unwrap();
    (made.plan, made.parts) = (plan, parts);
    assert!(complaint(&made).await.contains("frames: 200 planned, 150 found"));
}

#[tokio::test]
async fn swapped_chunks() {
    let dir = TempDir::new().unwrap();
    let mut made = good(&dir).await;
    made.parts.swap(1, 2);
    made.stitch().await.unwrap();
    let unaware = complaint(&made).await;
    assert!(unaware.contains("picture: chunk"), "{unaware}");
    made.parts.swap(1, 2);
    let aware = complaint(&made).await;
    assert!(aware.contains("chunk order: chunk 1"), "{aware}");
}

#[tokio::test]
async fn a_chunk_from_elsewhere_in_the_film() {
    let dir = TempDir::new().unwrap();
    let mut made = good(&dir).await;
    std::fs::copy(&made.parts[1], &made.parts[3]).unwrap();
    made.stitch().await.unwrap();
    let found = complaint(&made).await;
    assert!(found.contains("picture: chunk 3"), "{found}");
}

#[tokio::test]
async fn a_chunk_of_another_encoder() {
    let dir = TempDir::new().unwrap();
    let mut made = good(&dir).await;
    let other = preset("h264", &["speed=ultrafast", "audio.mode=encode"]);
    let theirs = Conversion::encode(&made.source, &other, Container::Mkv, 2.0).await.unwrap();
    std::fs::copy(&theirs.parts[1], &made.parts[1]).unwrap();
    made.digests[1].clone_from(&theirs.digests[1]);
    made.stitch().await.unwrap();
    let found = complaint(&made).await;
    assert!(found.contains("parameter sets: chunk 1"), "{found}");
}

#[tokio::test]
async fn audio_that_ends_early_or_moved() {
    let dir = TempDir::new().unwrap();
    let mut made = good(&dir).await;
    for (options, words) in [("-t 17", "ends -"), ("-itsoffset 0.1", "starts +")] {
        let (before, after) =
            if options.starts_with("-t ") { ("", options) } else { (options, "") };
        let args = format!("-copyts {before} -i audio.nut -c copy {after} changed.nut");
        ffmpeg(made.dir.path(), &args).await;
        made.audio = Some(made.dir.path().join("changed.nut"));
        made.stitch().await.unwrap();
        let found = complaint(&made).await;
        assert!(found.contains("audio 0:") && found.contains(words), "{found}");
    }
}

#[tokio::test]
async fn bytes_changed_after_stitching() {
    let dir = TempDir::new().unwrap();
    let source = film(dir.path(), "silent.mkv", 6, "").await;
    let preset = preset("h264", &["speed=veryfast"]);
    let made = Conversion::run(&source, &preset, Container::Mkv, 2.0).await.unwrap();
    let mut bytes = std::fs::read(&made.out).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&made.out, bytes).unwrap();
    let found = complaint(&made).await;
    assert!(found.contains("chunk order: chunk"), "{found}");
}

#[tokio::test]
async fn lost_tracks_and_tags() {
    let dir = TempDir::new().unwrap();
    let source = rich_film(dir.path()).await;
    let preset = preset("h264", &["speed=ultrafast"]);
    let mut made = Conversion::run(&source, &preset, Container::Mkv, 1.5).await.unwrap();
    let good = made.out.clone();
    let keep = "-copyts -i out.mkv -map 0 -c copy -default_mode passthrough \
                -avoid_negative_ts disabled";
    for (change, words) in [
        ("-map -0:s:1", "subtitles tracks: 1 instead of 2"),
        ("-map -0:a:1", "audio tracks: 1 instead of 2"),
        ("-map -0:t", "attachments:"),
        ("-map_chapters -1", "chapters: 0 instead of 2"),
        ("-metadata:s:a:1 language=ita", "its language is ita instead of deu"),
        ("-metadata:s:a:0 title=Other", "its title is Other instead of Main"),
        ("-disposition:s:0 default", "it is marked"),
    ] {
        ffmpeg(made.dir.path(), &format!("{keep} {change} changed.mkv")).await;
        made.out = made.dir.path().join("changed.mkv");
        let found = complaint(&made).await;
        assert!(found.contains(words), "{change}: {found}");
    }
    made.out = good;
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
}
