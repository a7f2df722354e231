//! What is known of a library's files, packed: a million of them must fit into
//! memory beside everything else.

use reelmill_core::error::Failure;
use reelmill_core::facts::Facts;
use reelmill_core::library::files::Seen;
use reelmill_store::{LibraryFile, Trouble};
use std::collections::{HashMap, HashSet};

/// No number, where there is none.
const NONE: u32 = u32::MAX;

/// Known files, by folder.
#[derive(Debug, Default)]
pub(crate) struct Known {
    names: Vec<u8>,
    files: Vec<Packed>,
    folders: HashMap<Box<[u8]>, Span>,
    /// Facts as JSON, without length and frame rate; many files share each.
    shapes: Vec<Box<str>>,
    /// Numbers of those that an earlier version wrote, which looked at less.
    outdated: HashSet<u32>,
    troubles: Vec<Trouble>,
}

/// Files of a folder: places in [`Known::files`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    first: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy)]
struct Packed {
    size: u64,
    mtime: i64,
    digest: u64,
    name: u32,
    name_length: u16,
    failed: bool,
    /// Place in the shapes, or in the troubles where it failed.
    what: u32,
    duration_ms: u32,
    fps_milli: u32,
}

/// A file as a sidecar or the cache tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// Name and what tells whether it is the same.
    pub(crate) seen: Seen<'a>,
    /// Digest of its size and ends.
    pub(crate) digest: u64,
    /// Number of its shape, length in milliseconds, frames per 1000 seconds.
    pub(crate) facts: Result<(u32, Option<u64>, Option<u32>), Trouble>,
}

impl Known {
    /// Adds a shape; its number.
    pub(crate) fn shape(&mut self, json: &str) -> u32 {
        let number = self.shapes.len() as u32;
        // Facts of other codecs are never outdated; most need not be parsed.
        if json.contains("\"hevc\"")
            && serde_json::from_str::<Facts>(json).is_ok_and(|facts| facts.outdated())
        {
            self.outdated.insert(number);
        }
        self.shapes.push(json.into());
        number
    }

    /// Begins with a folder; `None` when it was begun before.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Option<()> {
        let span = Span { first: self.files.len() as u32, count: 0 };
        self.folders.insert(path.into(), span).is_none().then_some(())
    }

    /// Adds a file to the folder `path`, which was begun last. `None` when it is
    /// not behind the one before, or its shape is not known.
    pub(crate) fn file(&mut self, path: &[u8], entry: &Entry) -> Option<()> {
        let span = self.folders.get(path).copied()?;
        let before = span.count.checked_sub(1).and_then(|at| self.seen(span, at as usize));
        if before.is_some_and(|before| before.name >= entry.seen.name) {
            return None;
        }
        let (failed, what, duration, fps) = match &entry.facts {
            Ok((shape, duration, fps)) => {
                self.shapes.get(*shape as usize)?;
                let short = duration.and_then(|ms| u32::try_from(ms).ok());
                (false, *shape, short.unwrap_or(NONE), fps.unwrap_or(NONE))
            }
            Err(trouble) => {
                self.troubles.push(trouble.clone());
                (true, self.troubles.len() as u32 - 1, NONE, NONE)
            }
        };
        self.files.push(Packed {
            size: entry.seen.size,
            mtime: entry.seen.mtime,
            digest: entry.digest,
            name: u32::try_from(self.names.len()).ok()?,
            name_length: u16::try_from(entry.seen.name.len()).ok()?,
            failed,
            what,
            duration_ms: duration,
            fps_milli: fps,
        });
        self.names.extend(entry.seen.name);
        let span = self.folders.get_mut(path)?;
        span.count += 1;
        Some(())
    }

    /// The folder at `path`.
    pub(crate) fn span(&self, path: &[u8]) -> Option<Span> {
        self.folders.get(path).copied()
    }

    /// All folders.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&[u8], Span)> {
        self.folders.iter().map(|(path, span)| (&**path, *span))
    }

    /// Whether both know the same files to be as they are.
    pub(crate) fn same_files(&self, other: &Self) -> bool {
        let same = |(path, span): (&[u8], Span)| {
            let there = other.span(path).unwrap_or_default();
            let key = |known: &Self, span: Span, at: usize| {
                let packed = known.packed(span, at)?;
                Some((packed.size, packed.mtime, packed.digest, packed.failed))
            };
            there.count == span.count
                && (0..span.count as usize).all(|at| {
                    self.seen(span, at) == other.seen(there, at)
                        && key(self, span, at) == key(other, there, at)
                })
        };
        self.len() == other.len() && self.spans().all(same)
    }

    /// How many files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    fn packed(&self, span: Span, at: usize) -> Option<&Packed> {
        let at = u32::try_from(at).ok().filter(|at| *at < span.count)?;
        self.files.get((span.first + at) as usize)
    }

    /// File `at` of a folder.
    pub(crate) fn seen(&self, span: Span, at: usize) -> Option<Seen<'_>> {
        let packed = self.packed(span, at)?;
        let name = packed.name as usize;
        let name = &self.names[name..name + usize::from(packed.name_length)];
        Some(Seen { name, size: packed.size, mtime: packed.mtime })
    }

    /// File `name` of a folder.
    pub(crate) fn find(&self, span: Span, name: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, span.count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.seen(span, middle)?.name.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The digest of file `at` of a folder; `None` where it could not be read.
    pub(crate) fn digest(&self, span: Span, at: usize) -> Option<u64> {
        self.packed(span, at).filter(|packed| !packed.failed).map(|packed| packed.digest)
    }

    /// Whether file `at` of a folder is to be looked at again.
    pub(crate) fn retry(&self, span: Span, at: usize) -> bool {
        self.packed(span, at).is_some_and(|packed| match packed.failed {
            true => self.troubles.get(packed.what as usize).is_some_and(|trouble| trouble.retry),
            false => self.outdated.contains(&packed.what),
        })
    }

    /// All that is known of file `at` of the folder `path`.
    ///
    /// # Errors
    /// When its facts make no sense.
    pub(crate) fn whole(
        &self,
        path: &[u8],
        span: Span,
        at: usize,
    ) -> Result<Option<LibraryFile>, Failure> {
        let (Some(packed), Some(seen)) = (self.packed(span, at), self.seen(span, at)) else {
            return Ok(None);
        };
        let what = packed.what as usize;
        let facts = match (packed.failed, self.troubles.get(what), self.shapes.get(what)) {
            (true, Some(trouble), _) => Err(trouble.clone()),
            (false, _, Some(json)) => {
                let mut facts: Facts = serde_json::from_str(json).map_err(|error| {
                    Failure::transient(format!("the scan file holds odd facts: {error}"))
                })?;
                facts.duration_ms =
                    (packed.duration_ms != NONE).then_some(packed.duration_ms.into());
                if let Some(video) = &mut facts.video {
                    video.fps_milli = (packed.fps_milli != NONE).then_some(packed.fps_milli);
                }
                Ok(facts)
            }
            _ => return Ok(None),
        };
        Ok(Some(LibraryFile {
            folder: path.to_vec(),
            name: seen.name.to_vec(),
            size: packed.size,
            mtime: packed.mtime,
            digest: packed.digest,
            facts,
        }))
    }
}
