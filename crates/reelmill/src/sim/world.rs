//! The simulated world: one queue of events, one clock, one coordinator that
//! can die, workers, a network between them. All in one thread, from one seed.

use super::blobs::SimBlobs;
use super::dice::Dice;
use super::faults::{Fault, Weather};
use super::store::{Disk, Mutant, SimStore};
use super::watch::Watch;
use super::worker::{SimWorker, Slot};
use crate::clock::{Simulated, simulate};
use crate::coordinator::{Coordinator, Settings};
use crate::task_source::{Ask, Assignment, Done, Hello, Renewal, SourceError, Standing};
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, SessionId, WorkerId};
use reelmill_core::job::Job;
use reelmill_core::time::Timestamp;
use reelmill_store::{BlobRecord, Store};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;

/// When the world begins: as good a day as any.
const BEGIN: i64 = 1_790_000_000 * SECOND;

/// What a message asks of the coordinator.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Join(Hello),
    Claim(Ask),
    Renew(Renewal),
    Report(Box<Done>),
    Leave(WorkerId, SessionId),
    Submit(usize),
    Cancel(JobId),
    Retry(JobId),
    Priority(JobId, u8),
    Recover,
    Sweep,
}

/// What the coordinator answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Joined,
    Granted(Option<Box<Assignment>>),
    Stands(Standing),
    Job(Box<Job>),
    Refused(String),
    Recovered(bool),
    Away,
    AskAnew,
    Nothing,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Slot { worker: usize, run: u64, slot: usize, call: u64 },
    Beat { worker: usize, run: u64, slot: usize },
    Client(usize),
    House(u64),
}

/// What comes due.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Deliver(From, Call),
    Answered(From, Answer),
    Timeout(From),
    Act { worker: usize, run: u64, slot: usize },
    Beat { worker: usize, run: u64, slot: usize, call: u64 },
    Finished { worker: usize, run: u64, slot: usize, call: u64 },
    Start(usize),
    Submit(usize),
    Serve,
    Sweep(u64),
    Strike(Fault),
    Clear,
}

type Running = Pin<Box<dyn Future<Output = Answer>>>;

/// A job that the client wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) blob: BlobId,
    pub(super) chunks: u32,
    /// Its chunks kill the process that encodes them.
    pub(super) poison: bool,
    /// It is no film.
    pub(super) bad: bool,
    pub(super) owner: Option<String>,
    pub(super) priority: u8,
    /// A bit rate is aimed at that takes another pass.
    pub(super) sized: bool,
    pub(super) accepted: Option<JobId>,
    /// Somebody asked for its end.
    pub(super) cancelled: bool,
}

/// Which world to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) mutant: Mutant,
    /// Nothing goes wrong in it.
    pub(super) calm: bool,
    /// Keeps its story.
    pub(super) loud: bool,
}

/// The world.
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) now: i64,
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) workers: Vec<SimWorker>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) watch: Arc<Watch>,
    pub(super) disk: Arc<Disk>,
    pub(super) blobs: Arc<SimBlobs>,
    pub(super) real: Arc<dyn Store>,
    pub(super) coordinator: Option<Arc<Coordinator>>,
    /// The coordinator has put things right and answers.
    pub(super) serving: bool,
    /// Raised by each start of the coordinator.
    pub(super) life: u64,
    /// How far the coordinator's wall clock is off.
    pub(super) offset: i64,
    pub(super) settings: Settings,
    pub(super) beat: i64,
    /// Rows about bytes that were sent and not yet noted.
    pub(super) sent: Vec<BlobRecord>,
    queue: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    running: Vec<(From, u64, Running)>,
}

impl World {
    pub(super) fn new(setup: Setup, real: Arc<dyn Store>, mut settings: Settings) -> Self {
        let mut dice = Dice(setup.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let disk = Arc::new(Disk::default());
        let beat = settings.terms.heartbeat();
        if setup.mutant == Mutant::ShortLease {
            settings.terms.length = beat * 2 / 3;
        }
        settings.retry.max_losses = match setup.mutant {
            Mutant::Hasty => 3,
            Mutant::Patient => u32::MAX,
            _ => settings.retry.max_losses,
        };
        settings.retry.base = SECOND;
        settings.retry.cap = 20 * SECOND;
        let weather = Weather::new(setup.calm, &mut dice);
        let mut world = Self {
            setup,
            now: BEGIN,
            weather,
            workers: Vec::new(),
            wanted: Vec::new(),
            watch: Arc::default(),
            blobs: Arc::new(SimBlobs::new(disk.clone())),
            disk,
            real,
            coordinator: None,
            serving: false,
            life: 0,
            offset: 0,
            settings,
            beat,
            sent: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            running: Vec::new(),
            dice,
        };
        world.set_clock();
        world.people();
        world
    }

    /// Something comes due in so many microseconds.
    pub(super) fn after(&mut self, micros: i64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + micros.max(0), self.sequence), event);
    }

    pub(super) fn set_clock(&mut self) {
        let dice = simulate(None).map_or(self.setup.seed, |simulated| simulated.dice);
        let now = Timestamp(self.now + self.offset);
        simulate(Some(Simulated { now, steady: self.now, dice }));
    }

    /// Tells the story, if anybody listens.
    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        if self.setup.loud {
            let seconds = (self.now - BEGIN) as f64 / 1e6;
            let line = format!("{seconds:9.3} {}", line());
            self.watch.seen().told.push(line);
        }
    }

    /// One step: lets a call go on, or the next event happen. `false` when
    /// nothing is left.
    pub(super) async fn step(&mut self) -> bool {
        for record in std::mem::take(&mut self.sent) {
            let _ = self.real.blob_put(&record).await;
        }
        let due = self.queue.first_key_value().map(|((at, _), _)| *at);
        let idle = self.running.is_empty();
        let soon = due.is_some_and(|at| at - self.now < SECOND / 100);
        if !idle && (due.is_none() || !soon || self.dice.hits(80)) {
            self.go_on().await;
            return true;
        }
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now = at;
        self.set_clock();
        self.happen(event);
        true
    }

    /// Lets one of the calls in the coordinator go on to its next stop.
    async fn go_on(&mut self) {
        let at = self.dice.below(self.running.len());
        let inside = self.disk.clone();
        let future = &mut self.running[at].2;
        let answer = std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if inside.inside.load(Relaxed) => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if let Some(answer) = answer {
            let (from, life, _) = self.running.swap_remove(at);
            if life == self.life {
                self.answer(from, answer);
            }
        }
    }

    /// Sends an answer back; it may be lost though its call had its effect.
    fn answer(&mut self, from: From, answer: Answer) {
        let house = self.in_house(from);
        if !house && self.lost(from) {
            self.tell(|| format!("    the answer to {from:?} is lost"));
            return;
        }
        let delay = if house { 0 } else { self.weather.delay(&mut self.dice) };
        self.after(delay, Event::Answered(from, answer));
    }

    /// Sends a message; it may be lost, late, or come twice.
    pub(super) fn send(&mut self, from: From, call: Call) {
        if self.in_house(from) {
            self.after(0, Event::Deliver(from, call));
            return;
        }
        if self.dice.hits(self.weather.twice) {
            let delay = self.weather.delay(&mut self.dice);
            self.after(delay, Event::Deliver(from, call.clone()));
        }
        if self.lost(from) {
            self.tell(|| format!("    a message of {from:?} is lost"));
        } else {
            let delay = self.weather.delay(&mut self.dice);
            self.after(delay, Event::Deliver(from, call));
        }
        if !matches!(from, From::Beat { .. }) {
            self.after(15 * SECOND, Event::Timeout(from));
        }
    }

    fn lost(&mut self, from: From) -> bool {
        let cut = match from {
            From::Slot { worker, .. } | From::Beat { worker, .. } => self.workers[worker].cut,
            From::Client(_) | From::House(_) => 0,
        };
        cut > self.now || self.dice.hits(self.weather.lost)
    }

    fn in_house(&self, from: From) -> bool {
        match from {
            From::House(_) => true,
            From::Slot { worker, .. } | From::Beat { worker, .. } => self.workers[worker].house,
            From::Client(_) => false,
        }
    }

    /// A message has come: the coordinator begins to work on it, if it is there.
    pub(super) fn deliver(&mut self, from: From, call: Call) {
        let Some(coordinator) = self.coordinator.clone() else { return };
        let early = matches!(call, Call::Recover);
        if !self.serving && !early {
            return;
        }
        let submission = match call {
            Call::Submit(number) => Some(self.submission(number)),
            _ => None,
        };
        let running: Running = Box::pin(tokio::task::unconstrained(async move {
            super::calls::run(&coordinator, call, submission).await
        }));
        self.running.push((from, self.life, running));
    }

    /// The coordinator's process ends here and now.
    pub(super) fn coordinator_dies(&mut self) {
        self.running.clear();
        self.disk.inside.store(false, Relaxed);
        self.coordinator = None;
        self.serving = false;
        self.life += 1;
        for worker in self.workers.iter_mut().filter(|worker| worker.house) {
            worker.up = false;
            worker.run += 1;
        }
    }

    /// The coordinator's process starts.
    pub(super) fn coordinator_starts(&mut self) {
        if self.coordinator.is_some() {
            return;
        }
        self.tell(|| "the coordinator starts".into());
        let store = SimStore {
            real: self.real.clone(),
            disk: self.disk.clone(),
            watch: self.watch.clone(),
            mutant: self.setup.mutant,
        };
        let settings = self.settings.clone();
        let coordinator = Coordinator::new(Arc::new(store), self.blobs.clone(), settings);
        self.coordinator = Some(coordinator);
        let from = From::House(self.life);
        self.deliver(from, Call::Recover);
    }

    /// Whether all jobs that were accepted have ended, and all that were wanted
    /// were accepted.
    pub(super) async fn all_ended(&self) -> bool {
        for wanted in &self.wanted {
            let Some(id) = wanted.accepted else { return false };
            let Ok(Some(job)) = self.real.job_get(id).await else { return false };
            if !job.state.is_final() {
                return false;
            }
        }
        true
    }

    /// Whether nobody is in the middle of anything.
    pub(super) fn rested(&self) -> bool {
        let free = |slot: &Slot| matches!(slot, Slot::Idle | Slot::Asking);
        self.workers.iter().all(|worker| worker.slots.iter().all(free))
    }

    /// Whether slot `slot` of a worker still waits for this answer.
    pub(super) fn waits(&self, worker: usize, run: u64, slot: usize, call: u64) -> bool {
        let one = &self.workers[worker];
        one.up && one.run == run && one.call.get(slot) == Some(&call)
    }

    /// A worker's process ends; it starts again later.
    pub(super) fn worker_dies(&mut self, number: usize, back: i64) {
        if self.workers[number].house {
            self.coordinator_dies();
            self.after(back, Event::Serve);
            return;
        }
        let worker = &mut self.workers[number];
        worker.up = false;
        worker.run += 1;
        worker.slots.iter_mut().for_each(|slot| *slot = Slot::Idle);
        self.after(back, Event::Start(number));
    }
}

/// What a source of tasks did not answer.
pub(super) fn away<T>(answer: Result<T, SourceError>, to: impl FnOnce(T) -> Answer) -> Answer {
    match answer {
        Ok(answer) => to(answer),
        Err(SourceError::Answered) => Answer::AskAnew,
        Err(_) => Answer::Away,
    }
}

/// What a coordinator's method did not do.
pub(super) fn job(answer: Result<Job, Failure>) -> Answer {
    match answer {
        Ok(job) => Answer::Job(Box::new(job)),
        Err(failure) => Answer::Refused(failure.message),
    }
}
