//! Everything beside the picture is kept as far as the container can hold it.

use crate::convert::{Conversion, preset};
use crate::fixture::{ffmpeg, film_with_sound, rich_film};
use reelmill_core::container::Container;
use reelmill_core::media::{MediaInfo, Stream, StreamKind};
use reelmill_media::probe::probe;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

async fn converted(name: &str, set: &[&str], container: Container) -> (MediaInfo, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let source = rich_film(dir.path()).await;
    let preset = preset(name, set);
    let mut made = Conversion::run(&source, &preset, container, 1.5).await.unwrap();
    assert!(made.parts.len() > 2);
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{container}: {}", verdict.complaint());
    let first = std::fs::read(&made.out).unwrap();
    made.stitch().await.unwrap();
    assert!(first == std::fs::read(&made.out).unwrap(), "{container}: not the same when repeated");
    let media = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
    (media, first)
}

fn describe(stream: &Stream) -> String {
    let kind = match stream.kind {
        StreamKind::Video(_) => "video",
        StreamKind::Cover(_) => "cover",
        StreamKind::Audio(_) => "audio",
        StreamKind::Subtitle => "subtitle",
        StreamKind::Attachment => "attachment",
        StreamKind::Data => "data",
    };
    let tag = |key: &str| stream.tags.get(key).cloned().unwrap_or_else(|| "-".into());
    let flags = stream.dispositions.join("+");
    let title = stream.title().map_or_else(|| tag("handler_name"), str::to_owned);
    format!("{kind} {} {} {title} [{flags}]", stream.codec, tag("language"))
}

fn summary(media: &MediaInfo) -> Vec<String> {
    let mut lines: Vec<String> = media.streams.iter().map(describe).collect();
    for chapter in &media.chapters {
        let title = chapter.title.as_deref().unwrap_or("-");
        lines.push(format!("chapter {:.1}-{:.1} {title}", chapter.start, chapter.end));
    }
    let own = concat!("reelmill ", env!("CARGO_PKG_VERSION"));
    let tag = |(key, value): (&String, &String)| {
        format!("{key}={value}").replace(own, "reelmill VERSION")
    };
    lines.extend(media.tags.iter().map(tag));
    lines
}

#[tokio::test]
async fn matroska_holds_everything() {
    let (media, _) = converted("h264", &["speed=ultrafast"], Container::Mkv).await;
    insta::assert_json_snapshot!(summary(&media));
}

#[tokio::test]
async fn mp4_holds_most() {
    let (media, bytes) = converted("hevc", &["speed=ultrafast"], Container::Mp4).await;
    insta::assert_json_snapshot!(summary(&media));
    let at = |name: &[u8]| bytes.windows(4).position(|four| four == name);
    assert!(at(b"moov") < at(b"mdat"), "players should not have to read to the end first");
    assert!(at(b"hvc1").is_some(), "what Apple's players want");
}

#[tokio::test]
async fn webm_holds_some() {
    let (media, _) = converted("vp9", &["speed=8"], Container::Webm).await;
    insta::assert_json_snapshot!(summary(&media));
}

#[tokio::test]
async fn encoded_sound_keeps_its_place() {
    let dir = TempDir::new().unwrap();
    let late =
        film_with_sound(dir.path(), "late.ts", 5, "-output_ts_offset 50 -ac 6 -c:a ac3").await;
    for codec in ["aac", "opus", "flac", "ac3", "mp3"] {
        for container in [Container::Mkv, Container::Mp4] {
            let codec = format!("audio.codec={codec}");
            let set = ["speed=ultrafast", "audio.mode=encode", codec.as_str()];
            let made = Conversion::run(&late, &preset("h264", &set), container, 1.5).await.unwrap();
            let verdict = made.verify().await.unwrap();
            assert!(verdict.passed(), "{codec} {container}: {}", verdict.complaint());
        }
    }
}

#[tokio::test]
async fn sound_of_mxf_without_an_index_is_heard_to_its_end() {
    const FOOTER: &[u8] = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x04";
    let dir = TempDir::new().unwrap();
    for (name, length) in [("short.mxf", "0.16"), ("long.mxf", "20")] {
        let options = format!("-s 352x288 -c:v mpeg2video -g 1 -c:a pcm_s16le -ac 2 -t {length}");
        let film = film_with_sound(dir.path(), name, 20, &options).await;
        let bytes = std::fs::read(&film).unwrap();
        let footer = bytes.windows(FOOTER.len()).rposition(|part| part == FOOTER).unwrap();
        std::fs::write(&film, &bytes[..footer]).unwrap();
        let preset = preset("h264", &["speed=ultrafast"]);
        let made = Conversion::run(&film, &preset, Container::Mp4, 60.0).await.unwrap();
        let verdict = made.verify().await.unwrap();
        assert!(verdict.passed(), "{name}: {}", verdict.complaint());
    }
}

#[tokio::test]
async fn sound_whose_packets_do_not_tell_their_length_is_copied_all_the_same() {
    let dir = TempDir::new().unwrap();
    // The last packet of 7 s of ALAC at 44.1 kHz is shorter than the others.
    let sound = "-f lavfi -i sine=r=44100:d=7 -f lavfi -i testsrc2=s=64x48:r=5:d=7 \
                 -c:a alac -c:v libx264 -preset ultrafast alac.mov";
    ffmpeg(dir.path(), sound).await;
    let set = preset("h264", &["speed=ultrafast"]);
    let source = dir.path().join("alac.mov");
    let mut there = Conversion::run(&source, &set, Container::Mkv, 60.0).await.unwrap();
    let mut back = Conversion::run(&there.out, &set, Container::Mp4, 60.0).await.unwrap();
    for made in [&mut there, &mut back] {
        let verdict = made.verify().await.unwrap();
        assert!(verdict.passed(), "{}", verdict.complaint());
        // What is cut off at the end is noticed none the less.
        ffmpeg(
            dir.path(),
            &format!(
                "-i {} -map 0 -c copy -t 6.7 short.{}",
                made.out.display(),
                made.plan.container
            ),
        )
        .await;
        made.out = dir.path().join(format!("short.{}", made.plan.container));
        let verdict = made.verify().await.unwrap();
        assert!(verdict.complaint().contains("audio 0"), "{}", verdict.complaint());
    }
}

#[tokio::test]
async fn the_last_packet_of_opus_is_heard_in_mp4() {
    let dir = TempDir::new().unwrap();
    // Begins late, as its decoder drops the first packet, and ends within a packet.
    let sound = "-f lavfi -i sine=r=48000:d=3 -f lavfi -i testsrc2=s=64x48:r=5:d=3 -map 1 -map 0 \
                 -c:v wmv2 -c:a wmav2 late.wmv";
    ffmpeg(dir.path(), sound).await;
    let set = preset("h264", &["speed=ultrafast", "audio.mode=encode", "audio.codec=opus"]);
    let source = dir.path().join("late.wmv");
    let made = Conversion::run(&source, &set, Container::Mp4, 60.0).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
}

#[tokio::test]
async fn a_subtitle_that_shows_nothing_does_not_end_a_webm() {
    let dir = TempDir::new().unwrap();
    let events = "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, \
                  Name, MarginL, MarginR, MarginV, Effect, Text\n\
                  Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,\n\
                  Dialogue: 0,0:00:02.00,0:00:02.50,Default,,0,0,0,,shown\n";
    std::fs::write(dir.path().join("s.ass"), events).unwrap();
    let film = "-f lavfi -i testsrc2=s=64x48:r=10:d=4 -i s.ass -map 0 -map 1 -c:v libx264 \
                -preset ultrafast -c:s ass film.mkv";
    ffmpeg(dir.path(), film).await;
    let source = dir.path().join("film.mkv");
    let set = preset("vp9", &["speed=8"]);
    let made = Conversion::run(&source, &set, Container::Webm, 60.0).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    let bytes = std::fs::read(&made.out).unwrap();
    assert_eq!(bytes.windows(5).filter(|word| *word == b"shown").count(), 1);
}
