//! Sources that the coordinator brings in itself: by URL, from a library. While
//! one is on the way its job is `uploading`; then it is like any upload.

use super::Coordinator;
use crate::clock;
use crate::metrics::{add, metrics};
use crate::outside::shown;
use bytes::Bytes;
use futures::StreamExt;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{BlobId, JobId, TaskId};
use reelmill_core::job::{Job, JobState, Source};
use reelmill_core::task::{BlobRef, Task, TaskKind};
use reelmill_core::time::Timestamp;
use reelmill_store::{BlobRecord, BlobRole, JobFilter};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncReadExt;

/// Sources that are fetched at once.
const AT_ONCE: usize = 4;

/// Bytes between two looks at the free space.
const LOOK_EVERY: u64 = 64 << 20;

/// Bytes read from a library at a time.
const READ: usize = 1 << 20;

/// What the system says when a path would leave the folder it must stay in.
const EXDEV: i32 = 18;

/// What is known of fetches between the rounds.
#[derive(Debug, Default)]
pub(super) struct Fetches(Mutex<HashMap<JobId, Fetching>>);

#[derive(Debug, Clone, Copy, Default)]
struct Fetching {
    running: bool,
    attempts: u32,
    due: Option<Timestamp>,
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Fetching>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `job` is to be begun with now; it is running then.
    fn begin(&self, job: JobId, now: Timestamp) -> bool {
        let mut all = self.lock();
        if all.values().filter(|one| one.running).count() >= AT_ONCE {
            return false;
        }
        let one = all.entry(job).or_default();
        if one.running || one.due.is_some_and(|due| due > now) {
            return false;
        }
        one.running = true;
        one.attempts += 1;
        true
    }

    fn keep_only(&self, jobs: &[Job]) {
        self.lock().retain(|id, one| one.running || jobs.iter().any(|job| job.id == *id));
    }
}

/// Whether the coordinator has to bring this source in.
pub(super) fn is_remote(source: &Source) -> bool {
    matches!(source, Source::Url { .. } | Source::Library { .. })
}

impl Coordinator {
    /// Checks that a source could be brought in, before it is promised.
    ///
    /// # Errors
    /// When it is not allowed, or cannot be.
    pub(crate) fn check_source(&self, source: &Source) -> Result<(), Failure> {
        match source {
            Source::Url { url } => {
                if !self.settings.service.fetch {
                    let message = "this server fetches nothing by URL";
                    return Err(Failure::permanent(message).advise(
                        "upload the file; or have its operator set 'fetch.enabled' in the configuration",
                    ));
                }
                self.outside()?.check(url).map(|_| ())
            }
            Source::Library { root, path } => self.open_library(root, path).map(|_| ()),
            Source::Upload { .. } | Source::Local { .. } => Ok(()),
        }
    }

    pub(super) fn open_library(&self, root: &str, path: &str) -> Result<File, Failure> {
        let Some(folder) = self.settings.service.libraries.get(root) else {
            return Err(Failure::permanent(format!("this server has no library '{root}'"))
                .advise("name one of its configuration's [libraries]"));
        };
        open_within(folder, Path::new(path))
    }

    /// Begins to bring in what waits for it.
    pub(super) async fn fetch_waiting(self: &Arc<Self>) -> Result<(), Failure> {
        let filter = JobFilter { states: vec![JobState::Uploading], ..JobFilter::default() };
        let ours = |job: &Job| {
            is_remote(&job.source) && job.dispatch.as_ref().is_none_or(|dispatch| dispatch.inside)
        };
        let mut waiting = self.all_jobs(filter, ours).await?;
        self.fetches.keep_only(&waiting);
        // Newest first, so that the oldest is popped first.
        while let Some(job) = waiting.pop() {
            if self.fetches.begin(job.id, clock::now()) {
                let coordinator = Arc::clone(self);
                tokio::spawn(async move {
                    let done = coordinator.bring(&job).await;
                    coordinator.brought(&job, done).await;
                });
            }
        }
        Ok(())
    }

    async fn bring(&self, job: &Job) -> Result<BlobRef, Failure> {
        match &job.source {
            Source::Url { url } => self.bring_url(job, url).await,
            Source::Library { root, path } => self.bring_file(job, root, path).await,
            Source::Upload { .. } | Source::Local { .. } => {
                Err(Failure::permanent("there is nothing to fetch"))
            }
        }
    }

    async fn bring_url(&self, job: &Job, url: &str) -> Result<BlobRef, Failure> {
        let response = self.outside()?.get(url).await?;
        let status = response.status().as_u16();
        if status != 200 {
            let message = format!("{} answered with status {status}", shown(url));
            let later = matches!(status, 408 | 425 | 429 | 500..=599);
            let class = if later { FailureClass::Transient } else { FailureClass::Input };
            return Err(Failure::new(class, message).advise("check that the address is right"));
        }
        let length = response.content_length();
        if length.is_some_and(|length| length > self.settings.max_upload) {
            return Err(self.too_large());
        }
        self.admit(job, length.unwrap_or(0)).await?;
        let cut = |error: reqwest::Error| {
            Failure::transient(format!(
                "{} broke off: {}",
                shown(url),
                crate::servers::tell(&error)
            ))
        };
        let pieces = response.bytes_stream().map(|piece| piece.map_err(cut)).boxed();
        let blob = self.take_in(job, pieces).await?;
        if length.is_some_and(|length| length != blob.bytes) {
            self.drop_stored(blob.id).await?;
            return Err(Failure::transient(format!(
                "{} sent fewer bytes than it said",
                shown(url)
            )));
        }
        Ok(blob)
    }

    async fn bring_file(&self, job: &Job, root: &str, path: &str) -> Result<BlobRef, Failure> {
        let file = self.open_library(root, path)?;
        let before = file.metadata().map_err(|e| Failure::io(format!("look at {path}"), &e))?;
        if before.len() > self.settings.max_upload {
            return Err(self.too_large());
        }
        self.admit(job, before.len()).await?;
        let name = path.to_owned();
        let reader = tokio::fs::File::from_std(file);
        let pieces = futures::stream::unfold((reader, name.clone()), |(mut reader, name)| async {
            let mut piece = Vec::with_capacity(READ);
            match (&mut reader).take(READ as u64).read_to_end(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(Bytes::from(piece)), (reader, name))),
                Err(error) => {
                    let failure = Failure::io(format!("read {name}"), &error);
                    Some((Err(failure), (reader, name)))
                }
            }
        });
        let blob = self.take_in(job, pieces.boxed()).await?;
        let after = self.open_library(root, path)?.metadata();
        let after = after.map_err(|e| Failure::io(format!("look at {name}"), &e))?;
        let same = after.len() == before.len()
            && after.modified().ok() == before.modified().ok()
            && blob.bytes == before.len();
        if same {
            return Ok(blob);
        }
        self.drop_stored(blob.id).await?;
        Err(Failure::transient(format!("{name} changed while it was read")))
    }

    /// Whether `bytes` of a job's source may be kept here.
    async fn admit(&self, job: &Job, bytes: u64) -> Result<(), Failure> {
        self.check_quota(job.owner.as_deref(), bytes).await?;
        self.check_space(bytes).await
    }

    fn too_large(&self) -> Failure {
        let most = self.settings.max_upload;
        Failure::input(format!("the source has more than the {most} bytes that this server takes"))
    }

    /// Stores what comes as a blob that belongs to `job`.
    async fn take_in(
        &self,
        job: &Job,
        mut pieces: futures::stream::BoxStream<'_, Result<Bytes, Failure>>,
    ) -> Result<BlobRef, Failure> {
        let mut writer = self.blobs.create(BlobId(clock::fresh())).await?;
        let (mut bytes, mut looked) = (0u64, 0u64);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let length = piece.len() as u64;
            writer.write(piece).await?;
            bytes += length;
            add(&metrics().bytes_in, length);
            if bytes > self.settings.max_upload {
                return Err(self.too_large());
            }
            if bytes - looked > LOOK_EVERY {
                looked = bytes;
                self.check_quota(job.owner.as_deref(), bytes).await?;
                self.check_space(0).await?;
            }
        }
        if bytes == 0 {
            return Err(Failure::input("the source is empty"));
        }
        // Whoever did not tell its size beforehand is told now.
        self.check_quota(job.owner.as_deref(), bytes).await?;
        let blob = writer.commit().await?;
        let role = BlobRole::Source;
        let record =
            BlobRecord { blob: blob.clone(), created: clock::now(), job: Some(job.id), role };
        self.store.blob_put(&record).await?;
        Ok(blob)
    }

    /// Lets the job go on, or try again, or fail.
    async fn brought(&self, job: &Job, done: Result<BlobRef, Failure>) {
        let settled = match done {
            Ok(blob) => self.begin_with(job, blob).await,
            Err(failure) => self.not_brought(job, failure).await,
        };
        if let Err(failure) = settled {
            tracing::error!(job = %job.id, %failure, "cannot note what became of a source");
        }
        if let Some(one) = self.fetches.lock().get_mut(&job.id) {
            one.running = false;
        }
        self.bell.notify_waiters();
    }

    async fn begin_with(&self, job: &Job, blob: BlobRef) -> Result<(), Failure> {
        add(&metrics().fetched, 1);
        let analyse = TaskId { job: job.id, generation: 0, number: 0 };
        let now = clock::now();
        let tasks = vec![Task::new(analyse, TaskKind::Analyse, 0, now)];
        let id = blob.id;
        let file_name = job.name.clone();
        let source = Source::Upload { blob: id, bytes: blob.bytes, sha512: blob.sha512, file_name };
        let current = self.job(job.id).await?;
        let wanted = current.is_some_and(|job| {
            job.state == JobState::Uploading && job.dispatch.is_none_or(|dispatch| dispatch.inside)
        });
        if wanted && self.store.job_uploaded(job.id, &source, tasks, now).await?.is_some() {
            return Ok(());
        }
        self.drop_stored(id).await
    }

    async fn not_brought(&self, job: &Job, failure: Failure) -> Result<(), Failure> {
        add(&metrics().fetch_failed, 1);
        let policy = job.request.retry;
        let attempts = self.fetches.lock().get(&job.id).map_or(1, |one| one.attempts);
        tracing::warn!(job = %job.id, %failure, attempts, "a source was not fetched");
        if !failure.class.retryable() || attempts > policy.max_retries {
            self.store.job_end(job.id, JobState::Failed, failure, clock::now()).await?;
            return Ok(());
        }
        let pause = policy.base.saturating_mul(1 << attempts.min(16)).min(policy.cap);
        let pause = (pause as f64 * clock::chance()) as i64;
        let event =
            serde_json::json!({"event": "fetch_failed", "failure": failure, "attempt": attempts});
        self.store.job_note(job.id, clock::now(), event).await?;
        if let Some(one) = self.fetches.lock().get_mut(&job.id) {
            one.due = Some(clock::now().plus_micros(pause));
        }
        Ok(())
    }
}

/// Opens a file below `folder`, whatever links lie there: nothing outside it is
/// ever opened.
fn open_within(folder: &Path, path: &Path) -> Result<File, Failure> {
    let refused = |why: &str| {
        Failure::permanent(format!("'{}' {why}", path.display()))
            .advise("give the path of a file, relative to the library's folder")
    };
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(refused("is not a plain path within the library"));
    }
    let io = |what: &str, error: std::io::Error| {
        Failure::io(format!("{what} {}", path.display()), &error)
    };
    let file = beneath(folder, path).map_err(|error| match error.raw_os_error() {
        Some(EXDEV) => refused("leads out of the library"),
        _ if error.kind() == std::io::ErrorKind::NotFound => refused("is not there"),
        _ => io("open", error),
    })?;
    let facts = file.metadata().map_err(|error| io("look at", error))?;
    if !facts.is_file() {
        return Err(refused("is not a file"));
    }
    Ok(file)
}

#[cfg(target_os = "linux")]
fn beneath(folder: &Path, path: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    let root = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Not blocking: a named pipe would hold us for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?.into())
}

#[cfg(not(target_os = "linux"))]
fn beneath(folder: &Path, path: &Path) -> std::io::Result<File> {
    let (root, found) = (folder.canonicalize()?, folder.join(path).canonicalize()?);
    if !found.starts_with(&root) {
        return Err(std::io::Error::from_raw_os_error(EXDEV));
    }
    File::open(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_a_library() {
        let place = tempfile::tempdir().unwrap();
        let library = place.path().join("library");
        std::fs::create_dir_all(library.join("a/b")).unwrap();
        std::fs::write(library.join("a/b/film.mkv"), "film").unwrap();
        std::fs::write(place.path().join("secret"), "secret").unwrap();
        let link = std::os::unix::fs::symlink::<&Path, std::path::PathBuf>;
        link(Path::new("../secret"), library.join("up")).unwrap();
        let secret = place.path().join("secret");
        link(&secret, library.join("absolute")).unwrap();
        link(Path::new("/"), library.join("root")).unwrap();
        link(Path::new("a/b/film.mkv"), library.join("inside")).unwrap();
        let open = |path: &str| open_within(&library, Path::new(path));
        assert!(open("a/b/film.mkv").is_ok() && open("inside").is_ok());
        for bad in [
            "",
            ".",
            "..",
            "../secret",
            "a/../../secret",
            "/etc/passwd",
            "up",
            "absolute",
            "root/etc/passwd",
            "a",
            "a/b",
            "./a/b/film.mkv",
            "a\0b",
            "missing",
            "a/b/film.mkv/x",
            "//etc/passwd",
            "a/b/../../../secret",
            "root",
            "root/proc/self/environ",
        ] {
            assert!(open(bad).is_err(), "{bad:?}");
        }
    }
}
