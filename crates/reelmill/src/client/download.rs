//! Fetching the output of a job: resumed after cuts, verified, put in place in
//! one step.

use super::calls::{Client, ClientError, PATIENCE};
use crate::api::error::{Answer, is_partial};
use crate::api::wire::output_name;
use crate::files;
use crate::servers::{CallError, Patience, tell};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::{Job, JobState};
use rustix::fs::{FlockOperation, flock};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};

/// Longest pause within a transfer.
const STALL: Duration = Duration::from_secs(60);

/// Times that a damaged file is fetched again from the beginning.
const MAX_STARTS: u32 = 2;

/// Where the output of `job` goes when the user says `output`: into that folder
/// or to that file.
///
/// # Errors
/// When there is a file already that may not be replaced, or no folder for it.
pub(crate) fn place(job_name: &str, output: &Path, overwrite: bool) -> Result<PathBuf, Failure> {
    let path = if output.is_dir() { output.join(job_name) } else { output.to_owned() };
    if !overwrite && path.symlink_metadata().is_ok() {
        let message = format!("{} exists already", path.display());
        return Err(Failure::permanent(message)
            .advise("choose another name, or replace it with --overwrite"));
    }
    let folder = folder_of(&path);
    if !folder.is_dir() {
        return Err(Failure::permanent(format!("there is no folder {}", folder.display()))
            .advise("make it first"));
    }
    Ok(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Fetches the output of a completed `job` to `output` (a file or a folder);
/// `told` hears how many bytes of how many are there. Yields where it lies.
///
/// # Errors
/// When the job has no output, the server stays away for too long, or the file
/// cannot be written.
pub(crate) async fn fetch(
    client: &Client,
    job: &Job,
    output: &Path,
    overwrite: bool,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<PathBuf, ClientError> {
    let finished = job.output.as_ref().filter(|_| job.state == JobState::Completed);
    let finished = finished.ok_or_else(|| {
        let message = format!("job {} is {}: it has no output", job.id, job.state.label());
        Failure::permanent(message).advise("'reelmill status' tells how it fares")
    })?;
    let path = place(&output_name(job), output, overwrite)?;
    let mut last = Failure::transient("the download did not begin");
    for _ in 0..MAX_STARTS {
        let mut part = Partial::open(&path, &finished.sha512, finished.bytes).await?;
        part.fill(client, job, told).await?;
        match part.publish(&path, overwrite).await {
            Ok(()) => return Ok(path),
            Err(failure) if failure.class == FailureClass::Transient => last = failure,
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(last.into())
}

/// Whether the output of `job` lies at `place` already: put there by a process
/// that was killed before it could say so. What that one left goes.
pub(crate) async fn is_there(place: &Path, job: &Job) -> bool {
    let Some(finished) = &job.output else { return false };
    let Ok(facts) = place.symlink_metadata() else { return false };
    if !facts.is_file() || facts.len() != finished.bytes {
        return false;
    }
    let same = files::sha512(place).await.is_ok_and(|sha512| sha512 == finished.sha512);
    let part = part_of(place, &finished.sha512);
    if same && part.symlink_metadata().is_ok_and(|part| part.ino() == facts.ino()) {
        // Killed between the new name and the end of the old one.
        let _ = std::fs::remove_file(part);
    }
    same
}

fn part_of(output: &Path, sha512: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", sha512.get(..8).unwrap_or_default()));
    output.with_file_name(name)
}

/// A file on its way, beside the place where it will be. It stays there when
/// the transfer is cut, and the next one goes on with it.
struct Partial {
    path: PathBuf,
    file: File,
    at: u64,
    bytes: u64,
    sha512: String,
}

impl Partial {
    async fn open(output: &Path, sha512: &str, bytes: u64) -> Result<Self, Failure> {
        let path = part_of(output, sha512);
        let wrong = |e: std::io::Error| Failure::io(format!("write {}", path.display()), &e);
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        if flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() {
            let message = format!("another process is fetching {} already", output.display());
            return Err(Failure::permanent(message).advise("wait for it"));
        }
        let mut file = File::from_std(opened);
        let mut at = file.metadata().await.map_err(wrong)?.len();
        if at > bytes {
            file.set_len(0).await.map_err(wrong)?;
            at = 0;
        }
        file.seek(SeekFrom::Start(at)).await.map_err(wrong)?;
        Ok(Self { path, file, at, bytes, sha512: sha512.to_owned() })
    }

    async fn fill(
        &mut self,
        client: &Client,
        job: &Job,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), ClientError> {
        let mut patience = Patience::new(PATIENCE);
        while self.at < self.bytes {
            let begun = self.at;
            match self.go_on(client, job, told).await {
                Ok(()) => {}
                Err(Trouble::Here(failure)) => return Err(failure.into()),
                Err(Trouble::Call(error)) => {
                    if self.at > begun {
                        patience.renew();
                    }
                    let again = error.passes() || error.answer() == Some(Answer::BeyondEnd);
                    if !(again && patience.wait().await) {
                        return Err(error.into());
                    }
                }
            }
        }
        told(self.at, self.bytes);
        Ok(())
    }

    async fn go_on(
        &mut self,
        client: &Client,
        job: &Job,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), Trouble> {
        let mut response = client.output(job.id, self.at, &self.sha512).await?;
        if self.at > 0 && !is_partial(response.status().as_u16()) {
            self.restart().await?;
        }
        while self.at < self.bytes {
            told(self.at, self.bytes);
            let piece = tokio::time::timeout(STALL, response.chunk()).await;
            let piece = piece.map_err(|_| CallError::Away("nothing came any more".to_owned()))?;
            let piece = piece.map_err(|e| CallError::Away(tell(&e)))?;
            let Some(piece) = piece else {
                self.file.flush().await.map_err(|e| self.here(&e))?;
                return Err(CallError::Away("the answer broke off".to_owned()).into());
            };
            let fits = piece.len().min((self.bytes - self.at) as usize);
            let written = self.file.write_all(&piece[..fits]).await;
            written.map_err(|e| self.here(&e))?;
            self.at += fits as u64;
        }
        self.file.flush().await.map_err(|e| self.here(&e))
    }

    async fn restart(&mut self) -> Result<(), Trouble> {
        self.at = 0;
        let emptied = self.file.set_len(0).await;
        emptied.map_err(|e| self.here(&e))?;
        let back = self.file.seek(SeekFrom::Start(0)).await;
        back.map_err(|e| self.here(&e)).map(|_| ())
    }

    fn here(&self, error: &std::io::Error) -> Trouble {
        Trouble::Here(Failure::io(format!("write {}", self.path.display()), error))
    }

    /// Verifies the file and puts it in place. A damaged one is thrown away.
    async fn publish(self, output: &Path, overwrite: bool) -> Result<(), Failure> {
        let wrong = |e: std::io::Error| Failure::io(format!("write {}", output.display()), &e);
        self.file.sync_all().await.map_err(wrong)?;
        let found = files::sha512(&self.path).await.map_err(wrong)?;
        if !found.eq_ignore_ascii_case(&self.sha512) {
            tokio::fs::remove_file(&self.path).await.map_err(wrong)?;
            return Err(Failure::transient("the output arrived damaged: its SHA-512 differs")
                .advise("fetch it again"));
        }
        let placed = if overwrite {
            std::fs::rename(&self.path, output)
        } else {
            files::rename_new(&self.path, output)
        };
        placed.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let message =
                    format!("{} appeared meanwhile; it was not replaced", output.display());
                Failure::permanent(message)
                    .advise(format!("the fetched file is at {}", self.path.display()))
            }
            _ => Failure { class: FailureClass::Environment, ..wrong(error) },
        })?;
        files::sync(folder_of(output)).await.map_err(wrong)
    }
}

/// Trouble with a transfer.
enum Trouble {
    /// On the way.
    Call(CallError),
    /// With the file here.
    Here(Failure),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_not_replaced_unasked_and_a_folder_takes_the_jobs_name() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.mkv");
        std::fs::write(&there, "x").unwrap();
        assert!(place("film.mkv", &there, false).is_err());
        assert_eq!(place("film.mkv", &there, true).unwrap(), there);
        assert_eq!(
            place("film.mkv", folder.path(), false).unwrap(),
            folder.path().join("film.mkv")
        );
        assert!(place("there.mkv", folder.path(), false).is_err());
        assert!(place("film.mkv", &folder.path().join("no/film.mkv"), false).is_err());
    }

    #[tokio::test]
    async fn two_fetches_of_one_output_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("film.mkv");
        let first = Partial::open(&output, &"ab".repeat(64), 10).await.unwrap();
        assert!(Partial::open(&output, &"ab".repeat(64), 10).await.is_err());
        drop(first);
        Partial::open(&output, &"ab".repeat(64), 10).await.unwrap();
    }
}
