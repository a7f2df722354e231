//! Chooses one picture of each part to compare with the source. Pure.

use super::promised::Promised;
use crate::listing::{Listed, Packet};
use std::collections::BTreeMap;

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

/// One sample for each part: its first frame if that is a keyframe of the
/// source, else the first frame inside that is a keyframe on both sides, else
/// its first frame all the same. `parts` are the packets of all parts.
pub(super) fn choose(promised: &Promised<'_>, parts: &Listed) -> Vec<Sample> {
    let source = source_keys(promised);
    let starts = promised.first_packets();
    let mut samples = Vec::with_capacity(starts.len());
    for (part, (&first, &count)) in starts.iter().zip(&promised.counts).enumerate() {
        let Some(planned) = promised.planned.get(first..first + count) else { continue };
        let Some(&tick) = planned.first() else { continue };
        let plain =
            Sample { part, tick, source_packet: source.get(&tick).copied(), output_packet: first };
        let inside = || {
            let stored = parts.packets.get(first..first + count)?;
            shown_keys(stored, planned).into_iter().find_map(|(tick, packet)| {
                let source_packet = Some(*source.get(&tick)?);
                Some(Sample { part, tick, source_packet, output_packet: first + packet })
            })
        };
        samples.push(if plain.source_packet.is_some() { plain } else { inside().unwrap_or(plain) });
    }
    samples
}

/// Packet numbers of the source's keyframes, by tick.
fn source_keys(promised: &Promised<'_>) -> BTreeMap<i64, usize> {
    let plan = promised.assembly.plan;
    // Without an index nobody knows whether the source's times are right.
    let stream = promised.source.streams.get(&plan.video.stream);
    let stream = stream.filter(|_| !plan.chunks().is_empty());
    let packets = stream.into_iter().flat_map(|stream| stream.packets.iter().enumerate());
    let keys = packets.filter(|(_, packet)| packet.key);
    keys.filter_map(|(number, packet)| Some((packet.pts?, number))).collect()
}

/// The keyframes among the packets of a part, in order of being shown: the tick
/// of the frame by the plan, and the packet's number in the part. Empty if some
/// are not timed.
fn shown_keys(stored: &[Packet], planned: &[i64]) -> Vec<(i64, usize)> {
    if stored.iter().any(|packet| packet.pts.is_none()) {
        return Vec::new();
    }
    let mut shown: Vec<usize> = (0..stored.len()).collect();
    shown.sort_by_key(|number| stored[*number].pts);
    let frames = planned.iter().copied().zip(shown);
    frames.filter(|(_, number)| stored[*number].key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_known_by_their_place_among_the_shown() {
        let packet = |pts, key| Packet { pts: Some(pts), key, ..Packet::default() };
        // Stored as I P B I, shown as I B P I.
        let stored = [packet(0, true), packet(2, false), packet(1, false), packet(3, true)];
        assert_eq!(shown_keys(&stored, &[100, 140, 180, 220]), [(100, 0), (220, 3)]);
        let untimed = [packet(0, true), Packet::default()];
        assert!(shown_keys(&untimed, &[100, 140]).is_empty());
    }
}
