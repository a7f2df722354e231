//! EBML: how Matroska files are written down.

pub(super) const EBML: u32 = 0x1A45_DFA3;
pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const SEEK_HEAD: u32 = 0x114D_9B74;
pub(super) const SEEK: u32 = 0x4DBB;
pub(super) const SEEK_ID: u32 = 0x53AB;
pub(super) const SEEK_POSITION: u32 = 0x53AC;
pub(super) const INFO: u32 = 0x1549_A966;
pub(super) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
pub(super) const DURATION: u32 = 0x4489;
pub(super) const TRACKS: u32 = 0x1654_AE6B;
pub(super) const TRACK_ENTRY: u32 = 0xAE;
pub(super) const TRACK_NUMBER: u32 = 0xD7;
pub(super) const TRACK_UID: u32 = 0x73C5;
pub(super) const TRACK_TYPE: u32 = 0x83;
pub(super) const CODEC_ID: u32 = 0x86;
pub(super) const CODEC_PRIVATE: u32 = 0x63A2;
pub(super) const DEFAULT_DURATION: u32 = 0x23_E383;
pub(super) const CONTENT_ENCODINGS: u32 = 0x6D80;
pub(super) const VIDEO: u32 = 0xE0;
pub(super) const PIXEL_WIDTH: u32 = 0xB0;
pub(super) const PIXEL_HEIGHT: u32 = 0xBA;
pub(super) const BLOCK_ADDITION_MAPPING: u32 = 0x41E4;
pub(super) const BLOCK_ADD_ID_NAME: u32 = 0x41A4;
pub(super) const BLOCK_ADD_ID_TYPE: u32 = 0x41E7;
pub(super) const BLOCK_ADD_ID_DATA: u32 = 0x41ED;
pub(super) const CLUSTER: u32 = 0x1F43_B675;
pub(super) const TIMESTAMP: u32 = 0xE7;
pub(super) const POSITION: u32 = 0xA7;
pub(super) const PREV_SIZE: u32 = 0xAB;
pub(super) const SIMPLE_BLOCK: u32 = 0xA3;
pub(super) const BLOCK_GROUP: u32 = 0xA0;
pub(super) const BLOCK: u32 = 0xA1;
pub(super) const BLOCK_DURATION: u32 = 0x9B;
pub(super) const REFERENCE_BLOCK: u32 = 0xFB;
pub(super) const CUES: u32 = 0x1C53_BB6B;
pub(super) const CUE_POINT: u32 = 0xBB;
pub(super) const CUE_TRACK_POSITIONS: u32 = 0xB7;
pub(super) const CUE_TRACK: u32 = 0xF7;
pub(super) const CUE_CLUSTER_POSITION: u32 = 0xF1;
pub(super) const CUE_RELATIVE_POSITION: u32 = 0xF0;
pub(super) const CHAPTERS: u32 = 0x1043_A770;
pub(super) const ATTACHMENTS: u32 = 0x1941_A469;
pub(super) const TAGS: u32 = 0x1254_C367;
pub(super) const TAG: u32 = 0x7373;
pub(super) const TARGETS: u32 = 0x63C0;
pub(super) const TAG_TRACK_UID: u32 = 0x63C5;
pub(super) const SIMPLE_TAG: u32 = 0x67C8;
pub(super) const TAG_NAME: u32 = 0x45A3;
pub(super) const TAG_STRING: u32 = 0x4487;
pub(super) const VOID: u32 = 0xEC;
pub(super) const CRC: u32 = 0xBF;

/// A child of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child<'a> {
    pub(super) id: u32,
    pub(super) content: &'a [u8],
    /// Head and content.
    pub(super) whole: &'a [u8],
}

/// The children in `bytes`; `None` in place of one that is damaged, and then no
/// more.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = Option<Child<'_>>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
        let Some(child) = first(bytes) else {
            return Some(None);
        };
        rest = Some(&bytes[child.whole.len()..]);
        Some(Some(child))
    })
}

/// The content of the first child `id` in `bytes`.
pub(super) fn child(bytes: &[u8], id: u32) -> Option<&[u8]> {
    children(bytes).flatten().find(|child| child.id == id).map(|child| child.content)
}

fn first(bytes: &[u8]) -> Option<Child<'_>> {
    let (id, rest) = variable(bytes, 4, false)?;
    let (size, rest) = variable(rest, 8, true)?;
    let content = rest.get(..usize::try_from(size?).ok()?)?;
    let whole = &bytes[..bytes.len() - rest.len() + content.len()];
    Some(Child { id: u32::try_from(id?).ok()?, content, whole })
}

/// A number whose first byte's leading zeros tell its length; with `masked`,
/// the length marker is no part of it, and all ones mean "unknown" (`None`).
pub(super) fn variable(bytes: &[u8], longest: usize, masked: bool) -> Option<(Option<u64>, &[u8])> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let (digits, rest) = bytes.split_at_checked(length).filter(|_| length <= longest)?;
    let value = number(digits)?;
    if !masked {
        return Some((Some(value), rest));
    }
    let mask = (1u64 << (7 * length)) - 1;
    let value = value & mask;
    Some(((value != mask).then_some(value), rest))
}

/// A big-endian number of up to eight bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, add))
}

/// A float of four or eight bytes.
pub(super) fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Writes the head of an element of `size` bytes.
pub(super) fn head(id: u32, size: u64, out: &mut Vec<u8>) {
    out.extend(id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0));
    let length = (1..8).find(|length| size < (1 << (7 * length)) - 1).unwrap_or(8);
    let marked = size | 1 << (7 * length);
    out.extend(&marked.to_be_bytes()[8 - length as usize..]);
}

/// Eight bytes that say that a size is not known.
pub(super) const UNKNOWN_SIZE: [u8; 8] = [1, 255, 255, 255, 255, 255, 255, 255];

/// Eight bytes that state a size, for heads that are completed later.
pub(super) fn long_size(size: u64) -> [u8; 8] {
    (size | 1 << 56).to_be_bytes()
}

/// Writes an element.
pub(super) fn element(id: u32, content: &[u8], out: &mut Vec<u8>) {
    head(id, content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Writes an element that is a number.
pub(super) fn unsigned(id: u32, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let zeros = (value.leading_zeros() as usize / 8).min(7);
    element(id, &bytes[zeros..], out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(id in prop::sample::select(vec![TAG, TAGS, CRC, DEFAULT_DURATION]),
            size in 0usize..20_000, value in any::<u64>()) {
            let mut bytes = Vec::new();
            element(id, &vec![7; size], &mut bytes);
            unsigned(TRACK_UID, value, &mut bytes);
            let read: Vec<_> = children(&bytes).map(Option::unwrap).collect();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[0].id, read[0].content.len()), (id, size));
            prop_assert_eq!(number(read[1].content), Some(value));
            prop_assert_eq!([read[0].whole, read[1].whole].concat(), bytes);
        }

        #[test]
        fn nothing_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = children(&bytes).flatten().map(|child| child.whole.len()).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
