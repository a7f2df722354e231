//! What came of a file, and the small things around its conversion.

use crate::share::desk::Desk;
use crate::share::fs::{Facts, Fs};
use crate::share::library::Library;
use crate::share::lock::Lock;
use crate::share::part;
use reelmill_core::error::Failure;
use reelmill_core::names;
use reelmill_core::settle::End;
use reelmill_core::slots::Leave;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
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
    pub(super) extension: String,
}

pub(super) fn part_name(target: &Path, mark: &str) -> OsString {
    OsString::from_vec(names::part(target.file_name().unwrap_or_default().as_bytes(), mark))
}

pub(super) fn place_part(
    library: &Library,
    order: &Order,
    made: &Path,
    part: &Path,
) -> Result<(Vec<String>, Facts), Failure> {
    if let Some(folder) = part.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
    }
    let lost = part::prepare(made, part, Some(&order.source))?;
    match library.fs.facts(part) {
        Ok(Some(facts)) => Ok((lost, facts)),
        Ok(None) => Err(Failure::transient(format!("{} vanished", part.display()))),
        Err(error) => Err(Failure::io(format!("read {}", part.display()), &error)),
    }
}

/// What a finished replacement means for the file.
pub(super) fn settled(desk: &Desk<'_>, leave: Leave, order: &Order, after: u64, id: &str) -> Fate {
    let shown = order.source.display();
    let end = match leave {
        Leave::Settled(end) => end,
        Leave::Finished | Leave::GivenBack => {
            return Fate::Skipped("somebody else has done it".into());
        }
        Leave::TakenOver => return Fate::Skipped("somebody else took it over".into()),
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
            "could not be replaced, and it is not certain what is where; nothing was removed, and the next run or 'reelmill locks --clean' finishes it",
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
    let link = folder.join(hex::encode(&digest[..10]));
    let made = std::fs::create_dir_all(&folder).and_then(|()| {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(file, &link)
    });
    made.map_err(|e| Failure::io(format!("link {}", link.display()), &e))?;
    Ok(link)
}

/// Shows that this process lives, until `over`.
pub(super) async fn keep_beating(
    (fs, beat): (crate::share::real_fs::RealFs, PathBuf),
    mut lock: Lock,
    every: f64,
    over: CancellationToken,
) {
    for count in 0u64.. {
        let _ = fs.write(&beat, count.to_string().as_bytes());
        if count > 0
            && let Err(error) = lock.renew()
        {
            tracing::warn!(%error, "cannot renew a lock file");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(every)) => {}
            () = over.cancelled() => return,
        }
    }
}
