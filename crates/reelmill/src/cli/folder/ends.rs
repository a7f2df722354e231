//! What came of a file, and the small things around its conversion.

use crate::cli::args::EncodeArgs;
use crate::library::ledger::Version;
use crate::share::desk::Desk;
use crate::share::fs::Fs;
use crate::share::library::Library;
use crate::share::lock::Lock;
use reelmill_core::error::Failure;
use reelmill_core::settle::End;
use reelmill_core::slots::Leave;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What came of a file.
pub(super) enum Fate {
    Converted {
        output: PathBuf,
        before: u64,
        after: u64,
        job: Option<String>,
        note: Option<String>,
    },
    Planned(PathBuf),
    Skipped(String),
    /// The output was no smaller: sizes of the source and of the output, and that in words.
    Kept {
        before: u64,
        after: u64,
        reason: String,
    },
    /// Somebody else works on it.
    Held(String),
    Failed(Failure),
    Interrupted,
}

/// A source that is to be converted, and where to.
pub(super) struct Order {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) before: u64,
    /// How it is encoded.
    pub(super) encode: EncodeArgs,
    /// Whether it is made to be smaller: where nothing is encoded it is not.
    pub(super) smaller: bool,
    /// The preset, and all that decides about the output, for the ledger.
    pub(super) preset: String,
    pub(super) how: String,
    /// The source as it is now, where there is a ledger.
    pub(super) version: Option<Version>,
}

/// What a finished replacement means for the file.
pub(super) fn settled(desk: &Desk, leave: Leave, order: &Order, after: u64, id: &str) -> Fate {
    let shown = order.source.display();
    let end = match leave {
        Leave::Settled(end) => end,
        Leave::Finished | Leave::GivenBack => {
            return Fate::Skipped("somebody else has done it".into());
        }
        Leave::TakenOver => {
            return Fate::Skipped("somebody else took it over meanwhile".into());
        }
        Leave::Unresolved => End::Unresolved,
    };
    let trouble = desk.trouble().map(|why| format!(": {why}")).unwrap_or_default();
    let rescued = desk.member().outcome().is_some_and(|outcome| !outcome.rescued.is_empty());
    let note = rescued.then(|| {
        format!("a version of yours that could not be put back is kept: .reelmill/hold/{id}.*")
    });
    let fail = |what: &str| {
        let failure = Failure::transient(format!("{shown} {what}{trouble}"));
        match &note {
            Some(note) => Fate::Failed(failure.advise(note.clone())),
            None => Fate::Failed(failure),
        }
    };
    match end {
        End::Replaced | End::Published | End::GonePublished => Fate::Converted {
            output: order.target.clone(),
            before: order.before,
            after,
            job: Some(id.to_owned()),
            note: if end == End::GonePublished {
                Some("the source was deleted meanwhile".into())
            } else {
                note
            },
        },
        End::Changed => {
            fail("was changed while it was converted; yours is in place, the output was discarded")
        }
        End::Gone => fail("was deleted or moved while it was converted; the output was discarded"),
        End::Taken => fail("was not replaced: the output's name was taken meanwhile"),
        End::Failed => fail("was not replaced; it is as it was"),
        End::Unresolved => fail(
            "could not be replaced, and it is not certain what is where; nothing was removed, \
             and the next run or 'reelmill locks --clean' finishes it",
        ),
    }
}

/// FFmpeg's orders carry names as text: a file whose name is none gets a link
/// with a plain name.
pub(super) fn plain_name(file: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    if file.to_str().is_some() {
        return Ok(file.to_owned());
    }
    let folder = scratch.join("links");
    let digest = <sha2::Sha256 as sha2::Digest>::digest(file.as_os_str().as_bytes());
    let mut link = folder.join(hex::encode(&digest[..10]));
    if let Some(extension) = file.extension().and_then(OsStr::to_str) {
        link.set_extension(extension);
    }
    let made = std::fs::create_dir_all(&folder).and_then(|()| {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(file, &link)
    });
    made.map_err(|e| Failure::io(format!("link {}", link.display()), &e))?;
    Ok(link)
}

/// A claimed job, while it is worked on.
pub(super) struct Beat {
    pub(super) fs: Arc<dyn Fs>,
    /// The file whose content shows that this process lives.
    pub(super) path: PathBuf,
    /// The slot that somebody writes who takes the job over.
    pub(super) next: PathBuf,
    /// Seconds between two beats.
    pub(super) every: f64,
    pub(super) lock: Option<Lock>,
}

impl Beat {
    /// Of the slot `slot` of job `id`.
    pub(super) fn new(library: &Library, id: &str, slot: usize, every: f64) -> Self {
        let slots = library.slots(id);
        let path = slots.join(format!("{slot}.beat"));
        let next = slots.join(format!("{}.json", slot + 1));
        Self { fs: library.fs.clone(), path, next, every, lock: None }
    }

    /// Shows that this process lives, until `over`. When somebody has taken the
    /// job over, it cancels `lost`: what is still done is for nothing.
    pub(super) async fn keep(mut self, over: CancellationToken, lost: CancellationToken) {
        for count in 0u64.. {
            let _ = self.fs.write(&self.path, count.to_string().as_bytes());
            if count > 0 {
                match self.lock.as_mut().map(Lock::renew) {
                    Some(Err(error)) => tracing::warn!(%error, "cannot renew a lock file"),
                    Some(Ok(false)) => tracing::warn!("a lock file of ours was taken away"),
                    Some(Ok(true)) | None => {}
                }
                if self.fs.read(&self.next).is_ok() {
                    lost.cancel();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(self.every)) => {}
                () = over.cancelled() => break,
            }
        }
        let _ = self.fs.remove(&self.path);
    }
}
