//! Outputs show exactly the frames of their sources, at their times.

use crate::convert::{Conversion, preset};
use crate::fixture::{ffmpeg, film, film_with_sound};
use reelmill_core::container::Container;
use reelmill_core::error::FailureClass;
use reelmill_core::media::FieldOrder;
use reelmill_core::preset::Preset;
use reelmill_media::judge;
use reelmill_media::probe::probe;
use reelmill_media::process::ToolCommand;
use std::path::Path;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn lossless() -> Preset {
    preset("h264", &["crf=0", "speed=ultrafast"])
}

/// Converts without loss in chunks of 1.5 s and demands exactness.
async fn exact(source: &Path, container: Container) -> Conversion {
    let made = Conversion::run(source, &lossless(), container, 1.5).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{} {container}: {}", source.display(), verdict.complaint());
    made.judge(true).await.unwrap();
    made
}

/// The same, and it must really have been cut.
async fn exact_in_chunks(source: &Path, container: Container) -> Conversion {
    let made = exact(source, container).await;
    assert!(made.parts.len() > 2, "{:?}", made.plan.whole_reason());
    made
}

#[tokio::test]
async fn every_encoder_makes_chunks_that_join() {
    let dir = TempDir::new().unwrap();
    let source = film(dir.path(), "film.mp4", 5, "").await;
    let cases: [(&str, &[&str], &[Container]); 5] = [
        ("h264", &["speed=veryfast"], &[Container::Mkv, Container::Mp4, Container::Mov]),
        ("hevc", &["speed=ultrafast"], &[Container::Mkv, Container::Mp4]),
        ("av1", &["speed=12"], &[Container::Mkv, Container::Webm, Container::Mp4]),
        ("vp9", &["speed=8"], &[Container::Mkv, Container::Webm]),
        ("lossless", &[], &[Container::Mkv]),
    ];
    for (name, set, containers) in cases {
        let preset = preset(name, set);
        let mut made = Conversion::encode(&source, &preset, containers[0], 1.5).await.unwrap();
        assert!(made.parts.len() > 2);
        let mut parts = Vec::new();
        for part in &made.parts {
            parts.extend(judge::frames(&made.tools, part, "null").await.unwrap());
        }
        let times = judge::frames(&made.tools, &source, "null").await.unwrap();
        for container in containers {
            made.plan.container = *container;
            made.out = made.dir.path().join(format!("out.{container}"));
            made.stitch().await.unwrap();
            let verdict = made.verify().await.unwrap();
            assert!(verdict.passed(), "{name} {container}: {}", verdict.complaint());
            let out = judge::frames(&made.tools, &made.out, "null").await.unwrap();
            let digests = |frames: &[judge::Frame]| -> Vec<String> {
                frames.iter().map(|frame| frame.digest.clone()).collect()
            };
            assert!(digests(&parts) == digests(&out), "{name} {container}: joined pictures differ");
            for (want, have) in times.iter().zip(&out) {
                assert!((want.micros - have.micros).abs() <= 501, "{name} {container}");
            }
            assert_eq!(times.len(), out.len());
        }
        if name == "lossless" {
            made.judge(true).await.unwrap();
        }
    }
}

#[tokio::test]
async fn b_frames_and_open_groups_in_every_container() {
    let dir = TempDir::new().unwrap();
    let open = "-x264-params open-gop=1:keyint=25:scenecut=0 -bf 3";
    for name in ["open.mkv", "open.ts", "open.mp4"] {
        let source = film(dir.path(), name, 6, open).await;
        exact_in_chunks(&source, Container::Mkv).await;
    }
    let source = film(dir.path(), "closed.mp4", 6, "-bf 3").await;
    exact_in_chunks(&source, Container::Mp4).await;
}

#[tokio::test]
async fn variable_frame_rate() {
    let dir = TempDir::new().unwrap();
    let uneven = "-vf select=not(mod(n\\,3))+lt(mod(n\\,40)\\,15) -fps_mode passthrough \
                  -enc_time_base 1/90000";
    let mkv = film(dir.path(), "vfr.mkv", 8, uneven).await;
    exact_in_chunks(&mkv, Container::Mp4).await;
    let mp4 =
        film(dir.path(), "vfr.mp4", 8, &format!("{uneven} -video_track_timescale 90000")).await;
    exact_in_chunks(&mp4, Container::Mkv).await;
    exact_in_chunks(&mp4, Container::Mp4).await;
}

#[tokio::test]
async fn streams_that_start_late_or_before_an_edit() {
    let dir = TempDir::new().unwrap();
    let late = film_with_sound(dir.path(), "late.ts", 5, "-output_ts_offset 1000").await;
    for container in [Container::Mkv, Container::Mp4] {
        let made = exact_in_chunks(&late, container).await;
        assert!(made.plan.origin_micros > 999_000_000);
    }
    film_with_sound(dir.path(), "all.mp4", 7, "").await;
    ffmpeg(dir.path(), "-ss 1.3 -i all.mp4 -c copy edited.mp4").await;
    let edited = dir.path().join("edited.mp4");
    for container in [Container::Mkv, Container::Mp4] {
        exact_in_chunks(&edited, container).await;
    }
    ffmpeg(
        dir.path(),
        "-itsoffset 0.7 -i all.mp4 -i all.mp4 -map 0:v -map 1:a -c copy shifted.mkv",
    )
    .await;
    let shifted = dir.path().join("shifted.mkv");
    for container in [Container::Mkv, Container::Mp4] {
        exact_in_chunks(&shifted, container).await;
    }
}

#[tokio::test]
async fn turned_pictures_come_out_upright() {
    let dir = TempDir::new().unwrap();
    film(dir.path(), "plain.mp4", 5, "").await;
    let turn = if crate::convert::tools().await.version.major < 6 {
        "-i plain.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4"
    } else {
        "-display_rotation 90 -i plain.mp4 -c copy turned.mp4"
    };
    ffmpeg(dir.path(), turn).await;
    let made = exact_in_chunks(&dir.path().join("turned.mp4"), Container::Mkv).await;
    let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
    let (_, info) = out.video().unwrap();
    assert_eq!((info.width, info.height, info.rotation), (120, 160, 0));
}

#[tokio::test]
async fn interlaced_pictures_stay_interlaced() {
    let dir = TempDir::new().unwrap();
    let fields = "-vf tinterlace=interleave_bottom,fieldorder=bff -flags +ildct+ilme";
    let source = film(dir.path(), "fields.mkv", 10, fields).await;
    for (preset, container) in [
        (lossless(), Container::Mkv),
        (lossless(), Container::Mp4),
        (preset("lossless", &[]), Container::Mkv),
    ] {
        let made = Conversion::run(&source, &preset, container, 1.5).await.unwrap();
        let encode = made.plan.video.encode.as_ref().unwrap();
        assert_ne!(encode.field_order, FieldOrder::Progressive);
        made.judge(true).await.unwrap();
        assert_eq!(field_flags(&made).await, "1,0", "{container}: interlaced, not top first");
        assert!(made.parts.len() > 2);
    }
}

/// Whether the output's first frame is marked interlaced, and top first.
async fn field_flags(made: &Conversion) -> String {
    let output = ToolCommand::uncaged(&made.tools.ffprobe)
        .args(["-v", "error", "-select_streams", "v", "-read_intervals", "%+#1"])
        .args(["-show_entries", "frame=interlaced_frame,top_field_first"])
        .args(["-of", "default=nk=1:nw=1"])
        .arg(&made.out)
        .run(&CancellationToken::new())
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn sizes_are_cropped_to_even_or_scaled_in_shape() {
    let dir = TempDir::new().unwrap();
    let source = film(dir.path(), "odd.mkv", 4, "-vf scale=161:121 -pix_fmt yuv444p").await;
    ffmpeg(dir.path(), "-i odd.mkv -c:v ffv1 -pix_fmt yuv420p -g 25 odd420.mkv").await;
    let odd = dir.path().join("odd420.mkv");
    let made = exact_in_chunks(&odd, Container::Mkv).await;
    let encode = made.plan.video.encode.as_ref().unwrap();
    assert!(encode.crop);
    assert_eq!(encode.size, (160, 120));
    exact_in_chunks(&source, Container::Mkv).await;
    let wide = film(dir.path(), "wide.mp4", 4, "-vf setsar=4/3").await;
    let preset = preset("h264", &["width=90", "speed=ultrafast"]);
    let made = Conversion::run(&wide, &preset, Container::Mp4, 1.5).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
    let (_, info) = out.video().unwrap();
    assert_eq!((info.width, info.height, info.sample_aspect), (90, 68, Some((4, 3))));
}

#[tokio::test]
async fn a_size_that_changes_and_two_frames_of_one_time_in_one_piece() {
    let dir = TempDir::new().unwrap();
    film(dir.path(), "small.ts", 2, "").await;
    film(dir.path(), "large.ts", 2, "-vf scale=320:240 -output_ts_offset 2.04").await;
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let source = dir.path().join("both.ts");
    std::fs::write(&source, [read("small.ts"), read("large.ts")].concat()).unwrap();
    let made = Conversion::run(&source, &lossless(), Container::Mkv, 1.5).await.unwrap();
    let why = made.plan.whole_reason().unwrap().to_string();
    assert!(why.contains("share the timestamp"), "{why}");
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    assert_eq!(judge::frames(&made.tools, &made.out, "null").await.unwrap().len(), 100);
}

#[tokio::test]
async fn red_green_and_blue_become_what_they_were() {
    let dir = TempDir::new().unwrap();
    let colours = "-f lavfi -i testsrc2=s=160x120:r=25:d=4 -c:v libx264rgb -preset ultrafast";
    ffmpeg(dir.path(), &format!("{colours} -g 25 rgb.mkv")).await;
    let source = dir.path().join("rgb.mkv");
    let made = Conversion::run(&source, &lossless(), Container::Mkv, 1.5).await.unwrap();
    assert!(made.parts.len() > 2, "{:?}", made.plan.whole_reason());
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    let (want, have) = (first_colours(&made, &source).await, first_colours(&made, &made.out).await);
    assert_eq!((want.len(), have.len()), (32 * 24 * 3, 32 * 24 * 3));
    let off: u32 = want.iter().zip(&have).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(off < 3 * 32 * 24 * 3, "{off}");
}

/// The first picture of a film, small, by what the file says of its colours.
async fn first_colours(made: &Conversion, path: &Path) -> Vec<u8> {
    let shown = ToolCommand::uncaged(&made.tools.ffmpeg).args(["-v", "error", "-i"]).arg(path);
    let small = ["-frames:v", "1", "-vf", "scale=32:24:flags=area", "-pix_fmt", "rgb24"];
    let shown = shown.args(small).args(["-f", "rawvideo", "pipe:1"]);
    shown.run(&CancellationToken::new()).await.unwrap().stdout
}

#[tokio::test]
async fn colour_description_survives_every_encoder() {
    let dir = TempDir::new().unwrap();
    let colours =
        "-color_range tv -colorspace bt2020nc -color_trc smpte2084 -color_primaries bt2020";
    let source = film(dir.path(), "colour.mkv", 4, colours).await;
    for (name, set, container) in [
        ("h264", ["speed=ultrafast"], Container::Mp4),
        ("hevc", ["speed=ultrafast"], Container::Mkv),
        ("av1", ["speed=12"], Container::Mp4),
        ("vp9", ["speed=8"], Container::Webm),
        ("lossless", ["keyframe_seconds=1"], Container::Mkv),
    ] {
        let preset = preset(name, &set);
        let made = Conversion::run(&source, &preset, container, 1.5).await.unwrap();
        let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
        let colour = &out.video().unwrap().1.colour;
        let named = [&colour.space, &colour.transfer, &colour.primaries];
        assert_eq!(
            named.map(|value| value.as_deref().unwrap_or("nothing")),
            ["bt2020nc", "smpte2084", "bt2020"],
            "{name}"
        );
    }
}

/// Neither FFV1 nor NUT says which range pictures have: those looked at in the check were
/// taken for limited, and a dark film of full range for another film.
#[tokio::test]
async fn a_dark_film_of_full_range_is_itself() {
    let dir = TempDir::new().unwrap();
    let frame = [vec![24u8; 64 * 48], vec![128; 64 * 48 / 2]].concat();
    std::fs::write(dir.path().join("dark.yuv"), frame.repeat(75)).unwrap();
    let raw = "-f rawvideo -pix_fmt yuvj420p -s 64x48 -i dark.yuv -color_range pc";
    ffmpeg(dir.path(), &format!("{raw} -c:v libx264 -g 25 h264.mp4")).await;
    ffmpeg(dir.path(), &format!("{raw} -c:v ffv1 -g 1 ffv1.mkv")).await;
    for (name, wanted) in [("h264.mp4", "lossless"), ("ffv1.mkv", "lossless"), ("ffv1.mkv", "h264")]
    {
        let source = dir.path().join(name);
        let made =
            Conversion::run(&source, &preset(wanted, &[]), Container::Mkv, 1.0).await.unwrap();
        let verdict = made.verify().await.unwrap();
        assert!(verdict.passed(), "{name} {wanted}: {}", verdict.complaint());
        made.judge(wanted == "lossless").await.unwrap();
        let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
        assert_eq!(out.video().unwrap().1.colour.range.as_deref(), Some("pc"), "{name} {wanted}");
    }
}

#[tokio::test]
async fn what_cannot_be_cut_is_encoded_whole_and_exact() {
    let dir = TempDir::new().unwrap();
    film_with_sound(dir.path(), "b.mkv", 4, "").await;
    for (args, name) in [
        ("-i b.mkv -c:v mpeg4 -bf 2 -q:v 2 -c:a libmp3lame", "packed.avi"),
        ("-i b.mkv -c:v mpeg2video -bf 2 -q:v 2 -c:a mp2", "ps.mpg"),
        ("-i b.mkv -c:v mpeg2video -bf 2 -q:v 2 -an", "raw.m2v"),
        ("-i b.mkv -c:v copy -an", "raw.h264"),
        ("-i b.mkv -c:v flv -c:a libmp3lame -ar 44100", "old.flv"),
        ("-i b.mkv -c:v wmv2 -c:a wmav2", "old.wmv"),
    ] {
        ffmpeg(dir.path(), &format!("{args} {name}")).await;
        for container in [Container::Mkv, Container::Mp4] {
            exact(&dir.path().join(name), container).await;
        }
    }
}

#[tokio::test]
async fn a_source_that_ends_early_is_refused() {
    let dir = TempDir::new().unwrap();
    let film = film_with_sound(dir.path(), "film.mkv", 10, "").await;
    let bytes = std::fs::read(&film).unwrap();
    let cut = dir.path().join("cut.mkv");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let failure = Conversion::run(&cut, &lossless(), Container::Mkv, 1.5).await.err().unwrap();
    assert_eq!(failure.class, FailureClass::Input, "{failure:?}");
    assert!(failure.message.contains("stopped early"), "{failure:?}");
}
