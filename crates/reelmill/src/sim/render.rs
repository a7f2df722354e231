//! The farm as text, for whoever looks into a failing seed.

use super::world::World;
use reelmill_core::job::Job;

/// How everything stands.
pub(super) async fn farm(world: &World) -> Vec<String> {
    let mut lines = vec![String::new(), "the farm:".to_owned()];
    for (number, wanted) in world.wanted.iter().enumerate() {
        let marks =
            [(wanted.poison, "poison"), (wanted.bad, "no film"), (wanted.cancelled, "cancelled")];
        let marks: Vec<&str> = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark).collect();
        lines.push(format!("job {number} ({} chunks) {}", wanted.chunks, marks.join(", ")));
        let Some(id) = wanted.accepted else { continue };
        if let Ok(Some(job)) = world.real.job_get(id).await {
            lines.push(format!("  {id} {} stage {}", job.state.label(), job.stage));
            lines.extend(tasks(world, &job).await);
        }
    }
    for (number, worker) in world.workers.iter().enumerate() {
        let up = if worker.up { "up" } else { "down" };
        let lies = if worker.lies { ", lies" } else { "" };
        lines.push(format!("worker {number} {} {up}{lies}: {:?}", worker.id, worker.slots));
    }
    lines.push(format!(
        "{} blobs; the coordinator is {} s off",
        world.blobs.count(),
        world.offset / 1_000_000
    ));
    lines
}

async fn tasks(world: &World, job: &Job) -> Vec<String> {
    let tasks = world.real.tasks_of(job.id, job.generation).await.unwrap_or_default();
    let line = |task: &reelmill_core::task::Task| {
        let failure = task.failure.as_ref().map_or("", |failure| failure.message.as_str());
        format!(
            "    {} {} {:?}, epoch {}, {} attempts, {} losses {failure}",
            task.id.number,
            task.kind.label(),
            task.state,
            task.epoch,
            task.attempts,
            task.losses
        )
    };
    tasks.iter().map(line).collect()
}
