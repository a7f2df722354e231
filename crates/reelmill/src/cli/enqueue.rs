//! `reelmill scan --enqueue` and `--dry-run`: what the rules want converted, as
//! a list with its sums, or as jobs of a server.

mod shared;

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
use crate::library::sample;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::library::forecast::{Factors, Forecast, UNTRIED, forecast, picture, spread};
use reelmill_core::library::rules::Verdict;
use reelmill_core::preset::Presets;
use reelmill_store::{FileFilter, FoundFile, LibraryStore};
use sha2::{Digest, Sha256};
use shared::Shared;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Files read from the cache at a time.
const PAGE: u32 = 500;

/// Files among which those to be tried are chosen, at most.
const MOST_SAMPLED: usize = 20_000;

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

/// What trials said.
#[derive(Debug, Clone, Copy)]
struct Trials {
    /// Files that were tried.
    files: u32,
    /// How they compare with experience, all in all.
    factors: Factors,
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
    let trials = Trials { files: 0, factors: UNTRIED };
    let mut enqueue = Enqueue { place, args, common, store, presets, client, shared, trials };
    if let Some(count) = args.sample {
        enqueue.trials = enqueue.sample(count, stop).await?;
    }
    let mut sums = Sums::default();
    let mut filter = filter(place);
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

/// What the rules want converted of a library.
fn filter(place: &Place) -> FileFilter {
    FileFilter {
        library: Some(place.record.id),
        folder: Some(place.within.clone()),
        converts: Some(true),
        ..FileFilter::default()
    }
}

impl Enqueue<'_> {
    async fn one(&self, file: &FoundFile, sums: &mut Sums) -> Result<(), Ending> {
        let Some(Verdict::Convert { preset, set, .. }) = &file.verdict else {
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
            .map(|facts| forecast(file.file.size, facts, &told, self.trials.factors));
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
        let Some(Verdict::Convert { rule, preset, set, priority }) = &file.verdict else { return };
        if self.common.json {
            out::json(&serde_json::json!({
                "event": "would_queue", "path": shown, "bytes": file.file.size, "preset": preset,
                "set": set, "rule": rule, "priority": priority, "forecast": forecast,
            }));
        } else if !self.common.quiet {
            let how = [&[preset.clone()][..], set].concat().join(" ");
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
        let Some(Verdict::Convert { rule, preset, set, priority }) = &file.verdict else {
            return Ok(false);
        };
        let (path, how) = (file.file.path(), (preset.as_str(), &set[..], *priority));
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
        Ok(history.iter().any(|event| event.what == "queued" && event.note.starts_with(key)))
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
                    &UnderWay::default(),
                    &|_, _| {},
                )
                .await?;
                SourceRequest::Upload(blob.id)
            }
        };
        Ok(self.client.submit(&request, key).await?.job.id.to_string())
    }

    /// How trials of `count` files compare with experience, all in all. The files
    /// lie evenly in the work that there is.
    async fn sample(&self, count: u32, stop: &CancellationToken) -> Result<Trials, Ending> {
        let mut filter = filter(self.place);
        let (mut work, mut files) = (0.0, Vec::new());
        while files.len() < MOST_SAMPLED {
            let page = self.store.find(&filter, PAGE).await.map_err(|e| e.failure())?;
            let Some(last) = page.last() else { break };
            filter.after = last.id;
            for file in page {
                let Some(Verdict::Convert { preset, set, .. }) = &file.verdict else { continue };
                let preset = self.presets.get(preset, set)?;
                let Ok(facts) = &file.file.facts else { continue };
                if let Some(estimate) = picture(facts, &preset) {
                    work += estimate.seconds;
                    files.push((work, estimate, file.file.path(), preset));
                }
            }
        }
        let tools = self.common.tools().await?;
        let (mut by_trial, mut by_experience) = ((0.0, 0.0), (0.0, 0.0));
        let mut tried_files = 0;
        for at in spread(&files.iter().map(|(sum, ..)| *sum).collect::<Vec<_>>(), count) {
            let Some((_, estimate, path, preset)) = files.get(at) else { break };
            let shown = scan::clean(&String::from_utf8_lossy(path));
            match sample::attempt(&tools, &self.place.path(path), preset, stop).await {
                Ok(Ok(tried)) => {
                    tried_files += 1;
                    by_trial = (by_trial.0 + tried.bytes as f64, by_trial.1 + tried.seconds);
                    by_experience = (
                        by_experience.0 + estimate.bytes as f64,
                        by_experience.1 + estimate.seconds,
                    );
                    if !self.common.quiet && !self.common.json {
                        let (bytes, usual) = (out::bytes(tried.bytes), out::bytes(estimate.bytes));
                        out::note(&format!(
                            "{shown}: tried: {bytes} of picture, by experience {usual}"
                        ));
                    }
                }
                Ok(Err(why)) => out::note(&format!("{shown}: not tried: {why}")),
                Err(failure) if stop.is_cancelled() => return Err(failure.into()),
                Err(failure) => out::note(&format!("{shown}: not tried: {}", failure.message)),
            }
        }
        let ratio = |trial: f64, usual: f64| if usual > 0.0 { trial / usual } else { 1.0 };
        let factors = Factors {
            bytes: ratio(by_trial.0, by_experience.0),
            seconds: ratio(by_trial.1, by_experience.1),
        };
        Ok(Trials { files: tried_files, factors })
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
                "seconds_here": seconds / cores, "tried": self.trials.files > 0,
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
                format!("; {} were queued before", sums.queued_before)
            } else {
                String::new()
            },
        ));
        if sums.files > 0 {
            out::line(&format!(
                "forecast, {}: about {} after, {} saved, {} of work on this machine",
                match self.trials.files {
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
