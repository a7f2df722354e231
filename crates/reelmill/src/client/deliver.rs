//! Handing a request over: the source first, then the job. How far it is can be
//! noted on the way, so that whoever comes later goes on from there.

use super::Common;
use super::calls::{Client, ClientError};
use super::display::Transfer;
use super::upload::{self, UnderWay};
use crate::api::error::Answer;
use crate::api::wire::{JobRequest, SourceRequest};
use crate::exit::{Ending, Exit};
use crate::outbox::{Entry, Stage};
use crate::{clock, mutant};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::BlobId;
use reelmill_core::job::Job;

/// Why a request was not handed over, or what it yields was not brought.
#[derive(Debug)]
pub(super) enum Unsent {
    /// No server can be reached.
    Away(Failure),
    /// A server answers that it cannot now.
    Later(Failure),
    /// It was refused, or something is wrong here.
    No(Ending),
}

impl From<ClientError> for Unsent {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable(failure) => Self::Away(failure),
            ClientError::Later(failure) => Self::Later(failure),
            other => Self::No(other.into()),
        }
    }
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::No(failure.into())
    }
}

/// A request that can never be met is a wrong command line.
pub(super) fn or_usage(error: ClientError) -> Ending {
    match error {
        ClientError::Problem(failure) if failure.class == FailureClass::Permanent => {
            Ending::usage(failure)
        }
        other => other.into(),
    }
}

/// A file that the server will never take is a refused input.
fn or_refused(error: ClientError) -> Unsent {
    match error {
        ClientError::Problem(failure) if failure.class == FailureClass::Permanent => {
            Unsent::No(Ending::input(failure))
        }
        other => other.into(),
    }
}

/// A request that can never be met, where the server may also be away.
fn or_unmet(error: ClientError) -> Unsent {
    match Unsent::from(error.clone()) {
        Unsent::No(_) => Unsent::No(or_usage(error)),
        away => away,
    }
}

/// Hears of each step that an entry has made.
pub(super) type Note<'a> = dyn FnMut(&Entry) -> Result<(), Failure> + Send + 'a;

/// Hands `entry` over to `client`'s server, from where it stands; each step is
/// told to `note` before the next is made.
pub(super) async fn deliver(
    client: &Client,
    entry: &mut Entry,
    under_way: &UnderWay,
    common: &Common,
    note: &mut Note<'_>,
) -> Result<Job, Unsent> {
    let before = entry.stage.clone();
    let sent = go_on(client, entry, under_way, common, note).await;
    if let (Stage::Uploaded { blob, .. }, Err(Unsent::No(_))) = (before, &sent)
        && is_gone(client, blob).await?
    {
        // The server made no job and threw the source away: it knows nothing of us.
        entry.stage = Stage::Waiting;
        note(entry)?;
        return go_on(client, entry, under_way, common, note).await;
    }
    sent
}

async fn go_on(
    client: &Client,
    entry: &mut Entry,
    under_way: &UnderWay,
    common: &Common,
    note: &mut Note<'_>,
) -> Result<Job, Unsent> {
    let source = match entry.stage {
        Stage::Uploaded { blob, .. } => blob,
        _ => {
            let blob = send_source(client, entry, under_way, common).await?;
            entry.stage = Stage::Uploaded { server: client.server(), blob };
            note(entry)?;
            blob
        }
    };
    let request = JobRequest { source: SourceRequest::Upload(source), ..entry.request.clone() };
    let key = match mutant::leaves_out("outbox-key") {
        true => clock::fresh().to_string(),
        false => entry.key.clone(),
    };
    let job = client.submit(&request, &key).await.map_err(or_unmet)?.job;
    entry.stage = Stage::Sent { server: client.server(), job: job.id };
    note(entry)?;
    Ok(job)
}

async fn send_source(
    client: &Client,
    entry: &Entry,
    under_way: &UnderWay,
    common: &Common,
) -> Result<BlobId, Unsent> {
    entry.source.check()?;
    client.check(&entry.request).await.map_err(or_unmet)?;
    let transfer = Transfer::new(common, "uploading", "uploading");
    let told = |done, total| transfer.show(done, total);
    let (path, name, key) = (entry.source.path(), &entry.request.name, entry.id.to_string());
    let blob = upload::send(client, path, name, &key, under_way, &told).await;
    Ok(blob.map_err(or_refused)?.id)
}

/// Whether the server has no upload `blob` for us.
async fn is_gone(client: &Client, blob: BlobId) -> Result<bool, Unsent> {
    match client.upload_offset(blob).await {
        Ok(_) => Ok(false),
        Err(error) if error.answer() == Some(Answer::Missing) => Ok(true),
        Err(error) => Err(ClientError::from(error).into()),
    }
}

impl Unsent {
    /// The exit code that it leads to, and what went wrong.
    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Away(failure) | Self::Later(failure) => {
                Ending { exit: Exit::Unreachable, failure }
            }
            Self::No(ending) => ending,
        }
    }
}
