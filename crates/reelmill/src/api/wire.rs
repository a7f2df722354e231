//! The JSON of the REST API, for both of its sides.

use axum::http::HeaderName;
use reelmill_core::container::Container;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::fleet::Outlook;
use reelmill_core::id::{BlobId, JobId, TaskId};
use reelmill_core::job::{Item, Job, JobState, Request};
use reelmill_core::preset::Preset;
use reelmill_core::task::TaskKind;
use reelmill_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Names a request, so that a repeated one has no second effect.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How many bytes an upload will have (tus).
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// How many bytes of an upload are stored (tus).
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// What the sender tells of a file (tus).
pub(crate) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
/// Content type of a piece of an upload (tus).
pub(crate) const UPLOAD_BODY: &str = "application/offset+octet-stream";
/// The lease under which a worker asks.
pub(crate) const LEASE: HeaderName = HeaderName::from_static("x-reelmill-lease");
/// The task's epoch when that lease was granted.
pub(crate) const EPOCH: HeaderName = HeaderName::from_static("x-reelmill-epoch");
/// SHA-512 of a body, hexadecimal; `Repr-Digest` may say it instead.
pub(crate) const SHA512: HeaderName = HeaderName::from_static("x-reelmill-sha512");

/// An error, after RFC 9457 (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Problem {
    /// What kind of error, as a URN.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words.
    pub(crate) title: String,
    /// The status code.
    pub(crate) status: u16,
    /// What happened here.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
    /// The class of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<FailureClass>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// What to give as `after` to get the next page; absent on the last one.
    #[serde(default = "Option::default", skip_serializing_if = "Option::<String>::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A list that is all on one page.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// A request to convert something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// What to call it: usually the source's file name.
    #[schemars(length(min = 1, max = 255))]
    pub(crate) name: String,
    /// What to convert.
    pub(crate) source: SourceRequest,
    /// The preset.
    #[serde(default = "usual_preset")]
    pub(crate) preset: String,
    /// Changes to the preset, each `key=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) overrides: Vec<String>,
    /// Output container, if not the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<Container>,
    /// Chunk length, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.2, max = 3600.0))]
    pub(crate) chunk_seconds: Option<f64>,
    /// Retries of a task, if not the usual number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_retries: Option<u32>,
    /// 0 (last) to 100 (first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub(crate) priority: Option<u8>,
    /// The user's marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// What the client knows the source by; compared with what arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<Item>,
    /// What is known of the source before it is there; for a dry run's estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) facts: Option<SourceFacts>,
}

/// A job as the dispatch protocol asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DispatchRequest {
    /// Where the source is.
    pub(crate) source_url: String,
    /// The codec that is wanted.
    pub(crate) target_codec: String,
    /// Megabytes.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub(crate) job_size: f64,
    /// How often it may fail before it is given up.
    #[serde(default = "three")]
    pub(crate) max_retries: u32,
    /// 0 normal, 1 high, 2 urgent.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2))]
    pub(crate) priority: u8,
}

fn three() -> u32 {
    3
}

/// What is known of a source that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceFacts {
    /// Seconds.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub(crate) duration_seconds: f64,
    /// Pixels.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) width: u32,
    /// Pixels.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) height: u32,
    /// Frames a second; 25 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub(crate) fps: Option<f64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// What a request would come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DryRun {
    /// The request with its preset spelt out.
    #[serde(flatten)]
    pub(crate) request: Request,
    /// What it would cost; `null` when nothing is known of the source.
    #[serde(default)]
    pub(crate) estimate: Option<EstimateView>,
}

/// A guess at what a job would cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EstimateView {
    /// Seconds of encoding, once it has begun, with all workers that can.
    pub(crate) seconds: f64,
    /// Bytes of the output.
    pub(crate) bytes: u64,
    /// When its first piece would begin, and why not now.
    pub(crate) outlook: Outlook,
    /// What the worker is called that would take its first piece.
    #[serde(default)]
    pub(crate) worker: Option<String>,
    /// Workers that could do it now, the one with most slots first.
    pub(crate) workers: Vec<String>,
    /// Jobs that are before it in the queue; 1000 stands for more.
    pub(crate) jobs_before: u64,
}

/// An item of a client, as the job that came of it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ItemView {
    /// The job.
    pub(crate) id: JobId,
    /// Where it stands.
    pub(crate) state: JobState,
    /// When that last changed.
    pub(crate) updated: Timestamp,
    /// What the client knows it by.
    #[serde(flatten)]
    pub(crate) item: Item,
    /// Bytes of the output, once there.
    pub(crate) output_bytes: Option<u64>,
    /// SHA-512 of the output, hexadecimal, once there.
    pub(crate) output_sha512: Option<String>,
    /// Why it failed or was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
}

/// An attempt at a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AttemptView {
    /// The task.
    pub(crate) task: TaskId,
    /// What kind of work.
    pub(crate) kind: Option<TaskKind>,
    /// Which attempt, from 1 on.
    pub(crate) attempt: u32,
    /// Who made it.
    pub(crate) worker: Option<String>,
    /// When it began.
    pub(crate) began: Timestamp,
    /// When it ended.
    pub(crate) ended: Option<Timestamp>,
    /// How: `running`, or the word of the history.
    pub(crate) outcome: String,
    /// What went wrong: message, advice, the tool's command, exit status and
    /// last lines.
    pub(crate) failure: Option<Failure>,
}

fn usual_preset() -> String {
    "h264".to_owned()
}

/// What to convert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceRequest {
    /// A finished upload.
    Upload(BlobId),
    /// An http or https address; the server fetches it, where it is allowed to.
    Url(String),
    /// A file of a library that the server knows.
    Library(LibraryPath),
}

/// A file of a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LibraryPath {
    /// The library's name in the server's configuration.
    pub(crate) root: String,
    /// The file's path within it.
    pub(crate) path: String,
}

/// A new priority for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// 0 (last) to 100 (first).
    #[schemars(range(min = 0, max = 100))]
    pub(crate) priority: u8,
}

/// An upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UploadView {
    /// Its name.
    pub(crate) id: BlobId,
    /// Bytes safely stored.
    pub(crate) offset: u64,
    /// Bytes there will be.
    pub(crate) length: u64,
}

/// The end of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FinishRequest {
    /// SHA-512 of all bytes, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{128}$"))]
    pub(crate) sha512: Option<String>,
}

/// A preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PresetView {
    /// Its name.
    pub(crate) name: String,
    /// What it says.
    #[serde(flatten)]
    pub(crate) preset: Preset,
}

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct VersionView {
    /// reelmill's version.
    pub(crate) version: String,
    /// Version of the REST API.
    pub(crate) api_version: String,
}

/// What the output of `job` is called, on either side: like the job, with the
/// extension of its container. Never more than a file's name.
pub(crate) fn output_name(job: &Job) -> String {
    let last = job.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = Path::new(last).file_stem().and_then(|stem| stem.to_str()).unwrap_or("output");
    format!("{stem}.{}", job.request.container)
}
