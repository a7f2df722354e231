//! HDR10 and HDR10+ without Dolby Vision, by presets that are not made for HDR: over
//! workers elsewhere and in a shared folder. It outlives the encode, or the job fails
//! and says what to do.

use super::dolby_film::{FRAMES, Kind, film, made, run, units};
use super::dolby_look::{hdr10_plus, messages, probed};
use super::farm::{Server, chunks};
use super::support::Place;
use reelmill_media::hdr::nal::{self, NalKind};
use reelmill_media::hdr::sei::{CONTENT_LIGHT, MASTERING_DISPLAY};
use serde_json::Value;
use std::path::{Path, PathBuf};

const HEVC: [&str; 4] = ["--preset", "hevc", "--set", "speed=ultrafast"];
const AV1: [&str; 4] = ["--preset", "av1", "--set", "speed=12"];
const DROP: [&str; 2] = ["--set", "hdr10plus=drop"];

/// Films of HDR10 and of HDR10+: what they say of HDR stands in their pictures alone.
fn films() -> [PathBuf; 2] {
    let folder = made("hdr-plain", |dir| {
        let mut plus = Vec::new();
        for unit in units(&film(Kind::Plus).hevc) {
            for nal in unit.nals() {
                if !matches!(NalKind::of(nal), Some(NalKind::EL | NalKind::RPU)) {
                    nal::write(nal, &mut plus).unwrap();
                }
            }
        }
        std::fs::write(dir.join("plus.hevc"), plus).unwrap();
        std::fs::copy(film(Kind::Plus).base, dir.join("static.hevc")).unwrap();
        for name in ["static", "plus"] {
            let times = "--default-duration 0:24000/1001p";
            run("mkvmerge", dir, &format!("-q -o {name}.mkv {times} {name}.hevc"));
        }
    });
    ["static.mkv", "plus.mkv"].map(|name| folder.join(name))
}

/// The mastering display and content light level of the films above, wherever the output
/// says it.
fn has_static(out: &Path, codec: &str) {
    let said = probed(
        out,
        "-select_streams v:0 -read_intervals %+#1 -show_frames -show_entries \
         stream=codec_name,color_transfer:stream_side_data:frame_side_data",
    );
    assert_eq!(said["streams"][0]["codec_name"], codec, "{out:?}");
    for place in ["streams", "frames"] {
        let text = said[place][0].to_string();
        for words in ["Mastering display metadata", "\"max_content\":1000", "\"max_average\":400"] {
            assert!(text.contains(words), "{out:?}: no {words} in {place}: {text}");
        }
    }
    assert!(said.to_string().contains("smpte2084"), "{said}");
    assert!(!said.to_string().contains("DOVI"), "{said}");
}

/// The very bytes of the source's metadata, frame by frame.
fn has_all_of(source: &Path, out: &Path) {
    has_static(out, "hevc");
    for kind in [MASTERING_DISPLAY, CONTENT_LIGHT] {
        let found = messages(out, kind);
        assert_eq!((found.len(), &found), (1, &messages(source, kind)), "{out:?}");
    }
    assert_eq!(hdr10_plus(out), hdr10_plus(source), "{out:?}");
}

fn is_refused(told: &str) {
    for words in ["HDR10+ would be lost", "hdr10plus=drop"] {
        assert!(told.contains(words), "no '{words}' in {told}");
    }
}

#[test]
fn hdr10_and_hdr10_plus_outlive_an_encode_over_workers_elsewhere() {
    let [plain, plus] = films();
    assert_eq!((hdr10_plus(&plain).len(), hdr10_plus(&plus).len()), (0, FRAMES));
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let _workers = ["anna", "bert"].map(|name| server.worker(&place, name, &[]));
    server.workers(&place, 2);
    let in_chunks = ["--set", "keyframe_seconds=1", "--chunk-seconds", "0.8"];
    let ended = |source: &Path, args: &[&str]| {
        let id = server.submit(&place, source, &[args, &in_chunks].concat());
        let job = server.ended(&place, &id);
        let out = place.path(&format!("{id}.mkv"));
        if job["state"] == "completed" {
            assert!(chunks(&job).len() >= 2, "{job}");
            server.client(&place, &["fetch", &id, "-o", out.to_str().unwrap()]).ok();
        }
        (job, out)
    };
    for source in [&plain, &plus] {
        let (job, out) = ended(source, &HEVC);
        assert_eq!(job["state"], "completed", "{job}");
        has_all_of(source, &out);
    }
    let (job, out) = ended(&plain, &AV1);
    assert_eq!(job["state"], "completed", "{job}");
    has_static(&out, "av1");
    let (job, _) = ended(&plus, &AV1);
    assert_eq!(job["state"], "failed", "{job}");
    is_refused(&job.to_string());
    let (job, out) = ended(&plus, &[&AV1[..], &DROP].concat());
    assert_eq!(job["state"], "completed", "{job}");
    has_static(&out, "av1");
}

#[test]
fn hdr10_and_hdr10_plus_outlive_an_encode_in_a_shared_folder_and_from_its_queue() {
    let sources = films();
    let place = Place::new();
    let root = place.path("share");
    std::fs::create_dir_all(&root).unwrap();
    let at = |name: &str| root.join(name);
    for (source, name) in sources.iter().zip(["static.mkv", "plus.mkv"]) {
        std::fs::copy(source, at(name)).unwrap();
    }
    let dir = root.to_str().unwrap();
    let convert = |more: &[&str]| {
        let base = ["convert", "--dir", dir, "--shared", "--keep-bigger", "--json"];
        let ran = Place::new().run([&base[..], more].concat());
        let last = ran.events().pop().unwrap();
        (ran.code, last["converted"].as_u64().unwrap(), format!("{}{}", ran.out, ran.err))
    };
    let (code, converted, told) = convert(&HEVC);
    assert_eq!((code, converted), (0, 2), "{told}");
    for (source, name) in sources.iter().zip(["static.hevc.mkv", "plus.hevc.mkv"]) {
        has_all_of(source, &at(name));
        std::fs::remove_file(at(name)).unwrap();
    }
    let (code, converted, told) = convert(&[&AV1[..], &["--again"]].concat());
    assert_eq!((code, converted), (5, 1), "{told}");
    is_refused(&told);
    has_static(&at("static.av1.mkv"), "av1");
    assert!(!at("plus.av1.mkv").exists());

    std::fs::copy(&sources[1], at("queued.mkv")).unwrap();
    let order = |more: &[&str]| {
        let file = at("queued.mkv");
        let base = ["submit", file.to_str().unwrap(), "--shared", dir];
        place.run([&base[..], more].concat()).ok();
    };
    order(&AV1);
    let (code, converted, told) = convert(&["--queue"]);
    assert_eq!((code, converted), (1, 0), "{told}");
    let orders: Vec<Value> = place.run(["list", "--shared", dir, "--json"]).ok().events();
    is_refused(&orders[0]["ended"].to_string());
    order(&[&AV1[..], &DROP].concat());
    let (code, converted, told) = convert(&["--queue"]);
    assert_eq!((code, converted), (0, 1), "{told}");
    has_static(&at("queued.av1.mkv"), "av1");
}
