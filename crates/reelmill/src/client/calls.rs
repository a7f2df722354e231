//! The calls of the REST API that a client makes, typed.

use super::Common;
use crate::api::error::Answer;
use crate::api::wire::{
    DryRun, FinishRequest, IDEMPOTENCY_KEY, JobRequest, Page, UPLOAD_BODY, UPLOAD_LENGTH,
    UPLOAD_METADATA, UPLOAD_OFFSET, UploadView,
};
use crate::coordinator::{JobView, WorkerView};
use crate::exit::{Ending, Exit};
use crate::servers::{CallError, Patience, Servers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::job::{Job, JobState};
use reelmill_core::task::BlobRef;
use reelmill_store::HistoryEntry;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, IF_RANGE, RANGE};
use std::time::Duration;

/// Longest that an ordinary answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Longest that a piece of an upload may take.
const PIECE_TIME: Duration = Duration::from_secs(120);

/// Longest that the server may take to digest an upload.
const FINISH_TIME: Duration = Duration::from_secs(1800);

/// How long a call that is under way is tried again when the server is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Talks to a coordinator.
pub(crate) struct Client {
    servers: Servers,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientError {
    /// No server answers.
    Unreachable(Failure),
    /// A server answers that it cannot now.
    Later(Failure),
    /// The server refuses the key.
    Refused(Failure),
    /// The server answered that it will not or cannot, or something failed here.
    Problem(Failure),
}

impl From<CallError> for ClientError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Away(_) => Self::Unreachable(error.failure()),
            CallError::Refused(failure) => Self::Refused(failure),
            CallError::Problem { answer: Answer::Later, failure, .. } => Self::Later(failure),
            CallError::Problem { failure, .. } => Self::Problem(failure),
        }
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        Self::Problem(failure)
    }
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable(failure)
            | ClientError::Later(failure)
            | ClientError::Refused(failure) => Self { exit: Exit::Unreachable, failure },
            ClientError::Problem(failure) if failure.class == FailureClass::Input => {
                Self::input(failure)
            }
            ClientError::Problem(failure) => Self { exit: Exit::Failed, failure },
        }
    }
}

impl Client {
    /// A client of the first of `servers` that answers, with a key to show.
    ///
    /// # Errors
    /// When an address or the key is malformed.
    pub(crate) fn new(servers: &[String], api_key: Option<&str>) -> Result<Self, Failure> {
        Ok(Self { servers: Servers::new(servers, api_key)? })
    }

    /// A client as the command line asks for it.
    pub(super) fn of(common: &Common) -> Result<Self, Ending> {
        Self::new(&common.servers, common.api_key.as_deref()).map_err(Ending::usage)
    }

    /// The base address of the server that answered last.
    pub(super) fn server(&self) -> String {
        self.servers.current()
    }

    /// Begins an upload of `length` bytes of a file called `name`; the same `key`
    /// never begins a second one.
    pub(crate) async fn upload_begin(
        &self,
        length: u64,
        name: &str,
        key: &str,
    ) -> Result<UploadView, CallError> {
        let metadata = format!("filename {}", STANDARD.encode(name));
        let make = |http: &reqwest::Client, url| {
            http.post(url)
                .header(UPLOAD_LENGTH, length)
                .header(UPLOAD_METADATA, &metadata)
                .header(IDEMPOTENCY_KEY, key)
                .timeout(ANSWER_TIME)
        };
        self.servers.json("/api/v1/uploads", make).await
    }

    /// How many bytes of an upload the server has.
    pub(crate) async fn upload_offset(&self, id: BlobId) -> Result<u64, CallError> {
        let make = |http: &reqwest::Client, url| http.head(url).timeout(ANSWER_TIME);
        let answer = self.servers.send(&format!("/api/v1/uploads/{id}"), make).await;
        offset(&answer.map_err(|error| headless(error, id))?)
    }

    /// Sends a piece of an upload; yields how many bytes the server has then.
    pub(crate) async fn upload_piece(
        &self,
        id: BlobId,
        at: u64,
        piece: Bytes,
    ) -> Result<u64, CallError> {
        let make = |http: &reqwest::Client, url| {
            http.patch(url)
                .header(UPLOAD_OFFSET, at)
                .header(CONTENT_TYPE, UPLOAD_BODY)
                .body(piece.clone())
                .timeout(PIECE_TIME)
        };
        offset(&self.servers.send(&format!("/api/v1/uploads/{id}"), make).await?)
    }

    /// Ends an upload; the server compares the digest.
    pub(crate) async fn upload_finish(
        &self,
        id: BlobId,
        sha512: &str,
    ) -> Result<BlobRef, CallError> {
        let request = FinishRequest { sha512: Some(sha512.to_owned()) };
        let make = |http: &reqwest::Client, url| http.post(url).json(&request).timeout(FINISH_TIME);
        self.servers.json(&format!("/api/v1/uploads/{id}/finish"), make).await
    }

    /// Throws an unfinished upload away.
    pub(crate) async fn upload_discard(&self, id: BlobId) -> Result<(), CallError> {
        let make = |http: &reqwest::Client, url| http.delete(url).timeout(ANSWER_TIME);
        self.servers.send(&format!("/api/v1/uploads/{id}"), make).await.map(|_| ())
    }

    /// Asks for a conversion; the same `key` never makes a second job, so that
    /// this is tried again while the server is away.
    pub(crate) async fn submit(
        &self,
        request: &JobRequest,
        key: &str,
    ) -> Result<JobView, ClientError> {
        let make = |http: &reqwest::Client, url| {
            http.post(url).header(IDEMPOTENCY_KEY, key).json(request).timeout(ANSWER_TIME)
        };
        let mut patience = Patience::new(PATIENCE);
        loop {
            match self.servers.json("/api/v1/jobs", make).await {
                Err(error) if error.passes() && patience.wait().await => {}
                other => return Ok(other?),
            }
        }
    }

    /// Asks whether a request could be met and what it would come to, before
    /// anything is uploaded for it.
    pub(crate) async fn check(&self, request: &JobRequest) -> Result<DryRun, ClientError> {
        let make = |http: &reqwest::Client, url| http.post(url).json(request).timeout(ANSWER_TIME);
        Ok(self.servers.json("/api/v1/jobs?dry_run=true", make).await?)
    }

    /// A job, by its id or the beginning of it.
    pub(crate) async fn job(&self, id: &str) -> Result<JobView, CallError> {
        let make = |http: &reqwest::Client, url| http.get(url).timeout(ANSWER_TIME);
        self.servers.json(&job_path(id, "")?, make).await
    }

    /// All that happened to a job, oldest first.
    pub(crate) async fn history(&self, id: JobId) -> Result<Vec<HistoryEntry>, ClientError> {
        let path = format!("/api/v1/jobs/{id}/events");
        let mut all: Vec<HistoryEntry> = Vec::new();
        loop {
            let after = all.last().map_or(0, |entry| entry.seq);
            let make = |http: &reqwest::Client, url| {
                http.get(url).query(&[("after", after)]).timeout(ANSWER_TIME)
            };
            let page: Page<HistoryEntry> = self.servers.json(&path, make).await?;
            let more = page.next.is_some() && !page.items.is_empty();
            all.extend(page.items);
            if !more {
                return Ok(all);
            }
        }
    }

    /// A page of jobs, newest first.
    pub(crate) async fn jobs(
        &self,
        states: &[JobState],
        label: Option<&(String, String)>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page<Job>, ClientError> {
        let states: Vec<&str> = states.iter().map(|state| state.label()).collect();
        let mut query = vec![("limit", limit.to_string())];
        if !states.is_empty() {
            query.push(("state", states.join(",")));
        }
        if let Some((key, value)) = label {
            query.push(("label", format!("{key}={value}")));
        }
        if let Some(after) = after {
            query.push(("after", after.to_owned()));
        }
        let make = |http: &reqwest::Client, url| http.get(url).query(&query).timeout(ANSWER_TIME);
        Ok(self.servers.json("/api/v1/jobs", make).await?)
    }

    /// Cancels a job.
    pub(crate) async fn cancel(&self, id: &str) -> Result<JobView, ClientError> {
        self.ask(id, "/cancel").await
    }

    /// Opens a failed or cancelled job again.
    pub(crate) async fn retry(&self, id: &str) -> Result<JobView, ClientError> {
        self.ask(id, "/retry").await
    }

    async fn ask(&self, id: &str, what: &str) -> Result<JobView, ClientError> {
        let make = |http: &reqwest::Client, url| http.post(url).timeout(ANSWER_TIME);
        Ok(self.servers.json(&job_path(id, what)?, make).await?)
    }

    /// The output of a job from byte `at` on, if it still has `sha512`;
    /// otherwise from the beginning.
    pub(crate) async fn output(
        &self,
        id: JobId,
        at: u64,
        sha512: &str,
    ) -> Result<Response, CallError> {
        let make = |http: &reqwest::Client, url| {
            let request = http.get(url);
            match at {
                0 => request,
                at => request
                    .header(RANGE, format!("bytes={at}-"))
                    .header(IF_RANGE, format!("\"{sha512}\"")),
            }
        };
        let path = format!("/api/v1/jobs/{id}/output");
        let answer = tokio::time::timeout(ANSWER_TIME, self.servers.send(&path, make)).await;
        answer.unwrap_or_else(|_| Err(CallError::Away("no answer in time".to_owned())))
    }

    /// The workers.
    pub(crate) async fn workers(&self) -> Result<Page<WorkerView>, ClientError> {
        let make = |http: &reqwest::Client, url| http.get(url).timeout(ANSWER_TIME);
        Ok(self.servers.json("/api/v1/workers", make).await?)
    }
}

/// The path of a job, which the user may name by any text.
fn job_path(id: &str, what: &str) -> Result<String, CallError> {
    let id = id.trim();
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(format!("/api/v1/jobs/{id}{what}"));
    }
    let failure = Failure::permanent(format!("'{id}' is not the id of a job"))
        .advise("'reelmill list' shows all jobs");
    Err(CallError::Problem { answer: Answer::Missing, failure })
}

/// Answers to HEAD have no body that could say what is wrong.
fn headless(error: CallError, id: BlobId) -> CallError {
    match error {
        CallError::Problem { answer: Answer::Missing, .. } => {
            let failure = Failure::permanent(format!("the server does not know upload {id}"));
            CallError::Problem { answer: Answer::Missing, failure }
        }
        CallError::Refused(_) => CallError::Refused(
            Failure::environment("the server refused the key")
                .advise("give another with --api-key or REELMILL_API_KEY"),
        ),
        other => other,
    }
}

fn offset(response: &Response) -> Result<u64, CallError> {
    let value = response.headers().get(UPLOAD_OFFSET);
    let offset = value.and_then(|value| value.to_str().ok()?.parse().ok());
    offset.ok_or_else(|| CallError::Away("the answer lacks the upload's offset".to_owned()))
}
