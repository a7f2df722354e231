//! Languages of the tracks of a QuickTime file.
//!
//! FFmpeg writes them there as numbers of the old Macintosh, of which French,
//! Swedish, Dutch and a hundred others have none. QuickTime takes the three letters
//! of ISO 639-2 in the same two bytes; so they are written here.

use super::{MAX_HEADER, mp4, take};
use reelmill_core::error::Failure;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// Writes the languages of the tracks, in their order, into the file at `path`. What
/// is not three letters stays as it is.
///
/// # Errors
/// When the header is not as expected or cannot be written.
pub(crate) async fn languages(path: &Path, tracks: Vec<Option<String>>) -> Result<(), Failure> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || write(&path, &tracks)).await;
    done.map_err(|e| Failure::transient(format!("writing languages ended early: {e}")))?
}

fn write(path: &Path, tracks: &[Option<String>]) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("write {}", path.display()), &error);
    let odd = || {
        let message = format!("cannot write languages into {}", path.display());
        Failure::permanent(message).advise("please report this with the source's details")
    };
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let range = mp4::header(&mut file).map_err(io)?.ok_or_else(odd)?;
    let size = range.end - range.start;
    if size > MAX_HEADER {
        return Err(odd());
    }
    let header = take(&mut file, range.start, size as usize).map_err(io)?;
    for (at, code) in places(&header, tracks).ok_or_else(odd)? {
        file.seek(SeekFrom::Start(range.start + at as u64)).map_err(io)?;
        file.write_all(&code.to_be_bytes()).map_err(io)?;
    }
    file.sync_data().map_err(io)
}

/// Where in the `moov` box which code belongs. `None` when it has another form.
fn places(moov: &[u8], tracks: &[Option<String>]) -> Option<Vec<(usize, u16)>> {
    let (_, inner) = within(moov, 0..moov.len())?.into_iter().next()?;
    let mut found = Vec::new();
    let traks = within(moov, inner)?.into_iter().filter(|(kind, _)| kind == b"trak");
    for ((_, trak), language) in traks.zip(tracks) {
        let Some(code) = language.as_deref().and_then(packed) else { continue };
        let mdhd = child(moov, child(moov, trak, *b"mdia")?, *b"mdhd")?;
        // Version 1 counts times in eight bytes.
        let before = if *moov.get(mdhd.start)? == 1 { 32 } else { 20 };
        let at = mdhd.start + before;
        if at + 2 > mdhd.end {
            return None;
        }
        found.push((at, code));
    }
    Some(found)
}

/// Three letters, five bits each.
fn packed(language: &str) -> Option<u16> {
    let letters: [u8; 3] = language.as_bytes().try_into().ok()?;
    let small = letters.iter().all(u8::is_ascii_lowercase);
    small.then(|| letters.iter().fold(0, |code, letter| code << 5 | u16::from(letter - 0x60)))
}

fn child(bytes: &[u8], parent: Range<usize>, wanted: [u8; 4]) -> Option<Range<usize>> {
    within(bytes, parent)?.into_iter().find(|(kind, _)| *kind == wanted).map(|(_, inner)| inner)
}

/// The boxes in a part of `bytes`: their kinds and where their content lies.
fn within(bytes: &[u8], part: Range<usize>) -> Option<Vec<([u8; 4], Range<usize>)>> {
    let mut found = Vec::new();
    let mut at = part.start;
    // QuickTime ends some lists with four zero bytes.
    while at + 8 <= part.end {
        let (kind, size, head) = mp4::box_head(bytes.get(at..part.end)?)?;
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        if end > part.end {
            return None;
        }
        found.push((kind, at + head..end));
        at = end;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_letters_are_packed_and_nothing_else_is() {
        assert_eq!(packed("eng"), Some(0x15c7));
        assert_eq!(packed("und"), Some(0x55c4));
        assert_eq!([packed("de"), packed("FRE"), packed("pt-BR")], [None; 3]);
    }

    proptest! {
        #[test]
        fn damaged_headers_are_refused_not_followed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = places(&bytes, &[Some("fre".into()), Some("ger".into())]);
        }
    }
}
