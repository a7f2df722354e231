//! MP4 and QuickTime: a row of boxes, of which only `mdat` holds pictures.

use super::{HEAD, Source};
use reelmill_core::chunk::ByteRange;
use std::io;

/// Boxes beyond which a file is taken for odd.
const MAX_BOXES: usize = 4096;

/// One box: where it lies and what it is.
struct Box4 {
    kind: [u8; 4],
    end: u64,
}

/// All but the payload of `mdat` and of padding; `None` when that does not
/// suffice (a fragmented, damaged or odd file).
pub(super) fn skeleton(mut file: Source) -> io::Result<Option<Vec<ByteRange>>> {
    let mut ranges = Vec::new();
    let (mut index, mut payload) = (false, false);
    let mut at = 0;
    while at < file.len {
        let Some(found) = next(&mut file, at)? else {
            return Ok(None);
        };
        let wanted = match &found.kind {
            // Fragments carry the index in pieces all over the file.
            b"moof" => return Ok(None),
            b"mdat" => 16 + HEAD,
            b"free" | b"skip" | b"wide" => 16,
            _ => found.end - at,
        };
        index |= found.kind == *b"moov";
        payload |= found.kind == *b"mdat";
        ranges.push(file.range(at, wanted.min(found.end - at)));
        if ranges.len() > MAX_BOXES {
            return Ok(None);
        }
        at = found.end;
    }
    Ok((index && payload).then_some(ranges))
}

/// The box at `at`; `None` when there is none that lies within the file.
fn next(file: &mut Source, at: u64) -> io::Result<Option<Box4>> {
    let head = file.read(at, 16)?;
    Ok(parse(&head, at, file.len))
}

fn parse(head: &[u8], at: u64, len: u64) -> Option<Box4> {
    let (size, rest) = head.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (size, header) = match u32::from_be_bytes(*size) {
        0 => (len - at, 8),
        1 => (u64::from_be_bytes(*rest.first_chunk::<8>()?), 16),
        size => (u64::from(size), 8),
    };
    let end = at.checked_add(size)?;
    (size >= header && end <= len).then_some(Box4 { kind: *kind, end })
}
