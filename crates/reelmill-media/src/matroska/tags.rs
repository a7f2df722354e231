//! The tags of a rewritten file: figures that are no longer true.

use super::ebml::{self, child, children, number};

/// What became of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NewFigures {
    /// The track whose packets have changed.
    pub(super) track: u64,
    /// Bytes of its packets now.
    pub(super) bytes: u64,
    /// And before.
    pub(super) bytes_before: u64,
    /// The track that is no more.
    pub(super) dropped: Option<u64>,
}

/// The tags `content` with the figures of the changed track, without those of
/// the dropped one.
pub(super) fn updated(content: &[u8], figures: NewFigures) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 16);
    for tag in children(content).flatten().filter(|child| child.id != ebml::CRC) {
        let track = target(tag.content);
        if tag.id == ebml::TAG && track.is_some() && track == figures.dropped {
            continue;
        }
        if tag.id != ebml::TAG || track != Some(figures.track) {
            out.extend_from_slice(tag.whole);
            continue;
        }
        let mut changed = Vec::new();
        for field in children(tag.content).flatten() {
            match (field.id == ebml::SIMPLE_TAG).then(|| figure(field.content, figures)).flatten() {
                Some(text) => ebml::element(field.id, &text, &mut changed),
                None => changed.extend_from_slice(field.whole),
            }
        }
        ebml::element(tag.id, &changed, &mut out);
    }
    out
}

/// The number of frames that the tags state for the track with `uid`.
pub(super) fn frames(content: &[u8], uid: u64) -> Option<u64> {
    let mut tags = children(content).flatten().filter(|tag| target(tag.content) == Some(uid));
    tags.find_map(|tag| {
        let mut fields = children(tag.content).flatten();
        fields.find_map(|field| {
            let is = child(field.content, ebml::TAG_NAME)? == b"NUMBER_OF_FRAMES";
            let text = std::str::from_utf8(child(field.content, ebml::TAG_STRING)?).ok()?;
            if is { text.parse().ok() } else { None }
        })
    })
}

fn target(tag: &[u8]) -> Option<u64> {
    number(child(child(tag, ebml::TARGETS)?, ebml::TAG_TRACK_UID)?)
}

/// The simple tag with its new figure, if it states one that has changed.
fn figure(simple: &[u8], figures: NewFigures) -> Option<Vec<u8>> {
    let stated: u128 = std::str::from_utf8(child(simple, ebml::TAG_STRING)?).ok()?.parse().ok()?;
    let now = match child(simple, ebml::TAG_NAME)? {
        b"NUMBER_OF_BYTES" => u128::from(figures.bytes),
        b"BPS" if figures.bytes_before > 0 => {
            stated * u128::from(figures.bytes) / u128::from(figures.bytes_before)
        }
        _ => return None,
    };
    let mut changed = Vec::new();
    for field in children(simple).flatten() {
        if field.id == ebml::TAG_STRING {
            ebml::element(field.id, now.to_string().as_bytes(), &mut changed);
        } else {
            changed.extend_from_slice(field.whole);
        }
    }
    Some(changed)
}
