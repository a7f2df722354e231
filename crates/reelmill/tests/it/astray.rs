//! Films that can be decoded from their beginning only: what their first picture brings
//! is needed by all others, and the header says something else.

use super::judge::{decode, same_frames};
use super::support::{Place, ffmpeg};
use std::path::{Path, PathBuf};

/// A film of H.264 in MP4, a keyframe each second. Its first picture brings the parameters;
/// those in the header are for other transforms. A player that begins at the
/// beginning shows it well; one that begins later shows rubbish.
fn film(place: &Place) -> PathBuf {
    let (raw, bare) = (place.path("raw.h264"), place.path("bare.h264"));
    let picture = "testsrc2=size=160x120:rate=25:duration=12";
    let x264 = "keyint=25:min-keyint=25:scenecut=0:bframes=0:cabac=1";
    ffmpeg(&["-f", "lavfi", "-i", picture, "-c:v", "libx264", "-x264-params", x264], &raw);
    std::fs::write(&bare, once(&std::fs::read(&raw).unwrap())).unwrap();
    let film = place.path("film.mp4");
    let bare = bare.to_str().unwrap();
    ffmpeg(&["-r", "25", "-f", "h264", "-i", bare, "-c", "copy"], &film);
    spoil(&film);
    film
}

/// The stream with only the first of each parameter set.
fn once(stream: &[u8]) -> Vec<u8> {
    let starts: Vec<usize> =
        (0..stream.len() - 3).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let (mut kept, mut seen) = (Vec::new(), Vec::new());
    for (start, end) in starts.iter().zip(ends) {
        let kind = stream[start + 3] & 31;
        if [7, 8].contains(&kind) && seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        kept.extend([0, 0, 0, 1]);
        // The zero before a start code belongs to it.
        kept.extend(stream[start + 3..end].strip_suffix(&[0]).unwrap_or(&stream[start + 3..end]));
    }
    kept
}

/// Turns the header's flag for transforms of 8x8 around, in the last bits of the picture
/// parameters: the flag, no matrices, -2 as chroma's offset, the end.
fn spoil(film: &Path) {
    let mut bytes = std::fs::read(film).unwrap();
    let config = bytes.windows(4).position(|four| four == b"avcC").unwrap() + 4;
    let length =
        |bytes: &[u8], at: usize| usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1]);
    let picture = config + 9 + length(&bytes, config + 6) + 2;
    let end = picture + length(&bytes, picture - 2);
    let last = bytes[picture..end].iter().rposition(|byte| *byte != 0).unwrap() + picture;
    assert_eq!((bytes[picture] & 31, &bytes[last - 1..=last]), (8, &[0x22, 0xc0][..]));
    bytes[last - 1] ^= 0x20;
    std::fs::write(film, bytes).unwrap();
}

#[test]
fn a_film_that_can_be_decoded_from_its_beginning_only_comes_out_right() {
    let place = Place::new();
    let (film, output) = (film(&place), place.path("out.mkv"));
    let source = decode(&film, None);
    assert_eq!((source.frames.len(), source.errors), (300, 0));
    let args = ["--preset", "lossless", "--chunk-seconds", "2", "--json"];
    let mut command = place.reelmill();
    command.arg("convert").arg(&film).arg("-o").arg(&output).args(args);
    let ran = super::support::Ran::of(&mut command).ok();
    let planned: Vec<_> =
        ran.events().into_iter().filter(|event| event["event"] == "planned").collect();
    assert!(planned[0]["chunks"].as_u64() > Some(1), "{planned:?}");
    assert!(planned[1]["whole_reason"].is_string(), "{planned:?}");
    same_frames(&source, &decode(&output, None), 0.001, true).unwrap();
}
