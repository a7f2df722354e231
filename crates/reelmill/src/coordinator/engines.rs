//! Jobs of the dispatch protocol and the engines that take them.

use super::Coordinator;
use super::submit::Submission;
use crate::clock;
use reelmill_core::container::Container;
use reelmill_core::dispatch::{
    Dispatch, DispatchEvent, DispatchRefused, Engine, EngineStatus, choose, is_silent, take_inside,
};
use reelmill_core::error::Failure;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState, Source};
use reelmill_core::time::Timestamp;
use reelmill_store::JobFilter;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// An engine as others see it.
pub(crate) type EngineView = Engine;

/// Most engines that are known at once.
const MAX_ENGINES: usize = 10_000;

/// An engine as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    engine: Engine,
    seen: Timestamp,
    /// What it was given since it last said that it is idle.
    handed: Option<JobId>,
}

/// What an engine says of itself; what it leaves out stays as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Heartbeat {
    /// Its name.
    pub(crate) engine_id: String,
    /// What kind.
    pub(crate) engine_type: Option<String>,
    /// What it can make.
    pub(crate) supported_codecs: Option<Vec<String>>,
    /// Whether it has something to do.
    pub(crate) status: Option<EngineStatus>,
    /// Gigabytes.
    pub(crate) storage_capacity_gb: Option<f64>,
    /// Whether it can work on a source while it arrives.
    pub(crate) streaming_support: Option<bool>,
    /// Seconds.
    pub(crate) benchmark_time: Option<f64>,
}

fn key(engine: &str) -> String {
    format!("engine:{engine}")
}

/// The preset that makes a codec of the dispatch protocol.
fn preset_of(codec: &str) -> Option<&'static str> {
    Some(match codec.to_ascii_lowercase().replace(['.', '-', '_'], "").as_str() {
        "h264" | "x264" | "libx264" | "avc" | "avc1" => "h264",
        "h265" | "x265" | "libx265" | "hevc" | "hvc1" => "hevc",
        "av1" | "libsvtav1" | "svtav1" | "libaomav1" => "av1",
        "vp9" | "libvpxvp9" => "vp9",
        _ => return None,
    })
}

/// The name of the source that a URL ends with.
fn name_of(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let last = plain.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(100).collect();
    if clean.trim().is_empty() { "job".to_owned() } else { clean }
}

impl Coordinator {
    /// Takes a job by the dispatch protocol.
    ///
    /// # Errors
    /// When the store fails, or the server is draining.
    pub(crate) async fn submit_dispatch(
        &self,
        owner: Option<String>,
        dispatch: Dispatch,
    ) -> Result<Job, Failure> {
        let preset = preset_of(&dispatch.target_codec).unwrap_or("h264");
        let submission = Submission {
            name: name_of(&dispatch.source_url),
            owner,
            source: Source::Url { url: dispatch.source_url.clone() },
            preset: preset.to_owned(),
            overrides: Vec::new(),
            container: (preset != "vp9").then_some(Container::Mp4),
            chunk_seconds: None,
            max_retries: Some(dispatch.max_retries),
            priority: 50 + 25 * dispatch.priority.min(2),
            labels: BTreeMap::new(),
            idempotency_key: None,
            stage_path: None,
            item: None,
            dispatch: Some(Box::new(dispatch)),
        };
        self.submit(submission).await
    }

    /// Lets `event` happen to a job of the dispatch protocol.
    ///
    /// # Errors
    /// `Permanent` when it does not fit the job's state.
    pub(crate) async fn dispatch_event(
        &self,
        job: &Job,
        event: &DispatchEvent,
    ) -> Result<Job, Failure> {
        let mut job = job.clone();
        self.dispatches.comes();
        // Somebody may be faster; what is right then is decided anew.
        for _ in 0..8 {
            let Some(dispatch) = &job.dispatch else {
                let message = "the job did not come by the dispatch protocol: only reelmill's workers report on it";
                return Err(Failure::permanent(message));
            };
            let (to, state) =
                dispatch.happen(job.state, event).map_err(|why| refused(&job, why))?;
            let now = clock::now();
            let done = self.store.job_dispatch(job.id, dispatch, &to, state, now).await?;
            if let Some(done) = done {
                self.bell.notify_waiters();
                if let Some(engine) = &dispatch.engine {
                    self.free_engine(engine, job.id).await?;
                }
                return Ok(done);
            }
            let text = job.id.to_string();
            job = self.job(job.id).await?.ok_or_else(|| super::no_job(&text))?;
        }
        Err(Failure::transient("the job changes all the time; try again"))
    }

    async fn kept(&self) -> Result<Vec<Kept>, Failure> {
        let rows = self.store.meta_list("engine:").await?;
        Ok(rows.into_iter().filter_map(|(_, text)| serde_json::from_str(&text).ok()).collect())
    }

    async fn keep_engine(&self, kept: &Kept) -> Result<(), Failure> {
        let text = serde_json::to_string(kept)
            .map_err(|error| Failure::environment(format!("cannot keep an engine: {error}")))?;
        Ok(self.store.meta_put(&key(&kept.engine.engine_id), Some(&text)).await?)
    }

    async fn engine(&self, id: &str) -> Result<Option<Kept>, Failure> {
        let text = self.store.meta_get(&key(id)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    async fn free_engine(&self, id: &str, job: JobId) -> Result<(), Failure> {
        match self.engine(id).await? {
            Some(kept) if kept.handed == Some(job) => {
                self.keep_engine(&Kept { handed: None, ..kept }).await
            }
            _ => Ok(()),
        }
    }

    /// An engine says how it is; the first time makes it known.
    ///
    /// # Errors
    /// When the store fails, or there are too many engines.
    pub(crate) async fn heartbeat(&self, beat: Heartbeat) -> Result<EngineView, Failure> {
        let _one_at_a_time = self.assigning.lock().await;
        let known = self.engine(&beat.engine_id).await?;
        if known.is_none() && self.store.meta_list("engine:").await?.len() >= MAX_ENGINES {
            return Err(Failure::transient("this server knows too many engines already")
                .advise("delete some that are gone"));
        }
        let was = known.as_ref().map(|known| &known.engine);
        let engine = Engine {
            engine_type: beat.engine_type.or(was.and_then(|was| was.engine_type.clone())),
            supported_codecs: beat
                .supported_codecs
                .or(was.map(|was| was.supported_codecs.clone()))
                .unwrap_or_default(),
            status: beat.status.or(was.map(|was| was.status)).unwrap_or_default(),
            storage_capacity_gb: beat
                .storage_capacity_gb
                .or(was.map(|was| was.storage_capacity_gb))
                .unwrap_or_default(),
            streaming_support: beat
                .streaming_support
                .or(was.map(|was| was.streaming_support))
                .unwrap_or_default(),
            benchmark_time: beat.benchmark_time.or(was.and_then(|was| was.benchmark_time)),
            engine_id: beat.engine_id,
        };
        // Saying "idle" after it was given something says that it is free again.
        let handed = match beat.status {
            Some(EngineStatus::Idle) => None,
            _ => known.and_then(|known| known.handed),
        };
        let kept = Kept { engine, seen: clock::now(), handed };
        self.keep_engine(&kept).await?;
        Ok(kept.engine)
    }

    /// An engine's benchmark took `time` seconds; `false` when it is not known.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn benchmarked(&self, id: &str, time: f64) -> Result<bool, Failure> {
        let _one_at_a_time = self.assigning.lock().await;
        let Some(mut kept) = self.engine(id).await? else { return Ok(false) };
        kept.engine.benchmark_time = Some(time);
        self.keep_engine(&kept).await?;
        Ok(true)
    }

    /// Forgets an engine, whose jobs are free again; `false` when there was none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn forget_engine(&self, id: &str) -> Result<bool, Failure> {
        let _one_at_a_time = self.assigning.lock().await;
        let known = self.engine(id).await?.is_some();
        self.store.meta_put(&key(id), None).await?;
        if known {
            self.take_back(|engine| engine == id).await?;
        }
        Ok(known)
    }

    /// All engines: those elsewhere, and reelmill's own workers.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn engines(&self) -> Result<Vec<EngineView>, Failure> {
        let mut all: Vec<Engine> = self.kept().await?.into_iter().map(|kept| kept.engine).collect();
        for worker in self.workers().await? {
            let record = worker.record;
            let codecs = record.facts.encoders.iter().map(|one| one.encoder.codec().to_string());
            let mut codecs: Vec<String> = codecs.collect();
            codecs.sort();
            codecs.dedup();
            let busy = worker.busy >= record.slots.max(1) as usize;
            all.push(Engine {
                engine_id: record.facts.id.to_string(),
                engine_type: Some("reelmill".to_owned()),
                supported_codecs: codecs,
                status: if busy { EngineStatus::Busy } else { EngineStatus::Idle },
                storage_capacity_gb: 0.0,
                streaming_support: true,
                benchmark_time: None,
            });
        }
        Ok(all)
    }

    fn engine_is_alive(&self, kept: &Kept, now: Timestamp) -> bool {
        !is_silent(kept.seen, now, self.settings.terms.length)
    }

    /// Gives the next waiting job to the engine that suits it, of those that
    /// `fits`; only to `engine` where one is named. `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn assign(
        &self,
        engine: Option<&str>,
        fits: impl Fn(&Job) -> bool,
    ) -> Result<Option<Job>, Failure> {
        use reelmill_core::dispatch::ExternalEngines::Never;
        let _one_at_a_time = self.assigning.lock().await;
        if self.settings.service.external_engines == Never {
            return Ok(None);
        }
        let now = clock::now();
        let mut free = self.kept().await?;
        free.retain(|kept| {
            self.engine_is_alive(kept, now)
                && kept.handed.is_none()
                && engine.is_none_or(|wanted| kept.engine.engine_id == wanted)
        });
        if free.is_empty() {
            return Ok(None);
        }
        let engines: Vec<&Engine> = free.iter().map(|kept| &kept.engine).collect();
        let mut waiting = self.dispatched(&[JobState::Uploading]).await?;
        waiting.retain(|job| fits(job));
        waiting.sort_by_key(|job| (Reverse(job.priority), job.created, job.id));
        for job in waiting {
            let Some(dispatch) = &job.dispatch else { continue };
            let chosen = choose(dispatch.job_size, &dispatch.target_codec, &engines);
            let Some(chosen) = chosen else { continue };
            let event = DispatchEvent::Assign { engine: chosen.engine_id.clone() };
            let Ok(given) = self.dispatch_event(&job, &event).await else { continue };
            let kept = free.iter().find(|kept| kept.engine.engine_id == chosen.engine_id);
            if let Some(kept) = kept {
                self.keep_engine(&Kept { handed: Some(given.id), ..kept.clone() }).await?;
            }
            return Ok(Some(given));
        }
        Ok(None)
    }

    /// Jobs of the dispatch protocol in these states.
    async fn dispatched(&self, states: &[JobState]) -> Result<Vec<Job>, Failure> {
        if self.dispatches.mark().is_none() {
            return Ok(Vec::new());
        }
        let filter = JobFilter { states: states.to_vec(), ..JobFilter::default() };
        self.all_jobs(filter, |job| job.dispatch.is_some()).await
    }

    /// Makes jobs free that engines have of which `lost` says so; tells whether any
    /// engine or worker has one.
    async fn take_back(&self, lost: impl Fn(&str) -> bool) -> Result<bool, Failure> {
        let running = self.dispatched(&[JobState::Running]).await?;
        let any = !running.is_empty();
        for job in running {
            let engine = job.dispatch.as_ref().and_then(|dispatch| dispatch.engine.as_deref());
            if engine.is_some_and(&lost) {
                tracing::warn!(job = %job.id, engine, "the engine is gone; the job waits again");
                if let Err(failure) = self.dispatch_event(&job, &DispatchEvent::EngineLost).await {
                    tracing::debug!(job = %job.id, %failure, "the job has ended meanwhile");
                }
            }
        }
        Ok(any)
    }

    /// Frees jobs of engines that fell silent, and gives those that no engine
    /// will take to our own workers.
    pub(super) async fn place_dispatched(&self) -> Result<(), Failure> {
        let Some(mark) = self.dispatches.mark() else { return Ok(()) };
        let now = clock::now();
        let kept = self.kept().await?;
        let alive: Vec<&Kept> =
            kept.iter().filter(|kept| self.engine_is_alive(kept, now)).collect();
        let lost = |id: &str| !alive.iter().any(|kept| kept.engine.engine_id == id);
        let running = self.take_back(lost).await?;
        let policy = self.settings.service.external_engines;
        let waiting = self.dispatched(&[JobState::Uploading]).await?;
        // A job that waits inside, queued, comes back by an event if at all.
        if !running && waiting.is_empty() {
            self.dispatches.none_found(mark);
        }
        for job in waiting {
            let Some(dispatch) = job.dispatch.as_ref().filter(|d| d.waits(job.state) && !d.inside)
            else {
                continue;
            };
            let able = preset_of(&dispatch.target_codec).is_some()
                && self.check_source(&job.source).is_ok();
            let could = |kept: &&Kept| {
                let idle = Engine { status: EngineStatus::Idle, ..kept.engine.clone() };
                choose(dispatch.job_size, &dispatch.target_codec, &[&idle]).is_some()
            };
            if take_inside(policy, able, alive.iter().any(could)) {
                self.dispatch_event(&job, &DispatchEvent::TakeInside).await?;
            }
        }
        Ok(())
    }
}

fn refused(job: &Job, why: DispatchRefused) -> Failure {
    let state = job.state.label();
    let message = match why {
        DispatchRefused::Ended => format!("the job is {state} already"),
        DispatchRefused::Open => "the job has not ended".to_owned(),
        DispatchRefused::Inside => "reelmill's own workers have the job".to_owned(),
        DispatchRefused::Taken => "the job is not waiting".to_owned(),
        DispatchRefused::NoEngine => "no engine has the job".to_owned(),
    };
    Failure::permanent(message)
}
