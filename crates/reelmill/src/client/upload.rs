//! Sending a file: in pieces, going on after lost connections, digested on the
//! way.

use super::calls::{Client, ClientError, PATIENCE};
use crate::api::error::Answer;
use crate::servers::{CallError, Patience};
use bytes::Bytes;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::task::BlobRef;
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Bytes sent at a time; each piece is safely stored when the next is sent.
const PIECE: u64 = 4 << 20;

/// Times that an upload is begun anew because the server lost it or it arrived
/// damaged.
const MAX_STARTS: u32 = 3;

/// The upload that is under way, for whoever must clean up when interrupted.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<Mutex<Option<BlobId>>>);

impl UnderWay {
    fn set(&self, upload: Option<BlobId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = upload;
    }

    /// The upload, if one is unfinished.
    pub(crate) fn get(&self) -> Option<BlobId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an upload did not come to its end.
enum Trouble {
    /// It must be begun anew.
    Anew(Failure),
    /// It is no use.
    Ended(ClientError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Ended(failure.into())
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem { answer: Answer::Missing, failure, .. } => Self::Anew(failure),
            CallError::Problem { answer: Answer::Wrong, failure, .. }
                if failure.class == reelmill_core::error::FailureClass::Transient =>
            {
                Self::Anew(failure)
            }
            other => Self::Ended(other.into()),
        }
    }
}

/// Sends the file at `path`, which the server is told is called `name`; `told`
/// hears how many bytes of how many are there. An upload that was begun under the
/// same `key` is gone on with, whoever sent what the server has of it.
///
/// # Errors
/// When the file cannot be read or changes meanwhile, or the server refuses it
/// or stays away for too long.
pub(crate) async fn send(
    client: &Client,
    path: &Path,
    name: &str,
    key: &str,
    under_way: &UnderWay,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<BlobRef, ClientError> {
    let mut last = Failure::transient("the upload did not begin");
    for start in 0..MAX_STARTS {
        let mut file = Source::open(path)?;
        // A server may keep the key of an upload whose bytes it lost.
        let key = if start == 0 { key.to_owned() } else { format!("{key}-{start}") };
        let sent = send_once(client, &mut file, (name, &key), under_way, told).await;
        under_way.set(None);
        match sent {
            Ok(blob) => return Ok(blob),
            Err(Trouble::Anew(failure)) => last = failure,
            Err(Trouble::Ended(error)) => return Err(error),
        }
    }
    Err(last.into())
}

/// Whether there is a file at `path` that could be sent.
///
/// # Errors
/// When there is none, or it is empty or cannot be read.
pub(crate) fn check(path: &Path) -> Result<(), ClientError> {
    Source::open(path)?;
    Ok(())
}

async fn send_once(
    client: &Client,
    file: &mut Source,
    (name, key): (&str, &str),
    under_way: &UnderWay,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<BlobRef, Trouble> {
    let length = file.length;
    let mut patience = Patience::new(PATIENCE);
    let begun = loop {
        match client.upload_begin(length, name, key).await {
            Ok(begun) => break begun,
            Err(error) if error.passes() && patience.wait().await => {}
            Err(error) => return Err(error.into()),
        }
    };
    let (id, mut at) = (begun.id, begun.offset.min(length));
    under_way.set(Some(id));
    patience.renew();
    loop {
        file.catch_up(at, told).await?;
        told(at, length);
        if at == length {
            break;
        }
        match client.upload_piece(id, at, file.read(at)?).await {
            Ok(now) => {
                patience.renew();
                at = now.min(length);
            }
            Err(error) if error.passes() || error.answer() == Some(Answer::Conflict) => {
                if !patience.wait().await {
                    return Err(error.into());
                }
                // Whatever became of the piece: the server knows what it has.
                let now = standing(client, id).await?.unwrap_or(at).min(length);
                if now > at {
                    patience.renew();
                }
                at = now;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let sha512 = file.digest()?;
    loop {
        match client.upload_finish(id, &sha512).await {
            Ok(blob) => return Ok(blob),
            Err(error) if retried(&error) && patience.wait().await => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn retried(error: &CallError) -> bool {
    matches!(error.answer(), None | Some(Answer::Later))
}

/// How far the server is; `None` when it is away.
async fn standing(client: &Client, id: BlobId) -> Result<Option<u64>, CallError> {
    match client.upload_offset(id).await {
        Ok(offset) => Ok(Some(offset)),
        Err(error) if retried(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that is sent. Its digest grows with what is read for the first time.
struct Source {
    path: PathBuf,
    file: File,
    length: u64,
    modified: Option<SystemTime>,
    digest: Sha512,
    digested: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::input(format!("there is no file {}", path.display()))
                    .advise("check the spelling")
            }
            _ => Failure::input(format!("cannot read {}: {e}", path.display())),
        };
        let file = File::open(path).map_err(wrong)?;
        let facts = file.metadata().map_err(wrong)?;
        if !facts.is_file() {
            return Err(Failure::input(format!("{} is not a file", path.display())));
        }
        if facts.len() == 0 {
            return Err(Failure::input(format!("{} is empty", path.display())));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length: facts.len(),
            modified: facts.modified().ok(),
            digest: Sha512::new(),
            digested: 0,
        })
    }

    /// Digests what the server has already, up to `to`.
    async fn catch_up(&mut self, to: u64, told: &(dyn Fn(u64, u64) + Sync)) -> Result<(), Failure> {
        while self.digested < to {
            told(to, self.length);
            self.read(self.digested)?;
            // It may take minutes, in which the program must hear that it is to stop.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The piece at `at`.
    fn read(&mut self, at: u64) -> Result<Bytes, Failure> {
        // Never behind what was digested, so that no byte is left out.
        let from = at.min(self.digested);
        let mut piece = vec![0; (at - from + PIECE).min(self.length - from) as usize];
        let read =
            self.file.seek(SeekFrom::Start(from)).and_then(|_| self.file.read_exact(&mut piece));
        read.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.changed(),
            _ => Failure::io(format!("read {}", self.path.display()), &e),
        })?;
        let known = (self.digested - from) as usize;
        if let Some(new) = piece.get(known..) {
            self.digest.update(new);
            self.digested += new.len() as u64;
        }
        Ok(Bytes::from(piece).slice((at - from) as usize..))
    }

    /// SHA-512 of the whole file, hexadecimal.
    fn digest(&self) -> Result<String, Failure> {
        let facts = self.file.metadata();
        let facts = facts.map_err(|e| Failure::io(format!("read {}", self.path.display()), &e))?;
        let same = facts.len() == self.length && facts.modified().ok() == self.modified;
        if !same || self.digested != self.length {
            return Err(self.changed());
        }
        Ok(hex::encode(self.digest.clone().finalize()))
    }

    fn changed(&self) -> Failure {
        Failure::input(format!("{} changed while it was sent", self.path.display()))
            .advise("submit it again when nobody writes to it any more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn pieces_read_in_any_order_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 77).map(|n| (n % 251) as u8).collect();
        let file = file(&bytes);
        let mut source = Source::open(file.path()).unwrap();
        assert_eq!(source.read(0).unwrap().len() as u64, PIECE);
        assert_eq!(source.read(5).unwrap(), bytes[5..5 + PIECE as usize]);
        assert_eq!(source.read(PIECE * 2).unwrap(), bytes[PIECE as usize * 2..]);
        assert_eq!(source.digest().unwrap(), hex::encode(Sha512::digest(&bytes)));
    }

    #[tokio::test]
    async fn an_upload_that_is_gone_on_with_reads_what_is_there_in_pieces() {
        let bytes: Vec<u8> = (0..PIECE * 5 + 77).map(|n| (n % 251) as u8).collect();
        let file = file(&bytes);
        let mut source = Source::open(file.path()).unwrap();
        source.catch_up(PIECE * 4 + 9, &|_, _| {}).await.unwrap();
        assert_eq!(source.digested, PIECE * 5, "whole pieces, not one of all bytes");
        let at = PIECE as usize * 4 + 9;
        assert!(source.read(at as u64).unwrap() == bytes[at..at + PIECE as usize]);
        source.read(PIECE * 5 + 9).unwrap();
        assert_eq!(source.digest().unwrap(), hex::encode(Sha512::digest(&bytes)));
    }

    #[test]
    fn a_file_that_grows_while_it_is_sent_is_noticed() {
        let file = file(b"abc");
        let mut source = Source::open(file.path()).unwrap();
        source.read(0).unwrap();
        std::fs::write(file.path(), "abcd").unwrap();
        assert!(source.digest().unwrap_err().message.contains("changed"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for path in ["/", "/nowhere/at/all"] {
            let refused = Source::open(Path::new(path)).err().unwrap();
            assert_eq!(refused.class, reelmill_core::error::FailureClass::Input);
        }
        assert!(Source::open(file(b"").path()).is_err());
    }
}
