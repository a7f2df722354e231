//! The scan as a file in the library itself: another machine that mounts the
//! library elsewhere reads it and need not look at a single film.
//!
//! Lines of text. The first is JSON; then `S` and the facts that many files
//! share, `D` and a folder, `F` and a file of it (name, size, modification time
//! in nanoseconds, digest, number of its `S` line or what is wrong with it,
//! milliseconds, frames per 1000 seconds), at last `E` and the number of files.
//! Names are within the library; what is not text in them is written as `%` and
//! two digits.

use super::known::{Entry, Known};
use crate::share::leftovers;
use reelmill_core::error::Failure;
use reelmill_core::facts::Facts;
use reelmill_core::library::files::Seen;
use reelmill_core::names;
use reelmill_store::{LibraryFile, LibraryStore, StoreError, Trouble};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// Longest line, bytes: a path of 4 KiB, written as escapes.
const LONGEST: u64 = 64 << 10;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// What it is.
    reelmill: String,
    version: u32,
    /// The library.
    pub(crate) library: String,
    /// Which scan wrote it.
    pub(crate) snapshot: String,
}

/// A sidecar that was begun to be read.
pub(crate) struct Sidecar {
    /// Its first line.
    pub(crate) head: Head,
    lines: BufReader<File>,
}

impl Sidecar {
    /// The sidecar at `path`; `None` when there is none that this version
    /// understands.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let mut lines = BufReader::with_capacity(256 << 10, file);
        let mut first = Vec::new();
        std::io::Read::take(&mut lines, LONGEST).read_until(b'\n', &mut first).ok()?;
        let head: Head = serde_json::from_slice(&first).ok()?;
        (head.reelmill == "scan" && head.version <= VERSION).then_some(Self { head, lines })
    }

    /// The rest of it. `None` when it is damaged: then the library is scanned as
    /// if there was none.
    pub(crate) fn read(mut self) -> Option<Known> {
        let mut known = Known::default();
        let (mut line, mut folder) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            std::io::Read::take(&mut self.lines, LONGEST).read_until(b'\n', &mut line).ok()?;
            let (kind, rest) = line.strip_suffix(b"\n")?.split_first()?;
            match kind {
                b'S' => {
                    known.shape(std::str::from_utf8(rest).ok()?);
                }
                b'D' => {
                    folder = plain(rest)?.into_owned();
                    known.folder(&folder)?;
                }
                b'F' => file(&mut known, &folder, rest)?,
                b'E' => return (number::<usize>(rest)? == known.len()).then_some(known),
                _ => return None,
            }
        }
    }
}

fn plain(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    match text.contains(&b'%') {
        false => Some(text.into()),
        true => names::decode(std::str::from_utf8(text).ok()?).map(Cow::Owned),
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn file(known: &mut Known, folder: &[u8], line: &[u8]) -> Option<()> {
    let mut parts = line.split(|byte| *byte == b'\t');
    let name = plain(parts.next()?)?;
    let size = number(parts.next()?)?;
    let mtime = number(parts.next()?)?;
    let digest = u64::from_str_radix(std::str::from_utf8(parts.next()?).ok()?, 16).ok()?;
    let what = parts.next()?;
    let trouble = |reason: &[u8], retry| {
        let reason = String::from_utf8_lossy(&plain(reason)?).into_owned();
        Some(Trouble { reason, retry })
    };
    let facts = match what.split_first()? {
        (b'!', reason) => Err(trouble(reason, false)?),
        (b'?', reason) => Err(trouble(reason, true)?),
        _ => Ok((number(what)?, optional(parts.next()?)?, optional(parts.next()?)?)),
    };
    let seen = Seen { name: &name, size, mtime };
    known.file(folder, &Entry { seen, digest, facts })
}

fn optional<T: std::str::FromStr>(text: &[u8]) -> Option<Option<T>> {
    if text == b"-" { Some(None) } else { number(text).map(Some) }
}

/// What can go wrong with writing one.
#[derive(Debug)]
enum Trip {
    Store(StoreError),
    Io(std::io::Error),
}

impl From<StoreError> for Trip {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Writes all that the cache knows of a library to `path`, in one step, as the
/// work of the scan `snapshot`.
///
/// # Errors
/// When the cache cannot be read or the file not be written.
pub(crate) async fn write(
    store: &LibraryStore,
    (library, uuid): (i64, &str),
    snapshot: &str,
    path: &Path,
) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::io(format!("write {}", path.display()), &e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut part = tempfile::Builder::new().prefix(".scan-").tempfile_in(folder).map_err(fail)?;
    // What killed scans left is as large as this one; its time is that of the same clock.
    let now = part.as_file().metadata().map_err(fail)?.mtime();
    leftovers::clear(folder, &[".scan-", ".mark-"], now);
    let mut out = Out {
        to: BufWriter::with_capacity(256 << 10, part.as_file_mut()),
        shapes: HashMap::new(),
        folder: None,
        files: 0,
    };
    let head = Head {
        reelmill: "scan".into(),
        version: VERSION,
        library: uuid.into(),
        snapshot: snapshot.into(),
    };
    let head = serde_json::to_string(&head).map_err(|e| fail(e.into()))?;
    writeln!(out.to, "{head}").map_err(fail)?;
    let told = store.each(library, |file| out.file(&file).map_err(Trip::Io)).await;
    match told {
        Ok(()) => {}
        Err(Trip::Io(error)) => return Err(fail(error)),
        Err(Trip::Store(error)) => return Err(error.failure()),
    }
    writeln!(out.to, "E{}", out.files).and_then(|()| out.to.flush()).map_err(fail)?;
    drop(out);
    readable(part.as_file()).map_err(fail)?;
    part.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

/// Other users of the library may read it, as far as the library's folder lets
/// them in.
fn readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

struct Out<W> {
    to: W,
    shapes: HashMap<String, u32>,
    folder: Option<Vec<u8>>,
    files: u64,
}

impl<W: Write> Out<W> {
    fn file(&mut self, file: &LibraryFile) -> std::io::Result<()> {
        let what = match &file.facts {
            Err(trouble) => {
                let mark = if trouble.retry { '?' } else { '!' };
                format!("{mark}{}", names::encode(trouble.reason.as_bytes()))
            }
            Ok(facts) => self.facts(facts)?,
        };
        if self.folder.as_ref() != Some(&file.folder) {
            writeln!(self.to, "D{}", names::encode(&file.folder))?;
            self.folder = Some(file.folder.clone());
        }
        self.files += 1;
        let name = names::encode(&file.name);
        writeln!(self.to, "F{name}\t{}\t{}\t{:x}\t{what}", file.size, file.mtime, file.digest)
    }

    fn facts(&mut self, facts: &Facts) -> std::io::Result<String> {
        let mut shape = facts.clone();
        let duration = shape.duration_ms.take();
        let fps = shape.video.as_mut().and_then(|video| video.fps_milli.take());
        let json = serde_json::to_string(&shape)?;
        let next = self.shapes.len() as u32;
        let number = match self.shapes.get(&json) {
            Some(number) => *number,
            None => {
                writeln!(self.to, "S{json}")?;
                self.shapes.insert(json, next);
                next
            }
        };
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let (duration, fps) =
            (dash(duration.map(|n| n.to_string())), dash(fps.map(|n| n.to_string())));
        Ok(format!("{number}\t{duration}\t{fps}"))
    }
}
