//! What goes into the store and comes out of it, beside core's own types.

use reelmill_core::id::{BlobId, JobId, SessionId, TaskId};
use reelmill_core::job::{Job, JobState, Step};
use reelmill_core::lease::LeaseProof;
use reelmill_core::load::Speeds;
use reelmill_core::schedule::WorkerFacts;
use reelmill_core::task::{BlobRef, Task};
use reelmill_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A job to accept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The job: `Queued` with its first tasks, or `Uploading` with none.
    pub job: Job,
    /// Names the submission, per owner: sent again, it yields the first job.
    pub idempotency_key: Option<String>,
    /// Its first tasks: usually one analysis, number 0.
    pub tasks: Vec<Task>,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// Accepted.
    New,
    /// The same key (or the same id) was accepted before, as this job.
    Existing(JobId),
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Any of these; all when empty.
    pub states: Vec<JobState>,
    /// Of this owner.
    pub owner: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// Of items of this client.
    pub client: Option<String>,
    /// Accepted at this moment or later.
    pub since: Option<Timestamp>,
    /// Accepted before this moment.
    pub until: Option<Timestamp>,
    /// Older than this job: the last one of the page before.
    pub after: Option<JobId>,
    /// At most so many.
    pub limit: u32,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HistoryEntry {
    /// Rises with every entry of the store.
    pub seq: i64,
    /// To which job.
    pub job: JobId,
    /// To which of its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// When.
    pub at: Timestamp,
    /// What: an object with `event` and what belongs to it.
    pub event: serde_json::Value,
}

/// What an event did.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The task after it.
    pub task: Task,
    /// Its job after it.
    pub job: Job,
    /// What that did to the job. `GiveUp` with the job still running says: the
    /// task failed as `Recut`, plan the job again.
    pub step: Step,
    /// Blobs that the job, completed by this, needs no more: their rows are gone with
    /// it, and whoever asked for it deletes their bytes. Until then they are bytes that
    /// no row knows.
    pub dropped: Vec<BlobId>,
}

/// A worker's sign of life for one lease: the task, the proof, and how many
/// units are done.
pub type Renewal = (TaskId, LeaseProof, u64);

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkerRecord {
    /// Who it is and what it can do.
    pub facts: WorkerFacts,
    /// What people call it.
    pub name: String,
    /// Its current run.
    pub session: SessionId,
    /// How many tasks it does at once.
    pub slots: u32,
    /// Version of its program.
    pub version: String,
    /// When this run began.
    pub started: Timestamp,
    /// When it was last heard of.
    pub seen: Timestamp,
    /// Where it stands.
    pub state: WorkerState,
    /// How fast it has shown to encode, thousands of pixels a second.
    #[serde(default)]
    pub speeds: Speeds,
    /// How fast it was in a benchmark of its own when it joined, thousands of pixels a
    /// second: a first guess.
    #[serde(default)]
    pub benchmarks: Speeds,
    /// Most tasks it is given at once, if fewer than its slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The key that it belongs to: the first with which it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What else it tells of itself.
    pub details: serde_json::Value,
}

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It takes work.
    Active,
    /// It is to take nothing new until told otherwise.
    Paused,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It signed off or fell silent.
    Gone,
}

impl WorkerState {
    /// Where a worker stands once it is heard of again.
    #[must_use]
    pub fn heard(self) -> Self {
        if self == Self::Gone { Self::Active } else { self }
    }
}

/// A row about bytes in blob storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// The bytes.
    pub blob: BlobRef,
    /// When the row was made.
    pub created: Timestamp,
    /// Which job they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What they are.
    pub role: BlobRole,
}

impl BlobRecord {
    /// Their name.
    #[must_use]
    pub fn id(&self) -> BlobId {
        self.blob.id
    }
}

/// What the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobRole {
    /// The source of a job.
    Source,
    /// What a task yielded.
    Part,
    /// The output of a job.
    Output,
    /// An upload that no job owns yet.
    Upload,
}

/// An API key; its secret is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The visible prefix by which it is found.
    pub id: String,
    /// What people call it; owns the jobs submitted with it.
    pub name: String,
    /// What it allows.
    pub role: KeyRole,
    /// SHA-256 of the secret, hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl KeyRecord {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Everything.
    Admin,
    /// Submitting jobs and seeing one's own.
    Client,
    /// Taking and reporting tasks.
    Worker,
    /// Getting one key of role `Worker`, once.
    Enrol,
}
