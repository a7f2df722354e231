//! The worker's loop: claim, do, report, until told to stop.

use super::benchmark::Benchmark;
use super::depot::Depot;
use super::execute::execute;
use super::gauge::Gauge;
use super::spots::Spots;
use crate::clock;
use crate::task_source::{
    Ask, Assignment, Done, Hello, Renewal, Report, SourceError, Standing, TaskSource, Terms,
};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::{LeaseId, SessionId, WorkerId};
use reelmill_core::plan::Plan;
use reelmill_core::schedule::{ProvenEncoder, WorkerFacts};
use reelmill_media::progress::Progress;
use reelmill_media::tools::Tools;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// Longest a claim waits at the source before it is asked anew.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest pause between tries to reach a source that is away.
const AWAY_PAUSE: Duration = Duration::from_secs(5);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Encoding.
    Encode,
    /// Analysing, audio, finishing: beside the coordinator's blobs.
    House,
}

/// Does tasks.
pub(crate) struct Worker {
    /// Where tasks come from.
    pub(crate) source: Arc<dyn TaskSource>,
    /// Where bytes come from and go to.
    pub(crate) depot: Arc<dyn Depot>,
    /// The tools.
    pub(crate) tools: Tools,
    /// Its id, the same over restarts.
    pub(crate) id: WorkerId,
    /// This run.
    pub(crate) session: SessionId,
    /// Its name for people.
    pub(crate) name: String,
    /// Encoders that were tried and work.
    pub(crate) encoders: Vec<ProvenEncoder>,
    /// How fast they are.
    pub(crate) benchmark: Arc<Benchmark>,
    /// Where temporary files go.
    pub(crate) spots: Arc<Spots>,
    /// What the machine is at.
    pub(crate) gauge: Arc<Gauge>,
}

/// How far a task is, told by the work and read by the renewer.
#[derive(Debug, Default)]
pub(super) struct Meter {
    units: AtomicU64,
    rate_millis: AtomicU64,
}

impl Meter {
    pub(super) fn set(&self, progress: &Progress) {
        self.units.fetch_max(progress.frames, Ordering::Relaxed);
        self.rate_millis.store((progress.fps * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Notes progress; what is only tried counts no frames.
    pub(super) fn note(&self, progress: &Progress, trial: bool) {
        if trial { self.tick() } else { self.set(progress) }
    }

    /// Notes that something happened, where there are no frames to count.
    pub(super) fn tick(&self) {
        self.units.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, f64) {
        let rate = self.rate_millis.load(Ordering::Relaxed) as f64 / 1000.0;
        (self.units.load(Ordering::Relaxed), rate)
    }
}

impl Worker {
    /// Works until `drain` (finish what is running) or `stop` (give it back),
    /// then signs off.
    ///
    /// # Errors
    /// When the source refuses this worker.
    pub(crate) async fn run(
        self: Arc<Self>,
        slots: Vec<Slot>,
        drain: CancellationToken,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let hello = self.hello(&slots);
        let Some(terms) = self.join(&hello, &drain, &stop).await? else {
            return Ok(());
        };
        let hello = Arc::new(hello);
        let measured = Arc::new(OnceCell::new());
        let mut running = tokio::task::JoinSet::new();
        for slot in slots {
            let (worker, drain, stop) = (self.clone(), drain.clone(), stop.clone());
            let (hello, measured) = (hello.clone(), measured.clone());
            running.spawn(async move {
                if slot == Slot::Encode {
                    let tell = || worker.tell_benchmarks(&hello, &drain, &stop);
                    measured.get_or_try_init(tell).await?;
                }
                worker.slot(slot, terms, drain, stop).await
            });
        }
        let mut outcome = Ok(());
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    outcome = Err(failure);
                    stop.cancel();
                }
                Err(error) => tracing::error!(%error, "a worker slot broke down"),
            }
        }
        if let Err(error) = self.source.leave(self.id, self.session).await {
            tracing::info!(%error, "could not sign off");
        }
        outcome
    }

    fn facts(&self, slot: Slot) -> WorkerFacts {
        WorkerFacts {
            id: self.id,
            encoders: self.encoders.clone(),
            house: slot == Slot::House,
            encodes: slot == Slot::Encode,
            streams: true,
        }
    }

    fn hello(&self, slots: &[Slot]) -> Hello {
        let encode = slots.iter().filter(|slot| **slot == Slot::Encode).count() as u32;
        let facts = WorkerFacts {
            house: slots.contains(&Slot::House),
            encodes: encode > 0,
            ..self.facts(Slot::Encode)
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let benchmarks = self.benchmark.known().unwrap_or_default();
        let (name, session) = (self.name.clone(), self.session);
        Hello { facts, name, session, slots: encode, version, benchmarks }
    }

    /// Measures how fast the encoders are, where that is not known yet, and tells it.
    async fn tell_benchmarks(
        &self,
        hello: &Hello,
        drain: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let benchmarks = self.benchmark.measure(&self.tools, &self.encoders, drain).await;
        if benchmarks != hello.benchmarks && !drain.is_cancelled() {
            let hello = Hello { benchmarks, ..hello.clone() };
            self.join(&hello, drain, stop).await?;
        }
        Ok(())
    }

    async fn join(
        &self,
        hello: &Hello,
        drain: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Option<Terms>, Failure> {
        let mut pause = Pause::default();
        loop {
            match self.source.join(hello).await {
                Ok(terms) => return Ok(Some(terms)),
                Err(SourceError::Refused(failure)) => return Err(failure),
                Err(error) => tracing::warn!(%error, "cannot join yet; trying again"),
            }
            tokio::select! {
                () = drain.cancelled() => return Ok(None),
                () = stop.cancelled() => return Ok(None),
                () = pause.wait() => {}
            }
        }
    }

    async fn slot(
        &self,
        slot: Slot,
        terms: Terms,
        drain: CancellationToken,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let facts = self.facts(slot);
        let session = self.session;
        // The same until it is answered: a lost answer costs no lease.
        let mut request = LeaseId(clock::fresh());
        let mut pause = Pause::default();
        loop {
            let load = self.gauge.read();
            let ask = Ask { facts: facts.clone(), session, request: Some(request), load };
            let claimed = tokio::select! {
                biased;
                () = drain.cancelled() => return Ok(()),
                () = stop.cancelled() => return Ok(()),
                claimed = self.source.claim(&ask, PATIENCE) => claimed,
            };
            match claimed {
                Ok(Some(assignment)) => {
                    request = LeaseId(clock::fresh());
                    pause = Pause::default();
                    self.work_on(assignment, terms, &stop).await?;
                }
                Ok(None) => pause = Pause::default(),
                Err(SourceError::Refused(failure)) => return Err(failure),
                // What was granted never came, and ran out meanwhile.
                Err(SourceError::Answered) => request = LeaseId(clock::fresh()),
                Err(SourceError::Away(why)) => {
                    pause.tell(&why);
                    tokio::select! {
                        () = drain.cancelled() => return Ok(()),
                        () = stop.cancelled() => return Ok(()),
                        () = pause.wait() => {}
                    }
                }
            }
        }
    }

    /// Does one task and reports it, keeping its lease alive meanwhile.
    async fn work_on(
        &self,
        assignment: Assignment,
        terms: Terms,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let cancel = stop.child_token();
        let meter = Arc::new(Meter::default());
        let lost = Arc::new(AtomicBool::new(false));
        let renewer = Renewer {
            source: self.source.clone(),
            worker: self.id,
            every: TELL_EVERY.min(Duration::from_micros(terms.heartbeat.unsigned_abs())),
            meter: meter.clone(),
            lost: lost.clone(),
            cancel: cancel.clone(),
            gauge: self.gauge.clone(),
        };
        let renewer = tokio::spawn(renewer.keep_alive(assignment.task, assignment.proof));
        tracing::info!(task = %assignment.task, kind = assignment.kind.label(), "started");
        let begun = Instant::now();
        let report = match execute(self, &assignment, &meter, &cancel).await {
            Ok(report) => report,
            Err(failure) if failure.class == FailureClass::Cancelled => Report::Released,
            Err(failure) => Report::Failed { failure },
        };
        let lost = lost.load(Ordering::Relaxed);
        let outcome = if lost && !names_bytes(&report) {
            tracing::warn!(task = %assignment.task, "lost its lease; dropped the work");
            Ok(())
        } else {
            let seconds = begun.elapsed().as_secs_f64();
            tracing::info!(task = %assignment.task, seconds, outcome = label(&report), "ended");
            self.tell(&assignment, report, stop).await
        };
        renewer.abort();
        outcome
    }

    /// Reports until the answer is there, or nobody can be waiting any more.
    async fn tell(
        &self,
        assignment: &Assignment,
        report: Report,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let label = label(&report);
        let done = Done { task: assignment.task, proof: assignment.proof, worker: self.id, report };
        let mut pause = Pause::default();
        loop {
            match self.source.report(&done).await {
                Ok(Standing::Held) => {
                    tracing::info!(task = %done.task, outcome = label, "reported");
                    return Ok(());
                }
                Ok(Standing::Lost) => {
                    tracing::warn!(task = %done.task, "report refused: the task is not ours any more");
                    return Ok(());
                }
                Err(SourceError::Refused(failure)) => return Err(failure),
                Err(SourceError::Away(why)) if stop.is_cancelled() => {
                    tracing::warn!(task = %done.task, why, "could not report before stopping");
                    return Ok(());
                }
                Err(SourceError::Away(why)) => pause.tell(&why),
                // Said of claims only.
                Err(SourceError::Answered) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = pause.wait() => {}
            }
        }
    }
}

/// Whether bytes were kept for `report`. Then it is told though its lease is lost: it is
/// refused, and what refuses it throws them away.
fn names_bytes(report: &Report) -> bool {
    matches!(report, Report::Done { .. })
}

fn label(report: &Report) -> &'static str {
    match report {
        Report::Analysed { plan, .. } => planned(plan),
        Report::Done { .. } => "done",
        Report::Failed { .. } => "failed",
        Report::Released => "released",
    }
}

fn planned(plan: &Plan) -> &'static str {
    if plan.chunks().is_empty() { "planned in one piece" } else { "planned in chunks" }
}

/// Keeps one lease alive.
struct Renewer {
    source: Arc<dyn TaskSource>,
    worker: WorkerId,
    every: Duration,
    meter: Arc<Meter>,
    lost: Arc<AtomicBool>,
    cancel: CancellationToken,
    gauge: Arc<Gauge>,
}

impl Renewer {
    /// Renews until aborted or until the lease is lost. While the source is
    /// away the work goes on: its result is fenced by the epoch, so that at
    /// worst it is done twice.
    async fn keep_alive(
        self,
        task: reelmill_core::id::TaskId,
        proof: reelmill_core::lease::LeaseProof,
    ) {
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            let (progress, rate) = self.meter.read();
            let (worker, load) = (self.worker, self.gauge.read());
            let renewal = Renewal { task, proof, worker, progress, rate, load };
            match self.source.renew(&renewal).await {
                Ok(Standing::Held) => {}
                Ok(Standing::Lost) | Err(SourceError::Refused(_)) => {
                    self.lost.store(true, Ordering::Relaxed);
                    self.cancel.cancel();
                    return;
                }
                Err(error) => tracing::debug!(%task, %error, "cannot renew"),
            }
        }
    }
}

/// Growing pauses with jitter between tries to reach a source that is away.
#[derive(Debug, Default)]
struct Pause {
    tries: u32,
}

impl Pause {
    fn tell(&self, why: &str) {
        if self.tries == 0 {
            tracing::warn!(why, "the coordinator does not answer; trying again");
        }
    }

    async fn wait(&mut self) {
        self.tries = self.tries.saturating_add(1);
        let most = AWAY_PAUSE.min(Duration::from_millis(200) * self.tries.min(30));
        tokio::time::sleep(most.mul_f64(0.5 + 0.5 * clock::chance())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::LocalDepot;
    use super::*;
    use crate::api::tests::farm::{Farm, until};
    use async_trait::async_trait;
    use reelmill_core::chunk::ByteRange;
    use reelmill_core::job::Job;
    use reelmill_core::task::BlobRef;
    use reelmill_media::sandbox::{Cage, Level, Wanted};
    use reelmill_media::tools::ToolPaths;
    use std::path::{Path, PathBuf};

    /// Loses the task each time that something was kept for it.
    struct Unlucky {
        depot: LocalDepot,
        farm: Arc<Farm>,
        kept: Arc<AtomicBool>,
    }

    #[async_trait]
    impl Depot for Unlucky {
        async fn source(
            &self,
            assignment: &Assignment,
            slice: &[ByteRange],
            scratch: &Path,
            cancel: &CancellationToken,
        ) -> Result<PathBuf, Failure> {
            self.depot.source(assignment, slice, scratch, cancel).await
        }

        async fn piece(&self, blob: &BlobRef) -> Result<PathBuf, Failure> {
            self.depot.piece(blob).await
        }

        async fn keep(
            &self,
            assignment: &Assignment,
            file: &Path,
            cancel: &CancellationToken,
        ) -> Result<BlobRef, Failure> {
            let blob = self.depot.keep(assignment, file, cancel).await?;
            assert_eq!(self.farm.coordinator.blobs().list().await?.len(), 2);
            self.farm.coordinator.cancel(assignment.task.job).await?;
            self.kept.store(true, Ordering::Relaxed);
            cancel.cancelled().await;
            Ok(blob)
        }
    }

    /// A second of silence: mono, 8000 samples a second, 16 bits each.
    fn silence() -> Vec<u8> {
        let mut wav = b"RIFF\xa4\x3e\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(b"\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x80\x3e\0\0");
        wav.resize(wav.len() + 16_000, 0);
        wav
    }

    fn worker(farm: &Arc<Farm>, tools: Tools, kept: &Arc<AtomicBool>, scratch: &Path) -> Worker {
        let depot = LocalDepot::new(farm.coordinator.blobs().clone());
        Worker {
            source: farm.coordinator.clone(),
            depot: Arc::new(Unlucky { depot, farm: farm.clone(), kept: kept.clone() }),
            tools,
            id: WorkerId(clock::fresh()),
            session: SessionId(clock::fresh()),
            name: "unlucky".to_owned(),
            encoders: Vec::new(),
            benchmark: Arc::new(Benchmark::off()),
            spots: Arc::new(Spots::on(scratch.to_owned())),
            gauge: Arc::default(),
        }
    }

    #[tokio::test]
    async fn what_was_kept_for_a_task_that_is_lost_goes_without_a_restart() {
        let wanted = Wanted { highest: Level::Limits, lowest: Level::Limits, memory: None };
        let cage = Cage::choose(wanted).await.unwrap();
        let tools = Tools::find_in(cage, &ToolPaths::default()).await.unwrap();
        let farm = Arc::new(Farm::memory().await);
        let (scratch, kept) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
        let worker = Arc::new(worker(&farm, tools, &kept, scratch.path()));
        let job: Job = farm.submit_as("flac", &silence(), None).await;
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let working = tokio::spawn(worker.run(vec![Slot::House], drain.clone(), stop.clone()));
        until(async || kept.load(Ordering::Relaxed)).await;
        drain.cancel();
        working.await.unwrap().unwrap();
        let left = farm.coordinator.blobs().list().await.unwrap();
        let source = farm.store.blobs_of(job.id).await.unwrap();
        assert_eq!((left.len(), left[0].id), (1, source[0].blob.id), "{left:?}");
    }
}
