//! What must hold after every change, judged by a model of its own that knows
//! only which grants were given and what has counted.

use reelmill_core::error::FailureClass;
use reelmill_core::id::{JobId, TaskId, WorkerId};
use reelmill_core::job::Step;
use reelmill_core::lease::LeaseProof;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::{Task, TaskEvent, TaskState};
use reelmill_store::{Applied, ApplyError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Watches every change of a task.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Seen>);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What must never happen and did.
    pub(super) wrong: Vec<String>,
    /// What happened, in order, for the story of a failing seed.
    pub(super) told: Vec<String>,
    /// A number that stands for everything that happened.
    pub(super) trace: u64,
    /// Grants that can still speak for a task, with who has them.
    holders: BTreeMap<TaskId, Vec<(LeaseProof, WorkerId)>>,
    /// Highest epoch of each task.
    epochs: BTreeMap<TaskId, u64>,
    /// Under which grant each task was done.
    pub(super) done: BTreeMap<TaskId, LeaseProof>,
    /// How often each job was completed.
    completed: BTreeMap<JobId, u32>,
    /// Most tasks that one worker may hold.
    pub(super) slots: BTreeMap<WorkerId, usize>,
    /// The grants under which each task killed its worker, as far as the farm could
    /// know: a word sent before the end may arrive after the lease and acquit it.
    kills: BTreeMap<TaskId, Vec<LeaseProof>>,
    /// Tasks that cost a worker.
    pub(super) losses: u32,
    /// Words about tasks that were refused as stale.
    pub(super) refused: u32,
    /// Second attempts beside a running one.
    pub(super) rivals: u32,
    /// Passes over a film beyond the first.
    pub(super) passes: u32,
}

impl Watch {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// An event was put to a task; this came of it.
    pub(super) fn applied(
        &self,
        id: TaskId,
        event: &TaskEvent,
        applied: &Result<Applied, ApplyError>,
    ) {
        self.seen().applied(id, event, applied);
    }

    /// A plan was brought; this came of it.
    pub(super) fn planned(
        &self,
        id: TaskId,
        proof: LeaseProof,
        applied: &Result<Applied, ApplyError>,
    ) {
        let mut seen = self.seen();
        match applied {
            Ok(applied) => {
                seen.spoke(id, proof, "a plan");
                seen.finished(id, proof);
                seen.after(applied);
            }
            Err(_) => seen.refused += 1,
        }
    }

    /// Another pass began with `tasks`; this came of it.
    pub(super) fn passed(
        &self,
        finish: TaskId,
        proof: LeaseProof,
        tasks: &[Task],
        applied: &Result<Applied, ApplyError>,
    ) {
        self.planned(finish, proof, applied);
        if applied.is_ok() {
            let mut seen = self.seen();
            seen.passes += 1;
            let kept = tasks.iter().filter(|task| task.state == TaskState::Done);
            seen.done.extend(kept.filter_map(|task| Some((task.id, task.done_by?))));
        }
    }
}

impl Seen {
    /// Takes note of something, for the trace.
    pub(super) fn mark(&mut self, number: u64) {
        self.trace = (self.trace ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    /// Nobody holds any task of a job any more.
    pub(super) fn freed(&mut self, job: JobId) {
        self.holders.retain(|task, _| task.job != job);
    }

    /// A task has taken its worker down with it. One that goes on with what it no
    /// longer holds, because it has not heard yet, is not the farm's doing.
    pub(super) fn killed(&mut self, task: TaskId, proof: LeaseProof) {
        let held = |all: &Vec<(LeaseProof, WorkerId)>| all.iter().any(|(one, _)| *one == proof);
        if !self.holders.get(&task).is_some_and(held) {
            return;
        }
        let grants = self.kills.entry(task).or_default();
        grants.push(proof);
        let (times, most) = (grants.len(), RetryPolicy::default().max_losses as usize);
        if times > most {
            self.complain(format!("{task} killed {times} workers, more than {most}"));
        }
        // Beyond what is lost one at a time there are those that began at once.
        let (all, most) = (self.kills_of(task.job), 2 * most + 10);
        if all > most {
            self.complain(format!("job {} killed {all} workers, more than {most}", task.job));
        }
    }

    fn kills_of(&self, job: JobId) -> usize {
        self.kills.iter().filter(|(task, _)| task.job == job).map(|(_, grants)| grants.len()).sum()
    }

    /// Somebody wants a job tried again: what it has cost counts anew.
    pub(super) fn retried(&mut self, job: JobId) {
        self.kills.retain(|task, _| task.job != job);
    }

    fn complain(&mut self, what: String) {
        self.told.push(format!("!!! {what}"));
        self.wrong.push(what);
    }

    fn applied(&mut self, id: TaskId, event: &TaskEvent, applied: &Result<Applied, ApplyError>) {
        let applied = match applied {
            Ok(applied) => applied,
            Err(_) => {
                self.refused += 1;
                self.mark(1);
                return;
            }
        };
        match event {
            TaskEvent::Claim(lease) => self.granted(&applied.task, lease.id, lease.worker),
            TaskEvent::Rival(lease) => {
                self.rivals += 1;
                self.granted(&applied.task, lease.id, lease.worker);
            }
            TaskEvent::Alive(_, epoch) => {
                let grants = self.kills.entry(id).or_default();
                grants.retain(|grant| grant.epoch != *epoch);
            }
            TaskEvent::WorkerGone(proof) => self.spoke(id, *proof, "an end"),
            TaskEvent::Renew(proof, _) => self.spoke(id, *proof, "a renewal"),
            TaskEvent::Fail(proof, _) => self.spoke(id, *proof, "a failure"),
            TaskEvent::Release(proof) => self.spoke(id, *proof, "a release"),
            TaskEvent::Complete(proof, _) => {
                self.spoke(id, *proof, "a result");
                self.finished(id, *proof);
            }
            _ => {}
        }
        self.after(applied);
    }

    fn granted(&mut self, task: &Task, lease: reelmill_core::id::LeaseId, worker: WorkerId) {
        let id = task.id;
        if self.done.contains_key(&id) {
            self.complain(format!("{id} was given out though it is done"));
        }
        if self.epochs.get(&id).is_some_and(|epoch| *epoch >= task.epoch) {
            self.complain(format!("the epoch of {id} did not rise"));
        }
        self.epochs.insert(id, task.epoch);
        let proof = LeaseProof { lease, epoch: task.epoch };
        self.holders.entry(id).or_default().push((proof, worker));
        let held = self.holders.values().flatten().filter(|(_, by)| *by == worker).count();
        let most = self.slots.get(&worker).copied().unwrap_or(usize::MAX);
        if held > most {
            self.complain(format!("worker {worker} holds {held} tasks, more than {most}"));
        }
    }

    fn spoke(&mut self, id: TaskId, proof: LeaseProof, what: &str) {
        let holders = self.holders.get(&id);
        if !holders.is_some_and(|all| all.iter().any(|(held, _)| *held == proof)) {
            self.complain(format!("{what} for {id} was taken from a grant that had ended"));
        }
    }

    fn finished(&mut self, id: TaskId, proof: LeaseProof) {
        if self.done.insert(id, proof).is_some() {
            self.complain(format!("{id} was done twice to effect"));
        }
    }

    /// What holds of any change.
    fn after(&mut self, applied: &Applied) {
        let task = &applied.task;
        if let Some(holders) = self.holders.get_mut(&task.id) {
            holders.retain(|(proof, _)| task.is_held_by(*proof));
        }
        if applied.job.state.is_final() {
            self.freed(applied.job.id);
        }
        if self.done.contains_key(&task.id) && task.state != TaskState::Done {
            self.complain(format!("{} was done and is {:?} now", task.id, task.state));
        }
        if applied.step == Step::Complete {
            let times = self.completed.entry(applied.job.id).or_default();
            *times += 1;
            if *times > 1 {
                self.complain(format!("job {} was completed twice", applied.job.id));
            }
        }
        let class = task.failure.as_ref().map(|failure| failure.class);
        if task.state != TaskState::Leased && class == Some(FailureClass::WorkerLost) {
            self.losses += 1;
        }
        self.mark(task.epoch ^ ((task.state as u64) << 32) ^ ((applied.step_number()) << 40));
    }
}

/// A step as a number, for the trace.
trait StepNumber {
    fn step_number(&self) -> u64;
}

impl StepNumber for Applied {
    fn step_number(&self) -> u64 {
        match self.step {
            Step::Stay => 0,
            Step::Start => 1,
            Step::Advance { stage } => 16 + u64::from(stage),
            Step::Complete => 2,
            Step::GiveUp => 3,
        }
    }
}
