//! Entries as they are kept.

use super::*;
use crate::api::wire::SourceRequest;

/// An entry for the file at `path`.
pub(crate) fn entry(path: &Path) -> Entry {
    let mut request: JobRequest = serde_json::from_value(serde_json::json!({
        "name": "film.mkv", "source": {"upload": Uuid::nil()}, "preset": "hevc",
        "overrides": ["crf=20"], "priority": 70, "labels": {"a": "b"},
    }))
    .unwrap();
    request.source = SourceRequest::Upload(BlobId(Uuid::nil()));
    Entry::new(Wanted {
        servers: vec!["http://mill:7474/".to_owned(), "http://barn:7474/".to_owned()],
        key: None,
        source: Source::look(path).unwrap(),
        request,
        output: None,
    })
}

fn example() -> (tempfile::NamedTempFile, Entry) {
    let film = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(film.path(), "film").unwrap();
    let entry = entry(film.path());
    (film, entry)
}

#[test]
fn what_is_written_is_read_back_at_every_stage() {
    let (film, mut entry) = example();
    entry.output = Some(Output::new(&film.path().with_extension("mp4"), true).unwrap());
    let stages = [
        Stage::Waiting,
        Stage::Uploaded { server: "http://mill:7474/".into(), blob: BlobId(clock::fresh()) },
        Stage::Sent { server: "http://mill:7474/".into(), job: JobId(clock::fresh()) },
    ];
    for stage in stages {
        entry.stage = stage;
        entry.trouble = Some(Trouble { away: true, failure: Failure::transient("away") });
        assert_eq!(Entry::read(&entry.write().unwrap()).unwrap(), entry);
    }
}

#[test]
fn a_newer_version_and_a_damaged_file_are_told_apart() {
    let (_film, entry) = example();
    let text = String::from_utf8(entry.write().unwrap()).unwrap();
    let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
    let told = Entry::read(newer.as_bytes()).unwrap_err();
    assert!(told.message.contains("version 2"), "{told}");
    assert!(told.advice.unwrap().contains("newer"));
    // Fields that only the newer one knows do not hide that.
    let told = Entry::read(b"{\"version\": 9, \"films\": []}").unwrap_err();
    assert!(told.message.contains("version 9"), "{told}");
    for damaged in ["", "{", "[]", "{\"version\": 1}", &text[..text.len() / 2]] {
        let told = Entry::read(damaged.as_bytes()).unwrap_err();
        assert!(told.message.contains("damaged"), "{damaged}: {told}");
    }
}

#[test]
fn only_one_server_is_asked_while_it_may_have_made_a_job() {
    let (_film, mut entry) = example();
    let (mill, barn) = ("http://mill:7474/", "http://barn:7474/");
    assert_eq!(entry.turn_to(), [mill, barn]);
    entry.stage = Stage::Uploaded { server: barn.into(), blob: BlobId(clock::fresh()) };
    assert_eq!(entry.turn_to(), [barn]);
    entry.stage = Stage::Sent { server: barn.into(), job: JobId(clock::fresh()) };
    assert_eq!(entry.turn_to(), [barn, mill]);
}

#[test]
fn an_outage_leaves_an_entry_waiting_and_a_refusal_does_not() {
    let (_film, mut entry) = example();
    let trouble = |away| Some(Trouble { away, failure: Failure::transient("why") });
    assert_eq!(entry.state(), State::Waiting);
    entry.trouble = trouble(true);
    assert_eq!(entry.state(), State::Waiting);
    entry.trouble = trouble(false);
    assert_eq!(entry.state(), State::Refused);
    entry.stage = Stage::Sent { server: "x".into(), job: JobId(clock::fresh()) };
    assert_eq!(entry.state(), State::Failed);
    entry.trouble = trouble(true);
    assert_eq!(entry.state(), State::Sent);
}

#[test]
fn an_output_goes_only_where_it_was_asked_to_go() {
    let place = tempfile::tempdir().unwrap();
    let (folder, file) = (place.path().join("films"), place.path().join("out.mp4"));
    std::fs::create_dir(&folder).unwrap();
    let (into, onto) = (Output::new(&folder, false).unwrap(), Output::new(&file, false).unwrap());
    assert_eq!(into.file("film.mp4").unwrap(), folder.join("film.mp4"));
    assert_eq!(onto.file("film.mp4").unwrap(), file);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(into.file("film.mp4").unwrap_err().message.contains("no folder"));
    assert!(onto.file("film.mp4").unwrap_err().message.contains("is a folder now"));
}
