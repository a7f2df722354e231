//! The whole farm in one thread, from a seed: the production coordinator over
//! a store, workers that keep to the protocol, clients, and all that can go
//! wrong between them. What must hold is checked after every change.
//!
//! `REELMILL_SIM_SEED=123 cargo test -p reelmill sim::` replays one seed and
//! prints its story; `REELMILL_SIM_SEEDS=from..to` runs others than usual.

mod blobs;
mod calls;
pub(crate) mod dice;
mod faults;
mod people;
mod render;
mod store;
mod store_service;
mod tests;
mod watch;
mod work;
mod worker;
mod world;

use crate::api::tests::farm::settings;
use crate::clock::simulate;
use crate::coordinator::Settings;
use faults::TROUBLE;
use reelmill_core::error::FailureClass;
use reelmill_core::job::JobState;
use reelmill_core::task::TaskResult;
use reelmill_store::{MemoryStore, Store};
use std::sync::Arc;
use world::{SECOND, Setup, World};

/// Longest that a world may take to come to rest once nothing goes wrong any
/// more: a lease that a clock set wrong made long is an hour.
const REST: i64 = TROUBLE + 3 * 3600 * SECOND;

/// Most steps of a world: it would be going round in circles.
const STEPS: u64 = 2_000_000;

/// How a world went.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    /// Stands for everything that happened.
    trace: u64,
    /// What must not have happened and did.
    wrong: Vec<String>,
    /// Its story, when it was kept.
    story: Vec<String>,
    /// Steps it took.
    steps: u64,
    /// Attempts that cost a worker.
    losses: u32,
    /// Words that were refused.
    refused: u32,
    /// Second attempts beside a running one.
    rivals: u32,
    /// Passes over a film beyond the first.
    passes: u32,
    /// How its jobs ended.
    ends: Vec<JobState>,
}

/// Runs the world of `setup` to its end.
async fn run(setup: Setup, real: Arc<dyn Store>, settings: Settings) -> Outcome {
    simulate(None);
    let mut world = World::new(setup, real, settings);
    let begun = world.now;
    let mut steps = 0;
    let mut looked = 0;
    let mut last = 0;
    loop {
        let more = world.step().await;
        steps += 1;
        let wrong = !world.watch.seen().wrong.is_empty();
        if wrong || !more || steps > STEPS || world.now - begun > REST {
            break;
        }
        let changed = world.watch.seen().trace;
        if world.now - begun > TROUBLE && changed != last && world.now - looked > SECOND {
            (looked, last) = (world.now, changed);
            if world.all_ended().await && world.rested() {
                break;
            }
        }
    }
    judge(&world).await;
    let mut outcome = Outcome {
        trace: 0,
        wrong: Vec::new(),
        story: Vec::new(),
        steps,
        losses: 0,
        refused: 0,
        rivals: 0,
        passes: 0,
        ends: ends(&world).await,
    };
    if setup.loud {
        outcome.story = render::farm(&world).await;
    }
    let mut seen = world.watch.seen();
    seen.mark(steps);
    outcome.trace = seen.trace;
    outcome.wrong = std::mem::take(&mut seen.wrong);
    outcome.story.splice(0..0, std::mem::take(&mut seen.told));
    (outcome.losses, outcome.refused, outcome.rivals) = (seen.losses, seen.refused, seen.rivals);
    outcome.passes = seen.passes;
    drop(seen);
    simulate(None);
    outcome
}

async fn ends(world: &World) -> Vec<JobState> {
    let mut ends = Vec::new();
    for id in world.wanted.iter().filter_map(|wanted| wanted.accepted) {
        if let Ok(Some(job)) = world.real.job_get(id).await {
            ends.push(job.state);
        }
    }
    ends
}

/// What must hold when all is over.
async fn judge(world: &World) {
    let mut wrong = Vec::new();
    for (number, wanted) in world.wanted.iter().enumerate() {
        let Some(id) = wanted.accepted else {
            wrong.push(format!("job {number} was never accepted"));
            continue;
        };
        let Ok(Some(job)) = world.real.job_get(id).await else {
            wrong.push(format!("job {number}, which was accepted as {id}, is lost"));
            continue;
        };
        if !job.state.is_final() {
            wrong.push(format!("job {number} never ends: it is {}", job.state.label()));
        }
        if job.state == JobState::Completed {
            let blob = job.output.as_ref().and_then(|output| output.blob.as_ref());
            let meaning = blob.and_then(|blob| world.blobs.meaning(blob.id));
            if !meaning.is_some_and(|meaning| meaning.starts_with("the pictures of")) {
                wrong.push(format!("job {number} is completed, but its output is not there"));
            }
            if wanted.bad {
                wrong.push(format!("job {number} is completed, but it was no film"));
            }
        }
        let class = job.failure.as_ref().map(|failure| failure.class);
        if class == Some(FailureClass::Quarantined) && !wanted.poison {
            wrong.push(format!("job {number} is quarantined, but it killed nobody"));
        }
        if job.state == JobState::Completed && wanted.poison {
            wrong.push(format!("job {number} is completed, but it kills whoever tries it"));
        }
        let reason = wanted.bad || wanted.poison || wanted.cancelled || !world.setup.calm;
        if job.state != JobState::Completed && job.state.is_final() && !reason {
            wrong.push(format!("job {number} is {} for no reason", job.state.label()));
        }
        wrong.extend(done_right(world, number, &job).await);
    }
    if world.setup.calm && world.watch.seen().losses > 0 {
        wrong.push("workers were held for lost though nothing went wrong".into());
    }
    world.watch.seen().wrong.extend(wrong);
}

/// What is done, is done as the model saw it.
async fn done_right(world: &World, number: usize, job: &reelmill_core::job::Job) -> Vec<String> {
    let Ok(tasks) = world.real.tasks_of(job.id, job.generation).await else { return Vec::new() };
    let seen = world.watch.seen();
    let mut wrong = Vec::new();
    for task in tasks {
        if task.result.is_some() != seen.done.contains_key(&task.id) {
            wrong.push(format!("job {number}: {} is not as it was seen", task.id));
        }
        let Some(TaskResult::Encoded(encoded)) = &task.result else { continue };
        let there = world.blobs.meaning(encoded.blob.id).is_some();
        if !there && job.state != JobState::Completed {
            wrong.push(format!("job {number}: the bytes of {} are gone", task.id));
        }
    }
    wrong
}

/// Runs `setup` over rows in memory.
fn in_memory(setup: Setup, settings: &Settings) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    runtime.block_on(run(setup, store, settings.clone()))
}

/// The settings of all worlds.
fn usual() -> Settings {
    settings()
}
