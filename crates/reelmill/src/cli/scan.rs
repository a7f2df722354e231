//! `reelmill scan`: what is in a library, what is new, what becomes of it.

use super::args::Common;
use super::library_args::{RulesArgs, ScanArgs};
use super::signals::Stop;
use super::{enqueue, out};
use crate::exit::{Ending, Exit};
use crate::farm;
use crate::library::book::{Asked, Book};
use crate::library::look::Prober;
use crate::library::place::{NoPlace, Place};
use crate::library::scan::{NoScan, Scan};
use crate::library::summary::{Progress, Summary};
use crate::library::walk::Wanted;
use crate::paths;
use indicatif::{ProgressBar, ProgressStyle};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_store::LibraryStore;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Complaints that are printed.
const MOST_TOLD: usize = 20;

/// Opens the cache of scans.
///
/// # Errors
/// When it cannot be opened.
pub(super) async fn open_store() -> Result<LibraryStore, Failure> {
    let path = paths::state().join("library.db");
    LibraryStore::open(&path).await.map_err(|error| error.failure())
}

/// What the arguments say about rules.
pub(super) fn asked(args: &RulesArgs) -> Asked {
    match (&args.rules, &args.preset) {
        (Some(file), _) => Asked::File(file.clone()),
        (None, Some(preset)) => Asked::Preset(preset.clone(), args.set.clone()),
        (None, None) => Asked::Usual,
    }
}

/// Runs the command.
pub(crate) async fn run(args: ScanArgs, common: &Common) -> Result<Exit, Ending> {
    let stop = Stop::on_signals(Duration::ZERO)
        .map_err(|e| Failure::environment(format!("cannot listen for signals: {e}")))?;
    let store = open_store().await?;
    let mut worst = Exit::Done;
    let (mut failed, all) = (0, args.dirs.len());
    for dir in &args.dirs {
        match one(dir, &args, common, (&store, &stop.drain)).await {
            Ok(exit) => worst = if worst == Exit::Done { exit } else { worst },
            Err(ending) if all == 1 || ending.exit == Exit::Interrupted => return Err(ending),
            Err(ending) => {
                failed += 1;
                out::failure(&ending.failure, common.json);
                worst = if ending.exit == Exit::Alarm { Exit::Alarm } else { Exit::Partly };
            }
        }
    }
    store.close().await;
    Ok(if failed == all && worst == Exit::Partly { Exit::Failed } else { worst })
}

/// Scans the library that `dir` belongs to.
///
/// # Errors
/// When it cannot be, with the exit code for an alarm where it is one.
pub(crate) async fn one(
    dir: &Path,
    args: &ScanArgs,
    common: &Common,
    (store, stop): (&LibraryStore, &CancellationToken),
) -> Result<Exit, Ending> {
    let place = Place::open(dir, store, &paths::state()).await.map_err(no_place)?;
    let book = Book::open(&place, &asked(&args.rules)).map_err(Ending::usage)?;
    let summary = scan(&place, &book, args, common, (store, stop)).await?;
    tell(&place, &summary, common);
    if args.enqueue || args.dry_run {
        enqueue::run(&place, &book, args, common, (store, stop)).await?;
    }
    Ok(if summary.unreadable > 0 || summary.unseen > 0 { Exit::Partly } else { Exit::Done })
}

/// Scans a library, showing how far it is.
///
/// # Errors
/// As [`one`].
pub(super) async fn scan(
    place: &Place,
    book: &Book,
    args: &ScanArgs,
    common: &Common,
    (store, stop): (&LibraryStore, &CancellationToken),
) -> Result<Summary, Ending> {
    let display = Display::new(common);
    let tell = |progress| display.show(progress);
    let find = || -> futures::future::BoxFuture<'_, _> { Box::pin(common.tools()) };
    let threads = farm::cores() as usize;
    let scan = Scan {
        store,
        place,
        wanted: Wanted { kinds: args.kinds.list(), follow: args.follow, threads },
        jobs: args.jobs.map_or(2 * threads, |jobs| jobs as usize),
        accept_missing: args.accept_missing,
        book,
        prober: Prober::new(&find, stop),
        tell: &tell,
        stop,
    };
    let scanned = scan.run().await;
    display.end();
    scanned.map_err(|no| match no {
        NoScan::Alarm(failure) => Ending { exit: Exit::Alarm, failure },
        NoScan::Failed(failure) => failure.into(),
        NoScan::Stopped => {
            let message = "interrupted; what was found so far is kept";
            let failure = Failure::new(FailureClass::Cancelled, message);
            failure.advise("run the same command again to go on").into()
        }
    })
}

pub(super) fn no_place(no: NoPlace) -> Ending {
    match no {
        NoPlace::Vanished(failure) => Ending { exit: Exit::Alarm, failure },
        NoPlace::Failed(failure) => failure.into(),
    }
}

/// Shows how far a scan is: a bar for people, events for programs.
struct Display {
    json: bool,
    bar: Option<ProgressBar>,
    told: Mutex<Option<(u64, i64)>>,
}

/// Microseconds between two events.
const EVENT_EVERY: i64 = 500_000;

impl Display {
    fn new(common: &Common) -> Self {
        let show = !common.json && !common.quiet && out::stderr_is_terminal();
        let bar = show.then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix:>9} {bar:30.cyan/dim} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { json: common.json, bar, told: Mutex::new(None) }
    }

    fn show(&self, progress: Progress) {
        let now = crate::clock::steady();
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.is_some_and(|(_, at)| now - at < EVENT_EVERY / if self.json { 1 } else { 5 }) {
            return;
        }
        let before = told.replace((progress.looked, now));
        if self.json {
            out::json(&serde_json::json!({
                "event": "progress", "met": progress.met, "looked": progress.looked,
                "to_look": progress.to_look, "eta_seconds": progress.eta_seconds,
            }));
        }
        let Some(bar) = &self.bar else { return };
        bar.set_length(progress.to_look);
        bar.set_position(progress.looked);
        if progress.to_look == 0 {
            bar.set_prefix("walking");
            bar.set_message(format!("{} files", progress.met));
            return;
        }
        let rate = before.map_or(0.0, |(looked, at)| {
            progress.looked.saturating_sub(looked) as f64 * 1e6 / (now - at).max(1) as f64
        });
        let eta =
            progress.eta_seconds.map_or(String::new(), |s| format!(", ETA {}", out::seconds(s)));
        bar.set_prefix("looking");
        bar.set_message(format!(
            "{} of {} new files, {rate:.0}/s{eta}",
            progress.looked, progress.to_look
        ));
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a scan found, for people or programs.
pub(super) fn tell(place: &Place, summary: &Summary, common: &Common) {
    if common.json {
        let mut event = serde_json::json!({
            "event": "scanned", "library": place.record.uuid, "root": place.root.to_string_lossy(),
        });
        if let (Some(event), Ok(serde_json::Value::Object(more))) =
            (event.as_object_mut(), serde_json::to_value(summary))
        {
            event.extend(more);
        }
        out::json(&event);
        return;
    }
    for folder in &summary.emptied {
        out::note(&format!(
            "warning: {} is empty though files are known in it: they are kept (is a mount missing? \
             --accept-missing forgets them)",
            if folder.is_empty() { "the library" } else { folder }
        ));
    }
    for (path, reason) in summary.complaints.iter().take(MOST_TOLD) {
        out::note(&format!("cannot read {}: {reason}", clean(path)));
    }
    if summary.complaints.len() > MOST_TOLD {
        out::note(&format!("… and {} more", summary.unreadable as usize - MOST_TOLD));
    }
    if common.quiet {
        return;
    }
    if let Some(why) = &place.unwritable {
        out::note(&format!(
            "note: the library cannot be written to ({why}): other machines must scan it themselves"
        ));
    }
    out::line(&sentence(place, summary));
}

/// A path without what could harm a terminal.
pub(super) fn clean(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn sentence(place: &Place, summary: &Summary) -> String {
    let counts = [
        (summary.new, "new"),
        (summary.changed, "changed"),
        (summary.moved, "moved"),
        (summary.adopted, "known from another machine"),
        (summary.gone, "gone"),
        (summary.unseen, "not seen, kept"),
        (summary.changing, "being written to"),
        (summary.broken, "no media or damaged"),
        (summary.unreadable, "not readable"),
        (summary.links, "links passed by"),
    ];
    let told: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let told = if told.is_empty() { "nothing new".to_owned() } else { told.join(", ") };
    format!(
        "{}: {} files, {} ({told}) in {}",
        place.path(&place.within).display(),
        summary.files,
        out::bytes(summary.bytes),
        out::seconds(summary.seconds)
    )
}
