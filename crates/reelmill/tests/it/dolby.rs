//! Dolby Vision by the program itself: on one machine, and over workers that
//! have no mount and may die. The films are those of the media crate's tests.

use super::dolby_film::{BAR, FIRST_PQ, FRAMES, Kind, SIZE, film};
use super::dolby_look::{
    brightest, count, hdr10_plus, messages, numbers, only, pictures, record, rpus,
};
use super::farm::{Server, chunks};
use super::support::{Place, Running, ffmpeg, media, wait_for};
use reelmill_core::hdr::Bars;
use reelmill_media::hdr::nal::{NalKind, in_packet};
use reelmill_media::hdr::sei::{self, CONTENT_LIGHT, MASTERING_DISPLAY};
use reelmill_media::matroska::{Edits, Packet, header, rewrite};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn in_order() -> Vec<u16> {
    (0..FRAMES as u16).map(|number| FIRST_PQ + number).collect()
}

/// Ends a worker in mid-chunk: it is stopped, so that nothing it does can end the
/// chunk between the look and the kill.
fn kill_in_mid_chunk(server: &Server, place: &Place, id: &str, name: &str, worker: Running) {
    wait_for("the worker to be in mid-chunk", || {
        let has = |job: &Value| {
            chunks(job).iter().any(|chunk| chunk["worker"] == name && chunk["state"] != "done")
        };
        if !has(&server.job(place, id)) {
            return None;
        }
        worker.signal("STOP");
        let still = has(&server.job(place, id));
        if !still {
            worker.signal("CONT");
        }
        still.then_some(())
    });
    worker.kill();
}

/// A film whose pictures tell their numbers in squares right below its bars.
struct Numbered {
    source: PathBuf,
    frames: u16,
    size: (u32, u32),
    /// Rows of each bar.
    bar: u32,
    speed: &'static str,
    chunk_seconds: &'static str,
}

impl Numbered {
    /// Encodes it over three workers, of which one is killed in mid-chunk, and looks
    /// at what came of it: rows B1 to B5.
    fn over_three_workers_one_of_which_is_killed(&self) {
        let place = Place::new();
        let server = Server::start(&place, &["--workers", "0", "--lease-seconds", "3"]);
        let workers = ["anna", "bert", "cleo"].map(|name| server.worker(&place, name, &[]));
        server.workers(&place, 3);
        let crop = format!("crop={}:{}:0:{}", self.size.0, self.size.1 - 2 * self.bar, self.bar);
        let speed = format!("speed={}", self.speed);
        let settings = ["keyframe_seconds=1", &speed, &crop];
        let set: Vec<&str> = settings.iter().flat_map(|set| ["--set", *set]).collect();
        let preset = ["--preset", "dv81-hevc", "--chunk-seconds", self.chunk_seconds];
        let id = server.submit(&place, &self.source, &[&preset[..], &set].concat());
        let [anna, _bert, _cleo] = workers;
        kill_in_mid_chunk(&server, &place, &id, "anna", anna);
        let job = server.ended(&place, &id);
        assert_eq!(job["state"], "completed", "{job}");
        assert!(chunks(&job).len() >= 3, "{job}");
        let lost: u64 =
            chunks(&job).iter().map(|chunk| chunk["lost_workers"].as_u64().unwrap()).sum();
        assert_eq!(lost, 1, "one worker was lost on one chunk");
        let out = place.path("out.mkv");
        server.client(&place, &["fetch", &id, "-o", out.to_str().unwrap()]).ok();
        self.check(&out);
        self.mutants_are_caught(&out);
    }

    /// What a chunk that was begun twice could do to the film, done to it: the check
    /// above has to notice.
    fn mutants_are_caught(&self, out: &Path) {
        let all = pictures(out);
        let rpu = |at: usize| {
            let (_, units) = &all[at];
            units.iter().find(|unit| NalKind::of(unit) == Some(NalKind::RPU)).unwrap().clone()
        };
        let mutants: [(&str, Mutant<'_>); 3] = [
            ("two pictures' metadata have changed places", &|at, nal| {
                let other = [20, 21].contains(&at).then(|| rpu(41 - at));
                Some(other.filter(|_| is(nal, NalKind::RPU)).unwrap_or_else(|| nal.to_vec()))
            }),
            ("a picture has no metadata", &|at, nal| {
                (at != 20 || !is(nal, NalKind::RPU)).then(|| nal.to_vec())
            }),
            ("the mastering display is another", &|_, nal| {
                let mut nal = nal.to_vec();
                if sei::mastering_nits(&nal).is_some() {
                    nal[5] ^= 1;
                }
                Some(nal)
            }),
        ];
        for (what, mutant) in mutants {
            let bad = out.with_extension("bad.mkv");
            mutate(out, &bad, mutant);
            let checked = std::panic::catch_unwind(|| self.check(&bad));
            assert!(checked.is_err(), "{what}, and nobody noticed");
        }
    }

    fn check(&self, out: &Path) {
        let expected: Vec<u32> = (0..u32::from(self.frames)).collect();
        assert_eq!(numbers(out, (self.size.0, self.size.1 - 2 * self.bar), 0), expected);
        let levels: Vec<u16> = (0..self.frames).map(|number| FIRST_PQ + number).collect();
        assert_eq!((brightest(out), record(out)), (levels, [8, 1, 1, 0, 1, 1]));
        assert!(rpus(out).iter().all(|rpu| rpu.bars() == Some(Bars::default())));
        let of_source = |kind| only_sei(&self.source, kind);
        for kind in [MASTERING_DISPLAY, CONTENT_LIGHT] {
            assert_eq!(only_sei(out, kind), of_source(kind), "b5: the very bytes");
        }
        let display = hex::decode("33c286c41d4c0bb884d03e803d1340420098968000000001").unwrap();
        assert_eq!(messages(out, MASTERING_DISPLAY), [display]);
        assert_eq!(messages(out, CONTENT_LIGHT), [hex::decode("03e80190").unwrap()]);
        for kind in [NalKind::VPS, NalKind::SPS, NalKind::PPS] {
            let sets = only(&pictures(out), |it| it == kind);
            let distinct: BTreeSet<_> = sets.into_iter().flat_map(|(_, units)| units).collect();
            assert!(distinct.len() <= 1, "{kind:?}");
        }
        let head = header(out).unwrap();
        let sets = head.hevc().next().unwrap().parameter_sets().len();
        assert_eq!(sets, 3, "one of each in the container");
    }
}

/// What becomes of a unit of a picture, by its place in coding order.
type Mutant<'a> = &'a dyn Fn(usize, &[u8]) -> Option<Vec<u8>>;

fn is(nal: &[u8], kind: NalKind) -> bool {
    NalKind::of(nal) == Some(kind)
}

/// Writes the film again, its units changed.
fn mutate(film: &Path, to: &Path, mutant: Mutant<'_>) {
    let head = header(film).unwrap();
    let track = head.hevc().next().unwrap();
    let record = track.dolby_record.as_deref().unwrap();
    let mut at = 0;
    let mut change = |packet: Packet<'_>, out: &mut Vec<u8>| {
        for nal in in_packet(packet.payload, 4)? {
            if let Some(nal) = mutant(at, nal) {
                out.extend((nal.len() as u32).to_be_bytes());
                out.extend(nal);
            }
        }
        at += 1;
        Ok(())
    };
    let edits = Edits {
        track: track.number,
        record: Some(record[..24].try_into().unwrap()),
        drop: None,
        change: &mut change,
        alive: &|| (),
        growth: Arc::default(),
    };
    rewrite(film, to, edits, &CancellationToken::new()).unwrap();
}

/// The distinct units, bytes and all, that carry SEI of one kind.
fn only_sei(path: &Path, kind: u32) -> BTreeSet<Vec<u8>> {
    let units = pictures(path).into_iter().flat_map(|(_, units)| units);
    let carries = |unit: &Vec<u8>| {
        sei::messages(unit).is_some_and(|all| all.iter().any(|message| message.kind == kind))
    };
    units.filter(carries).collect()
}

#[test]
fn b7_a_worker_killed_in_mid_chunk_changes_nothing_of_a_film() {
    let film = Numbered {
        source: film(Kind::Fel).mkv,
        frames: FRAMES as u16,
        size: SIZE,
        bar: BAR,
        speed: "slower",
        chunk_seconds: "0.8",
    };
    film.over_three_workers_one_of_which_is_killed();
}

#[test]
fn b7_the_real_film_over_three_workers_one_of_which_is_killed() {
    let Some(media) = media("b7 with the real film") else { return };
    let film = Numbered {
        source: media.join("dv/p7_fel_360p_240f_full.mkv"),
        frames: 240,
        size: (640, 360),
        bar: 46,
        speed: "faster",
        chunk_seconds: "3",
    };
    film.over_three_workers_one_of_which_is_killed();
}

#[test]
fn metadata_alone_is_converted_by_a_coordinator_for_clients_elsewhere() {
    let place = Place::new();
    let server = Server::start(&place, &["--workers", "0"]);
    let _anna = server.worker(&place, "anna", &[]);
    server.workers(&place, 1);
    let id = server.submit(&place, &film(Kind::Plus).mkv, &["--preset", "dv81-remux"]);
    let job = server.ended(&place, &id);
    assert_eq!(job["state"], "completed", "{job}");
    let out = place.path("out.mkv");
    server.client(&place, &["fetch", &id, "-o", out.to_str().unwrap()]).ok();
    assert_eq!((brightest(&out), record(&out)), (in_order(), [8, 1, 1, 0, 1, 1]));
    assert_eq!((count(&pictures(&out), NalKind::EL), hdr10_plus(&out).len()), (0, FRAMES));
    let refused = server.submit(&place, &film(Kind::Five).mkv, &["--preset", "dv81-remux"]);
    let job = server.ended(&place, &refused);
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job.to_string().contains("Profile 5 has no HDR10 base layer"), "{job}");
}

#[test]
fn probe_and_plan_tell_what_the_stream_has() {
    let place = Place::new();
    let fel = film(Kind::Fel).mkv;
    let said = place.run(["probe", fel.to_str().unwrap()]).ok().out;
    assert!(said.contains("Dolby Vision profile 7 FEL (L1 L5 L6"), "{said}");
    assert!(said.contains("mastered to 1000 nits, up to 1000 nits, frames to 400"), "{said}");
    let plus = film(Kind::Plus).mkv;
    let said = place.run(["probe", plus.to_str().unwrap()]).ok().out;
    assert!(said.contains("HDR10+"), "{said}");
    let said = place.run(["plan", fel.to_str().unwrap(), "--preset", "dv81-remux"]).ok().out;
    for words in ["hevc as it is, nothing is encoded", "kept: Dolby Vision profile 8.1", "FEL"] {
        assert!(said.contains(words), "no '{words}' in {said}");
    }
    assert!(!said.contains("x265"), "{said}");
}

#[test]
fn bars_turn_with_a_phones_film_and_follow_its_crop() {
    let place = Place::new();
    let turned = place.path("turned.mp4");
    let source = film(Kind::Phone).mkv;
    let words = ["-i", source.to_str().unwrap(), "-map", "0:v", "-c", "copy"];
    let words = [&words[..], &["-metadata:s:v:0", "rotate=90", "-strict", "unofficial"]].concat();
    ffmpeg(&words, &turned);
    // Above and below as it is stored, right and left as it is shown.
    let (high, wide) = (SIZE.0, SIZE.1);
    let bar = BAR as u16;
    let cases = [
        ("whole.mkv", String::new(), Bars { left: bar, right: bar, ..Bars::default() }),
        // The left bar goes, and half of the right one.
        (
            "crop.mkv",
            format!("crop={}:{high}:{BAR}:0", wide - BAR - BAR / 2),
            Bars { right: bar / 2, ..Bars::default() },
        ),
    ];
    for (name, crop, bars) in cases {
        let out = place.path(name);
        let mut args = vec!["convert", turned.to_str().unwrap(), "-o", out.to_str().unwrap()];
        args.extend(["--preset", "dv81-hevc", "--set", "speed=ultrafast"]);
        if !crop.is_empty() {
            args.extend(["--set", &crop]);
        }
        place.run(args).ok();
        let found = rpus(&out);
        assert_eq!(found.len(), FRAMES, "{name}");
        assert!(found.iter().all(|rpu| rpu.bars() == Some(bars)), "{name}: {:?}", found[0].bars());
        assert_eq!((brightest(&out), record(&out)), (in_order(), [8, 1, 1, 0, 1, 4]), "{name}");
        let size = header(&out).unwrap().hevc().next().unwrap().size;
        let width = if crop.is_empty() { wide } else { wide - BAR - BAR / 2 };
        assert_eq!(size, (width.into(), high.into()), "{name}: upright");
    }
}

#[test]
fn hdr_that_would_be_lost_fails_the_job_unless_it_is_dropped() {
    let place = Place::new();
    let source = film(Kind::Plus).mkv;
    let output = place.path("out.mkv");
    let args = ["convert", source.to_str().unwrap(), "-o", output.to_str().unwrap()];
    let fast = ["--preset", "h264", "--set", "speed=ultrafast"];
    let refused = place.run([&args[..], &fast].concat());
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("Dolby Vision would be lost"), "{}", refused.err);
    assert!(!output.exists());
    place.run([&args[..], &fast, &["--drop-hdr"]].concat()).ok();
    assert!(output.exists());
}

#[test]
fn a_layer_is_kept_and_put_back_by_commands() {
    let place = Place::new();
    let source = film(Kind::Fel).mkv;
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (source_name, out, layer, back) =
        (source.to_str().unwrap().to_owned(), path("out.mkv"), path("l.hevc"), path("back.mkv"));
    place.run(["layer", "save", &source_name, "-o", &layer]).ok();
    place.run(["convert", &source_name, "-o", &out, "--preset", "dv81-remux"]).ok();
    place.run(["layer", "restore", &out, &layer, "-o", &back]).ok();
    assert_eq!(pictures(&source), pictures(Path::new(&back)));
    place.run(["layer", "save", &source_name, "-o", &layer]).refused(2, &["exists already"]);
    let none = path("none.hevc");
    place.run(["layer", "save", &out, "-o", &none]).refused(3, &["no enhancement layer"]);
    assert!(!Path::new(&none).exists());
}
