//! Commands that measure how good an encode is.

use super::video::{reader, writer};
use super::{Args, VideoArgs, own_input, picture_chain};
use reelmill_core::score::Metric;
use std::path::Path;

/// The frames of a source that are encoded, and from where they are decoded.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// First and one past the last, ticks; all when not given.
    pub range: Option<(i64, Option<i64>)>,
    /// The keyframe to begin decoding at, ticks.
    pub preroll: Option<i64>,
    /// Whether only short runs of them are taken: a fifth of all.
    pub sample: bool,
}

/// Runs of 24 frames of each 120: as long as encoders look ahead, as often as a film
/// changes.
const SAMPLE: &str = ",select='lt(mod(n,120),24)'";

impl Frames {
    /// The filters up to the encoder.
    fn chain(self, video: VideoArgs<'_>) -> String {
        let fields = video.encode.deinterlace;
        let (stream, base) = (video.stream, video.time_base);
        let cut = match self.range {
            Some(range) => super::filter::cut(stream, base, range, fields),
            None => super::filter::all(stream, base, fields),
        };
        let sample = if self.sample { SAMPLE } else { "" };
        format!("{cut}{sample}{}", picture_chain(video.encode, video.pixel_format))
    }
}

/// Encodes `frames` into the NUT file `out`.
#[must_use]
pub fn trial(video: VideoArgs<'_>, frames: Frames, out: &Path) -> Args {
    let graph = format!("{}[e]", frames.chain(video));
    writer(reader(video, frames.preroll).option("-filter_complex", graph), video, out)
}

/// Compares the encoded file `made` with the `frames` that it was made from; the
/// score stands in the log. Pictures are paired by their number, not by their times,
/// which containers round.
#[must_use]
pub fn score(video: VideoArgs<'_>, frames: Frames, made: &Path, metric: Metric) -> Args {
    let filter = match metric {
        Metric::Ssim => "ssim",
        Metric::Vmaf => "libvmaf",
        Metric::Xpsnr => "xpsnr",
    };
    let count = "settb=1/1000,setpts=N";
    let graph = format!(
        "{},{count}[want];[1:v:0]format={},{count}[have];[have][want]{filter}",
        frames.chain(video),
        video.encode.pixel_format
    );
    reader(video, frames.preroll)
        .join(own_input(made))
        .words("-loglevel info -progress pipe:1")
        .option("-filter_complex", graph)
        .words("-an -sn -dn -fps_mode passthrough -f null -")
}

/// The score in a line of the log: the mean over the film.
#[must_use]
pub fn read_score(line: &str, metric: Metric) -> Option<f64> {
    let number = |text: &str| {
        let word = text.trim_start().split([' ', '(']).next()?;
        if word == "inf" { Some(100.0) } else { word.parse::<f64>().ok() }
    };
    match metric {
        Metric::Ssim => number(line.split_once(" All:")?.1),
        Metric::Vmaf => number(line.split_once("VMAF score:")?.1),
        Metric::Xpsnr => {
            let planes = line.split_once("XPSNR")?.1;
            let values =
                ["y:", "u:", "v:"].iter().filter_map(|name| number(planes.split_once(name)?.1));
            values.min_by(f64::total_cmp)
        }
    }
    .filter(|score| score.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_from_what_the_filters_say() {
        let ssim = "[Parsed_ssim_7 @ 0x55] SSIM Y:0.981 (17.2) U:0.99 (20.1) V:0.99 (20.2) All:0.984123 (18.0)";
        assert_eq!(read_score(ssim, Metric::Ssim), Some(0.984_123));
        assert_eq!(
            read_score("[Parsed_libvmaf_4 @ 0x5] VMAF score: 93.25", Metric::Vmaf),
            Some(93.25)
        );
        let xpsnr = "[Parsed_xpsnr_4 @ 0x5] XPSNR  y: 40.1312  u: 42.5  v: inf  (minimum: 40.1312)";
        assert_eq!(read_score(xpsnr, Metric::Xpsnr), Some(40.1312));
        assert_eq!(read_score("frame=  48 fps=0.0", Metric::Ssim), None);
    }
}
