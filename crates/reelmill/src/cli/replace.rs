//! `reelmill replace` and `reelmill undo`: a file takes another's place, and the
//! other comes back.

use super::args::Common;
use super::out;
use super::share_args::{ReplaceArgs, UndoArgs};
use crate::exit::{Ending, Exit};
use crate::library::ledger::{self, Ledger};
use crate::share::desk::{Desk, Stop};
use crate::share::fs::Facts;
use crate::share::library::Library;
use crate::share::placing::Placing;
use crate::share::recover::recover;
use crate::share::undo as taking_back;
use reelmill_core::error::Failure;
use reelmill_core::library::outcome::Came;
use reelmill_core::names;
use reelmill_core::settle::End;
use reelmill_core::slots::{Leave, Mark};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Takes a replacement back.
pub(crate) fn undo(args: &UndoArgs, common: &Common) -> Result<Exit, Ending> {
    let folder = match (&args.dir, args.what.parent()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let library = Library::open(&folder)?;
    recover(&library)?;
    let (restored, output) = taking_back::undo(&library, &args.what)?;
    if let Some(own) = Ledger::of(&library.root)
        && let Ok(version) = own.version(&restored)
    {
        own.write(&version, ("", ""), &ledger::End::of(Came::Undone, output));
    }
    if common.json {
        out::json(&serde_json::json!({"event": "undone", "file": restored.to_string_lossy()}));
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
    if !args.with.is_file() {
        let failure = Failure::input(format!("there is no file {}", args.with.display()));
        return Err(Ending::input(failure.advise("check the path")));
    }
    let facts = library.fs.facts(&source).map_err(fail(&source))?;
    let Some(facts) = facts.filter(Facts::plain) else {
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
    let desk = Desk::new(&id, &library.relative(&source), way).reopening(Mark::Lease, None);
    let placing =
        Placing { library: &library, id: &id, source: &source, target: &target, facts: &facts };
    let lost = put(&placing, desk, &args.with)?;
    if common.json {
        let event = "replaced";
        let file = target.to_string_lossy();
        out::json(&serde_json::json!({"event": event, "file": file, "job": id, "lost": lost}));
    } else if !common.quiet {
        out::note(&format!("{} {} (job {id})", out::paint("replaced:", "1;32"), target.display()));
    }
    Ok(Exit::Done)
}

/// Claims the job and puts the new file in its place. Yields what could not be
/// kept of the old one.
fn put(placing: &Placing<'_>, mut desk: Desk, with: &Path) -> Result<Vec<String>, Ending> {
    let (library, shown) = (placing.library, placing.source.display());
    let mut stop = desk.go_on(library)?;
    if matches!(&stop, Stop::Held(held) if held.dead) {
        desk.silent();
        stop = desk.go_on(library)?;
    }
    match stop {
        Stop::Work => {}
        Stop::Held(held) => {
            let message = format!("{} works on {shown}", held.by);
            return Err(Failure::transient(message).advise("try again later").into());
        }
        Stop::Left(leave) => {
            return Err(Failure::transient(format!("an earlier job was in the way: {leave:?}"))
                .advise("run the same command again")
                .into());
        }
    }
    let placed = placing.put(&mut desk, with)?;
    if placed.leave != Leave::Settled(End::Replaced) {
        let why = desk.trouble().map_or_else(|| format!("{:?}", placed.leave), str::to_owned);
        return Err(Failure::transient(format!("{shown} was not replaced: {why}"))
            .advise("nothing is lost; 'reelmill locks --clean' finishes what was begun")
            .into());
    }
    Ok(placed.lost)
}
