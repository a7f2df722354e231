//! The index (cues) of a rewritten file, and the table of its parts.

use super::ebml::{self, Child, children, number};
use std::collections::BTreeMap;

/// Where what the index points to has come to lie.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Clusters: from, to; both from the segment's content on.
    pub(super) clusters: BTreeMap<u64, u64>,
    /// The track that is no more.
    pub(super) dropped: Option<u64>,
}

/// The index `content` with the places where the clusters are now. Where within
/// a cluster a packet lies is left out: readers look for it.
pub(super) fn moved(content: &[u8], moves: &Moves) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for point in children(content).flatten().filter(|child| child.id == ebml::CUE_POINT) {
        let mut places = 0;
        let mut changed = Vec::new();
        for child in children(point.content).flatten() {
            if child.id == ebml::CUE_TRACK_POSITIONS {
                let Some(place) = place(&child, moves) else { continue };
                ebml::element(child.id, &place, &mut changed);
                places += 1;
            } else {
                changed.extend_from_slice(child.whole);
            }
        }
        if places > 0 {
            ebml::element(point.id, &changed, &mut out);
        }
    }
    out
}

fn place(positions: &Child<'_>, moves: &Moves) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    for child in children(positions.content).flatten() {
        match child.id {
            ebml::CUE_RELATIVE_POSITION => {}
            ebml::CUE_TRACK if number(child.content) == moves.dropped => return None,
            ebml::CUE_CLUSTER_POSITION => {
                let now = moves.clusters.get(&number(child.content)?)?;
                ebml::unsigned(child.id, *now, &mut changed);
            }
            _ => changed.extend_from_slice(child.whole),
        }
    }
    Some(changed)
}

/// Bytes that [`seek_head`] fills.
pub(super) const SEEK_HEAD_BYTES: usize = 256;

/// The table of parts (id, place from the segment's content on), filled up to
/// [`SEEK_HEAD_BYTES`] bytes; ten parts are the most.
pub(super) fn seek_head(parts: &[(u32, u64)]) -> Vec<u8> {
    let mut seeks = Vec::new();
    for (id, at) in parts.iter().take(10) {
        let mut seek = Vec::new();
        ebml::element(ebml::SEEK_ID, &id.to_be_bytes(), &mut seek);
        ebml::unsigned(ebml::SEEK_POSITION, *at, &mut seek);
        ebml::element(ebml::SEEK, &seek, &mut seeks);
    }
    let mut out = Vec::new();
    ebml::element(ebml::SEEK_HEAD, &seeks, &mut out);
    let left = SEEK_HEAD_BYTES.saturating_sub(out.len() + 9);
    out.push(ebml::VOID as u8);
    out.extend(ebml::long_size(left as u64));
    out.resize(SEEK_HEAD_BYTES, 0);
    out
}
