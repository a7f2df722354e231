//! One claim: what a worker that asks is granted.
//!
//! Claims of one worker come one after the other, for what it holds is counted. Those
//! of different workers only *pick* one after the other, in memory: what one has
//! picked is no candidate for the next, and counts as running. Their commits, which
//! take long, go to the store together. What a look at the store found serves all
//! that had asked before it began: they see no less than if each had looked itself.

use super::Coordinator;
use super::dispatch::{LOOK_AHEAD, away};
use super::fleet::Choice;
use super::live::Running;
use crate::clock;
use crate::task_source::{Ask, Assignment, SourceError};
use reelmill_core::error::Failure;
use reelmill_core::id::{LeaseId, TaskId, WorkerId};
use reelmill_core::job::{Job, PROBATION, Step};
use reelmill_core::lease::Lease;
use reelmill_core::schedule::Candidate;
use reelmill_core::task::{Task, TaskEvent};
use reelmill_store::{Applied, ApplyError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Mutex as Turn;

/// Candidates tried for one claim before it waits again: each may turn out to be
/// taken, or not to be had now.
const TRIES: u32 = 16;

/// What claims share.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// One claim at a time for each worker that has one under way.
    turns: Mutex<HashMap<WorkerId, Arc<Turn<()>>>>,
    /// One look at the store at a time.
    looking: Turn<()>,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Claims that have come.
    asked: u64,
    /// Claims that had come when the last look at the store began.
    served: u64,
    /// What it found, less what was picked since.
    candidates: Vec<Candidate>,
    /// Whether anything was picked since.
    touched: bool,
    /// Numbers the picks.
    picks: u64,
    /// Tasks that a look may still find though they are picked.
    picked: HashMap<TaskId, Pick>,
}

#[derive(Debug, Clone, Copy)]
struct Pick {
    /// The earlier, the lower.
    number: u64,
    /// The store knows of it: a look that begins now will not find it.
    known: bool,
}

/// A task that is about to be granted.
struct Picked {
    candidate: Candidate,
    lease: LeaseId,
    pick: u64,
    /// What else could be claimed then.
    rest: Vec<Candidate>,
}

/// Puts a task back that was picked, however its claim ends.
struct Hold<'a> {
    of: &'a Coordinator,
    picked: Option<&'a Picked>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let Some(picked) = self.picked else { return };
        let (task, lease) = (picked.candidate.task, picked.lease);
        let this = |one: &TaskId, run: &Running| *one == task && run.proof.lease == lease;
        self.of.live.forget(|one, run| run.is_expected() && this(one, run));
        self.of.claims.put_back(picked);
        self.of.bell.notify_waiters();
    }
}

/// What comes of a look.
enum Next {
    Grant(Picked),
    Double(TaskId, Vec<Candidate>),
    Nothing,
    /// Others have picked from what was found: look again.
    Look,
}

impl Claims {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<WorkerId, Arc<Turn<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim comes; yields its number.
    fn come(&self) -> u64 {
        let mut desk = self.desk();
        desk.asked += 1;
        desk.asked
    }

    /// The store has answered: the task is no candidate any more.
    fn settled(&self, task: TaskId) {
        let mut desk = self.desk();
        desk.candidates.retain(|one| one.task != task);
        if let Some(pick) = desk.picked.get_mut(&task) {
            pick.known = true;
        }
    }

    /// It is not granted after all, and may be to somebody else, who may have picked
    /// it by now.
    fn put_back(&self, picked: &Picked) {
        let (task, mut desk) = (picked.candidate.task, self.desk());
        if desk.picked.get(&task).is_some_and(|pick| pick.number == picked.pick) {
            desk.picked.remove(&task);
        }
    }

    /// Whether another task of the same job was picked before `of`.
    fn is_second(&self, of: &Picked) -> bool {
        let (job, desk) = (of.candidate.task.job, self.desk());
        let earlier = |(task, pick): (&TaskId, &Pick)| task.job == job && pick.number < of.pick;
        desk.picked.iter().any(earlier)
    }
}

impl Coordinator {
    pub(super) async fn try_claim(&self, ask: &Ask) -> Result<Option<Assignment>, SourceError> {
        let worker = ask.facts.id;
        let turn = self.claims.turns().entry(worker).or_default().clone();
        let claimed = {
            let _one_at_a_time = turn.lock().await;
            self.claim_in_turn(ask).await
        };
        drop(turn);
        self.claims.turns().retain(|_, turn| Arc::strong_count(turn) > 1);
        claimed
    }

    async fn claim_in_turn(&self, ask: &Ask) -> Result<Option<Assignment>, SourceError> {
        let worker = ask.facts.id;
        if self.fleet.is_over(worker, ask.session) {
            return Ok(None);
        }
        let held = self.store.tasks_held(worker).await.map_err(|e| away(e.into()))?;
        if let Some(request) = ask.request {
            if let Some(assignment) = self.granted_before(request, &held).await.map_err(away)? {
                return Ok(Some(assignment));
            }
            if self.fleet.was_answered(worker, request) {
                return Err(SourceError::Answered);
            }
        }
        if held.len() >= self.fleet.most(worker) {
            return Ok(None);
        }
        self.find_task(ask).await.map_err(away)
    }

    /// A task for a worker that may have one more.
    async fn find_task(&self, ask: &Ask) -> Result<Option<Assignment>, Failure> {
        if !self.hands_out_to(ask.facts.id).await? {
            return Ok(None);
        }
        let mut number = self.claims.come();
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            self.look(number).await?;
            let granted = match self.pick(ask, number, &refused) {
                Next::Grant(picked) => {
                    refused.push(picked.candidate.task);
                    self.grant(ask, &picked).await?
                }
                Next::Double(task, rest) => return self.double(ask, task, &rest).await,
                Next::Nothing => return Ok(None),
                Next::Look => {
                    number = self.claims.come();
                    None
                }
            };
            if granted.is_some() {
                return Ok(granted);
            }
        }
        Ok(None)
    }

    /// Looks at what can be claimed, unless that was done since claim `number` came.
    async fn look(&self, number: u64) -> Result<(), Failure> {
        let _one_at_a_time = self.claims.looking.lock().await;
        let (serves, known) = {
            let desk = self.claims.desk();
            if desk.served >= number {
                return Ok(());
            }
            let known = desk.picked.iter().filter(|(_, pick)| pick.known);
            (desk.asked, known.map(|(task, _)| *task).collect::<Vec<TaskId>>())
        };
        let mut candidates = self.store.tasks_ready(clock::now(), LOOK_AHEAD).await?;
        self.sort(&mut candidates);
        let mut desk = self.claims.desk();
        for task in known {
            desk.picked.remove(&task);
        }
        candidates.retain(|one| !desk.picked.contains_key(&one.task));
        (desk.served, desk.candidates, desk.touched) = (serves, candidates, false);
        Ok(())
    }

    /// Picks for `ask` from what was found; nothing in between waits for anything.
    fn pick(&self, ask: &Ask, number: u64, refused: &[TaskId]) -> Next {
        let mut desk = self.claims.desk();
        if desk.served < number {
            return Next::Look;
        }
        let free =
            |one: &&Candidate| !desk.picked.contains_key(&one.task) && !refused.contains(&one.task);
        let mut rest: Vec<Candidate> = desk.candidates.iter().filter(free).cloned().collect();
        match self.choose(ask, &rest) {
            Choice::Take(at) => {
                let candidate = rest.remove(at);
                let lease = ask.request.unwrap_or_else(|| LeaseId(clock::fresh()));
                desk.picks += 1;
                desk.touched = true;
                let pick = desk.picks;
                desk.picked.insert(candidate.task, Pick { number: pick, known: false });
                self.live.insert(candidate.task, Running::expected(&candidate, ask, lease));
                Next::Grant(Picked { candidate, lease, pick, rest })
            }
            Choice::Double(task) => {
                self.live.doubled(task);
                Next::Double(task, rest)
            }
            Choice::Nothing if desk.touched => Next::Look,
            Choice::Nothing => Next::Nothing,
        }
    }

    /// What was granted to this very question: its answer was lost.
    async fn granted_before(
        &self,
        request: LeaseId,
        held: &[Task],
    ) -> Result<Option<Assignment>, Failure> {
        let asked = |task: &&Task| task.leases().any(|lease| lease.id == request);
        let Some(task) = held.iter().find(asked) else { return Ok(None) };
        let Some(job) = self.job(task.id.job).await? else { return Ok(None) };
        let Some(lease) = task.leases().find(|lease| lease.id == request) else { return Ok(None) };
        let applied = Applied { task: task.clone(), job, step: Step::Stay, dropped: vec![] };
        let ready = self.store.tasks_ready(clock::now(), LOOK_AHEAD).await?;
        self.assignment(&applied, lease.proof(), &ready).await.map(Some)
    }

    /// Grants what was picked, or puts it back.
    async fn grant(&self, ask: &Ask, picked: &Picked) -> Result<Option<Assignment>, Failure> {
        let mut hold = Hold { of: self, picked: Some(picked) };
        let granted = self.grant_picked(ask, picked).await;
        if matches!(granted, Ok(Some(_))) {
            hold.picked = None;
        }
        granted
    }

    async fn grant_picked(
        &self,
        ask: &Ask,
        picked: &Picked,
    ) -> Result<Option<Assignment>, Failure> {
        let candidate = &picked.candidate;
        let Some(job) = self.job(candidate.task.job).await? else {
            return Ok(None);
        };
        // Picks first: one that is gone from there is known to the store.
        if job.losses >= PROBATION
            && (self.claims.is_second(picked) || self.is_worked_on(&job).await?)
        {
            return Ok(None);
        }
        let build = to_be_bound(ask, candidate, &job);
        let (task, lease) = (candidate.task, picked.lease);
        self.lease(ask, (task, lease), &job, (TaskEvent::Claim, build), &picked.rest).await
    }

    /// Lets a second worker try a task that takes long where it is.
    async fn double(
        &self,
        ask: &Ask,
        task: TaskId,
        rest: &[Candidate],
    ) -> Result<Option<Assignment>, Failure> {
        let Some(job) = self.job(task.job).await? else { return Ok(None) };
        let encoder = job.request.encoder();
        let build = encoder.and_then(|encoder| ask.facts.fingerprint(encoder));
        if build.is_none() || job.encoder_pin.as_deref() != build {
            return Ok(None);
        }
        let lease = ask.request.unwrap_or_else(|| LeaseId(clock::fresh()));
        let granted = self.lease(ask, (task, lease), &job, (TaskEvent::Rival, None), rest).await?;
        if granted.is_some() {
            tracing::info!(%task, worker = %ask.facts.id, "a second worker tries it too");
        }
        Ok(granted)
    }

    /// Whether any task of the job is with a worker.
    async fn is_worked_on(&self, job: &Job) -> Result<bool, Failure> {
        let tasks = self.store.tasks_of(job.id, job.generation).await?;
        Ok(tasks.iter().any(|task| task.lease.is_some()))
    }

    /// Lets `event` happen with a lease; binds the job to a build first, if one is
    /// named.
    async fn lease(
        &self,
        ask: &Ask,
        (task, id): (TaskId, LeaseId),
        job: &Job,
        (event, build): (impl Fn(Lease) -> TaskEvent, Option<&str>),
        ready: &[Candidate],
    ) -> Result<Option<Assignment>, Failure> {
        let now = clock::now();
        let rules = self.rules(job.request.retry);
        let lease = Lease::grant(id, ask.facts.id, ask.session, rules.terms, now);
        let applied = match build {
            Some(build) => self.store.task_claim(task, event(lease), build, rules, now).await,
            None => self.store.task_apply(task, event(lease), rules, now).await,
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(ApplyError::Refused(_) | ApplyError::NoSuchTask) => {
                self.claims.settled(task);
                return Ok(None);
            }
            Err(ApplyError::Store(error)) => return Err(error.into()),
        };
        self.fleet.answered(ask.facts.id, id);
        let Some(lease) = applied.task.leases().find(|lease| lease.id == id) else {
            return Ok(None);
        };
        let proof = lease.proof();
        self.live.insert(task, Running::new(&applied.job, &applied.task, lease, now));
        self.claims.settled(task);
        self.assignment(&applied, proof, ready).await.map(Some)
    }
}

/// The worker's encoder build, when the job would have to be bound to it first.
fn to_be_bound<'a>(ask: &'a Ask, candidate: &Candidate, job: &Job) -> Option<&'a str> {
    let build = candidate.needs.and_then(|encoder| ask.facts.fingerprint(encoder))?;
    let bound =
        job.generation == candidate.task.generation && job.encoder_pin.as_deref() == Some(build);
    (!bound).then_some(build)
}
