//! A disk with a bad sector, a source that was cut short, a tool that writes too
//! little and says that all went well: never accepted.

use super::judge::decode;
use super::support::{Place, Ran, clip, ffmpeg, long, media, not_run, tool};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes reads of one file fail in a range, as a bad sector does.
const BAD_SECTOR: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t read(int file, void *to, size_t bytes) {
  ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length > 0) {
    name[length] = 0;
    if (strcmp(name, getenv("BAD_FILE")) == 0) {
      off_t bad = atoll(getenv("BAD_FROM")), at = lseek(file, 0, SEEK_CUR);
      if (at >= bad && at < bad + 4096) { errno = EIO; return -1; }
      if (at < bad && at + (off_t)bytes > bad) bytes = bad - at;
    }
  }
  return real(file, to, bytes);
}
"#;

pub(crate) fn script(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.path(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub(crate) fn which(name: &str) -> String {
    let found = tool("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

/// The film in another container.
fn film(place: &Place, container: &str) -> PathBuf {
    let path = place.path(&format!("film.{container}"));
    ffmpeg(&["-i", clip(12).to_str().unwrap(), "-c", "copy", "-movflags", "+faststart"], &path);
    path
}

/// Converts `input`; whether an output was accepted, and how the program ended.
fn convert(place: &Place, input: &Path, with: &[(&str, &Path)], more: &[&str]) -> (bool, Ran) {
    let output = place.path("out.mkv");
    let mut command = place.reelmill();
    command.arg("convert").arg(input).arg("-o").arg(&output).args(super::convert::FAST);
    command.args(["--chunk-seconds", "3"]).args(more).envs(with.iter().copied());
    let ran = Ran::of(&mut command);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    (output.exists(), ran)
}

fn offsets(usual: &[u64], all: u64) -> Vec<u64> {
    if long() { (1..all).map(|n| n * 1000 / all).collect() } else { usual.to_vec() }
}

#[test]
fn a_bad_sector_is_never_taken_for_the_end() {
    let place = Place::new();
    std::fs::write(place.path("bad.c"), BAD_SECTOR).unwrap();
    let library = place.path("bad.so");
    let mut compiler = tool("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
    let built = compiler.arg(place.path("bad.c")).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        return not_run("bad sectors", "no C compiler");
    }
    for container in ["mkv", "mp4", "ts"] {
        let input = film(&place, container);
        let bytes = std::fs::metadata(&input).unwrap().len();
        for part in offsets(&[450], 20) {
            let from = bytes * part / 1000;
            let wrapped = |name: &str| {
                let (real, library, file) = (which(name), library.display(), input.display());
                let text = format!(
                    "#!/bin/sh\nBAD_FILE={file} BAD_FROM={from} LD_PRELOAD={library} exec {real} \"$@\"\n"
                );
                script(&place, &format!("bad-{name}"), &text)
            };
            let (encoder, prober) = (wrapped("ffmpeg"), wrapped("ffprobe"));
            let with = [("REELMILL_FFMPEG", &*encoder), ("REELMILL_FFPROBE", &*prober)];
            let (accepted, ran) = convert(&place, &input, &with, &["--sandbox", "limits"]);
            let told = format!("{container} at {part}‰: {} {}", ran.code, ran.err);
            assert!(!accepted && ran.code != 0, "accepted: {told}");
            assert!(ran.err.contains("what to do"), "{told}");
        }
    }
    // The judge bites: without the bad sector it is accepted.
    let (accepted, ran) = convert(&place, &film(&place, "ts"), &[], &["--sandbox", "limits"]);
    assert!(accepted, "{}", ran.err);
}

#[test]
fn a_source_cut_short_is_refused_or_loses_nothing_that_is_there() {
    let place = Place::new();
    let containers: &[&str] =
        if long() { &["mkv", "mp4", "mov", "ts", "avi", "flv"] } else { &["mkv", "mp4", "ts"] };
    for container in containers {
        let whole = std::fs::read(film(&place, container)).unwrap();
        for part in offsets(&[620], 50) {
            let cut = place.path(&format!("cut.{container}"));
            std::fs::write(&cut, &whole[..whole.len() * part as usize / 1000]).unwrap();
            let (accepted, ran) = convert(&place, &cut, &[], &[]);
            let told = format!("{container} at {part}‰: {} {}", ran.code, ran.err);
            if accepted {
                // Transport streams do not say how long they are.
                assert!(["ts", "avi", "flv"].contains(container), "accepted: {told}");
                let (source, output) = (decode(&cut, None), decode(&place.path("out.mkv"), None));
                assert_eq!(source.frames.len(), output.frames.len(), "{told}");
                std::fs::remove_file(place.path("out.mkv")).unwrap();
            } else {
                assert_eq!(ran.code, 3, "{told}");
            }
        }
    }
}

#[test]
fn a_tool_that_writes_too_little_and_says_nothing() {
    let place = Place::new();
    // The last argument is the output: it loses its last quarter.
    let text = |what: &str| {
        format!(
            "#!/bin/sh\n{} \"$@\" || exit $?\nfor last; do :; done\nfile=${{last#file:}}\n\
             case $file in {what}) size=$(/usr/bin/stat -c %s \"$file\")\n\
             /usr/bin/truncate -s $((size * 3 / 4)) \"$file\";; esac\nexit 0\n",
            which("ffmpeg")
        )
    };
    for (name, what) in [("chunks", "*encoded.nut"), ("output", "*.reelmill-part")] {
        let short = script(&place, name, &text(what));
        let (accepted, ran) = convert(&place, &clip(12), &[("REELMILL_FFMPEG", &short)], &[]);
        assert!(!accepted && ran.code != 0, "{what}: {}", ran.err);
    }
    let honest = script(&place, "honest", &text("nothing"));
    let (accepted, ran) = convert(&place, &clip(12), &[("REELMILL_FFMPEG", &honest)], &[]);
    assert!(accepted, "{}", ran.err);
}

#[test]
fn bombs_are_refused_in_one_line_and_in_little_memory() {
    let place = Place::new();
    let write = |name: &str, text: &[u8]| {
        std::fs::write(place.path(name), text).unwrap();
        place.path(name)
    };
    let many = place.path("many.mkv");
    let sound = ["-f", "lavfi", "-i", "sine=duration=0.1", "-c:a", "pcm_s16le"];
    let maps = ["-map", "0:a"].repeat(250);
    ffmpeg(&[&sound[..], &maps[..]].concat(), &many);
    let huge_gif = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;";
    let cases = [
        (many, "streams"),
        (write("huge.gif", huge_gif), "how large"),
        (write("huge.y4m", b"YUV4MPEG2 W30000 H30000 F25:1 C420\nFRAME\n"), "30000"),
    ];
    for (bomb, word) in &cases {
        let mut command = place.reelmill();
        command.arg("convert").arg(bomb).args(["-o", "out.mkv", "--tool-memory", "256"]);
        Ran::of(&mut command).refused(3, &[word, "what to do"]);
    }
    let Some(folder) = media("bombs of the media folder") else { return };
    for name in
        ["gap.mkv", "att.mkv", "b_gif64k.gif", "b_png16k_rgb.png", "b_png30k.png", "b_y4m.y4m"]
    {
        let bomb = folder.join("attack").join(name);
        let mut command = place.reelmill();
        command.arg("convert").arg(&bomb).args(["-o", "out.mkv", "--tool-memory", "512"]);
        let ran = Ran::of(command.args(super::convert::FAST));
        println!("{name}: {} {}", ran.code, ran.err.lines().next().unwrap_or_default());
        assert!(!ran.err.contains("panicked"), "{name}: {}", ran.err);
        if ran.code != 0 {
            ran.refused(3, &["what to do"]);
        }
        let _ = std::fs::remove_file(place.path("out.mkv"));
        assert_eq!(place.leftovers(), Vec::<PathBuf>::new(), "{name}");
    }
}
