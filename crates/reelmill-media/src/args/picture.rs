//! Commands that decode small pictures, for comparing.

use super::video::reader;
use super::{Args, VideoArgs, quiet};
use reelmill_core::encoder::is_rgb;
use reelmill_core::media::Colour;
use reelmill_core::time::TimeBase;
use std::path::Path;

/// Rows and columns of a small picture.
pub const SMALL_SIDE: usize = 32;

const SHRINK: &str = "scale=32:32:flags=area,format=gray";

/// Decodes the first video stream of `input`, through the filters `first` (each with
/// a comma after it), to small grey pictures on standard output, and writes their times
/// in ticks of `base` to the file `times` in FFmpeg's `framecrc` format. Ends at the
/// first error.
#[must_use]
pub fn small_pictures(input: Args, base: TimeBase, first: &str, times: &Path) -> Args {
    let base = base.to_string();
    quiet()
        .words("-xerror -copyts")
        .join(input)
        .option("-filter_complex", format!("[0:v:0]settb={base},{first}{SHRINK},split[p][t]"))
        .words("-map [p] -fps_mode passthrough -enc_time_base")
        .arg(&base)
        .words("-c:v rawvideo -f rawvideo pipe:1 -map [t] -fps_mode passthrough -enc_time_base")
        .arg(&base)
        .words("-c:v rawvideo -f framecrc")
        .write(times)
}

/// The filter, with a comma after it, that says of pictures (of the format `pixels`) from a
/// NUT file that they have full range, where `colour` says so: NUT does not hold it, and
/// not every codec does.
#[must_use]
pub fn full_range(colour: &Colour, pixels: &str) -> &'static str {
    let full = colour.range.as_deref() == Some("pc") && !is_rgb(pixels);
    if full { "setparams=range=pc," } else { "" }
}

/// The filters, each with a comma after it, that make a picture of the source
/// comparable with the output's: the same part of it, and its brightness by the same
/// formula, for the grey of RGB is another one.
#[must_use]
pub fn comparable(video: VideoArgs<'_>) -> String {
    let cut = video.encode.window.map_or(String::new(), |window| format!("crop={window},"));
    let model = super::filter::leaves_rgb(video.encode, video.pixel_format);
    cut + if model { "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p," } else { "" }
}

/// Decodes the frame at `tick` to a small grey picture on standard output.
#[must_use]
pub fn one_picture(video: VideoArgs<'_>, tick: i64, preroll: Option<i64>) -> Args {
    let cut = super::filter::cut(video.stream, video.time_base, (tick, Some(tick + 1)), false);
    let map = super::filter::tone_mapping(video.encode);
    let first = comparable(video);
    reader(video, preroll)
        .option("-filter_complex", format!("{cut}{map},{first}{SHRINK}[t]"))
        .words("-map [t] -fps_mode passthrough -frames:v 1 -c:v rawvideo -f rawvideo pipe:1")
}
