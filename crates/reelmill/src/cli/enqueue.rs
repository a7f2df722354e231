//! `reelmill scan --enqueue` and `--dry-run`: what the rules want converted, as
//! a list with its sums, or as jobs of a server.

mod shared;
mod trials;

use super::args::Common;
use super::library_args::ScanArgs;
use super::{out, scan};
use crate::api::wire::{JobRequest, LibraryPath, SourceRequest};
use crate::client::calls::{Client, ClientError};
use crate::client::upload::{self, UnderWay};
use crate::clock;
use crate::exit::{Ending, Exit};
use crate::farm;
use crate::library::book::Book;
use crate::library::place::Place;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::library::forecast::{Forecast, forecast};
use reelmill_core::library::rules::{Answer, Verdict};
use reelmill_core::preset::Presets;
use reelmill_store::{FileFilter, FoundFile, LibraryStore};
use sha2::{Digest, Sha256};
use shared::Shared;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use trials::Trials;
use uuid::Uuid;

/// Files read from the cache at a time.
const PAGE: u32 = 500;

/// Longest value of a label, bytes: the server takes no longer ones.
const LABEL: usize = 256;

/// What was queued.
#[derive(Debug, Default)]
struct Sums {
    files: u64,
    before: u64,
    queued_before: u64,
    failed: u64,
    forecast: Forecast,
}

struct Enqueue<'a> {
    place: &'a Place,
    args: &'a ScanArgs,
    common: &'a Common,
    store: &'a LibraryStore,
    presets: Presets,
    client: Client,
    shared: Option<Shared>,
    trials: Trials,
}

/// Queues what the rules want converted, or shows it.
///
/// # Errors
/// When the server cannot be reached or refuses us. A file that it does not take
/// is told and counted.
pub(super) async fn run(
    place: &Place,
    book: &Book,
    args: &ScanArgs,
    common: &Common,
    (store, stop): (&LibraryStore, &CancellationToken),
) -> Result<(), Ending> {
    let presets = farm::presets()?;
    let client = Client::new(&common.server, common.api_key.as_deref()).map_err(Ending::usage)?;
    let shared = args.shared.then(|| Shared::open(place)).transpose()?;
    let trials = Trials::none();
    let mut enqueue = Enqueue { place, args, common, store, presets, client, shared, trials };
    if let Some(count) = args.sample {
        enqueue.trials = enqueue.sample(count, stop).await?;
    }
    let mut sums = Sums::default();
    let mut filter = filter(place, args.again);
    let most = args.limit.unwrap_or(u64::MAX);
    'pages: loop {
        let page = store.find(&filter, PAGE).await.map_err(|e| e.failure())?;
        let Some(last) = page.last() else { break };
        filter.after = last.id;
        for file in &page {
            if stop.is_cancelled() || sums.files >= most {
                break 'pages;
            }
            if args
                .kinds
                .list()
                .iter()
                .all(|kind| file.file.facts.as_ref().map(|f| f.kind) != Ok(*kind))
            {
                continue;
            }
            enqueue.one(file, &mut sums).await?;
        }
    }
    enqueue.tell(&sums, book);
    if sums.failed > 0 {
        let message = format!("{} files could not be queued", sums.failed);
        return Err(Ending { exit: Exit::Partly, failure: Failure::transient(message) });
    }
    Ok(())
}

/// What the rules want converted of a library; with what failed for good if `again`.
fn filter(place: &Place, again: bool) -> FileFilter {
    FileFilter {
        library: Some(place.record.id),
        folder: Some(place.within.clone()),
        answers: if again { vec![Answer::Convert, Answer::Failed] } else { vec![Answer::Convert] },
        ..FileFilter::default()
    }
}

impl Enqueue<'_> {
    async fn one(&self, file: &FoundFile, sums: &mut Sums) -> Result<(), Ending> {
        let Some((_, preset, set, _)) = file.verdict.as_ref().and_then(Verdict::order) else {
            return Ok(());
        };
        let shown = scan::clean(&String::from_utf8_lossy(&file.file.path()));
        let mut key = key(self.place, file, preset, set);
        if self.args.again {
            key = format!("{key}-{}", clock::fresh().simple());
        }
        if !self.args.again && self.queued(file, &key).await? {
            sums.queued_before += 1;
            return Ok(());
        }
        let told = self.presets.get(preset, set)?;
        let forecast = file
            .file
            .facts
            .as_ref()
            .ok()
            .map(|facts| forecast(file.file.size, facts, &told, self.trials.of(file.id)));
        let forecast = forecast.unwrap_or_default();
        let taken = if self.args.dry_run {
            self.show(file, &shown, forecast);
            true
        } else {
            self.queue(file, &shown, &key, sums).await?
        };
        if !taken {
            return Ok(());
        }
        sums.files += 1;
        sums.before += file.file.size;
        sums.forecast.add(&forecast);
        Ok(())
    }

    /// What would be queued.
    fn show(&self, file: &FoundFile, shown: &str, forecast: Forecast) {
        let order = file.verdict.as_ref().and_then(Verdict::order);
        let Some((rule, preset, set, priority)) = order else { return };
        if self.common.json {
            out::json(&serde_json::json!({
                "event": "would_queue", "path": shown, "bytes": file.file.size, "preset": preset,
                "set": set, "rule": rule, "priority": priority, "forecast": forecast,
            }));
        } else if !self.common.quiet {
            let how = [&[preset.to_owned()][..], set].concat().join(" ");
            let (now, then) = (out::bytes(file.file.size), out::bytes(forecast.bytes));
            out::line(&format!("{shown}: {how} (rule '{rule}'), {now} to about {then}"));
        }
    }

    /// Queues a file; whether it was taken. If not, that is told and counted.
    async fn queue(
        &self,
        file: &FoundFile,
        shown: &str,
        key: &str,
        sums: &mut Sums,
    ) -> Result<bool, Ending> {
        let order = file.verdict.as_ref().and_then(Verdict::order);
        let Some((rule, preset, set, priority)) = order else { return Ok(false) };
        let (path, how) = (file.file.path(), (preset, set, priority));
        let handed = match &self.shared {
            Some(shared) => shared
                .order((self.place, &path), how, self.args.replace)
                .map_err(ClientError::Problem),
            None => self.submit(file, &path, how, key).await,
        };
        match handed {
            Ok(id) => {
                let what = if self.args.shared { "order" } else { "job" };
                let note = format!("{key} as {what} {id} with preset '{preset}' (rule '{rule}')");
                self.note(file, "queued", &note).await?;
                if self.common.json {
                    out::json(
                        &serde_json::json!({"event": "queued", "path": shown, what: id, "preset": preset}),
                    );
                } else if !self.common.quiet {
                    out::line(&format!("{shown}: {what} {id}, preset '{preset}'"));
                }
                Ok(true)
            }
            Err(ClientError::Problem(failure)) => {
                sums.failed += 1;
                out::note(&format!("{shown}: {}", failure.message));
                self.note(file, "failed", &format!("not queued: {}", failure.message)).await?;
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn note(&self, file: &FoundFile, what: &str, note: &str) -> Result<(), Failure> {
        self.store.note(file.id, what, note, clock::now()).await.map_err(|e| e.failure())
    }

    /// Whether this version was queued before.
    async fn queued(&self, file: &FoundFile, key: &str) -> Result<bool, Failure> {
        if self.shared.as_ref().is_some_and(|it| it.waits(self.place, &file.file.path())) {
            return Ok(true);
        }
        let history =
            self.store.history(None, Some(file.id), 100).await.map_err(|e| e.failure())?;
        // What a watch converted, or kept since it came out no smaller, is done too.
        let done = |what: &str| ["queued", "converted", "kept"].contains(&what);
        Ok(history.iter().any(|event| done(&event.what) && event.note.starts_with(key)))
    }

    async fn submit(
        &self,
        file: &FoundFile,
        path: &[u8],
        (preset, set, priority): (&str, &[String], u8),
        key: &str,
    ) -> Result<String, ClientError> {
        let name = String::from_utf8_lossy(&file.file.name).into_owned();
        let library = match (&self.args.library, std::str::from_utf8(path)) {
            (Some(root), Ok(path)) => {
                Some(LibraryPath { root: root.clone(), path: path.to_owned() })
            }
            _ => None,
        };
        let path_label = String::from_utf8_lossy(path).into_owned();
        let mut labels = BTreeMap::from([("library".to_owned(), self.place.record.uuid.clone())]);
        if path_label.len() <= LABEL {
            labels.insert("path".to_owned(), path_label);
        }
        let mut request = JobRequest {
            name: name.chars().filter(|c| !c.is_control()).take(60).collect(),
            source: SourceRequest::Upload(BlobId(Uuid::nil())),
            preset: preset.to_owned(),
            overrides: set.to_vec(),
            format: None,
            chunk_seconds: None,
            max_retries: None,
            priority: Some(priority),
            labels,
            item: None,
            facts: None,
        };
        request.source = match library {
            Some(library) => SourceRequest::Library(library),
            None => {
                self.client.check(&request).await?;
                let path = self.place.path(path);
                let blob = upload::send(
                    &self.client,
                    &path,
                    &request.name,
                    &clock::fresh().to_string(),
                    &UnderWay::default(),
                    &|_, _| {},
                )
                .await?;
                SourceRequest::Upload(blob.id)
            }
        };
        Ok(self.client.submit(&request, key).await?.job.id.to_string())
    }

    fn tell(&self, sums: &Sums, book: &Book) {
        let what = if self.args.dry_run { "to be queued" } else { "queued" };
        let Forecast { bytes, seconds, .. } = sums.forecast;
        let cores = f64::from(farm::cores());
        if self.common.json {
            out::json(&serde_json::json!({
                "event": if self.args.dry_run { "plan" } else { "enqueued" }, "rules": book.origin,
                "files": sums.files, "bytes": sums.before, "video_seconds": sums.forecast.video_seconds,
                "bytes_after": bytes, "bytes_saved": sums.before.saturating_sub(bytes),
                "seconds_here": seconds / cores, "tried": !self.trials.files.is_empty(),
                "tried_files": self.trials.files.len(),
                "queued_before": sums.queued_before, "failed": sums.failed,
            }));
            return;
        }
        if self.common.quiet {
            return;
        }
        out::line(&format!(
            "{what}: {} files, {} of {} (by {}){}",
            sums.files,
            out::seconds(sums.forecast.video_seconds),
            out::bytes(sums.before),
            book.origin,
            if sums.queued_before > 0 {
                format!("; {} were queued or done before", sums.queued_before)
            } else {
                String::new()
            },
        ));
        if sums.files > 0 {
            out::line(&format!(
                "forecast, {}: about {} after, {} saved, {} of work on this machine",
                match self.trials.files.len() {
                    0 => "by experience and not by trial".to_owned(),
                    1 => "by trial of one file".to_owned(),
                    files => format!("by trial of {files} files"),
                },
                out::bytes(bytes),
                out::bytes(sums.before.saturating_sub(bytes)),
                out::seconds(seconds / cores),
            ));
        }
    }
}

/// Names this version of a file, converted so: the same for every machine.
pub(super) fn key(place: &Place, file: &FoundFile, preset: &str, set: &[String]) -> String {
    let mut digest = Sha256::new();
    digest.update(&place.record.uuid);
    digest.update(file.file.path());
    let what = format!("\n{} {:x} {preset} {}", file.file.size, file.file.digest, set.join(" "));
    digest.update(what);
    format!("scan-{}", hex::encode(&digest.finalize()[..12]))
}
