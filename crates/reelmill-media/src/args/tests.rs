//! Snapshots of representative commands, and their options tried on FFmpeg.

use super::*;
use crate::fixture;
use crate::process::ToolCommand;
use reelmill_core::chunk::Chunk;
use reelmill_core::container::Container;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::hdr::HdrKept;
use reelmill_core::media::{AudioInfo, Colour, FieldOrder};
use reelmill_core::plan::VideoEncode;
use reelmill_core::preset::AudioCodec;
use reelmill_core::pts::PtsList;
use reelmill_core::time::TimeBase;
use std::path::Path;
use tokio_util::sync::CancellationToken;

fn encode(encoder: VideoEncoder) -> VideoEncode {
    VideoEncode {
        encoder,
        crf: encoder.crf_range().map(|(_, _, usual)| usual),
        speed: encoder.speeds().get(5).map(|speed| (*speed).to_owned()),
        tune: None,
        target: None,
        keyframe_interval: 250,
        pixel_format: "yuv420p".into(),
        source_size: (1280, 720),
        turned: 0,
        window: None,
        size: (1280, 720),
        crop: false,
        deinterlace: false,
        tonemap: None,
        field_order: FieldOrder::Progressive,
        colour: Colour::default(),
        hdr: HdrKept::default(),
        threads: 2,
    }
}

fn video(encode: &VideoEncode) -> VideoArgs<'_> {
    VideoArgs {
        path: Path::new("/films/a film.mkv"),
        codec: "h264",
        pixel_format: "yuv420p",
        stream: 0,
        time_base: TimeBase::new(1, 1000).unwrap(),
        encode,
    }
}

/// A chunk of the frames `[start, end)`, ticks, that is warmed up for from `warm_up` on.
pub(super) fn piece((start, end): (i64, Option<i64>), warm_up: Option<i64>) -> Chunk {
    Chunk {
        number: 1,
        start,
        starts_at: None,
        warm_up,
        end,
        prerolls: Vec::new(),
        pts: PtsList::default(),
        bytes: None,
        weight: 1,
    }
}

/// One argument a line, without the guard that every source gets.
fn lines(args: &Args) -> String {
    let lines: Vec<String> =
        args.as_slice().iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    lines.join("\n").replace(&crate::probe::input_guard().join("\n"), "(guard)")
}

#[test]
fn a_chunk_of_each_encoder() {
    for encoder in VideoEncoder::SOFTWARE {
        let encode = encode(encoder);
        let piece = piece((42_000, Some(52_000)), Some(41_680));
        let args = chunk(video(&encode), &piece, Some(32_033), Path::new("/tmp/c.nut"));
        insta::assert_snapshot!(format!("chunk_{encoder}"), lines(&args));
    }
}

#[test]
fn a_whole_film_by_each_kind_of_hardware() {
    let made: Vec<String> = VideoEncoder::HARDWARE
        .into_iter()
        .map(|encoder| {
            let mut encode = encode(encoder);
            if encoder.codec() == "hevc" {
                encode.pixel_format = "yuv420p10le".into();
            }
            let args = whole(video(&encode), 0, Path::new("/tmp/w.nut"));
            assert!(args.clone().into_parts().1 != Args::new().into_parts().1, "no devices");
            format!("{encoder}\n{}", lines(&args).replace('\n', " "))
        })
        .collect();
    insta::assert_snapshot!(made.join("\n\n"));
}

#[test]
fn the_last_chunk_of_an_interlaced_film_scaled_and_described() {
    let mut encode = encode(VideoEncoder::X264);
    encode.threads = 0;
    encode.tune = Some("film".into());
    encode.size = (640, 360);
    encode.field_order = FieldOrder::TopFirst;
    encode.colour = Colour {
        range: Some("tv".into()),
        space: Some("smpte170m".into()),
        transfer: Some("bt470m".into()),
        primaries: Some("no such".into()),
        chroma_location: Some("left".into()),
    };
    let args = chunk(video(&encode), &piece((-5, None), None), None, Path::new("/tmp/c.nut"));
    insta::assert_snapshot!(lines(&args));
}

#[test]
fn a_whole_theora_film_with_odd_sizes() {
    let mut encode = encode(VideoEncoder::X264);
    encode.source_size = (161, 121);
    encode.size = (160, 120);
    encode.crop = true;
    let video = VideoArgs { codec: "theora", ..video(&encode) };
    let origin = lead_in(-20_000, video.time_base);
    let args = whole(video, origin, Path::new("/tmp/w.nut"));
    insta::assert_snapshot!(lines(&args));
}

#[test]
fn times_of_a_whole_film_cannot_be_negative() {
    let base = TimeBase::new(1, 25).unwrap();
    assert_eq!(lead_in(0, base), -250);
    assert_eq!(lead_in(2_000_000, base), -200);
    let coarse = TimeBase::new(60, 1).unwrap();
    assert_eq!(lead_in(0, coarse), -1);
}

#[test]
fn colour_that_does_not_fit_the_pixels_is_not_claimed() {
    let mut encode = encode(VideoEncoder::X264);
    encode.colour.space = Some("gbr".into());
    assert_eq!(output_colour(&encode, "yuv420p").space, None);
    assert_eq!(output_colour(&encode, "bgr24").space.as_deref(), Some("bt709"));
    assert!(picture_chain(&encode, "bgr24").contains("out_color_matrix=bt709"));
    encode.pixel_format = "bgr0".into();
    assert_eq!(output_colour(&encode, "bgr24").space.as_deref(), Some("gbr"));
}

#[test]
fn full_range_stays_full_range() {
    let mut encode = encode(VideoEncoder::Vp9);
    encode.colour.range = Some("pc".into());
    assert!(picture_chain(&encode, "yuvj420p").contains("in_range=pc:out_range=pc"));
}

#[test]
fn audio_is_brought_to_what_the_codec_has() {
    let track = |codec, rate, channels, layout: Option<&str>| AudioTrack {
        stream: 1,
        info: AudioInfo { sample_rate: rate, channels: 6, layout: layout.map(str::to_owned) },
        codec,
        bit_rate: if codec == AudioCodec::Flac { 0 } else { 64_000 * channels },
        channels,
        correction: None,
        apart: None,
    };
    let tracks = [
        track(AudioCodec::Opus, 44_100, 6, Some("5.1(side)")),
        track(AudioCodec::Aac, 22_050, 6, None),
        track(AudioCodec::Ac3, 192_000, 6, Some("5.1")),
        track(AudioCodec::Mp3, 48_000, 2, Some("5.1")),
        track(AudioCodec::Flac, 96_000, 6, Some("hexagonal")),
    ];
    let args = audio(Path::new("/films/f.mkv"), -21_000, &tracks, Path::new("/tmp/a.mp4"));
    insta::assert_snapshot!(lines(&args));
    let nut = lines(&audio(Path::new("/f"), 0, &tracks[..1], Path::new("/tmp/a.nut")));
    assert!(nut.contains("-avoid_negative_ts\ndisabled\n-f\nnut"), "{nut}");
}

#[test]
fn lists_quote_paths_and_never_add_up_rounding() {
    let base = TimeBase::new(1, 3).unwrap();
    let parts = [(Path::new("/tmp/it's"), 10), (Path::new("/tmp/b"), 11), (Path::new("/c"), 12)];
    let text = String::from_utf8(concat_list(&parts, base)).unwrap();
    insta::assert_snapshot!(text);
}

fn stitched(container: Container) -> String {
    let tracks = [
        StitchTrack {
            from: TrackSource::File(Path::new("/tmp/cover.png")),
            codec: "copy",
            repair: Repair::Nothing,
            tags: vec![("mimetype".into(), "image/png".into())],
            dispositions: None,
        },
        StitchTrack {
            from: TrackSource::Source(2),
            codec: "copy",
            repair: Repair::Nothing,
            tags: vec![("bps".into(), String::new())],
            dispositions: Some(vec!["default".into(), "forced".into()]),
        },
        StitchTrack {
            from: TrackSource::Audio(0),
            codec: "copy",
            repair: Repair::DropFirst(1),
            tags: vec![("language".into(), "deu".into())],
            dispositions: Some(vec![]),
        },
    ];
    let colour = Colour { space: Some("bt709".into()), ..Colour::default() };
    let video = StitchVideo {
        codec: "hevc",
        time_base: TimeBase::new(1, 12_800).unwrap(),
        colour: &colour,
        field_order: FieldOrder::BottomFirst,
        tags: vec![("title".into(), "A = B".into())],
        dispositions: vec!["default".into()],
    };
    let inputs = StitchInputs {
        video: VideoInput::List(Path::new("/tmp/parts.ffconcat"), &[]),
        offset_micros: 80_000,
        source: Path::new("/films/f.mkv"),
        origin_micros: -21_000,
        audio: Some(Path::new("/tmp/a.nut")),
    };
    let tags = vec![("major_brand".into(), String::new())];
    lines(&stitch(container, inputs, &video, &tracks, &tags, Path::new("/out/f")))
}

#[test]
fn outputs_of_two_containers() {
    insta::assert_snapshot!("stitch_mkv", stitched(Container::Mkv));
    insta::assert_snapshot!("stitch_mp4", stitched(Container::Mp4));
}

#[tokio::test]
async fn ffmpeg_knows_every_colour_name() {
    let tools = fixture::tools().await;
    for (option, names) in super::encoder::ALL_NAMES {
        for (_, name) in names {
            let output = ToolCommand::uncaged(&tools.ffmpeg)
                .args(["-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=0.04"])
                .args(["-c:v", "ffv1", option, name, "-f", "null", "-"])
                .run(&CancellationToken::new())
                .await;
            assert!(output.is_ok(), "{option} {name}: {output:?}");
        }
    }
}

#[test]
fn tracks_that_are_apart_are_inputs_of_their_own() {
    let apart = |start_micros, length_micros| Apart {
        path: "/tmp/a.3.amr".into(),
        start_micros,
        length_micros,
    };
    let track = |stream, apart| AudioTrack {
        stream,
        info: AudioInfo { sample_rate: 8000, channels: 1, layout: Some("mono".into()) },
        codec: AudioCodec::Aac,
        bit_rate: 64_000,
        channels: 1,
        correction: None,
        apart,
    };
    let tracks = [
        track(1, None),
        track(3, Some(apart(40_000, Some(4_933_375)))),
        track(2, None),
        track(4, Some(apart(0, None))),
    ];
    let args = lines(&audio(Path::new("/f.3gp"), 21_000, &tracks, Path::new("/tmp/a.nut")));
    let maps: Vec<&str> =
        args.lines().zip(args.lines().skip(1)).filter(|it| it.0 == "-map").map(|it| it.1).collect();
    assert_eq!(maps, ["0:1", "1:0", "0:2", "2:0"]);
    // Later by the lead of the audio file and by where it begins, less where the source does.
    assert!(
        args.contains("-itsoffset\n10019000us\n-protocol_whitelist\nfile\n-f\namr\n-t\n4933375us"),
        "{args}"
    );
    insta::assert_snapshot!(lines(&take_out(Path::new("/f.3gp"), 3, Path::new("/tmp/a.3.amr"))));
}
