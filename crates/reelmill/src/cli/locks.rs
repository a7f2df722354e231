//! `reelmill locks`, `reelmill undo` and `reelmill replace`.

use super::args::{Common, LocksArgs, ReplaceArgs, UndoArgs};
use super::out;
use crate::exit::{Ending, Exit};
use crate::share::desk::{Desk, Stop, recover};
use crate::share::fs::{Facts, Fs};
use crate::share::library::Library;
use crate::share::lock::Watcher;
use crate::share::record::Deal;
use crate::share::{part, undo as taking_back};
use reelmill_core::error::Failure;
use reelmill_core::lockfile::ENDING;
use reelmill_core::names;
use reelmill_core::settle::End;
use reelmill_core::slots::{Leave, Mark};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Lists who works on what; removes stale locks and finishes what crashed
/// processes left, when asked to.
pub(crate) fn locks(args: &LocksArgs, common: &Common) -> Result<Exit, Ending> {
    let library = Library::open(&args.dir)?;
    let mut watcher = Watcher::new(args.expiry);
    let mut count = 0;
    for path in lock_files(&args.dir)? {
        let found = watcher
            .look(&library, &path)
            .map_err(|e| Failure::io(format!("read {}", path.display()), &e))?;
        let Some(found) = found else { continue };
        let removed = args.clean && found.stale && std::fs::remove_file(&path).is_ok();
        count += 1;
        if common.json {
            out::json(&serde_json::json!({
                "lock": path, "stale": found.stale, "removed": removed, "says": found.lock,
            }));
            continue;
        }
        let (host, pid, since) = found.lock.map_or_else(
            || ("?".to_owned(), 0, String::new()),
            |lock| (lock.hostname, lock.pid, lock.locked_at),
        );
        let state = match (found.stale, removed) {
            (_, true) => "removed",
            (true, _) => "stale",
            (false, _) => "working",
        };
        out::line(&format!("{state:8} {host} process {pid} since {since}  {}", path.display()));
    }
    if args.clean {
        for id in recover(&library)? {
            out::note(&format!("job {id} is not settled yet: its worker may still live"));
        }
    }
    if count == 0 && !common.json && !common.quiet {
        out::note("nobody works here");
    }
    Ok(Exit::Done)
}

fn lock_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|e| Failure::io(format!("read the folder {}", folder.display()), &e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && !name.as_bytes().starts_with(b".") {
                folders.push(entry.path());
            } else if name.as_bytes().ends_with(ENDING.as_bytes()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Takes a replacement back.
pub(crate) fn undo(args: &UndoArgs, common: &Common) -> Result<Exit, Ending> {
    let folder = match (&args.dir, args.what.parent()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let library = Library::open(&folder)?;
    recover(&library)?;
    let restored = taking_back::undo(&library, &args.what)?;
    if common.json {
        out::json(&serde_json::json!({"event": "undone", "file": restored}));
    } else if !common.quiet {
        out::note(&format!(
            "{} {} is back; what had replaced it is in the trash",
            out::paint("done:", "1;32"),
            restored.display()
        ));
    }
    Ok(Exit::Done)
}

/// Puts a file that the user made in another's place.
pub(crate) fn replace(args: &ReplaceArgs, common: &Common) -> Result<Exit, Ending> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| Ending::input(Failure::io(format!("open {}", path.display()), &e))
    };
    let source = std::path::absolute(&args.file).map_err(fail(&args.file))?;
    let folder = source.parent().unwrap_or(Path::new("/"));
    let folder = std::fs::canonicalize(folder).map_err(fail(folder))?;
    let source = folder.join(source.file_name().unwrap_or_default());
    let library = Library::open(&folder)?;
    recover(&library)?;
    let facts = library.fs.facts(&source).map_err(fail(&source))?;
    let Some(facts) = facts.filter(|facts| !facts.ends.is_empty()) else {
        let failure = Failure::input(format!("there is no file {}", source.display()));
        return Err(Ending::input(failure.advise("check the path")));
    };
    if facts.links > 1 {
        let failure = Failure::permanent(format!("{} has hard links", source.display()));
        return Err(Ending::usage(failure.advise("the other names would keep the old content")));
    }
    let extension = args.with.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let name = source.file_name().unwrap_or_default().as_bytes();
    let mut target = names::with_extension(name, extension);
    if extension.is_empty() || names::same_but_for_case(name, &target) {
        target = name.to_vec();
    }
    let target = source.with_file_name(OsString::from_vec(target));
    let same = target == source;
    let way = library.way(same, args.shared);
    let id = library.id(&source, &facts);
    let desk =
        Desk::new(&library, &id, &library.relative(&source), way).reopening(Mark::Lease, None);
    let lost = put(&library, desk, (&source, &target), (&args.with, &id, &facts))?;
    if common.json {
        let event = "replaced";
        out::json(&serde_json::json!({"event": event, "file": target, "job": id, "lost": lost}));
    } else if !common.quiet {
        out::note(&format!("{} {} (job {id})", out::paint("replaced:", "1;32"), target.display()));
    }
    Ok(Exit::Done)
}

/// Claims the job, copies the new file beside its place, puts it there. Yields
/// what could not be kept of the old one.
fn put(
    library: &Library,
    mut desk: Desk<'_>,
    (source, target): (&Path, &Path),
    (with, id, facts): (&Path, &str, &Facts),
) -> Result<Vec<String>, Ending> {
    let mut stop = desk.go_on()?;
    if matches!(&stop, Stop::Held(held) if held.dead) {
        desk.silent();
        stop = desk.go_on()?;
    }
    match stop {
        Stop::Work => {}
        Stop::Held(held) => {
            let message = format!("{} works on {}", held.by, source.display());
            return Err(Failure::transient(message).advise("try again later").into());
        }
        Stop::Left(leave) => {
            return Err(Failure::transient(format!("an earlier job was in the way: {leave:?}"))
                .advise("run the same command again")
                .into());
        }
    }
    let name = names::part(
        target.file_name().unwrap_or_default().as_bytes(),
        &format!("{id}-{}", desk.slot()),
    );
    let part = target.with_file_name(OsString::from_vec(name));
    let placed = part::prepare(with, &part, Some(source)).and_then(|lost| {
        let output = library.fs.facts(&part);
        match output {
            Ok(Some(output)) => Ok((lost, output)),
            Ok(None) => Err(Failure::transient(format!("{} vanished", part.display()))),
            Err(error) => Err(Failure::io(format!("read {}", part.display()), &error)),
        }
    });
    let (lost, output) = match placed {
        Ok(placed) => placed,
        Err(failure) => {
            desk.ended(&failure.message, false);
            let _ = desk.go_on();
            return Err(failure.into());
        }
    };
    desk.made(Deal {
        source: library.relative(source),
        target: (source != target).then(|| library.relative(target)),
        part: library.relative(&part),
        original: facts.fingerprint(),
        output: output.fingerprint(),
        undo: false,
    });
    let stop = desk.go_on()?;
    if stop != Stop::Left(Leave::Settled(End::Replaced)) {
        let why = desk.trouble().map_or_else(|| format!("{stop:?}"), str::to_owned);
        return Err(Failure::transient(format!("{} was not replaced: {why}", source.display()))
            .advise("nothing is lost; 'reelmill locks --clean' finishes what was begun")
            .into());
    }
    Ok(lost)
}
