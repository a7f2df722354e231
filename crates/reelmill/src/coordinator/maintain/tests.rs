//! Builds that are gone, bytes that nobody wants.

use crate::api::tests::farm::{Farm, Player, analysed, encoded, finished};
use crate::clock::{self, Simulated, simulate};
use crate::task_source::{Ask, Assignment, Hello, Report, Standing, TaskSource};
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::job::JobState;
use std::time::Duration;

/// More than fit on a page of jobs.
const MANY: usize = 210;

async fn claim(farm: &Farm, ask: &Ask) -> Assignment {
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.claim(ask, Duration::ZERO).await.unwrap().unwrap()
}

async fn report(farm: &Farm, player: &Player, of: &Assignment, report: Report) -> Standing {
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.report(&player.done(of, report)).await.unwrap()
}

/// A job that is planned in one chunk by `player`.
async fn planned(farm: &Farm, player: &Player) -> JobId {
    let job = farm.submit(b"source", None).await;
    let mut ask = player.ask();
    (ask.facts.encodes, ask.facts.encoders) = (false, vec![]);
    let analyse = claim(farm, &ask).await;
    assert_eq!(report(farm, player, &analyse, analysed(1)).await, Standing::Held);
    job.id
}

#[tokio::test]
async fn a_job_bound_to_a_lost_build_is_planned_again_however_many_run() {
    let farm = Farm::memory().await;
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    let (old, new) = (Player::new(), Player::new());
    let (mut hello, mut ask) = (old.hello(), old.ask());
    for facts in [&mut hello.facts, &mut ask.facts] {
        "x264-155".clone_into(&mut facts.encoders[0].fingerprint);
    }
    let hello: Hello = hello;
    source.join(&hello).await.unwrap();
    let lost = planned(&farm, &old).await;
    let chunk = claim(&farm, &ask).await;
    assert_eq!(report(&farm, &old, &chunk, Report::Released).await, Standing::Held);
    source.leave(old.id, old.session).await.unwrap();
    source.join(&new.hello()).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..MANY {
        let job = planned(&farm, &new).await;
        farm.store.job_pin(job, 0, "x264-164").await.unwrap();
        others.push(job);
    }
    let job = farm.coordinator.job(lost).await.unwrap().unwrap();
    assert_eq!((job.state, job.encoder_pin.as_deref()), (JobState::Running, Some("x264-155")));
    farm.coordinator.sweep().await.unwrap();
    assert_eq!(farm.coordinator.job(lost).await.unwrap().unwrap().generation, 0, "it may return");
    let (now, steady) = (clock::now().plus_micros(600_000_000), clock::steady() + 600_000_000);
    simulate(Some(Simulated { now, steady, dice: 1 }));
    source.join(&new.hello()).await.unwrap();
    farm.coordinator.sweep().await.unwrap();
    simulate(None);
    let job = farm.coordinator.job(lost).await.unwrap().unwrap();
    assert_eq!((job.generation, job.encoder_pin), (1, None));
    for job in others {
        assert_eq!(farm.coordinator.job(job).await.unwrap().unwrap().generation, 0);
    }
}

async fn is_kept(farm: &Farm, blob: BlobId) -> bool {
    farm.coordinator.blobs().len(blob).await.unwrap().is_some()
}

#[tokio::test]
async fn bytes_of_a_result_that_is_refused_are_thrown_away_at_once() {
    let farm = Farm::sqlite().await;
    let player = Player::new();
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&player.hello()).await.unwrap();
    planned(&farm, &player).await;
    let chunk = claim(&farm, &player.ask()).await;
    // Not what the task is to yield.
    let blob = farm.blob(b"an output").await;
    let id = blob.id;
    assert_eq!(report(&farm, &player, &chunk, finished(blob)).await, Standing::Held);
    assert!(!is_kept(&farm, id).await, "not believed");
    // Under a lease that is over.
    let blob = farm.blob(b"a chunk").await;
    let id = blob.id;
    assert_eq!(report(&farm, &player, &chunk, encoded(blob)).await, Standing::Lost);
    assert!(!is_kept(&farm, id).await, "stale");
    // Of a job that is forgotten.
    farm.store.job_delete(chunk.task.job, clock::now()).await.unwrap();
    let blob = farm.blob(b"a chunk").await;
    let id = blob.id;
    assert_eq!(report(&farm, &player, &chunk, encoded(blob)).await, Standing::Lost);
    assert!(!is_kept(&farm, id).await, "nobody's");
}
