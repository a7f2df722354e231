//! Jobs: requests to convert one source each.

use crate::container::Container;
use crate::dispatch::Dispatch;
use crate::encoder::VideoEncoder;
use crate::error::Failure;
use crate::id::{BlobId, JobId};
use crate::media::MediaInfo;
use crate::packets::Uncuttable;
use crate::plan::Plan;
use crate::preset::Preset;
use crate::retry::RetryPolicy;
use crate::task::{Finished, TaskState};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A request to convert one source, and how it fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// What it is called for people: usually the source's file name.
    pub name: String,
    /// Who owns it (a key's name), where keys are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// 0 (last) to 100 (first).
    pub priority: u8,
    /// The user's own marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What to convert.
    pub source: Source,
    /// How.
    pub request: Request,
    /// Where it stands.
    pub state: JobState,
    /// Which plan counts; raised when it is planned again.
    pub generation: u32,
    /// Tasks of this stage and below may run.
    pub stage: u8,
    /// What the probe found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaInfo>,
    /// The build of the encoder that all its chunks must come from; set by the
    /// first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_pin: Option<String>,
    /// Workers lost on its tasks since one of them was done. From
    /// [`PROBATION`] on, only one worker at a time tries it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub losses: u32,
    /// The output, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Finished>,
    /// Why it failed, was rejected or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What its client knows the source by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// How the dispatch protocol sees it, if it came by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<Box<Dispatch>>,
}

/// What a client knows a source by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The client.
    #[schemars(length(min = 1, max = 255))]
    pub client_id: String,
    /// The file's name at the client; for display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-512, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{128}$"))]
    pub checksum: Option<String>,
    /// Version of the client's program, or of the file, as the client counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// So many workers lost on a job without anything done in between, and only one
/// worker at a time tries it: one machine that is switched off costs nothing,
/// a source that kills its workers does not kill all of them at once.
pub const PROBATION: u32 = 2;

impl Job {
    /// The job's policy for the next of its tasks that fails. A film that kills
    /// whoever decodes it does so with every chunk: when a job has lost twice as
    /// many workers as one task may, with nothing done in between, the task that
    /// loses the next is quarantined, whatever it cost itself.
    #[must_use]
    pub fn patience(&self, policy: RetryPolicy) -> RetryPolicy {
        let most = policy.max_losses.saturating_mul(2);
        let max_losses = if self.losses.saturating_add(1) >= most { 1 } else { policy.max_losses };
        RetryPolicy { max_losses, ..policy }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What to convert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// Uploaded bytes.
    Upload {
        /// Their name in blob storage.
        blob: BlobId,
        /// How many.
        bytes: u64,
        /// SHA-512, hexadecimal.
        sha512: String,
        /// The file's name at its owner's; for display and for telling the
        /// container apart, never used as a path.
        file_name: String,
    },
    /// A file that this machine alone can read (`reelmill convert`).
    Local {
        /// Its path.
        path: String,
    },
    /// Something that the coordinator fetches by HTTP; an upload once it has.
    Url {
        /// Where it is.
        url: String,
    },
    /// A file of a library; an upload once the coordinator has taken it in.
    Library {
        /// The library's name.
        root: String,
        /// The file's path within it.
        path: String,
    },
}

impl Source {
    /// Whether both are the same bytes, wherever they lie.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Upload { sha512: one, .. }, Self::Upload { sha512: other, .. }) => one == other,
            _ => self == other,
        }
    }
}

/// How to convert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Request {
    /// Name of the preset it was made from.
    pub preset_name: String,
    /// The preset with all overrides applied.
    pub preset: Preset,
    /// Output container.
    pub container: Container,
    /// Chunk length asked for, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_seconds: Option<f64>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Where the output is put together when it stays on this machine; `None`
    /// when it goes to blob storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_path: Option<String>,
    /// Set when an attempt to cut the source failed: it is encoded whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncuttable: Option<Uncuttable>,
    /// Set when hardware failed at it: software encodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_failed: Option<String>,
}

impl Request {
    /// The encoder of the picture, if there is one.
    #[must_use]
    pub fn encoder(&self) -> Option<VideoEncoder> {
        self.preset.encoder_for(self.container)
    }

    /// The hardware encoders that may stand in for it, the best first; none once
    /// hardware has failed.
    #[must_use]
    pub fn hardware(&self) -> Vec<VideoEncoder> {
        let wanted = self.preset.video.as_ref().filter(|_| self.hardware_failed.is_none());
        match (wanted, self.encoder()) {
            (Some(video), Some(encoder)) => video.hardware.encoders(encoder.codec()),
            _ => Vec::new(),
        }
    }
}

/// Where a job stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its source is on the way.
    Uploading,
    /// Accepted; nothing has begun.
    Queued,
    /// Work has begun.
    Running,
    /// The output is there.
    Completed,
    /// A rule said not to convert it.
    Skipped,
    /// It was not accepted.
    Rejected,
    /// It was given up.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// Whether nothing will change any more, short of a retry by hand.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Uploading | Self::Queued | Self::Running)
    }

    /// The word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_value(serde_json::Value::String(text.to_owned()))
            .map_err(|_| format!("'{text}' is not a job state"))
    }
}

/// What a running job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Probing, indexing, planning.
    Analysing,
    /// Encoding.
    Encoding,
    /// Stitching and verifying.
    Finishing,
}

impl Phase {
    /// The phase of a stage number.
    #[must_use]
    pub fn of_stage(stage: u8) -> Self {
        match stage {
            0 => Self::Analysing,
            1 => Self::Encoding,
            _ => Self::Finishing,
        }
    }
}

/// What a job's tasks demand of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Work has begun.
    Start,
    /// The next stage may run.
    Advance {
        /// Which.
        stage: u8,
    },
    /// All is done.
    Complete,
    /// A task was given up: so is the job.
    GiveUp,
}

/// What the tasks of a job's current generation, as (stage, state) pairs,
/// demand of a job that stands at `stage` in state `state`.
#[must_use]
pub fn step(state: JobState, stage: u8, tasks: &[(u8, TaskState)]) -> Step {
    if state.is_final() || tasks.is_empty() {
        return Step::Stay;
    }
    if tasks.iter().any(|(_, t)| matches!(t, TaskState::Failed | TaskState::Quarantined)) {
        return Step::GiveUp;
    }
    let open = tasks.iter().filter(|(_, task)| *task != TaskState::Done).map(|(at, _)| *at).min();
    match open {
        None if stage == 0 => Step::Stay,
        None => Step::Complete,
        Some(open) if open > stage => Step::Advance { stage: open },
        Some(_) => {
            let begun = tasks.iter().any(|(_, t)| matches!(t, TaskState::Leased | TaskState::Done));
            if state == JobState::Queued && begun { Step::Start } else { Step::Stay }
        }
    }
}

/// A job with its plan, as stores keep them apart.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedJob {
    /// The job.
    pub job: Job,
    /// Its current plan.
    pub plan: Option<Plan>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_follows_its_tasks() {
        use TaskState::{Done, Failed, Leased, Ready, Waiting};
        let run = JobState::Running;
        assert_eq!(step(JobState::Queued, 0, &[(0, Ready)]), Step::Stay);
        assert_eq!(step(JobState::Queued, 0, &[(0, Leased)]), Step::Start);
        assert_eq!(step(run, 0, &[(0, Done)]), Step::Stay, "the plan's tasks are not there yet");
        let planned = [(0, Done), (1, Waiting), (2, Waiting)];
        assert_eq!(step(run, 0, &planned), Step::Advance { stage: 1 });
        assert_eq!(step(run, 1, &[(0, Done), (1, Leased), (2, Waiting)]), Step::Stay);
        assert_eq!(step(run, 1, &[(0, Done), (1, Failed), (2, Waiting)]), Step::GiveUp);
        assert_eq!(step(run, 2, &[(0, Done), (1, Done), (2, Done)]), Step::Complete);
        assert_eq!(step(JobState::Cancelled, 1, &[(1, Failed)]), Step::Stay);
    }
}
