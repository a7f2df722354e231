//! Scanning a library: walk, look at what is new, write it down.

use super::book::Book;
use super::known::Known;
use super::ledger;
use super::look::{Looked, Prober, content};
use super::place::{Place, Remembered, alarm};
use super::sidecar;
use super::summary::{Progress, Summary, note_empty, tell_alarm, told};
use super::walk::{Fresh, Wanted, walk};
use crate::clock;
use futures::StreamExt;
use reelmill_core::error::Failure;
use reelmill_core::library::missing::{FolderState, Missing, alarm as alarming, judge};
use reelmill_store::{FileChange, LibraryFile, LibraryStore};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Changes that are written down together, at most.
const BATCH: usize = 500;

/// And how long they wait for company, microseconds: what a killed scan loses.
const BATCH_TIME: i64 = 2_000_000;

/// Why a scan did not come to its end.
#[derive(Debug)]
pub(crate) enum NoScan {
    /// The library's files are missing as if it was not mounted.
    Alarm(Failure),
    /// It was told to stop; what it found is kept.
    Stopped,
    /// Something failed.
    Failed(Failure),
}

impl From<Failure> for NoScan {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<reelmill_store::StoreError> for NoScan {
    fn from(error: reelmill_store::StoreError) -> Self {
        Self::Failed(error.failure())
    }
}

/// How to scan.
pub(crate) struct Scan<'a> {
    /// The cache.
    pub(crate) store: &'a LibraryStore,
    /// The library.
    pub(crate) place: &'a Place,
    /// What to look for.
    pub(crate) wanted: Wanted,
    /// Files looked at at once.
    pub(crate) jobs: usize,
    /// Believe that missing files are gone, whatever it looks like.
    pub(crate) accept_missing: bool,
    /// The rules that its files are judged by.
    pub(crate) book: &'a Book,
    /// Looks at files.
    pub(crate) prober: Prober<'a>,
    /// Hears how far it is.
    pub(crate) tell: &'a (dyn Fn(Progress) + Sync),
    /// Tells it to stop.
    pub(crate) stop: &'a CancellationToken,
}

/// A file's folder and name.
type Name = (Vec<u8>, Vec<u8>);

/// Missing and gone files, to be known again by size and digest.
#[derive(Default)]
struct Lost {
    files: HashMap<(u64, u64), Name>,
    sizes: HashSet<u64>,
}

impl Lost {
    fn add(&mut self, size: u64, digest: u64, at: Name) {
        self.sizes.insert(size);
        self.files.insert((size, digest), at);
    }
}

/// Changes that wait to be written down.
struct Pending {
    changes: Vec<FileChange>,
    since: i64,
}

impl Scan<'_> {
    /// Scans.
    ///
    /// # Errors
    /// An alarm, when the files are missing as if the library was not mounted:
    /// then nothing was changed.
    pub(crate) async fn run(self) -> Result<Summary, NoScan> {
        let begun = clock::steady();
        let Remembered { known, other, snapshot } = self.place.known(self.store).await?;
        let mut summary = Summary::default();
        let (missing, fresh) = tokio::task::block_in_place(|| self.walk(&known, &mut summary))?;
        let changed = !missing.is_empty() || !fresh.is_empty();
        if changed {
            let lost = self.lost(&known, &missing, &fresh).await?;
            self.look(fresh, lost, missing, other.as_ref(), &mut summary).await?;
        }
        let (id, rules) = (self.place.record.id, self.book.digest.as_str());
        let tried = ledger::take_in(self.place, self.store).await? > 0;
        let judged = changed || tried || self.place.record.rules.as_deref() != Some(rules);
        if judged {
            self.store.judge(id, rules, |file, past| self.book.judge(file, past)).await?;
        }
        match snapshot {
            Some(snapshot) if !changed => {
                if judged || self.place.record.snapshot.as_ref() != Some(&snapshot) {
                    self.store.settle(id, Some(&snapshot)).await?;
                }
            }
            _ => self.write().await?,
        }
        summary.seconds = (clock::steady() - begun) as f64 / 1e6;
        Ok(summary)
    }

    /// The files that are gone, and those to look at.
    fn walk(
        &self,
        known: &Known,
        summary: &mut Summary,
    ) -> Result<(Vec<Name>, Vec<Fresh>), NoScan> {
        let met = AtomicU64::new(0);
        let (place, wanted, stop) = (self.place, &self.wanted, self.stop);
        let walked = std::thread::scope(|scope| {
            let waiting = std::thread::current();
            let met = &met;
            let walking = scope.spawn(move || {
                let walked = walk((&place.root, &place.within), known, wanted, met, stop);
                waiting.unpark();
                walked
            });
            while !walking.is_finished() {
                (self.tell)(Progress {
                    met: met.load(Ordering::Relaxed),
                    looked: 0,
                    to_look: 0,
                    eta_seconds: None,
                });
                std::thread::park_timeout(std::time::Duration::from_millis(100));
            }
            walking.join()
        });
        let walked =
            walked.map_err(|_| Failure::transient("the walk broke down"))?.map_err(|error| {
                NoScan::Alarm(alarm(&place.root, &format!("it cannot be read ({error})")))
            })?;
        if self.stop.is_cancelled() {
            return Err(NoScan::Stopped);
        }
        let mut missing = walked.missing;
        let mut in_scope =
            walked.same + walked.fresh.iter().filter(|fresh| fresh.changed).count() as u64;
        let state = |folder: &[u8]| walked.folders.get(folder).copied();
        for (path, span) in known.spans() {
            if state(path) == Some(FolderState::Read) || !within(path, &place.within) {
                continue;
            }
            let mut at = 0;
            while let Some(seen) = known.seen(span, at) {
                if self.wanted.wants(seen.name) {
                    missing.push((path.to_vec(), seen.name.to_vec()));
                }
                at += 1;
            }
        }
        missing.sort();
        missing.dedup();
        in_scope += missing.len() as u64;
        if !self.accept_missing {
            if let Some(alarm_kind) = alarming(in_scope, missing.len() as u64, walked.files) {
                return Err(NoScan::Alarm(alarm(
                    &place.path(&place.within),
                    &tell_alarm(alarm_kind),
                )));
            }
            let before = missing.len();
            missing.retain(|(folder, _)| match judge(folder, state) {
                Missing::Gone => true,
                Missing::Unseen => {
                    note_empty(folder, state, &mut summary.emptied);
                    false
                }
            });
            summary.unseen = (before - missing.len()) as u64;
        }
        (summary.files, summary.bytes, summary.folders) =
            (walked.files, walked.bytes, walked.folder_count);
        (summary.same, summary.links, summary.unreadable) =
            (walked.same, walked.links, walked.complained);
        summary.complaints = walked.complaints.iter().map(told).collect();
        Ok((missing, walked.fresh))
    }

    /// Files that a new one may turn out to be.
    async fn lost(&self, known: &Known, missing: &[Name], fresh: &[Fresh]) -> Result<Lost, NoScan> {
        let mut lost = Lost::default();
        if fresh.iter().all(|fresh| fresh.changed) {
            return Ok(lost);
        }
        for (size, digest, folder, name) in self.store.gone(self.place.record.id).await? {
            lost.add(size, digest, (folder, name));
        }
        for (folder, name) in missing {
            let Some(span) = known.span(folder) else { continue };
            let Some(at) = known.find(span, name) else { continue };
            if let (Some(digest), Some(seen)) = (known.digest(span, at), known.seen(span, at)) {
                lost.add(seen.size, digest, (folder.clone(), name.clone()));
            }
        }
        Ok(lost)
    }

    /// Looks at the new and changed files, and writes down what is found and
    /// what is gone.
    async fn look(
        &self,
        fresh: Vec<Fresh>,
        mut lost: Lost,
        missing: Vec<Name>,
        other: Option<&Known>,
        summary: &mut Summary,
    ) -> Result<(), NoScan> {
        let total = fresh.len() as u64;
        let begun = clock::steady();
        let mut pending = Pending { changes: Vec::new(), since: begun };
        let mut unknown = Vec::new();
        let mut found_again = HashSet::new();
        for fresh in fresh {
            if let Some(file) = adopted(other, &fresh)? {
                summary.adopted += 1;
                self.add(FileChange::Put(Box::new(file)), &mut pending).await?;
            } else if let Some(from) = self.moved(&fresh, &mut lost) {
                summary.moved += 1;
                found_again.insert(from.clone());
                let to = (fresh.folder, fresh.name);
                self.add(FileChange::Moved { from, to, mtime: fresh.mtime }, &mut pending).await?;
            } else {
                unknown.push(fresh);
            }
        }
        for (folder, name) in missing {
            if !found_again.contains(&(folder.clone(), name.clone())) {
                summary.gone += 1;
                self.add(FileChange::Gone(folder, name), &mut pending).await?;
            }
        }
        let mut looked = total - unknown.len() as u64;
        let (settled, at_start) = (looked, clock::steady());
        let looks = futures::stream::iter(unknown).map(|fresh| {
            let changed = fresh.changed;
            async move { (changed, self.prober.look(self.place, fresh).await) }
        });
        let mut looks = std::pin::pin!(looks.buffer_unordered(self.jobs.max(1)));
        loop {
            let next = tokio::select! {
                next = looks.next() => next,
                () = self.stop.cancelled() => {
                    self.flush(&mut pending).await?;
                    return Err(NoScan::Stopped);
                }
            };
            let Some((changed, result)) = next else { break };
            looked += 1;
            match result {
                Ok(Looked::Known(file)) => {
                    summary.count(&file, changed);
                    self.add(FileChange::Put(file), &mut pending).await?;
                }
                Ok(Looked::Changing) => summary.changing += 1,
                Ok(Looked::Away) => {}
                Err(_) if self.stop.is_cancelled() => {}
                Err(failure) => return Err(failure.into()),
            }
            let (done, passed) = (looked - settled, (clock::steady() - at_start) as f64 / 1e6);
            let eta = (done >= 20).then(|| passed / done as f64 * (total - looked) as f64);
            (self.tell)(Progress { met: summary.files, looked, to_look: total, eta_seconds: eta });
        }
        self.flush(&mut pending).await
    }

    /// Where a new file was before, if it is one that went missing.
    fn moved(&self, fresh: &Fresh, lost: &mut Lost) -> Option<Name> {
        if fresh.changed || !lost.sizes.contains(&fresh.size) {
            return None;
        }
        let digest = content(self.place, fresh).ok()?;
        lost.files.remove(&(fresh.size, digest))
    }

    async fn add(&self, change: FileChange, pending: &mut Pending) -> Result<(), NoScan> {
        pending.changes.push(change);
        if pending.changes.len() >= BATCH || clock::steady() - pending.since > BATCH_TIME {
            self.flush(pending).await?;
        }
        Ok(())
    }

    async fn flush(&self, pending: &mut Pending) -> Result<(), NoScan> {
        if !pending.changes.is_empty() {
            self.store.apply(self.place.record.id, &pending.changes, clock::now()).await?;
        }
        pending.changes.clear();
        pending.since = clock::steady();
        Ok(())
    }

    /// Writes the sidecar, and notes that it says the same as the cache.
    async fn write(&self) -> Result<(), NoScan> {
        let record = &self.place.record;
        let snapshot = clock::fresh().to_string();
        let written =
            sidecar::write(self.store, (record.id, &record.uuid), &snapshot, &self.place.sidecar)
                .await;
        if let Err(failure) = &written {
            tracing::warn!(message = %failure.message, "the scan is kept on this machine only");
        }
        self.store.settle(record.id, written.is_ok().then_some(snapshot.as_str())).await?;
        Ok(())
    }
}

/// What another machine's scan knows of a file that is new here.
fn adopted(other: Option<&Known>, fresh: &Fresh) -> Result<Option<LibraryFile>, Failure> {
    let Some(other) = other else { return Ok(None) };
    let Some(span) = other.span(&fresh.folder) else { return Ok(None) };
    let Some(at) = other.find(span, &fresh.name) else { return Ok(None) };
    let same = other.seen(span, at).is_some_and(|seen| {
        seen.size == fresh.size && reelmill_core::library::files::same_time(seen.mtime, fresh.mtime)
    });
    if !same || other.retry(span, at) {
        return Ok(None);
    }
    let file = other.whole(&fresh.folder, span, at)?;
    Ok(file.map(|file| LibraryFile { mtime: fresh.mtime, ..file }))
}

fn within(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}
