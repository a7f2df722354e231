//! Chooses one picture of each part to compare with the source. Pure.

use super::Measured;
use crate::listing::Listed;
use std::collections::BTreeMap;

/// Output times are rounded, at most to milliseconds.
const ROUNDING_MICROS: i64 = 1000;

/// A picture that source and output have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// The part it is of.
    pub part: usize,
    /// Its time in the source, ticks.
    pub tick: i64,
    /// Its packet in the source, if that is a keyframe and so can be decoded
    /// alone.
    pub source_packet: Option<usize>,
    /// Its packet in the output, a keyframe.
    pub output_packet: usize,
}

/// What is looked at: the keyframes of both sides.
struct Keys {
    /// Packet numbers of the source's keyframes, by tick.
    source: BTreeMap<i64, usize>,
    /// Packet numbers of the output's keyframes, by microsecond.
    output: BTreeMap<i64, usize>,
}

/// One sample for each part: its first frame if that is a keyframe of the
/// source, else the first frame inside that is a keyframe on both sides, else
/// its first frame all the same. `starts` are the first packets of the parts.
pub(super) fn choose(measured: &Measured<'_>, video: &Listed, starts: &[usize]) -> Vec<Sample> {
    let keys = keys(measured, video);
    let ticks = measured.part_starts();
    let mut samples = Vec::with_capacity(starts.len());
    for (part, (&tick, &first)) in ticks.iter().zip(starts).enumerate() {
        let plain = Sample {
            part,
            tick,
            source_packet: keys.source.get(&tick).copied(),
            output_packet: first,
        };
        let end = ticks.get(part + 1).copied().unwrap_or(i64::MAX);
        let inside = || {
            let mut keyframes = keys.source.range(tick..end);
            keyframes.find_map(|(tick, packet)| {
                let micros = measured.output_micros(*tick);
                let near = micros - ROUNDING_MICROS..=micros + ROUNDING_MICROS;
                let (_, output) = keys.output.range(near).next()?;
                let (tick, output_packet) = (*tick, *output);
                Some(Sample { part, tick, source_packet: Some(*packet), output_packet })
            })
        };
        samples.push(if plain.source_packet.is_some() { plain } else { inside().unwrap_or(plain) });
    }
    samples
}

fn keys(measured: &Measured<'_>, video: &Listed) -> Keys {
    let numbered = |stream: &Listed| -> Vec<(i64, usize)> {
        let packets = stream.packets.iter().enumerate().filter(|(_, packet)| packet.key);
        packets.filter_map(|(number, packet)| Some((packet.pts?, number))).collect()
    };
    let plan = measured.assembly.plan;
    // Without an index nobody knows whether the source's times are right.
    let source = measured.source.streams.get(&plan.video.stream);
    let source = source.filter(|_| !plan.chunks().is_empty());
    let output = video.time_base.map(|base| {
        numbered(video).into_iter().map(|(pts, number)| (base.micros(pts), number)).collect()
    });
    Keys {
        source: source.map(|stream| numbered(stream).into_iter().collect()).unwrap_or_default(),
        output: output.unwrap_or_default(),
    }
}
