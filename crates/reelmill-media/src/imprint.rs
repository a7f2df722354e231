//! Writes HDR metadata and languages into the header of a finished file, in place.
//!
//! FFmpeg 5.1 writes mastering metadata and the Dolby Vision record only when it
//! copies a stream from a file that has them. So room is reserved in the header
//! while the file is put together (as a tag of a length that suffices), and used
//! here: nothing behind the header moves.

mod languages;
mod matroska;
mod mp4;

pub(crate) use languages::languages;

use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::hdr::HdrKept;
use reelmill_core::media::MediaInfo;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What the reserved tag consists of, over and over.
const FILLER: &str = "reelmill reserves this. ";

/// Times that the filler is repeated: more room than all records need (250 bytes
/// in Matroska).
const REPEATS: usize = 20;

/// Times more for each track: room for any language (39 bytes).
const REPEATS_A_TRACK: usize = 2;

/// Largest header that is taken into memory: attachments are part of it.
const MAX_HEADER: u64 = 512 << 20;

/// Tags that MP4 and MOV write and hardly anybody uses.
const RARE_TAGS: [&str; 5] = ["episode_id", "network", "lyrics", "grouping", "synopsis"];
const RARE_MOV_TAGS: [&str; 3] = ["keywords", "model", "make"];

/// The tag that reserves room in a file of `container`, if `hdr` or `languages` need any.
/// `media` is the source, whose own tags are spared.
pub(crate) fn reserve(
    container: Container,
    (hdr, languages): (&HdrKept, &[Option<String>]),
    media: &MediaInfo,
) -> Option<(String, String)> {
    if !needed(hdr, languages) {
        return None;
    }
    let free = |names: &[&'static str]| {
        names.iter().find(|name| !media.tags.contains_key(**name)).copied().unwrap_or(names[0])
    };
    let name = match container {
        Container::Mkv | Container::Webm => "REELMILL_RESERVE",
        Container::Mov => free(&RARE_MOV_TAGS),
        // Films go into no others.
        _ => free(&RARE_TAGS),
    };
    Some((name.to_owned(), FILLER.repeat(REPEATS + REPEATS_A_TRACK * languages.len())))
}

fn needed(hdr: &HdrKept, languages: &[Option<String>]) -> bool {
    languages.iter().any(Option::is_some)
        || hdr.mastering.is_some()
        || hdr.light.is_some()
        || hdr.dolby_vision.is_some()
}

/// Writes what `hdr` holds, and for Matroska the `languages` of the tracks in order as
/// BCP 47 writes them, into the file at `path`, which was put together with [`reserve`]'s
/// tag.
///
/// # Errors
/// When the header is not as expected or cannot be written.
pub(crate) async fn imprint(
    container: Container,
    (hdr, languages): (&HdrKept, &[Option<String>]),
    path: &Path,
) -> Result<(), Failure> {
    if !needed(hdr, languages) {
        return Ok(());
    }
    let (hdr, languages, path) = (hdr.clone(), languages.to_vec(), path.to_owned());
    let done = tokio::task::spawn_blocking(move || write(container, (&hdr, &languages), &path));
    done.await.map_err(|e| Failure::transient(format!("writing the header ended early: {e}")))?
}

fn write(
    container: Container,
    (hdr, languages): (&HdrKept, &[Option<String>]),
    path: &Path,
) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("write {}", path.display()), &error);
    let odd = |why: String| {
        let message = format!("cannot write metadata into the header of {}: {why}", path.display());
        Failure::permanent(message).advise("please report this with the source's details")
    };
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let range = match container {
        Container::Mkv | Container::Webm => matroska::header(&mut file),
        _ => mp4::header(&mut file),
    };
    let range = range.map_err(io)?.ok_or_else(|| odd("its header was not found".into()))?;
    let size = range.end - range.start;
    if size > MAX_HEADER {
        return Err(odd(format!("its header has {size} bytes")));
    }
    let header = take(&mut file, range.start, size as usize).map_err(io)?;
    let changed = match container {
        Container::Mkv | Container::Webm => matroska::changed(&header, hdr, languages),
        _ => mp4::changed(&header, hdr),
    };
    let changed = changed.ok_or_else(|| odd("its header has another form than expected".into()))?;
    if changed.len() != header.len() {
        return Err(odd("there is not enough room in its header".into()));
    }
    file.seek(SeekFrom::Start(range.start)).map_err(io)?;
    file.write_all(&changed).map_err(io)?;
    file.sync_data().map_err(io)
}

fn take(file: &mut File, at: u64, size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn is_reserved(bytes: &[u8]) -> bool {
    let filler = FILLER.repeat(REPEATS);
    bytes.windows(filler.len()).any(|window| window == filler.as_bytes())
}
