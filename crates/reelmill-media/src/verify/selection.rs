//! Chooses packets to decode, and says so to FFmpeg. Pure.

use crate::args::Args;
use std::ops::Range;

/// Packets after a seam that are decoded.
const HEAD: usize = 6;

/// Share of all packets that may be decoded before seams, and how many in any
/// case: the last group of pictures of a part can be long.
const TAIL_SHARE: f64 = 0.05;
const TAIL_LEAST: usize = 100;

/// Most ranges in one expression; keeps an argument under the 128 KiB that
/// Linux allows.
const RANGES: usize = 1500;

/// Which packets (numbers in stored order) to decode: around every seam from
/// the last keyframe before it to a few packets after it, and the beginning
/// and end of the stream; and the keyframes `wanted`. `keys` says of each packet whether it is a keyframe;
/// `starts` are the first packets of the parts. Long groups before a seam are
/// left out when there are too many of them.
pub(super) fn around_seams(keys: &[bool], starts: &[usize], wanted: &[usize]) -> Vec<Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([keys.len()]);
    let parts: Vec<Range<usize>> =
        starts.iter().copied().zip(ends).map(|(from, to)| from..to).collect();
    let heads = parts.iter().map(|part| part.start..part.end.min(part.start + HEAD));
    let mut tails: Vec<Range<usize>> = parts
        .iter()
        .filter_map(|part| {
            let key = keys.get(part.clone())?.iter().rposition(|key| *key)?;
            Some(part.start + key..part.end)
        })
        .collect();
    tails.sort_by_key(|tail| tail.len());
    let mut budget = ((keys.len() as f64 * TAIL_SHARE) as usize).max(TAIL_LEAST);
    tails.retain(|tail| {
        let fits = tail.len() <= budget;
        budget = if fits { budget - tail.len() } else { 0 };
        fits
    });
    let wanted = wanted.iter().map(|packet| *packet..*packet + 1);
    merge(heads.chain(tails).chain(wanted).collect())
}

fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// `ranges` in groups that each fit one argument.
pub(super) fn groups(ranges: &[Range<usize>]) -> impl Iterator<Item = &[Range<usize>]> {
    ranges.chunks(RANGES)
}

/// Options that copy only the packets in `ranges` of the stream mapped before.
pub(super) fn copy_only(ranges: &[Range<usize>]) -> Args {
    Args::new()
        .words("-c copy -copyinkf -bsf:v")
        .arg(format!("noise=amount=0:drop='not({})'", inside(ranges)))
}

/// Whether packet `n` lies in one of `ranges`: a tree, since it is asked of
/// every packet of a film.
fn inside(ranges: &[Range<usize>]) -> String {
    match ranges {
        [] => "0".into(),
        [only] => format!("between(n,{},{})", only.start, only.end - 1),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            format!("if(lt(n,{}),{},{})", right[0].start, inside(left), inside(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seam_is_decoded_on_both_sides() {
        let keys: Vec<bool> = (0..100).map(|n| [0, 20, 50, 80].contains(&n)).collect();
        let ranges = around_seams(&keys, &[0, 50], &[20]);
        assert_eq!(ranges, [0..6, 20..56, 80..100]);
    }

    #[test]
    fn long_groups_before_seams_are_limited() {
        let keys: Vec<bool> = (0..10_000).map(|n| n % 500 == 0).collect();
        let starts: Vec<usize> = (0..20).map(|n| n * 500).collect();
        let ranges = around_seams(&keys, &starts, &[]);
        let count: usize = ranges.iter().map(Range::len).sum();
        assert!((500..700).contains(&count), "{count}");
        assert!(starts.iter().all(|s| ranges.iter().any(|r| r.contains(s))));
    }

    #[test]
    fn a_selection_is_a_tree() {
        let text = inside(&[0..6, 20..56, 80..100]);
        assert_eq!(
            text,
            "if(lt(n,20),between(n,0,5),if(lt(n,80),between(n,20,55),between(n,80,99)))"
        );
    }
}
