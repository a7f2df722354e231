//! Commands that encode video.

use super::hardware::Way;
use super::{
    Args, encoder as encoder_args, micros, picture_chain, quiet, source_input, unmoved_ticks,
};
use reelmill_core::chunk::Chunk;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::plan::VideoEncode;
use reelmill_core::time::TimeBase;
use std::path::Path;

/// What every command that encodes video needs to know.
#[derive(Debug, Clone, Copy)]
pub struct VideoArgs<'a> {
    /// The source.
    pub path: &'a Path,
    /// Codec of the source's video, by FFmpeg's name.
    pub codec: &'a str,
    /// Pixel format of the source's video, by FFmpeg's name.
    pub pixel_format: &'a str,
    /// Stream index in the source.
    pub stream: u32,
    /// Seconds per tick of that stream.
    pub time_base: TimeBase,
    /// How to encode.
    pub encode: &'a VideoEncode,
}

/// Encodes the frames of `chunk` into the NUT file `out`, with times relative to its
/// start. Decoding starts at the keyframe `preroll` (ticks), or at the beginning. An
/// encoder that remembers is given frames to warm up, which have times before 0, and
/// whose packets are dropped; all that follows depends on none of them.
#[must_use]
pub fn chunk(video: VideoArgs<'_>, chunk: &Chunk, preroll: Option<i64>, out: &Path) -> Args {
    let encoder = video.encode.encoder;
    let warm_up = chunk.warm_up.filter(|_| encoder.remembers());
    let range = (warm_up.unwrap_or(chunk.start), chunk.end);
    let fields = video.encode.deinterlace;
    let cut = super::filter::stretch(video.stream, video.time_base, range, chunk.start, fields);
    let graph = format!("{cut}{}[e]", pictures(video));
    let args = reader(video, preroll).option("-filter_complex", graph);
    let args = match (warm_up, encoder) {
        (None, _) => args,
        (Some(_), VideoEncoder::X265) => args.words(DROP_WARM_UP).words("-forced-idr 1"),
        (Some(_), _) => args.words(DROP_WARM_UP),
    };
    writer(args, video, out)
}

/// Makes a keyframe at 0, and drops the packets of frames before.
const DROP_WARM_UP: &str = "-force_key_frames 0 -bsf:v noise=amount=0:drop=lt(pts\\,0)";

/// Encodes all frames into the NUT file `out`, with times relative to `origin`
/// (ticks). The times of the decoded frames go to standard output, between the reports
/// of progress.
#[must_use]
pub fn whole(video: VideoArgs<'_>, origin: i64, out: &Path) -> Args {
    let deinterlace = video.encode.deinterlace;
    let all = super::filter::whole(video.stream, video.time_base, origin, deinterlace);
    let graph = format!("{all}{}[e]", pictures(video));
    // Filters that begin anew where the picture changes its size forget the time of the
    // frame before; all but the deinterlacer take such frames as they come.
    let keep = if deinterlace { "" } else { "-reinit_filter 0" };
    let input = Args::new().words(keep).join(reader(video, None));
    writer(input.option("-filter_complex", graph), video, out)
}

/// Ticks to take off every time of a whole-file encode, so that none is
/// negative (which NUT cannot hold) even where frames precede the declared
/// start, in microseconds, by up to ten seconds.
#[must_use]
pub fn lead_in(start_micros: i64, base: TimeBase) -> i64 {
    base.ticks_at_micros(start_micros) - base.ticks_in(10.0).max(1)
}

/// The filters that make the pictures to encode, and bring them where the encoder
/// takes them.
fn pictures(video: VideoArgs<'_>) -> String {
    let upload = Way::of(video.encode.encoder).map(|way| way.upload(&video.encode.pixel_format));
    picture_chain(video.encode, video.pixel_format) + &upload.unwrap_or_default()
}

/// Opens the source and seeks to the keyframe `preroll`.
pub(super) fn reader(video: VideoArgs<'_>, preroll: Option<i64>) -> Args {
    let seek = preroll.map(|ticks| micros(ceil_micros(video.time_base, ticks)));
    let device = Way::of(video.encode.encoder).map_or_else(Args::new, Way::device);
    let mut args = quiet()
        .join(device)
        .arg("-copyts")
        .maybe("-threads", decoder_threads(video))
        .maybe("-filter_complex_threads", some_threads(video));
    if let Some(seek) = seek {
        args = args.words("-seek_timestamp 1 -noaccurate_seek").option("-ss", seek);
    }
    args.join(unmoved_ticks(video.time_base)).join(source_input(video.path))
}

/// FFmpeg's threaded Theora decoder shows wrong pictures from the fourth frame
/// on in streams with empty packets (seen in 5.1).
fn decoder_threads(video: VideoArgs<'_>) -> Option<String> {
    if video.codec == "theora" { Some("1".to_owned()) } else { some_threads(video) }
}

fn some_threads(video: VideoArgs<'_>) -> Option<String> {
    (video.encode.threads > 0).then(|| video.encode.threads.to_string())
}

/// Rounded up, so that a seek to it never lands before the keyframe meant.
fn ceil_micros(base: TimeBase, ticks: i64) -> i64 {
    let scaled = i128::from(ticks) * i128::from(base.num()) * 1_000_000;
    let den = i128::from(base.den());
    let up = scaled.div_euclid(den) + i128::from(scaled.rem_euclid(den) != 0);
    up.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

pub(super) fn writer(args: Args, video: VideoArgs<'_>, out: &Path) -> Args {
    args.words("-progress pipe:1 -map [e] -an -sn -dn -map_chapters -1 -map_metadata -1 -fps_mode passthrough")
        .option("-enc_time_base", video.time_base.to_string())
        .join(encoder_args(video.encode, video.pixel_format))
        .words("-avoid_negative_ts disabled -f nut")
        .write(out)
}
