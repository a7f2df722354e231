//! Random lives of jobs: every engine must agree with the one in memory, and
//! what no life may break holds at every step.

use super::fixture::*;
use crate::{ApplyError, HistoryEntry, MemoryStore, SqliteStore, Store};
use proptest::prelude::*;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::TaskId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::lease::LeaseProof;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskEvent, TaskState};
use reelmill_core::time::Timestamp;

const JOBS: u128 = 3;

/// Something that may happen; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Move {
    Submit(u128, u8),
    Analyse(u128, u32),
    Claim(usize, u128),
    Report(u8, usize),
    Again(usize),
    Sweep(usize),
    Gone(usize),
    Odd(usize, bool),
    Renew(Vec<usize>),
    Grace,
    Cancel(u128),
    Reopen(u128),
    Replan(u128),
    Fail(u128),
    Priority(u128, u8),
    Pin(u128, u8),
    Delete(u128),
    Wait(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let job = || 1..=JOBS;
    let choice = || 0usize..64;
    let one = prop_oneof![
        4 => (job(), 0u8..=100).prop_map(|(job, priority)| Move::Submit(job, priority)),
        6 => (job(), 1u32..4).prop_map(|(job, chunks)| Move::Analyse(job, chunks)),
        12 => (choice(), 1u128..5).prop_map(|(at, worker)| Move::Claim(at, worker)),
        12 => (0u8..8, choice()).prop_map(|(how, at)| Move::Report(how, at)),
        2 => choice().prop_map(Move::Again),
        3 => choice().prop_map(Move::Sweep),
        2 => choice().prop_map(Move::Gone),
        2 => (choice(), prop::bool::ANY).prop_map(|(at, reopen)| Move::Odd(at, reopen)),
        3 => prop::collection::vec(choice(), 0..5).prop_map(Move::Renew),
        1 => Just(Move::Grace),
        1 => job().prop_map(Move::Cancel),
        2 => job().prop_map(Move::Reopen),
        1 => job().prop_map(Move::Replan),
        1 => job().prop_map(Move::Fail),
        1 => (job(), 0u8..=110).prop_map(|(job, to)| Move::Priority(job, to)),
        2 => (job(), 0u8..3).prop_map(|(job, build)| Move::Pin(job, build)),
        1 => job().prop_map(Move::Delete),
        4 => (0i64..80).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..90)
}

/// What the moves know: leases that were granted, in order.
#[derive(Default)]
struct Known {
    now: i64,
    proofs: Vec<(TaskId, LeaseProof)>,
    reports: Vec<(TaskId, TaskEvent)>,
}

impl Known {
    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn proof(&self, choice: usize) -> Option<(TaskId, LeaseProof)> {
        // Mostly the latest: those that still count.
        let back = choice % 6;
        self.proofs.iter().rev().nth(back).or_else(|| self.proofs.last()).copied()
    }
}

fn failure(how: u8) -> Failure {
    match how {
        0 => Failure::transient("busy"),
        1 => Failure::input("broken"),
        2 => Failure::new(FailureClass::Recut, "not to be cut"),
        _ => Failure::new(FailureClass::Environment, "no encoder"),
    }
}

async fn all_tasks(store: &dyn Store) -> Vec<Task> {
    let mut tasks = Vec::new();
    for number in 1..=JOBS {
        let Some(job) = store.job_get(job_id(number)).await.unwrap() else { continue };
        for generation in 0..=job.generation {
            tasks.extend(store.tasks_of(job.id, generation).await.unwrap());
        }
    }
    tasks
}

/// Makes a move; what came of it, as text.
async fn make(store: &dyn Store, step: &Move, known: &mut Known, first: bool) -> String {
    let now = known.now();
    match step {
        Move::Submit(number, priority) => {
            let job = Job { priority: *priority, ..job(*number) };
            format!("{:?}", store.job_submit(new_job(job)).await)
        }
        Move::Analyse(number, chunks) => plan(store, *number, *chunks, known, first).await,
        Move::Wait(seconds) => {
            if first {
                known.now += seconds;
            }
            String::new()
        }
        Move::Cancel(job) => format!("{:?}", store.job_cancel(job_id(*job), now).await),
        Move::Reopen(job) => format!("{:?}", store.job_reopen(job_id(*job), now).await),
        Move::Replan(job) => format!("{:?}", store.job_replan(job_id(*job), &request(), now).await),
        Move::Fail(job) => {
            format!("{:?}", store.job_fail(job_id(*job), failure(1), now).await)
        }
        Move::Priority(job, to) => {
            format!("{:?}", store.job_priority(job_id(*job), *to, now).await)
        }
        Move::Pin(job, build) => {
            let build = format!("build {build}");
            format!("{:?}", store.job_pin(job_id(*job), 0, &build).await)
        }
        Move::Delete(job) => format!("{:?}", store.job_delete(job_id(*job), now).await),
        Move::Grace => format!("{:?}", store.tasks_grace(RULES, now).await),
        Move::Renew(choices) => {
            let proofs = choices.iter().filter_map(|at| known.proof(*at));
            let batch: Vec<_> =
                proofs.enumerate().map(|(n, (id, proof))| (id, proof, n as u64)).collect();
            format!("{:?}", store.tasks_renew(&batch, RULES, now).await)
        }
        _ => touch(store, step, known, first).await,
    }
}

async fn plan(
    store: &dyn Store,
    number: u128,
    chunks: u32,
    known: &mut Known,
    first: bool,
) -> String {
    let now = known.now();
    let Some(job) = store.job_get(job_id(number)).await.unwrap() else { return String::new() };
    let id = TaskId { job: job.id, generation: job.generation, number: 0 };
    let lease = lease(known.proofs.len() as u128 + 10_000, 7, now);
    let lease_id = lease.id;
    let claimed = store.task_apply(id, TaskEvent::Claim(lease), RULES, now).await;
    let Ok(applied) = &claimed else { return format!("{claimed:?}") };
    let proof = LeaseProof { lease: lease_id, epoch: applied.task.epoch };
    let tasks = planned(number, job.generation, chunks, now);
    let done = store.plan_commit(id, proof, &media(), &a_plan(), tasks, RULES, now).await;
    if !first {
        known.reports.push((id, TaskEvent::Release(proof)));
    }
    format!("{claimed:?} {done:?}")
}

/// Moves of single tasks.
async fn touch(store: &dyn Store, step: &Move, known: &mut Known, first: bool) -> String {
    let now = known.now();
    let (id, event) = match step {
        Move::Claim(choice, by) => {
            let ready = store.tasks_ready(now, 8).await.unwrap();
            let Some(candidate) = ready.get(choice % ready.len().max(1)) else {
                return String::new();
            };
            let lease = lease(known.proofs.len() as u128 + 20_000, *by, now);
            let epoch = store.task_get(candidate.task).await.unwrap().unwrap().epoch + 1;
            let proof = LeaseProof { lease: lease.id, epoch };
            let done = store.task_apply(candidate.task, TaskEvent::Claim(lease), RULES, now).await;
            if !first {
                known.proofs.push((candidate.task, proof));
            }
            return format!("{done:?}");
        }
        Move::Report(how, choice) => {
            let Some((id, proof)) = known.proof(*choice) else { return String::new() };
            let kind = store.task_get(id).await.unwrap().map(|task| task.kind);
            let Some(kind) = kind else { return String::new() };
            match how {
                0..=2 => (id, TaskEvent::Fail(proof, failure(*how))),
                3 => (id, TaskEvent::Release(proof)),
                4 => (id, TaskEvent::Rival(lease(u128::from(proof.epoch) + 30_000, 5, now))),
                _ => (id, TaskEvent::Complete(proof, result(kind))),
            }
        }
        Move::Again(choice) => match known.reports.get(choice % known.reports.len().max(1)) {
            Some(report) => report.clone(),
            None => return String::new(),
        },
        Move::Sweep(choice) | Move::Gone(choice) | Move::Odd(choice, _) => {
            let tasks = all_tasks(store).await;
            let Some(task) = tasks.get(choice % tasks.len().max(1)) else {
                return String::new();
            };
            let event = match step {
                Move::Sweep(_) => TaskEvent::Sweep,
                Move::Gone(_) => {
                    let Some(lease) = &task.lease else { return String::new() };
                    TaskEvent::WorkerGone(lease.proof())
                }
                Move::Odd(_, true) => TaskEvent::Reopen,
                _ => TaskEvent::Unblock,
            };
            (task.id, event)
        }
        _ => return String::new(),
    };
    if !first {
        known.reports.push((id, event.clone()));
    }
    let done = store.task_apply(id, event, RULES, now).await;
    if let Err(ApplyError::Store(error)) = &done {
        panic!("{error}");
    }
    format!("{done:?}")
}

/// All that can be seen of a store.
type View = (Vec<Option<Job>>, Vec<Task>, Vec<HistoryEntry>, Vec<Candidate>, Vec<TaskId>, String);

async fn view(store: &dyn Store, now: Timestamp) -> View {
    let mut jobs = Vec::new();
    for number in 1..=JOBS {
        jobs.push(store.job_get(job_id(number)).await.unwrap());
    }
    let leased = store.tasks_leased(100).await.unwrap();
    let rest = format!(
        "{:?} {:?} {:?} {:?}",
        store.task_next_due(now).await.unwrap(),
        store.tasks_due(now, 100).await.unwrap(),
        store.tasks_stuck(100).await.unwrap().iter().map(|task| task.id).collect::<Vec<_>>(),
        store.job_counts().await.unwrap(),
    );
    (
        jobs,
        all_tasks(store).await,
        store.history_since(0, 10_000).await.unwrap(),
        store.tasks_ready(now, 3).await.unwrap(),
        leased.iter().map(|task| task.id).collect(),
        rest,
    )
}

/// What no life of a job may break.
fn sound(view: &View) {
    let (jobs, tasks, ..) = view;
    for job in jobs.iter().flatten() {
        let of_job = |task: &&Task| task.id.job == job.id;
        for task in tasks.iter().filter(of_job) {
            let current = task.id.generation == job.generation && !job.state.is_final();
            assert!(current || task.state.is_final(), "{task:?} is open, its job is not");
            assert_eq!(task.lease.is_some(), task.state == TaskState::Leased);
            assert_eq!(task.result.is_some(), task.state == TaskState::Done);
            let runs = matches!(task.state, TaskState::Ready | TaskState::Leased);
            assert!(!runs || task.stage <= job.stage, "{task:?} runs ahead of its stage");
        }
        let mut current = tasks
            .iter()
            .filter(|task| task.id.job == job.id && task.id.generation == job.generation);
        if job.state == JobState::Completed {
            assert!(current.all(|task| task.state == TaskState::Done));
            assert!(job.output.is_some());
        } else if !job.state.is_final() {
            // Something can still happen: no job is forgotten.
            let moves = |task: &Task| {
                matches!(task.state, TaskState::Ready | TaskState::Leased | TaskState::Failed)
            };
            assert!(current.any(moves), "{job:?} is stuck");
        }
    }
}

async fn live(steps: &[Move]) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap();
    let memory = MemoryStore::new();
    let mut known = Known::default();
    for (at, step) in steps.iter().enumerate() {
        let expected = make(&memory, step, &mut known, true).await;
        let found = make(&sqlite, step, &mut known, false).await;
        assert_eq!(found, expected, "move {at}: {step:?}");
        let expected = view(&memory, known.now()).await;
        sound(&expected);
        let found = view(&sqlite, known.now()).await;
        assert_eq!(found, expected, "after move {at}: {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree_on_every_life(steps in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&steps));
    }
}
