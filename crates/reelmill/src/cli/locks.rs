//! `reelmill locks`: who works on what in a shared folder.

use super::args::Common;
use super::out;
use super::share_args::LocksArgs;
use crate::exit::{Ending, Exit};
use crate::share::library::{Library, real, root_of};
use crate::share::lock::{DRAFT, Found, Watcher, remove_stale};
use crate::share::recover::{clear_hidden, is_part, recover};
use reelmill_core::error::Failure;
use reelmill_core::lockfile::ENDING;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Lists who works on what; removes stale locks and finishes what crashed
/// processes left, when asked to.
pub(crate) fn locks(args: &LocksArgs, common: &Common) -> Result<Exit, Ending> {
    let dir = real(&args.dir).map_err(Ending::input)?;
    let mut watcher = Watcher::new(args.expiry);
    let mut count = 0;
    let (locks, hidden) = ours(&dir)?;
    for path in locks {
        let fail = |e: std::io::Error| Failure::io(format!("read {}", path.display()), &e);
        let Some(found) = watcher.look(&path).map_err(fail)? else { continue };
        let removed = args.clean && found.stale && remove_stale(&path, &found).map_err(fail)?;
        count += 1;
        tell(&path, &found, removed, common);
    }
    // Looking changes nothing: records are opened only where there are some.
    if args.clean && root_of(&dir).is_some() {
        let library = Library::open(&dir)?;
        for id in recover(&library)? {
            out::note(&format!("job {id} is not settled yet: its worker may still live"));
        }
        clear_hidden(&library, &hidden);
    }
    if count == 0 && !common.json && !common.quiet {
        out::note("nobody works here");
    }
    Ok(Exit::Done)
}

fn tell(path: &Path, found: &Found, removed: bool, common: &Common) {
    if common.json {
        out::json(&serde_json::json!({
            "lock": path.to_string_lossy(), "stale": found.stale, "removed": removed,
            "says": found.lock,
        }));
        return;
    }
    let state = match (found.stale, removed) {
        (_, true) => "removed",
        (true, _) => "stale",
        (false, _) => "working",
    };
    let since = found.lock.as_ref().map(|lock| lock.locked_at.as_str()).unwrap_or_default();
    out::line(&format!("{state:8} {} since {since}  {}", found.by(), path.display()));
}

/// Lock files, and hidden outputs that wait beside their places.
fn ours(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Failure> {
    let (mut locks, mut hidden) = (Vec::new(), Vec::new());
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if folder == dir => {
                return Err(Failure::io(format!("read the folder {}", folder.display()), &error));
            }
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "cannot read");
                continue;
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && !name.as_bytes().starts_with(b".") {
                folders.push(entry.path());
            } else if name.as_bytes().ends_with(ENDING.as_bytes()) {
                locks.push(entry.path());
            } else if is_part(name.as_bytes()) || name.as_bytes().starts_with(DRAFT.as_bytes()) {
                hidden.push(entry.path());
            }
        }
    }
    locks.sort();
    Ok((locks, hidden))
}
