//! Options of the video encoders.

use super::Args;
use super::hardware::Way;
use crate::capability::ffmpeg_encoder_name;
use reelmill_core::encoder::{VideoEncoder, is_rgb};
use reelmill_core::hdr::MasteringDisplay;
use reelmill_core::media::{Colour, FieldOrder};
use reelmill_core::plan::VideoEncode;

/// The encoder with its options: the same for every chunk, so that all chunks
/// get equal parameter sets and each starts with a closed group of pictures.
/// `source_pixels` is the source's pixel format.
#[must_use]
pub fn encoder(encode: &VideoEncode, source_pixels: &str) -> Args {
    let args = Args::new().option("-c:v", ffmpeg_encoder_name(encode.encoder));
    let args = match Way::of(encode.encoder) {
        Some(way) => args.join(way.quality(encode.crf)),
        None => args.maybe("-crf:v", encode.crf.map(|crf| crf.to_string())),
    };
    let args = args.option("-g:v", encode.keyframe_interval.to_string());
    let args = match encode.encoder {
        VideoEncoder::X264 => x264(args, encode),
        VideoEncoder::X265 => x265(args, encode),
        VideoEncoder::SvtAv1 => svt_av1(args, encode),
        VideoEncoder::Vp9 => vp9(args, encode),
        VideoEncoder::Ffv1 => ffv1(args, encode),
        _ => args,
    };
    fields(colour(args, &output_colour(encode, source_pixels)), encode.field_order)
}

/// `stitchable` keeps the rate factor out of the parameter sets.
fn x264(args: Args, encode: &VideoEncode) -> Args {
    args.maybe("-preset:v", encode.speed.as_ref())
        .maybe("-tune:v", encode.tune.as_ref())
        .option("-threads:v", encode.threads.to_string())
        .option("-x264-params", format!("stitchable=1:open-gop=0{}", x264_hdr(encode)))
}

/// x265 opens groups of pictures unless told not to, and writes its settings
/// into the stream (`info`).
fn x265(args: Args, encode: &VideoEncode) -> Args {
    let mut params = "open-gop=0:repeat-headers=1:info=0:log-level=error".to_owned();
    if encode.threads > 0 {
        // As few as x265 takes by itself: each frame more at once costs bits.
        let frames = match encode.threads {
            0..4 => 1,
            4..8 => 2,
            8..16 => 3,
            _ => 4,
        };
        params += &format!(":pools={}:frame-threads={frames}", encode.threads);
    }
    params += &x265_hdr(encode);
    args.maybe("-preset:v", encode.speed.as_ref())
        .maybe("-tune:v", encode.tune.as_ref())
        .option("-x265-params", params)
}

fn x264_hdr(encode: &VideoEncode) -> String {
    let mastering = encode.hdr.mastering.map(|display| format!(":mastering-display={display}"));
    let light = encode.hdr.light.map(|light| format!(":cll={light}"));
    mastering.unwrap_or_default() + &light.unwrap_or_default()
}

/// The same for every chunk, as all that gets into parameter sets must be.
/// Dolby Vision wants delimiters and a rate that its decoders can count on.
fn x265_hdr(encode: &VideoEncode) -> String {
    let hdr = &encode.hdr;
    let mut params = String::new();
    if let Some(display) = hdr.mastering {
        params += &format!(":master-display={display}");
    }
    if let Some(light) = hdr.light {
        params += &format!(":max-cll={light}");
    }
    let pq = encode.colour.transfer.as_deref() == Some("smpte2084");
    if !params.is_empty() && pq {
        params += ":hdr10=1";
        if encode.pixel_format.ends_with("10le") {
            params += ":hdr10-opt=1";
        }
    }
    if hdr.dolby_vision.is_some() {
        let most = if encode.size.0 > 1920 || encode.size.1 > 1088 { 100_000 } else { 40_000 };
        params += &format!(":aud=1:hrd=1:high-tier=1:vbv-maxrate={most}:vbv-bufsize={most}");
    }
    params
}

fn svt_av1(args: Args, encode: &VideoEncode) -> Args {
    let mut params = Vec::new();
    if encode.threads > 0 {
        params.push(format!("lp={}", encode.threads));
    }
    match encode.tune.as_deref() {
        Some("psnr") => params.push("tune=1".into()),
        Some("ssim") => params.push("tune=2".into()),
        _ => {}
    }
    if let Some(display) = encode.hdr.mastering {
        params.push(format!("mastering-display={}", svt_av1_display(&display)));
    }
    if let Some(light) = encode.hdr.light {
        params.push(format!("content-light={light}"));
    }
    let params = (!params.is_empty()).then(|| params.join(":"));
    args.maybe("-preset:v", encode.speed.as_ref()).maybe("-svtav1-params", params)
}

/// SVT-AV1 takes fractions and candela, not the units of the standard.
fn svt_av1_display(display: &MasteringDisplay) -> String {
    let part = |value: u16| f64::from(value) / 50_000.0;
    let light = |value: u32| f64::from(value) / 10_000.0;
    let point = |name: &str, (x, y): (u16, u16)| format!("{name}({:.5},{:.5})", part(x), part(y));
    point("G", display.green)
        + &point("B", display.blue)
        + &point("R", display.red)
        + &point("WP", display.white)
        + &format!("L({:.4},{:.4})", light(display.max_luminance), light(display.min_luminance))
}

fn vp9(args: Args, encode: &VideoEncode) -> Args {
    args.words("-b:v 0 -deadline good -row-mt 1")
        .maybe("-cpu-used:v", encode.speed.as_ref())
        .option("-threads:v", encode.threads.to_string())
}

fn ffv1(args: Args, encode: &VideoEncode) -> Args {
    let (width, height) = encode.size;
    let slices = match u64::from(width) * u64::from(height) {
        0..10_000 => None,
        // Rows and columns of half as many colours do not always divide by four; FFmpeg
        // finds a number that does.
        _ if width % 2 == 1 || height % 2 == 1 => None,
        10_000..1_000_000 => Some("4"),
        _ => Some("16"),
    };
    args.words("-level:v 3 -slicecrc 1")
        .maybe("-slices:v", slices)
        .option("-threads:v", encode.threads.to_string())
}

/// The field order itself is marked on each frame by its decoder.
fn fields(args: Args, order: FieldOrder) -> Args {
    match order {
        FieldOrder::Progressive => args,
        FieldOrder::TopFirst | FieldOrder::BottomFirst => args.option("-flags:v", "+ildct+ilme"),
    }
}

/// Colour description of the output: the source's, unless the picture changes
/// from RGB to another model, which [`super::picture_chain`] does by BT.709, or
/// the source wrongly calls another model RGB (some MPEG-2 does).
#[must_use]
pub fn output_colour(encode: &VideoEncode, source_pixels: &str) -> Colour {
    let mut colour = encode.colour.clone();
    if super::filter::leaves_rgb(encode, source_pixels) {
        colour.space = Some("bt709".into());
        colour.range = Some("tv".into());
    } else if colour.space.as_deref() == Some("gbr") && !is_rgb(&encode.pixel_format) {
        colour.space = None;
    }
    colour
}

/// Options that state a colour description; also understood when copying.
pub(super) fn colour(args: Args, colour: &Colour) -> Args {
    args.maybe("-color_range:v:0", named(&colour.range, RANGES))
        .maybe("-colorspace:v:0", named(&colour.space, SPACES))
        .maybe("-color_trc:v:0", named(&colour.transfer, TRANSFERS))
        .maybe("-color_primaries:v:0", named(&colour.primaries, PRIMARIES))
        .maybe("-chroma_sample_location:v:0", named(&colour.chroma_location, LOCATIONS))
}

/// FFmpeg's options take these names and no others; they are what it prints,
/// with the exceptions paired here.
type Names = &'static [(&'static str, &'static str)];

fn named(value: &Option<String>, names: Names) -> Option<&'static str> {
    let value = value.as_deref()?;
    names.iter().find(|(printed, _)| *printed == value).map(|(_, option)| *option)
}

const RANGES: Names = &[("tv", "tv"), ("pc", "pc")];

const SPACES: Names = &[
    ("gbr", "rgb"),
    ("bt709", "bt709"),
    ("fcc", "fcc"),
    ("bt470bg", "bt470bg"),
    ("smpte170m", "smpte170m"),
    ("smpte240m", "smpte240m"),
    ("ycgco", "ycgco"),
    ("bt2020nc", "bt2020nc"),
    ("bt2020c", "bt2020c"),
    ("smpte2085", "smpte2085"),
    ("chroma-derived-nc", "chroma-derived-nc"),
    ("chroma-derived-c", "chroma-derived-c"),
    ("ictcp", "ictcp"),
];

const TRANSFERS: Names = &[
    ("bt709", "bt709"),
    ("bt470m", "gamma22"),
    ("bt470bg", "gamma28"),
    ("smpte170m", "smpte170m"),
    ("smpte240m", "smpte240m"),
    ("linear", "linear"),
    ("log100", "log"),
    ("log316", "log_sqrt"),
    ("iec61966-2-4", "iec61966_2_4"),
    ("bt1361e", "bt1361"),
    ("iec61966-2-1", "iec61966_2_1"),
    ("bt2020-10", "bt2020_10bit"),
    ("bt2020-12", "bt2020_12bit"),
    ("smpte2084", "smpte2084"),
    ("smpte428", "smpte428"),
    ("arib-std-b67", "arib-std-b67"),
];

const PRIMARIES: Names = &[
    ("bt709", "bt709"),
    ("bt470m", "bt470m"),
    ("bt470bg", "bt470bg"),
    ("smpte170m", "smpte170m"),
    ("smpte240m", "smpte240m"),
    ("film", "film"),
    ("bt2020", "bt2020"),
    ("smpte428", "smpte428"),
    ("smpte431", "smpte431"),
    ("smpte432", "smpte432"),
    ("jedec-p22", "jedec-p22"),
    ("ebu3213", "jedec-p22"),
];

const LOCATIONS: Names = &[
    ("left", "left"),
    ("center", "center"),
    ("topleft", "topleft"),
    ("top", "top"),
    ("bottomleft", "bottomleft"),
    ("bottom", "bottom"),
];

#[cfg(test)]
pub(super) const ALL_NAMES: [(&str, Names); 5] = [
    ("-color_range", RANGES),
    ("-colorspace", SPACES),
    ("-color_trc", TRANSFERS),
    ("-color_primaries", PRIMARIES),
    ("-chroma_sample_location", LOCATIONS),
];
