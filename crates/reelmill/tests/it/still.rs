//! Still pictures: upright, with colour profile, transparency and movement, or
//! refused with the reason.

use super::support::{Place, Ran, ffmpeg, media, tool};
use std::path::{Path, PathBuf};

/// A colour profile that is none, but has a profile's length and mark.
fn profile() -> Vec<u8> {
    let mut profile = 200u32.to_be_bytes().to_vec();
    profile.resize(200, b'p');
    profile[36..40].copy_from_slice(b"acsp");
    profile
}

/// Exif data that say how the picture lies.
fn exif(orientation: u8) -> Vec<u8> {
    let mut data = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0]);
    data
}

/// A JPEG of 64×32, red at the left and blue at the right, that lies on its side.
fn turned(place: &Place) -> PathBuf {
    let (plain, path) = (place.path("plain.jpg"), place.path("turned.jpg"));
    let picture = "color=red:s=32x32[l];color=blue:s=32x32[r];[l][r]hstack";
    ffmpeg(&["-f", "lavfi", "-i", picture, "-frames:v", "1", "-q:v", "2"], &plain);
    let bytes = std::fs::read(&plain).unwrap();
    let segment = |marker: u8, data: &[u8]| {
        let length = (data.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker], &length[..], data].concat()
    };
    let colours = [b"ICC_PROFILE\0\x01\x01", &profile()[..]].concat();
    let made = [&bytes[..2], &segment(0xe1, &exif(6)), &segment(0xe2, &colours), &bytes[2..]];
    std::fs::write(&path, made.concat()).unwrap();
    std::fs::remove_file(plain).unwrap();
    path
}

/// Width, height and pixels (red, green, blue, opacity) of a picture.
fn pixels(path: &Path) -> ((usize, usize), Vec<[u8; 4]>) {
    let ran = tool("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut sizes = text.trim().split(',').map(|size| size.parse::<usize>().unwrap());
    let size = (sizes.next().unwrap(), sizes.next().unwrap());
    let ran = tool("ffmpeg")
        .args(["-nostdin", "-v", "error", "-noautorotate", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-pix_fmt", "rgba", "-f", "rawvideo", "pipe:1"])
        .output()
        .unwrap();
    let pixels = ran.stdout.chunks_exact(4).map(|pixel| pixel.try_into().unwrap()).collect();
    (size, pixels)
}

fn convert(place: &Place, input: &Path, output: &str, args: &[&str]) -> Ran {
    let mut command = place.reelmill();
    Ran::of(command.arg("convert").arg(input).arg("-o").arg(place.path(output)).args(args))
}

#[test]
fn a_picture_on_its_side_comes_out_upright_with_its_profile() {
    let place = Place::new();
    let source = turned(&place);
    for name in ["out.webp", "out.jpg", "out.png"] {
        convert(&place, &source, name, &[]).ok();
        let ((width, height), pixels) = pixels(&place.path(name));
        assert_eq!((width, height), (32, 64), "{name}");
        let (top, bottom) = (pixels[16], pixels[32 * 60 + 16]);
        assert!(top[0] > 200 && top[2] < 60, "{name}: {top:?}");
        assert!(bottom[2] > 200 && bottom[0] < 60, "{name}: {bottom:?}");
        let bytes = std::fs::read(place.path(name)).unwrap();
        let has = |what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
        // PNG keeps it compressed.
        assert!(if name.ends_with("png") { has(b"iCCP") } else { has(&profile()) }, "{name}");
        assert!(!has(b"\x01\x12\0\x03\0\0\0\x01\0\x06"), "{name} still says it lies on its side");
    }
    convert(&place, &source, "out.avif", &[]).refused(3, &["colour profile", "webp"]);
    assert!(!place.path("out.avif").exists());
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn transparency_is_kept_or_the_picture_is_refused() {
    let place = Place::new();
    let source = place.path("clear.png");
    let picture = "color=red@0.5:s=32x32,format=rgba,geq=r=255:g=0:b=0:a='X*8'";
    ffmpeg(&["-f", "lavfi", "-i", picture, "-frames:v", "1"], &source);
    for name in ["out.webp", "out.png"] {
        convert(&place, &source, name, &["--set", "quality=90"]).ok();
        let (_, pixels) = pixels(&place.path(name));
        assert!(pixels[1][3] < 30 && pixels[30][3] > 220, "{name}: {:?}", &pixels[..32]);
    }
    convert(&place, &source, "out.jpg", &[]).refused(3, &["transparency", "webp"]);
    convert(&place, &source, "out.avif", &[]).refused(3, &["transparency", "webp"]);
    convert(&place, &source, "out.mkv", &[]).refused(3, &["still picture", "webp"]);
    convert(&place, &source, "bad.webp", &["--set", "quality=0"]).refused(2, &["quality"]);
}

#[test]
fn a_picture_cut_short_is_the_pictures_fault() {
    let place = Place::new();
    let source = place.path("short.bmp");
    ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", "1"], &source);
    let whole = std::fs::read(&source).unwrap();
    std::fs::write(&source, &whole[..whole.len() / 3]).unwrap();
    let ran = convert(&place, &source, "out.webp", &[]).refused(3, &["short.bmp", "what to do"]);
    // The command can be tried again by hand, without pages of lists.
    assert!(ran.err.contains("command: ") && !ran.err.contains("_whitelist"), "{}", ran.err);
    assert!(!place.path("out.webp").exists());
}

#[test]
fn animations_move_on_and_every_format_is_read() {
    let place = Place::new();
    let picture = "testsrc2=s=48x32:r=5:d=1";
    for name in ["moving.gif", "still.bmp", "still.tiff", "still.png", "still.webp"] {
        let frames = if name.ends_with("gif") { "5" } else { "1" };
        ffmpeg(&["-f", "lavfi", "-i", picture, "-frames:v", frames], &place.path(name));
    }
    convert(&place, &place.path("moving.gif"), "moved.webp", &[]).ok();
    let bytes = std::fs::read(place.path("moved.webp")).unwrap();
    let pictures = bytes.windows(4).filter(|name| name == b"ANMF").count();
    assert_eq!(pictures, 5);
    // Frames that all show the same are no animation.
    let same = place.path("same.gif");
    ffmpeg(&["-f", "lavfi", "-i", "color=red:s=48x32:r=5:d=1", "-frames:v", "3"], &same);
    convert(&place, &same, "same.webp", &[]).ok();
    convert(&place, &same, "same.jpg", &[]).ok();
    convert(&place, &place.path("moving.gif"), "moved.jpg", &[]).refused(3, &["animated", "webp"]);
    for name in ["still.bmp", "still.tiff", "still.png", "still.webp"] {
        for output in ["out.webp", "out.avif", "out.jpg", "out.png"] {
            let ran = convert(&place, &place.path(name), output, &["--overwrite"]).ok();
            assert!(!ran.err.contains("error"), "{name} {output}: {}", ran.err);
        }
    }
}

#[test]
fn a_coordinator_makes_pictures_too() {
    let place = Place::new();
    let source = turned(&place);
    let server = super::farm::Server::start(&place, &["--workers", "1"]);
    let mut command = place.reelmill();
    command.arg("submit").arg(&source).args(["--preset", "webp", "--server", &server.url]);
    Ran::of(command.args(["--wait", "-o", "fetched.webp"])).ok();
    assert_eq!(pixels(&place.path("fetched.webp")).0, (32, 64));
}

#[test]
fn real_pictures_are_converted_or_refused_with_the_reason() {
    let Some(folder) = media("real pictures") else { return };
    let place = Place::new();
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder.join("image"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let outputs: &[&str] =
        if super::support::long() { &["webp", "avif", "jpg", "png"] } else { &["webp"] };
    let mut converted = 0;
    for name in names {
        for output in outputs {
            let ran = convert(&place, &name, &format!("out.{output}"), &["--overwrite"]);
            let shown = name.file_name().unwrap().display();
            match ran.code {
                0 => {
                    converted += 1;
                    println!("{shown:<40} {output:<5} converted");
                }
                _ => {
                    println!("{shown:<40} {output:<5} {}", ran.err.lines().next().unwrap_or(""));
                    ran.refused(3, &["what to do"]);
                }
            }
        }
    }
    assert!(converted >= 12, "{converted}");
}
