//! Which tasks are offered, and in which order.

use super::fixture::*;
use crate::{NewJob, Store};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskKind};

fn places(ready: &[Candidate]) -> Vec<(u128, u32)> {
    ready.iter().map(|one| (one.task.job.0.as_u128(), one.task.number)).collect()
}

pub(super) async fn tasks_come_by_rank_then_weight(store: &dyn Store) {
    for number in [1, 2, 3] {
        let priority = if number == 2 { 60 } else { 50 };
        let job = Job { priority, ..job(number) };
        store.job_submit(new_job(job)).await.unwrap();
    }
    assert_eq!(places(&store.tasks_ready(at(9), 10).await.unwrap()), [(2, 0), (1, 0), (3, 0)]);
    analyse(store, 1, 3, at(9)).await;
    let ready = store.tasks_ready(at(9), 10).await.unwrap();
    assert_eq!(places(&ready), [(2, 0), (1, 3), (1, 2), (1, 1), (1, 4), (3, 0)]);
    let chunk = &ready[1];
    assert_eq!((chunk.kind, chunk.weight), (TaskKind::EncodeChunk, 30));
    assert_eq!((chunk.priority, chunk.queued), (50, at(1)));
    assert_eq!(chunk.needs, Some(VideoEncoder::X264));
}

pub(super) async fn waiting_lifts_a_job_over_a_later_one(store: &dyn Store) {
    let early = Job { priority: 50, ..job(1) };
    let later = Job { priority: 55, ..job(1000) };
    for job in [later, early] {
        store.job_submit(new_job(job)).await.unwrap();
    }
    let ready = store.tasks_ready(at(1000), 1).await.unwrap();
    assert_eq!(places(&ready), [(1, 0)], "a quarter of an hour outweighs five steps");
}

pub(super) async fn house_work_is_not_hidden_by_a_flood_of_chunks(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 50, at(9)).await;
    let last = Job { priority: 0, ..job(2) };
    store.job_submit(new_job(last)).await.unwrap();
    let ready = store.tasks_ready(at(10), 2).await.unwrap();
    assert_eq!(places(&ready), [(1, 50), (1, 49), (1, 51), (2, 0)]);
}

pub(super) async fn an_encoder_or_build_that_nobody_has_hides_nothing(store: &dyn Store) {
    for number in [1, 2] {
        submit(store, number).await;
        analyse(store, number, 5, at(9)).await;
    }
    store.job_pin(job_id(1), 0, "a build nobody has").await.unwrap();
    let rare = Job { priority: 100, ..job(3) };
    let chunk = |number| Task {
        needs: Some(VideoEncoder::SvtAv1),
        ..Task::new(task_id(3, number), TaskKind::EncodeChunk, 0, at(3))
    };
    let tasks = (1..=5).map(chunk).collect();
    store.job_submit(NewJob { tasks, ..new_job(rare) }).await.unwrap();
    let ready = store.tasks_ready(at(10), 1).await.unwrap();
    assert_eq!(places(&ready), [(3, 1), (1, 5), (1, 6), (2, 5)]);
    let pins: Vec<_> = ready.iter().map(|one| one.pin.as_deref()).collect();
    assert_eq!(pins, [None, Some("a build nobody has"), None, None]);
}

pub(super) async fn each_owner_is_looked_at(store: &dyn Store) {
    for number in 1..=20 {
        let owner = if number == 20 { "bert" } else { "anna" };
        store.job_submit(new_job(Job { owner: Some(owner.into()), ..job(number) })).await.unwrap();
    }
    let ready = store.tasks_ready(at(100), 2).await.unwrap();
    assert_eq!(places(&ready), [(1, 0), (2, 0), (20, 0)]);
    let owners: Vec<&str> = ready.iter().map(|one| one.owner.as_str()).collect();
    assert_eq!(owners, ["anna", "anna", "bert"]);
}

pub(super) async fn a_paused_task_is_not_ready_and_says_when(store: &dyn Store) {
    submit(store, 1).await;
    submit(store, 2).await;
    let proof = claim(store, task_id(1, 0), 1, at(10)).await;
    fail(store, task_id(1, 0), proof, Failure::transient("busy"), at(10)).await;
    assert_eq!(places(&store.tasks_ready(at(14), 10).await.unwrap()), [(2, 0)]);
    assert_eq!(store.task_next_due(at(14)).await.unwrap(), Some(at(15)));
    assert_eq!(places(&store.tasks_ready(at(15), 10).await.unwrap()), [(1, 0), (2, 0)]);
    assert_eq!(store.task_next_due(at(15)).await.unwrap(), None, "it is only waiting for a worker");
}
