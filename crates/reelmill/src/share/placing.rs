//! From a finished output in a scratch folder to its place in the library: copied
//! beside it, the source looked at once more, committed, settled.

use super::desk::{Desk, Stop};
use super::fs::Facts;
use super::library::Library;
use super::part;
use super::record::Deal;
use super::recover::part_of;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::slots::Leave;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Bytes that must stay free on the library's disk: its records need a few.
const SPARE: u64 = 16 << 20;

/// A file that has been claimed, and what is to take its place.
pub(crate) struct Placing<'a> {
    /// Where.
    pub(crate) library: &'a Library,
    /// The job.
    pub(crate) id: &'a str,
    /// The file.
    pub(crate) source: &'a Path,
    /// The output's place, which may be the source's.
    pub(crate) target: &'a Path,
    /// What the file was when it was read.
    pub(crate) facts: &'a Facts,
}

/// How it went.
pub(crate) struct Placed {
    /// How the job stands.
    pub(crate) leave: Leave,
    /// What could not be kept of the source's metadata.
    pub(crate) lost: Vec<String>,
}

impl Placing<'_> {
    /// Puts the file `made` in its place, if the source is still what it was.
    ///
    /// # Errors
    /// When it cannot; the job is given back then, and the source as it was.
    pub(crate) fn put(&self, desk: &mut Desk, made: &Path) -> Result<Placed, Failure> {
        let part = self.part(desk);
        let prepared = self.prepare(made, &part).and_then(|done| {
            self.unchanged()?;
            Ok(done)
        });
        let (lost, output) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                let _ = self.library.fs.remove(&part);
                desk.ended(&failure.message, None);
                let _ = desk.go_on(self.library);
                return Err(failure);
            }
        };
        desk.made(Deal {
            source: self.library.relative(self.source),
            target: (self.source != self.target).then(|| self.library.relative(self.target)),
            part: self.library.relative(&part),
            original: self.facts.fingerprint(),
            output: output.fingerprint(),
            undoes: None,
        });
        let leave = match desk.go_on(self.library)? {
            Stop::Left(leave) => leave,
            Stop::Work | Stop::Held(_) => Leave::Unresolved,
        };
        if leave == Leave::TakenOver {
            // Nobody's commit speaks of it.
            let _ = self.library.fs.remove(&part);
        }
        Ok(Placed { leave, lost })
    }

    fn part(&self, desk: &Desk) -> PathBuf {
        let name = self.target.file_name().unwrap_or_default().as_bytes();
        self.target.with_file_name(OsString::from_vec(part_of(name, self.id, desk.slot())))
    }

    fn prepare(&self, made: &Path, part: &Path) -> Result<(Vec<String>, Facts), Failure> {
        let folder = part.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
        room_for(made, folder)?;
        let lost = part::prepare(made, part, Some(self.source))?;
        match self.library.fs.facts(part) {
            Ok(Some(facts)) => Ok((lost, facts)),
            Ok(None) => Err(Failure::transient(format!("{} vanished", part.display()))),
            Err(error) => Err(Failure::io(format!("read {}", part.display()), &error)),
        }
    }

    /// The last look before the commit. What happens after it is found out too,
    /// but only by moving the file away and back.
    fn unchanged(&self) -> Result<(), Failure> {
        let shown = self.source.display();
        match self.library.fs.facts(self.source) {
            Ok(Some(now)) if now == *self.facts => Ok(()),
            Ok(Some(_)) => Err(Failure::transient(format!(
                "{shown} was changed while it was converted; it stays as it is, the output was \
                 discarded"
            ))
            .advise("run the command again: it converts the file as it is now")),
            Ok(None) => Err(Failure::transient(format!(
                "{shown} was deleted or moved while it was converted; the output was discarded"
            ))
            .advise("run the command again: it converts what is there now")),
            Err(error) => Err(Failure::io(format!("read {shown}"), &error)),
        }
    }
}

/// Whether `folder` has room for a copy of `made`.
///
/// # Errors
/// Class no space, when it has not.
pub(crate) fn room_for(made: &Path, folder: &Path) -> Result<(), Failure> {
    let size = std::fs::metadata(made)
        .map_err(|e| Failure::io(format!("read {}", made.display()), &e))?
        .len();
    let Ok(space) = rustix::fs::statvfs(folder) else { return Ok(()) };
    if space.f_bavail.saturating_mul(space.f_frsize) >= size.saturating_add(SPARE) {
        return Ok(());
    }
    let message = format!("there is no space left in {} for {size} bytes", folder.display());
    Err(Failure::new(FailureClass::NoSpace, message).advise("free some space there"))
}
