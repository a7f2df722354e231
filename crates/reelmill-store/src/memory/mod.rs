//! The store in memory: the readable reference, and good enough for one run
//! of `reelmill convert`.

mod service;
mod store;

use crate::error::{ApplyError, StoreError};
use crate::pass;
use crate::place::{self, Place};
use crate::records::{
    Applied, BlobRecord, BlobRole, HistoryEntry, JobFilter, KeyRecord, Renewal, WorkerRecord,
};
use crate::rollup::{self, Note, Outcome};
use reelmill_core::id::{BlobId, JobId, TaskId, WorkerId};
use reelmill_core::job::{Job, Step};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::media::MediaInfo;
use reelmill_core::plan::Plan;
use reelmill_core::task::{Change, Refused, Rules, Task, TaskEvent, TaskState, transition};
use reelmill_core::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps everything in memory, for as long as it lives.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobId, Job>,
    submissions: HashMap<(String, String), JobId>,
    tasks: BTreeMap<TaskId, Row>,
    inserted: u64,
    plans: BTreeMap<(JobId, u32), Plan>,
    history: Vec<HistoryEntry>,
    last_seq: i64,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    /// With the moment since when a blob has belonged to no job.
    blobs: BTreeMap<BlobId, (BlobRecord, Timestamp)>,
    keys: BTreeMap<String, KeyRecord>,
    meta: BTreeMap<String, String>,
    service: service::Service,
}

#[derive(Debug, Clone)]
struct Row {
    task: Task,
    place: Place,
    /// Orders tasks that are otherwise alike.
    inserted: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, job: JobId, note: Note, at: Timestamp) {
        self.last_seq += 1;
        let Note { task, event } = note;
        self.history.push(HistoryEntry { seq: self.last_seq, job, task, at, event });
    }

    fn put_task(&mut self, job: &Job, task: Task, terms: LeaseTerms) {
        self.inserted += 1;
        let fresh = Row { place: place::place(job, &task, terms), task, inserted: self.inserted };
        let inserted = self.tasks.get(&fresh.task.id).map_or(fresh.inserted, |row| row.inserted);
        self.tasks.insert(fresh.task.id, Row { inserted, ..fresh });
    }

    fn write(&mut self, outcome: Outcome, now: Timestamp) -> Job {
        let Outcome { job, tasks, notes } = outcome;
        for task in tasks {
            self.put_task(&job, task, LeaseTerms::default());
        }
        for note in notes {
            self.note(job.id, note, now);
        }
        self.jobs.insert(job.id, job.clone());
        job
    }

    fn of_generation(&self, job: JobId, generation: u32) -> impl Iterator<Item = &Row> {
        let id = |number| TaskId { job, generation, number };
        self.tasks.range(id(0)..=id(u32::MAX)).map(|(_, row)| row)
    }

    fn generation(&self, job: &Job) -> Vec<Task> {
        self.of_generation(job.id, job.generation).map(|row| row.task.clone()).collect()
    }

    fn open(&self, job: &Job) -> Vec<Task> {
        let mut tasks = self.generation(job);
        tasks.retain(|task| !task.state.is_final());
        tasks
    }

    /// Writes what `decide` makes of a job; the job afterwards.
    fn change<F>(&mut self, id: JobId, now: Timestamp, decide: F) -> Option<Job>
    where
        F: FnOnce(&Self, &Job) -> Option<Outcome>,
    {
        let job = self.jobs.get(&id)?.clone();
        match decide(self, &job) {
            Some(outcome) => Some(self.write(outcome, now)),
            None => Some(job),
        }
    }

    fn apply(
        &mut self,
        id: TaskId,
        event: TaskEvent,
        rules: Rules,
        now: Timestamp,
        planned: Option<(Option<&MediaInfo>, &Plan, Vec<Task>)>,
    ) -> Result<Applied, ApplyError> {
        let task = self.tasks.get(&id).ok_or(ApplyError::NoSuchTask)?.task.clone();
        let mut job = self.jobs.get(&id.job).ok_or(ApplyError::NoSuchTask)?.clone();
        let rolls_up = rollup::rolls_up(&event, &job);
        let change = rollup::happen(&job, &task, event, planned.is_some(), rules, now)?;
        if let Some(told) = &change.told {
            self.note(job.id, rollup::told(&change.task, told), now);
        }
        self.put_task(&job, change.task.clone(), rules.terms);
        match planned {
            Some((Some(media), plan, tasks)) => {
                job.media = Some(media.clone());
                job.updated = now;
                self.plans.insert((job.id, id.generation), plan.clone());
                for task in tasks {
                    self.put_task(&job, task, rules.terms);
                }
                self.jobs.insert(job.id, job.clone());
            }
            Some((None, plan, tasks)) => {
                self.plans.insert((job.id, id.generation + 1), plan.clone());
                job = self.write(pass::another_pass(&job, id, plan, tasks, now), now);
                return Ok(Applied { task: change.task, job, step: Step::Stay, dropped: vec![] });
            }
            None => {}
        }
        let step = if rolls_up { self.follow(&mut job, &change, now) } else { Step::Stay };
        let dropped = if step == Step::Complete { self.let_go(job.id) } else { vec![] };
        Ok(Applied { task: change.task, job, step, dropped })
    }

    /// Forgets the blobs that a completed job needs no more: all but its output.
    fn let_go(&mut self, job: JobId) -> Vec<BlobId> {
        let goes = |record: &BlobRecord| record.job == Some(job) && record.role != BlobRole::Output;
        self.blobs.extract_if(.., |_, (record, _)| goes(record)).map(|(id, _)| id).collect()
    }

    fn follow(&mut self, job: &mut Job, change: &Change, now: Timestamp) -> Step {
        let pairs: Vec<(u8, TaskState)> =
            self.generation(job).iter().map(|task| (task.stage, task.state)).collect();
        let follow = rollup::follow(job, change, &pairs, now);
        let others =
            if follow.concerns_others() { follow.others(&self.open(job), now) } else { Vec::new() };
        *job = follow.job;
        if let Some(note) = follow.note {
            let outcome = Outcome { job: job.clone(), tasks: others, notes: vec![note] };
            self.write(outcome, now);
        }
        self.jobs.insert(job.id, job.clone());
        follow.step
    }

    fn renew(
        &mut self,
        (id, proof, progress): Renewal,
        rules: Rules,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let row = self.tasks.get_mut(&id).ok_or(Refused::Stale)?;
        row.task = transition(&row.task, TaskEvent::Renew(proof, progress), rules, now)?.task;
        row.place.due = place::due(&row.task, rules.terms);
        Ok(())
    }

    fn in_state(&self, state: TaskState) -> impl Iterator<Item = &Row> {
        self.tasks.values().filter(move |row| row.task.state == state)
    }

    fn ready(&self, now: Timestamp, limit: u32) -> Vec<&Row> {
        let mut rows: Vec<&Row> =
            self.in_state(TaskState::Ready).filter(|row| row.task.not_before <= now).collect();
        rows.sort_by_key(|row| {
            (row.place.rank, Reverse(row.task.weight), row.task.not_before, row.inserted)
        });
        let group = |row: &Row| {
            let Place { class, pin, owner, .. } = row.place.clone();
            (class, pin, owner)
        };
        let mut taken: HashMap<(String, String, String), u32> = HashMap::new();
        for row in self.in_state(TaskState::Ready) {
            taken.insert(group(row), 0);
        }
        let share = place::share(limit, taken.len());
        rows.retain(|row| {
            let group = taken.entry(group(row)).or_default();
            *group += 1;
            *group <= share
        });
        rows
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let after = match filter.after {
            Some(id) => {
                let job = self.jobs.get(&id).ok_or_else(|| rollup::list_broken(id))?;
                Some((job.created, id))
            }
            None => None,
        };
        let wanted = |job: &&Job| {
            after.is_none_or(|after| (job.created, job.id) < after)
                && (filter.states.is_empty() || filter.states.contains(&job.state))
                && filter.owner.as_ref().is_none_or(|owner| job.owner.as_ref() == Some(owner))
                && filter.client.as_ref().is_none_or(|client| {
                    job.item.as_ref().is_some_and(|item| item.client_id == *client)
                })
                && filter.since.is_none_or(|since| job.created >= since)
                && filter.until.is_none_or(|until| job.created < until)
                && filter.label.as_ref().is_none_or(|(k, v)| job.labels.get(k) == Some(v))
        };
        let mut jobs: Vec<Job> = self.jobs.values().filter(wanted).cloned().collect();
        jobs.sort_by_key(|job| Reverse((job.created, job.id)));
        jobs.truncate(filter.limit as usize);
        Ok(jobs)
    }

    fn rows_of(&mut self, job: JobId) -> impl Iterator<Item = &mut Row> {
        let id = |generation, number| TaskId { job, generation, number };
        self.tasks.range_mut(id(0, 0)..=id(u32::MAX, u32::MAX)).map(|(_, row)| row)
    }
}
