//! The header of a Matroska file: everything before the first cluster.

use super::{is_reserved, take};
use reelmill_core::hdr::{HdrKept, MasteringDisplay};
use std::fs::File;
use std::io;
use std::ops::Range;

const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
const SEEK_HEAD: u32 = 0x114D_9B74;
const TRACKS: u32 = 0x1654_AE6B;
const TAGS: u32 = 0x1254_C367;
const VOID: u32 = 0xEC;
const CHECKSUM: u32 = 0xBF;
const SEEK: u32 = 0x4DBB;
const SEEK_ID: u32 = 0x53AB;
const SEEK_POSITION: u32 = 0x53AC;
const TRACK: u32 = 0xAE;
const TRACK_TYPE: u32 = 0x83;
const LANGUAGE_TAG: u32 = 0x22_B59D;
const VIDEO: u32 = 0xE0;
const COLOUR: u32 = 0x55B0;
const MAX_CLL: u32 = 0x55BC;
const MAX_FALL: u32 = 0x55BD;
const MASTERING: u32 = 0x55D0;
const ADDITION_MAPPING: u32 = 0x41E4;
const ADDITION_NAME: u32 = 0x41A4;
const ADDITION_TYPE: u32 = 0x41E7;
const ADDITION_DATA: u32 = 0x41ED;
const TAG: u32 = 0x7373;
const SIMPLE_TAG: u32 = 0x67C8;

/// Elements before the first cluster that are looked at.
const MAX_ELEMENTS: usize = 64;

/// From the segment's first element to its first cluster, bytes of the file.
pub(super) fn header(file: &mut File) -> io::Result<Option<Range<u64>>> {
    let mut at = 0;
    let mut start = None;
    for _ in 0..MAX_ELEMENTS {
        let length = file.metadata()?.len().saturating_sub(at).min(12) as usize;
        let bytes = take(file, at, length)?;
        let Some((id, size, head)) = element_head(&bytes) else { return Ok(None) };
        match (id, start) {
            (SEGMENT, None) => {
                at += head as u64;
                start = Some(at);
            }
            (CLUSTER, Some(start)) => return Ok(Some(start..at)),
            _ => at += head as u64 + size,
        }
    }
    Ok(None)
}

/// The same header with the metadata and without the reserve, of the same
/// length. `None` when it has another form.
pub(super) fn changed(
    header: &[u8],
    hdr: &HdrKept,
    languages: &[Option<String>],
) -> Option<Vec<u8>> {
    let mut parts: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut seeks = None;
    for (id, content) in elements(header)? {
        match id {
            VOID => {}
            SEEK_HEAD => seeks = Some(seek_entries(content)?),
            TRACKS => parts.push((id, element(id, &tracks(content, hdr, languages)?))),
            TAGS => parts.push((id, element(id, &tags(content)?))),
            _ => parts.push((id, element(id, content))),
        }
    }
    let seeks = seeks?;
    let mut at = seek_head(&seeks, |_| Some(0))?.len() as u64;
    let mut places = Vec::new();
    for (id, bytes) in &parts {
        places.push((*id, at));
        at += bytes.len() as u64;
    }
    let end = header.len() as u64;
    let head = seek_head(&seeks, |(id, old)| {
        let moved = places.iter().find(|(part, _)| *part == id).map(|(_, place)| *place);
        // What lies behind the header stays where it is.
        moved.or((old >= end).then_some(old))
    })?;
    let mut bytes = head;
    for (_, part) in parts {
        bytes.extend(part);
    }
    let room = header.len().checked_sub(bytes.len())?;
    bytes.extend(void(room)?);
    Some(bytes)
}

fn seek_entries(content: &[u8]) -> Option<Vec<(u32, u64)>> {
    let mut entries = Vec::new();
    for (id, seek) in elements(content)? {
        if id != SEEK {
            continue;
        }
        let fields = elements(seek)?;
        let number = |wanted| {
            let (_, bytes) = fields.iter().find(|(id, _)| *id == wanted)?;
            Some(bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        entries.push((u32::try_from(number(SEEK_ID)?).ok()?, number(SEEK_POSITION)?));
    }
    Some(entries)
}

/// Entries whose element is gone are left out.
fn seek_head(entries: &[(u32, u64)], place: impl Fn((u32, u64)) -> Option<u64>) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    for entry in entries {
        let Some(position) = place(*entry) else { continue };
        let mut seek = element(SEEK_ID, &entry.0.to_be_bytes());
        seek.extend(element(SEEK_POSITION, &position.to_be_bytes()));
        content.extend(element(SEEK, &seek));
    }
    Some(element(SEEK_HEAD, &content))
}

/// The first video track gets the metadata, each track its language.
fn tracks(content: &[u8], hdr: &HdrKept, languages: &[Option<String>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut done = false;
    let mut languages = languages.iter();
    for (id, track) in elements(content)? {
        match id {
            CHECKSUM => {}
            TRACK => {
                let fields = elements(track)?;
                let video = fields.iter().any(|(id, value)| *id == TRACK_TYPE && *value == [1]);
                let language = languages.next().and_then(Option::as_deref);
                let fields: Vec<_> = (fields.into_iter())
                    .filter(|(id, _)| *id != LANGUAGE_TAG || language.is_none())
                    .chain(language.map(|tag| (LANGUAGE_TAG, tag.as_bytes())))
                    .collect();
                let track = match video && !done {
                    true => one_track(&fields, hdr),
                    false => fields.iter().flat_map(|(id, value)| element(*id, value)).collect(),
                };
                done |= video;
                bytes.extend(element(id, &track));
            }
            _ => bytes.extend(element(id, track)),
        }
    }
    done.then_some(bytes)
}

fn one_track(fields: &[(u32, &[u8])], hdr: &HdrKept) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, value) in fields {
        match *id {
            VIDEO => bytes.extend(element(VIDEO, &video(value, hdr))),
            ADDITION_MAPPING if hdr.dolby_vision.is_some() => {}
            id => bytes.extend(element(id, value)),
        }
    }
    if let Some(kept) = hdr.dolby_vision {
        let mut mapping = element(ADDITION_NAME, b"Dolby Vision configuration");
        mapping.extend(element(ADDITION_TYPE, b"dvvC"));
        mapping.extend(element(ADDITION_DATA, &kept.record()));
        bytes.extend(element(ADDITION_MAPPING, &mapping));
    }
    bytes
}

fn video(content: &[u8], hdr: &HdrKept) -> Vec<u8> {
    let fields = elements(content).unwrap_or_default();
    let mut bytes = Vec::new();
    let mut colour = Vec::new();
    for (id, value) in fields {
        if id == COLOUR {
            let kept = elements(value).unwrap_or_default().into_iter();
            let kept = kept.filter(|(id, _)| match *id {
                MAX_CLL | MAX_FALL => hdr.light.is_none(),
                MASTERING => hdr.mastering.is_none(),
                _ => true,
            });
            colour.extend(kept.flat_map(|(id, value)| element(id, value)));
        } else {
            bytes.extend(element(id, value));
        }
    }
    if let Some(light) = hdr.light {
        colour.extend(element(MAX_CLL, &light.max.to_be_bytes()));
        colour.extend(element(MAX_FALL, &light.average.to_be_bytes()));
    }
    if let Some(display) = hdr.mastering {
        colour.extend(element(MASTERING, &mastering(&display)));
    }
    if !colour.is_empty() {
        bytes.extend(element(COLOUR, &colour));
    }
    bytes
}

fn mastering(display: &MasteringDisplay) -> Vec<u8> {
    let part = |value: u16| f64::from(value) / 50_000.0;
    let light = |value: u32| f64::from(value) / 10_000.0;
    let values = [
        part(display.red.0),
        part(display.red.1),
        part(display.green.0),
        part(display.green.1),
        part(display.blue.0),
        part(display.blue.1),
        part(display.white.0),
        part(display.white.1),
        light(display.max_luminance),
        light(display.min_luminance),
    ];
    let numbered = (0x55D1..).zip(values);
    numbered.flat_map(|(id, value)| element(id, &value.to_be_bytes())).collect()
}

fn tags(content: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (id, tag) in elements(content)? {
        if id == CHECKSUM {
            continue;
        }
        if id != TAG || !is_reserved(tag) {
            bytes.extend(element(id, tag));
            continue;
        }
        let fields = elements(tag)?.into_iter();
        let kept: Vec<_> =
            fields.filter(|(id, value)| *id != SIMPLE_TAG || !is_reserved(value)).collect();
        if kept.iter().any(|(id, _)| *id == SIMPLE_TAG) {
            let inner: Vec<u8> = kept.iter().flat_map(|(id, value)| element(*id, value)).collect();
            bytes.extend(element(TAG, &inner));
        }
    }
    Some(bytes)
}

/// Nothing, `room` bytes of it.
fn void(room: usize) -> Option<Vec<u8>> {
    match room {
        0 => Some(Vec::new()),
        1 => None,
        2..=9 => {
            let mut bytes = vec![0xEC, 0x80 | (room - 2) as u8];
            bytes.resize(room, 0);
            Some(bytes)
        }
        _ => {
            let mut bytes = vec![0xEC];
            bytes.extend(((room - 9) as u64 | 1 << 56).to_be_bytes());
            bytes.resize(room, 0);
            Some(bytes)
        }
    }
}

/// An element's identifier, the size of its content and that of its head.
fn element_head(bytes: &[u8]) -> Option<(u32, u64, usize)> {
    let first = *bytes.first()?;
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 {
        return None;
    }
    let id = bytes.get(..id_length)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let first = *bytes.get(id_length)?;
    let length = first.leading_zeros() as usize + 1;
    let digits = bytes.get(id_length..id_length + length)?;
    let size = digits.iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte));
    let mark = 1u64.checked_shl(7 * length as u32)?;
    Some((id, size & (mark - 1), id_length + length))
}

/// The elements that `bytes` consist of.
fn elements(mut bytes: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (id, size, head) = element_head(bytes)?;
        let end = head.checked_add(usize::try_from(size).ok()?)?;
        found.push((id, bytes.get(head..end)?));
        bytes = &bytes[end..];
    }
    Some(found)
}

fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let skipped = id.iter().take_while(|byte| **byte == 0).count();
    let mut bytes = id[skipped..].to_vec();
    let size = content.len() as u64;
    match size {
        0..0x7F => bytes.push(0x80 | size as u8),
        0x7F..0x3FFF => bytes.extend((0x4000 | size as u16).to_be_bytes()),
        _ => bytes.extend((1 << 56 | size).to_be_bytes()),
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn elements_are_read_as_written(content in prop::collection::vec(any::<u8>(), 0..40_000)) {
            for id in [VOID, SEEK, CLUSTER] {
                let bytes = element(id, &content);
                prop_assert_eq!(elements(&bytes).unwrap(), vec![(id, &content[..])]);
            }
        }

        #[test]
        fn damaged_headers_are_refused_not_followed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = changed(&bytes, &HdrKept::default(), &[]);
        }

        #[test]
        fn a_void_takes_just_its_room(room in 2usize..5000) {
            let bytes = void(room).unwrap();
            prop_assert_eq!(bytes.len(), room);
            prop_assert_eq!(elements(&bytes).unwrap()[0].0, VOID);
        }
    }
}
