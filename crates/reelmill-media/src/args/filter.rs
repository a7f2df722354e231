//! The filters between decoder and encoder.

use reelmill_core::encoder::is_rgb;
use reelmill_core::plan::VideoEncode;
use reelmill_core::time::TimeBase;

/// The filters that make the output picture from pixels of the format
/// `source_pixels`, starting with a comma.
///
/// `scale` to the declared size comes first even where nothing changes (it then
/// passes frames through untouched): a stream that changes its size on the way
/// must not make a chunk of another size.
#[must_use]
pub fn picture_chain(encode: &VideoEncode, source_pixels: &str) -> String {
    let (source, size) = (encode.part_size(), encode.size);
    let (width, height) = if encode.crop { source } else { size };
    let window = encode.window.map_or(String::new(), |window| {
        let (width, height) = encode.source_size;
        format!(",scale={width}:{height},crop={window}")
    });
    let mut chain = window;
    let scaled = !encode.crop && keeps_aspect(source, size) && source != size;
    if scaled {
        // Pixels of which nothing is said count as square; "scale" would leave them out.
        chain += ",setsar=r=sar:max=65535";
    }
    chain += &format!(
        ",scale={width}:{height}:flags=lanczos+accurate_rnd{}",
        ranges(encode, source_pixels)
    );
    if encode.crop {
        chain += &format!(",crop={}:{}:0:0", size.0, size.1);
    } else if scaled {
        chain += &format!(
            ",setsar=r=sar*{}/{}:max=65535",
            u64::from(size.0) * u64::from(source.1),
            u64::from(size.1) * u64::from(source.0)
        );
    }
    chain + &tone_mapping(encode) + ",format=" + &encode.pixel_format
}

/// The filters that bring a picture of high dynamic range into BT.709, starting with
/// a comma; none where that is not asked for. Everything is told to them: what a
/// frame says of itself, and the brightest value that it says it has, may differ
/// between the chunks.
pub(super) fn tone_mapping(encode: &VideoEncode) -> String {
    let Some(how) = &encode.tonemap else { return String::new() };
    let told =
        |value: &Option<String>, usual: &str| value.clone().unwrap_or_else(|| usual.to_owned());
    let from = &how.from;
    format!(
        ",zscale=tin={}:pin={}:min={}:rin={}:t=linear:npl={SDR_WHITE},format=gbrpf32le,\
         zscale=p=bt709,tonemap={}:desat=0:peak={},\
         zscale=t=bt709:m=bt709:r=tv:c=left,format=yuv420p",
        told(&from.transfer, "smpte2084"),
        told(&from.primaries, "bt2020"),
        told(&from.space, "bt2020nc"),
        told(&from.range, "tv"),
        how.curve.name(),
        how.peak / SDR_WHITE,
    )
}

/// White of standard range, candela per square metre.
const SDR_WHITE: f64 = 100.0;

/// Makes one whole picture of the two fields of each frame that is interlaced; the
/// times stay. It looks at the frames before and after.
const DEINTERLACE: &str = "bwdif=mode=send_frame:parity=auto:deint=interlaced";

/// Levels are kept as they are: full-range pixels stay full-range when their
/// format's name cannot say so.
fn ranges(encode: &VideoEncode, source_pixels: &str) -> &'static str {
    if leaves_rgb(encode, source_pixels) {
        ":out_color_matrix=bt709:out_range=tv"
    } else if encode.colour.range.as_deref() == Some("pc") && !is_rgb(&encode.pixel_format) {
        ":in_range=pc:out_range=pc"
    } else {
        ""
    }
}

/// Whether the source is RGB and the output is not.
pub(super) fn leaves_rgb(encode: &VideoEncode, source_pixels: &str) -> bool {
    is_rgb(source_pixels) && !is_rgb(&encode.pixel_format)
}

/// Whether both sizes have the same shape but for rounding to even numbers;
/// then pixels keep their shape instead of taking up the rounding.
fn keeps_aspect(source: (u32, u32), size: (u32, u32)) -> bool {
    let wanted = f64::from(source.1) * f64::from(size.0) / f64::from(source.0);
    let across = f64::from(source.0) * f64::from(size.1) / f64::from(source.1);
    (wanted - f64::from(size.1)).abs() < 2.0 || (across - f64::from(size.0)).abs() < 2.0
}

/// Frames `[start, end)` of `stream`, ticks, shifted to begin at 0. What is to be
/// deinterlaced is so before it is cut, so that the frames at the seams have the same
/// neighbours as in the whole film.
pub(super) fn cut(
    stream: u32,
    base: TimeBase,
    (start, end): (i64, Option<i64>),
    deinterlace: bool,
) -> String {
    stretch(stream, base, (start, end), start, deinterlace)
}

/// The same, shifted so that `origin` is 0.
pub(super) fn stretch(
    stream: u32,
    base: TimeBase,
    (start, end): (i64, Option<i64>),
    origin: i64,
    deinterlace: bool,
) -> String {
    let end = end.map(|end| format!(":end_pts={end}")).unwrap_or_default();
    let fields = if deinterlace { format!(",{DEINTERLACE},settb={base}") } else { String::new() };
    format!("[0:{stream}]settb={base}{fields},trim=start_pts={start}{end},setpts=PTS-({origin})")
}

/// All frames of `stream`, at their times.
pub(super) fn all(stream: u32, base: TimeBase, deinterlace: bool) -> String {
    let fields = if deinterlace { format!(",{DEINTERLACE},settb={base}") } else { String::new() };
    format!("[0:{stream}]settb={base}{fields}")
}

/// All frames of `stream`, times shifted back by `origin` ticks. Frames that
/// share a time with the one before move to the next tick, since no container
/// holds two pictures for one moment. The times as the decoder gave them are
/// written to standard output, a line at a time.
pub(super) fn whole(stream: u32, base: TimeBase, origin: i64, deinterlace: bool) -> String {
    let fields = if deinterlace { format!(",{DEINTERLACE},settb={base}") } else { String::new() };
    let next = format!("PTS-({origin})");
    format!(
        "[0:{stream}]settb={base},metadata=mode=add:key=seen:value=1,\
         metadata=mode=print:key=seen:file=-:direct=1,\
         setpts='if(isnan(PREV_OUTPTS),{next},max({next},PREV_OUTPTS+1))'{fields}"
    )
}
