//! Formats of still pictures, known by their first bytes: FFmpeg would go by the
//! name's ending, and take `%03d` in it for a pattern.

use reelmill_core::error::Failure;
use std::path::Path;

/// A format of pictures that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StillFormat {
    Png,
    /// PNG with several frames.
    Apng,
    Jpeg,
    Gif,
    Webp,
    Bmp,
    Tiff,
    Avif,
}

/// Largest file that is read whole, bytes.
const LARGEST: u64 = 512 << 20;

/// Bytes in which an animated PNG says that it is one.
pub(crate) const HEAD: usize = 4096;

/// A picture's file.
pub(super) struct Picture {
    pub(super) format: StillFormat,
    pub(super) bytes: Vec<u8>,
}

/// Reads the file at `path`.
///
/// # Errors
/// When it cannot be read, is too large, or is no picture of a known format.
pub(super) async fn read(path: &Path) -> Result<Picture, Failure> {
    let fail = |error| Failure::io(format_args!("read {}", path.display()), &error);
    let length = tokio::fs::metadata(path).await.map_err(fail)?.len();
    if length > LARGEST {
        let message = format!("{} is too large for a picture ({length} bytes)", path.display());
        return Err(Failure::input(message).advise("at most 512 MiB are read"));
    }
    let bytes = tokio::fs::read(path).await.map_err(fail)?;
    let format = StillFormat::sniff(&bytes).ok_or_else(|| {
        Failure::input(format!("{} is not a picture that reelmill knows", path.display()))
            .advise("PNG, JPEG, GIF, WebP, BMP, TIFF and AVIF are read")
    })?;
    if format == StillFormat::Jpeg && jpeg_components(&bytes) == Some(4) {
        return Err(Failure::input("it is a CMYK picture, whose colours FFmpeg does not know")
            .advise("save it as RGB first"));
    }
    Ok(Picture { format, bytes })
}

impl StillFormat {
    /// The format that the first bytes announce.
    pub(crate) fn sniff(head: &[u8]) -> Option<Self> {
        let animated = || {
            let head = &head[..head.len().min(HEAD)];
            head.windows(4).any(|name| name == b"acTL")
        };
        match head {
            [0x89, b'P', b'N', b'G', ..] if animated() => Some(Self::Apng),
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            [b'B', b'M', ..] if bitmap(head) => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => Some(Self::Avif),
            _ => None,
        }
    }

    /// FFmpeg's demuxer for it.
    pub(crate) fn demuxer(self) -> &'static str {
        match self {
            Self::Png => "png_pipe",
            Self::Apng => "apng",
            Self::Jpeg => "jpeg_pipe",
            Self::Gif => "gif",
            Self::Webp => "webp_pipe",
            Self::Bmp => "bmp_pipe",
            Self::Tiff => "tiff_pipe",
            Self::Avif => "mov",
        }
    }

    /// Whether it may have several frames.
    pub(crate) fn may_move(self) -> bool {
        matches!(self, Self::Gif | Self::Apng)
    }
}

/// The header's length and reserved bytes are what they must be: "BM" alone
/// begins many texts.
fn bitmap(head: &[u8]) -> bool {
    head.get(6..10) == Some(&[0; 4]) && head.get(14).is_some_and(|length| *length >= 12)
}

/// Colours of a JPEG, by its frame header.
fn jpeg_components(bytes: &[u8]) -> Option<u8> {
    let mut at = 2;
    loop {
        let marker = *bytes.get(at + 1)?;
        let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
        match marker {
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                return bytes.get(at + 9).copied();
            }
            0xda => return None,
            _ => at += 2 + length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        assert_eq!(StillFormat::sniff(png), Some(StillFormat::Png));
        assert_eq!(StillFormat::sniff(&[&png[..], b"....acTL"].concat()), Some(StillFormat::Apng));
        assert_eq!(StillFormat::sniff(b"\0\0\0\x20ftypavif"), Some(StillFormat::Avif));
        assert_eq!(StillFormat::sniff(b"BMW is a brand of cars"), None);
        assert_eq!(StillFormat::sniff(b""), None);
    }

    #[test]
    fn colours_of_a_jpeg_are_counted() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\0\x10\0\x10\x04";
        assert_eq!(jpeg_components(jpeg), Some(4));
        assert_eq!(jpeg_components(&jpeg[..8]), None);
    }
}
