//! Elements of EBML (RFC 8794), in a file and in memory.

use super::window::{Look, Window, unsure};

/// An element of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    pub(super) id: u32,
    /// Where its content begins.
    pub(super) content: u64,
    /// Bytes of its content; `None` when unknown.
    pub(super) size: Option<u64>,
}

impl Element {
    /// Where the next element begins; the file's end when the size is unknown.
    pub(super) fn end(self, len: u64) -> Look<u64> {
        match self.size {
            None => Ok(len),
            Some(size) => match self.content.checked_add(size) {
                Some(end) if end <= len => Ok(end),
                _ => unsure("it is shorter than its headers say"),
            },
        }
    }

    /// The whole content.
    pub(super) fn read(self, file: &mut Window) -> Look<Vec<u8>> {
        match self.size {
            Some(size) => Ok(file.bytes(self.content, size)?.to_vec()),
            None => unsure("an element of unknown size"),
        }
    }
}

/// The element that begins at `at`.
pub(super) fn element(file: &mut Window, at: u64) -> Look<Element> {
    let head = file.upto(at, 12)?;
    match head_of(head) {
        Some((id, size, taken)) => Ok(Element { id, content: at + taken as u64, size }),
        None => unsure("damaged Matroska elements"),
    }
}

/// Id, size and bytes of an element's head.
fn head_of(data: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let id_bytes = width(*data.first()?, 4)?;
    let id = data.get(..id_bytes)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let (size, size_bytes) = vint(data.get(id_bytes..)?)?;
    Some((id, size, id_bytes + size_bytes))
}

fn width(first: u8, most: usize) -> Option<usize> {
    let width = first.leading_zeros() as usize + 1;
    (width <= most).then_some(width)
}

/// A number of variable width and its bytes; `None` within for "unknown".
pub(super) fn vint(data: &[u8]) -> Option<(Option<u64>, usize)> {
    let first = *data.first()?;
    let bytes = width(first, 8)?;
    let marker = 1u64 << (7 * bytes);
    let value = data.get(..bytes)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let value = value & (marker - 1);
    Some(((value != marker - 1).then_some(value), bytes))
}

/// The elements in `data`, one after the other; unsure when one does not fit.
pub(super) fn children(mut data: &[u8]) -> Look<Vec<(u32, &[u8])>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let split = head_of(data).and_then(|(id, size, taken)| {
            let content = data.get(taken..)?;
            let (content, rest) = content.split_at_checked(usize::try_from(size?).ok()?)?;
            Some((id, content, rest))
        });
        let Some((id, content, rest)) = split else {
            return unsure("damaged Matroska elements");
        };
        found.push((id, content));
        data = rest;
    }
    Ok(found)
}

/// An unsigned number.
pub(super) fn uint(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// A floating-point number; an empty one is zero.
pub(super) fn float(data: &[u8]) -> f64 {
    match *data {
        [a, b, c, d] => f64::from(f32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0.0,
    }
}

/// A text, up to its first NUL.
pub(super) fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}
