//! `reelmill watch`: works on libraries day and night, by rules, within hours and
//! limits.

mod order;
mod sums;

use super::args::Common;
use super::folder::{self, Came};
use super::library_args::{ScanArgs, WatchArgs};
use super::signals::Stop;
use super::{enqueue, out, scan};
use crate::clock;
use crate::exit::{Ending, Exit};
use crate::library::book::Book;
use crate::library::machine::Machine;
use crate::library::place::Place;
use crate::library::{hooks, look};
use crate::paths;
use order::order;
use reelmill_core::error::Failure;
use reelmill_core::library::hooks::{Happened, HookEvent, Hooks};
use reelmill_core::library::hours::Limits;
use reelmill_core::library::outcome::rests;
use reelmill_core::library::rules::{Answer, Left, Verdict};
use reelmill_media::tools::Tools;
use reelmill_store::{FileFilter, FoundFile, LibraryStore};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use sums::Sums;

/// Between two looks at hours, load and space.
const LOOK: Duration = Duration::from_secs(5);

/// Files that are lined up at a time; the rest after the next scan.
const MOST_LINED_UP: usize = 10_000;

/// Files read from the cache at a time.
const PAGE: u32 = 2000;

/// Runs the command.
pub(crate) async fn run(args: WatchArgs, common: &Common) -> Result<Exit, Ending> {
    let stop = Stop::on_signals(Duration::ZERO)
        .map_err(|e| Failure::environment(format!("cannot listen for signals: {e}")))?;
    let limits =
        Limits { hours: args.hours.clone(), max_load: args.max_load, min_free: args.min_free };
    let mut watch = Watch {
        args: &args,
        common,
        tools: common.tried_tools().await?,
        store: scan::open_store().await?,
        hooks: hooks::configured().map_err(Ending::usage)?,
        limits,
        machine: Machine::default(),
        settled: HashMap::new(),
        told: None,
        sums: Sums::default(),
        stop: &stop,
    };
    // A wrong command line is told before anything is waited for.
    order(&args, Path::new("film.mkv"), "h264", &[])?;
    let exit = watch.all().await?;
    watch.sums.tell(common);
    Ok(exit)
}

struct Watch<'a> {
    args: &'a WatchArgs,
    common: &'a Common,
    tools: Tools,
    store: LibraryStore,
    hooks: Hooks,
    limits: Limits,
    machine: Machine,
    /// Files that wait to be left alone: size and time, and since when.
    settled: HashMap<i64, (u64, i64, i64)>,
    /// Why there is no work, as it was told last.
    told: Option<String>,
    sums: Sums,
    stop: &'a Stop,
}

/// What came of a file's turn.
enum Turn {
    Over,
    HandedBack(String),
}

impl Watch<'_> {
    /// Works until it is told to stop, or until nothing is left where that is asked for.
    async fn all(&mut self) -> Result<Exit, Ending> {
        loop {
            let (mut left, before) = (false, self.sums.converted);
            for dir in &self.args.dirs {
                left |= Box::pin(self.library(dir)).await?;
                if self.stop.drain.is_cancelled() {
                    return Ok(Exit::Done);
                }
            }
            if self.args.once && !left {
                // Outputs are looked at too, so that 'query' tells how things are now.
                if self.sums.converted > before {
                    continue;
                }
                return Ok(if self.sums.failed > 0 { Exit::Partly } else { Exit::Done });
            }
            self.pause(Duration::from_millis(self.args.every)).await;
            if self.stop.drain.is_cancelled() {
                return Ok(Exit::Done);
            }
        }
    }

    /// Scans a library and converts what is lined up, until it is time to scan
    /// again; whether something is left to do.
    async fn library(&mut self, dir: &Path) -> Result<bool, Ending> {
        let begun = clock::steady();
        let (place, book) = match self.scan(dir).await {
            Ok(found) => found,
            Err(_) if self.stop.drain.is_cancelled() => return Ok(true),
            Err(ending) if ending.exit == Exit::Usage => return Err(ending),
            Err(ending) if self.args.once => return Err(ending),
            // A mount that is away comes back; nothing was changed.
            Err(ending) => {
                let told = serde_json::json!({"event": "alarm", "failure": ending.failure});
                self.say(&ending.failure.message, &told);
                return Ok(true);
            }
        };
        let (queue, waiting) = self.line_up(&place).await?;
        let mut left = waiting;
        for file in queue {
            if self.stop.drain.is_cancelled() {
                return Ok(true);
            }
            if !self.args.once && clock::steady() - begun > self.args.every as i64 * 1000 {
                return Ok(true);
            }
            self.until_allowed(&place).await;
            if self.stop.drain.is_cancelled() {
                return Ok(true);
            }
            if let Turn::HandedBack(why) = Box::pin(self.file(&place, &book, &file)).await? {
                let told = serde_json::json!({"event": "handed_back", "reason": why});
                self.say(&format!("handed back: {why}"), &told);
                left = true;
            }
        }
        Ok(left)
    }

    async fn scan(&self, dir: &Path) -> Result<(Place, Book), Ending> {
        let place = Place::open(dir, &self.store, &paths::state()).await.map_err(scan::no_place)?;
        let book = Book::open(&place, &scan::asked(&self.args.rules)).map_err(Ending::usage)?;
        let args = ScanArgs {
            dirs: Vec::new(),
            kinds: self.args.kinds,
            follow: false,
            jobs: None,
            accept_missing: false,
            rules: self.args.rules.clone(),
            enqueue: false,
            shared: false,
            replace: false,
            dry_run: false,
            sample: None,
            library: None,
            limit: None,
            again: false,
        };
        let quiet = Common { quiet: true, json: false, ..self.common.clone() };
        let summary =
            scan::scan(&place, &book, &args, &quiet, (&self.store, &self.stop.drain)).await?;
        if summary.new + summary.changed + summary.moved + summary.gone > 0 {
            scan::tell(&place, &summary, self.common);
        }
        Ok((place, book))
    }

    /// The files that are to be converted and have settled, by priority; and
    /// whether others have not settled yet.
    async fn line_up(&mut self, place: &Place) -> Result<(Vec<FoundFile>, bool), Ending> {
        let mut answers = vec![Answer::Convert];
        answers.extend(self.args.keep_bigger.then_some(Answer::Kept));
        let mut filter = FileFilter {
            library: Some(place.record.id),
            folder: Some(place.within.clone()),
            kinds: self.args.kinds.list(),
            answers,
            ..FileFilter::default()
        };
        let (mut queue, mut waiting) = (Vec::new(), false);
        while queue.len() < MOST_LINED_UP {
            let page = self.store.find(&filter, PAGE).await.map_err(|e| e.failure())?;
            let Some(last) = page.last() else { break };
            filter.after = last.id;
            for file in page {
                if self.done_before(place, &file).await? {
                    continue;
                }
                if self.has_settled(&file) { queue.push(file) } else { waiting = true }
            }
        }
        let order = |file: &FoundFile| file.verdict.as_ref().and_then(Verdict::order).map(|o| o.3);
        let priority = |file: &FoundFile| order(file).unwrap_or_default();
        queue.sort_by_key(|file| (std::cmp::Reverse(priority(file)), file.id));
        Ok((queue, waiting))
    }

    /// Whether a file has been as it is for long enough.
    fn has_settled(&mut self, file: &FoundFile) -> bool {
        let (now, wall) = (clock::steady(), clock::now().0);
        let as_it_is = (file.file.size, file.file.mtime);
        let seen = self.settled.entry(file.id).or_insert((as_it_is.0, as_it_is.1, now));
        if (seen.0, seen.1) != as_it_is {
            *seen = (as_it_is.0, as_it_is.1, now);
        }
        let wait = i64::try_from(self.args.settle).unwrap_or(i64::MAX).saturating_mul(1000);
        let written = wall - file.file.mtime / 1000;
        now - seen.2 >= wait && (written >= wait || written < 0)
    }

    /// Whether this version was converted or kept before, or failed so often or so lately that
    /// it is not tried now. What failed for good is not asked about.
    async fn done_before(&self, place: &Place, file: &FoundFile) -> Result<bool, Ending> {
        let verdict = file.verdict.as_ref();
        let undone = matches!(verdict, Some(Verdict::Kept { why: Left::Undone, .. }));
        let Some((_, preset, set, _)) = verdict.and_then(Verdict::order).filter(|_| !undone) else {
            return Ok(true);
        };
        let key = self.key(place, file, preset, set);
        let history =
            self.store.history(None, Some(file.id), 100).await.map_err(|e| e.failure())?;
        let tried = || history.iter().filter(|event| event.note.starts_with(&key));
        if tried().any(|event| event.what != "failed") {
            return Ok(true);
        }
        let Some(last) = tried().map(|event| event.at.0).max() else { return Ok(false) };
        Ok(rests(tried().count(), clock::now().0 - last))
    }

    /// Names this version of a file, converted so, in its history.
    fn key(&self, place: &Place, file: &FoundFile, preset: &str, set: &[String]) -> String {
        let bigger = self.args.keep_bigger.then(|| "keep-bigger".to_owned());
        let set: Vec<String> = set.iter().cloned().chain(bigger).collect();
        enqueue::key(place, file, preset, &set)
    }

    /// Waits until there may be work.
    async fn until_allowed(&mut self, place: &Place) {
        while !self.stop.drain.is_cancelled() {
            let Some(why) = self.forbidden(place, false) else {
                self.told = None;
                return;
            };
            if self.told.as_ref() != Some(&why) {
                let told = serde_json::json!({"event": "waiting", "reason": why});
                self.say(&format!("waiting: {why}"), &told);
                self.told = Some(why);
            }
            self.pause(LOOK).await;
        }
    }

    fn forbidden(&mut self, place: &Place, working: bool) -> Option<String> {
        let scratch = paths::scratch();
        let mut folders = vec![place.root.as_path(), scratch.as_path()];
        folders.extend(self.args.output_dir.as_deref());
        let now = self.machine.now(&folders);
        self.limits.forbid(now, working)
    }

    /// Converts a file, for as long as there may be work.
    async fn file(&mut self, place: &Place, book: &Book, file: &FoundFile) -> Result<Turn, Ending> {
        let Some((rule, preset, set, _)) = file.verdict.as_ref().and_then(Verdict::order) else {
            return Ok(Turn::Over);
        };
        let path = place.path(&file.file.path());
        let key = self.key(place, file, preset, set);
        let order = order(self.args, &path, preset, set)?;
        let shown = scan::clean(&path.to_string_lossy());
        self.say(
            &format!(
                "{shown}: converting with preset '{preset}' (rule '{rule}' of {})",
                book.origin
            ),
            &serde_json::json!({"event": "begun", "path": shown, "preset": preset, "rule": rule}),
        );
        let stop = Stop::default();
        let quiet = Common { quiet: true, json: false, ..self.common.clone() };
        let tools = self.tools.clone();
        let convert = folder::one(&order, &quiet, (&tools, &stop), place);
        let mut convert = std::pin::pin!(convert);
        let mut why = None;
        let came = loop {
            tokio::select! {
                came = &mut convert => break came?,
                () = tokio::time::sleep(LOOK), if why.is_none() => why = self.forbidden(place, true),
                () = self.stop.drain.cancelled(), if why.is_none() => why = Some("stopping".to_owned()),
            }
            if why.is_some() {
                stop.drain.cancel();
                stop.now.cancel();
            }
        };
        match came {
            Came::Interrupted => {
                Ok(Turn::HandedBack(why.unwrap_or_else(|| "it was interrupted".into())))
            }
            came => {
                self.came(file, &path, (&key, preset), came).await?;
                Ok(Turn::Over)
            }
        }
    }

    /// Writes down what came of a file, and tells the hooks.
    async fn came(
        &mut self,
        file: &FoundFile,
        path: &Path,
        (key, preset): (&str, &str),
        came: Came,
    ) -> Result<(), Ending> {
        let shown = path.to_string_lossy().into_owned();
        let mut event = HookEvent {
            event: Happened::Converted,
            path: shown.clone(),
            old_path: None,
            preset: preset.to_owned(),
            bytes_before: file.file.size,
            bytes_after: None,
            reason: None,
        };
        let (what, note) = match came {
            Came::Converted { output, before, after } => {
                self.remember(&output).await?;
                event.path = output.to_string_lossy().into_owned();
                event.old_path = (output != path).then(|| shown.clone());
                event.bytes_after = Some(after);
                self.sums.converted += 1;
                self.sums.before += before;
                self.sums.after += after;
                let told = format!("{} became {}", out::bytes(before), out::bytes(after));
                super::hooks::tell(&self.hooks, &event, self.common).await;
                ("converted", told)
            }
            Came::Skipped(reason) | Came::Kept(reason) => {
                self.sums.kept += 1;
                ("kept", reason)
            }
            // Somebody else's turn; it is looked at again after the next scan.
            Came::Held(by) => {
                let told = serde_json::json!({"event": "held", "path": shown, "by": by});
                self.say(&format!("{shown}: {by} works on it"), &told);
                return Ok(());
            }
            Came::Failed(failure) => {
                self.sums.failed += 1;
                (event.event, event.reason) = (Happened::Failed, Some(failure.message.clone()));
                super::hooks::tell(&self.hooks, &event, self.common).await;
                ("failed", failure.message)
            }
            Came::Interrupted => return Ok(()),
        };
        let told =
            serde_json::json!({"event": what, "path": shown, "output": event.path, "note": note});
        self.say(&format!("{}: {what}: {note}", scan::clean(&shown)), &told);
        let note = format!("{key} with preset '{preset}': {note}");
        self.store.note(file.id, what, &note, clock::now()).await.map_err(|e| e.failure().into())
    }

    /// Has the output known by its content, should its tag get lost.
    async fn remember(&self, output: &Path) -> Result<(), Ending> {
        let fail = |e: std::io::Error| Failure::io(format!("read {}", output.display()), &e);
        let file = std::fs::File::open(output).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let digest = look::digest(&file, size).map_err(fail)?;
        self.store.output(digest, size).await.map_err(|e| e.failure().into())
    }

    fn say(&self, text: &str, event: &serde_json::Value) {
        if self.common.json {
            out::json(event);
        } else if !self.common.quiet {
            out::note(text);
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.drain.cancelled() => {}
        }
    }
}
