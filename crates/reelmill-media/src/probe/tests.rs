//! Tests of the probe module: real tool output, real files.

use super::*;
use crate::fixture;
use reelmill_core::media::{Hdr, StreamKind};
use reelmill_core::time::TimeBase;
#[cfg(unix)]
use std::time::SystemTime;

async fn probed(path: &Path) -> Result<MediaInfo, Failure> {
    probe(&fixture::tools().await, path, &CancellationToken::new()).await
}

#[tokio::test]
async fn describes_a_film_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let meta = ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\n";
    std::fs::write(dir.path().join("meta.txt"), meta).unwrap();
    std::fs::write(dir.path().join("sub.srt"), "1\n00:00:00,100 --> 00:00:01,000\nhello\n")
        .unwrap();
    std::fs::write(dir.path().join("font.ttf"), "not a font").unwrap();
    let cover = "-f lavfi -i color=s=32x32 -frames:v 1 cover.png";
    fixture::ffmpeg(dir.path(), cover).await;
    let film = "-f lavfi -i testsrc2=s=322x180:r=30000/1001:d=2 -f lavfi -i sine=d=2 -i sub.srt -i meta.txt -map 0 -map 1 -map 2 -map_metadata 3 \
        -vf setsar=4/3 -c:v libx264 -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv -c:a aac -c:s srt \
        -metadata:s:a:0 language=deu -metadata:s:a:0 title=Kommentar -disposition:a:0 +comment \
        -attach font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font -attach cover.png -metadata:s:t:1 mimetype=image/png -metadata:s:t:1 filename=cover.png film.mkv";
    fixture::ffmpeg(dir.path(), film).await;
    let info = probed(&dir.path().join("film.mkv")).await.unwrap();
    assert!(info.is_format("matroska"));
    assert!((info.duration.unwrap() - 2.0).abs() < 0.1);
    assert_eq!(info.tags["title"], "A film");
    let titles: Vec<_> = info.chapters.iter().map(|c| c.title.as_deref()).collect();
    assert_eq!(titles, [Some("One"), None]);
    assert_eq!((info.chapters[1].start, info.chapters[1].end), (1.0, 2.0));
    let (stream, video) = info.video().unwrap();
    assert_eq!(stream.codec, "h264");
    assert_eq!(stream.time_base, TimeBase::new(1, 1000));
    assert_eq!((video.width, video.height), (322, 180));
    assert_eq!(video.sample_aspect, Some((4, 3)));
    assert_eq!(video.colour.transfer.as_deref(), Some("bt709"));
    assert_eq!(video.colour.range.as_deref(), Some("tv"));
    assert!((video.fps().unwrap() - 29.97).abs() < 0.01);
    let (sound, audio) = info.audio().next().unwrap();
    assert_eq!((sound.language(), sound.title()), (Some("deu"), Some("Kommentar")));
    assert!(sound.dispositions.contains(&"comment".to_owned()));
    assert_eq!((audio.channels, audio.sample_rate), (1, 44_100));
    let kinds: Vec<_> = info.streams.iter().skip(2).map(|s| &s.kind).collect();
    assert!(
        matches!(kinds[..], [StreamKind::Subtitle, StreamKind::Attachment, StreamKind::Cover(_)]),
        "{kinds:?}"
    );
}

/// The bytes of an MP4 file with another matrix in its first track header.
fn with_matrix(path: &Path, matrix: [i32; 9]) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let header = bytes.windows(4).position(|kind| kind == b"tkhd").unwrap();
    let place = &mut bytes[header + 44..][..36];
    for (place, value) in place.chunks_mut(4).zip(matrix) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

#[tokio::test]
async fn sees_rotation_and_hdr_in_mp4() {
    let dir = tempfile::tempdir().unwrap();
    fixture::film(
        dir.path(),
        "flat.mp4",
        1,
        "-color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc",
    )
    .await;
    let turned = dir.path().join("turned.mp4");
    let quarter = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30];
    std::fs::write(&turned, with_matrix(&dir.path().join("flat.mp4"), quarter)).unwrap();
    let info = probed(&turned).await.unwrap();
    let (_, video) = info.video().unwrap();
    assert_eq!(video.rotation, 90);
    assert!(!video.mirrored);
    assert_eq!(video.upright_size(), (240, 320));
    assert_eq!(video.hdr, Hdr::Hdr10);
}

#[tokio::test]
async fn what_is_not_media_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let srt = "1\n00:00:01,000 --> 00:00:02,000\nhello\n";
    let hls =
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let huge = "YUV4MPEG2 W32000 H32000 F25:1\nFRAME\n";
    let cases = [
        (dir.path().join("none.mkv"), FailureClass::Permanent, "there is no file"),
        (dir.path().to_owned(), FailureClass::Permanent, "is a folder"),
        (write("empty.mkv", ""), FailureClass::Input, "is empty (0 bytes)"),
        (write("letter.mp4", "Dear Sir or Madam"), FailureClass::Input, "is not a media file"),
        (write("words.mkv", srt), FailureClass::Input, "takes it for 'srt'"),
        (write("huge.y4m", huge), FailureClass::Input, "32000x32000"),
        (
            write("photo.heic", "\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x08mdat"),
            FailureClass::Input,
            "is a still picture",
        ),
        (write("list.mp4", hls), FailureClass::Input, "takes it for 'hls'"),
    ];
    for (path, class, phrase) in cases {
        let failure = probed(&path).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.contains(phrase), "{failure}");
        assert!(failure.advice.is_some(), "{failure}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(failure.message.contains(name), "{failure}");
    }
}

#[tokio::test]
async fn a_cut_short_mp4_is_called_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let film = fixture::film(dir.path(), "film.mp4", 2, "").await;
    let bytes = std::fs::read(&film).unwrap();
    std::fs::write(&film, &bytes[..bytes.len() / 2]).unwrap();
    let failure = probed(&film).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Input);
    assert!(failure.message.contains("is incomplete"), "{failure}");
}

#[tokio::test]
async fn odd_names_are_only_names() {
    let dir = tempfile::tempdir().unwrap();
    let film = fixture::film(dir.path(), "film.mkv", 1, "").await;
    for name in ["-y.mkv", "http:x.mkv", "img%03d.mkv", "we:ird,[name]'x.mkv", "a\nb.mkv", "ü.mkv"]
    {
        let odd = dir.path().join(name);
        std::fs::copy(&film, &odd).unwrap();
        let info = probed(&odd).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(info.streams.len(), 2, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.mkv");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let failure = probed(&pipe).await.unwrap_err();
    assert!(failure.message.contains("not an ordinary file"), "{failure}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_known_of_a_file_is_asked_again_only_when_the_file_changes() {
    let tools = fixture::tools().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    fixture::ffmpeg(dir.path(), "-f lavfi -i testsrc2=s=64x64:d=1 -c:v mpeg4 film.mkv").await;
    let set = |ago: u64| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
    };
    let cancel = CancellationToken::new();
    let dumb = Tools { ffprobe: dir.path().join("none"), ..tools.clone() };
    set(60);
    let known = probe(&tools, &path, &cancel).await.unwrap();
    assert_eq!(probe(&dumb, &path, &cancel).await.unwrap(), known);

    // Any write, though size and time are the same in the end.
    set(60);
    assert!(probe(&dumb, &path, &cancel).await.is_err());
    // Too fresh to be sure that the next write shows.
    set(0);
    probe(&tools, &path, &cancel).await.unwrap();
    assert!(probe(&dumb, &path, &cancel).await.is_err());
}
