//! Commands that decode small pictures, for comparing.

use super::video::reader;
use super::{Args, VideoArgs, quiet};
use reelmill_core::time::TimeBase;
use reelmill_core::window::Window;
use std::path::Path;

/// Rows and columns of a small picture.
pub const SMALL_SIDE: usize = 32;

const SHRINK: &str = "scale=32:32:flags=area,format=gray";

/// Decodes the first video stream of `input`, cut to `window`, to small grey pictures on
/// standard output, and writes their times in ticks of `base` to the file
/// `times` in FFmpeg's `framecrc` format. Ends at the first error.
#[must_use]
pub fn small_pictures(input: Args, base: TimeBase, window: Option<Window>, times: &Path) -> Args {
    let cut = cut_to(window);
    let base = base.to_string();
    quiet()
        .words("-xerror -copyts")
        .join(input)
        .option("-filter_complex", format!("[0:v:0]settb={base},{cut}{SHRINK},split[p][t]"))
        .words("-map [p] -fps_mode passthrough -enc_time_base")
        .arg(&base)
        .words("-c:v rawvideo -f rawvideo pipe:1 -map [t] -fps_mode passthrough -enc_time_base")
        .arg(&base)
        .words("-c:v rawvideo -f framecrc")
        .write(times)
}

fn cut_to(window: Option<Window>) -> String {
    window.map_or(String::new(), |window| format!("crop={window},"))
}

/// Decodes the frame at `tick` to a small grey picture on standard output.
#[must_use]
pub fn one_picture(video: VideoArgs<'_>, tick: i64, preroll: Option<i64>) -> Args {
    let cut = super::filter::cut(video.stream, video.time_base, (tick, Some(tick + 1)), false);
    let map = super::filter::tone_mapping(video.encode);
    let window = cut_to(video.encode.window);
    reader(video, preroll)
        .option("-filter_complex", format!("{cut}{map},{window}{SHRINK}[t]"))
        .words("-map [t] -fps_mode passthrough -frames:v 1 -c:v rawvideo -f rawvideo pipe:1")
}
