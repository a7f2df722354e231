//! Tasks and their one state machine.

use crate::check::Verdict;
use crate::chunk::{ByteRange, Chunk, slice};
use crate::encoder::VideoEncoder;
use crate::error::{Failure, FailureClass};
use crate::id::{BlobId, TaskId, WorkerId};
use crate::lease::{Lease, LeaseEnd, LeaseProof, LeaseTerms};
use crate::plan::{Cut, Plan, VideoEncode};
use crate::retry::{Next, RetryPolicy};
use crate::time::{TimeBase, Timestamp};
use crate::tracks::{TrackAction, TrackPlan};
use serde::{Deserialize, Serialize};

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
    /// Not to be claimed before.
    pub not_before: Timestamp,
    /// Who has it, while leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// What it yielded, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Cancelled with its job.
    Cancelled,
}

impl TaskState {
    /// Whether nothing will change any more, short of a retry by hand.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
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
}

/// The output of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Their name.
    pub id: BlobId,
    /// How many.
    pub bytes: u64,
    /// SHA-512, hexadecimal.
    pub sha512: String,
}

/// What a worker is to do: everything, so that it has no choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Encode one chunk.
    EncodeChunk {
        /// Stream index in the source.
        stream: u32,
        /// Seconds per tick.
        time_base: TimeBase,
        /// How.
        encode: VideoEncode,
        /// Which frames.
        chunk: Chunk,
        /// Bytes of the source that suffice for it; empty when all are needed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        slice: Vec<ByteRange>,
    },
    /// Encode the whole video.
    EncodeVideo {
        /// Stream index in the source.
        stream: u32,
        /// Seconds per tick.
        time_base: TimeBase,
        /// How.
        encode: VideoEncode,
        /// Seconds the source declares.
        declared: Option<f64>,
    },
    /// Encode audio tracks, all into one file in this order.
    EncodeAudio {
        /// The tracks that are encoded.
        tracks: Vec<TrackPlan>,
    },
    /// Stitch and verify.
    Finish,
}

impl Plan {
    /// The tasks of this plan, numbered from 1 (0 is the analysis that made
    /// it): chunks or the whole video, audio beside it, then the finish.
    #[must_use]
    pub fn tasks(&self, job: crate::id::JobId, generation: u32, now: Timestamp) -> Vec<Task> {
        let needs = Some(self.video.encode.encoder);
        let mut kinds: Vec<(TaskKind, u8, u64, Option<VideoEncoder>)> = match &self.video.cut {
            Cut::Chunks { chunks } => {
                chunks.iter().map(|c| (TaskKind::EncodeChunk, 1, c.weight, needs)).collect()
            }
            Cut::Whole { .. } => vec![(TaskKind::EncodeVideo, 1, u64::MAX >> 1, needs)],
        };
        if self.encodes_audio() {
            kinds.push((TaskKind::EncodeAudio, 1, 1, None));
        }
        kinds.push((TaskKind::Finish, 2, 1, None));
        let numbered = (1u32..).zip(kinds);
        numbered
            .map(|(number, (kind, stage, weight, needs))| {
                let id = TaskId { job, generation, number };
                Task { weight, needs, ..Task::new(id, kind, stage, now) }
            })
            .collect()
    }

    /// What task `number` of this plan is to do.
    #[must_use]
    pub fn work(&self, number: u32) -> Option<Work> {
        let video = &self.video;
        let at = number.checked_sub(1)? as usize;
        let pieces = self.chunks().len().max(1);
        if at >= pieces {
            return match (at - pieces, self.encodes_audio()) {
                (0, true) => Some(Work::EncodeAudio { tracks: self.encoded_audio() }),
                (0, false) | (1, true) => Some(Work::Finish),
                _ => None,
            };
        }
        let (stream, time_base, encode) = (video.stream, video.time_base, video.encode.clone());
        Some(match &video.cut {
            Cut::Chunks { chunks } => {
                let chunk = chunks.get(at)?.clone();
                let slice = slice(&self.skeleton, chunk.bytes, self.source_bytes);
                Work::EncodeChunk { stream, time_base, encode, chunk, slice }
            }
            Cut::Whole { declared, .. } => {
                Work::EncodeVideo { stream, time_base, encode, declared: *declared }
            }
        })
    }

    fn encoded_audio(&self) -> Vec<TrackPlan> {
        let encoded = |track: &&TrackPlan| matches!(track.action, TrackAction::EncodeAudio { .. });
        self.tracks.iter().filter(encoded).cloned().collect()
    }
}

/// Something that happens to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// The earlier stages are done.
    Unblock,
    /// A worker takes it.
    Claim(Lease),
    /// Its worker is alive and has done so many units.
    Renew(LeaseProof, u64),
    /// Its worker has done it.
    Complete(LeaseProof, TaskResult),
    /// Its worker failed.
    Fail(LeaseProof, Failure),
    /// Its worker gives it back, undone, through nobody's fault.
    Release(LeaseProof),
    /// Its lease may have ended: look.
    Sweep,
    /// Its worker is known to be gone (its process restarted or signed off).
    WorkerGone,
    /// Its job was cancelled.
    Cancel,
    /// A person asks for another try.
    Reopen,
    /// The coordinator was away: the lease gets a full period again.
    Grace,
}

/// What chance and policy a transition needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How long leases last.
    pub terms: LeaseTerms,
    /// When to try again.
    pub retry: RetryPolicy,
    /// A random number in 0..1, to spread retries out.
    pub chance: f64,
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The lease named is not the current one: another attempt has it, or had.
    Stale,
    /// The very same report was taken before; all is well.
    Repeated,
    /// The task is not in a state where this can happen.
    NotNow,
}

/// A change of a task that an event brought about.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The task after it.
    pub task: Task,
    /// What to tell in the job's history; `None` when it is not worth telling.
    pub told: Option<Told>,
}

/// What a task's history tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// A worker took it.
    Claimed {
        /// Who.
        worker: WorkerId,
    },
    /// It is done.
    Done {
        /// By whom.
        worker: WorkerId,
    },
    /// An attempt failed; it is tried again.
    Retrying {
        /// By whom it was tried.
        worker: WorkerId,
        /// What went wrong.
        failure: Failure,
    },
    /// It was given up.
    GaveUp {
        /// By whom it was tried last.
        worker: WorkerId,
        /// What went wrong.
        failure: Failure,
    },
    /// Its worker gave it back.
    Released {
        /// Who.
        worker: WorkerId,
    },
    /// It was cancelled.
    Cancelled,
    /// It was opened again by hand.
    Reopened,
}

/// What becomes of `task` when `event` happens at `now`.
///
/// The only place where a task changes; stores apply the result under a
/// compare-and-set on the epoch.
///
/// # Errors
/// [`Refused`] when the event does not count; the task stays as it is.
pub fn transition(
    task: &Task,
    event: TaskEvent,
    rules: Rules,
    now: Timestamp,
) -> Result<Change, Refused> {
    match event {
        TaskEvent::Unblock => task.unblock(),
        TaskEvent::Claim(lease) => task.claim(lease, now),
        TaskEvent::Renew(proof, progress) => task.renew(proof, progress, rules.terms, now),
        TaskEvent::Complete(proof, result) => task.complete(proof, result),
        TaskEvent::Fail(proof, failure) => {
            let lease = task.held(proof)?.clone();
            Ok(task.fail(&lease, failure, rules, now))
        }
        TaskEvent::Release(proof) => {
            let worker = task.held(proof)?.worker;
            Ok(task.reopen_with(Told::Released { worker }))
        }
        TaskEvent::Sweep => task.sweep(rules, now),
        TaskEvent::WorkerGone => {
            let lease = task.lease.clone().ok_or(Refused::NotNow)?;
            Ok(task.fail(&lease, lost("its worker stopped"), rules, now))
        }
        TaskEvent::Cancel => task.cancel(),
        TaskEvent::Reopen => task.reopen(now),
        TaskEvent::Grace => task.grace(rules.terms, now),
    }
}

fn lost(message: &str) -> Failure {
    Failure::new(FailureClass::WorkerLost, message)
}

impl Task {
    /// A new task, waiting for its stage.
    #[must_use]
    pub fn new(id: TaskId, kind: TaskKind, stage: u8, now: Timestamp) -> Self {
        Self {
            id,
            kind,
            stage,
            weight: 1,
            needs: None,
            state: if stage == 0 { TaskState::Ready } else { TaskState::Waiting },
            epoch: 0,
            attempts: 0,
            losses: 0,
            failed_on: Vec::new(),
            not_before: now,
            lease: None,
            result: None,
            failure: None,
        }
    }

    fn held(&self, proof: LeaseProof) -> Result<&Lease, Refused> {
        match &self.lease {
            Some(lease) if lease.id == proof.lease && self.epoch == proof.epoch => Ok(lease),
            _ => Err(Refused::Stale),
        }
    }

    fn unblock(&self) -> Result<Change, Refused> {
        if self.state != TaskState::Waiting {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Ready, ..self.clone() };
        Ok(Change { task, told: None })
    }

    fn claim(&self, lease: Lease, now: Timestamp) -> Result<Change, Refused> {
        if self.state != TaskState::Ready || now < self.not_before {
            return Err(Refused::NotNow);
        }
        let told = Some(Told::Claimed { worker: lease.worker });
        let task = Self {
            state: TaskState::Leased,
            epoch: self.epoch + 1,
            lease: Some(lease),
            ..self.clone()
        };
        Ok(Change { task, told })
    }

    fn renew(
        &self,
        proof: LeaseProof,
        progress: u64,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<Change, Refused> {
        let mut lease = self.held(proof)?.clone();
        if lease.ended(terms, now).is_some() {
            return Err(Refused::Stale);
        }
        if progress > lease.progress {
            lease.progress = progress;
            lease.progress_since = now;
        }
        lease.expires = now.plus_micros(terms.length);
        Ok(Change { task: Self { lease: Some(lease), ..self.clone() }, told: None })
    }

    fn complete(&self, proof: LeaseProof, result: TaskResult) -> Result<Change, Refused> {
        if self.state == TaskState::Done
            && self.epoch == proof.epoch
            && self.result.as_ref() == Some(&result)
        {
            return Err(Refused::Repeated);
        }
        let worker = self.held(proof)?.worker;
        let task = Self {
            state: TaskState::Done,
            lease: None,
            result: Some(result),
            failure: None,
            ..self.clone()
        };
        Ok(Change { task, told: Some(Told::Done { worker }) })
    }

    fn fail(&self, lease: &Lease, mut failure: Failure, rules: Rules, now: Timestamp) -> Change {
        let worker = lease.worker;
        let lost = failure.class == FailureClass::WorkerLost;
        let mut task = Self {
            lease: None,
            attempts: self.attempts + u32::from(!lost),
            losses: self.losses + u32::from(lost),
            ..self.clone()
        };
        task.failed_on.retain(|id| *id != worker);
        task.failed_on.push(worker);
        if task.failed_on.len() > 8 {
            task.failed_on.remove(0);
        }
        match rules.retry.next(&failure, task.attempts, task.losses, rules.chance) {
            Next::Again { pause } => {
                task.state = TaskState::Ready;
                task.not_before = now.plus_micros(pause);
            }
            Next::GiveUp => task.state = TaskState::Failed,
            Next::Quarantine => {
                task.state = TaskState::Failed;
                failure = quarantined(&failure, task.losses);
            }
        }
        task.failure = Some(failure.clone());
        let told = if task.state == TaskState::Failed {
            Told::GaveUp { worker, failure }
        } else {
            Told::Retrying { worker, failure }
        };
        Change { task, told: Some(told) }
    }

    fn sweep(&self, rules: Rules, now: Timestamp) -> Result<Change, Refused> {
        let lease = self.lease.clone().ok_or(Refused::NotNow)?;
        let failure = match lease.ended(rules.terms, now).ok_or(Refused::NotNow)? {
            LeaseEnd::Expired => lost("its worker sent no sign of life in time"),
            LeaseEnd::Stalled => {
                Failure::new(FailureClass::Timeout, "the work made no progress for too long")
            }
            LeaseEnd::Deadline => {
                Failure::new(FailureClass::Timeout, "the attempt took longer than allowed")
            }
        };
        Ok(self.fail(&lease, failure, rules, now))
    }

    fn cancel(&self) -> Result<Change, Refused> {
        if self.state.is_final() {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Cancelled, lease: None, ..self.clone() };
        Ok(Change { task, told: Some(Told::Cancelled) })
    }

    fn reopen(&self, now: Timestamp) -> Result<Change, Refused> {
        if !matches!(self.state, TaskState::Failed | TaskState::Cancelled) {
            return Err(Refused::NotNow);
        }
        let mut change = self.reopen_with(Told::Reopened);
        change.task.attempts = 0;
        change.task.losses = 0;
        change.task.failed_on.clear();
        change.task.failure = None;
        change.task.not_before = now;
        change.task.state = TaskState::Waiting;
        Ok(change)
    }

    fn reopen_with(&self, told: Told) -> Change {
        let task = Self { state: TaskState::Ready, lease: None, ..self.clone() };
        Change { task, told: Some(told) }
    }

    fn grace(&self, terms: LeaseTerms, now: Timestamp) -> Result<Change, Refused> {
        let mut lease = self.lease.clone().ok_or(Refused::NotNow)?;
        lease.expires = now.plus_micros(terms.length);
        lease.progress_since = now;
        Ok(Change { task: Self { lease: Some(lease), ..self.clone() }, told: None })
    }
}

fn quarantined(last: &Failure, losses: u32) -> Failure {
    let message = format!("it took {losses} workers with it, the last time: {}", last.message);
    Failure::new(FailureClass::Permanent, message)
        .advise("look at the workers' logs and memory; 'reelmill retry' tries it again")
}
