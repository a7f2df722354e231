//! The one state machine of tasks: what becomes of a task when something
//! happens to it.

use crate::error::{Failure, FailureClass};
use crate::id::WorkerId;
use crate::lease::{Lease, LeaseEnd, LeaseProof, LeaseTerms};
use crate::retry::{Next, RetryPolicy};
use crate::task::{Task, TaskResult, TaskState};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happens to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// The earlier stages are done.
    Unblock,
    /// A worker takes it.
    Claim(Lease),
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
    /// Its worker is known to be gone (its process restarted or signed off).
    WorkerGone,
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
        TaskEvent::Claim(lease) => task.claim(lease, now),
        TaskEvent::Renew(proof, progress) => task.renew(proof, progress, rules.terms, now),
        TaskEvent::Complete(proof, result) => task.complete(proof, result),
        TaskEvent::Fail(proof, failure) => {
            let lease = task.held(proof)?.clone();
            Ok(task.fail(&lease, failure, rules, now))
        }
        TaskEvent::Release(proof) => {
            let worker = task.held(proof)?.worker;
            Ok(task.reopen_with(Told::Released { worker }))
        }
        TaskEvent::Sweep => task.sweep(rules, now),
        TaskEvent::WorkerGone => {
            let lease = task.lease.clone().ok_or(Refused::NotNow)?;
            Ok(task.fail(&lease, lost("its worker stopped"), rules, now))
        }
        TaskEvent::Cancel => task.cancel(),
        TaskEvent::Reopen => task.reopen(now),
        TaskEvent::Grace => task.grace(rules.terms, now),
    }
}

fn lost(message: &str) -> Failure {
    Failure::new(FailureClass::WorkerLost, message)
}

impl Task {
    fn held(&self, proof: LeaseProof) -> Result<&Lease, Refused> {
        match &self.lease {
            Some(lease) if lease.id == proof.lease && self.epoch == proof.epoch => Ok(lease),
            _ => Err(Refused::Stale),
        }
    }

    fn unblock(&self) -> Result<Change, Refused> {
        if self.state != TaskState::Waiting {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Ready, ..self.clone() };
        Ok(Change { task, told: None })
    }

    fn claim(&self, lease: Lease, now: Timestamp) -> Result<Change, Refused> {
        if self.state != TaskState::Ready || now < self.not_before {
            return Err(Refused::NotNow);
        }
        let told = Some(Told::Claimed { worker: lease.worker });
        let task = Self {
            state: TaskState::Leased,
            epoch: self.epoch + 1,
            lease: Some(lease),
            ..self.clone()
        };
        Ok(Change { task, told })
    }

    fn renew(
        &self,
        proof: LeaseProof,
        progress: u64,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<Change, Refused> {
        let mut lease = self.held(proof)?.clone();
        if lease.ended(terms, now).is_some() {
            return Err(Refused::Stale);
        }
        if progress > lease.progress {
            lease.progress = progress;
            lease.progress_since = now;
        }
        lease.expires = now.plus_micros(terms.length);
        Ok(Change { task: Self { lease: Some(lease), ..self.clone() }, told: None })
    }

    fn complete(&self, proof: LeaseProof, result: TaskResult) -> Result<Change, Refused> {
        if self.state == TaskState::Done
            && self.epoch == proof.epoch
            && self.result.as_ref() == Some(&result)
        {
            return Err(Refused::Repeated);
        }
        let worker = self.held(proof)?.worker;
        let task = Self {
            state: TaskState::Done,
            lease: None,
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
            lease: None,
            attempts: self.attempts + u32::from(!lost),
            losses: self.losses + u32::from(lost),
            ..self.clone()
        };
        task.failed_on.retain(|id| *id != worker);
        task.failed_on.push(worker);
        if task.failed_on.len() > 8 {
            task.failed_on.remove(0);
        }
        match rules.retry.next(&failure, task.attempts, task.losses, rules.chance) {
            Next::Again { pause } => {
                task.state = TaskState::Ready;
                task.not_before = now.plus_micros(pause);
            }
            Next::GiveUp => task.state = TaskState::Failed,
            Next::Quarantine => {
                task.state = TaskState::Failed;
                failure = quarantined(&failure, task.losses);
            }
        }
        task.failure = Some(failure.clone());
        let told = if task.state == TaskState::Failed {
            Told::GaveUp { worker, failure }
        } else {
            Told::Retrying { worker, failure }
        };
        Change { task, told: Some(told) }
    }

    fn sweep(&self, rules: Rules, now: Timestamp) -> Result<Change, Refused> {
        let lease = self.lease.clone().ok_or(Refused::NotNow)?;
        let failure = match lease.ended(rules.terms, now).ok_or(Refused::NotNow)? {
            LeaseEnd::Expired => lost("its worker sent no sign of life in time"),
            LeaseEnd::Stalled => {
                Failure::new(FailureClass::Timeout, "the work made no progress for too long")
            }
            LeaseEnd::Deadline => {
                Failure::new(FailureClass::Timeout, "the attempt took longer than allowed")
            }
        };
        Ok(self.fail(&lease, failure, rules, now))
    }

    fn cancel(&self) -> Result<Change, Refused> {
        if self.state.is_final() {
            return Err(Refused::NotNow);
        }
        let task = Self { state: TaskState::Cancelled, lease: None, ..self.clone() };
        Ok(Change { task, told: Some(Told::Cancelled) })
    }

    fn reopen(&self, now: Timestamp) -> Result<Change, Refused> {
        if !matches!(self.state, TaskState::Failed | TaskState::Cancelled) {
            return Err(Refused::NotNow);
        }
        let mut change = self.reopen_with(Told::Reopened);
        change.task.attempts = 0;
        change.task.losses = 0;
        change.task.failed_on.clear();
        change.task.failure = None;
        change.task.not_before = now;
        change.task.state = TaskState::Waiting;
        Ok(change)
    }

    fn reopen_with(&self, told: Told) -> Change {
        let task = Self { state: TaskState::Ready, lease: None, ..self.clone() };
        Change { task, told: Some(told) }
    }

    fn grace(&self, terms: LeaseTerms, now: Timestamp) -> Result<Change, Refused> {
        let mut lease = self.lease.clone().ok_or(Refused::NotNow)?;
        lease.expires = now.plus_micros(terms.length);
        lease.progress_since = now;
        Ok(Change { task: Self { lease: Some(lease), ..self.clone() }, told: None })
    }
}

fn quarantined(last: &Failure, losses: u32) -> Failure {
    let message = format!("it took {losses} workers with it, the last time: {}", last.message);
    Failure::new(FailureClass::Permanent, message)
        .advise("look at the workers' logs and memory; 'reelmill retry' tries it again")
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
        let mut holder: Option<usize> = None;
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
                Act::Gone => TaskEvent::WorkerGone,
                Act::Cancel => TaskEvent::Cancel,
                Act::Reopen => TaskEvent::Reopen,
                Act::Grace => TaskEvent::Grace,
            };
            let named = match act {
                Act::Renew(g, _) | Act::Complete(g) | Act::Fail(g, _) | Act::Release(g) => Some(*g),
                _ => None,
            };
            let Ok(done) = change(&current, event, rules(), now) else { continue };
            if named.is_some() && named != holder {
                return Err(format!("step {number}: grant {named:?} spoke, {holder:?} holds"));
            }
            check(&current, &done.task).map_err(|why| format!("step {number}: {why}"))?;
            current = done.task;
            if matches!(act, Act::Claim) {
                let id = LeaseId(Uuid::from_u128(number as u128));
                grants.push(LeaseProof { lease: id, epoch: current.epoch });
                holder = Some(grants.len() - 1);
            } else if current.lease.is_none() {
                holder = None;
            }
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
        if (after.state == TaskState::Done) != after.result.is_some() {
            return Err("done without a result, or the other way round".into());
        }
        if before.state == TaskState::Done {
            return Err("what was done changed".into());
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
        let current = |_| {
            let lease = task.lease.as_ref().map(|lease| lease.id);
            LeaseProof { lease: lease.unwrap_or(LeaseId(Uuid::nil())), epoch: task.epoch }
        };
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
        for number in 0..3 {
            let lease = lease(number, Timestamp(0));
            current =
                transition(&current, TaskEvent::Claim(lease), rules(), Timestamp(0)).unwrap().task;
            current =
                transition(&current, TaskEvent::WorkerGone, rules(), Timestamp(0)).unwrap().task;
        }
        assert_eq!(current.state, TaskState::Failed);
        assert!(current.failure.unwrap().message.contains("3 workers"));
    }
}
