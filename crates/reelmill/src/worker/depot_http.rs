//! The depot of a worker elsewhere: bytes come and go over HTTP.

use super::depot::Depot;
use crate::api::error::{Answer, is_partial};
use crate::api::wire::{EPOCH, LEASE, SHA512};
use crate::files;
use crate::servers::{CallError, Patience, Servers, tell};
use crate::task_source::Assignment;
use async_trait::async_trait;
use reelmill_core::chunk::ByteRange;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::Source;
use reelmill_core::task::BlobRef;
use reqwest::header::{CONTENT_LENGTH, RANGE};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// Bytes asked for at a time.
const PIECE: u64 = 4 << 20;

/// Bytes read from a file at a time when it is sent.
const READ: usize = 256 << 10;

/// How long to wait for a coordinator that is away before work is given up:
/// long enough to restart or update it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Longest pause within a transfer.
const STALL: Duration = Duration::from_secs(60);

/// Gets and keeps bytes at a coordinator elsewhere.
pub(crate) struct HttpDepot {
    servers: Servers,
}

impl HttpDepot {
    /// A depot at the coordinators at `servers` (`http://host:port`), who are
    /// shown `token`.
    ///
    /// # Errors
    /// When an address or the token is malformed.
    pub(crate) fn new(servers: &[String], token: Option<&str>) -> Result<Self, Failure> {
        Ok(Self { servers: Servers::new(servers, token)? })
    }

    /// Fetches a range of the source to the same place of `file`, going on
    /// where a lost connection stopped.
    async fn fill(
        &self,
        assignment: &Assignment,
        file: &mut File,
        range: ByteRange,
    ) -> Result<(), Failure> {
        let mut patience = Patience::new(PATIENCE);
        let mut at = range.start;
        while at < range.end {
            let begun = at;
            let end = range.end.min(at + PIECE);
            let fetched = self.fetch(assignment, file, &mut at, end).await;
            if at > begun {
                patience.renew();
            }
            match fetched {
                Ok(()) => {}
                Err(Trouble::Call(error)) => pass(error, &mut patience).await?,
                Err(Trouble::File(failure)) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Fetches bytes from `at` on to `end`; `at` follows what was written.
    async fn fetch(
        &self,
        assignment: &Assignment,
        file: &mut File,
        at: &mut u64,
        end: u64,
    ) -> Result<(), Trouble> {
        let wrong = |e: std::io::Error| Trouble::File(Failure::io("write the source here", &e));
        let path = format!("/api/v1/tasks/{}/source", assignment.task);
        let asked = format!("bytes={}-{}", at, end - 1);
        let make = |http: &reqwest::Client, url| {
            proven(http.get(url), assignment).header(RANGE, asked.as_str())
        };
        let response = tokio::time::timeout(STALL, self.servers.send(&path, make)).await;
        let mut response = response.unwrap_or_else(|_| Err(stalled()))?;
        if !is_partial(response.status().as_u16()) {
            let message = "the server sent something else than the range that was asked for";
            return Err(Trouble::File(Failure::environment(message)));
        }
        file.seek(SeekFrom::Start(*at)).await.map_err(wrong)?;
        while *at < end {
            let piece = tokio::time::timeout(STALL, response.chunk()).await;
            let piece = piece.map_err(|_| stalled())?.map_err(|e| CallError::Away(tell(&e)))?;
            let Some(piece) = piece else {
                file.flush().await.map_err(wrong)?;
                return Err(CallError::Away("the answer broke off".to_owned()).into());
            };
            let fits = piece.len().min((end - *at) as usize);
            file.write_all(&piece[..fits]).await.map_err(wrong)?;
            *at += fits as u64;
        }
        file.flush().await.map_err(wrong)
    }

    async fn send(
        &self,
        assignment: &Assignment,
        file: &Path,
        length: u64,
        sha512: &str,
    ) -> Result<BlobRef, Trouble> {
        let path = format!("/api/v1/tasks/{}/output", assignment.task);
        let opened = std::fs::File::open(file).and_then(|opened| opened.metadata().map(|_| ()));
        opened.map_err(|e| Trouble::File(Failure::io(format!("read {}", file.display()), &e)))?;
        let sent = Arc::new(AtomicU64::new(0));
        let make = |http: &reqwest::Client, url| {
            proven(http.put(url), assignment)
                .header(SHA512, sha512)
                .header(CONTENT_LENGTH, length)
                .body(body(file.to_owned(), sent.clone()))
        };
        tokio::select! {
            answer = self.servers.json(&path, make) => Ok(answer?),
            () = no_progress(&sent) => Err(stalled().into()),
        }
    }
}

/// Trouble with a transfer.
enum Trouble {
    /// On the way.
    Call(CallError),
    /// With the file here.
    File(Failure),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

fn stalled() -> CallError {
    CallError::Away(format!("nothing came for {} s", STALL.as_secs()))
}

/// Ends when `count` has stood still for too long.
async fn no_progress(count: &AtomicU64) {
    let mut before = count.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL).await;
        let now = count.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// A file as a body; `sent` counts what was read of it.
fn body(path: PathBuf, sent: Arc<AtomicU64>) -> reqwest::Body {
    use futures::{StreamExt, TryStreamExt};
    let opened = futures::stream::once(async move { File::open(path).await });
    let pieces = opened.map_ok(|file| ReaderStream::with_capacity(file, READ)).try_flatten();
    reqwest::Body::wrap_stream(pieces.inspect(move |piece| {
        if let Ok(piece) = piece {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }))
}

/// A request that shows the assignment's lease.
fn proven(request: reqwest::RequestBuilder, assignment: &Assignment) -> reqwest::RequestBuilder {
    let proof = assignment.proof;
    request.header(LEASE, proof.lease.to_string()).header(EPOCH, proof.epoch)
}

/// Waits when `error` may pass; otherwise it ends the transfer.
async fn pass(error: CallError, patience: &mut Patience) -> Result<(), Failure> {
    if error.answer() == Some(Answer::Conflict) {
        let message = format!("the task is not ours any more: {}", error.failure().message);
        return Err(Failure::new(FailureClass::Cancelled, message));
    }
    let no_space = matches!(
        &error,
        CallError::Problem { failure, .. } if failure.class == FailureClass::NoSpace
    );
    if (error.passes() || no_space) && patience.wait().await {
        tracing::debug!(?error, "transfer interrupted; trying again");
        return Ok(());
    }
    Err(match error {
        CallError::Refused(failure) => Failure { class: FailureClass::Environment, ..failure },
        other => other.failure(),
    })
}

fn cancelled() -> Failure {
    Failure::new(FailureClass::Cancelled, "the transfer was cancelled")
}

fn io(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let what = format!("{what} {}", path.display());
    move |error| Failure::io(&what, &error)
}

#[async_trait]
impl Depot for HttpDepot {
    async fn source(
        &self,
        assignment: &Assignment,
        slice: &[ByteRange],
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        let Source::Upload { bytes, sha512, .. } = &assignment.source else {
            let message = "the source is a file of another machine";
            return Err(Failure::permanent(message).advise("submit it instead"));
        };
        let whole = [ByteRange { start: 0, end: *bytes }];
        let (name, ranges) =
            if slice.is_empty() { ("source", &whole[..]) } else { ("slice", slice) };
        let path = scratch.join(name);
        let mut file = File::create(&path).await.map_err(io("create", &path))?;
        file.set_len(*bytes).await.map_err(io("write", &path))?;
        for range in ranges {
            let range = ByteRange { start: range.start, end: range.end.min(*bytes) };
            tokio::select! {
                () = cancel.cancelled() => return Err(cancelled()),
                filled = self.fill(assignment, &mut file, range) => filled?,
            }
        }
        drop(file);
        if slice.is_empty() {
            let found = files::sha512(&path).await.map_err(io("read", &path))?;
            if !found.eq_ignore_ascii_case(sha512) {
                let message = "the source arrived damaged: its SHA-512 differs";
                return Err(Failure::transient(message));
            }
        }
        Ok(path)
    }

    fn copies(&self) -> bool {
        true
    }

    async fn piece(&self, blob: &BlobRef) -> Result<PathBuf, Failure> {
        let message = format!("piece {} is wanted on a machine without the blobs", blob.id);
        Err(Failure::permanent(message).advise("only the coordinator's own workers finish jobs"))
    }

    async fn keep(
        &self,
        assignment: &Assignment,
        file: &Path,
        cancel: &CancellationToken,
    ) -> Result<BlobRef, Failure> {
        let sha512 = files::sha512(file).await.map_err(io("read", file))?;
        let length = tokio::fs::metadata(file).await.map_err(io("read", file))?.len();
        let mut patience = Patience::new(PATIENCE);
        let keep = async {
            loop {
                match self.send(assignment, file, length, &sha512).await {
                    Ok(blob) if blob.sha512 == sha512 && blob.bytes == length => return Ok(blob),
                    Ok(_) => {
                        let message = "the server keeps something else than what was sent";
                        return Err(Failure::environment(message));
                    }
                    Err(Trouble::Call(error)) => pass(error, &mut patience).await?,
                    Err(Trouble::File(failure)) => return Err(failure),
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Err(cancelled()),
            kept = keep => kept,
        }
    }
}

#[cfg(test)]
mod tests;
