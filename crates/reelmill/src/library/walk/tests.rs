//! Tests of the walk.

use super::super::known::{Entry, Known};
use super::*;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn wanted(follow: bool) -> Wanted {
    Wanted { kinds: vec![MediaKind::Video], follow, threads: 3 }
}

fn go(root: &Path, known: &Known, wanted: &Wanted) -> Walked {
    walk((root, b""), known, wanted, &AtomicU64::new(0), &CancellationToken::new()).unwrap()
}

fn put(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"film").unwrap();
}

fn names(walked: &Walked) -> Vec<String> {
    let path =
        |fresh: &Fresh| String::from_utf8_lossy(&joined(&fresh.folder, &fresh.name)).into_owned();
    walked.fresh.iter().map(path).collect()
}

#[test]
fn media_are_found_and_the_rest_is_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe.mkv");
    for path in [
        "a.mkv",
        "A/B/c.MP4",
        "A/notes.txt",
        ".hidden/d.mkv",
        "@eaDir/e.mkv",
        "A/.f.mkv",
        "song.flac",
    ] {
        put(&root.join(path));
    }
    put(&root.join("A").join(odd));
    std::fs::create_dir(root.join("A/empty.mkv")).unwrap();
    let walked = go(root, &Known::default(), &wanted(false));
    assert_eq!(names(&walked), ["a.mkv", "A/\u{fffd}\u{fffd}.mkv", "A/B/c.MP4"]);
    assert_eq!((walked.files, walked.bytes, walked.same, walked.complained), (3, 12, 0, 0));
}

#[test]
fn what_is_known_is_told_from_what_changed_and_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["A/same.mkv", "A/changed.mkv", "A/new.mkv"] {
        put(&dir.path().join(path));
    }
    let meta = std::fs::metadata(dir.path().join("A/same.mkv")).unwrap();
    let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
    let mut known = Known::default();
    known.folder(b"A").unwrap();
    let shape = known.shape("{}");
    for (name, size) in [("changed.mkv", 3), ("lost.mkv", 4), ("lost.wav", 4), ("same.mkv", 4)] {
        let seen = Seen { name: name.as_bytes(), size, mtime };
        known.file(b"A", &Entry { seen, digest: 0, facts: Ok((shape, None, None)) }).unwrap();
    }
    let walked = go(dir.path(), &known, &wanted(false));
    assert_eq!(names(&walked), ["A/changed.mkv", "A/new.mkv"]);
    assert_eq!(walked.fresh.iter().map(|f| f.changed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(walked.missing, [(b"A".to_vec(), b"lost.mkv".to_vec())], "sound was not looked for");
    assert_eq!(walked.same, 1);
}

#[test]
fn loops_of_links_end_and_links_are_followed_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    put(&dir.path().join("A/a.mkv"));
    put(&outside.path().join("b.mkv"));
    symlink(dir.path(), dir.path().join("A/loop")).unwrap();
    symlink(outside.path(), dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("A/a.mkv"), dir.path().join("one.mkv")).unwrap();
    symlink("nowhere.mkv", dir.path().join("two.mkv")).unwrap();
    let plain = go(dir.path(), &Known::default(), &wanted(false));
    assert_eq!((names(&plain), plain.links), (vec!["A/a.mkv".to_owned()], 4));
    for _ in 0..5 {
        let followed = go(dir.path(), &Known::default(), &wanted(true));
        assert_eq!(names(&followed), ["one.mkv", "A/a.mkv", "elsewhere/b.mkv"]);
    }
}

#[test]
fn a_folder_that_cannot_be_read_is_told_and_hides_its_files() {
    if rustix::process::geteuid().is_root() && std::env::var_os("REELMILL_NOT_RUN").is_some() {
        use std::io::Write as _;
        let list = std::env::var_os("REELMILL_NOT_RUN").unwrap();
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(list, "NOT RUN: folders without permission (root may read all)").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("A/a.mkv"));
    put(&dir.path().join("locked/b.mkv"));
    let locked = dir.path().join("locked");
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o0)).unwrap();
    let walked = go(dir.path(), &Known::default(), &wanted(false));
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        return;
    }
    assert_eq!(names(&walked), ["A/a.mkv"]);
    assert_eq!(
        (walked.complained, walked.folders.get(&b"locked"[..])),
        (1, Some(&FolderState::Unreadable))
    );
}

#[test]
fn folders_beyond_the_limit_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut deep = dir.path().to_owned();
    for _ in 0..DEEPEST + 3 {
        deep.push("d");
    }
    put(&deep.join("a.mkv"));
    let walked = go(dir.path(), &Known::default(), &wanted(false));
    assert_eq!((walked.files, walked.complained), (0, 1));
    assert!(walked.complaints[0].reason.contains("64"), "{:?}", walked.complaints);
}
