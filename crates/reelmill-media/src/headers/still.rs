//! Still pictures: kind and size from the first bytes (PNG, JPEG, GIF, WebP).

use super::window::{Look, Window, unsure};
use reelmill_core::facts::{Chroma, Facts, MediaKind, VideoFacts};
use reelmill_core::media::Hdr;

/// A format of still pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Still {
    Png,
    Jpeg,
    Gif,
    Webp,
}

/// Segments before the picture in a JPEG.
const MAX_SEGMENTS: usize = 200;

/// The format that the first bytes announce.
pub(super) fn sniff(head: &[u8]) -> Option<Still> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Still::Png)
    } else if head.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(Still::Jpeg)
    } else if head.starts_with(b"GIF8") {
        Some(Still::Gif)
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some(Still::Webp)
    } else {
        None
    }
}

struct Seen {
    width: u32,
    height: u32,
    bit_depth: u8,
    chroma: Chroma,
}

pub(super) fn facts(file: &mut Window, still: Still) -> Look<Facts> {
    let (codec, seen) = match still {
        Still::Png => ("png", png(file.upto(0, 64)?)),
        Still::Jpeg => ("mjpeg", jpeg(file)?),
        Still::Gif => ("gif", gif(file.upto(0, 16)?)),
        Still::Webp => ("webp", webp(file.upto(0, 64)?)),
    };
    let Some(seen) = seen.filter(|seen| seen.width > 0 && seen.height > 0) else {
        return unsure("a damaged still picture");
    };
    Ok(Facts {
        kind: MediaKind::Image,
        container: if codec == "mjpeg" { "jpg" } else { codec }.to_owned(),
        duration_ms: None,
        video: Some(VideoFacts {
            codec: codec.to_owned(),
            width: seen.width,
            height: seen.height,
            rotation: 0,
            fps_milli: None,
            bit_depth: seen.bit_depth,
            chroma: seen.chroma,
            hdr: Hdr::None,
            dolby_vision: None,
            hdr10plus: None,
        }),
        audio: Vec::new(),
        subtitles: Vec::new(),
        made_by: None,
    })
}

fn number(data: &[u8], at: usize, bytes: usize) -> Option<u32> {
    Some(data.get(at..at + bytes)?.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn little(data: &[u8], at: usize, bytes: usize) -> Option<u32> {
    Some(data.get(at..at + bytes)?.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn png(head: &[u8]) -> Option<Seen> {
    if head.get(12..16)? != b"IHDR" {
        return None;
    }
    let chroma = if matches!(head.get(25)?, 0 | 4) { Chroma::Gray } else { Chroma::Rgb };
    let bit_depth = (*head.get(24)?).max(8);
    Some(Seen { width: number(head, 16, 4)?, height: number(head, 20, 4)?, bit_depth, chroma })
}

fn gif(head: &[u8]) -> Option<Seen> {
    let (width, height) = (little(head, 6, 2)?, little(head, 8, 2)?);
    Some(Seen { width, height, bit_depth: 8, chroma: Chroma::Rgb })
}

fn webp(head: &[u8]) -> Option<Seen> {
    let (width, height, chroma) = match head.get(12..16)? {
        b"VP8 " => (little(head, 26, 2)? & 0x3fff, little(head, 28, 2)? & 0x3fff, Chroma::C420),
        b"VP8L" => {
            let bits = little(head, 21, 4)?;
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1, Chroma::Rgb)
        }
        b"VP8X" => (little(head, 24, 3)? + 1, little(head, 27, 3)? + 1, Chroma::C420),
        _ => return None,
    };
    Some(Seen { width, height, bit_depth: 8, chroma })
}

fn jpeg(file: &mut Window) -> Look<Option<Seen>> {
    let mut at = 2;
    for _ in 0..MAX_SEGMENTS {
        let head = file.upto(at, 20)?;
        let (Some(0xff), Some(&marker), Some(size)) =
            (head.first(), head.get(1), number(head, 2, 2))
        else {
            return Ok(None);
        };
        match marker {
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let (height, width) = (number(head, 5, 2), number(head, 7, 2));
                let (Some(&bit_depth), Some(&parts), Some(&sampling)) =
                    (head.get(4), head.get(9), head.get(11))
                else {
                    return Ok(None);
                };
                let chroma = match (parts, sampling) {
                    (1, _) => Chroma::Gray,
                    (3, 0x22) => Chroma::C420,
                    (3, 0x21) => Chroma::C422,
                    (3, 0x11) => Chroma::C444,
                    _ => Chroma::Other,
                };
                let sizes = width.zip(height);
                return Ok(sizes.map(|(width, height)| Seen { width, height, bit_depth, chroma }));
            }
            // Fill bytes, and markers without content.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xd9 | 0xda => return Ok(None),
            _ => at += 2 + u64::from(size.max(2)),
        }
    }
    Ok(None)
}
