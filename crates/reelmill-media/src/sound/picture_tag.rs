//! Cover art as a Vorbis comment: the form that Ogg files have it in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelmill_core::error::Failure;
use std::path::Path;

/// Bytes of a picture that is carried; a comment may not have more than 16 MiB.
const LARGEST: usize = 8 << 20;

/// The line of FFmpeg's form of tags that carries the picture at `path`; empty
/// when the picture is too large.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn line(path: &Path, mime: &str) -> Result<String, Failure> {
    let picture = tokio::fs::read(path)
        .await
        .map_err(|error| Failure::io(format_args!("read {}", path.display()), &error))?;
    if picture.len() > LARGEST {
        return Ok(String::new());
    }
    // Padding characters must be escaped there.
    let text = STANDARD.encode(block(&picture, mime)).replace('=', "\\=");
    Ok(format!("METADATA_BLOCK_PICTURE={text}\n"))
}

/// FLAC's picture block: a front cover of which nothing is told but its type.
fn block(picture: &[u8], mime: &str) -> Vec<u8> {
    const FRONT_COVER: u32 = 3;
    let mut block = FRONT_COVER.to_be_bytes().to_vec();
    block.extend((mime.len() as u32).to_be_bytes());
    block.extend(mime.as_bytes());
    // No description; width, height, depth and colours are not told.
    block.extend([0; 5 * 4]);
    block.extend((picture.len() as u32).to_be_bytes());
    block.extend(picture);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_block_has_its_lengths() {
        let block = block(b"abc", "image/png");
        assert_eq!(block.len(), 4 + 4 + 9 + 20 + 4 + 3);
        assert_eq!(&block[..8], [0, 0, 0, 3, 0, 0, 0, 9]);
        assert_eq!(&block[block.len() - 7..], [0, 0, 0, 3, b'a', b'b', b'c']);
    }
}
