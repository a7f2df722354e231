//! What every source of tasks must do: one suite, run on the coordinator itself
//! and on the same coordinator over gRPC.

mod remote;

use crate::api::tests::farm::{Farm, Player, Served, analysed, encoded, until};
use crate::api::{Auth, Role, create_key};
use crate::remote_source::RemoteSource;
use crate::task_source::{
    Ask, Assignment, Order, Renewal, Report, SourceError, Standing, TaskSource,
};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::fleet::Waits;
use reelmill_core::id::{LeaseId, TaskId};
use reelmill_core::job::JobState;
use reelmill_core::load::Load;
use reelmill_core::task::{Encoded, TaskKind, TaskResult, TaskState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a claim to wait in vain on a slow machine.
const LONG: Duration = Duration::from_secs(20);

/// A source under test and the farm behind it.
struct Bench {
    source: Arc<dyn TaskSource>,
    farm: Farm,
    _server: Option<Served>,
}

async fn in_process() -> Bench {
    let farm = Farm::sqlite().await;
    Bench { source: farm.coordinator.clone(), farm, _server: None }
}

async fn over_grpc() -> Bench {
    let farm = Farm::sqlite().await;
    // With a worker's own key there would be no house work.
    let key = create_key(farm.store.as_ref(), Role::Admin, "w").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let source = RemoteSource::new(std::slice::from_ref(&server.url), Some(&key)).unwrap();
    Bench { source: Arc::new(source), farm, _server: Some(server) }
}

impl Bench {
    /// A worker that has joined.
    async fn player(&self) -> Player {
        let player = Player::new();
        let terms = self.source.join(&player.hello()).await.unwrap();
        assert_eq!(terms.lease, 45_000_000);
        assert_eq!(terms.heartbeat, 15_000_000);
        player
    }

    async fn claim(&self, player: &Player) -> Option<Assignment> {
        self.source.claim(&player.ask(), Duration::ZERO).await.unwrap()
    }

    async fn report(&self, player: &Player, of: &Assignment, report: Report) -> Standing {
        self.source.report(&player.done(of, report)).await.unwrap()
    }

    async fn renew(&self, player: &Player, of: &Assignment, progress: u64) -> Standing {
        let (task, proof, worker) = (of.task, of.proof, player.id);
        let load = Some(Load { cpu: 1.0, io_wait: 0.25, network: 0.0, memory: 0.5 });
        let renewal = Renewal { task, proof, worker, progress, rate: 12.5, load };
        self.source.renew(&renewal).await.unwrap()
    }

    /// A job that is planned in `chunks` chunks, and a worker.
    async fn planned(&self, chunks: u32) -> Player {
        self.farm.submit(b"source", None).await;
        let player = self.player().await;
        let analyse = self.claim(&player).await.unwrap();
        assert_eq!(analyse.kind, TaskKind::Analyse);
        assert_eq!(self.report(&player, &analyse, analysed(chunks)).await, Standing::Held);
        player
    }

    async fn state(&self, of: &Assignment) -> TaskState {
        self.farm.store.task_get(of.task).await.unwrap().unwrap().state
    }

    async fn events(&self, of: &Assignment) -> Vec<String> {
        let history = self.farm.coordinator.history(of.task.job, 0).await.unwrap();
        let word = |entry: reelmill_store::HistoryEntry| {
            entry.event["event"].as_str().unwrap_or_default().to_owned()
        };
        history.into_iter().map(word).collect()
    }
}

async fn a_worker_that_joined_is_known(bench: Bench) {
    let player = bench.player().await;
    let known = bench.farm.store.worker_get(player.id).await.unwrap().unwrap();
    assert_eq!((known.name.as_str(), known.session, known.slots), ("player", player.session, 2));
}

async fn a_claim_without_work_ends_empty(bench: Bench) {
    let player = bench.player().await;
    assert_eq!(bench.claim(&player).await, None);
}

async fn a_waiting_claim_wakes_when_a_job_comes(bench: Bench) {
    let player = bench.player().await;
    let source = bench.source.clone();
    let ask = player.ask();
    // The claim has been noted when the worker was seen after it had joined.
    let joined = bench.farm.store.worker_get(player.id).await.unwrap().unwrap().seen;
    let waiting = tokio::spawn(async move { source.claim(&ask, LONG).await });
    until(async || {
        let worker = bench.farm.store.worker_get(player.id).await.unwrap().unwrap();
        worker.seen > joined
    })
    .await;
    assert!(!waiting.is_finished());
    let job = bench.farm.submit(b"source", None).await;
    let assignment = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(assignment.task.job, job.id);
    assert_eq!(assignment.source, job.source);
    let Order::Analyse { request, .. } = &assignment.order else { panic!("{assignment:?}") };
    assert_eq!(**request, job.request);
}

async fn a_task_is_granted_to_one_worker_only(bench: Bench) {
    bench.farm.submit(b"source", None).await;
    let (one, other) = (bench.player().await, bench.player().await);
    assert!(bench.claim(&one).await.is_some());
    assert_eq!(bench.claim(&other).await, None);
}

/// Whoever asks at the same moment gets another task, and nobody goes without.
async fn all_that_ask_at_once_share_what_there_is(bench: Bench) {
    let mut players = vec![bench.planned(12).await];
    for _ in 1..6 {
        players.push(bench.player().await);
    }
    let mut asking = tokio::task::JoinSet::new();
    for player in players.iter().flat_map(|player| [player, player]) {
        let (source, ask) = (bench.source.clone(), player.ask());
        asking.spawn(async move { source.claim(&ask, LONG).await.unwrap().unwrap() });
    }
    let granted = asking.join_all().await;
    let tasks: BTreeSet<TaskId> = granted.iter().map(|assignment| assignment.task).collect();
    assert_eq!(tasks.len(), 12, "{granted:?}");
    for player in players {
        assert_eq!(bench.farm.store.tasks_held(player.id).await.unwrap().len(), 2);
    }
}

async fn no_worker_gets_more_than_it_may(bench: Bench) {
    let player = bench.planned(5).await;
    let limit = |limit| bench.farm.coordinator.limit_worker(player.id, limit);
    assert_eq!(limit(Some(0)).await.unwrap().unwrap().record.limit, Some(0));
    assert!(bench.claim(&player).await.is_some(), "the house has one more than its limit");
    assert_eq!(bench.claim(&player).await, None);
    assert_eq!(limit(None).await.unwrap().unwrap().record.limit, None);
    for _ in 0..2 {
        assert!(bench.claim(&player).await.is_some());
    }
    assert_eq!(bench.claim(&player).await, None, "two slots and the house");
}

async fn a_claim_asked_again_yields_the_same_grant(bench: Bench) {
    let player = bench.planned(3).await;
    let ask = Ask { request: Some(LeaseId(crate::clock::fresh())), ..player.ask() };
    let first = bench.source.claim(&ask, Duration::ZERO).await.unwrap().unwrap();
    let again = bench.source.claim(&ask, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(first, again);
    let report = encoded(bench.farm.blob(b"chunk").await);
    assert_eq!(bench.report(&player, &first, report).await, Standing::Held);
    let late = bench.source.claim(&ask, Duration::ZERO).await;
    assert_eq!(late, Err(SourceError::Answered), "a copy that comes late gets no task");
}

async fn what_cannot_be_true_does_not_count(bench: Bench) {
    let player = bench.planned(2).await;
    let chunk = bench.claim(&player).await.unwrap();
    let Report::Done { result: TaskResult::Encoded(good) } =
        encoded(bench.farm.blob(b"chunk").await)
    else {
        panic!()
    };
    let short = Encoded { frames: 99, ..good };
    let report = Report::Done { result: TaskResult::Encoded(short) };
    assert_eq!(bench.report(&player, &chunk, report).await, Standing::Held);
    let task = bench.farm.store.task_get(chunk.task).await.unwrap().unwrap();
    assert_eq!((task.state, task.attempts), (TaskState::Ready, 1));
    assert!(task.failure.unwrap().message.contains("99 frames, not the 100"));
    let other = bench.claim(&player).await.unwrap();
    let missing = encoded(reelmill_core::task::BlobRef {
        id: reelmill_core::id::BlobId(crate::clock::fresh()),
        bytes: 5,
        sha512: "x".into(),
    });
    assert_eq!(bench.report(&player, &other, missing).await, Standing::Held);
    let task = bench.farm.store.task_get(other.task).await.unwrap().unwrap();
    assert!(task.failure.unwrap().message.contains("are not here"));
}

async fn it_is_told_why_a_task_waits(bench: Bench) {
    let player = bench.planned(3).await;
    let chunk = bench.claim(&player).await.unwrap();
    assert_eq!(bench.renew(&player, &chunk, 50).await, Standing::Held);
    let job = bench.farm.coordinator.job(chunk.task.job).await.unwrap().unwrap();
    let view = bench.farm.coordinator.view(job).await.unwrap();
    let of = |number: u32| view.chunks.iter().find(|one| one.task == number).unwrap();
    assert_eq!(of(chunk.task.number).outlook, None, "it runs");
    let finish = view.chunks.iter().find(|one| one.kind == TaskKind::Finish).unwrap();
    assert_eq!(finish.outlook.as_ref().unwrap().why, Waits::Stage);
    let waits = view.chunks.iter().find(|one| one.state == TaskState::Ready).unwrap();
    let outlook = waits.outlook.as_ref().unwrap();
    assert_eq!(outlook.worker, Some(player.id));
    assert!(outlook.starts_in.is_some_and(|seconds| seconds > 0.0), "{outlook:?}");
}

async fn a_renewal_holds_and_tells_progress(bench: Bench) {
    let player = bench.planned(2).await;
    let chunk = bench.claim(&player).await.unwrap();
    assert_eq!(bench.renew(&player, &chunk, 7).await, Standing::Held);
    let job = bench.farm.coordinator.job(chunk.task.job).await.unwrap().unwrap();
    let view = bench.farm.coordinator.view(job).await.unwrap();
    assert_eq!((view.frames_done, view.frames_total), (7, Some(200)));
    assert!((view.fps - 12.5).abs() < 1e-9);
    // A worker that encodes for hours asks for nothing; its load is known all the same.
    let workers = bench.farm.coordinator.workers().await.unwrap();
    assert_eq!(workers[0].score, Some(0.5));
}

async fn a_renewal_of_a_cancelled_job_is_lost(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    bench.farm.coordinator.cancel(chunk.task.job).await.unwrap();
    assert_eq!(bench.renew(&player, &chunk, 1).await, Standing::Lost);
}

async fn results_count_and_the_job_goes_on(bench: Bench) {
    let player = bench.planned(2).await;
    let one = bench.claim(&player).await.unwrap();
    let other = bench.claim(&player).await.unwrap();
    assert_ne!(one.task, other.task);
    for chunk in [&one, &other] {
        let report = encoded(bench.farm.blob(b"chunk").await);
        assert_eq!(bench.report(&player, chunk, report.clone()).await, Standing::Held);
        let task = bench.farm.store.task_get(chunk.task).await.unwrap().unwrap();
        let Report::Done { result } = report else { panic!() };
        assert_eq!(task.result, Some(result), "it came through as it was");
    }
    let finish = bench.claim(&player).await.unwrap();
    assert_eq!(finish.kind, TaskKind::Finish);
    let Order::Finish(order) = &finish.order else { panic!("{finish:?}") };
    assert_eq!(order.video.len(), 2);
    let report = bench.farm.do_work(&finish, b"output").await;
    assert_eq!(bench.report(&player, &finish, report).await, Standing::Held);
    let job = bench.farm.coordinator.job(finish.task.job).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Completed);
}

async fn a_failure_is_stored_with_its_class_and_advice(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    let mut failure = Failure::input("the picture is damaged").advise("get a better copy");
    failure.tail = vec!["moov atom not found".into()];
    let report = Report::Failed { failure: failure.clone() };
    assert_eq!(bench.report(&player, &chunk, report).await, Standing::Held);
    let job = bench.farm.coordinator.job(chunk.task.job).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.failure, Some(failure));
}

async fn a_released_task_costs_nothing_and_is_free_at_once(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    assert_eq!(bench.report(&player, &chunk, Report::Released).await, Standing::Held);
    let again = bench.claim(&player).await.unwrap();
    assert_eq!(again.task, chunk.task);
    assert!(again.proof.epoch > chunk.proof.epoch);
    let task = bench.farm.store.task_get(chunk.task).await.unwrap().unwrap();
    assert_eq!((task.attempts, task.losses), (0, 0));
}

async fn a_late_report_is_refused_and_noted(bench: Bench) {
    let player = bench.planned(1).await;
    let old = bench.claim(&player).await.unwrap();
    bench.report(&player, &old, Report::Released).await;
    let other = bench.player().await;
    let new = bench.claim(&other).await.unwrap();
    let report = encoded(bench.farm.blob(b"late").await);
    assert_eq!(bench.report(&player, &old, report).await, Standing::Lost);
    assert_eq!(bench.renew(&player, &old, 9).await, Standing::Lost);
    assert_eq!(bench.state(&new).await, TaskState::Leased, "the new worker keeps it");
    assert_eq!(bench.renew(&other, &new, 1).await, Standing::Held);
    let refused = bench.events(&new).await.iter().filter(|e| *e == "stale_refused").count();
    assert!(refused >= 1, "the history tells it");
}

async fn a_repeated_report_is_harmless(bench: Bench) {
    let player = bench.planned(2).await;
    let chunk = bench.claim(&player).await.unwrap();
    let report = encoded(bench.farm.blob(b"chunk").await);
    assert_eq!(bench.report(&player, &chunk, report.clone()).await, Standing::Held);
    assert_eq!(bench.report(&player, &chunk, report.clone()).await, Standing::Held);
    let task = bench.farm.store.task_get(chunk.task).await.unwrap().unwrap();
    let (Report::Done { result }, TaskState::Done) = (report, task.state) else { panic!() };
    assert_eq!(task.result, Some(result));
}

async fn a_new_session_frees_what_the_old_one_held(bench: Bench) {
    let player = bench.planned(1).await;
    let old = bench.claim(&player).await.unwrap();
    let restarted = player.restarted();
    bench.source.join(&restarted.hello()).await.unwrap();
    assert_eq!(bench.renew(&player, &old, 5).await, Standing::Lost);
    let report = encoded(bench.farm.blob(b"ghost").await);
    assert_eq!(bench.report(&player, &old, report).await, Standing::Lost);
    until(async || bench.farm.store.task_get(old.task).await.unwrap().unwrap().lease.is_none())
        .await;
}

async fn joining_again_in_the_same_session_keeps_what_is_held(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    bench.source.join(&player.hello()).await.unwrap();
    assert_eq!(bench.renew(&player, &chunk, 5).await, Standing::Held);
}

async fn leaving_gives_everything_back_without_cost(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    bench.source.leave(player.id, player.session).await.unwrap();
    let task = bench.farm.store.task_get(chunk.task).await.unwrap().unwrap();
    assert_eq!((task.state, task.attempts, task.losses), (TaskState::Ready, 0, 0));
    let other = bench.player().await;
    assert_eq!(bench.claim(&other).await.unwrap().task, chunk.task);
}

async fn a_report_of_a_job_that_is_gone_is_lost(bench: Bench) {
    let player = bench.planned(1).await;
    let chunk = bench.claim(&player).await.unwrap();
    bench.farm.coordinator.cancel(chunk.task.job).await.unwrap();
    let report = Report::Failed { failure: Failure::new(FailureClass::Transient, "x") };
    assert_eq!(bench.report(&player, &chunk, report).await, Standing::Lost);
}

macro_rules! suite {
    ($($case:ident)*) => {
        mod the_coordinator_itself {
            $(#[tokio::test] async fn $case() { super::$case(super::in_process().await).await; })*
        }
        mod over_grpc {
            $(#[tokio::test] async fn $case() { super::$case(super::over_grpc().await).await; })*
        }
    };
}

suite! {
    a_worker_that_joined_is_known
    a_claim_without_work_ends_empty
    a_waiting_claim_wakes_when_a_job_comes
    a_task_is_granted_to_one_worker_only
    a_renewal_holds_and_tells_progress
    a_renewal_of_a_cancelled_job_is_lost
    all_that_ask_at_once_share_what_there_is
    no_worker_gets_more_than_it_may
    a_claim_asked_again_yields_the_same_grant
    what_cannot_be_true_does_not_count
    it_is_told_why_a_task_waits
    results_count_and_the_job_goes_on
    a_failure_is_stored_with_its_class_and_advice
    a_released_task_costs_nothing_and_is_free_at_once
    a_late_report_is_refused_and_noted
    a_repeated_report_is_harmless
    a_new_session_frees_what_the_old_one_held
    joining_again_in_the_same_session_keeps_what_is_held
    leaving_gives_everything_back_without_cost
    a_report_of_a_job_that_is_gone_is_lost
}
