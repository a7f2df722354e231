//! The folder of entries.

use super::*;
use crate::outbox::entry::tests::entry;
use reelmill_core::id::JobId;

struct Place {
    folder: tempfile::TempDir,
    film: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mkv");
    std::fs::write(&film, "film").unwrap();
    Place { folder, film }
}

fn at(place: &Place) -> PathBuf {
    place.folder.path().join("state/outbox")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_may_look_into_it() {
    let place = place();
    let outbox = Outbox::open(&at(&place)).unwrap();
    outbox.add(&entry(&place.film)).unwrap();
    assert_eq!(mode(&at(&place)), 0o700);
    let files: Vec<PathBuf> =
        std::fs::read_dir(at(&place)).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    std::fs::set_permissions(at(&place), Permissions::from_mode(0o755)).unwrap();
    Outbox::open(&at(&place)).unwrap();
    assert_eq!(mode(&at(&place)), 0o700);
}

#[test]
fn the_same_request_waits_once_and_a_key_names_one_request() {
    let place = place();
    let outbox = Outbox::open(&at(&place)).unwrap();
    let (mut first, again) = (entry(&place.film), entry(&place.film));
    assert_eq!(outbox.add(&first).unwrap(), None);
    assert_eq!(outbox.add(&again).unwrap().unwrap().id, first.id);
    let mut other = entry(&place.film);
    other.request.preset = "av1".to_owned();
    other.key = first.key.clone();
    assert!(outbox.add(&other).unwrap_err().message.contains("another request"));
    other.key = "another".to_owned();
    assert_eq!(outbox.add(&other).unwrap(), None);
    assert_eq!(outbox.found().unwrap().len(), 2);
    // One that is on its way already is not the same any more.
    first.stage = Stage::Sent { server: "x".into(), job: JobId(first.id) };
    assert!(outbox.update(&first).unwrap());
    assert_eq!(outbox.add(&again).unwrap(), None);
}

#[test]
fn what_was_taken_away_does_not_come_back() {
    let place = place();
    let outbox = Outbox::open(&at(&place)).unwrap();
    let entry = entry(&place.film);
    outbox.add(&entry).unwrap();
    outbox.remove(&entry.id.to_string()).unwrap();
    assert!(!outbox.update(&entry).unwrap());
    assert_eq!(outbox.found().unwrap(), []);
    outbox.remove(&entry.id.to_string()).unwrap();
}

#[test]
fn one_bad_file_is_named_and_the_rest_is_found() {
    let place = place();
    let outbox = Outbox::open(&at(&place)).unwrap();
    let entry = entry(&place.film);
    outbox.add(&entry).unwrap();
    let put = |name: &str, text: &[u8]| std::fs::write(at(&place).join(name), text).unwrap();
    put("broken.json", b"{");
    put("copy.json", &entry.write().unwrap());
    put("huge.json", &vec![b' '; MAX_BYTES as usize + 1]);
    put("notes.txt", b"mine");
    let found = outbox.found().unwrap();
    let ids: Vec<String> = found.iter().map(Found::id).collect();
    assert_eq!(ids, [entry.id.to_string().as_str(), "broken", "copy", "huge"]);
    assert_eq!(found[0], Found::Entry(Box::new(entry)));
    assert!(found[1..].iter().all(|found| matches!(found, Found::Unreadable { .. })), "{found:?}");
}

#[test]
fn one_process_delivers_and_what_a_dead_one_left_half_written_goes() {
    let place = place();
    let outbox = Outbox::open(&at(&place)).unwrap();
    let first = outbox.deliver().unwrap();
    let refused = outbox.deliver().unwrap_err().message;
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    drop(first);
    outbox.deliver().unwrap();
    let draft = at(&place).join(".draft-abc");
    std::fs::write(&draft, "half").unwrap();
    outbox.add(&entry(&place.film)).unwrap();
    assert!(!draft.exists());
}

#[test]
fn a_place_that_cannot_be_one_is_told() {
    let place = place();
    std::fs::create_dir(place.folder.path().join("state")).unwrap();
    std::fs::write(at(&place), "no folder").unwrap();
    let refused = Outbox::open(&at(&place)).unwrap_err();
    assert!(refused.message.contains("state/outbox"), "{refused}");
    assert!(refused.advice.unwrap().contains("REELMILL_STATE"));
    assert!(Outbox::there(&at(&place)).is_none());
}
