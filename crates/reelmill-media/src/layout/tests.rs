//! Tests of the layout module: real tool output, real files.

use super::*;
use crate::fixture;
use crate::packets;
use crate::probe::probe;
use proptest::prelude::*;
use reelmill_core::chunk::{Chunk, slice};
use reelmill_core::cut::{ChunkLength, Film, cut};
use std::io::Write as _;
use tokio_util::sync::CancellationToken;

/// Frames as (timestamp, hash), of the whole file or of one chunk, decoded as
/// a worker does it.
async fn frames(path: &Path, chunk: Option<&Chunk>, tb: f64) -> Vec<(i64, String)> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let (seek, trim) = match chunk {
        None => (String::new(), "null".to_owned()),
        Some(chunk) => {
            let seek = chunk.prerolls.first().map_or(String::new(), |preroll| {
                format!("-seek_timestamp 1 -noaccurate_seek -ss {:.6}", *preroll as f64 * tb)
            });
            let end = chunk.end.map_or(String::new(), |end| format!(":end_pts={end}"));
            (seek, format!("trim=start_pts={}{end}", chunk.start))
        }
    };
    let args = format!(
        "-v quiet -copyts {seek} -i {name} -map 0:v:0 -vf {trim} -fps_mode passthrough -f framehash -hash murmur3 -"
    );
    let output = fixture::ffmpeg(path.parent().unwrap(), &args).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect()
}

/// A file of the same length that has only `ranges` of `path`.
fn sparse(path: &Path, ranges: &[ByteRange]) -> std::path::PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let copy =
        path.with_file_name(format!("sparse.{}", path.extension().unwrap().to_str().unwrap()));
    let mut file = File::create(&copy).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for range in ranges {
        file.seek(SeekFrom::Start(range.start)).unwrap();
        file.write_all(&bytes[range.start as usize..range.end as usize]).unwrap();
    }
    copy
}

/// Decodes chunks of the film from sparse copies, and compares.
async fn check(film: &Path) {
    let (tools, cancel) = (fixture::tools().await, CancellationToken::new());
    let info = probe(&tools, film, &cancel).await.unwrap();
    let index = packets::index(&tools, film, 0, &cancel).await.unwrap();
    let found = index.frames(&info.format).unwrap();
    let skeleton = skeleton(film, &info.format).unwrap();
    let tb = index.time_base.seconds(1);
    let whole = Film { frames: &found, scenes: &[], interval: 250, scene_keys: false };
    let chunks = cut(whole, ChunkLength::Fixed(3.0));
    for chunk in [&chunks[0], &chunks[4], &chunks[chunks.len() - 1]] {
        let ranges = slice(&skeleton, chunk.bytes, info.size);
        assert!(!ranges.is_empty(), "{film:?}: no slice of {} bytes", info.size);
        let copy = sparse(film, &ranges);
        let whole = frames(film, Some(chunk), tb).await;
        assert_eq!(whole.len(), chunk.pts.len(), "{film:?} {}", chunk.number);
        let part = frames(&copy, Some(chunk), tb).await;
        let got = part.len();
        assert!(part == whole, "{film:?} {}: {got} frames of {}", chunk.number, whole.len());
    }
}

#[tokio::test]
async fn a_slice_decodes_as_the_whole_does() {
    let dir = tempfile::tempdir().unwrap();
    let rich = "-vf noise=alls=60:allf=t -b:v 8M";
    check(&fixture::film(dir.path(), "film.mkv", 24, rich).await).await;
    for (name, options) in [("back.mp4", ""), ("front.mp4", "-movflags +faststart")] {
        let args = format!("-i film.mkv -c copy {options} {name}");
        fixture::ffmpeg(dir.path(), &args).await;
        check(&dir.path().join(name)).await;
    }
}

#[tokio::test]
async fn a_slice_of_webm_decodes_as_the_whole_does() {
    let dir = tempfile::tempdir().unwrap();
    let args = "-f lavfi -i testsrc2=s=320x240:r=25:d=4 -vf noise=alls=60:allf=t -c:v libvpx \
        -deadline realtime -cpu-used 16 -b:v 8M -minrate 8M -maxrate 8M -g 25 part.webm";
    fixture::ffmpeg(dir.path(), args).await;
    fixture::ffmpeg(dir.path(), "-stream_loop 5 -i part.webm -c copy film.webm").await;
    check(&dir.path().join("film.webm")).await;
}

#[tokio::test]
async fn large_attachments_are_part_of_the_skeleton() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("font.ttf"), vec![7; 3 << 20]).unwrap();
    let options = "-attach font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font";
    let film = fixture::film(dir.path(), "film.mkv", 4, options).await;
    let ranges = skeleton(&film, "matroska,webm").unwrap();
    assert!(ranges[0].end > 3 << 20, "{ranges:?}");
}

#[tokio::test]
async fn all_of_the_file_is_needed_when_its_layout_is_odd() {
    let dir = tempfile::tempdir().unwrap();
    let fragmented = "-movflags +frag_keyframe+empty_moov";
    let fragmented = fixture::film(dir.path(), "frag.mp4", 4, fragmented).await;
    assert_eq!(skeleton(&fragmented, "mov,mp4,m4a").unwrap(), []);
    let live = fixture::film(dir.path(), "live.mkv", 4, "-live 1").await;
    assert_eq!(skeleton(&live, "matroska,webm").unwrap(), [], "no cues");
    for (name, format) in [("film.avi", "avi"), ("film.ts", "mpegts")] {
        let film = fixture::film(dir.path(), name, 1, "").await;
        assert_eq!(skeleton(&film, format).unwrap(), [], "{name}");
    }
    for (name, format) in [("film.mkv", "matroska,webm"), ("film.mp4", "mov,mp4")] {
        let film = fixture::film(dir.path(), name, 4, "").await;
        assert_ne!(skeleton(&film, format).unwrap(), [], "{name}");
        let bytes = std::fs::read(&film).unwrap();
        std::fs::write(&film, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(skeleton(&film, format).unwrap(), [], "{name} cut short");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn garbage_is_odd_but_never_a_trouble(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        start in 0usize..3,
    ) {
        let starts: [&[u8]; 3] = [
            b"",
            b"\x1A\x45\xDF\xA3\x80\x18\x53\x80\x67\xFF\x11\x4D\x9B\x74\xA0",
            b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov\0\0\0\x01mdat",
        ];
        bytes.splice(0..0, starts[start].iter().copied());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        for format in ["matroska,webm", "mov,mp4"] {
            for range in skeleton(file.path(), format).unwrap() {
                prop_assert!(range.start < range.end && range.end <= bytes.len() as u64);
            }
        }
    }
}
