//! The JSON of the REST API, for both of its sides.

use axum::http::HeaderName;
use reelmill_core::container::Container;
use reelmill_core::error::FailureClass;
use reelmill_core::id::BlobId;
use reelmill_core::job::Job;
use reelmill_core::preset::Preset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Names a request, so that a repeated one has no second effect.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How many bytes an upload will have (tus).
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// How many bytes of an upload are stored (tus).
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Content type of a piece of an upload (tus).
pub(crate) const UPLOAD_BODY: &str = "application/offset+octet-stream";
/// The lease under which a worker asks.
pub(crate) const LEASE: HeaderName = HeaderName::from_static("x-reelmill-lease");
/// The task's epoch when that lease was granted.
pub(crate) const EPOCH: HeaderName = HeaderName::from_static("x-reelmill-epoch");
/// SHA-512 of a body, hexadecimal; `Repr-Digest` may say it instead.
pub(crate) const SHA512: HeaderName = HeaderName::from_static("x-reelmill-sha512");

/// An error, after RFC 9457 (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// What to give as `after` to get the next page; absent on the last one.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A list that is all on one page.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// A request to convert something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// What to call it: usually the source's file name.
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
    pub(crate) chunk_seconds: Option<f64>,
    /// Retries of a task, if not the usual number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_retries: Option<u32>,
    /// 0 (last) to 100 (first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u8>,
    /// The user's marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

fn usual_preset() -> String {
    "h264".to_owned()
}

/// What to convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceRequest {
    /// A finished upload.
    Upload(BlobId),
}

/// A new priority for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// 0 (last) to 100 (first).
    pub(crate) priority: u8,
}

/// An upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadView {
    /// Its name.
    pub(crate) id: BlobId,
    /// Bytes safely stored.
    pub(crate) offset: u64,
    /// Bytes there will be.
    pub(crate) length: u64,
}

/// The end of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FinishRequest {
    /// SHA-512 of all bytes, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha512: Option<String>,
}

/// A preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PresetView {
    /// Its name.
    pub(crate) name: String,
    /// What it says.
    #[serde(flatten)]
    pub(crate) preset: Preset,
}

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
