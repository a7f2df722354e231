//! What a worker is told when a task is granted to it.

use super::Coordinator;
use crate::task_source::{Assignment, FinishOrder, Order, Part};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use reelmill_core::lease::LeaseProof;
use reelmill_core::plan::{Plan, PlanLimits};
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskKind, TaskResult};
use reelmill_store::Applied;
use std::sync::Arc;

impl Coordinator {
    /// `ready` is what else can be claimed: tells how busy the farm is.
    pub(super) async fn assignment(
        &self,
        applied: &Applied,
        proof: LeaseProof,
        ready: &[Candidate],
    ) -> Result<Assignment, Failure> {
        let (job, task) = (&applied.job, &applied.task);
        let order = match task.kind {
            TaskKind::Analyse => Order::Analyse {
                request: Box::new(job.request.clone()),
                limits: self.limits(job, ready),
            },
            TaskKind::Finish => Order::Finish(Box::new(self.finish_order(job).await?)),
            TaskKind::EncodeChunk | TaskKind::EncodeVideo | TaskKind::EncodeAudio => {
                let plan = self.plan(job).await?;
                let work = plan.work(task.id.number).ok_or_else(|| broken(job))?;
                let slots = self.slots_of(task, proof);
                let work = work.among(ready.len(), slots as usize);
                let media = Box::new(job.media.clone().ok_or_else(|| broken(job))?);
                Order::Encode { work: Box::new(work), media }
            }
        };
        let source = job.source.clone();
        Ok(Assignment { task: task.id, kind: task.kind, proof, source, order })
    }

    /// Encoders of the worker that holds the task by this proof.
    fn slots_of(&self, task: &Task, proof: LeaseProof) -> u32 {
        let lease = task.leases().find(|lease| lease.id == proof.lease);
        lease.map_or(1, |lease| self.fleet.encoders(lease.worker))
    }

    /// The job's current plan.
    pub(super) async fn plan(&self, job: &Job) -> Result<Arc<Plan>, Failure> {
        let plan = self.plan_of(job.id, job.generation).await?;
        plan.ok_or_else(|| broken(job))
    }

    /// What the farm can offer a job that is planned now.
    fn limits(&self, job: &Job, ready: &[Candidate]) -> PlanLimits {
        let slots = job.request.encoder().map_or(1, |encoder| self.fleet.slots_for(encoder));
        let able = |encoder: &VideoEncoder| self.fleet.slots_for(*encoder) > 0;
        let hardware = job.request.hardware().into_iter().find(able);
        let others = |task: &&Candidate| {
            task.task.job != job.id && !task.kind.is_house_work() && task.priority >= job.priority
        };
        PlanLimits {
            slots,
            queued: ready.iter().filter(others).count() as u32,
            threads: self.settings.encoder_threads,
            chunk_seconds: job.request.chunk_seconds,
            hardware,
        }
    }

    async fn finish_order(&self, job: &Job) -> Result<FinishOrder, Failure> {
        let plan = self.plan(job).await?;
        let tasks = self.store.tasks_of(job.id, job.generation).await?;
        let part = |task: &Task| match &task.result {
            Some(TaskResult::Encoded(encoded)) => Some(Part {
                blob: encoded.blob.clone(),
                extradata: encoded.extradata.clone(),
                pts: encoded.pts.clone(),
                frames: encoded.frames,
                score: encoded.score,
                coded: encoded.coded,
            }),
            _ => None,
        };
        let of = |kinds: &[TaskKind]| -> Option<Vec<Part>> {
            tasks.iter().filter(|task| kinds.contains(&task.kind)).map(part).collect()
        };
        let video = of(&[TaskKind::EncodeChunk, TaskKind::EncodeVideo]);
        let audio = of(&[TaskKind::EncodeAudio]);
        Ok(FinishOrder {
            plan: Plan::clone(&plan),
            media: job.media.clone().ok_or_else(|| broken(job))?,
            video: video.ok_or_else(|| broken(job))?,
            audio: audio.ok_or_else(|| broken(job))?.pop(),
            stage_path: job.request.stage_path.clone(),
        })
    }
}

fn broken(job: &Job) -> Failure {
    Failure::permanent(format!("the stored state of job {} is incomplete", job.id))
        .advise("cancel it and submit it again")
}
