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
use reelmill_core::plan::Plan;
use reelmill_core::rate::{Aim, Coded, Judgement, Rate};
use reelmill_core::task::{BlobRef, Encoded, TaskResult, Work};
use reelmill_store::{BlobRecord, BlobRole};

/// What the bytes of a task's true result stand for. With a size aimed at, the same
/// piece may be made in several generations, and what tells them apart is the rate
/// factor.
fn truth(task: TaskId, crf: Option<f64>) -> String {
    match crf {
        Some(crf) => format!("the pictures of {} at {crf}", task.number),
        None => format!("the pictures of {}.{}", task.generation, task.number),
    }
}

/// Bytes of pictures that piece `number` has at a rate factor: any two differ by much.
fn bytes(number: u32, crf: f64) -> u64 {
    let most = [900.0, 90.0, 450.0][number as usize % 3];
    (most * (-(crf - 21.0) / 9.0).exp()) as u64
}

/// The report of `worker` about `assignment`; `None` when the work killed it.
pub(super) fn report(world: &mut World, worker: usize, assignment: &Assignment) -> Option<Report> {
    let wanted = world.wanted.iter().find(|wanted| match &assignment.source {
        Source::Upload { blob, .. } => *blob == wanted.blob,
        _ => false,
    });
    let (chunks, poison, bad) = wanted.map_or((0, false, false), |w| (w.chunks, w.poison, w.bad));
    let sized = wanted.is_some_and(|wanted| wanted.sized);
    if world.dice.hits(world.weather.failing) {
        return Some(Report::Failed { failure: Failure::transient("a cable") });
    }
    Some(match &assignment.order {
        Order::Analyse { .. } if bad => Report::Failed { failure: Failure::input("it is no film") },
        Order::Analyse { .. } if sized => aimed(analysed(chunks)),
        Order::Analyse { .. } => analysed(chunks),
        Order::Encode { .. } if poison => return None,
        Order::Encode { work, .. } => encode(world, worker, assignment, (work, sized)),
        Order::Finish(order) => finish(world, order, assignment.task),
    })
}

/// The plan with half of the bits that its first pass gives.
fn aimed(report: Report) -> Report {
    let Report::Analysed { media, mut plan } = report else { return report };
    let all: u64 = (1u32..).zip(plan.chunks()).map(|(number, _)| bytes(number, 21.0)).sum();
    let seconds = plan.seconds(None).unwrap_or(1.0);
    let bits = (all as f64 * 4.0 / seconds) as u64;
    plan.video.rate = Some(Rate::new(Aim::Bitrate { bits }));
    Report::Analysed { media, plan }
}

fn encode(
    world: &mut World,
    worker: usize,
    assignment: &Assignment,
    (work, sized): (&Work, bool),
) -> Report {
    let lie = world.workers[worker].lies.then(|| world.dice.below(6));
    let crf = work.encode().and_then(|encode| encode.crf);
    let number = assignment.task.number;
    let mut coded = crf.map(|crf| Coded { crf, bytes: bytes(number, crf) });
    let meaning = match lie {
        Some(0) => "garbage".to_owned(),
        _ => truth(assignment.task, crf.filter(|_| sized)),
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
        Some(5) if sized => coded = Some(Coded { crf: 1.5, bytes: 1 }),
        _ => {}
    }
    let (seconds, extradata) = (1.0, "e1".to_owned());
    let encoded =
        Encoded { blob, frames, seconds, extradata, fingerprint, pts: None, score: None, coded };
    Report::Done { result: TaskResult::Encoded(encoded) }
}

/// What piece `number` of `plan` must stand for.
fn meant(plan: &Plan, number: u32, task: TaskId) -> String {
    let work = plan.work(number).filter(|_| plan.video.rate.is_some());
    let crf = work.as_ref().and_then(Work::encode).and_then(|encode| encode.crf);
    truth(TaskId { number, ..task }, crf)
}

/// Puts the parts together; garbage among them is noticed.
fn finish(world: &World, order: &FinishOrder, task: TaskId) -> Report {
    for (number, part) in (1u32..).zip(&order.video) {
        let Some(meaning) = world.blobs.meaning(part.blob.id) else {
            let message = format!("the finished piece {number} is missing");
            world.watch.seen().wrong.push(format!("{task}: {message}"));
            return Report::Failed { failure: Failure::permanent(message) };
        };
        if meaning != meant(&order.plan, number, task) {
            if order.plan.video.rate.is_some() && meaning != "garbage" {
                world.watch.seen().wrong.push(format!("{task}: {meaning} in another pass"));
            }
            return Report::Failed { failure: Failure::permanent("the output was refused") };
        }
    }
    let judged = order.pieces().map(|pieces| order.plan.judge(&pieces, 0));
    if let Some(Ok(Some(Judgement::Again(_)))) = judged {
        return Report::Done { result: TaskResult::Missed { other: 0 } };
    }
    match store(world, truth(task, None)) {
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
