//! A message becomes a call of the production coordinator.

use super::world::{Answer, Call, away, job};
use crate::coordinator::{Coordinator, Submission};
use crate::task_source::TaskSource;
use reelmill_core::id::WorkerId;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The id of the worker in the coordinator's own process.
pub(super) const HOUSE: WorkerId = WorkerId(Uuid::from_u128(1));

pub(super) async fn run(
    coordinator: &Arc<Coordinator>,
    call: Call,
    submission: Option<Submission>,
) -> Answer {
    let source: &dyn TaskSource = coordinator.as_ref();
    match call {
        Call::Join(hello) => away(source.join(&hello).await, |_| Answer::Joined),
        Call::Claim(ask) => {
            let granted = source.claim(&ask, Duration::ZERO).await;
            away(granted, |assignment| Answer::Granted(assignment.map(Box::new)))
        }
        Call::Renew(renewal) => away(source.renew(&renewal).await, Answer::Stands),
        Call::Report(done) => away(source.report(&done).await, Answer::Stands),
        Call::Leave(worker, session) => {
            away(source.leave(worker, session).await, |()| Answer::Nothing)
        }
        Call::Submit(_) => match submission {
            Some(submission) => job(coordinator.submit(submission).await),
            None => Answer::Away,
        },
        Call::Cancel(id) => job(coordinator.cancel(id).await),
        Call::Retry(id) => job(coordinator.retry(id).await),
        Call::Priority(id, priority) => job(coordinator.reprioritise(id, priority).await),
        Call::Recover => Answer::Recovered(coordinator.recover(&[HOUSE]).await.is_ok()),
        Call::Sweep => {
            let _ = coordinator.sweep().await;
            Answer::Nothing
        }
    }
}
