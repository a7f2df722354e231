//! The header of an MP4 or MOV file: the `moov` box.

use super::{is_reserved, take};
use reelmill_core::hdr::{HdrKept, MasteringDisplay};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Boxes at the top of a file that are looked at.
const MAX_BOXES: usize = 64;

/// Length of a picture's sample entry before its boxes.
const ENTRY_FIELDS: usize = 78;

/// The `moov` box, bytes of the file.
pub(super) fn header(file: &mut File) -> io::Result<Option<Range<u64>>> {
    let mut at = 0;
    let length = file.metadata()?.len();
    for _ in 0..MAX_BOXES {
        let bytes = take(file, at, length.saturating_sub(at).min(16) as usize)?;
        let Some((kind, size, _)) = box_head(&bytes) else { return Ok(None) };
        let end = at.saturating_add(size);
        if &kind == b"moov" {
            return Ok(Some(at..end).filter(|range| range.end <= length));
        }
        at = end;
    }
    Ok(None)
}

/// The same box with the metadata and without the reserve, of the same length.
/// `None` when it has another form.
pub(super) fn changed(header: &[u8], hdr: &HdrKept) -> Option<Vec<u8>> {
    let [(kind, moov)] = boxes(header)?[..] else { return None };
    let mut content = Vec::new();
    let mut done = false;
    for (kind, inner) in boxes(moov)? {
        match &kind {
            b"trak" if !done && is_video(inner) => {
                content
                    .extend(one(kind, &within(inner, &[b"mdia", b"minf", b"stbl", b"stsd"], hdr)?));
                done = true;
            }
            b"udta" => content.extend(one(kind, &without_reserve(inner))),
            _ => content.extend(one(kind, inner)),
        }
    }
    let room = header.len().checked_sub(content.len() + 8)?;
    if room >= 8 {
        content.extend(one(*b"free", &vec![0; room - 8]));
    } else if room > 0 {
        return None;
    }
    done.then(|| one(kind, &content))
}

fn is_video(trak: &[u8]) -> bool {
    let find = |bytes: &[u8], wanted: &[u8; 4]| {
        let found = boxes(bytes)?.into_iter().find(|(kind, _)| kind == wanted);
        found.map(|(_, inner)| inner.to_vec())
    };
    let handler = find(trak, b"mdia").and_then(|mdia| find(&mdia, b"hdlr"));
    handler.is_some_and(|handler| handler.get(8..12) == Some(b"vide"))
}

/// The boxes `bytes` with the metadata in the sample entry at the end of `path`.
fn within(bytes: &[u8], path: &[&[u8; 4]], hdr: &HdrKept) -> Option<Vec<u8>> {
    let (wanted, rest) = path.split_first()?;
    let mut content = Vec::new();
    let mut done = false;
    for (kind, inner) in boxes(bytes)? {
        if done || kind != **wanted {
            content.extend(one(kind, inner));
            continue;
        }
        done = true;
        let inner =
            if rest.is_empty() { described(inner, hdr)? } else { within(inner, rest, hdr)? };
        content.extend(one(kind, &inner));
    }
    done.then_some(content)
}

/// The content of `stsd`, its first entry with the metadata.
fn described(stsd: &[u8], hdr: &HdrKept) -> Option<Vec<u8>> {
    let (fields, entries) = stsd.split_at_checked(8)?;
    let mut content = fields.to_vec();
    for (at, (kind, entry)) in boxes(entries)?.into_iter().enumerate() {
        if at > 0 {
            content.extend(one(kind, entry));
            continue;
        }
        let (fields, inner) = entry.split_at_checked(ENTRY_FIELDS)?;
        let mut bytes = fields.to_vec();
        let ours = |kind: &[u8; 4]| match kind {
            b"mdcv" => hdr.mastering.is_some(),
            b"clli" => hdr.light.is_some(),
            b"dvcC" | b"dvvC" => hdr.dolby_vision.is_some(),
            _ => false,
        };
        // MOV ends the list with four zero bytes, which are no box.
        let (inner, end) = match inner.strip_suffix(&[0; 4]) {
            Some(shorter) if boxes(inner).is_none() => (shorter, &[0; 4][..]),
            _ => (inner, &[][..]),
        };
        for (kind, inner) in boxes(inner)?.into_iter().filter(|(kind, _)| !ours(kind)) {
            bytes.extend(one(kind, inner));
        }
        bytes.extend(records(hdr));
        bytes.extend_from_slice(end);
        content.extend(one(kind, &bytes));
    }
    Some(content)
}

fn records(hdr: &HdrKept) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(display) = hdr.mastering {
        bytes.extend(one(*b"mdcv", &mastering(&display)));
    }
    if let Some(light) = hdr.light {
        let values = [light.max, light.average];
        bytes.extend(one(*b"clli", &values.map(u16::to_be_bytes).concat()));
    }
    if let Some(kept) = hdr.dolby_vision {
        bytes.extend(one(*b"dvvC", &kept.record()));
    }
    bytes
}

fn mastering(display: &MasteringDisplay) -> Vec<u8> {
    let points = [display.green, display.blue, display.red, display.white];
    let mut bytes: Vec<u8> =
        points.iter().flat_map(|(x, y)| [x.to_be_bytes(), y.to_be_bytes()].concat()).collect();
    bytes.extend(display.max_luminance.to_be_bytes());
    bytes.extend(display.min_luminance.to_be_bytes());
    bytes
}

/// The boxes of `udta` without the reserved tag, however deep it lies.
fn without_reserve(bytes: &[u8]) -> Vec<u8> {
    let Some(found) = boxes(bytes) else { return bytes.to_vec() };
    let mut content = Vec::new();
    for (kind, inner) in found {
        let fields = if &kind == b"meta" { 4 } else { 0 };
        match &kind {
            _ if !is_reserved(inner) => content.extend(one(kind, inner)),
            b"meta" | b"ilst" if inner.len() >= fields => {
                let mut kept = inner[..fields].to_vec();
                kept.extend(without_reserve(&inner[fields..]));
                content.extend(one(kind, &kept));
            }
            _ => {}
        }
    }
    content
}

/// A box's kind, its whole size and that of its head.
pub(super) fn box_head(bytes: &[u8]) -> Option<([u8; 4], u64, usize)> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = bytes.get(4..8)?.try_into().ok()?;
    match size {
        1 => {
            let size = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
            (size >= 16).then_some((kind, size, 16))
        }
        0..8 => None,
        size => Some((kind, u64::from(size), 8)),
    }
}

/// The boxes that `bytes` consist of.
fn boxes(mut bytes: &[u8]) -> Option<Vec<([u8; 4], &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (kind, size, head) = box_head(bytes)?;
        let size = usize::try_from(size).ok()?;
        found.push((kind, bytes.get(head..size)?));
        bytes = &bytes[size..];
    }
    Some(found)
}

fn one(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() + 8) as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_headers_are_refused_not_followed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = changed(&one(*b"moov", &bytes), &HdrKept::default());
        }
    }
}
