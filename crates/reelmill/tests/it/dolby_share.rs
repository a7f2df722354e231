//! A share with films of Dolby Vision among others: scanned, asked about, queued on
//! a server and in the share itself, converted without a server.

use super::dolby_film::{FIRST_PQ, FRAMES, Kind, film};
use super::dolby_look::{brightest, hdr10_plus, probed, record};
use super::farm::Server;
use super::support::{Place, Ran, clip};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Four films: full and minimal layer, a phone's, and one without Dolby Vision.
fn share(place: &Place) -> PathBuf {
    let root = place.path("share");
    std::fs::create_dir_all(root.join("Discs")).unwrap();
    std::fs::copy(film(Kind::Plus).mkv, root.join("Discs/Full.mkv")).unwrap();
    std::fs::copy(film(Kind::Mel).mkv, root.join("Discs/Minimal.mkv")).unwrap();
    std::fs::copy(film(Kind::Phone).mkv, root.join("Phone.mkv")).unwrap();
    std::fs::copy(clip(2), root.join("Plain.mkv")).unwrap();
    root
}

fn of(ran: &Ran, event: &str) -> Vec<Value> {
    ran.events().into_iter().filter(|found| found["event"] == event).collect()
}

fn in_order() -> Vec<u16> {
    (0..FRAMES as u16).map(|number| FIRST_PQ + number).collect()
}

fn as_8_1(path: &Path) {
    assert_eq!((brightest(path), record(path)), (in_order(), [8, 1, 1, 0, 1, 1]), "{path:?}");
}

#[test]
fn a_share_is_scanned_asked_about_and_converted_by_its_own_queue() {
    let place = Place::new();
    let root = share(&place);
    let dir = root.to_str().unwrap();
    place.run(["scan", dir]).ok();
    let found = |args: &[&str]| {
        let out = place.run([&["query"][..], args, &["--export", "paths"]].concat()).ok().out;
        let mut names: Vec<String> = out.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(found(&["--dv-profile", "7"]), "Discs/Full.mkv Discs/Minimal.mkv");
    assert_eq!(found(&["--dv-layer", "fel"]), "Discs/Full.mkv");
    assert_eq!(found(&["--dv-layer", "mel"]), "Discs/Minimal.mkv");
    assert_eq!(found(&["--dv-profile", "5,8"]), "Phone.mkv");
    assert_eq!(
        found(&["--dv-level", "1,5,6", "--dv-profile", "7", "--hdr10plus"]),
        "Discs/Full.mkv"
    );
    assert_eq!(found(&["--dv-level", "11"]), "");
    assert_eq!(found(&["--hdr", "dolby_vision"]), "Discs/Full.mkv Discs/Minimal.mkv Phone.mkv");
    let told = place.run(["query", "--search", "full"]).ok().out;
    assert!(told.contains("Dolby Vision 7 FEL (L1 L5 L6"), "{told}");
    assert!(told.contains("HDR10+") && told.contains("a modern one already"), "{told}");
    let stats = place.run(["query", "--stats", "dolby-vision"]).ok().out;
    assert!(stats.contains("profile 7 MEL") && stats.contains("profile 8"), "{stats}");
    // One or all are shown, and nothing is queued.
    let queue = ["scan", dir, "--enqueue", "--shared", "--replace", "--preset", "dv81-remux"];
    let shown = |more: &[&str]| {
        let ran = place.run([&queue[..], &["--dry-run", "--json"], more].concat()).ok();
        of(&ran, "would_queue").len()
    };
    assert_eq!((shown(&["--limit", "1"]), shown(&[])), (1, 2));
    let listed = || place.run(["list", "--shared", dir, "--json"]).ok().events();
    assert_eq!(listed().len(), 0);
    let queued = |place: &Place| {
        let ran = place.run([&queue[..], &["--json"]].concat()).ok();
        let sum = of(&ran, "enqueued").remove(0);
        (sum["files"].as_u64().unwrap(), sum["queued_before"].as_u64().unwrap())
    };
    assert_eq!(queued(&place), (2, 0));
    assert_eq!(queued(&place), (0, 2));
    assert_eq!(queued(&Place::new()), (0, 2), "another machine sees the orders");
    assert_eq!(listed().len(), 2);
    let worker = Place::new();
    let ran = worker.run(["convert", "--dir", dir, "--shared", "--queue", "--json"]).ok();
    assert_eq!(ran.events().pop().unwrap()["converted"], 2, "{}", ran.out);
    as_8_1(&root.join("Discs/Full.mkv"));
    as_8_1(&root.join("Discs/Minimal.mkv"));
    assert_eq!(hdr10_plus(&root.join("Discs/Full.mkv")).len(), FRAMES);
    assert!(listed().iter().all(|order| order["result"] == "converted"), "{:?}", listed());
    place.run(["scan", dir]).ok();
    assert_eq!(found(&["--dv-profile", "7"]), "");
    assert_eq!(queued(&place), (0, 0));
}

#[test]
fn a_folder_is_converted_by_who_shares_it_and_what_is_not_meant_is_passed_by() {
    let place = Place::new();
    let root = share(&place);
    let dir = root.to_str().unwrap();
    let convert = |more: &[&str]| {
        let ran = place.run([&["convert", "--dir", dir, "--shared", "--json"][..], more].concat());
        let ran = ran.ok();
        let lines: Vec<Value> = ran.events();
        let result = |what: &str| lines.iter().filter(|line| line["result"] == what).count();
        let counts = (result("converted"), result("skipped"));
        (counts, ran.out)
    };
    let (counts, told) = convert(&["--preset", "dv81-remux"]);
    assert_eq!(counts, (2, 2), "{told}");
    assert!(told.contains("there is no Dolby Vision in its pictures"), "{told}");
    assert!(told.contains("of profile 8 already"), "{told}");
    as_8_1(&root.join("Discs/Full.dv81-remux.mkv"));
    as_8_1(&root.join("Discs/Minimal.dv81-remux.mkv"));
    std::fs::remove_file(root.join("Discs/Full.dv81-remux.mkv")).unwrap();
    std::fs::remove_file(root.join("Discs/Minimal.dv81-remux.mkv")).unwrap();
    std::fs::remove_file(root.join("Discs/Minimal.mkv")).unwrap();
    let fast = ["--keep-bigger", "--set", "speed=ultrafast"];
    let (counts, told) = convert(&[&["--preset", "dv81-hevc", "--again"][..], &fast].concat());
    assert_eq!(counts, (2, 1), "{told}");
    as_8_1(&root.join("Discs/Full.dv81-hevc.mkv"));
    assert_eq!(hdr10_plus(&root.join("Discs/Full.dv81-hevc.mkv")).len(), FRAMES);
    assert_eq!(record(&root.join("Phone.dv81-hevc.mkv")), [8, 1, 1, 0, 1, 4]);
}

#[test]
fn hdr_outlives_an_encode_in_a_shared_folder_and_from_its_queue() {
    let place = Place::new();
    let root = place.path("share");
    for folder in ["shared", "queued"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for name in ["shared/all", "shared/static", "queued/all", "queued/static", "queued/lost"] {
        std::fs::copy(film(Kind::Plus).mkv, root.join(format!("{name}.mkv"))).unwrap();
    }
    let static_only = |out: &Path| {
        let entries = "-select_streams v:0 -read_intervals %+#1 -show_frames -show_entries \
                       stream=codec_name,color_transfer:stream_side_data:frame_side_data";
        let said = probed(out, entries);
        let stream = &said["streams"][0];
        assert_eq!(stream["codec_name"], "av1", "{out:?}");
        let text = said.to_string();
        for words in [
            "smpte2084",
            "Mastering display metadata",
            "\"max_content\":1000",
            "\"max_average\":400",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        assert!(!text.contains("DOVI") && !text.contains("HDR10+"), "{text}");
    };
    let all = |out: &Path| {
        as_8_1(out);
        assert_eq!(hdr10_plus(out).len(), FRAMES, "{out:?}");
    };
    let at = |name: &str| root.join(name);
    // What an encoder has no place for is lost only when told to.
    let av1 = ["--preset", "av1", "--set", "speed=12"];
    let drop = ["--set", "hdr10plus=drop", "--set", "dolby_vision=drop"];
    let shared = |file: &str, more: &[&str]| {
        let file = at(file);
        let base = ["convert", "--file", file.to_str().unwrap(), "--shared", "--keep-bigger"];
        place.run([&base[..], more].concat())
    };
    let refused = shared("shared/static.mkv", &av1);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("Dolby Vision would be lost"), "{}", refused.err);
    shared("shared/static.mkv", &[&av1[..], &drop].concat()).ok();
    static_only(&at("shared/static.av1.mkv"));
    shared("shared/all.mkv", &["--preset", "hevc", "--set", "speed=ultrafast"]).ok();
    all(&at("shared/all.hevc.mkv"));

    let dir = root.to_str().unwrap();
    let submit = |file: &str, more: &[&str]| {
        let file = at(file);
        let base = ["submit", file.to_str().unwrap(), "--shared", dir];
        place.run([&base[..], more].concat()).ok();
    };
    submit("queued/lost.mkv", &av1);
    submit("queued/static.mkv", &[&av1[..], &drop].concat());
    submit("queued/all.mkv", &["--preset", "dv81-hevc", "--set", "speed=ultrafast"]);
    let args = ["convert", "--dir", dir, "--shared", "--queue", "--keep-bigger", "--json"];
    let ran = Place::new().run(args);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert_eq!(ran.events().pop().unwrap()["converted"], 2, "{}", ran.out);
    static_only(&at("queued/static.av1.mkv"));
    all(&at("queued/all.dv81-hevc.mkv"));
    assert!(!at("queued/lost.av1.mkv").exists());
    let orders = place.run(["list", "--shared", dir, "--json"]).ok().events();
    let lost =
        orders.iter().find(|order| order["ended"]["order"]["file"] == "queued/lost.mkv").unwrap();
    assert_eq!(lost["result"], "failed", "{lost}");
    assert!(lost["ended"]["reason"].as_str().unwrap().contains("would be lost"), "{lost}");
}

#[test]
fn the_rule_for_profile_7_queues_a_share_on_a_server() {
    let place = Place::new();
    let root = share(&place);
    std::fs::remove_file(root.join("Discs/Minimal.mkv")).unwrap();
    let dir = root.to_str().unwrap();
    let servers = Place::new();
    let server = Server::start(&servers, &["--workers", "1"]);
    let rules = root.join("rules.toml");
    std::fs::write(
        &rules,
        "[[rule]]\nname = 'discs'\nwhen = { dolby_vision_profile = 7 }\npreset = 'dv81-remux'\n",
    )
    .unwrap();
    let args = ["scan", dir, "--enqueue", "--json", "--rules", rules.to_str().unwrap()];
    let ran = server.client(&place, &args).ok();
    let jobs = of(&ran, "queued");
    assert_eq!(jobs.len(), 1, "{}", ran.out);
    let id = jobs[0]["job"].as_str().unwrap();
    let job = server.ended(&place, id);
    assert_eq!(job["state"], "completed", "{job}");
    let out = place.path("out.mkv");
    server.client(&place, &["fetch", id, "-o", out.to_str().unwrap()]).ok();
    as_8_1(&out);
}
