//! Looking at one file: its headers in process, else by the tool.

use super::place::Place;
use super::walk::Fresh;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::facts::Facts;
use reelmill_media::headers::{self, Headers};
use reelmill_media::probe::probe;
use reelmill_media::tools::Tools;
use reelmill_store::library::joined;
use reelmill_store::{LibraryFile, Trouble};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// Bytes at each end of a file by which its content is known again.
const END: usize = 4096;

/// What came of looking at a file.
#[derive(Debug)]
pub(crate) enum Looked {
    /// This is known of it.
    Known(Box<LibraryFile>),
    /// Somebody writes to it: it is left for the next scan.
    Changing,
    /// It is no longer there.
    Away,
}

/// The tool, started up when a file needs it first.
pub(crate) struct Prober<'a> {
    tools: OnceCell<Result<Tools, Failure>>,
    find: &'a (dyn Fn() -> futures::future::BoxFuture<'a, Result<Tools, Failure>> + Sync),
    cancel: &'a CancellationToken,
}

/// The digest of a file's size and both its ends.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn digest(file: &File, size: u64) -> io::Result<u64> {
    let mut digest = Sha256::new();
    digest.update(size.to_le_bytes());
    let mut buffer = [0; END];
    let head = read_at(file, &mut buffer, 0)?;
    digest.update(&buffer[..head]);
    if size > END as u64 {
        let tail = read_at(file, &mut buffer, size - END as u64)?;
        digest.update(&buffer[..tail]);
    }
    let full = digest.finalize();
    Ok(full[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What could be seen without the tool.
enum Quick {
    Sure(u64, Facts),
    Ask(u64),
    Changing,
}

/// Digest and headers. The file must be as the walk found it, before and after.
fn quick(path: &Path, fresh: &Fresh) -> io::Result<Quick> {
    let file = File::open(path)?;
    let same = |meta: &std::fs::Metadata| {
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        meta.len() == fresh.size && mtime == fresh.mtime
    };
    if !same(&file.metadata()?) {
        return Ok(Quick::Changing);
    }
    let digest = digest(&file, fresh.size)?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let found = headers::of_open(file.try_clone()?, fresh.size, extension)?;
    if !same(&file.metadata()?) {
        return Ok(Quick::Changing);
    }
    Ok(match found {
        Headers::Facts(facts) => Quick::Sure(digest, facts),
        Headers::Unsure(_) => Quick::Ask(digest),
    })
}

/// Digest only, to know a moved file again.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn content(place: &Place, fresh: &Fresh) -> io::Result<u64> {
    digest(&File::open(place.path(&joined(&fresh.folder, &fresh.name)))?, fresh.size)
}

impl<'a> Prober<'a> {
    /// A prober that gets the tool by `find`.
    pub(crate) fn new(
        find: &'a (dyn Fn() -> futures::future::BoxFuture<'a, Result<Tools, Failure>> + Sync),
        cancel: &'a CancellationToken,
    ) -> Self {
        Self { tools: OnceCell::new(), find, cancel }
    }

    /// Looks at a file that the walk found.
    ///
    /// # Errors
    /// When cancelled.
    pub(crate) async fn look(&self, place: &Place, fresh: Fresh) -> Result<Looked, Failure> {
        let path = place.path(&joined(&fresh.folder, &fresh.name));
        let (quickly, fresh) = {
            let path = path.clone();
            let task = tokio::task::spawn_blocking(move || (quick(&path, &fresh), fresh));
            task.await.map_err(|error| {
                Failure::transient(format!("looking at a file broke off: {error}"))
            })?
        };
        let (digest, facts) = match quickly {
            Ok(Quick::Sure(digest, facts)) => (digest, Ok(facts)),
            Ok(Quick::Changing) => return Ok(Looked::Changing),
            Ok(Quick::Ask(digest)) => (digest, self.ask(&path).await?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Looked::Away),
            Err(error) => {
                (0, Err(Trouble { reason: format!("it cannot be read: {error}"), retry: true }))
            }
        };
        let Fresh { folder, name, size, mtime, .. } = fresh;
        Ok(Looked::Known(Box::new(LibraryFile { folder, name, size, mtime, digest, facts })))
    }

    async fn ask(&self, path: &Path) -> Result<Result<Facts, Trouble>, Failure> {
        let tools = self.tools.get_or_init(|| (self.find)()).await;
        let probed = match tools {
            Ok(tools) => probe(tools, path, self.cancel).await,
            Err(failure) => Err(failure.clone()),
        };
        match probed {
            Ok(media) => {
                let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                Ok(Ok(Facts::of(&media, extension)))
            }
            Err(failure) if failure.class == FailureClass::Cancelled => Err(failure),
            Err(failure) => {
                let retry = !matches!(failure.class, FailureClass::Input);
                Ok(Err(Trouble { reason: without_path(&failure.message, path), retry }))
            }
        }
    }
}

/// A message without the path that it begins with: where the library is mounted
/// is nobody else's business.
fn without_path(message: &str, path: &Path) -> String {
    message.replace(&*path.to_string_lossy(), "it")
}
