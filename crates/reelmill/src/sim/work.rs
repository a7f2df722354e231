//! What comes of a task in the simulation: what a real worker would report,
//! unless it lies or something breaks.

use super::worker::FRAMES;
use super::world::World;
use crate::api::tests::farm::{analysed, finished};
use crate::clock;
use crate::task_source::{Assignment, FinishOrder, Order, Report};
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, TaskId};
use reelmill_core::job::Source;
use reelmill_core::task::{BlobRef, Encoded, TaskResult};
use reelmill_store::{BlobRecord, BlobRole};

/// What the bytes of a task's true result stand for.
pub(super) fn truth(task: TaskId) -> String {
    format!("the pictures of {}.{}", task.generation, task.number)
}

/// The report of `worker` about `assignment`; `None` when the work killed it.
pub(super) fn report(world: &mut World, worker: usize, assignment: &Assignment) -> Option<Report> {
    let wanted = world.wanted.iter().find(|wanted| match &assignment.source {
        Source::Upload { blob, .. } => *blob == wanted.blob,
        _ => false,
    });
    let (chunks, poison, bad) = wanted.map_or((0, false, false), |w| (w.chunks, w.poison, w.bad));
    if world.dice.hits(world.weather.failing) {
        return Some(Report::Failed { failure: Failure::transient("a cable") });
    }
    Some(match &assignment.order {
        Order::Analyse { .. } if bad => Report::Failed { failure: Failure::input("it is no film") },
        Order::Analyse { .. } => analysed(chunks),
        Order::Encode { .. } if poison => return None,
        Order::Encode { .. } => encode(world, worker, assignment),
        Order::Finish(order) => finish(world, order, assignment.task),
    })
}

fn encode(world: &mut World, worker: usize, assignment: &Assignment) -> Report {
    let lie = world.workers[worker].lies.then(|| world.dice.below(6));
    let meaning = match lie {
        Some(0) => "garbage".to_owned(),
        _ => truth(assignment.task),
    };
    let Some(mut blob) = send(world, worker, assignment.task, meaning) else {
        return Report::Failed { failure: Failure::transient("no space for the result") };
    };
    let mut frames = FRAMES;
    let mut fingerprint = "x264-164".to_owned();
    match lie {
        Some(1) => frames -= 1,
        Some(2) => fingerprint = "x264-1".to_owned(),
        Some(3) => blob.id = BlobId(clock::fresh()),
        Some(4) => blob.id = world.wanted[0].blob,
        _ => {}
    }
    let (seconds, extradata) = (1.0, "e1".to_owned());
    let encoded = Encoded { blob, frames, seconds, extradata, fingerprint, pts: None, score: None };
    Report::Done { result: TaskResult::Encoded(encoded) }
}

/// Puts the parts together; garbage among them is noticed.
fn finish(world: &World, order: &FinishOrder, task: TaskId) -> Report {
    for (number, part) in (1u32..).zip(&order.video) {
        let Some(meaning) = world.blobs.meaning(part.blob.id) else {
            let message = format!("the finished piece {number} is missing");
            world.watch.seen().wrong.push(format!("{task}: {message}"));
            return Report::Failed { failure: Failure::permanent(message) };
        };
        if meaning != truth(TaskId { number, ..task }) {
            return Report::Failed { failure: Failure::permanent("the output was refused") };
        }
    }
    match store(world, truth(task)) {
        Some(blob) => finished(blob),
        None => Report::Failed { failure: Failure::transient("no space for the output") },
    }
}

/// Sends the bytes of a result; only the house leaves noting them to its report.
fn send(world: &mut World, worker: usize, task: TaskId, meaning: String) -> Option<BlobRef> {
    let blob = store(world, meaning)?;
    if !world.workers[worker].house {
        let (created, job) = (clock::now(), Some(task.job));
        world.sent.push(BlobRecord { blob: blob.clone(), created, job, role: BlobRole::Part });
    }
    Some(blob)
}

fn store(world: &World, meaning: String) -> Option<BlobRef> {
    world.blobs.put(BlobId(clock::fresh()), meaning)
}
