//! Whatever a file is called and however it is to be encoded: FFmpeg reads in
//! the arguments what was meant, and nothing else.

use super::*;
use proptest::prelude::*;
use reelmill_core::container::Container;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::media::{AudioInfo, Colour, FieldOrder};
use reelmill_core::plan::VideoEncode;
use reelmill_core::preset::{Deinterlace, Preset, Presets};
use reelmill_core::time::TimeBase;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

static PRESETS: LazyLock<Presets> = LazyLock::new(|| Presets::built_in().unwrap());

/// Options of the commands that take no value, by FFmpeg's documentation.
const BARE: [&str; 10] = [
    "-nostdin",
    "-hide_banner",
    "-nostats",
    "-y",
    "-copyts",
    "-noaccurate_seek",
    "-an",
    "-sn",
    "-dn",
    "-xerror",
];

/// A command as FFmpeg reads it.
#[derive(Debug, Default, PartialEq)]
struct Read {
    inputs: Vec<OsString>,
    outputs: Vec<OsString>,
    /// Names of options, with the values of those that carry a person's text.
    options: BTreeSet<String>,
    texts: Vec<String>,
}

/// Reads words as FFmpeg does: an option takes the next word, whatever that is,
/// as its value, unless it takes none; a word that is neither is an output.
fn read(words: &[OsString]) -> Read {
    let mut read = Read::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if !text.starts_with('-') {
            read.outputs.push(word.clone());
            continue;
        }
        let value = if BARE.contains(&text.as_str()) { None } else { words.next() };
        match (text.as_str(), value) {
            ("-i", Some(value)) => read.inputs.push(value.clone()),
            (name, Some(value)) if name.starts_with("-metadata") => {
                read.texts.push(value.to_string_lossy().into_owned());
            }
            _ => {}
        }
        read.options.insert(text);
    }
    read
}

/// Any bytes that a file's name can have.
fn name() -> impl Strategy<Value = PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let wild = prop::collection::vec((1u8..=255).prop_filter("slash", |b| *b != b'/'), 1..40);
    let sly = prop::sample::select(vec![
        "-y",
        "-i",
        "--",
        "-vf",
        "http://h/x",
        "concat:a|b",
        "file:x",
        "pipe:1",
        "img%03d.png",
        "-f lavfi",
        "@list",
        "a\nb",
        "x' -y '",
        "[0:v]",
        "a,b;c",
        "\"q\"",
        "$(x)",
        "\\",
    ]);
    let sly = (sly, "[a-z]{0,3}").prop_map(|(sly, rest)| format!("{sly}{rest}").into_bytes());
    prop_oneof![wild, sly].prop_map(|bytes| PathBuf::from("/in").join(OsString::from_vec(bytes)))
}

/// Any text that may be set with `--set`.
fn setting() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "crf",
        "speed",
        "tune",
        "width",
        "height",
        "upscale",
        "keyframe_seconds",
        "format",
        "video.encoder",
        "audio.codec",
        "audio.mode",
        "audio.bitrate_per_channel",
        "description",
    ]);
    let value = prop_oneof![
        "[0-9]{1,4}",
        "-?[0-9.]{1,6}",
        "[a-z]{1,12}",
        "\\PC{0,20}",
        prop::sample::select(vec![
            "fast -y", "8", "medium", "film", "true", "x264", "opus", "flac"
        ])
        .prop_map(str::to_owned),
    ];
    (key, value).prop_map(|(key, value)| format!("{key}={value}"))
}

fn encode(preset: &Preset, colour: &str) -> VideoEncode {
    let video = preset.video.as_ref().unwrap();
    VideoEncode {
        encoder: video.encoder,
        crf: video.crf,
        speed: video.speed.clone(),
        tune: video.tune.clone(),
        target: None,
        keyframe_interval: 250,
        pixel_format: video.encoder.pixel_format("yuv420p").0.into(),
        source_size: (1280, 720),
        turned: 0,
        window: video.crop,
        size: (video.width.unwrap_or(1280), video.height.unwrap_or(720)),
        crop: false,
        deinterlace: video.deinterlace == Deinterlace::On,
        tonemap: None,
        field_order: FieldOrder::Progressive,
        colour: Colour { transfer: Some(colour.to_owned()), ..Colour::default() },
        hdr: reelmill_core::hdr::HdrKept::default(),
        threads: 2,
    }
}

fn url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Options that commands of this encoder may have beside the usual ones.
fn allowed(words: &[OsString], plain: &Read) -> bool {
    let read = read(words);
    let may = ["-preset:v", "-tune:v", "-crf:v", "-cpu-used:v", "-svtav1-params"];
    read.options.iter().all(|name| plain.options.contains(name) || may.contains(&name.as_str()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn ffmpeg_reads_what_was_meant(
        source in name(), out in name(), title in "\\PC{0,30}", colour in "\\PC{0,12}",
        wanted in prop::collection::vec(setting(), 0..3), which in 0usize..5, start in any::<i32>(),
    ) {
        let preset = ["h264", "hevc", "av1", "vp9", "lossless"][which];
        let presets = &*PRESETS;
        // What does not fit is refused; what is left is used.
        let fits = |set: &String| presets.get(preset, std::slice::from_ref(set)).is_ok();
        let wanted: Vec<String> = wanted.into_iter().filter(fits).collect();
        let Ok(preset) = presets.get(preset, &wanted) else { return Ok(()) };
        let encode = encode(&preset, &colour);
        let video = VideoArgs {
            path: &source, codec: "h264", pixel_format: "yuv420p", stream: 0,
            time_base: TimeBase::new(1, 1000).unwrap(), encode: &encode,
        };
        let usual = encode_of(encode.encoder);
        let plain = VideoArgs { path: Path::new("/in/film"), encode: &usual, ..video };
        let start = i64::from(start);
        let piece = super::tests::piece((start, Some(start + 500)), Some(start - 100));
        let args = chunk(video, &piece, Some(start), &out);
        let meant = read(chunk(plain, &piece, Some(0), Path::new("/in/out")).as_slice());
        let found = read(args.as_slice());
        prop_assert_eq!(&found.inputs, &[url(&source)]);
        prop_assert_eq!(&found.outputs, &[url(&out)]);
        prop_assert!(allowed(args.as_slice(), &meant), "{:?}", args);

        let track = AudioTrack {
            stream: 1,
            info: AudioInfo { sample_rate: 44_100, channels: 2, layout: Some(title.clone()) },
            codec: preset.audio.codec,
            bit_rate: preset.audio.bitrate_per_channel,
            channels: 2,
            correction: None,
            apart: None,
        };
        let found = read(audio(&source, 0, &[track], &out).as_slice());
        prop_assert_eq!(&found.inputs, &[url(&source)]);
        prop_assert_eq!(&found.outputs, &[url(&out)]);
        stitched(&source, &out, &title)?;
    }
}

fn encode_of(encoder: VideoEncoder) -> VideoEncode {
    let mut preset = PRESETS.get("h264", &[]).unwrap();
    let video = preset.video.as_mut().unwrap();
    video.encoder = encoder;
    video.speed = encoder.speeds().first().map(|speed| (*speed).to_owned());
    video.crf = encoder.crf_range().map(|range| range.2);
    encode(&preset, "bt709")
}

/// A title of a person's own is the value of one option, whole.
fn stitched(source: &Path, out: &Path, title: &str) -> Result<(), TestCaseError> {
    let video = Path::new("/tmp/v.nut");
    let inputs = StitchInputs {
        video: VideoInput::Whole(video),
        offset_micros: 0,
        source,
        origin_micros: 0,
        audio: None,
    };
    let picture = StitchVideo {
        codec: "h264",
        time_base: TimeBase::new(1, 1000).unwrap(),
        colour: &Colour::default(),
        field_order: FieldOrder::Progressive,
        tags: vec![("title".into(), title.to_owned())],
        dispositions: Vec::new(),
    };
    let tags = vec![("comment".to_owned(), title.to_owned())];
    let args = stitch(Container::Mkv, inputs, &picture, &[], &tags, out);
    let found = read(args.as_slice());
    prop_assert_eq!(&found.inputs, &[url(video), url(source)]);
    prop_assert_eq!(&found.outputs, &[url(out)]);
    prop_assert_eq!(&found.texts, &[format!("title={title}"), format!("comment={title}")]);
    Ok(())
}

#[test]
fn the_reader_sees_what_is_smuggled_in() {
    let words = ["-i", "file:a", "-y", "-vf", "-i", "out", "file:b"].map(OsString::from);
    let found = read(&words);
    assert_eq!(found.inputs, ["file:a"]);
    assert_eq!(found.outputs, ["out", "file:b"]);
}
