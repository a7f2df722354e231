//! Which way up a picture is: the one thing in Exif data that must be acted on.
//! Exif data are a TIFF file in small, so this reads both.

/// Tags of the first directory.
const ORIENTATION: u16 = 0x0112;
const PROFILE: u16 = 0x8773;

/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 1000;

/// A directory of a TIFF file.
struct Directory<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    at: usize,
}

impl<'a> Directory<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = match bytes.get(..4)? {
            [b'I', b'I', 42, 0] => false,
            [b'M', b'M', 0, 42] => true,
            _ => return None,
        };
        let mut first = Self { bytes, big_endian, at: 0 };
        first.at = first.long(4)? as usize;
        Some(first)
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Where the entry of `tag` stands.
    fn entry(&self, tag: u16) -> Option<usize> {
        let count = usize::from(self.short(self.at)?).min(MOST_ENTRIES);
        let entries = (0..count).map(|number| self.at + 2 + number * 12);
        entries.into_iter().find(|at| self.short(*at) == Some(tag))
    }
}

/// The orientation that Exif data or a TIFF file state, 1 to 8; 1 (upright) when
/// they state none.
pub(super) fn orientation(tiff: &[u8]) -> u8 {
    let read = || {
        let first = Directory::first(tiff)?;
        let entry = first.entry(ORIENTATION)?;
        first.short(entry + 8).filter(|value| (1..=8).contains(value))
    };
    read().map_or(1, |value| value as u8)
}

/// The same data with the orientation set to upright.
pub(super) fn upright(mut tiff: Vec<u8>) -> Vec<u8> {
    let place = Directory::first(&tiff).and_then(|first| {
        let at = first.entry(ORIENTATION)? + 8;
        Some((at, first.big_endian))
    });
    if let Some((at, big_endian)) = place
        && let Some(value) = tiff.get_mut(at..at + 2)
    {
        value.copy_from_slice(if big_endian { &[0, 1] } else { &[1, 0] });
    }
    tiff
}

/// The colour profile in a TIFF file.
pub(super) fn profile(tiff: &[u8]) -> Option<Vec<u8>> {
    let first = Directory::first(tiff)?;
    let entry = first.entry(PROFILE)?;
    let (length, at) = (first.long(entry + 4)? as usize, first.long(entry + 8)? as usize);
    (length > 4).then(|| tiff.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiff(big_endian: bool, orientation: u16) -> Vec<u8> {
        let mut bytes = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        let short = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend(short(ORIENTATION));
        bytes.extend(short(3));
        bytes.extend(long(1));
        bytes.extend(short(orientation));
        bytes.extend([0; 6]);
        bytes
    }

    #[test]
    fn the_orientation_is_read_and_set_upright() {
        for big_endian in [false, true] {
            for turn in 1..=8 {
                let bytes = tiff(big_endian, turn);
                assert_eq!(u16::from(orientation(&bytes)), turn);
                assert_eq!(orientation(&upright(bytes)), 1);
            }
            assert_eq!(orientation(&tiff(big_endian, 9)), 1);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
            let bytes = [if big { b"MM\0*" } else { b"II*\0" }, &bytes[..]].concat();
            prop_assert!((1..=8).contains(&orientation(&bytes)));
            prop_assert_eq!(upright(bytes.clone()).len(), bytes.len());
            profile(&bytes);
        }
    }
}
