//! Tests of the scan cache.

use super::*;
use proptest::prelude::*;
use reelmill_core::dolby::EnhancementLayer;
use reelmill_core::facts::{AudioFacts, Chroma, DolbyFacts, MediaKind, SubtitleFacts, VideoFacts};
use reelmill_core::library::outcome::Past;
use reelmill_core::library::rules::{Answer, Rules, Subject, Verdict};
use reelmill_core::media::Hdr;
use reelmill_core::time::Timestamp;

fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
        None => (Vec::new(), path.to_vec()),
    }
}

pub(super) fn film(path: &[u8], hdr: Hdr) -> LibraryFile {
    let (folder, name) = split(path);
    LibraryFile {
        folder,
        name,
        size: 7,
        mtime: 1_700_000_000_123_456_789,
        digest: u64::MAX - 5,
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
                dolby_vision: (hdr == Hdr::DolbyVision).then(|| DolbyFacts {
                    profile: 7,
                    layer: Some(EnhancementLayer::Fel),
                    levels: vec![1, 5, 11],
                }),
                hdr10plus: Some(hdr == Hdr::Hdr10),
            }),
            audio: vec![AudioFacts {
                codec: "aac".into(),
                channels: 2,
                sample_rate: 48_000,
                language: Some("ger".into()),
            }],
            subtitles: vec![SubtitleFacts { codec: "subrip".into(), language: Some("eng".into()) }],
            made_by: None,
        }),
    }
}

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn put(file: LibraryFile) -> FileChange {
    FileChange::Put(Box::new(file))
}

pub(super) async fn filled() -> (tempfile::TempDir, LibraryStore, i64) {
    let dir = tempfile::tempdir().unwrap();
    let store = LibraryStore::open(&dir.path().join("library.db")).await.unwrap();
    let library = store.library("one", b"/films").await.unwrap().id;
    let trouble = Trouble { reason: "cut short".into(), retry: false };
    let broken = LibraryFile { facts: Err(trouble), digest: 3, ..film(b"broken.mkv", Hdr::None) };
    let moon = LibraryFile { digest: 2, ..film("B/Mond über Köln.mkv".as_bytes(), Hdr::None) };
    let changes = [film(b"A/Sun\xff_1.mkv", Hdr::Hdr10), moon, broken].map(put);
    store.apply(library, &changes, NOW).await.unwrap();
    store.settle(library, Some("first")).await.unwrap();
    (dir, store, library)
}

#[tokio::test]
async fn files_come_back_as_they_were_put() {
    let (_dir, store, library) = filled().await;
    let found = store.find(&FileFilter::default(), 10).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].file, film(b"A/Sun\xff_1.mkv", Hdr::Hdr10));
    assert_eq!((found[0].library, found[0].first_seen), (library, NOW));
    assert_eq!(found[2].file.facts.as_ref().unwrap_err().reason, "cut short");
    let after = FileFilter { after: found[0].id, ..FileFilter::default() };
    assert_eq!(store.find(&after, 1).await.unwrap(), found[1..2], "the next page");
    let mut names = Vec::new();
    let tell = |file: LibraryFile| {
        names.push(file.path());
        Ok::<_, StoreError>(())
    };
    store.each(library, tell).await.unwrap();
    let moon = "B/Mond über Köln.mkv".as_bytes();
    assert_eq!(names, [&b"broken.mkv"[..], b"A/Sun\xff_1.mkv", moon], "by folder and name");
}

#[tokio::test]
async fn dolby_vision_is_found_by_profile_layer_and_levels() {
    let (_dir, store, library) = filled().await;
    let dolby = LibraryFile { digest: 9, ..film(b"C/dolby.mkv", Hdr::DolbyVision) };
    store.apply(library, &[put(dolby)], NOW).await.unwrap();
    store.settle(library, None).await.unwrap();
    let count = async |filter: FileFilter| {
        let found = store.find(&filter, 10).await.unwrap().len();
        let stats = store.stats(&filter, Group::DolbyVision).await.unwrap();
        assert_eq!(stats.iter().map(|group| group.files).sum::<u64>(), found as u64, "{filter:?}");
        found
    };
    let all = FileFilter::default;
    assert_eq!(count(FileFilter { dolby_profiles: vec![5, 7], ..all() }).await, 1);
    assert_eq!(count(FileFilter { dolby_profiles: vec![8], ..all() }).await, 0);
    let fel = vec![EnhancementLayer::Fel];
    assert_eq!(count(FileFilter { dolby_layers: fel, ..all() }).await, 1);
    let mel = vec![EnhancementLayer::Mel];
    assert_eq!(count(FileFilter { dolby_layers: mel, ..all() }).await, 0);
    assert_eq!(count(FileFilter { dolby_levels: vec![1, 11], ..all() }).await, 1);
    assert_eq!(count(FileFilter { dolby_levels: vec![1, 6], ..all() }).await, 0, "all of them");
    assert_eq!(count(FileFilter { hdr10plus: Some(true), ..all() }).await, 1);
    let stats = store.stats(&all(), Group::DolbyVision).await.unwrap();
    let sorts: Vec<_> = stats.iter().map(|group| group.sort.as_str()).collect();
    assert!(sorts.contains(&"profile 7 FEL") && sorts.contains(&"none"), "{sorts:?}");
}

#[tokio::test]
async fn a_cache_of_an_earlier_version_is_read_and_looking_again_is_no_change() {
    for count in 1..MIGRATIONS.iter().count() {
        is_read_and_looking_again_is_no_change(count).await;
    }
}

/// A cache as the first `count` migrations left it.
async fn is_read_and_looking_again_is_no_change(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("library.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let before = Migrator::with_migrations(MIGRATIONS.iter().take(count).cloned().collect());
    before.run(&pool).await.unwrap();
    let mut old = film(b"A/film.mkv", Hdr::DolbyVision);
    let video = old.facts.as_mut().unwrap().video.as_mut().unwrap();
    (video.dolby_vision, video.hdr10plus) = (None, None);
    let text = rows::to_json(&rows::shape(old.facts.as_ref().unwrap())).unwrap();
    for statement in [
        "INSERT INTO library (id, uuid, root) VALUES (1, 'one', x'2f')".to_owned(),
        "INSERT INTO folder (id, library, path) VALUES (1, 1, CAST('A' AS BLOB))".to_owned(),
        format!(
            "INSERT INTO shape (id, facts, kind, container, codec, width, height, hdr, \
                 audio_codecs, audio_languages, subtitle_languages) VALUES (1, '{text}', \
                 'video', 'mkv', 'hevc', 1920, 1080, 'dolby_vision', ' aac ', ' ger ', ' eng ')"
        ),
        format!(
            "INSERT INTO file (id, folder, name, size, mtime, digest, first_seen, shape, \
                 duration_ms, fps_milli) VALUES (1, 1, CAST('film.mkv' AS BLOB), {}, {}, {}, 0, \
                 1, 61000, 23976)",
            old.size, old.mtime, old.digest as i64
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = LibraryStore::open(&path).await.unwrap();
    let found = store.find(&FileFilter::default(), 10).await.unwrap();
    assert_eq!(found[0].file, old);
    assert!(store.ledgers(1).await.unwrap().is_empty(), "its ledgers are to be read");
    assert!(found[0].file.facts.as_ref().unwrap().outdated());
    let again = film(b"A/film.mkv", Hdr::DolbyVision);
    store.apply(1, &[put(again.clone())], NOW).await.unwrap();
    let filter = FileFilter { dolby_profiles: vec![7], ..FileFilter::default() };
    assert_eq!(store.find(&filter, 10).await.unwrap()[0].file, again);
    assert!(store.history(None, None, 10).await.unwrap().is_empty(), "it has not changed");
    let touched = LibraryFile { mtime: again.mtime + 1, ..again };
    store.apply(1, &[put(touched)], NOW).await.unwrap();
    assert_eq!(store.history(None, None, 10).await.unwrap()[0].what, "changed");
}

#[tokio::test]
async fn every_filter_takes_what_it_names() {
    let (_dir, store, library) = filled().await;
    let count = async |filter: FileFilter| {
        let found = store.find(&filter, 10).await.unwrap().len();
        let counted = store.stats(&filter, Group::Codec).await.unwrap();
        let counted: u64 = counted.iter().map(|group| group.files).sum();
        assert_eq!(found as u64, counted, "statistics agree: {filter:?}");
        found
    };
    let all = FileFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(all()).await, 3);
    assert_eq!(count(FileFilter { hdr: vec![Hdr::Hdr10, Hdr::Hlg], ..all() }).await, 1);
    assert_eq!(count(FileFilter { kinds: vec![MediaKind::Video], ..all() }).await, 2);
    assert_eq!(count(FileFilter { kinds: vec![MediaKind::Audio], ..all() }).await, 0);
    assert_eq!(count(FileFilter { codec: text("HEVC"), ..all() }).await, 2);
    assert_eq!(count(FileFilter { codec: text("aac"), ..all() }).await, 2);
    assert_eq!(count(FileFilter { codec: text("aa"), ..all() }).await, 0);
    assert_eq!(count(FileFilter { container: text("MKV"), ..all() }).await, 2);
    assert_eq!(count(FileFilter { resolution: Some((1920, 1080)), ..all() }).await, 2);
    assert_eq!(count(FileFilter { audio_language: text("GER"), ..all() }).await, 2);
    assert_eq!(count(FileFilter { audio_language: text("er"), ..all() }).await, 0);
    assert_eq!(count(FileFilter { subtitle_language: text("eng"), ..all() }).await, 2);
    assert_eq!(count(FileFilter { search: text("ÜBER kö"), ..all() }).await, 1);
    assert_eq!(count(FileFilter { search: text("b/mond"), ..all() }).await, 1);
    assert_eq!(count(FileFilter { search: text("n_1"), ..all() }).await, 0, "no wildcards");
    assert_eq!(count(FileFilter { search: text("_1"), ..all() }).await, 1, "short texts");
    assert_eq!(count(FileFilter { failed: true, ..all() }).await, 1);
    assert_eq!(count(FileFilter { library: Some(library), ..all() }).await, 3);
    assert_eq!(count(FileFilter { library: Some(library + 1), ..all() }).await, 0);
    assert_eq!(count(FileFilter { folder: Some(b"A".to_vec()), ..all() }).await, 1);
    assert_eq!(count(FileFilter { folder: Some(Vec::new()), ..all() }).await, 3);
    assert_eq!(
        count(FileFilter { answers: vec![Answer::Convert], ..all() }).await,
        0,
        "not judged yet"
    );
    let hevc = &store.stats(&all(), Group::Codec).await.unwrap()[0];
    assert_eq!(
        (hevc.sort.as_str(), hevc.files, hevc.bytes, hevc.duration_ms),
        ("hevc", 2, 14, 122_000)
    );
    let sorts = async |by| {
        store.stats(&all(), by).await.unwrap().into_iter().map(|s| s.sort).collect::<Vec<_>>()
    };
    assert_eq!(sorts(Group::Resolution).await, ["1920x1080", "unreadable"]);
    assert_eq!(sorts(Group::Hdr).await, ["hdr10", "none", "unreadable"]);
    assert_eq!(sorts(Group::Container).await, ["mkv", "unreadable"]);
}

#[tokio::test]
async fn moved_files_keep_their_row_and_gone_ones_are_hidden() {
    let (_dir, store, library) = filled().await;
    let before = store.find(&FileFilter::default(), 10).await.unwrap();
    let place = |at: usize| (before[at].file.folder.clone(), before[at].file.name.clone());
    let moon = place(1);
    let changes = [
        FileChange::Gone(moon.0.clone(), moon.1.clone()),
        FileChange::Moved { from: place(0), to: moon.clone(), mtime: 9 },
    ];
    store.apply(library, &changes, NOW).await.unwrap();
    let ahead = store.library("one", b"/films").await.unwrap();
    assert_eq!(ahead.snapshot, None, "no sidecar says the same as the rows now");
    store.settle(library, None).await.unwrap();
    let left = store.find(&FileFilter::default(), 10).await.unwrap();
    assert_eq!(left.len(), 2, "the gone row gave up its name");
    assert_eq!(
        (left[0].id, left[0].file.path(), left[0].file.mtime),
        (before[0].id, before[1].file.path(), 9)
    );
    let search = |text: &str| FileFilter { search: Some(text.into()), ..FileFilter::default() };
    assert_eq!(store.find(&search("sun"), 10).await.unwrap(), [], "its old name is forgotten");
    assert_eq!(store.find(&search("mond"), 10).await.unwrap().len(), 1);
    let history = store.history(Some(library), Some(before[0].id), 10).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(
        (history[0].what.as_str(), history[0].note.as_str()),
        ("moved", "from A/Sun\u{fffd}_1.mkv")
    );
    store.apply(library, &[FileChange::Gone(moon.0.clone(), moon.1.clone())], NOW).await.unwrap();
    assert_eq!(store.find(&FileFilter::default(), 10).await.unwrap().len(), 1);
    let gone = store.gone(library).await.unwrap();
    assert_eq!(gone, [(7, u64::MAX - 5, moon.0.clone(), moon.1.clone())]);
    let back = FileChange::Moved { from: moon.clone(), to: moon, mtime: 10 };
    store.apply(library, &[back], NOW).await.unwrap();
    let all: Vec<_> =
        store.history(None, None, 10).await.unwrap().into_iter().map(|e| e.what).collect();
    assert_eq!(all, ["moved", "gone", "back"]);
}

#[tokio::test]
async fn a_changed_file_keeps_its_row_and_is_judged_anew() {
    let (_dir, store, library) = filled().await;
    let rules = Rules::built_in().unwrap();
    let judge = |file: &FoundFile, past: &Past| {
        let path = file.file.path();
        let facts = file.file.facts.as_ref().map_err(|trouble| trouble.reason.as_str());
        let output = past.output;
        rules.judge(Subject { path: &path, size: file.file.size, facts, output }).after(past)
    };
    assert_eq!(store.judge(library, "r1", judge).await.unwrap().changed, 3);
    assert_eq!(store.judge(library, "r1", judge).await.unwrap().changed, 0);
    let old = LibraryFile { size: 1 << 40, ..film(b"A/Sun\xff_1.mkv", Hdr::None) };
    let mut facts = old.facts.clone().unwrap();
    facts.video.as_mut().unwrap().codec = "mpeg2video".into();
    let changed = LibraryFile { facts: Ok(facts), ..old };
    let before = store.find(&FileFilter::default(), 1).await.unwrap();
    store.apply(library, &[put(changed.clone())], NOW).await.unwrap();
    assert_eq!(store.judge(library, "r1", judge).await.unwrap().changed, 1, "only what changed");
    store.settle(library, None).await.unwrap();
    let wanted = FileFilter { answers: vec![Answer::Convert], ..FileFilter::default() };
    let found = store.find(&wanted, 10).await.unwrap();
    assert_eq!((found.len(), found[0].id), (1, before[0].id));
    let actions = store.by_action(Some(library)).await.unwrap();
    assert_eq!(actions.iter().map(|action| action.files).sum::<u64>(), 3);
    assert!(
        actions
            .iter()
            .any(|a| a.verdict.as_ref().is_some_and(Verdict::converts) && a.bytes == 1 << 40)
    );
    assert_eq!(
        store
            .judge(library, "r2", |_, _| Verdict::Skip { rule: None, reason: "no".into() })
            .await
            .unwrap()
            .changed,
        3
    );
    store.judge(library, "r1", judge).await.unwrap();
    store.output(changed.digest, changed.size).await.unwrap();
    assert_eq!(store.judge(library, "r1", judge).await.unwrap().changed, 1);
    store.settle(library, None).await.unwrap();
    assert_eq!(
        store.find(&wanted, 10).await.unwrap(),
        [],
        "the output of a conversion is left alone"
    );
}

#[tokio::test]
async fn a_cache_of_a_later_version_is_refused_and_libraries_are_known_by_name() {
    let (dir, store, library) = filled().await;
    assert_eq!(
        store.library("one", b"/elsewhere").await.unwrap().id,
        library,
        "not by where it is"
    );
    assert_eq!(store.seen_at(b"/films").await.unwrap(), None);
    assert_eq!(store.seen_at(b"/elsewhere").await.unwrap().unwrap().uuid, "one");
    assert_eq!(store.libraries().await.unwrap().len(), 1);
    sqlx::query("UPDATE _sqlx_migrations SET version = 99 WHERE version = 3")
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
    let error = LibraryStore::open(&dir.path().join("library.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerDatabase { found: 99, .. }), "{error}");
}

/// A step of a library's life: which file, and what becomes of it.
fn step() -> impl Strategy<Value = (u8, u8, u8)> {
    (0u8..6, 0u8..3, 0u8..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// The cache says what a plain map says, whatever happens, and the union of
    /// parts by shape finds what a plain look at all would.
    #[test]
    fn the_cache_agrees_with_a_plain_map(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = LibraryStore::open(&dir.path().join("library.db")).await.unwrap();
            let library = store.library("one", b"/films").await.unwrap().id;
            let mut model = std::collections::BTreeMap::new();
            let name = |n: u8| format!("{}/{n}.mkv", n % 2).into_bytes();
            for (which, what, to) in steps {
                let hdr = if to % 2 == 0 { Hdr::None } else { Hdr::Hlg };
                let change = match what {
                    0 => {
                        model.insert(name(which), hdr);
                        put(film(&name(which), hdr))
                    }
                    1 => {
                        model.remove(&name(which));
                        let (folder, name) = split(&name(which));
                        FileChange::Gone(folder, name)
                    }
                    _ => {
                        let Some(hdr) = model.remove(&name(which)) else { continue };
                        model.insert(name(to), hdr);
                        FileChange::Moved { from: split(&name(which)), to: split(&name(to)), mtime: 5 }
                    }
                };
                store.apply(library, &[change], NOW).await.unwrap();
            }
            store.settle(library, None).await.unwrap();
            for hdr in [vec![], vec![Hdr::Hlg], vec![Hdr::None, Hdr::Hlg]] {
                let filter = FileFilter { hdr: hdr.clone(), ..FileFilter::default() };
                let found = store.find(&filter, 100).await.unwrap();
                let mut found: Vec<_> = found.into_iter().map(|f| f.file.path()).collect();
                found.sort();
                let fits = |kind: &Hdr| hdr.is_empty() || hdr.contains(kind);
                let wanted = model.iter().filter(|(_, kind)| fits(kind));
                let wanted: Vec<_> = wanted.map(|(path, _)| path.clone()).collect();
                assert_eq!(found, wanted);
            }
        });
    }
}
