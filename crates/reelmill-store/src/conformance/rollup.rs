//! How jobs follow their tasks.

use super::fixture::*;
use crate::{ApplyError, Store};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::{JobState, Step};
use reelmill_core::task::{Refused, TaskEvent, TaskKind, TaskState};
use serde_json::json;

pub(super) async fn a_job_lives_from_submission_to_output(store: &dyn Store) {
    submit(store, 1).await;
    let proof = claim(store, task_id(1, 0), 1, at(10)).await;
    assert_eq!(the_job(store, 1).await.state, JobState::Running);
    let applied = store
        .plan_commit(
            task_id(1, 0),
            proof,
            &media(),
            &a_plan(),
            planned(1, 0, 2, at(11)),
            RULES,
            at(11),
        )
        .await
        .unwrap();
    assert_eq!((applied.step, applied.task.state), (Step::Advance { stage: 1 }, TaskState::Done));
    assert_eq!(applied.job.media, Some(media()));
    assert_eq!(store.plan_get(job_id(1), 0).await.unwrap(), Some(a_plan()));
    for number in [1, 2] {
        assert_eq!(work(store, task_id(1, number), 1, at(12)).await.step, Step::Stay);
    }
    let last = work(store, task_id(1, 3), 1, at(13)).await;
    assert_eq!(last.step, Step::Advance { stage: 2 });
    let end = work(store, task_id(1, 4), 1, at(14)).await;
    assert_eq!(end.step, Step::Complete);
    assert_eq!((end.job.state, end.job.ended), (JobState::Completed, Some(at(14))));
    assert_eq!(end.job.output, Some(finished()));
    assert_eq!(the_job(store, 1).await, end.job);
    assert_eq!(store.task_get(task_id(1, 4)).await.unwrap(), Some(end.task));
}

pub(super) async fn stages_open_one_after_the_other(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    let states = |tasks: Vec<reelmill_core::task::Task>| -> Vec<TaskState> {
        tasks.iter().map(|task| task.state).collect()
    };
    use TaskState::{Done, Ready, Waiting};
    let tasks = store.tasks_of(job_id(1), 0).await.unwrap();
    assert_eq!(states(tasks), [Done, Ready, Ready, Ready, Waiting]);
    work(store, task_id(1, 2), 1, at(12)).await;
    work(store, task_id(1, 1), 1, at(12)).await;
    assert_eq!(state(store, task_id(1, 4)).await, Waiting);
    work(store, task_id(1, 3), 1, at(12)).await;
    assert_eq!(state(store, task_id(1, 4)).await, Ready);
    assert_eq!(the_job(store, 1).await.stage, 2);
}

pub(super) async fn history_tells_it_in_order(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 1, at(10)).await;
    submit(store, 2).await;
    assert!(store.job_note(job_id(1), at(11), json!({"event": "pinned"})).await.unwrap());
    assert!(!store.job_note(job_id(9), at(11), json!({"event": "pinned"})).await.unwrap());
    let proof = claim(store, task_id(1, 1), 1, at(12)).await;
    store.tasks_renew(&[(task_id(1, 1), proof, 5)], RULES, at(13)).await.unwrap();
    complete(store, task_id(1, 1), proof, at(14)).await;
    let told = events(store, 1).await;
    let wanted = ["submitted", "claimed", "started", "done", "stage", "pinned", "claimed", "done"];
    assert_eq!(told, wanted);
    let entries = store.job_history(job_id(1), 0, 100).await.unwrap();
    let claimed = &entries[6];
    assert_eq!((claimed.task, claimed.at), (Some(task_id(1, 1)), at(12)));
    let event = json!({
        "event": "claimed", "worker": worker(1).to_string(), "kind": "encode_chunk", "number": 1,
    });
    assert_eq!(claimed.event, event);
    let page = store.job_history(job_id(1), entries[2].seq, 2).await.unwrap();
    assert_eq!(page, entries[3..5]);
    let all = store.history_since(0, 100).await.unwrap();
    assert_eq!(all.len(), entries.len() + 1, "the other job's too");
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(store.history_last().await.unwrap(), all.last().unwrap().seq);
    assert_eq!(store.history_since(all[3].seq, 1).await.unwrap(), all[4..5]);
}

pub(super) async fn a_task_given_up_fails_its_job_and_cancels_the_rest(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 3, at(10)).await;
    work(store, task_id(1, 1), 1, at(11)).await;
    let other = claim(store, task_id(1, 3), 2, at(11)).await;
    let proof = claim(store, task_id(1, 2), 1, at(12)).await;
    let why = Failure::permanent("no such codec").advise("choose another");
    let applied = fail(store, task_id(1, 2), proof, why.clone(), at(13)).await;
    assert_eq!((applied.step, applied.task.state), (Step::GiveUp, TaskState::Failed));
    assert_eq!((applied.job.state, applied.job.failure), (JobState::Failed, Some(why)));
    assert_eq!(state(store, task_id(1, 1)).await, TaskState::Done);
    for number in [3, 4, 5] {
        assert_eq!(state(store, task_id(1, number)).await, TaskState::Cancelled);
    }
    let event = TaskEvent::Complete(other, result(TaskKind::EncodeChunk));
    let late = apply(store, task_id(1, 3), event, at(14)).await.unwrap_err();
    assert_eq!(late, ApplyError::Refused(Refused::Stale));
    assert!(store.tasks_stuck(10).await.unwrap().is_empty());
}

pub(super) async fn a_cut_that_failed_leaves_the_job_running(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 2, at(10)).await;
    let proof = claim(store, task_id(1, 1), 1, at(11)).await;
    let recut = Failure::new(FailureClass::Recut, "frames are missing");
    let applied = fail(store, task_id(1, 1), proof, recut, at(12)).await;
    assert_eq!((applied.step, applied.job.state), (Step::GiveUp, JobState::Running));
    assert_eq!(the_job(store, 1).await.state, JobState::Running);
    assert_eq!(state(store, task_id(1, 2)).await, TaskState::Ready);
    assert_eq!(store.tasks_stuck(10).await.unwrap(), [applied.task]);
    let other = work(store, task_id(1, 2), 1, at(13)).await;
    assert_eq!((other.step, other.job.state), (Step::Stay, JobState::Running));
    store.job_replan(job_id(1), &request(), at(14)).await.unwrap();
    assert!(store.tasks_stuck(10).await.unwrap().is_empty());
}

pub(super) async fn events_do_not_reach_tasks_ahead_of_their_stage(store: &dyn Store) {
    submit(store, 1).await;
    analyse(store, 1, 1, at(10)).await;
    for event in [TaskEvent::Unblock, TaskEvent::Claim(lease(1, 1, at(11)))] {
        let refused = apply(store, task_id(1, 3), event, at(11)).await.unwrap_err();
        assert_eq!(refused, ApplyError::Refused(Refused::NotNow));
    }
    let none = apply(store, task_id(1, 9), TaskEvent::Sweep, at(11)).await.unwrap_err();
    assert_eq!(none, ApplyError::NoSuchTask);
    let none = apply(store, task_id(9, 0), TaskEvent::Sweep, at(11)).await.unwrap_err();
    assert_eq!(none, ApplyError::NoSuchTask);
}
