//! The filters between decoder and encoder.

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
    chain += &format!(
        ",scale={width}:{height}:flags=lanczos+accurate_rnd{}",
        ranges(encode, source_pixels)
    );
    if encode.crop {
        chain += &format!(",crop={}:{}:0:0", size.0, size.1);
    } else if keeps_aspect(source, size) && source != size {
        chain += &format!(
            ",setsar=r=sar*{}/{}:max=65535",
            u64::from(size.0) * u64::from(source.1),
            u64::from(size.1) * u64::from(source.0)
        );
    }
    chain + ",format=" + &encode.pixel_format
}

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

/// Whether a pixel format is red, green and blue, directly or by a palette.
pub(super) fn is_rgb(pixel_format: &str) -> bool {
    ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"]
        .iter()
        .any(|start| pixel_format.starts_with(start))
}

/// Whether both sizes have the same shape but for rounding to even numbers;
/// then pixels keep their shape instead of taking up the rounding.
fn keeps_aspect(source: (u32, u32), size: (u32, u32)) -> bool {
    let wanted = f64::from(source.1) * f64::from(size.0) / f64::from(source.0);
    let across = f64::from(source.0) * f64::from(size.1) / f64::from(source.1);
    (wanted - f64::from(size.1)).abs() < 2.0 || (across - f64::from(size.0)).abs() < 2.0
}

/// Frames `[start, end)` of `stream`, ticks, shifted to begin at 0.
pub(super) fn cut(stream: u32, base: TimeBase, start: i64, end: Option<i64>) -> String {
    let end = end.map(|end| format!(":end_pts={end}")).unwrap_or_default();
    format!("[0:{stream}]settb={base},trim=start_pts={start}{end},setpts=PTS-({start})")
}

/// All frames of `stream`, times shifted back by `origin` ticks. Frames that
/// share a time with the one before move to the next tick, since no container
/// holds two pictures for one moment. The times as the decoder gave them are
/// written to the file named `seen` in the folder that FFmpeg is started in.
pub(super) fn whole(stream: u32, base: TimeBase, origin: i64, seen: &str) -> String {
    let next = format!("PTS-({origin})");
    format!(
        "[0:{stream}]settb={base},metadata=mode=add:key=seen:value=1,\
         metadata=mode=print:key=seen:file={seen},\
         setpts='if(isnan(PREV_OUTPTS),{next},max({next},PREV_OUTPTS+1))'"
    )
}
