//! The command that looks for changes of scene.

use super::video::reader;
use super::{Args, VideoArgs};
use reelmill_core::scene::Look;

/// Small grey pictures tell a change of scene as well as the film's own; not so small
/// that what moves in them would.
const SHRINK: &str = "scale=192:108:flags=fast_bilinear,format=gray";

/// Decodes the frames of `look` and two before them, and writes on standard output how
/// much each changed ([`read_change`]). Decoders leave out what only smooths.
#[must_use]
pub fn scene_changes(video: VideoArgs<'_>, look: Look) -> Args {
    let graph = format!(
        "[0:{}]settb={},trim=end_pts={},{SHRINK},scdet=threshold=100,\
         metadata=mode=print:key=lavfi.scd.score:file=-[s]",
        video.stream, video.time_base, look.until
    );
    Args::new()
        .words("-skip_loop_filter all")
        .join(reader(video, look.preroll))
        .option("-filter_complex", graph)
        .words("-map [s] -an -sn -dn -fps_mode passthrough -f null -")
}

/// The time of a frame, ticks, in a line such as `frame:3    pts:120     pts_time:4.8`.
#[must_use]
pub fn read_time(line: &str) -> Option<i64> {
    let words = line.strip_prefix("frame:")?.split_whitespace();
    words.filter_map(|word| word.strip_prefix("pts:")).next()?.parse().ok()
}

/// How much a picture changed, of 100, in the line that follows.
#[must_use]
pub fn read_change(line: &str) -> Option<f64> {
    line.strip_prefix("lavfi.scd.score=")?.trim().parse().ok()
}
