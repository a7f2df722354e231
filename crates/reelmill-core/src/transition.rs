//! The one state machine of tasks: what becomes of a task when something
//! happens to it.

use crate::error::{Failure, FailureClass};
use crate::id::WorkerId;
use crate::lease::{Lease, LeaseEnd, LeaseProof, LeaseTerms};
use crate::retry::{Next, RetryPolicy};
use crate::task::{Loss, Task, TaskResult, TaskState};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Workers that failed at a task and are passed over when others are free.
const REMEMBERED: usize = 8;

/// Losses of which a task keeps the story: more than are allowed by default.
const LOSSES_TOLD: usize = 16;

/// Something that happens to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// The earlier stages are done.
    Unblock,
    /// A worker takes it.
    Claim(Lease),
    /// A second worker tries it beside the first, which takes long.
    Rival(Lease),
    /// Its worker is alive and has done so many units.
    Renew(LeaseProof, u64),
    /// Its worker has done it.
    Complete(LeaseProof, TaskResult),
    /// Its worker failed.
    Fail(LeaseProof, Failure),
    /// Its worker gives it back, undone, through nobody's fault.
    Release(LeaseProof),
    /// Its lease may have ended: look.
    Sweep,
    /// The worker with this grant is known to be gone (its process restarted).
    WorkerGone(LeaseProof),
    /// A worker that was held for lost with the grant of this epoch is alive after all.
    Alive(WorkerId, u64),
    /// Its job was cancelled.
    Cancel,
    /// A person asks for another try.
    Reopen,
    /// The coordinator was away: the lease gets a full period again.
    Grace,
}

/// What chance and policy a transition needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How long leases last.
    pub terms: LeaseTerms,
    /// When to try again.
    pub retry: RetryPolicy,
    /// A random number in 0..1, to spread retries out.
    pub chance: f64,
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The lease named is not the current one: another attempt has it, or had.
    Stale,
    /// The very same report was taken before; all is well.
    Repeated,
    /// The task is not in a state where this can happen.
    NotNow,
}

/// A change of a task that an event brought about.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The task after it.
    pub task: Task,
    /// What to tell in the job's history; `None` when it is not worth telling.
    pub told: Option<Told>,
}

/// What a task's history tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// A worker took it.
    Claimed {
        /// Who.
        worker: WorkerId,
    },
    /// A second worker tries it too.
    Doubled {
        /// Who.
        worker: WorkerId,
    },
    /// It is done.
    Done {
        /// By whom.
        worker: WorkerId,
    },
    /// An attempt failed; it is tried again.
    Retrying {
        /// By whom it was tried.
        worker: WorkerId,
        /// What went wrong.
        failure: Failure,
    },
    /// It was given up.
    GaveUp {
        /// By whom it was tried last.
        worker: WorkerId,
        /// What went wrong.
        failure: Failure,
    },
    /// Its worker gave it back.
    Released {
        /// Who.
        worker: WorkerId,
    },
    /// It was cancelled.
    Cancelled,
    /// It was opened again by hand.
    Reopened,
}

/// What becomes of `task` when `event` happens at `now`.
///
/// The only place where a task changes; stores apply the result under a
/// compare-and-set on the epoch.
///
/// # Errors
/// [`Refused`] when the event does not count; the task stays as it is.
pub fn transition(
    task: &Task,
    event: TaskEvent,
    rules: Rules,
    now: Timestamp,
) -> Result<Change, Refused> {
    match event {
        TaskEvent::Unblock => task.unblock(),
        TaskEvent::Claim(lease) => task.claim(&lease, now),
        TaskEvent::Rival(lease) => task.double(&lease),
        TaskEvent::Renew(proof, progress) => task.renew(proof, progress, rules.terms, now),
        TaskEvent::Complete(proof, result) => task.complete(proof, result),
        TaskEvent::Fail(proof, failure) => {
            let lease = task.held(proof)?.clone();
            Ok(task.fail(&lease, told_alive(failure), rules, now))
        }
        TaskEvent::Release(proof) => {
            let lease = task.held(proof)?.clone();
            let task = task.without(&lease);
            Ok(Change { task, told: Some(Told::Released { worker: lease.worker }) })
        }
        TaskEvent::Sweep => task.sweep(rules, now),
        TaskEvent::WorkerGone(proof) => {
            let lease = task.held(proof)?.clone();
            Ok(task.lose(&lease, "its worker stopped", true, rules, now))
        }
        TaskEvent::Alive(worker, epoch) => task.acquit(worker, epoch),
        TaskEvent::Cancel => task.cancel(),
        TaskEvent::Reopen => task.reopen(now),
        TaskEvent::Grace => task.grace(rules.terms, now),
    }
}

/// Who can tell of a failure is alive: it was not lost.
fn told_alive(failure: Failure) -> Failure {
    match failure.class {
        FailureClass::WorkerLost => Failure { class: FailureClass::Transient, ..failure },
        _ => failure,
    }
}

impl Task {
    fn held(&self, proof: LeaseProof) -> Result<&Lease, Refused> {
        self.leases().find(|lease| lease.proof() == proof).ok_or(Refused::Stale)
    }

    /// The task once `ended` has ended: the other grant goes on, if there is one.
    fn without(&self, ended: &Lease) -> Self {
        let mut left = self.leases().filter(|lease| lease.proof() != ended.proof()).cloned();
        let lease = left.next();
        let state = if lease.is_some() { TaskState::Leased } else { TaskState::Ready };
        Self { state, lease, rival: None, ..self.clone() }
    }

    /// The task after `change` of the grant that `proof` names.
    fn with_lease(
        &self,
        proof: LeaseProof,
        change: impl FnOnce(&mut Lease),
    ) -> Result<Self, Refused> {
        let mut task = self.clone();
        let mut leases = task.lease.iter_mut().chain(&mut task.rival);
        let lease = leases.find(|lease| lease.proof() == proof).ok_or(Refused::Stale)?;
        change(lease);
        Ok(task)
    }

    fn unblock(&self) -> Result<Change, Refused> {
        if self.state != TaskState::Waiting {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Ready, ..self.clone() };
        Ok(Change { task, told: None })
    }

    fn claim(&self, lease: &Lease, now: Timestamp) -> Result<Change, Refused> {
        if self.state != TaskState::Ready || now < self.not_before {
            return Err(Refused::NotNow);
        }
        let told = Some(Told::Claimed { worker: lease.worker });
        let epoch = self.epoch + 1;
        let lease = Some(Lease { epoch, ..lease.clone() });
        let task = Self { state: TaskState::Leased, epoch, lease, ..self.clone() };
        Ok(Change { task, told })
    }

    /// Only encoding is tried twice at once, and nothing that has cost a worker.
    fn double(&self, lease: &Lease) -> Result<Change, Refused> {
        let free = self.state == TaskState::Leased && self.rival.is_none() && self.losses == 0;
        let same = self.lease.as_ref().is_some_and(|first| first.worker == lease.worker);
        if !free || same || self.kind.is_house_work() {
            return Err(Refused::NotNow);
        }
        let told = Some(Told::Doubled { worker: lease.worker });
        let epoch = self.epoch + 1;
        let rival = Some(Lease { epoch, ..lease.clone() });
        Ok(Change { task: Self { epoch, rival, ..self.clone() }, told })
    }

    fn renew(
        &self,
        proof: LeaseProof,
        progress: u64,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<Change, Refused> {
        if self.held(proof)?.ended(terms, now).is_some() {
            return Err(Refused::Stale);
        }
        let task = self.with_lease(proof, |lease| {
            if progress > lease.progress {
                lease.progress = progress;
                lease.progress_since = now;
            }
            lease.expires = now.plus_micros(terms.length);
        })?;
        Ok(Change { task, told: None })
    }

    fn complete(&self, proof: LeaseProof, result: TaskResult) -> Result<Change, Refused> {
        if self.state == TaskState::Done
            && self.done_by == Some(proof)
            && self.result.as_ref() == Some(&result)
        {
            return Err(Refused::Repeated);
        }
        let worker = self.held(proof)?.worker;
        let task = Self {
            state: TaskState::Done,
            lease: None,
            rival: None,
            done_by: Some(proof),
            result: Some(result),
            failure: None,
            ..self.clone()
        };
        Ok(Change { task, told: Some(Told::Done { worker }) })
    }

    fn fail(&self, lease: &Lease, mut failure: Failure, rules: Rules, now: Timestamp) -> Change {
        let worker = lease.worker;
        let lost = failure.class == FailureClass::WorkerLost;
        let mut task = Self {
            attempts: self.attempts + u32::from(!lost),
            losses: self.losses + u32::from(lost),
            ..self.without(lease)
        };
        task.failed_on.retain(|id| *id != worker);
        task.failed_on.push(worker);
        if task.failed_on.len() > REMEMBERED {
            task.failed_on.remove(0);
        }
        let given_up = match rules.retry.next(&failure, task.attempts, task.losses, rules.chance) {
            Next::Again { pause } => {
                task.not_before = now.plus_micros(pause);
                None
            }
            Next::GiveUp => Some(TaskState::Failed),
            Next::Quarantine => {
                failure = quarantined(&failure, &task, now);
                Some(TaskState::Quarantined)
            }
        };
        if let Some(state) = given_up {
            (task.state, task.lease, task.rival) = (state, None, None);
        }
        task.failure = Some(failure.clone());
        let told = match given_up {
            Some(_) => Told::GaveUp { worker, failure },
            None => Told::Retrying { worker, failure },
        };
        Change { task, told: Some(told) }
    }

    /// The worker of `lease` went away with it; `dead` when that is known, and not
    /// only guessed from its silence.
    fn lose(&self, lease: &Lease, how: &str, dead: bool, rules: Rules, now: Timestamp) -> Change {
        let (worker, after) = (lease.worker, now.since(lease.granted).max(0));
        let (epoch, progress) = (lease.epoch, lease.progress);
        let loss = Loss { worker, at: now, after, epoch, progress, dead };
        let mut task = self.clone();
        task.lost.push(loss);
        let surplus = task.lost.len().saturating_sub(LOSSES_TOLD);
        task.lost.drain(..surplus);
        task.fail(lease, Failure::new(FailureClass::WorkerLost, how), rules, now)
    }

    /// Ends the first grant that has run out; the next look takes the other.
    fn sweep(&self, rules: Rules, now: Timestamp) -> Result<Change, Refused> {
        let ended = |lease: &Lease| lease.ended(rules.terms, now).map(|end| (lease.clone(), end));
        let (lease, end) = self.leases().find_map(ended).ok_or(Refused::NotNow)?;
        let why = match end {
            LeaseEnd::Expired => {
                let silent = "its worker sent no sign of life in time";
                return Ok(self.lose(&lease, silent, false, rules, now));
            }
            LeaseEnd::Stalled => "the work made no progress for too long",
            LeaseEnd::Deadline => "the attempt took longer than allowed",
        };
        Ok(self.fail(&lease, Failure::new(FailureClass::Timeout, why), rules, now))
    }

    /// Who speaks was not killed by it, unless known to be dead: an old word then.
    fn acquit(&self, worker: WorkerId, epoch: u64) -> Result<Change, Refused> {
        let open = matches!(self.state, TaskState::Ready | TaskState::Leased);
        let it = |loss: &Loss| (loss.worker, loss.epoch, loss.dead) == (worker, epoch, false);
        let at = self.lost.iter().rposition(it).filter(|_| open).ok_or(Refused::NotNow)?;
        let mut task = Self { losses: self.losses.saturating_sub(1), ..self.clone() };
        task.lost.remove(at);
        task.failed_on.retain(|id| *id != worker);
        Ok(Change { task, told: None })
    }

    fn cancel(&self) -> Result<Change, Refused> {
        if self.state.is_final() {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Cancelled, lease: None, rival: None, ..self.clone() };
        Ok(Change { task, told: Some(Told::Cancelled) })
    }

    fn reopen(&self, now: Timestamp) -> Result<Change, Refused> {
        let given_up = [TaskState::Failed, TaskState::Quarantined, TaskState::Cancelled];
        if !given_up.contains(&self.state) {
            return Err(Refused::NotNow);
        }
        let task = Self {
            state: TaskState::Waiting,
            attempts: 0,
            losses: 0,
            failed_on: Vec::new(),
            lost: Vec::new(),
            failure: None,
            not_before: now,
            ..self.clone()
        };
        Ok(Change { task, told: Some(Told::Reopened) })
    }

    fn grace(&self, terms: LeaseTerms, now: Timestamp) -> Result<Change, Refused> {
        if self.lease.is_none() {
            return Err(Refused::NotNow);
        }
        let mut task = self.clone();
        for lease in task.lease.iter_mut().chain(&mut task.rival) {
            lease.expires = now.plus_micros(terms.length);
            lease.progress_since = now;
        }
        Ok(Change { task, told: None })
    }
}

/// What to say of a task that took worker after worker with it, each of them told.
fn quarantined(last: &Failure, task: &Task, now: Timestamp) -> Failure {
    let losses = task.losses;
    let message = format!("it took {losses} workers with it, the last time: {}", last.message);
    let line = |loss: &Loss| {
        let (ago, after) = (now.since(loss.at) / 1_000_000, loss.after / 1_000_000);
        let end = if loss.dead { "stopped" } else { "fell silent" };
        format!(
            "{ago} s ago: worker {} {end} {after} s after taking it, at unit {}",
            loss.worker, loss.progress
        )
    };
    let advice = "look at the workers' logs and memory; 'reelmill retry' tries it again";
    let tail = task.lost.iter().map(line).collect();
    Failure { tail, ..Failure::new(FailureClass::Quarantined, message).advise(advice) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, LeaseId, SessionId, TaskId};
    use crate::task::TaskKind;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn rules() -> Rules {
        Rules { terms: LeaseTerms::default(), retry: RetryPolicy::default(), chance: 0.5 }
    }

    fn task() -> Task {
        let id = TaskId { job: JobId(Uuid::from_u128(1)), generation: 0, number: 0 };
        Task::new(id, TaskKind::EncodeChunk, 0, Timestamp(0))
    }

    fn lease(number: u128, now: Timestamp) -> Lease {
        let worker = WorkerId(Uuid::from_u128(number % 3));
        let session = SessionId(Uuid::from_u128(number % 3));
        Lease::grant(LeaseId(Uuid::from_u128(number)), worker, session, rules().terms, now)
    }

    /// What a chaotic world does to one task. Proofs name the n-th grant there
    /// ever was, so that most of them are stale.
    #[derive(Debug, Clone)]
    enum Act {
        Claim,
        Renew(usize, u64),
        Complete(usize),
        Fail(usize, bool),
        Release(usize),
        Sweep,
        Gone,
        Cancel,
        Reopen,
        Grace,
        Rival,
        Alive(u128, u64),
    }

    fn acts() -> impl Strategy<Value = Vec<(Act, i64)>> {
        let act = prop_oneof![
            4 => Just(Act::Claim),
            2 => (0usize..8, 0u64..100).prop_map(|(grant, done)| Act::Renew(grant, done)),
            2 => (0usize..8).prop_map(Act::Complete),
            2 => (0usize..8, any::<bool>()).prop_map(|(grant, fatal)| Act::Fail(grant, fatal)),
            1 => (0usize..8).prop_map(Act::Release),
            3 => Just(Act::Sweep),
            1 => Just(Act::Gone),
            1 => Just(Act::Cancel),
            1 => Just(Act::Reopen),
            1 => Just(Act::Grace),
            3 => Just(Act::Rival),
            1 => (0u128..3, 0u64..9).prop_map(|(worker, epoch)| Act::Alive(worker, epoch)),
        ];
        prop::collection::vec((act, 0i64..60_000_000), 1..60)
    }

    /// Applies the acts; after each, checks what must hold of every task.
    /// `change` is the machine under test.
    fn survives(
        acts: &[(Act, i64)],
        change: impl Fn(&Task, TaskEvent, Rules, Timestamp) -> Result<Change, Refused>,
    ) -> Result<(), String> {
        let mut now = Timestamp(0);
        let (mut current, mut grants): (Task, Vec<LeaseProof>) = (task(), Vec::new());
        let mut holders: Vec<usize> = Vec::new();
        for (number, (act, later)) in acts.iter().enumerate() {
            now = now.plus_micros(*later);
            let proof = |grant: usize| {
                let missing = LeaseProof { lease: LeaseId(Uuid::from_u128(999)), epoch: 0 };
                grants.get(grant).copied().unwrap_or(missing)
            };
            let event = match act {
                Act::Claim => TaskEvent::Claim(lease(number as u128, now)),
                Act::Renew(grant, done) => TaskEvent::Renew(proof(*grant), *done),
                Act::Complete(grant) => TaskEvent::Complete(proof(*grant), TaskResult::Analysed),
                Act::Fail(grant, true) => TaskEvent::Fail(proof(*grant), Failure::input("bad")),
                Act::Fail(grant, false) => TaskEvent::Fail(proof(*grant), Failure::transient("x")),
                Act::Release(grant) => TaskEvent::Release(proof(*grant)),
                Act::Sweep => TaskEvent::Sweep,
                Act::Gone => TaskEvent::WorkerGone(proof(grants.len().saturating_sub(1))),
                Act::Rival => TaskEvent::Rival(lease(number as u128, now)),
                Act::Alive(worker, epoch) => {
                    TaskEvent::Alive(WorkerId(Uuid::from_u128(*worker)), *epoch)
                }
                Act::Cancel => TaskEvent::Cancel,
                Act::Reopen => TaskEvent::Reopen,
                Act::Grace => TaskEvent::Grace,
            };
            let named = match act {
                Act::Renew(g, _) | Act::Complete(g) | Act::Fail(g, _) | Act::Release(g) => Some(*g),
                _ => None,
            };
            let Ok(done) = change(&current, event, rules(), now) else { continue };
            if named.is_some_and(|named| !holders.contains(&named)) {
                return Err(format!("step {number}: grant {named:?} spoke, {holders:?} hold"));
            }
            check(&current, &done.task).map_err(|why| format!("step {number}: {why}"))?;
            current = done.task;
            if matches!(act, Act::Claim | Act::Rival) {
                let id = LeaseId(Uuid::from_u128(number as u128));
                grants.push(LeaseProof { lease: id, epoch: current.epoch });
                holders.push(grants.len() - 1);
            }
            holders.retain(|grant| current.is_held_by(grants[*grant]));
            if current.state == TaskState::Waiting {
                current.state = TaskState::Ready;
            }
        }
        Ok(())
    }

    fn check(before: &Task, after: &Task) -> Result<(), String> {
        if after.epoch < before.epoch {
            return Err("the epoch fell".into());
        }
        if (after.state == TaskState::Leased) != after.lease.is_some() {
            return Err("leased without a lease, or the other way round".into());
        }
        if after.rival.is_some() && after.lease.is_none() {
            return Err("a rival of nobody".into());
        }
        if after.leases().any(|lease| lease.epoch > after.epoch || lease.epoch == 0) {
            return Err("a grant of no epoch there was".into());
        }
        if (after.state == TaskState::Done) != after.result.is_some() {
            return Err("done without a result, or the other way round".into());
        }
        if before.state == TaskState::Done {
            return Err("what was done changed".into());
        }
        if after.losses as usize != after.lost.len() {
            return Err(format!("{} losses, {} told", after.losses, after.lost.len()));
        }
        let given_up = matches!(after.state, TaskState::Quarantined | TaskState::Cancelled);
        if after.losses >= rules().retry.max_losses && !given_up {
            return Err(format!("{} workers lost and no end", after.losses));
        }
        if after.state == TaskState::Quarantined && after.losses < rules().retry.max_losses {
            return Err(format!("quarantined after {} losses", after.losses));
        }
        if after.attempts > rules().retry.max_retries + 1 {
            return Err(format!("{} attempts", after.attempts));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_history_breaks_a_task(acts in acts()) {
            if let Err(why) = survives(&acts, transition) {
                return Err(TestCaseError::fail(why));
            }
        }
    }

    /// A machine that believes any report about a leased task.
    fn unfenced(
        task: &Task,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Change, Refused> {
        let current = |shown| task.lease.as_ref().map_or(shown, Lease::proof);
        let event = match event {
            TaskEvent::Complete(proof, result) => TaskEvent::Complete(current(proof), result),
            TaskEvent::Fail(proof, failure) => TaskEvent::Fail(current(proof), failure),
            other => other,
        };
        transition(task, event, rules, now)
    }

    /// A machine that takes reports after the end.
    fn reviving(
        task: &Task,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Change, Refused> {
        let task = Task { state: TaskState::Ready, ..task.clone() };
        transition(&task, event, rules, now)
    }

    #[test]
    fn mutants_of_the_state_machine_are_caught() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let histories: Vec<_> =
            (0..500).map(|_| acts().new_tree(&mut runner).unwrap().current()).collect();
        assert!(histories.iter().any(|acts| survives(acts, unfenced).is_err()), "no fencing");
        assert!(histories.iter().any(|acts| survives(acts, reviving).is_err()), "no end");
    }

    #[test]
    fn a_stale_report_is_refused_and_a_repeated_one_is_known() {
        let claim = |task: &Task, number: u128, at: i64| {
            let lease = lease(number, Timestamp(at));
            let id = lease.id;
            let change = transition(task, TaskEvent::Claim(lease), rules(), Timestamp(at)).unwrap();
            let proof = LeaseProof { lease: id, epoch: change.task.epoch };
            (change.task, proof)
        };
        let (first, old) = claim(&task(), 1, 0);
        let late = Timestamp(rules().terms.length + 1);
        let swept = transition(&first, TaskEvent::Sweep, rules(), late).unwrap().task;
        assert_eq!((swept.state, swept.losses, swept.attempts), (TaskState::Ready, 1, 0));
        let (second, new) = claim(&swept, 2, late.0);
        let complete = |task: &Task, proof| {
            transition(task, TaskEvent::Complete(proof, TaskResult::Analysed), rules(), late)
        };
        assert_eq!(complete(&second, old), Err(Refused::Stale));
        let done = complete(&second, new).unwrap().task;
        assert_eq!(complete(&done, new), Err(Refused::Repeated));
        assert_eq!(complete(&done, old), Err(Refused::Stale));
    }

    #[test]
    fn work_that_does_not_advance_loses_its_lease() {
        let mut terms = rules().terms;
        terms.stall = 10;
        let rules = Rules { terms, ..rules() };
        let lease = lease(1, Timestamp(0));
        let proof = LeaseProof { lease: lease.id, epoch: 1 };
        let held = transition(&task(), TaskEvent::Claim(lease), rules, Timestamp(0)).unwrap().task;
        let renew = |task: &Task, done, at| {
            transition(task, TaskEvent::Renew(proof, done), rules, Timestamp(at)).map(|c| c.task)
        };
        let held = renew(&held, 5, 8).unwrap();
        let held = renew(&held, 6, 16).unwrap();
        assert_eq!(renew(&held, 6, 27), Err(Refused::Stale));
        let failed = transition(&held, TaskEvent::Sweep, rules, Timestamp(27)).unwrap().task;
        assert_eq!(failed.failure.unwrap().class, FailureClass::Timeout);
        assert_eq!(failed.attempts, 1);
    }

    #[test]
    fn a_task_that_takes_worker_after_worker_is_quarantined() {
        let mut current = task();
        let most = rules().retry.max_losses;
        for number in 0..most {
            assert_eq!((current.state, current.losses), (TaskState::Ready, number));
            let now = current.not_before;
            let lease = lease(number.into(), now);
            let change = transition(&current, TaskEvent::Claim(lease), rules(), now).unwrap();
            let proof = change.task.lease.as_ref().unwrap().proof();
            let dies = now.plus_seconds(7.0);
            let gone = TaskEvent::WorkerGone(proof);
            current = transition(&change.task, gone, rules(), dies).unwrap().task;
        }
        assert_eq!(current.state, TaskState::Quarantined);
        let failure = current.failure.as_ref().unwrap();
        assert!(failure.message.contains(&format!("{most} workers")), "{failure:?}");
        assert_eq!(failure.tail.len(), most as usize, "each of them is told: {failure:?}");
        assert!(failure.tail.iter().all(|line| line.contains("stopped 7 s after taking it")));
        let released = after(&current, TaskEvent::Reopen);
        assert_eq!((released.state, released.losses), (TaskState::Waiting, 0));
        assert!(released.lost.is_empty());
    }

    #[test]
    fn who_tells_of_a_failure_was_not_lost() {
        let held = after(&task(), TaskEvent::Claim(lease(1, Timestamp(0))));
        let proof = held.lease.as_ref().unwrap().proof();
        let failure = Failure::new(FailureClass::WorkerLost, "a lie");
        let failed = after(&held, TaskEvent::Fail(proof, failure));
        assert_eq!((failed.attempts, failed.losses), (1, 0));
    }

    fn after(task: &Task, event: TaskEvent) -> Task {
        transition(task, event, rules(), Timestamp(0)).unwrap().task
    }

    #[test]
    fn the_first_of_two_results_counts_and_the_other_is_refused() {
        let first = after(&task(), TaskEvent::Claim(lease(1, Timestamp(0))));
        let both = after(&first, TaskEvent::Rival(lease(2, Timestamp(0))));
        let proofs: Vec<LeaseProof> = both.leases().map(Lease::proof).collect();
        assert_eq!(proofs.len(), 2);
        for (winner, loser) in [(proofs[0], proofs[1]), (proofs[1], proofs[0])] {
            let done = after(&both, TaskEvent::Complete(winner, TaskResult::Analysed));
            let late = TaskEvent::Complete(loser, TaskResult::Analysed);
            assert_eq!(transition(&done, late, rules(), Timestamp(0)), Err(Refused::Stale));
            let again = TaskEvent::Complete(winner, TaskResult::Analysed);
            assert_eq!(transition(&done, again, rules(), Timestamp(0)), Err(Refused::Repeated));
        }
        let left = after(&both, TaskEvent::WorkerGone(proofs[0]));
        assert_eq!(left.lease.map(|lease| lease.proof()), Some(proofs[1]), "the rival goes on");
    }

    #[test]
    fn what_has_cost_a_worker_is_tried_by_one_alone() {
        let held = after(&task(), TaskEvent::Claim(lease(1, Timestamp(0))));
        let proof = held.lease.as_ref().unwrap().proof();
        let lost = after(&held, TaskEvent::WorkerGone(proof));
        let again = after(&lost, TaskEvent::Claim(lease(2, Timestamp(0))));
        let rival = TaskEvent::Rival(lease(3, Timestamp(0)));
        assert_eq!(transition(&again, rival, rules(), Timestamp(0)), Err(Refused::NotNow));
    }

    #[test]
    fn a_worker_that_speaks_again_was_not_killed() {
        let held = after(&task(), TaskEvent::Claim(lease(1, Timestamp(0))));
        let late = Timestamp(rules().terms.length);
        let lost = transition(&held, TaskEvent::Sweep, rules(), late).unwrap().task;
        let worker = lost.failed_on[0];
        let other = transition(&lost, TaskEvent::Alive(worker, 2), rules(), late);
        assert_eq!(other, Err(Refused::NotNow), "words about another grant of it");
        let acquitted = after(&lost, TaskEvent::Alive(worker, 1));
        assert_eq!((acquitted.losses, acquitted.failed_on.len()), (0, 0));
        let twice = transition(&acquitted, TaskEvent::Alive(worker, 1), rules(), late);
        assert_eq!(twice, Err(Refused::NotNow));
    }

    #[test]
    fn late_words_of_a_worker_that_died_acquit_nothing() {
        let held = after(&task(), TaskEvent::Claim(lease(1, Timestamp(0))));
        let lease = held.lease.clone().unwrap();
        let lost = after(&held, TaskEvent::WorkerGone(lease.proof()));
        let word =
            transition(&lost, TaskEvent::Alive(lease.worker, lease.epoch), rules(), Timestamp(0));
        assert_eq!(word, Err(Refused::NotNow));
    }
}
