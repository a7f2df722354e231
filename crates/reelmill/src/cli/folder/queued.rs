//! The queue of a shared folder: filled by `submit --shared`, emptied by
//! `convert --dir DIR --queue`, shown by `list --shared`.

use super::line::Line;
use super::walk;
use super::work::{Item, Work};
use crate::cli::args::{Common, ConvertArgs};
use crate::cli::out;
use crate::client::args::SubmitArgs;
use crate::exit::{Ending, Exit};
use crate::share::library::Library;
use crate::share::queue::{self, Ended, Order};
use crate::{clock, farm};
use reelmill_core::error::Failure;
use std::path::{Path, PathBuf};

/// An order's place in the queue, when it does not say.
const USUAL_PRIORITY: u8 = 50;

fn now() -> f64 {
    clock::now().0 as f64 / 1e6
}

/// Takes up the orders that are new in the queue.
pub(super) fn take_up(work: &mut Work<'_>) -> Result<(), Failure> {
    let Some(library) = work.job.library else { return Ok(()) };
    for (name, order) in queue::list(library)? {
        let known = |item: &Item| item.order.as_ref().is_some_and(|(known, _)| *known == name);
        if work.files.iter().any(known) {
            continue;
        }
        let path = library.absolute(&order.file);
        let args = Box::new(as_ordered(&work.job.args, &order));
        work.files.push(Item { path, line: None, order: Some((name, args)) });
    }
    Ok(())
}

/// The command's arguments, with what the order says.
fn as_ordered(args: &ConvertArgs, order: &Order) -> ConvertArgs {
    let mut args = args.clone();
    args.replace = order.replace;
    args.encode.preset = vec![order.preset.clone()];
    args.encode.set.clone_from(&order.set);
    args.encode.format = order.format;
    (args.encode.width, args.encode.height) = (None, None);
    (args.encode.bitrate, args.encode.max_size) = (None, None);
    args
}

/// Writes down how an order ended. What may work another time, or is still in
/// others' hands, stays in the queue.
pub(super) fn end(work: &Work<'_>, at: usize, line: &Line) {
    let (Some(library), Some((name, _))) = (work.job.library, &work.files[at].order) else {
        return;
    };
    if work.job.args.dry_run || line.again || line.class.is_some_and(|class| class.retryable()) {
        return;
    }
    let ended = queue::list(library).and_then(|orders| {
        let Some((_, order)) = orders.into_iter().find(|(known, _)| known == name) else {
            return Ok(());
        };
        let (result, reason) = (line.result.to_owned(), line.reason.clone());
        queue::end(
            library,
            name,
            &Ended { order, result, reason, by: farm::host_name(), at: now() },
        )
    });
    if let Err(failure) = ended {
        out::failure(&failure, false);
    }
}

/// `reelmill submit --shared DIR FILE`: puts a file, or all videos of a folder,
/// into the queue.
pub(crate) fn submit(args: &SubmitArgs, shared: &Path, common: &Common) -> Result<Exit, Ending> {
    let library = Library::open(shared).map_err(Ending::input)?;
    let files = media_in(&args.file)?;
    let order = |file: &Path| Order {
        file: library.relative(file),
        preset: args.preset(),
        set: args.overrides(),
        format: args.container(),
        replace: args.replace,
        priority: args.priority.unwrap_or(USUAL_PRIORITY),
        by: farm::host_name(),
        at: now(),
    };
    check(args)?;
    for file in &files {
        if !file.starts_with(&library.root) {
            let message = format!("{} is not in {}", file.display(), library.root.display());
            return Err(Ending::usage(Failure::permanent(message).advise("copy it there first")));
        }
    }
    let waiting = queue::list(&library)?;
    for file in &files {
        let order = order(file);
        let known = waiting.iter().find(|(_, known)| known.file == order.file);
        let (name, event) = match known {
            Some((name, _)) => (name.clone(), "queued_already"),
            None => (queue::add(&library, &order)?, "queued"),
        };
        if common.json {
            let file = file.to_string_lossy();
            out::json(&serde_json::json!({"event": event, "order": name, "file": file}));
        } else if !common.quiet {
            out::line(&format!("{} {}", event.replace('_', " "), file.display()));
        }
    }
    Ok(Exit::Done)
}

/// Whether the preset and what changes it fit: the order is refused now, not by
/// whoever takes it.
fn check(args: &SubmitArgs) -> Result<(), Ending> {
    let presets = farm::presets().map_err(Ending::usage)?;
    presets.get(&args.preset(), &args.overrides()).map_err(Ending::usage)?;
    Ok(())
}

fn media_in(path: &Path) -> Result<Vec<PathBuf>, Ending> {
    let fail =
        |e: std::io::Error| Ending::input(Failure::io(format!("open {}", path.display()), &e));
    let whole = std::fs::canonicalize(path).map_err(fail)?;
    if !whole.is_dir() {
        return Ok(vec![whole]);
    }
    let found = walk::all(&whole, None, super::MediaType::Video)?;
    Ok(found.files)
}

/// `reelmill list --shared DIR`: what waits in the queue, and what came of the rest.
pub(crate) fn list_queue(shared: &Path, common: &Common) -> Result<Exit, Ending> {
    let library = Library::open(shared).map_err(Ending::input)?;
    for (name, order) in queue::list(&library)? {
        if common.json {
            out::json(&serde_json::json!({"name": name, "result": "waiting", "order": order}));
        } else {
            out::line(&format!("waiting    {} ({}, by {})", order.file, order.preset, order.by));
        }
    }
    for (name, ended) in queue::results(&library)? {
        if common.json {
            out::json(&serde_json::json!({"name": name, "result": ended.result, "ended": ended}));
        } else {
            let why = ended.reason.map(|why| format!(": {why}")).unwrap_or_default();
            out::line(&format!("{:10} {} by {}{why}", ended.result, ended.order.file, ended.by));
        }
    }
    Ok(Exit::Done)
}
