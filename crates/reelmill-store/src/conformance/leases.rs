//! Leases: who may report, and what becomes of those who do not.

use super::fixture::*;
use crate::{ApplyError, Store};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::LeaseId;
use reelmill_core::job::JobState;
use reelmill_core::lease::LeaseProof;
use reelmill_core::task::{Refused, TaskEvent, TaskKind, TaskResult, TaskState};
use uuid::Uuid;

pub(super) async fn a_stale_epoch_is_refused(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    let old = claim(store, id, 1, at(10)).await;
    apply(store, id, TaskEvent::Sweep, at(60)).await.unwrap();
    let new = claim(store, id, 2, at(61)).await;
    assert_eq!(new.epoch, old.epoch + 1);
    let mixed = LeaseProof { lease: old.lease, epoch: new.epoch };
    for proof in [old, mixed] {
        for event in [
            TaskEvent::Renew(proof, 1),
            TaskEvent::Complete(proof, TaskResult::Analysed),
            TaskEvent::Fail(proof, Failure::input("x")),
            TaskEvent::Release(proof),
        ] {
            let refused = apply(store, id, event, at(62)).await.unwrap_err();
            assert_eq!(refused, ApplyError::Refused(Refused::Stale));
        }
        let refused = store
            .plan_commit(id, proof, &media(), &a_plan(), planned(1, 0, 1, at(62)), RULES, at(62))
            .await
            .unwrap_err();
        assert_eq!(refused, ApplyError::Refused(Refused::Stale));
    }
    assert_eq!(store.tasks_of(job_id(1), 0).await.unwrap().len(), 1, "no plan was stored");
    assert_eq!(store.plan_get(job_id(1), 0).await.unwrap(), None);
    let bare = TaskEvent::Complete(new, TaskResult::Analysed);
    let refused = apply(store, id, bare, at(63)).await.unwrap_err();
    assert_eq!(refused, ApplyError::Refused(Refused::NotNow), "it brings no plan");
    let tasks = planned(1, 0, 1, at(63));
    let plan = a_plan();
    store.plan_commit(id, new, &media(), &plan, tasks.clone(), RULES, at(63)).await.unwrap();
    let again = store.plan_commit(id, new, &media(), &plan, tasks, RULES, at(64)).await;
    assert_eq!(again.unwrap_err(), ApplyError::Refused(Refused::Repeated));
}

pub(super) async fn a_repeated_completion_is_told_apart_from_a_stale_one(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 1, at(10)).await;
    let id = task_id(1, 1);
    let proof = claim(store, id, 1, at(11)).await;
    complete(store, id, proof, at(12)).await;
    let told = events(store, 1).await;
    let same = TaskEvent::Complete(proof, result(TaskKind::EncodeChunk));
    let repeated = apply(store, id, same, at(13)).await.unwrap_err();
    assert_eq!(repeated, ApplyError::Refused(Refused::Repeated));
    let other = TaskEvent::Complete(proof, result(TaskKind::Finish));
    let stale = apply(store, id, other, at(13)).await.unwrap_err();
    assert_eq!(stale, ApplyError::Refused(Refused::Stale));
    assert_eq!(events(store, 1).await, told, "what is refused leaves no trace");
}

pub(super) async fn an_expired_lease_is_found_and_swept(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    claim(store, id, 1, at(10)).await;
    assert_eq!(store.task_next_due(at(10)).await.unwrap(), Some(at(55)));
    assert!(store.tasks_due(at(54), 10).await.unwrap().is_empty());
    let early = apply(store, id, TaskEvent::Sweep, at(54)).await.unwrap_err();
    assert_eq!(early, ApplyError::Refused(Refused::NotNow));
    assert_eq!(store.tasks_due(at(55), 10).await.unwrap(), [id]);
    let swept = apply(store, id, TaskEvent::Sweep, at(55)).await.unwrap();
    assert_eq!((swept.task.state, swept.task.losses), (TaskState::Ready, 1));
    assert_eq!(swept.task.failed_on, [worker(1)]);
    assert!(store.tasks_due(at(99), 10).await.unwrap().is_empty());
    assert_eq!(store.tasks_ready(at(55), 10).await.unwrap()[0].failed_on, [worker(1)]);
    assert_eq!(claim(store, id, 2, at(56)).await.epoch, 2);
}

pub(super) async fn a_stalled_lease_is_due_too(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    let proof = claim(store, id, 1, at(1)).await;
    for second in (30..300).step_by(30) {
        apply(store, id, TaskEvent::Renew(proof, 0), at(second)).await.unwrap();
    }
    assert!(store.tasks_due(at(300), 10).await.unwrap().is_empty());
    assert_eq!(store.tasks_due(at(301), 10).await.unwrap(), [id]);
    let swept = apply(store, id, TaskEvent::Sweep, at(301)).await.unwrap();
    assert_eq!(swept.task.failure.unwrap().class, FailureClass::Timeout);
}

pub(super) async fn failures_are_retried_after_a_pause_up_to_the_limit(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    let mut now = 100;
    for attempt in 1..=3 {
        let proof = claim(store, id, 1, at(now)).await;
        let applied = fail(store, id, proof, Failure::transient("busy"), at(now)).await;
        assert_eq!((applied.task.attempts, applied.task.state), (attempt, TaskState::Ready));
        let pause = 5 << (attempt - 1);
        assert_eq!(applied.task.not_before, at(now + pause));
        let claim = TaskEvent::Claim(lease(7, 7, at(now)));
        let early = apply(store, id, claim, at(now)).await.unwrap_err();
        assert_eq!(early, ApplyError::Refused(Refused::NotNow));
        now += pause;
    }
    let proof = claim(store, id, 1, at(now)).await;
    let applied = fail(store, id, proof, Failure::transient("busy"), at(now)).await;
    assert_eq!(applied.task.state, TaskState::Failed);
    assert_eq!(applied.job.state, JobState::Failed);
    assert_eq!(applied.job.failure, Some(Failure::transient("busy")));
}

pub(super) async fn a_task_that_takes_its_workers_with_it_is_quarantined(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    for by in 1..=3 {
        assert_ne!(the_job(store, 1).await.state, JobState::Failed, "{by}");
        let now = at(1000 * by as i64);
        let proof = claim(store, id, by, now).await;
        apply(store, id, TaskEvent::WorkerGone(proof), now).await.unwrap();
    }
    let job = the_job(store, 1).await;
    assert_eq!(job.state, JobState::Failed);
    let failure = job.failure.unwrap();
    assert!(failure.message.contains("3 workers"));
    assert_eq!(failure.tail.len(), 3, "each is told");
    let task = store.task_get(id).await.unwrap().unwrap();
    assert_eq!((task.state, task.attempts), (TaskState::Quarantined, 0));
    let job = store.job_reopen(job.id, at(20_000)).await.unwrap().unwrap();
    assert_eq!((job.state, job.losses), (JobState::Queued, 0), "released by hand");
    claim(store, id, 4, at(20_001)).await;
}

pub(super) async fn the_first_of_two_results_counts(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(9)).await;
    let id = task_id(1, 1);
    let first = claim(store, id, 1, at(10)).await;
    let lease = lease(77, 2, at(20));
    let doubled = apply(store, id, TaskEvent::Rival(lease), at(20)).await.unwrap();
    let second = doubled.task.rival.as_ref().unwrap().proof();
    for by in [1, 2] {
        let held = store.tasks_held(worker(by)).await.unwrap();
        assert_eq!(held.iter().map(|task| task.id).collect::<Vec<_>>(), [id], "worker {by}");
    }
    assert_eq!(store.tasks_due(at(55), 10).await.unwrap(), [id], "the first one's lease is over");
    complete(store, id, second, at(30)).await;
    let late = TaskEvent::Complete(first, result(TaskKind::EncodeChunk));
    let refused = apply(store, id, late, at(31)).await.unwrap_err();
    assert_eq!(refused, ApplyError::Refused(Refused::Stale));
    assert!(store.tasks_held(worker(1)).await.unwrap().is_empty());
    assert!(store.tasks_held(worker(2)).await.unwrap().is_empty());
}

pub(super) async fn workers_lost_on_a_job_are_counted_until_something_is_done(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 3, at(9)).await;
    for number in 1..=2 {
        let proof = claim(store, task_id(1, number), 1, at(10)).await;
        apply(store, task_id(1, number), TaskEvent::WorkerGone(proof), at(11)).await.unwrap();
        assert_eq!(the_job(store, 1).await.losses, number);
    }
    work(store, task_id(1, 3), 2, at(12)).await;
    assert_eq!(the_job(store, 1).await.losses, 0);
}

pub(super) async fn a_job_whose_chunks_take_their_workers_by_turns_ends_too(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 6, at(9)).await;
    for loss in 1..=6 {
        assert_eq!(the_job(store, 1).await.state, JobState::Running, "{loss}");
        let (id, now) = (task_id(1, loss), at(1000 * i64::from(loss)));
        let proof = claim(store, id, 1, now).await;
        apply(store, id, TaskEvent::WorkerGone(proof), now).await.unwrap();
    }
    let task = store.task_get(task_id(1, 6)).await.unwrap().unwrap();
    assert_eq!((task.state, task.losses), (TaskState::Quarantined, 1), "twice as many as a task");
    assert_eq!(the_job(store, 1).await.state, JobState::Failed);
}

pub(super) async fn giving_back_costs_nothing(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    for by in 1..=9 {
        let proof = claim(store, id, by, at(10)).await;
        let applied = apply(store, id, TaskEvent::Release(proof), at(10)).await.unwrap();
        assert_eq!(applied.task.state, TaskState::Ready);
        assert_eq!((applied.task.attempts, applied.task.losses), (0, 0));
        assert!(applied.task.failed_on.is_empty());
    }
    assert_eq!(store.tasks_ready(at(10), 10).await.unwrap().len(), 1);
}

pub(super) async fn renewals_come_in_batches(store: &dyn Store) {
    submit(store, 1).await;
    submit(store, 2).await;
    analyse(store, 1, 2, at(5)).await;
    let one = claim(store, task_id(1, 1), 1, at(10)).await;
    let two = claim(store, task_id(1, 2), 1, at(10)).await;
    let house = claim(store, task_id(2, 0), 1, at(10)).await;
    let stale = LeaseProof { lease: LeaseId(Uuid::from_u128(12345)), ..two };
    let told = events(store, 1).await;
    let answers = store
        .tasks_renew(
            &[
                (task_id(1, 1), one, 10),
                (task_id(1, 2), stale, 10),
                (task_id(2, 0), house, 0),
                (task_id(8, 0), house, 0),
                (task_id(1, 1), one, 20),
            ],
            RULES,
            at(20),
        )
        .await
        .unwrap();
    let gone = Err(Refused::Stale);
    assert_eq!(answers, [Ok(()), gone, Ok(()), gone, Ok(())]);
    assert_eq!(events(store, 1).await, told);
    let lease = store.task_get(task_id(1, 1)).await.unwrap().unwrap().lease.unwrap();
    assert_eq!((lease.expires, lease.progress, lease.progress_since), (at(65), 20, at(20)));
    assert_eq!(store.tasks_due(at(55), 10).await.unwrap(), [task_id(1, 2)]);
    assert_eq!(store.task_next_due(at(20)).await.unwrap(), Some(at(55)));
    let leased = store.tasks_leased(2).await.unwrap();
    assert_eq!(leased.len(), 2);
    assert_eq!(leased[0].id, task_id(1, 2), "the one due first comes first");
    let late = store.tasks_renew(&[(task_id(1, 2), two, 1)], RULES, at(55)).await.unwrap();
    assert_eq!(late, [Err(Refused::Stale)], "an expired lease is not revived");
}

pub(super) async fn an_empty_batch_is_nothing(store: &dyn Store) {
    assert!(store.tasks_renew(&[], RULES, at(1)).await.unwrap().is_empty());
    assert_eq!(store.tasks_grace(RULES, at(1)).await.unwrap(), 0);
    assert_eq!(store.task_next_due(at(1)).await.unwrap(), None);
}

pub(super) async fn grace_gives_every_lease_a_full_period(store: &dyn Store) {
    submit(store, 1).await;
    submit(store, 2).await;
    submit(store, 3).await;
    let proof = claim(store, task_id(1, 0), 1, at(10)).await;
    claim(store, task_id(2, 0), 2, at(20)).await;
    assert_eq!(store.tasks_grace(RULES, at(1000)).await.unwrap(), 2);
    assert!(store.tasks_due(at(1044), 10).await.unwrap().is_empty());
    assert_eq!(store.tasks_due(at(1045), 10).await.unwrap().len(), 2);
    apply(store, task_id(1, 0), TaskEvent::Renew(proof, 1), at(1040)).await.unwrap();
}

pub(super) async fn tasks_of_a_worker_are_found(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 3, at(5)).await;
    claim(store, task_id(1, 2), 1, at(10)).await;
    claim(store, task_id(1, 3), 2, at(10)).await;
    let proof = claim(store, task_id(1, 1), 1, at(11)).await;
    let held = store.tasks_held(worker(1)).await.unwrap();
    let ids: Vec<_> = held.iter().map(|task| task.id).collect();
    assert_eq!(ids, [task_id(1, 1), task_id(1, 2)]);
    complete(store, task_id(1, 1), proof, at(12)).await;
    assert_eq!(store.tasks_held(worker(1)).await.unwrap().len(), 1);
    assert!(store.tasks_held(worker(3)).await.unwrap().is_empty());
}

pub(super) async fn one_of_many_claims_wins(store: &dyn Store) {
    submit(store, 1).await;
    let id = task_id(1, 0);
    let tries = (1..=8).map(|by| async move {
        apply(store, id, TaskEvent::Claim(lease(by, by, at(10))), at(10)).await
    });
    let results = all(tries).await;
    let won: Vec<_> = results.iter().filter(|result| result.is_ok()).collect();
    assert_eq!(won.len(), 1);
    for lost in results.into_iter().filter_map(Result::err) {
        assert_eq!(lost, ApplyError::Refused(Refused::NotNow));
    }
    let task = store.task_get(id).await.unwrap().unwrap();
    assert_eq!((task.epoch, task.state), (1, TaskState::Leased));
}

/// Runs all at once.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
