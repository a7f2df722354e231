//! Matroska and WebM: a segment of elements, most of them clusters of packets.

use super::{HEAD, Source};
use reelmill_core::chunk::ByteRange;
use std::io;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114D_9B74;
const SEEK: u32 = 0x4DBB;
const SEEK_ID: u32 = 0x53AB;
const SEEK_POSITION: u32 = 0x53AC;
const CUES: u32 = 0x1C53_BB6B;
const CLUSTER: u32 = 0x1F43_B675;

/// Elements before the first cluster, or listed in seek heads, beyond which a
/// file is taken for odd.
const MAX_ELEMENTS: usize = 1000;

/// Bytes before the first cluster (fonts and cover art may be among them), or
/// of one element after it, beyond which fetching the whole file is simpler.
const MAX_PART: u64 = 256 << 20;

/// Bytes of a seek head that are read.
const MAX_SEEK_HEAD: u64 = 64 * 1024;

/// Bytes at the end of the file that are always taken.
const TAIL: u64 = 128 * 1024;

/// The head of an element.
#[derive(Clone, Copy)]
struct Element {
    id: u32,
    /// Where its content begins.
    content: u64,
    /// Bytes of its content; `None` when unknown.
    size: Option<u64>,
}

impl Element {
    fn end(self) -> Option<u64> {
        self.content.checked_add(self.size?)
    }
}

/// What precedes the first cluster, what the seek heads point to (cues, tags,
/// chapters…) and the end; `None` when that does not suffice: without cues, a
/// reader that seeks goes through the whole file.
pub(super) fn skeleton(mut file: Source) -> io::Result<Option<Vec<ByteRange>>> {
    let Some(found) = walk_head(&mut file)? else {
        return Ok(None);
    };
    let mut ranges = vec![file.range(0, found.first_cluster + HEAD), file.tail(TAIL)];
    let mut cues = found.cues;
    let mut seeks = found.seeks;
    let mut next = 0;
    while let Some((id, at)) = seeks.get(next).copied() {
        next += 1;
        if at < found.first_cluster || id == CLUSTER {
            continue;
        }
        let Some(element) = element(&mut file, at)?.filter(|element| element.id == id) else {
            return Ok(None);
        };
        let Some(end) = element.end().filter(|end| *end <= file.len && end - at <= MAX_PART) else {
            return Ok(None);
        };
        ranges.push(file.range(at, end - at));
        cues |= id == CUES;
        if id == SEEK_HEAD {
            seeks.extend(seek_head(&mut file, element, found.segment)?);
        }
        if seeks.len() > MAX_ELEMENTS {
            return Ok(None);
        }
    }
    Ok(cues.then_some(ranges))
}

/// What lies before the first cluster.
struct Head {
    /// Where the segment's content begins, from which positions count.
    segment: u64,
    first_cluster: u64,
    cues: bool,
    /// Where the seek heads say that elements lie, by id.
    seeks: Vec<(u32, u64)>,
}

fn walk_head(file: &mut Source) -> io::Result<Option<Head>> {
    let Some(segment) = segment(file)? else {
        return Ok(None);
    };
    let mut head = Head { segment, first_cluster: segment, cues: false, seeks: Vec::new() };
    for _ in 0..MAX_ELEMENTS {
        let Some(element) = element(file, head.first_cluster)? else {
            return Ok(None);
        };
        match element.id {
            CLUSTER => return Ok(Some(head).filter(|head| head.first_cluster <= MAX_PART)),
            CUES => head.cues = true,
            SEEK_HEAD => head.seeks.extend(seek_head(file, element, segment)?),
            _ => {}
        }
        match element.end() {
            Some(end) if end <= file.len => head.first_cluster = end,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Where the segment's content begins.
fn segment(file: &mut Source) -> io::Result<Option<u64>> {
    let header = element(file, 0)?.filter(|element| element.id == EBML);
    let Some(end) = header.and_then(Element::end) else {
        return Ok(None);
    };
    let segment = element(file, end)?.filter(|element| element.id == SEGMENT);
    Ok(segment.map(|segment| segment.content))
}

fn element(file: &mut Source, at: u64) -> io::Result<Option<Element>> {
    let bytes = file.read(at, 12)?;
    Ok(parse(&bytes, at).map(|(element, _)| element))
}

/// The entries of a seek head: (id, place in the file).
fn seek_head(file: &mut Source, head: Element, segment: u64) -> io::Result<Vec<(u32, u64)>> {
    let bytes = file.read(head.content, head.size.unwrap_or_default().min(MAX_SEEK_HEAD))?;
    let entries = children(&bytes).filter(|(id, _)| *id == SEEK);
    Ok(entries
        .filter_map(|(_, entry)| {
            let field = |name| children(entry).find(|(id, _)| *id == name);
            let id = u32::try_from(number(field(SEEK_ID)?.1)?).ok()?;
            let position = number(field(SEEK_POSITION)?.1)?;
            Some((id, segment.checked_add(position)?))
        })
        .collect())
}

/// The elements within `bytes`: (id, content). Ends at the first odd one.
fn children(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (element, content) = parse(rest, 0)?;
        let size = usize::try_from(element.size?).ok()?;
        let (content, after) = content.split_at_checked(size)?;
        rest = after;
        Some((element.id, content))
    })
}

/// The element whose head stands at the start of `bytes`, which lie at `at`,
/// and the bytes after the head.
fn parse(bytes: &[u8], at: u64) -> Option<(Element, &[u8])> {
    let (id, rest) = variable(bytes, 4, false)?;
    let (size, rest) = variable(rest, 8, true)?;
    let element = Element {
        id: u32::try_from(id?).ok()?,
        content: at.checked_add((bytes.len() - rest.len()) as u64)?,
        size,
    };
    Some((element, rest))
}

/// A number whose first byte's leading zeros tell its length; with `masked`,
/// the length marker is no part of it, and all ones mean "unknown" (`None`).
fn variable(bytes: &[u8], longest: usize, masked: bool) -> Option<(Option<u64>, &[u8])> {
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
fn number(bytes: &[u8]) -> Option<u64> {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, add))
}
