//! Hostile files: what tries to make FFmpeg read other files or speak to the
//! network must reach nothing, on every rung of the sandbox, and in the cage
//! alone when the lists of formats are left out.

use super::support::{Place, Ran, ffmpeg, long, media, not_run, tool};
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that must not be read and a server that must not be asked.
struct Canaries {
    place: Place,
    watch: OwnedFd,
    port: u16,
    asked: Arc<AtomicUsize>,
    counted: AtomicUsize,
}

/// What reached the canaries.
#[derive(Debug, PartialEq)]
struct Reached {
    /// Openings and readings of a canary file.
    files: usize,
    /// Connections to the server.
    requests: usize,
}

const NOTHING: Reached = Reached { files: 0, requests: 0 };

impl Canaries {
    fn new() -> Self {
        let place = Place::new();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        for name in ["good.ts", "good.mp4"] {
            let picture = "testsrc2=size=64x48:rate=25:duration=1";
            ffmpeg(&["-f", "lavfi", "-i", picture, "-c:v", "mpeg2video"], &place.path(name));
            let what = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
            inotify::add_watch(&watch, place.path(name), what).unwrap();
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        // Ends with the test's process; answers nobody.
        std::thread::spawn(move || {
            while server.accept().is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { place, watch, port, asked, counted: AtomicUsize::new(0) }
    }

    /// What reached them since the last question. Connections are served in
    /// turn, so ours, the last, is counted when all before it are.
    fn reached(&self) -> Reached {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        let files = std::iter::from_fn(|| events.next().ok().map(drop)).count();
        let before = self.asked.load(Ordering::SeqCst);
        let _ours = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let all = super::support::wait_for("our own connection to be counted", || {
            Some(self.asked.load(Ordering::SeqCst)).filter(|all| *all > before)
        });
        let known = self.counted.swap(all, Ordering::SeqCst);
        Reached { files, requests: all - known - 1 }
    }

    /// Writes a hostile file that names the canaries.
    fn plant(&self, name: &str, text: &[u8]) -> PathBuf {
        let folder = self.place.path("");
        let replaced = match std::str::from_utf8(text) {
            Ok(text) => text
                .replace("@DIR@", folder.to_str().unwrap().trim_end_matches('/'))
                .replace("@PORT@", &self.port.to_string())
                .into_bytes(),
            Err(_) => text.to_vec(),
        };
        let path = self.place.path(name);
        std::fs::write(&path, replaced).unwrap();
        path
    }

    /// The hostile files: our own, and those of the media folder.
    fn plant_all(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            OURS.iter().map(|(name, text)| self.plant(name, text.as_bytes())).collect();
        if let Some(folder) = media("hostile files of the media folder") {
            let mut names: Vec<PathBuf> = std::fs::read_dir(folder.join("attack"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e != "md"))
                .collect();
            names.sort();
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            files.extend(
                names.iter().map(|path| self.plant(&name(path), &std::fs::read(path).unwrap())),
            );
        }
        files
    }
}

/// Texts that FFmpeg takes for lists of files to play.
const OURS: [(&str, &str); 5] = [
    (
        "list.mp4",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://@DIR@/good.ts\n#EXT-X-ENDLIST\n",
    ),
    ("beside.mkv", "ffconcat version 1.0\nfile good.ts\n"),
    (
        "dash.mp4",
        "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT1S\" minBufferTime=\"PT1S\" \
         profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\"><Period><AdaptationSet \
         mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\" codecs=\"avc1\">\
         <BaseURL>good.mp4</BaseURL><SegmentList duration=\"1\"><SegmentURL media=\"good.mp4\"/>\
         </SegmentList></Representation></AdaptationSet></Period></MPD>\n",
    ),
    (
        "web.mp4",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:@PORT@/x.ts\n#EXT-X-ENDLIST\n",
    ),
    ("parts.ts", "ffconcat version 1.0\nfile http://127.0.0.1:@PORT@/y.ts\n"),
];

const RUNGS: [&str; 3] = ["full", "namespaces", "limits"];

/// The rungs that work here; the others are listed as not run.
fn rungs(place: &Place) -> Vec<&'static str> {
    let works = |rung: &&str| {
        let ran = place.run(["probe", "nothing.mkv", "--sandbox", rung, "--sandbox-require", rung]);
        // It gets as far as the missing file.
        let works = ran.code == 3;
        if !works {
            not_run(&format!("hostile files on rung '{rung}'"), "this machine does not have it");
        }
        works
    };
    RUNGS.into_iter().filter(works).collect()
}

fn probe(canaries: &Canaries, file: &Path, rung: &str, mutant: Option<&str>) -> Ran {
    let mut command = canaries.place.reelmill();
    if let Some(mutant) = mutant {
        command.env("REELMILL_MUTANT", mutant);
    }
    Ran::of(command.arg("probe").arg(file).args(["--sandbox", rung]))
}

/// Whether a file names others, as opposed to being too large or broken.
fn names_others(file: &Path) -> bool {
    let text = std::fs::read(file).unwrap();
    std::str::from_utf8(&text).is_ok_and(|text| !text.starts_with("YUV4MPEG2"))
}

#[test]
fn hostile_files_reach_nothing_on_any_rung() {
    let canaries = Canaries::new();
    let files = canaries.plant_all();
    canaries.reached();
    for rung in rungs(&canaries.place) {
        for file in &files {
            let ran = probe(&canaries, file, rung, None);
            assert_eq!(canaries.reached(), NOTHING, "probe {} on {rung}", file.display());
            if names_others(file) {
                ran.refused(3, &["what to do"]);
            }
            if rung == "full" || long() {
                convert(&canaries, file, rung, &super::convert::FAST);
                convert(&canaries, file, rung, &["--preset", "webp"]);
            }
        }
    }
}

/// As a film and as a picture, whatever it is.
fn convert(canaries: &Canaries, file: &Path, rung: &str, preset: &[&str]) {
    let film = !preset.contains(&"webp");
    let output = canaries.place.path(if film { "output.mkv" } else { "output.webp" });
    let mut command = canaries.place.reelmill();
    command.arg("convert").arg(file).arg("-o").arg(&output).args(["--sandbox", rung]);
    let ran = Ran::of(command.args(preset));
    assert_eq!(canaries.reached(), NOTHING, "convert {} on {rung}", file.display());
    if names_others(file) {
        ran.refused(3, &["what to do"]);
        assert!(!output.exists(), "{}", file.display());
    } else {
        assert!([0, 1, 3].contains(&ran.code), "{}: {} {}", file.display(), ran.code, ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
    assert_eq!(canaries.place.leftovers(), Vec::<PathBuf>::new(), "{}", file.display());
    let _ = std::fs::remove_file(output);
    assert!(!canaries.place.path("../pwned.ttf").exists());
}

#[test]
fn the_judge_would_notice() {
    let canaries = Canaries::new();
    let files = canaries.plant_all();
    canaries.reached();
    // Plain FFmpeg, told to follow everything.
    let mut hit = Reached { files: 0, requests: 0 };
    for file in files.iter().filter(|file| names_others(file)) {
        let mut command = tool("timeout");
        command.args(["20", "ffmpeg", "-nostdin", "-v", "quiet", "-y", "-protocol_whitelist"]);
        command.args(["file,http,tcp,crypto,data,udp,rtp", "-i"]).arg(file);
        let _ = command.arg(canaries.place.path("leak.nut")).output().unwrap();
        let reached = canaries.reached();
        hit.files += reached.files;
        hit.requests += reached.requests;
    }
    assert!(hit.files > 0 && hit.requests > 0, "{hit:?}");
}

#[test]
fn the_cage_holds_without_the_lists() {
    let canaries = Canaries::new();
    let files = canaries.plant_all();
    canaries.reached();
    for rung in rungs(&canaries.place) {
        let mut hit = Reached { files: 0, requests: 0 };
        for file in files.iter().filter(|file| names_others(file)) {
            probe(&canaries, file, rung, Some("lists"));
            let reached = canaries.reached();
            hit.files += reached.files;
            hit.requests += reached.requests;
        }
        if rung == "limits" {
            assert!(hit.files > 0 && hit.requests > 0, "the lists were not left out: {hit:?}");
        } else {
            assert_eq!(hit, NOTHING, "on {rung}");
        }
    }
}

#[test]
fn a_decoder_that_is_not_on_the_list_is_named() {
    let Some(folder) = media("a file that needs a decoder with a known flaw") else { return };
    let place = Place::new();
    let file = folder.join("attack/m.avi");
    let mut command = place.reelmill();
    Ran::of(command.arg("probe").arg(&file)).refused(3, &["'magicyuv'", "what to do"]);
    let mut command = place.reelmill();
    Ran::of(command.arg("convert").arg(&file).args(["-o", "out.mkv"])).refused(3, &["'magicyuv'"]);
}

/// Names that a shell, a URL parser, a pattern or a filter would take amiss.
fn nasty_names() -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    let mut names: Vec<std::ffi::OsString> = [
        "-y.mp4",
        "http:x.mp4",
        "concat:good.mp4",
        "img%03d.mp4",
        "a\nb.mp4",
        "we:ird,[name]'x\\.mp4",
        "$(touch pwned);`touch pwned`.mp4",
        "Case.mp4",
        "case.mp4",
        "\u{e9}.mp4",
        "e\u{301}.mp4",
    ]
    .map(Into::into)
    .into();
    names.push(std::ffi::OsString::from_vec(b"latin-\xe9\xff.mp4".to_vec()));
    names.push(("n".repeat(251) + ".mp4").into());
    names
}

#[test]
fn nasty_names_work_from_end_to_end() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let film = place.path("film.mp4");
    let picture = "testsrc2=size=64x48:rate=10:duration=1";
    ffmpeg(&["-f", "lavfi", "-i", picture, "-c:v", "mpeg4"], &film);
    let folder = std::ffi::OsStr::from_bytes(b"out-\xff%d");
    std::fs::create_dir(place.path("").join(folder)).unwrap();
    let mut names = nasty_names();
    if !long() {
        names.rotate_right(2);
        names.truncate(7);
    }
    let mut command = place.reelmill();
    command.arg("convert").args(super::convert::FAST).arg("-o").arg(folder).arg("--");
    for name in &names {
        std::fs::copy(&film, place.path("").join(name)).unwrap();
        command.arg(name);
    }
    Ran::of(&mut command).ok();
    for name in &names {
        let output = place.path("").join(folder).join(Path::new(name).with_extension("mkv"));
        assert!(std::fs::metadata(&output).is_ok_and(|m| m.len() > 500), "{}", output.display());
    }
    assert_eq!(std::fs::read_dir(place.path("").join(folder)).unwrap().count(), names.len());
    assert!(!place.path("pwned").exists());
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}
