//! What an output must be like, by its plan and its source.

use crate::args::VideoArgs;
use crate::listing::Listing;
use crate::stitch::Assembly;
use reelmill_core::time::TimeBase;

/// Everything about the right output that is known without it.
pub(super) struct Promised<'a> {
    pub assembly: Assembly<'a>,
    /// Times of all frames that the output must have, source ticks.
    pub planned: Vec<i64>,
    /// Number of frames in each part.
    pub counts: Vec<usize>,
    /// Times of the source's keyframes, in order, ticks.
    pub keys: Vec<i64>,
    pub source: &'a Listing,
}

impl<'a> Promised<'a> {
    pub(super) fn new(assembly: Assembly<'a>, source: &'a Listing) -> Self {
        let planned = assembly.frames();
        let counts = part_sizes(&assembly, planned.len());
        let packets = source.streams.get(&assembly.plan.video.stream).map(|found| &found.packets);
        let keys = packets.into_iter().flatten().filter(|packet| packet.key);
        let mut keys: Vec<i64> = keys.filter_map(|packet| packet.pts).collect();
        keys.sort_unstable();
        Self { assembly, planned, counts, keys, source }
    }

    /// Number of the first packet of each part, in stored order.
    pub(super) fn first_packets(&self) -> Vec<usize> {
        let mut at = 0;
        let mut starts = Vec::with_capacity(self.counts.len());
        for count in &self.counts {
            starts.push(at);
            at += count;
        }
        starts
    }

    pub(super) fn time_base(&self) -> TimeBase {
        self.assembly.plan.video.time_base
    }

    pub(super) fn origin_seconds(&self) -> f64 {
        self.assembly.plan.origin_micros as f64 / 1e6
    }

    pub(super) fn video_args(&self) -> VideoArgs<'_> {
        let video = &self.assembly.plan.video;
        let source = self.assembly.media.video();
        VideoArgs {
            path: self.assembly.source,
            codec: source.map_or("", |(stream, _)| stream.codec.as_str()),
            pixel_format: self.assembly.source_pixels(),
            stream: video.stream,
            time_base: video.time_base,
            encode: self.assembly.encode,
        }
    }
}

/// Frames of each part.
fn part_sizes(assembly: &Assembly<'_>, all: usize) -> Vec<usize> {
    match assembly.plan.chunks() {
        [] => vec![all],
        chunks => chunks.iter().map(|chunk| chunk.pts.len()).collect(),
    }
}
