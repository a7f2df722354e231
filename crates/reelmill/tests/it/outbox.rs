//! Requests made while no server can be reached: they wait, they are handed over
//! once whatever is killed meanwhile, and their outputs come to their places.

use super::farm::Server;
use super::judge::{decode, same_frames};
use super::support::{Place, Ran, Running, clip, wait_for};
use super::upload::sha512;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

/// An address at which nobody listens.
pub(super) fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{free}")
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Submits `film` to a server that cannot be reached; yields the entry's id.
pub(super) fn keep(place: &Place, url: &str, film: &Path, args: &[&str]) -> String {
    let words = [&["submit", text(film), "--json", "--server", url], args].concat();
    let ran = place.run(words).ok();
    let kept = ran.events().pop().unwrap();
    assert_eq!(kept["event"], "kept", "{}", ran.out);
    kept["entry"].as_str().unwrap().to_owned()
}

pub(super) fn sync(place: &Place, args: &[&str]) -> Ran {
    place.run([&["sync", "--json"], args].concat())
}

pub(super) fn waiting(place: &Place) -> Vec<Value> {
    sync(place, &["--list"]).events()
}

pub(super) fn jobs(server: &Server, place: &Place) -> Vec<Value> {
    server.client(place, &["list", "--json"]).ok().events()
}

fn event<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {events:?}"))
}

/// Syncs until nothing waits any more.
fn sync_all(place: &Place) -> Vec<Value> {
    let mut all = Vec::new();
    wait_for("the outbox to be empty", || {
        all.extend(sync(place, &[]).events());
        waiting(place).is_empty().then_some(())
    });
    all
}

#[test]
fn what_is_submitted_without_a_server_is_delivered_and_fetched_later() {
    let place = Place::new();
    let url = nobody();
    let (film, output) = (clip(6), place.path("out.mp4"));
    let words = ["submit", text(&film), "--server", &url, "-o", "out.mp4", "--api-key", "rmk_1_2"];
    let told = place.run([&words[..], &["--set", "speed=ultrafast", "--label", "a=b"]].concat());
    assert_eq!(told.code, 0, "{}", told.err);
    assert_eq!(told.out, "", "there is no job yet whose id could be used");
    for words in ["no server answers", "kept in the outbox", "reelmill sync", "out.mp4", "key"] {
        assert!(told.err.contains(words), "{words}: {}", told.err);
    }
    let folder = place.path("state/outbox");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files = place.files("state/outbox");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let kept: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(!kept.contains("rmk_"), "the key is not kept: {kept}");
    let away = place.run(["sync"]);
    assert_eq!(away.code, 4);
    assert!(away.err.contains("waiting: no server answers"), "{}", away.err);
    let listed = place.run(["sync", "--list"]).ok().out;
    assert!(listed.contains("waiting") && listed.contains(&url), "{listed}");

    let server = Server::listening(&place, url.trim_start_matches("http://"), &[], &[]);
    let events = sync_all(&place);
    let fetched = event(&events, "fetched");
    assert_eq!(fetched["output"], text(&output));
    let job = server.job(&place, event(&events, "sent")["job"].as_str().unwrap());
    assert_eq!(
        (job["state"].as_str(), job["labels"]["a"].as_str()),
        (Some("completed"), Some("b"))
    );
    assert_eq!(job["output"]["sha512"], sha512(&output).as_str());
    same_frames(&decode(&film, None), &decode(&output, None), 0.000_01, false).unwrap();
    assert_eq!(jobs(&server, &place).len(), 1);
    assert!(place.run(["sync"]).ok().err.contains("nothing waits"));
    assert_eq!(place.files("state/outbox").iter().filter(|f| !hidden(f)).count(), 0);
}

fn hidden(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with('.')
}

#[test]
fn a_server_that_says_no_and_a_user_who_waits_leave_nothing_in_the_outbox() {
    let mut place = Place::new();
    place.set("DISTCONV_API_KEY", "a-fixed-key");
    let server = Server::start(&place, &["--workers", "0"]);
    let film = clip(6);
    let submit = |url: &str, args: &[&str]| {
        let mut command = place.reelmill();
        command.args(["submit", text(&film), "--server", url]).args(args);
        command
    };
    Ran::of(submit(&server.url, &[]).env_remove("DISTCONV_API_KEY")).refused(4, &["key"]);
    Ran::of(&mut submit(&server.url, &["--preset", "h265"])).refused(2, &["h265"]);
    let away = nobody();
    Ran::of(&mut submit(&away, &["--no-outbox"])).refused(4, &["no server answers"]);
    Ran::of(&mut submit(&away, &["--wait", "-o", "o.mp4"])).refused(4, &["leave out --wait"]);
    Ran::of(&mut submit(&away, &["--dry-run"])).refused(4, &["no server answers"]);
    Ran::of(&mut submit(&away, &["--no-outbox", "-o", "o.mp4"])).refused(2, &["--wait"]);
    Ran::of(&mut submit("ftp://x", &[])).refused(2, &["ftp://x"]);
    assert_eq!(place.files("state/outbox").iter().filter(|file| !hidden(file)).count(), 0);
}

/// Something that answers every request with `status`, as a proxy does whose
/// server is away.
fn proxy(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = [0; 16 << 10];
            let _ = client.read(&mut head);
            let _ = write!(
                client,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    url
}

#[test]
fn every_kind_of_absence_keeps_the_request() {
    let film = clip(6);
    let away = nobody();
    for servers in [
        "http://no-such-host.invalid:7474".to_owned(),
        proxy("502 Bad Gateway"),
        proxy("503 Service Unavailable"),
        proxy("504 Gateway Timeout"),
        format!("{away},{}", proxy("502 Bad Gateway")),
    ] {
        let place = Place::new();
        keep(&place, &servers, &film, &[]);
        let kept = waiting(&place);
        assert_eq!((kept.len(), kept[0]["state"].as_str()), (1, Some("waiting")), "{servers}");
        // The same once more is the same request.
        keep(&place, &servers, &film, &[]);
        assert_eq!(waiting(&place).len(), 1);
    }
}

#[test]
fn a_source_that_changed_or_vanished_is_said_and_stops_no_other() {
    let place = Place::new();
    let url = nobody();
    let names = ["changed.mkv", "gone.mkv", "good.mkv"];
    let [changed, gone, good] = names.map(|name| place.path(name));
    for film in [&changed, &gone, &good] {
        std::fs::copy(clip(6), film).unwrap();
        keep(&place, &url, film, &[]);
    }
    std::fs::write(&changed, "another film").unwrap();
    std::fs::rename(&gone, place.path("elsewhere.mkv")).unwrap();
    let broken = place.path("state/outbox/broken.json");
    std::fs::write(&broken, "{\"version\": 7}").unwrap();
    let server =
        Server::listening(&place, url.trim_start_matches("http://"), &["--workers", "0"], &[]);
    let ran = place.run(["sync"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    for words in ["changed after it was submitted", "not there any more", "version 7", "broken"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(ran.out.contains("good.mkv: sent to"), "{}", ran.out);
    assert_eq!(jobs(&server, &place).len(), 1);

    // What is put back goes; what is dismissed is gone; the rest stays, and says why.
    std::fs::rename(place.path("elsewhere.mkv"), &gone).unwrap();
    assert_eq!(sync(&place, &[]).code, 5);
    assert_eq!(jobs(&server, &place).len(), 2);
    let kept = waiting(&place);
    assert_eq!(kept[0]["state"], "refused");
    let id = kept[0]["entry"].as_str().unwrap();
    place.run(["sync", "--forget", "nothing"]).refused(1, &["--list"]);
    sync(&place, &["--forget", &id[..20], "--forget", "broken"]).ok();
    assert!(waiting(&place).is_empty());
    sync(&place, &[]).ok();
}

#[test]
fn a_key_that_is_refused_keeps_the_entry_with_the_reason() {
    let mut place = Place::new();
    let url = nobody();
    keep(&place, &url, &clip(6), &[]);
    place.set("DISTCONV_API_KEY", "a-fixed-key");
    let address = url.trim_start_matches("http://");
    let server = Server::listening(&place, address, &["--workers", "0"], &[]);
    let keyless = Ran::of(place.reelmill().arg("sync").env_remove("DISTCONV_API_KEY"));
    keyless.refused(4, &["needs a key"]);
    let kept = waiting(&place);
    assert_eq!(kept[0]["state"], "refused");
    assert!(kept[0]["failure"]["message"].as_str().unwrap().contains("key"), "{kept:?}");
    sync(&place, &["--server", &nobody()]).ok();
    assert_eq!(waiting(&place).len(), 1, "it is for another server");
    sync(&place, &[]).ok();
    assert_eq!(jobs(&server, &place).len(), 1);
}

#[test]
fn a_watch_delivers_fetches_and_ends_when_it_is_told_to() {
    let place = Place::new();
    let url = nobody();
    let mut command = place.reelmill();
    command.args(["sync", "--watch", "--every", "0.2", "--json"]).stdout(Stdio::null());
    let mut watch = Running::start(&mut command);
    let (film, output) = (clip(6), place.path("films"));
    std::fs::create_dir(&output).unwrap();
    keep(&place, &url, &film, &["-o", text(&output), "--set", "speed=ultrafast"]);
    let address = url.trim_start_matches("http://");
    let server = Server::listening(&place, address, &[], &[]);
    wait_for("the output", || output.join("clip-6.mkv").exists().then_some(()));
    wait_for("the outbox to be empty", || waiting(&place).is_empty().then_some(()));

    // What is submitted with an output while the server is there comes, too.
    let id = server.submit(&place, &film, &["-o", "second.mkv", "--set", "speed=ultrafast"]);
    wait_for("the second output", || place.path("second.mkv").exists().then_some(()));
    let job = server.job(&place, &id);
    assert_eq!(job["output"]["sha512"], sha512(&place.path("second.mkv")).as_str());
    assert_eq!(jobs(&server, &place).len(), 2);
    watch.signal("TERM");
    assert_eq!(watch.wait(), 0);
}

#[test]
fn outputs_replace_nothing_and_failed_jobs_stay_until_dismissed() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let (film, diary, output) = (clip(6), place.path("diary.mkv"), place.path("out.mkv"));
    std::fs::write(&diary, "no film").unwrap();
    let fast = ["--set", "speed=ultrafast"];
    let good = server.submit(&place, &film, &[&["-o", "out.mkv"], &fast[..]].concat());
    let bad = server.submit(&place, &diary, &["-o", "diary.mp4"]);
    server.ended(&place, &good);
    server.ended(&place, &bad);
    std::fs::write(&output, "mine").unwrap();
    let ran = place.run(["sync"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("out.mkv exists already"), "{}", ran.err);
    assert!(ran.err.contains("not a media file"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine");
    std::fs::remove_file(&output).unwrap();
    assert_eq!(sync(&place, &[]).code, 5);
    let fetched = std::fs::read(&output).unwrap();
    let kept = waiting(&place);
    assert_eq!((kept.len(), kept[0]["state"].as_str()), (1, Some("failed")));
    assert_eq!(kept[0]["job"], bad.as_str());
    // What is there is not fetched again, and what failed is told again.
    assert_eq!(sync(&place, &[]).code, 3);
    assert_eq!(std::fs::read(&output).unwrap(), fetched);
    let dismissed = sync(&place, &["--forget", kept[0]["entry"].as_str().unwrap()]).ok();
    assert_eq!(event(&dismissed.events(), "dismissed")["entry"], kept[0]["entry"]);
}

#[test]
fn an_output_that_is_in_its_place_already_ends_the_entry() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let fast = ["--set", "speed=ultrafast", "-o", "out.mkv"];
    let id = server.submit(&place, &clip(6), &fast);
    server.ended(&place, &id);
    // As a sync does that is killed before it takes the entry away.
    server.client(&place, &["fetch", &id, "-o", "out.mkv"]).ok();
    event(&sync(&place, &[]).ok().events(), "fetched");
    assert!(waiting(&place).is_empty());
}

#[test]
fn an_outbox_that_cannot_be_written_is_told_with_the_outage() {
    let place = Place::new();
    std::fs::create_dir(place.path("state")).unwrap();
    std::fs::write(place.path("state/outbox"), "no folder").unwrap();
    let film = clip(6);
    let away = nobody();
    let ran = place.run(["submit", text(&film), "--server", &away]);
    ran.refused(4, &["no server answers", "not kept", "state/outbox", "REELMILL_STATE"]);
    // Where the output could not be noted, nothing is sent.
    std::fs::remove_file(place.path("state/outbox")).unwrap();
    let server = Server::start(&place, &["--workers", "0"]);
    std::fs::write(place.path("state/outbox"), "no folder").unwrap();
    server.client(&place, &["submit", text(&film), "-o", "o.mp4"]).refused(1, &["state/outbox"]);
    assert_eq!(jobs(&server, &place).len(), 0);
}

#[test]
fn an_outbox_on_a_full_disk_is_told_and_keeps_what_it_has() {
    let group = "outbox: a full tmpfs";
    if !rustix::process::geteuid().is_root() {
        return super::support::not_run(group, "needs root to mount");
    }
    let place = Place::new();
    let state = place.path("state");
    std::fs::create_dir(&state).unwrap();
    let mut mount = super::support::tool("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&state);
    if !mount.output().unwrap().status.success() {
        return super::support::not_run(group, "tmpfs cannot be mounted here");
    }
    let film = clip(6);
    let first = keep(&place, &nobody(), &film, &[]);
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let ran = place.run(["submit", text(&film), "--server", &nobody()]);
    let kept = waiting(&place);
    super::support::tool("umount").arg(&state).status().unwrap();
    ran.refused(4, &["no server answers", "not kept", "space"]);
    assert_eq!((kept.len(), kept[0]["entry"].as_str()), (1, Some(first.as_str())));
}
