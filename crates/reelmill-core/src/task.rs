//! Tasks: units of work of a job, and where each stands.

use crate::check::Verdict;
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::id::{BlobId, TaskId, WorkerId};
use crate::lease::{Lease, LeaseProof};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::transition::{Change, Refused, Rules, TaskEvent, Told, transition};
pub use crate::work::Work;

/// A unit of work of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// What kind of work.
    pub kind: TaskKind,
    /// It starts when every task of the lower stages is done.
    pub stage: u8,
    /// Predicted work; orders the tasks of a job, heaviest first.
    pub weight: u64,
    /// Predicted work, thousands of pixels to encode; 0 when not known.
    #[serde(default)]
    pub cost: u64,
    /// Frames it must yield; 0 when not known beforehand.
    #[serde(default)]
    pub frames: u64,
    /// Encoder that the worker must have proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<VideoEncoder>,
    /// Where it stands.
    pub state: TaskState,
    /// Raised by every claim; every write names the one it saw.
    pub epoch: u64,
    /// Attempts that failed by the task's own fault.
    pub attempts: u32,
    /// Workers lost while holding it.
    pub losses: u32,
    /// Workers that failed at it or were lost, newest last, at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<WorkerId>,
    /// How it lost workers, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loss>,
    /// Not to be claimed before.
    pub not_before: Timestamp,
    /// Who has it, while leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Who tries it too, because the first takes long: the first result counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<Lease>,
    /// Under which grant it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_by: Option<LeaseProof>,
    /// What it yielded, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A worker that went away with a task, whoever was at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Who.
    pub worker: WorkerId,
    /// When that was noticed.
    pub at: Timestamp,
    /// How long it had had the task, microseconds.
    pub after: i64,
    /// Which of the task's grants it had.
    #[serde(default)]
    pub epoch: u64,
    /// How far it had told to be, units.
    pub progress: u64,
    /// Its process is known to have died; otherwise it only fell silent.
    pub dead: bool,
}

/// Kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Probe the source, index its packets, make the plan.
    Analyse,
    /// Encode one chunk.
    EncodeChunk,
    /// Encode the whole video.
    EncodeVideo,
    /// Encode audio tracks.
    EncodeAudio,
    /// Stitch, verify, publish.
    Finish,
}

impl TaskKind {
    /// Whether only a worker beside the coordinator's blobs may run it: it
    /// needs the whole source but little work.
    #[must_use]
    pub fn is_house_work(self) -> bool {
        matches!(self, Self::Analyse | Self::EncodeAudio | Self::Finish)
    }

    /// The kind as people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Analyse => "analyse",
            Self::EncodeChunk => "chunk",
            Self::EncodeVideo => "video",
            Self::EncodeAudio => "audio",
            Self::Finish => "finish",
        }
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// An earlier stage is not done.
    Waiting,
    /// To be claimed.
    Ready,
    /// A worker has it.
    Leased,
    /// Done; its result counts.
    Done,
    /// Given up.
    Failed,
    /// Given up because it took worker after worker with it; released by hand.
    Quarantined,
    /// Cancelled with its job.
    Cancelled,
}

impl TaskState {
    /// Whether nothing will change any more, short of a retry by hand.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Quarantined | Self::Cancelled)
    }
}

/// What a task yielded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum TaskResult {
    /// The plan, which went to the job.
    Analysed,
    /// Encoded media.
    Encoded(Encoded),
    /// The output.
    Finished(Finished),
    /// The pieces are not of the size that was asked for: another pass is made.
    Missed {
        /// Bytes of the output that are not pictures; 0 where they do not matter.
        other: u64,
    },
}

/// Encoded media of a chunk, a whole video or the audio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// Where its bytes are.
    pub blob: BlobRef,
    /// Video frames in it; 0 for audio.
    pub frames: u64,
    /// Seconds the work took.
    pub seconds: f64,
    /// Digest of the codec's parameter sets; equal over all chunks of a job.
    pub extradata: String,
    /// Build of the encoder that made it.
    pub fingerprint: String,
    /// For a whole video: the timestamps of the decoded frames, ticks of the
    /// source, since no index told them beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pts: Option<crate::pts::PtsList>,
    /// How good it was measured to be, where a score was aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<crate::score::Score>,
    /// At which rate factor a picture was encoded, and how many bytes that gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coded: Option<crate::rate::Coded>,
}

/// The output of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finished {
    /// Where its bytes are; `None` when they went straight to a local path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobRef>,
    /// Bytes.
    pub bytes: u64,
    /// SHA-512, hexadecimal.
    pub sha512: String,
    /// Why it is believed good.
    pub verdict: Verdict,
}

/// Bytes in blob storage and what they must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlobRef {
    /// Their name.
    pub id: BlobId,
    /// How many.
    pub bytes: u64,
    /// SHA-512, hexadecimal.
    pub sha512: String,
}

impl Task {
    /// The grants that can speak for it: the first one's and the rival's.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.lease.iter().chain(&self.rival)
    }

    /// Whether `proof` is one of a grant that can speak for it.
    #[must_use]
    pub fn is_held_by(&self, proof: LeaseProof) -> bool {
        self.leases().any(|lease| lease.proof() == proof)
    }

    /// A new task, waiting for its stage.
    #[must_use]
    pub fn new(id: TaskId, kind: TaskKind, stage: u8, now: Timestamp) -> Self {
        Self {
            id,
            kind,
            stage,
            weight: 1,
            cost: 0,
            frames: 0,
            needs: None,
            state: if stage == 0 { TaskState::Ready } else { TaskState::Waiting },
            epoch: 0,
            attempts: 0,
            losses: 0,
            failed_on: Vec::new(),
            lost: Vec::new(),
            not_before: now,
            lease: None,
            rival: None,
            done_by: None,
            result: None,
            failure: None,
        }
    }
}
