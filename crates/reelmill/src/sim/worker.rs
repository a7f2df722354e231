//! A simulated worker: keeps to the protocol of the real one (join, claim,
//! renew, report until answered), but its work is only time that passes.

use super::dice::Dice;
use crate::clock;
use crate::task_source::{Assignment, Done, Hello, Order, Renewal, Report};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::id::{LeaseId, SessionId, WorkerId};
use reelmill_core::load::Speeds;
use reelmill_core::schedule::{ProvenEncoder, WorkerFacts};

/// Frames of a chunk in the simulation.
pub(super) const FRAMES: u64 = 100;

/// What a slot of a worker is at.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// Has nothing.
    Idle,
    /// Waits for the answer to its claim.
    Asking,
    /// Works.
    Busy(Box<Busy>),
    /// Tells what came of it, until that is answered.
    Telling(Box<Done>),
}

/// A task in work.
#[derive(Debug, Clone)]
pub(super) struct Busy {
    pub(super) assignment: Assignment,
    pub(super) begun: i64,
    pub(super) until: i64,
}

/// A simulated worker.
#[derive(Debug, Clone)]
pub(super) struct SimWorker {
    pub(super) id: WorkerId,
    pub(super) session: SessionId,
    /// Beside the coordinator's blobs, in its process.
    pub(super) house: bool,
    /// Takes encoding work.
    pub(super) encodes: bool,
    pub(super) up: bool,
    pub(super) joined: bool,
    /// Stopped until then.
    pub(super) paused: i64,
    /// Cut off until then.
    pub(super) cut: i64,
    /// Times as long as the fastest for the same work.
    pub(super) slowness: i64,
    /// Now and then tells what is not true.
    pub(super) lies: bool,
    /// Raised by each start: what an earlier run set off is void.
    pub(super) run: u64,
    /// The call whose answer each slot waits for.
    pub(super) call: Vec<u64>,
    pub(super) slots: Vec<Slot>,
    /// The question that each slot asks until it is answered.
    pub(super) request: Vec<LeaseId>,
}

impl SimWorker {
    pub(super) fn new(id: WorkerId, house: bool, dice: &mut Dice) -> Self {
        let slots = if house { 2 } else { 1 + dice.below(2) };
        Self {
            id,
            session: SessionId(uuid::Uuid::nil()),
            house,
            encodes: !house || dice.hits(30),
            up: false,
            joined: false,
            paused: 0,
            cut: 0,
            slowness: [1, 1, 2, 5][dice.below(4)],
            lies: !house && dice.hits(15),
            run: 0,
            call: vec![0; slots],
            slots: vec![Slot::Idle; slots],
            request: vec![LeaseId(uuid::Uuid::nil()); slots],
        }
    }

    /// Starts (again), with nothing in hand.
    pub(super) fn start(&mut self, session: SessionId) {
        self.session = session;
        self.up = true;
        self.joined = false;
        self.run += 1;
        self.slots.iter_mut().for_each(|slot| *slot = Slot::Idle);
        self.request.iter_mut().for_each(|request| *request = LeaseId(clock::fresh()));
    }

    pub(super) fn facts(&self) -> WorkerFacts {
        let fingerprint = "x264-164".to_owned();
        WorkerFacts {
            id: self.id,
            encoders: vec![ProvenEncoder { encoder: VideoEncoder::X264, fingerprint }],
            house: self.house,
            encodes: self.encodes,
            streams: true,
        }
    }

    /// What slot `slot` may take: the first of the house does house work.
    pub(super) fn facts_of(&self, slot: usize) -> WorkerFacts {
        let house = self.house && slot == 0;
        WorkerFacts { house, encodes: self.encodes && !house, ..self.facts() }
    }

    pub(super) fn hello(&self, number: usize) -> Hello {
        Hello {
            facts: self.facts(),
            name: format!("worker {number}"),
            session: self.session,
            slots: self.slots.len() as u32 - u32::from(self.house),
            version: "0".into(),
            benchmarks: Speeds::new(),
        }
    }

    /// Microseconds that an assignment takes here.
    pub(super) fn takes(&self, assignment: &Assignment, dice: &mut Dice) -> i64 {
        let second = 1_000_000;
        match &assignment.order {
            Order::Encode { .. } => self.slowness * dice.between(2 * second, 40 * second),
            Order::Analyse { .. } | Order::Finish(_) => dice.between(second / 10, 5 * second),
        }
    }

    /// A sign of life of slot `slot`, if it works.
    pub(super) fn beat(&self, slot: usize, now: i64) -> Option<Renewal> {
        let Slot::Busy(busy) = &self.slots[slot] else { return None };
        let whole = (busy.until - busy.begun).max(1);
        let progress = (now - busy.begun).min(whole) as u64 * FRAMES / whole as u64;
        let Assignment { task, proof, .. } = busy.assignment;
        Some(Renewal { task, proof, worker: self.id, progress, rate: 1.0, load: None })
    }

    /// The report of `assignment`.
    pub(super) fn done(&self, assignment: &Assignment, report: Report) -> Done {
        let Assignment { task, proof, .. } = *assignment;
        Done { task, proof, worker: self.id, report }
    }
}
