//! The list of parts that FFmpeg's concat demuxer reads.

use reelmill_core::time::TimeBase;
use std::path::Path;

/// The text of a list of `parts`, each a file and the source tick of its first
/// frame, in order.
///
/// Durations are differences of absolute times rounded to microseconds, so
/// that rounding never adds up over the parts.
#[must_use]
pub fn concat_list(parts: &[(&Path, i64)], base: TimeBase) -> Vec<u8> {
    let mut text = b"ffconcat version 1.0\n".to_vec();
    for (at, (path, start)) in parts.iter().enumerate() {
        text.extend_from_slice(b"file ");
        text.extend_from_slice(&quoted(path));
        text.push(b'\n');
        if let Some((_, next)) = parts.get(at + 1) {
            let first = parts[0].1;
            let length = base.micros(next - first) - base.micros(start - first);
            let line = format!("duration {}.{:06}\n", length / 1_000_000, length % 1_000_000);
            text.extend_from_slice(line.as_bytes());
        }
    }
    text
}

/// `'file:PATH'`; within quotes only the quote itself is special.
fn quoted(path: &Path) -> Vec<u8> {
    let mut text = b"'file:".to_vec();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\'' => text.extend_from_slice(b"'\\''"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
    text
}
