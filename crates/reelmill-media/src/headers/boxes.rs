//! Boxes of MP4 and QuickTime (ISO 14496-12), in a file and in memory.

use super::window::{Look, Window, unsure};

/// A box of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileBox {
    pub(super) kind: [u8; 4],
    /// Where its content begins.
    pub(super) content: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// Boxes of one parent that are looked at.
const MAX_BOXES: usize = 2000;

/// The box at `at`, within a parent that ends at `end`; `None` past the last.
pub(super) fn next(file: &mut Window, at: u64, end: u64) -> Look<Option<FileBox>> {
    if at >= end {
        return Ok(None);
    }
    if end - at < 8 {
        // QuickTime ends some lists with a zero instead of a box.
        return if end - at == 4 { Ok(None) } else { unsure("bytes between its boxes") };
    }
    let head = file.upto(at, 16)?;
    let (size, kind) = (be(&head[..4]), [head[4], head[5], head[6], head[7]]);
    let (size, content) = match size {
        0 => (end - at, at + 8),
        1 if head.len() == 16 => (be(&head[8..]), at + 16),
        size => (size, at + 8),
    };
    match at.checked_add(size) {
        Some(last) if last <= end && last >= content => {
            Ok(Some(FileBox { kind, content, end: last }))
        }
        _ => unsure("it is shorter than its boxes say"),
    }
}

/// All boxes between `at` and `end`.
pub(super) fn all(file: &mut Window, mut at: u64, end: u64) -> Look<Vec<FileBox>> {
    let mut found = Vec::new();
    while let Some(one) = next(file, at, end)? {
        at = one.end;
        found.push(one);
        if found.len() > MAX_BOXES {
            return unsure("very many boxes");
        }
    }
    Ok(found)
}

impl FileBox {
    /// The whole content.
    pub(super) fn read(self, file: &mut Window) -> Look<Vec<u8>> {
        Ok(file.bytes(self.content, self.end - self.content)?.to_vec())
    }

    /// The boxes within.
    pub(super) fn boxes(self, file: &mut Window) -> Look<Vec<FileBox>> {
        all(file, self.content, self.end)
    }
}

/// The first box of a kind.
pub(super) fn find(boxes: &[FileBox], kind: &[u8; 4]) -> Option<FileBox> {
    boxes.iter().copied().find(|one| one.kind == *kind)
}

/// A big-endian number of up to 8 bytes.
pub(super) fn be(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The boxes in `data`; what does not fit ends the list.
pub(super) fn inner(mut data: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while data.len() >= 8 {
        let size = be(&data[..4]) as usize;
        let size = if size == 0 { data.len() } else { size };
        if size < 8 || size > data.len() {
            break;
        }
        found.push(([data[4], data[5], data[6], data[7]], &data[8..size]));
        data = &data[size..];
    }
    found
}
