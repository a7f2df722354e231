//! Who lives in the simulated world and what they do: clients that want jobs,
//! workers that do them.

use super::calls::HOUSE;
use super::watch::Watch;
use super::work::report;
use super::worker::{Busy, SimWorker, Slot};
use super::world::{Answer, Call, Event, From, SECOND, Wanted, World};
use crate::clock;
use crate::coordinator::Submission;
use crate::task_source::{Ask, Assignment, Standing};
use reelmill_core::id::{BlobId, LeaseId, SessionId, WorkerId};
use reelmill_core::job::Source;
use reelmill_store::{BlobRecord, BlobRole};
use std::collections::BTreeMap;
use uuid::Uuid;

impl World {
    /// Makes clients, workers and the coordinator, and sets them going.
    pub(super) fn people(&mut self) {
        let workers = 3 + self.dice.below(3);
        for number in 0..workers {
            let id =
                if number == 0 { HOUSE } else { WorkerId(Uuid::from_u128(number as u128 + 1)) };
            let mut worker = SimWorker::new(id, number == 0, &mut self.dice);
            worker.lies &= !self.setup.calm;
            slots(&self.watch, &worker);
            self.workers.push(worker);
        }
        for number in 0..1 + self.dice.below(4) {
            let wanted = self.want();
            self.upload(number, wanted.blob);
            self.wanted.push(wanted);
            let at = self.dice.between(0, 120 * SECOND);
            self.after(at, Event::Submit(number));
        }
        for number in 1..workers {
            let at = self.dice.between(0, 30 * SECOND);
            self.after(at, Event::Start(number));
        }
        self.after(0, Event::Serve);
        self.troubles();
    }

    /// The client has sent its file.
    fn upload(&mut self, number: usize, id: BlobId) {
        let Some(blob) = self.blobs.put(id, format!("source {number}")) else { return };
        let created = clock::now();
        self.sent.push(BlobRecord { blob, created, job: None, role: BlobRole::Upload });
    }

    fn want(&mut self) -> Wanted {
        let owner = [None, Some("anna"), Some("bert")][self.dice.below(3)];
        let mut wanted = Wanted {
            blob: BlobId(clock::fresh()),
            chunks: self.dice.below(6) as u32,
            poison: !self.setup.calm && self.dice.hits(6),
            bad: self.dice.hits(6),
            owner: owner.map(str::to_owned),
            priority: [50, 50, 0, 100][self.dice.below(4)],
            sized: false,
            accepted: None,
            cancelled: false,
        };
        wanted.sized = wanted.priority == 100;
        wanted
    }

    /// A job for `number`, the same every time it is sent.
    pub(super) fn submission(&self, number: usize) -> Submission {
        let wanted = &self.wanted[number];
        Submission {
            name: format!("film {number}"),
            owner: wanted.owner.clone(),
            source: Source::Upload {
                blob: wanted.blob,
                bytes: 1000,
                sha512: format!("source {number}"),
                file_name: "film.mkv".into(),
            },
            preset: "h264".into(),
            overrides: Vec::new(),
            container: None,
            chunk_seconds: None,
            max_retries: None,
            priority: wanted.priority,
            labels: BTreeMap::new(),
            idempotency_key: Some(format!("key {number}")),
            stage_path: None,
            item: None,
            dispatch: None,
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        if let Some(number) = actor(&event)
            && self.workers[number].paused > self.now
        {
            let late = self.workers[number].paused - self.now + self.dice.between(1, 1000);
            self.after(late, event);
            return;
        }
        match event {
            Event::Deliver(from, call) => self.deliver(from, call),
            Event::Answered(from, answer) => self.answered(from, answer),
            Event::Timeout(from) => self.timeout(from),
            Event::Act { worker, run, slot } => self.act(worker, run, slot),
            Event::Beat { worker, run, slot, call } => self.beat(worker, run, slot, call),
            Event::Finished { worker, run, slot, call } => self.finished(worker, run, slot, call),
            Event::Start(number) => self.start(number),
            Event::Submit(number) => self.submit(number),
            Event::Serve => self.coordinator_starts(),
            Event::Sweep(life) => self.sweep(life),
            Event::Strike(fault) => self.strike(fault),
            Event::Clear => self.clear(),
        }
    }

    fn sweep(&mut self, life: u64) {
        if life == self.life && self.serving {
            if self.setup.mutant != super::store::Mutant::NoSweeper {
                self.deliver(From::House(life), Call::Sweep);
            }
            self.after(7 * SECOND, Event::Sweep(life));
        }
    }

    fn submit(&mut self, number: usize) {
        if self.wanted[number].accepted.is_none() {
            self.tell(|| format!("the client sends job {number}"));
            self.send(From::Client(number), Call::Submit(number));
        }
    }

    fn start(&mut self, number: usize) {
        let session = SessionId(clock::fresh());
        let worker = &mut self.workers[number];
        if worker.up {
            return;
        }
        worker.start(session);
        self.tell(|| format!("worker {number} starts"));
        self.join(number);
    }

    fn join(&mut self, number: usize) {
        let from = self.next_call(number, 0);
        let hello = self.workers[number].hello(number);
        self.send(from, Call::Join(hello));
    }

    /// The next call of a slot: answers to earlier ones are void.
    fn next_call(&mut self, worker: usize, slot: usize) -> From {
        let one = &mut self.workers[worker];
        one.call[slot] += 1;
        From::Slot { worker, run: one.run, slot, call: one.call[slot] }
    }

    /// A slot does what is next.
    fn act(&mut self, worker: usize, run: u64, slot: usize) {
        let one = &self.workers[worker];
        if !one.up || one.run != run {
            return;
        }
        match one.slots[slot].clone() {
            _ if !one.joined => {
                if slot == 0 {
                    self.join(worker);
                }
            }
            Slot::Idle | Slot::Asking => {
                let (facts, session) = (one.facts_of(slot), one.session);
                let ask = Ask { facts, session, request: Some(one.request[slot]), load: None };
                self.workers[worker].slots[slot] = Slot::Asking;
                let from = self.next_call(worker, slot);
                self.send(from, Call::Claim(ask));
            }
            Slot::Telling(done) => {
                let from = self.next_call(worker, slot);
                self.send(from, Call::Report(done));
            }
            Slot::Busy(_) => {}
        }
    }

    fn timeout(&mut self, from: From) {
        match from {
            From::Slot { worker, run, slot, call } if self.waits(worker, run, slot, call) => {
                let busy = matches!(self.workers[worker].slots[slot], Slot::Busy(_));
                if !busy {
                    self.act(worker, run, slot);
                }
            }
            From::Client(number) if number < self.wanted.len() => self.submit(number),
            _ => {}
        }
    }

    fn answered(&mut self, from: From, answer: Answer) {
        match (from, answer) {
            (From::House(life), Answer::Recovered(well)) if life == self.life => {
                self.recovered(well);
            }
            (From::Client(number), Answer::Refused(why)) => {
                self.tell(|| format!("client {number} is refused: {why}"));
            }
            (From::Client(number), Answer::Job(job)) => {
                if let Some(wanted) = self.wanted.get_mut(number) {
                    wanted.accepted = Some(job.id);
                }
                self.tell(|| format!("job {number} is accepted as {}", job.id));
            }
            (From::Beat { worker, run, slot }, Answer::Stands(Standing::Lost)) => {
                let one = &mut self.workers[worker];
                if one.up && one.run == run && matches!(one.slots[slot], Slot::Busy(_)) {
                    one.slots[slot] = Slot::Idle;
                    one.call[slot] += 1;
                    self.tell(|| format!("worker {worker}.{slot} lost its lease"));
                    self.after(SECOND / 10, Event::Act { worker, run, slot });
                }
            }
            (From::Slot { worker, run, slot, call }, answer)
                if self.waits(worker, run, slot, call) =>
            {
                self.answer_slot(worker, run, slot, answer);
            }
            _ => {}
        }
    }

    fn recovered(&mut self, well: bool) {
        if !well {
            self.coordinator_dies();
            self.after(5 * SECOND, Event::Serve);
            return;
        }
        self.serving = true;
        self.tell(|| "the coordinator serves".into());
        self.after(0, Event::Sweep(self.life));
        self.start(0);
    }

    fn answer_slot(&mut self, worker: usize, run: u64, slot: usize, answer: Answer) {
        let again = Event::Act { worker, run, slot };
        match (self.workers[worker].slots[slot].clone(), answer) {
            (_, Answer::Joined) => {
                self.workers[worker].joined = true;
                for slot in 0..self.workers[worker].slots.len() {
                    self.after(1, Event::Act { worker, run, slot });
                }
            }
            (Slot::Asking, Answer::Granted(Some(assignment))) => {
                self.workers[worker].request[slot] = LeaseId(clock::fresh());
                self.begin(worker, run, slot, *assignment);
            }
            (Slot::Asking, Answer::AskAnew) => {
                self.workers[worker].request[slot] = LeaseId(clock::fresh());
                self.after(1, again);
            }
            (Slot::Asking, Answer::Granted(None)) => {
                let pause = self.dice.between(5 * SECOND, 25 * SECOND);
                self.after(pause, again);
            }
            (Slot::Telling(done), Answer::Stands(standing)) => {
                self.tell(|| format!("worker {worker}.{slot}: {} {standing:?}", done.task));
                self.judge_answer(&done, standing);
                self.workers[worker].slots[slot] = Slot::Idle;
                self.after(1, again);
            }
            (_, _) => {
                let pause = self.dice.between(SECOND, 5 * SECOND);
                self.after(pause, again);
            }
        }
    }

    /// A result that counts must be answered so, however often it is told.
    fn judge_answer(&self, done: &crate::task_source::Done, standing: Standing) {
        let mut seen = self.watch.seen();
        let counted = seen.done.get(&done.task) == Some(&done.proof);
        if counted && standing == Standing::Lost {
            seen.wrong
                .push(format!("the result of {} counts, but was answered as lost", done.task));
        }
    }

    fn begin(&mut self, worker: usize, run: u64, slot: usize, assignment: Assignment) {
        let takes = self.workers[worker].takes(&assignment, &mut self.dice);
        self.tell(|| {
            let kind = assignment.kind.label();
            format!("worker {worker}.{slot} begins {kind} {}", assignment.task)
        });
        let one = &mut self.workers[worker];
        one.call[slot] += 1;
        let call = one.call[slot];
        let until = self.now + takes;
        one.slots[slot] = Slot::Busy(Box::new(Busy { assignment, begun: self.now, until }));
        self.after(takes, Event::Finished { worker, run, slot, call });
        self.after(self.beat, Event::Beat { worker, run, slot, call });
    }

    fn beat(&mut self, worker: usize, run: u64, slot: usize, call: u64) {
        if !self.waits(worker, run, slot, call) {
            return;
        }
        if let Some(renewal) = self.workers[worker].beat(slot, self.now) {
            self.send(From::Beat { worker, run, slot }, Call::Renew(renewal));
            self.after(self.beat, Event::Beat { worker, run, slot, call });
        }
    }

    fn finished(&mut self, worker: usize, run: u64, slot: usize, call: u64) {
        if !self.waits(worker, run, slot, call) {
            return;
        }
        let Slot::Busy(busy) = self.workers[worker].slots[slot].clone() else { return };
        match report(self, worker, &busy.assignment) {
            Some(report) => {
                let done = self.workers[worker].done(&busy.assignment, report);
                self.workers[worker].slots[slot] = Slot::Telling(Box::new(done));
                self.act(worker, run, slot);
            }
            None => {
                self.tell(|| format!("*** {} kills worker {worker}", busy.assignment.task));
                self.watch.seen().killed(busy.assignment.task, busy.assignment.proof);
                let back = self.dice.between(5 * SECOND, 40 * SECOND);
                self.worker_dies(worker, back);
            }
        }
    }
}

fn slots(watch: &Watch, worker: &SimWorker) {
    watch.seen().slots.insert(worker.id, worker.slots.len());
}

/// The worker that an event needs to be awake.
fn actor(event: &Event) -> Option<usize> {
    match event {
        Event::Answered(From::Slot { worker, .. } | From::Beat { worker, .. }, _)
        | Event::Timeout(From::Slot { worker, .. })
        | Event::Act { worker, .. }
        | Event::Beat { worker, .. }
        | Event::Finished { worker, .. } => Some(*worker),
        _ => None,
    }
}
