//! The one seam between workers and whatever hands them tasks.
//!
//! A worker cannot tell whether its tasks come from the same process, over
//! gRPC or from a shared folder.

use async_trait::async_trait;
use reelmill_core::check::Check;
use reelmill_core::error::Failure;
use reelmill_core::id::{LeaseId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Request, Source};
use reelmill_core::lease::LeaseProof;
use reelmill_core::load::{Load, Speeds};
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::{Pieces, Plan, PlanLimits};
use reelmill_core::pts::PtsList;
use reelmill_core::rate::Coded;
use reelmill_core::schedule::WorkerFacts;
use reelmill_core::score::{self, Score};
use reelmill_core::task::{BlobRef, TaskKind, TaskResult, Work};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Hands out tasks and takes back what became of them.
#[async_trait]
pub(crate) trait TaskSource: Send + Sync {
    /// Makes a worker known. Work that an earlier run of it held is given to
    /// others at once.
    async fn join(&self, hello: &Hello) -> Result<Terms, SourceError>;

    /// The next task for a worker; waits up to `patience` for one.
    async fn claim(&self, ask: &Ask, patience: Duration)
    -> Result<Option<Assignment>, SourceError>;

    /// Keeps a lease alive and tells how far the work is.
    async fn renew(&self, renewal: &Renewal) -> Result<Standing, SourceError>;

    /// Tells what became of a task.
    async fn report(&self, done: &Done) -> Result<Standing, SourceError>;

    /// The worker signs off; it holds nothing any more.
    async fn leave(&self, worker: WorkerId, session: SessionId) -> Result<(), SourceError>;
}

/// A worker introduces itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What it can do.
    pub(crate) facts: WorkerFacts,
    /// Its name for people: usually the host's.
    pub(crate) name: String,
    /// This run of it.
    pub(crate) session: SessionId,
    /// Tasks it runs at once.
    pub(crate) slots: u32,
    /// reelmill's version there.
    pub(crate) version: String,
    /// How fast it was in a benchmark of its own, thousands of pixels a second.
    #[serde(default)]
    pub(crate) benchmarks: Speeds,
}

/// What a worker is told when it joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Microseconds that a lease lasts without renewal.
    pub(crate) lease: i64,
    /// Microseconds between renewals.
    pub(crate) heartbeat: i64,
}

/// A worker asks for a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Who asks, and for what kind of work.
    pub(crate) facts: WorkerFacts,
    /// Which run of it.
    pub(crate) session: SessionId,
    /// Names this question: asked again because the answer was lost, it yields
    /// the same grant.
    #[serde(default)]
    pub(crate) request: Option<LeaseId>,
    /// What the machine is at.
    #[serde(default)]
    pub(crate) load: Option<Load>,
}

/// A task granted to a worker, with all it needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The task.
    pub(crate) task: TaskId,
    /// What kind of work.
    pub(crate) kind: TaskKind,
    /// Proof of the lease, to be shown with every word about the task.
    pub(crate) proof: LeaseProof,
    /// What to read.
    pub(crate) source: Source,
    /// What to do.
    pub(crate) order: Order,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Probe, index, plan.
    Analyse {
        /// What was asked for.
        request: Box<Request>,
        /// What the farm has to offer.
        limits: PlanLimits,
    },
    /// Encode something.
    Encode {
        /// What.
        work: Box<Work>,
        /// The source's facts.
        media: Box<MediaInfo>,
    },
    /// Stitch and verify.
    Finish(Box<FinishOrder>),
}

/// What is needed to stitch and verify.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FinishOrder {
    /// The plan.
    pub(crate) plan: Plan,
    /// The source's facts.
    pub(crate) media: MediaInfo,
    /// The encoded video, in order.
    pub(crate) video: Vec<Part>,
    /// The encoded audio, if any was.
    pub(crate) audio: Option<Part>,
    /// Where to put the output together, when it stays on this machine.
    pub(crate) stage_path: Option<String>,
}

impl FinishOrder {
    /// How good the pieces were measured to be, where a score was aimed at.
    pub(crate) fn score(&self) -> Option<Check> {
        let target = self.plan.video.encode.as_ref()?.target?;
        let measured = self.video.iter().filter_map(|part| Some((part.frames, part.score?)));
        let pieces: Vec<(u64, Score)> = measured.collect();
        Some(score::check(&target, &pieces, self.video.len()))
    }

    /// The pieces, where each is known for what it is.
    pub(crate) fn pieces(&self) -> Option<Pieces<'_>> {
        let made = self.video.iter().map(|part| part.coded).collect::<Option<_>>()?;
        Some(Pieces { made, pts: self.video.first().and_then(|part| part.pts.as_ref()) })
    }
}

/// A finished piece of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its bytes.
    pub(crate) blob: BlobRef,
    /// Digest of its codec's parameter sets.
    pub(crate) extradata: String,
    /// For a whole video: its frames' timestamps, ticks of the source.
    pub(crate) pts: Option<PtsList>,
    /// Video frames in it.
    #[serde(default)]
    pub(crate) frames: u64,
    /// How good it was measured to be.
    #[serde(default)]
    pub(crate) score: Option<Score>,
    /// At which rate factor it was encoded, and how many bytes of pictures that gave.
    #[serde(default)]
    pub(crate) coded: Option<Coded>,
}

/// A sign of life for one task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    /// Which task.
    pub(crate) task: TaskId,
    /// Under which lease.
    pub(crate) proof: LeaseProof,
    /// Who says so.
    pub(crate) worker: WorkerId,
    /// Units done so far (video: frames), never falling.
    pub(crate) progress: u64,
    /// Units a second.
    pub(crate) rate: f64,
    /// What the worker's machine is at, where that is known.
    pub(crate) load: Option<Load>,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Which task.
    pub(crate) task: TaskId,
    /// Under which lease.
    pub(crate) proof: LeaseProof,
    /// Who says so.
    pub(crate) worker: WorkerId,
    /// What.
    pub(crate) report: Report,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The source is understood and the plan made.
    Analysed {
        /// What the probe found.
        media: MediaInfo,
        /// The plan.
        plan: Box<Plan>,
    },
    /// Media was encoded, or the output finished.
    Done {
        /// What came of it.
        result: TaskResult,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// It is given back undone; nobody's fault.
    Released,
}

/// How a worker stands with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// The lease holds, or the report counted.
    Held,
    /// The task is somebody else's now, or nobody's: stop and tidy up.
    Lost,
}

/// Why a source of tasks did not answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SourceError {
    /// It is away; try again.
    Away(String),
    /// It refuses us, now and later (wrong token, too old…).
    Refused(Failure),
    /// That question had its answer, and what was granted then is over: ask anew.
    Answered,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(why) => write!(f, "the coordinator does not answer: {why}"),
            Self::Refused(failure) => failure.fmt(f),
            Self::Answered => f.write_str("that question had its answer: ask a new one"),
        }
    }
}
