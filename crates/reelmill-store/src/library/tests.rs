//! Tests of the scan cache.

use super::*;
use reelmill_core::facts::{AudioFacts, Chroma, MediaKind, SubtitleFacts, VideoFacts};
use reelmill_core::media::Hdr;

fn film(path: &[u8], hdr: Hdr) -> LibraryFile {
    LibraryFile {
        path: path.to_vec(),
        size: 7,
        mtime: 1_700_000_000_123_456_789,
        digest: vec![1; 16],
        facts: Ok(Facts {
            kind: MediaKind::Video,
            container: "mkv".into(),
            duration_ms: Some(61_000),
            video: Some(VideoFacts {
                codec: "hevc".into(),
                width: 1920,
                height: 1080,
                rotation: 90,
                fps_milli: Some(23_976),
                bit_depth: 10,
                chroma: Chroma::C420,
                hdr,
            }),
            audio: vec![AudioFacts {
                codec: "aac".into(),
                channels: 2,
                sample_rate: 48_000,
                language: Some("ger".into()),
            }],
            subtitles: vec![SubtitleFacts { codec: "subrip".into(), language: None }],
            made_by: None,
        }),
    }
}

async fn filled() -> (tempfile::TempDir, LibraryStore, i64) {
    let dir = tempfile::tempdir().unwrap();
    let store = LibraryStore::open(&dir.path().join("library.db")).await.unwrap();
    let library = store.library("one", b"/films").await.unwrap();
    let broken = LibraryFile { facts: Err("cut short".into()), ..film(b"broken.mkv", Hdr::None) };
    let files = [film(b"A/Sun\xff.mkv", Hdr::Hdr10), film(b"B/Moon.mkv", Hdr::None), broken];
    let changes: Vec<_> = files.into_iter().map(|f| FileChange::Put(Box::new(f))).collect();
    store.apply(library, &changes).await.unwrap();
    (dir, store, library)
}

#[tokio::test]
async fn files_come_back_as_they_were_put() {
    let (_dir, store, _) = filled().await;
    let found = store.find(&FileFilter::default(), 10).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].1, film(b"A/Sun\xff.mkv", Hdr::Hdr10));
    assert_eq!(found[2].1.facts, Err("cut short".into()));
    let after = FileFilter { after: found[0].0, ..FileFilter::default() };
    assert_eq!(store.find(&after, 1).await.unwrap(), found[1..2], "the next page");
}

#[tokio::test]
async fn every_filter_takes_what_it_names() {
    let (_dir, store, library) = filled().await;
    let count = async |filter: FileFilter| store.find(&filter, 10).await.unwrap().len();
    let all = FileFilter::default;
    assert_eq!(count(FileFilter { hdr: true, ..all() }).await, 1);
    assert_eq!(count(FileFilter { codec: Some("HEVC".into()), ..all() }).await, 2);
    assert_eq!(count(FileFilter { codec: Some("aac".into()), ..all() }).await, 2);
    assert_eq!(count(FileFilter { codec: Some("aa".into()), ..all() }).await, 0);
    assert_eq!(count(FileFilter { resolution: Some((1920, 1080)), ..all() }).await, 2);
    assert_eq!(count(FileFilter { audio_language: Some("ger".into()), ..all() }).await, 2);
    assert_eq!(count(FileFilter { audio_language: Some("er".into()), ..all() }).await, 0);
    assert_eq!(count(FileFilter { search: Some("MOON".into()), ..all() }).await, 1);
    assert_eq!(count(FileFilter { failed: true, ..all() }).await, 1);
    assert_eq!(count(FileFilter { library: Some(library + 1), ..all() }).await, 0);
    let stats = store.stats(&all()).await.unwrap();
    let hevc = LibraryStats { sort: "hevc".into(), files: 2, bytes: 14, duration_ms: 122_000 };
    assert_eq!(stats[0], hevc);
    assert_eq!(stats[1].sort, "unreadable");
}

#[tokio::test]
async fn moved_files_keep_their_row_and_gone_ones_are_hidden() {
    let (_dir, store, library) = filled().await;
    let known = store.known(library).await.unwrap();
    let changes = [
        FileChange::Gone(known[1].id, 5),
        FileChange::Moved(known[0].id, b"B/Moon.mkv".to_vec(), 9),
    ];
    store.apply(library, &changes).await.unwrap();
    let left = store.known(library).await.unwrap();
    assert_eq!(left.len(), 2, "the gone row gave up its name");
    assert_eq!(
        (left[0].id, left[0].path.as_slice(), left[0].mtime),
        (known[0].id, &b"B/Moon.mkv"[..], 9)
    );
    store.apply(library, &[FileChange::Gone(known[0].id, 5)]).await.unwrap();
    assert_eq!(store.find(&FileFilter::default(), 10).await.unwrap().len(), 1);
    assert_eq!(store.seen_at(b"/films").await.unwrap(), Some(("one".into(), 1)));
}
