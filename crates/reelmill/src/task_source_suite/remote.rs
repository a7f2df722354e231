//! What only a source of tasks beyond a network meets: servers that go away and
//! come back, wrong keys, workers that hang up.

use super::LONG;
use crate::api::Auth;
use crate::api::tests::farm::{Farm, Player, Served, analysed, until};
use crate::remote_source::RemoteSource;
use crate::task_source::{Renewal, Report, SourceError, Standing, TaskSource};
use reelmill_core::job::JobState;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_wrong_token_is_refused_for_good_and_a_dead_server_is_away() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let servers = [server.url.clone()];
    let hello = Player::new().hello();
    for token in [None, Some("rmk_00_11")] {
        let source = RemoteSource::new(&servers, token).unwrap();
        let Err(SourceError::Refused(failure)) = source.join(&hello).await else { panic!() };
        assert!(failure.advice.unwrap().contains("--token"));
    }
    server.stop.cancel();
    server.ended.await.unwrap();
    let source = RemoteSource::new(&servers, None).unwrap();
    assert!(matches!(source.join(&hello).await, Err(SourceError::Away(_))));
}

#[tokio::test]
async fn the_next_server_is_taken_when_one_is_away_and_kept() {
    let farm = Farm::memory().await;
    let dead = Served::start(&farm, Auth::Open).await;
    dead.stop.cancel();
    dead.ended.await.unwrap();
    let server = Served::start(&farm, Auth::Open).await;
    let source = RemoteSource::new(&[dead.url, server.url.clone()], None).unwrap();
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    source.leave(player.id, player.session).await.unwrap();
}

#[tokio::test]
async fn a_worker_goes_on_with_a_server_that_came_back() {
    let farm = Farm::sqlite().await;
    farm.submit(b"source", None).await;
    let first = Served::start(&farm, Auth::Open).await;
    let source = RemoteSource::new(std::slice::from_ref(&first.url), None).unwrap();
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    let task = source.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
    let address = first.authority().to_owned();
    first.stop.cancel();
    first.ended.await.unwrap();
    let (worker, load) = (player.id, None);
    let renewal =
        Renewal { task: task.task, proof: task.proof, worker, progress: 1, rate: 1.0, load };
    assert!(matches!(source.renew(&renewal).await, Err(SourceError::Away(_))));
    let _second = Served::at(&farm, Auth::Open, &address).await;
    until(async || source.renew(&renewal).await == Ok(Standing::Held)).await;
    let done = player.done(&task, analysed(1));
    assert_eq!(source.report(&done).await, Ok(Standing::Held));
}

#[tokio::test]
async fn a_grant_whose_worker_hung_up_is_given_back_at_once() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let source = Arc::new(RemoteSource::new(std::slice::from_ref(&server.url), None).unwrap());
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    let joined = farm.store.worker_get(player.id).await.unwrap().unwrap().seen;
    let (waiter, ask) = (source.clone(), player.ask());
    let waiting = tokio::spawn(async move { waiter.claim(&ask, LONG).await });
    until(async || farm.store.worker_get(player.id).await.unwrap().unwrap().seen > joined).await;
    waiting.abort();
    let _ = waiting.await;
    let job = farm.submit(b"source", None).await;
    // Whether the server noticed in time or not: nobody holds the task.
    let other = Player::new();
    source.join(&other.hello()).await.unwrap();
    let granted = source.claim(&other.ask(), LONG).await.unwrap().unwrap();
    assert_eq!(granted.task.job, job.id);
    let task = farm.store.task_get(granted.task).await.unwrap().unwrap();
    assert_eq!((task.attempts, task.losses), (0, 0));
}

#[tokio::test]
async fn a_stopping_server_answers_waiting_claims_at_once() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let source = Arc::new(RemoteSource::new(std::slice::from_ref(&server.url), None).unwrap());
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    let joined = farm.store.worker_get(player.id).await.unwrap().unwrap().seen;
    let (waiter, ask) = (source.clone(), player.ask());
    let waiting = tokio::spawn(async move { waiter.claim(&ask, LONG).await });
    until(async || farm.store.worker_get(player.id).await.unwrap().unwrap().seen > joined).await;
    server.stop.cancel();
    // Answered, not cut off: the worker sees an empty claim.
    assert_eq!(waiting.await.unwrap(), Ok(None));
    server.ended.await.unwrap();
}

#[tokio::test]
async fn a_report_too_large_to_send_fails_the_task_instead_of_being_tried_for_ever() {
    let farm = Farm::memory().await;
    farm.submit(b"source", None).await;
    let server = Served::start(&farm, Auth::Open).await;
    let source = RemoteSource::new(std::slice::from_ref(&server.url), None).unwrap();
    let player = Player::new();
    source.join(&player.hello()).await.unwrap();
    let task = source.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
    let Report::Analysed { mut media, plan } = analysed(1) else { panic!() };
    media.tags.insert("huge".into(), "x".repeat(65 << 20));
    let done = player.done(&task, Report::Analysed { media, plan });
    assert_eq!(source.report(&done).await, Ok(Standing::Held));
    let job = farm.coordinator.job(task.task.job).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert!(job.failure.unwrap().message.contains("cannot be sent"));
}
