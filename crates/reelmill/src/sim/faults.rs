//! What goes wrong, and when.

use super::dice::Dice;
use super::worker::SimWorker;
use super::world::{Call, Event, From, SECOND, World};
use std::sync::atomic::Ordering::Relaxed;

/// How the network is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Messages of a hundred that are lost.
    pub(super) lost: usize,
    /// Messages of a hundred that come twice.
    pub(super) twice: usize,
    /// Messages of a hundred that come seconds late, behind later ones.
    pub(super) late: usize,
    /// Chunks of a hundred that fail where they should not.
    pub(super) failing: usize,
}

impl Weather {
    pub(super) const FAIR: Self = Self { lost: 0, twice: 0, late: 0, failing: 0 };

    pub(super) fn new(calm: bool, dice: &mut Dice) -> Self {
        if calm || dice.hits(20) {
            return Self::FAIR;
        }
        Self {
            lost: [0, 2, 10, 30][dice.below(4)],
            twice: [0, 2, 10, 30][dice.below(4)],
            late: [0, 5, 20][dice.below(3)],
            failing: [0, 0, 3, 10][dice.below(4)],
        }
    }

    /// Microseconds that a message takes.
    pub(super) fn delay(&self, dice: &mut Dice) -> i64 {
        if dice.hits(self.late) {
            dice.between(SECOND, 30 * SECOND)
        } else {
            dice.between(SECOND / 1000, SECOND / 20)
        }
    }
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// A worker's process dies, for so long.
    Kill(usize, i64),
    /// A worker signs off and comes back.
    Leave(usize, i64),
    /// A worker is stopped, for so long.
    Pause(usize, i64),
    /// A worker is cut off, for so long.
    Cut(usize, i64),
    /// The coordinator dies, for so long.
    Blackout(i64),
    /// The coordinator's wall clock jumps to so much off.
    Clock(i64),
    /// The coordinator's disk is full, for so long.
    Full(i64),
    /// It has space again.
    Space,
    /// A client cancels a job.
    Cancel(usize),
    /// A client wants a job tried again.
    Retry(usize),
    /// A client changes a job's priority.
    Priority(usize, u8),
}

/// How long things go wrong.
pub(super) const TROUBLE: i64 = 400 * SECOND;

impl World {
    /// Lets what goes wrong in this world be known to its queue.
    pub(super) fn troubles(&mut self) {
        if self.setup.calm {
            return;
        }
        let count = self.dice.below(9);
        for _ in 0..count {
            let at = self.dice.between(0, TROUBLE);
            let fault = self.fault();
            self.after(at, Event::Strike(fault));
        }
        self.after(TROUBLE, Event::Clear);
    }

    fn fault(&mut self) -> Fault {
        let worker = 1 + self.dice.below(self.workers.len() - 1);
        let job = self.dice.below(self.wanted.len());
        let long = self.dice.between(SECOND, 200 * SECOND);
        match self.dice.below(13) {
            0 | 1 => Fault::Kill(worker, long / 3),
            2 | 3 => Fault::Pause(worker, long),
            4 => Fault::Cut(worker, long),
            5 | 6 => Fault::Blackout(long / 3),
            7 => Fault::Clock(self.dice.between(-3600, 3601) * SECOND),
            8 => Fault::Full(long / 3),
            9 => Fault::Cancel(job),
            10 => Fault::Retry(job),
            11 => Fault::Leave(worker, long / 3),
            _ => Fault::Priority(job, self.dice.below(101) as u8),
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        self.tell(|| format!("*** {fault:?}"));
        match fault {
            Fault::Kill(worker, long) => self.worker_dies(worker, long),
            Fault::Leave(worker, long) => {
                let SimWorker { id, session, up, .. } = self.workers[worker];
                // The dead sign nothing off.
                if !up {
                    return;
                }
                self.send(From::Client(usize::MAX), Call::Leave(id, session));
                self.worker_dies(worker, long);
            }
            Fault::Pause(worker, long) => self.workers[worker].paused = self.now + long,
            Fault::Cut(worker, long) => self.workers[worker].cut = self.now + long,
            Fault::Blackout(long) => {
                self.coordinator_dies();
                self.after(long, Event::Serve);
            }
            Fault::Clock(offset) => {
                self.offset = offset;
                self.set_clock();
            }
            Fault::Full(long) => {
                self.disk.full.store(true, Relaxed);
                self.after(long, Event::Strike(Fault::Space));
            }
            Fault::Space => self.disk.full.store(false, Relaxed),
            Fault::Cancel(job) => self.client(job, Call::Cancel),
            Fault::Retry(job) => {
                if let Some(id) = self.wanted[job].accepted {
                    self.watch.seen().retried(id);
                }
                self.client(job, Call::Retry);
            }
            Fault::Priority(job, level) => self.client(job, |id| Call::Priority(id, level)),
        }
    }

    fn client(&mut self, job: usize, call: impl FnOnce(reelmill_core::id::JobId) -> Call) {
        let Some(id) = self.wanted[job].accepted else { return };
        let call = call(id);
        if matches!(call, Call::Cancel(_)) {
            self.wanted[job].cancelled = true;
        }
        self.after(0, Event::Deliver(From::Client(usize::MAX), call));
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn clear(&mut self) {
        self.tell(|| "*** the troubles are over".into());
        self.weather = Weather::FAIR;
        self.disk.full.store(false, Relaxed);
        let now = self.now;
        for worker in &mut self.workers {
            worker.paused = worker.paused.min(now);
            worker.cut = now;
            worker.lies = false;
        }
    }
}
