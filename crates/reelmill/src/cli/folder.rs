//! `reelmill convert --dir` and `--file`: a whole folder, one file after another,
//! resuming where it stopped; a bad file never stops the rest.

mod claimed;
mod ends;
mod job;
mod line;
mod queued;
mod single;
mod walk;
mod work;

pub(crate) use queued::{list_queue, submit};
pub(crate) use single::{Came, one};
pub(super) use walk::kind;

use super::args::{Common, ConvertArgs};
use super::choice::for_kind;
use super::out;
use super::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::library::hooks;
use crate::library::ledger::Ledger;
use crate::paths;
use crate::share::library::Library;
use crate::share::lock::{Watcher, remove_stale};
use crate::share::recover::{clear_hidden, recover};
use crate::share::trash;
use ends::Fate;
use job::FileJob;
use line::line;
use reelmill_core::error::Failure;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};
use work::{Item, Work};

/// Kinds of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MediaType {
    /// Films.
    Video,
    /// Sound alone.
    Audio,
    /// Pictures.
    Image,
    /// Films and sound.
    Both,
}

/// Runs the command.
pub(crate) async fn run(args: &ConvertArgs, common: &Common) -> Result<Exit, Ending> {
    let stop =
        Stop::on_signals(Duration::ZERO).map_err(|e| Failure::io("listen for signals", &e))?;
    let found = walk::find(args)?;
    for kind in job::asked(args, args.file.as_deref()) {
        for_kind(&args.encode, *kind, job::asked(args, args.file.as_deref()))?;
    }
    let hooks = hooks::configured().map_err(Ending::usage)?;
    let tools = common.tools().await?;
    let library = open(args, &found.root)?;
    let mut watcher = Watcher::new(args.lock_expiry);
    if !args.dry_run {
        clear(&found, library.as_ref(), &mut watcher, args.trash_days);
    }
    let scratch = args.scratch.clone().unwrap_or_else(paths::scratch).join("convert");
    super::resume::forget_old(&scratch);
    let files = if args.queue { Vec::new() } else { found.files };
    let ledger = Ledger::of(&found.root);
    let mut work = Work {
        files: files.into_iter().map(Item::found).collect(),
        job: FileJob {
            args: args.clone(),
            common,
            tools: &tools,
            stop: &stop,
            scratch,
            root: &found.root,
            library: library.as_ref(),
            watcher,
            failed: ledger.as_ref().map(Ledger::failed).unwrap_or_default(),
            ledger: ledger.filter(|_| !args.dry_run),
        },
        hooks,
        begun: Instant::now(),
    };
    for (folder, failure) in found.unread {
        work.files.push(Item::found(folder.clone()));
        work.tell(work.files.len() - 1, line(&folder, Fate::Failed(failure)));
    }
    Box::pin(work.all()).await?;
    Ok(work.summary())
}

/// The library's records are needed to replace files or to share the work.
fn open(args: &ConvertArgs, root: &Path) -> Result<Option<Library>, Ending> {
    if !args.replace && !args.shared {
        return Ok(None);
    }
    if args.dry_run {
        return Ok(Library::peek(root)?);
    }
    let library = Library::open(root)?;
    if args.shared {
        out::note(&format!("{}: {}", library.root.display(), library.can.told()));
    }
    Ok(Some(library))
}

/// Finishes and clears away what crashed processes left. What cannot be cleared
/// stays for another time.
fn clear(found: &walk::Found, library: Option<&Library>, watcher: &mut Watcher, days: f64) {
    if let Some(library) = library {
        match recover(library) {
            Ok(open) if open.is_empty() => {}
            Ok(open) => out::note(&format!(
                "{} interrupted replacements may still be at work elsewhere: {}",
                open.len(),
                open.join(", ")
            )),
            Err(failure) => out::failure(&failure, false),
        }
        match trash::expire(library, days) {
            Ok((0, _)) => {}
            Ok((files, bytes)) => out::note(&format!(
                "removed {files} files of more than {days} days from the trash ({})",
                out::bytes(bytes)
            )),
            Err(failure) => out::failure(&failure, false),
        }
        for path in &found.locks {
            if let Ok(Some(lock)) = watcher.look(path)
                && lock.stale
            {
                let _ = remove_stale(path, &lock);
            }
        }
        clear_hidden(library, &found.hidden);
    }
    for path in found.hidden.iter().filter(|path| walk::abandoned(path)) {
        let _ = std::fs::remove_file(path);
    }
}
