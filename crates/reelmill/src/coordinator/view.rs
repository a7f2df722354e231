//! What people and programs see of jobs and workers.

use super::fleet::far;
use super::{Coordinator, QueueState};
use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::fleet::{Outlook, Waits};
use reelmill_core::id::{JobId, WorkerId};
use reelmill_core::job::{Job, JobState, PROBATION, Phase};
use reelmill_core::load::Load;
use reelmill_core::plan::{Pieces, Plan, WholeReason};
use reelmill_core::rate::{Aim, Coded, MOST_PASSES};
use reelmill_core::score::Score;
use reelmill_core::task::{Task, TaskKind, TaskResult, TaskState};
use reelmill_store::{HistoryEntry, WorkerRecord, WorkerState};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A job with everything worth showing of its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct JobView {
    /// The job.
    #[serde(flatten)]
    pub(crate) job: Job,
    /// What it is at, while it runs.
    pub(crate) phase: Option<Phase>,
    /// Frames (of all chunks) done.
    pub(crate) frames_done: u64,
    /// Frames in all; `None` until planned, or when only decoding can tell.
    pub(crate) frames_total: Option<u64>,
    /// Frames a second, all workers together.
    pub(crate) fps: f64,
    /// Times real time.
    pub(crate) speed: Option<f64>,
    /// Seconds until encoding is through, at the present pace.
    pub(crate) eta_seconds: Option<f64>,
    /// How it stands with the size that is aimed at, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<SizeView>,
    /// The pieces.
    pub(crate) chunks: Vec<ChunkView>,
    /// Why it is encoded in one piece, if it is.
    pub(crate) whole_reason: Option<String>,
    /// Streams the output will not have, and other things worth telling.
    pub(crate) notes: Vec<String>,
}

/// How a job stands with the size that is aimed at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct SizeView {
    /// What is asked for.
    #[serde(flatten)]
    pub(crate) aim: Aim,
    /// Which pass over the film it is, from 1.
    pub(crate) pass: u32,
    /// How many there are at most.
    pub(crate) most_passes: u32,
    /// Lowest rate factor of a piece in this pass, once all are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crf_low: Option<f64>,
    /// Highest rate factor of a piece in this pass, once all are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crf_high: Option<f64>,
    /// Bits a second of picture, on average, once all pieces are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reached_bits: Option<f64>,
}

/// A task of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ChunkView {
    /// Its number in the plan.
    pub(crate) task: u32,
    /// What kind of work.
    pub(crate) kind: TaskKind,
    /// Where it stands.
    pub(crate) state: TaskState,
    /// Whose name has it now.
    pub(crate) worker: Option<String>,
    /// Frames done.
    pub(crate) frames_done: u64,
    /// Frames in all.
    pub(crate) frames_total: Option<u64>,
    /// Attempts begun.
    pub(crate) attempts: u64,
    /// Failed attempts.
    pub(crate) failed_attempts: u32,
    /// Workers lost on it.
    pub(crate) lost_workers: u32,
    /// The last failure's message.
    pub(crate) failure: Option<String>,
    /// How good it was measured to be, where a score was aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<Score>,
    /// At which rate factor a picture was encoded, and how many bytes that gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) coded: Option<Coded>,
    /// Who tries it too, because the first takes long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rival: Option<String>,
    /// Why it waits and where it will go, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outlook: Option<Outlook>,
    /// What the worker is called that will take it, as things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) goes_to: Option<String>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct WorkerView {
    /// The stored record.
    #[serde(flatten)]
    pub(crate) record: WorkerRecord,
    /// Tasks it runs now.
    pub(crate) busy: usize,
    /// What its machine is at, as it told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load: Option<Load>,
    /// What its machine has to spare, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
}

impl JobView {
    /// Encoded pieces done, and pieces in all.
    pub(crate) fn pieces(&self) -> (usize, usize) {
        let video = || self.chunks.iter().filter(|chunk| is_video(chunk.kind));
        (video().filter(|chunk| chunk.state == TaskState::Done).count(), video().count())
    }
}

impl Coordinator {
    /// A job and how it fares.
    pub(crate) async fn view(&self, job: Job) -> Result<JobView, Failure> {
        let store = &self.store;
        let tasks = store.tasks_of(job.id, job.generation).await?;
        let plan = store.plan_get(job.id, job.generation).await?;
        let names = self.worker_names().await?;
        let mut chunks: Vec<ChunkView> =
            tasks.iter().map(|task| self.chunk_view(task, plan.as_ref(), &names)).collect();
        if !job.state.is_final() {
            self.foretell(&job, &tasks, &names, &mut chunks).await?;
        }
        let video = |chunk: &&ChunkView| is_video(chunk.kind);
        let frames_done = chunks.iter().filter(video).map(|chunk| chunk.frames_done).sum();
        let frames_total: Option<u64> =
            chunks.iter().filter(video).map(|chunk| chunk.frames_total).sum();
        let frames_total = frames_total.filter(|_| plan.is_some());
        let generation = job.generation;
        let fps = self.live.rate_of(|t| t.job == job.id && t.generation == generation);
        let running = job.state == JobState::Running;
        Ok(JobView {
            phase: running.then(|| Phase::of_stage(job.stage)),
            frames_done,
            frames_total,
            fps,
            speed: source_fps(&job).filter(|_| fps > 0.0).map(|source| fps / source),
            eta_seconds: eta(frames_done, frames_total, fps).filter(|_| running),
            whole_reason: plan.as_ref().and_then(Plan::whole_reason).map(WholeReason::to_string),
            notes: plan.as_ref().map(notes).unwrap_or_default(),
            size: plan.as_ref().and_then(|plan| size(plan, &tasks)),
            chunks,
            job,
        })
    }

    /// Tells of what waits why, and where it will go.
    async fn foretell(
        &self,
        job: &Job,
        tasks: &[Task],
        names: &HashMap<WorkerId, String>,
        views: &mut [ChunkView],
    ) -> Result<(), Failure> {
        let outlooks = self.outlooks().await?;
        let paused = self.queue_state().await? == QueueState::Paused;
        let working = tasks.iter().any(|task| task.lease.is_some());
        let (probation, now) = (job.losses >= PROBATION && working, clock::now());
        for (task, view) in tasks.iter().zip(views) {
            let why = |why| Some(Outlook { why, worker: None, starts_in: None, takes: None });
            view.outlook = match task.state {
                TaskState::Waiting => why(Waits::Stage),
                TaskState::Ready if paused => why(Waits::QueuePaused),
                TaskState::Ready if probation => why(Waits::Probation),
                TaskState::Ready => {
                    let known = outlooks.get(&task.id).cloned();
                    Some(known.unwrap_or_else(|| far(task.not_before > now)))
                }
                _ => None,
            };
            let taker = view.outlook.as_ref().and_then(|outlook| outlook.worker);
            view.goes_to = taker.and_then(|id| names.get(&id).cloned());
        }
        Ok(())
    }

    fn chunk_view(
        &self,
        task: &Task,
        plan: Option<&Plan>,
        names: &HashMap<WorkerId, String>,
    ) -> ChunkView {
        let live = self.live.furthest(task.id);
        let total = plan
            .and_then(|plan| plan.chunks().get(task.id.number.checked_sub(1)? as usize))
            .map(|chunk| chunk.pts.len() as u64);
        let done = match &task.result {
            Some(TaskResult::Encoded(encoded)) => encoded.frames,
            _ => live.as_ref().map_or(0, |running| running.progress),
        };
        let holder = task.lease.as_ref().map(|lease| lease.worker);
        let name = |id: WorkerId| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        ChunkView {
            task: task.id.number,
            kind: task.kind,
            state: task.state,
            worker: holder.map(name),
            rival: task.rival.as_ref().map(|lease| name(lease.worker)),
            outlook: None,
            goes_to: None,
            frames_done: if is_video(task.kind) { done } else { 0 },
            frames_total: total.or((task.state == TaskState::Done).then_some(done)),
            attempts: task.epoch,
            failed_attempts: task.attempts,
            lost_workers: task.losses,
            score: match &task.result {
                Some(TaskResult::Encoded(encoded)) => encoded.score,
                _ => None,
            },
            coded: match &task.result {
                Some(TaskResult::Encoded(encoded)) => encoded.coded,
                _ => None,
            },
            failure: task.failure.as_ref().map(|failure| failure.message.clone()),
        }
    }

    /// What people call each worker.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn worker_names(&self) -> Result<HashMap<WorkerId, String>, Failure> {
        let workers = self.store.worker_list().await?;
        Ok(workers.into_iter().map(|worker| (worker.facts.id, worker.name)).collect())
    }

    /// What happened to a job, oldest first, after entry `after`; at most 1000.
    pub(crate) async fn history(
        &self,
        id: JobId,
        after: i64,
    ) -> Result<Vec<HistoryEntry>, Failure> {
        Ok(self.store.job_history(id, after, 1000).await?)
    }

    /// All workers that are not gone.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>, Failure> {
        let workers = self.store.worker_list().await?;
        let present = workers.into_iter().filter(|worker| worker.state != WorkerState::Gone);
        Ok(present.map(|record| self.worker_view(record)).collect())
    }

    /// A worker as it is shown.
    pub(super) fn worker_view(&self, record: WorkerRecord) -> WorkerView {
        let id = record.facts.id;
        let (busy, load) = (self.live.count_of(id), self.fleet.load_of(id));
        WorkerView { busy, load, score: load.map(Load::score), record }
    }
}

fn is_video(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::EncodeChunk | TaskKind::EncodeVideo)
}

fn source_fps(job: &Job) -> Option<f64> {
    let (_, info) = job.media.as_ref()?.video()?;
    info.fps().filter(|fps| fps.is_finite() && *fps > 0.0)
}

fn eta(done: u64, total: Option<u64>, fps: f64) -> Option<f64> {
    let left = total?.saturating_sub(done) as f64;
    (fps > 0.0).then_some(left / fps)
}

fn size(plan: &Plan, tasks: &[Task]) -> Option<SizeView> {
    let rate = plan.video.rate.as_ref()?;
    let pieces = Pieces::of(tasks);
    let got = pieces.as_ref().and_then(|pieces| plan.yields(pieces, 0));
    let crfs = got.map(|got| got.crfs());
    Some(SizeView {
        aim: rate.aim,
        pass: rate.pass,
        most_passes: MOST_PASSES,
        crf_low: crfs.map(|(low, _)| low),
        crf_high: crfs.map(|(_, high)| high),
        reached_bits: got.map(|got| got.bits()),
    })
}

fn notes(plan: &Plan) -> Vec<String> {
    let dropped = plan.dropped.iter();
    let dropped =
        dropped.map(|d| format!("dropped: stream {} ({}): {}", d.stream, d.what, d.reason));
    plan.notes.iter().cloned().chain(dropped).collect()
}
