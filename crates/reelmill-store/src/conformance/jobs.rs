//! Submitting, cancelling, opening again.

use super::fixture::*;
use crate::{ApplyError, BlobRecord, BlobRole, NewJob, Store, StoreError, Submitted};
use reelmill_core::error::Failure;
use reelmill_core::id::TaskId;
use reelmill_core::job::{JobState, Source, Step};
use reelmill_core::lease::LeaseProof;
use reelmill_core::packets::Uncuttable;
use reelmill_core::rate::{Aim, Rate};
use reelmill_core::task::{Refused, TaskEvent, TaskKind, TaskResult, TaskState};

fn keyed(number: u128, owner: Option<&str>, key: &str) -> NewJob {
    let job = reelmill_core::job::Job { owner: owner.map(str::to_owned), ..job(number) };
    NewJob { idempotency_key: Some(key.into()), ..new_job(job) }
}

pub(super) async fn a_submission_sent_again_yields_the_first_job(store: &dyn Store) {
    assert_eq!(store.job_submit(keyed(1, Some("ann"), "k")).await.unwrap(), Submitted::New);
    let again = store.job_submit(keyed(2, Some("ann"), "k")).await.unwrap();
    assert_eq!(again, Submitted::Existing(job_id(1)));
    assert_eq!(store.job_get(job_id(2)).await.unwrap(), None);
    let same_id = store.job_submit(new_job(job(1))).await.unwrap();
    assert_eq!(same_id, Submitted::Existing(job_id(1)));
    assert_eq!(the_job(store, 1).await, keyed(1, Some("ann"), "k").job);
    assert_eq!(store.tasks_of(job_id(1), 0).await.unwrap().len(), 1);
    assert_eq!(events(store, 1).await, ["submitted"]);
}

pub(super) async fn the_same_key_of_another_owner_is_another_submission(store: &dyn Store) {
    assert_eq!(store.job_submit(keyed(1, Some("ann"), "k")).await.unwrap(), Submitted::New);
    assert_eq!(store.job_submit(keyed(2, Some("bob"), "k")).await.unwrap(), Submitted::New);
    assert_eq!(store.job_submit(keyed(3, None, "k")).await.unwrap(), Submitted::New);
    let again = store.job_submit(keyed(4, None, "k")).await.unwrap();
    assert_eq!(again, Submitted::Existing(job_id(3)));
    assert_eq!(store.job_by_key(Some("bob"), "k").await.unwrap(), Some(job_id(2)));
    assert_eq!(store.job_by_key(None, "k").await.unwrap(), Some(job_id(3)));
    assert_eq!(store.job_by_key(None, "l").await.unwrap(), None);
    assert_eq!(store.job_by_key(Some("eve"), "k").await.unwrap(), None);
    assert_eq!(store.job_submit(new_job(job(5))).await.unwrap(), Submitted::New);
    assert_eq!(store.job_submit(new_job(job(6))).await.unwrap(), Submitted::New);
}

pub(super) async fn an_uploading_job_has_no_tasks_until_its_source_is_here(store: &dyn Store) {
    let mut new = new_job(job(1));
    new.job.state = JobState::Uploading;
    let early = store.job_submit(new.clone()).await.unwrap_err();
    assert!(matches!(early, StoreError::Invalid(_)), "{early}");
    let tasks = std::mem::take(&mut new.tasks);
    store.job_submit(new.clone()).await.unwrap();
    assert!(store.tasks_ready(at(9), 10).await.unwrap().is_empty());
    let source = Source::Local { path: "arrived.mkv".into() };
    let job = store.job_uploaded(job_id(1), &source, tasks.clone(), at(2)).await.unwrap().unwrap();
    assert_eq!((job.state, &job.source), (JobState::Queued, &source));
    assert_eq!(store.tasks_ready(at(9), 10).await.unwrap().len(), 1);
    let again = store.job_uploaded(job_id(1), &source, tasks.clone(), at(3)).await.unwrap();
    assert_eq!(again, Some(job), "a repetition changes nothing");
    assert_eq!(store.job_uploaded(job_id(7), &source, tasks, at(3)).await.unwrap(), None);

    let abandoned = NewJob { job: reelmill_core::job::Job { id: job_id(2), ..new.job }, ..new };
    store.job_submit(abandoned).await.unwrap();
    store.job_cancel(job_id(2), at(4)).await.unwrap();
    let job = store.job_reopen(job_id(2), at(5)).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled, "there is nothing to do again");
}

pub(super) async fn cancelling_stops_all_and_refuses_the_late_report(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    let proof = claim(store, task_id(1, 1), 1, at(11)).await;
    let job = store.job_cancel(job_id(1), at(12)).await.unwrap().unwrap();
    assert_eq!((job.state, job.ended), (JobState::Cancelled, Some(at(12))));
    for task in store.tasks_of(job_id(1), 0).await.unwrap() {
        let wanted = if task.id.number == 0 { TaskState::Done } else { TaskState::Cancelled };
        assert_eq!((task.state, task.lease), (wanted, None));
    }
    let event = TaskEvent::Complete(proof, result(TaskKind::EncodeChunk));
    let late = apply(store, task_id(1, 1), event, at(13)).await.unwrap_err();
    assert_eq!(late, ApplyError::Refused(Refused::Stale));
    assert!(store.tasks_ready(at(99), 10).await.unwrap().is_empty());
    assert!(store.tasks_leased(10).await.unwrap().is_empty());
    assert_eq!(events(store, 1).await.last().unwrap(), "cancelled");
    assert_eq!(store.job_cancel(job_id(9), at(12)).await.unwrap(), None);
}

pub(super) async fn ending_a_job_tells_why(store: &dyn Store) {
    let why = Failure::input("it has no picture").advise("send a film");
    for (number, state) in [(1, JobState::Failed), (2, JobState::Rejected), (3, JobState::Skipped)]
    {
        submit(store, number).await;
        let ended = store.job_end(job_id(number), state, why.clone(), at(10)).await;
        let job = ended.unwrap().unwrap();
        assert_eq!((job.state, job.failure), (state, Some(why.clone())));
        assert_eq!(self::state(store, task_id(number, 0)).await, TaskState::Cancelled);
        assert_eq!(events(store, number).await.last().unwrap(), state.label());
    }
    submit(store, 4).await;
    let wrong = store.job_end(job_id(4), JobState::Completed, why.clone(), at(10)).await;
    assert!(matches!(wrong, Err(StoreError::Invalid(_))));
    assert_eq!(the_job(store, 4).await, job(4));
    let failed = store.job_fail(job_id(4), why, at(11)).await.unwrap().unwrap();
    assert_eq!(failed.state, JobState::Failed);
}

pub(super) async fn a_job_that_has_ended_stays_as_it_is(store: &dyn Store) {
    submit(store, 1).await;
    let ended = store.job_cancel(job_id(1), at(5)).await.unwrap();
    let told = events(store, 1).await;
    assert_eq!(store.job_cancel(job_id(1), at(6)).await.unwrap(), ended);
    let why = Failure::input("late");
    assert_eq!(store.job_fail(job_id(1), why, at(6)).await.unwrap(), ended);
    assert_eq!(store.job_replan(job_id(1), &request(), at(6)).await.unwrap(), ended);
    assert_eq!(store.job_priority(job_id(1), 90, at(6)).await.unwrap(), ended);
    assert_eq!(events(store, 1).await, told);
    let claim = apply(store, task_id(1, 0), TaskEvent::Claim(lease(1, 1, at(7))), at(7)).await;
    assert_eq!(claim.unwrap_err(), ApplyError::Refused(Refused::NotNow));
    let reopen = apply(store, task_id(1, 0), TaskEvent::Reopen, at(7)).await;
    assert_eq!(reopen.unwrap_err(), ApplyError::Refused(Refused::NotNow));
}

pub(super) async fn reopening_keeps_what_is_done(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 3, at(10)).await;
    store.job_pin(job_id(1), 0, "x264-164").await.unwrap();
    work(store, task_id(1, 1), 1, at(11)).await;
    let proof = claim(store, task_id(1, 2), 1, at(12)).await;
    let failed = fail(store, task_id(1, 2), proof, Failure::permanent("bug"), at(13)).await;
    assert_eq!(failed.job.state, JobState::Failed);

    let job = store.job_reopen(job_id(1), at(20)).await.unwrap().unwrap();
    assert_eq!((job.state, job.stage), (JobState::Running, 1));
    assert_eq!((job.failure, job.ended), (None, None));
    assert_eq!(job.encoder_pin.as_deref(), Some("x264-164"), "a chunk of that build is kept");
    let tasks = store.tasks_of(job_id(1), 0).await.unwrap();
    let states: Vec<TaskState> = tasks.iter().map(|task| task.state).collect();
    use TaskState::{Done, Ready, Waiting};
    assert_eq!(states, [Done, Done, Ready, Ready, Ready, Waiting]);
    assert_eq!((tasks[2].attempts, tasks[2].epoch), (0, 1), "the epoch never goes back");
    assert_eq!(store.job_reopen(job_id(1), at(21)).await.unwrap(), Some(the_job(store, 1).await));
    for number in [2, 3, 4, 5] {
        work(store, task_id(1, number), 2, at(30)).await;
    }
    assert_eq!(the_job(store, 1).await.state, JobState::Completed);
}

pub(super) async fn reopening_before_anything_was_encoded_frees_the_build(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 1, at(10)).await;
    store.job_pin(job_id(1), 0, "x264-164").await.unwrap();
    store.job_cancel(job_id(1), at(11)).await.unwrap();
    let job = store.job_reopen(job_id(1), at(12)).await.unwrap().unwrap();
    assert_eq!((job.state, job.stage, job.encoder_pin), (JobState::Running, 1, None));
    let ready = store.tasks_ready(at(13), 10).await.unwrap();
    assert!(ready.iter().all(|candidate| candidate.pin.is_none()), "{ready:?}");
    assert_eq!(ready.len(), 2);

    submit(store, 2).await;
    let proof = claim(store, task_id(2, 0), 1, at(14)).await;
    fail(store, task_id(2, 0), proof, Failure::transient("busy"), at(14)).await;
    store.job_cancel(job_id(2), at(14)).await.unwrap();
    let job = store.job_reopen(job_id(2), at(15)).await.unwrap().unwrap();
    assert_eq!((job.state, job.stage), (JobState::Queued, 0));
    assert_eq!(self::state(store, task_id(2, 0)).await, TaskState::Ready);
    claim(store, task_id(2, 0), 1, at(15)).await; // it does not sit out the old pause
}

pub(super) async fn planning_again_starts_a_generation(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    store.job_pin(job_id(1), 0, "x264-164").await.unwrap();
    let proof = claim(store, task_id(1, 1), 1, at(11)).await;
    let whole = reelmill_core::job::Request { uncuttable: Some(Uncuttable::Empty), ..request() };
    let job = store.job_replan(job_id(1), &whole, at(12)).await.unwrap().unwrap();
    assert_eq!((job.generation, job.stage, job.encoder_pin), (1, 0, None));
    assert_eq!((job.state, &job.request), (JobState::Running, &whole));
    let event = TaskEvent::Complete(proof, result(TaskKind::EncodeChunk));
    let late = apply(store, task_id(1, 1), event, at(13)).await.unwrap_err();
    assert_eq!(late, ApplyError::Refused(Refused::Stale));
    let ready = store.tasks_ready(at(13), 10).await.unwrap();
    let analysis = TaskId { job: job_id(1), generation: 1, number: 0 };
    assert_eq!(ready.iter().map(|one| one.task).collect::<Vec<_>>(), [analysis]);
    assert_eq!(store.job_pin(job_id(1), 0, "x264-164").await.unwrap(), None, "not current");

    analyse(store, 1, 1, at(14)).await;
    for number in [1, 2, 3] {
        work(store, TaskId { number, ..analysis }, 1, at(15)).await;
    }
    assert_eq!(the_job(store, 1).await.state, JobState::Completed);
    assert!(store.plan_get(job_id(1), 0).await.unwrap().is_some(), "the old plan is kept");
    assert_eq!(store.plan_get(job_id(1), 1).await.unwrap(), Some(a_plan()));
    assert_eq!(store.plan_get(job_id(1), 2).await.unwrap(), None);
}

pub(super) async fn another_pass_keeps_what_it_can_and_refuses_the_last_ones_words(
    store: &dyn Store,
) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    store.job_pin(job_id(1), 0, "x264-164").await.unwrap();
    let late = claim(store, task_id(1, 1), 1, at(11)).await;
    complete(store, task_id(1, 1), late, at(11)).await;
    for number in [2, 3] {
        work(store, task_id(1, number), 1, at(11)).await;
    }
    let finish = claim(store, task_id(1, 4), 1, at(12)).await;
    let missed = TaskResult::Missed { other: 7 };
    let alone = apply(store, task_id(1, 4), TaskEvent::Complete(finish, missed.clone()), at(12));
    assert_eq!(alone.await.unwrap_err(), ApplyError::Refused(Refused::NotNow), "without a plan");

    let (first, second) = (a_plan(), a_plan().with_rate(Rate::new(Aim::MaxSize { bytes: 9 })));
    let next = |number| TaskId { generation: 1, ..task_id(1, number) };
    let mut tasks = planned(1, 1, 2, at(13));
    for number in [2, 3] {
        let old = store.task_get(task_id(1, number)).await.unwrap().unwrap();
        tasks[number as usize - 1] = reelmill_core::task::Task { id: next(number), ..old };
    }
    let commit =
        |proof| store.pass_commit(task_id(1, 4), proof, 7, &second, tasks.clone(), RULES, at(13));
    let wrong = LeaseProof { epoch: finish.epoch + 1, ..finish };
    assert_eq!(commit(wrong).await.unwrap_err(), ApplyError::Refused(Refused::Stale));
    let applied = commit(finish).await.unwrap();
    assert_eq!((applied.task.state, applied.task.result), (TaskState::Done, Some(missed)));
    assert_eq!(commit(finish).await.unwrap_err(), ApplyError::Refused(Refused::Repeated));
    let job = the_job(store, 1).await;
    assert_eq!(job, applied.job);
    assert_eq!((job.state, job.generation, job.stage), (JobState::Running, 1, 1));
    assert_eq!(job.encoder_pin.as_deref(), Some("x264-164"), "pieces that are kept come from it");
    assert_eq!(store.plan_get(job_id(1), 0).await.unwrap(), Some(first));
    assert_eq!(store.plan_get(job_id(1), 1).await.unwrap(), Some(second.clone()));
    assert_eq!(events(store, 1).await.last().unwrap(), "pass");

    let ready = store.tasks_ready(at(14), 10).await.unwrap();
    assert_eq!(ready.iter().map(|one| one.task).collect::<Vec<_>>(), [next(1)]);
    assert_eq!(ready[0].pin.as_deref(), Some("x264-164"));
    let event = TaskEvent::Complete(late, result(TaskKind::EncodeChunk));
    let said = apply(store, next(1), event, at(14)).await.unwrap_err();
    assert_eq!(said, ApplyError::Refused(Refused::Stale), "a piece of the last pass");
    work(store, next(1), 2, at(15)).await;
    let end = work(store, next(4), 1, at(16)).await;
    assert_eq!((end.step, end.job.state), (Step::Complete, JobState::Completed));
}

pub(super) async fn the_first_build_counts(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    assert_eq!(store.job_pin(job_id(1), 0, "a").await.unwrap().as_deref(), Some("a"));
    assert_eq!(store.job_pin(job_id(1), 0, "b").await.unwrap().as_deref(), Some("a"));
    assert_eq!(store.job_pin(job_id(1), 1, "b").await.unwrap(), None);
    assert_eq!(store.job_pin(job_id(2), 0, "b").await.unwrap(), None);
    assert_eq!(the_job(store, 1).await.encoder_pin.as_deref(), Some("a"));
    for candidate in store.tasks_ready(at(11), 10).await.unwrap() {
        let pin = candidate.needs.map(|_| "a");
        assert_eq!(candidate.pin.as_deref(), pin, "house work is bound to no build");
    }
}

pub(super) async fn a_claim_binds_the_job_to_its_build(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    let claim = |number: u128, worker: u128| TaskEvent::Claim(lease(number, worker, at(11)));
    let (first, second) = (task_id(1, 1), task_id(1, 2));
    let applied = store.task_claim(first, claim(1, 1), "a", RULES, at(11)).await.unwrap();
    assert_eq!(applied.job.encoder_pin.as_deref(), Some("a"));
    let refused = store.task_claim(second, claim(2, 2), "b", RULES, at(11)).await;
    assert_eq!(refused, Err(Refused::Stale.into()));
    assert_eq!(state(store, second).await, TaskState::Ready);
    store.task_claim(second, claim(2, 2), "a", RULES, at(11)).await.unwrap();
}

pub(super) async fn a_result_counts_together_with_the_row_of_its_bytes(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    let proof = claim(store, task_id(1, 1), 1, at(11)).await;
    let TaskResult::Encoded(encoded) = result(TaskKind::EncodeChunk) else {
        panic!("a piece names bytes")
    };
    let (job, role) = (Some(job_id(1)), BlobRole::Part);
    let row = BlobRecord { blob: encoded.blob.clone(), created: at(12), job, role };
    let event = TaskEvent::Complete(proof, TaskResult::Encoded(encoded));
    let done = store.task_complete(task_id(1, 1), event, &row, RULES, at(12)).await.unwrap();
    assert_eq!(done.task.state, TaskState::Done);
    assert_eq!(store.blobs_of(job_id(1)).await.unwrap(), std::slice::from_ref(&row));
    store.blobs_delete(&[row.id(), blob(77).id]).await.unwrap();
    assert_eq!(store.blobs_of(job_id(1)).await.unwrap(), []);
}

pub(super) async fn a_completed_job_lets_go_of_all_but_its_output(store: &dyn Store) {
    for number in [1, 2] {
        submit(store, number).await;
        analyse(store, number, 1, at(10)).await;
    }
    let row = |number: u128, job: u128, role| {
        let job = Some(job_id(job));
        BlobRecord { blob: blob(number), created: at(10), job, role }
    };
    let (source, part) = (row(6, 1, BlobRole::Source), row(5, 1, BlobRole::Part));
    let others = row(7, 2, BlobRole::Part);
    for record in [&source, &part, &others] {
        store.blob_put(record).await.unwrap();
    }
    for number in [1, 2] {
        assert_eq!(work(store, task_id(1, number), 1, at(11)).await.dropped, []);
    }
    let proof = claim(store, task_id(1, 3), 1, at(12)).await;
    let event = TaskEvent::Complete(proof, result(TaskKind::Finish));
    let output = row(99, 1, BlobRole::Output);
    let done = store.task_complete(task_id(1, 3), event, &output, RULES, at(13)).await.unwrap();
    assert_eq!(done.dropped, [part.id(), source.id()]);
    assert_eq!(store.blobs_of(job_id(1)).await.unwrap(), [output]);
    assert_eq!(store.blobs_of(job_id(2)).await.unwrap(), [others]);
}

pub(super) async fn priority_moves_a_job_in_the_queue(store: &dyn Store) {
    submit(store, 1).await;
    submit(store, 2).await;
    let first = |ready: Vec<reelmill_core::schedule::Candidate>| ready[0].task.job;
    assert_eq!(first(store.tasks_ready(at(9), 1).await.unwrap()), job_id(1));
    let job = store.job_priority(job_id(2), 200, at(9)).await.unwrap().unwrap();
    assert_eq!(job.priority, 100, "there is nothing above 100");
    let ready = store.tasks_ready(at(9), 1).await.unwrap();
    assert_eq!(ready[0].priority, 100);
    assert_eq!(first(ready), job_id(2));
    assert_eq!(store.job_priority(job_id(3), 1, at(9)).await.unwrap(), None);
    assert_eq!(events(store, 2).await, ["submitted", "priority"]);
}

pub(super) async fn deleting_takes_everything_but_the_blob_rows(store: &dyn Store) {
    store.job_submit(keyed(1, None, "k")).await.unwrap();
    analyse(store, 1, 1, at(10)).await;
    let row =
        BlobRecord { blob: blob(5), created: at(10), job: Some(job_id(1)), role: BlobRole::Part };
    store.blob_put(&row).await.unwrap();
    assert!(store.job_delete(job_id(1), at(50)).await.unwrap());
    assert!(!store.job_delete(job_id(1), at(50)).await.unwrap());
    assert_eq!(store.job_get(job_id(1)).await.unwrap(), None);
    assert_eq!(store.task_get(task_id(1, 0)).await.unwrap(), None);
    assert_eq!(store.plan_get(job_id(1), 0).await.unwrap(), None);
    assert!(store.job_history(job_id(1), 0, 10).await.unwrap().is_empty());
    assert!(store.tasks_ready(at(60), 10).await.unwrap().is_empty());
    assert!(store.blobs_unreferenced(at(50), 10).await.unwrap().is_empty(), "not long enough");
    let loose = store.blobs_unreferenced(at(51), 10).await.unwrap();
    assert_eq!(loose, [BlobRecord { job: None, ..row }]);
    assert_eq!(store.job_submit(keyed(2, None, "k")).await.unwrap(), Submitted::New);
}
