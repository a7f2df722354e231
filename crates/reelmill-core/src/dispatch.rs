//! Jobs of the dispatch protocol: whole jobs for engines that are not ours.
//! Which engine gets which job, and what becomes of it, decided without I/O.

use crate::job::JobState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Below this, megabytes, a job is small: the slowest engine takes it.
const SMALL: f64 = 50.0;
/// From this on, megabytes, a job is large: an engine that can stream is better.
const LARGE: f64 = 100.0;

/// What the dispatch protocol knows of a job beyond reelmill's own facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Dispatch {
    /// Where the source is, as it was given.
    pub source_url: String,
    /// The codec that is wanted, as it was given.
    pub target_codec: String,
    /// Megabytes.
    pub job_size: f64,
    /// How often it may fail before it is given up.
    pub max_retries: u32,
    /// How often it has failed.
    pub retries: u32,
    /// 0 normal, 1 high, 2 urgent.
    pub priority: u8,
    /// The engine that has it.
    #[serde(default)]
    pub engine: Option<String>,
    /// Where the output is.
    #[serde(default)]
    pub output_url: Option<String>,
    /// What went wrong last.
    #[serde(default)]
    pub error_message: Option<String>,
    /// It was given to reelmill's own workers.
    #[serde(default)]
    pub inside: bool,
}

/// An engine, with its facts as it last sent them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Engine {
    /// Its name.
    pub engine_id: String,
    /// What kind of engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_type: Option<String>,
    /// Codecs that it can make; any when it names none.
    #[serde(default)]
    pub supported_codecs: Vec<String>,
    /// `idle` or `busy`.
    pub status: EngineStatus,
    /// Gigabytes that it can store.
    #[serde(default)]
    pub storage_capacity_gb: f64,
    /// Whether it can work on a source while it arrives.
    #[serde(default)]
    pub streaming_support: bool,
    /// Seconds that its benchmark took; smaller is faster.
    #[serde(default)]
    pub benchmark_time: Option<f64>,
}

/// Whether an engine has something to do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EngineStatus {
    /// No.
    #[default]
    Idle,
    /// Yes.
    Busy,
}

impl Engine {
    fn can(&self, codec: &str) -> bool {
        self.status == EngineStatus::Idle
            && self.benchmark_time.is_some()
            && (self.supported_codecs.is_empty()
                || self.supported_codecs.iter().any(|known| known.eq_ignore_ascii_case(codec)))
    }
}

/// The engine among `engines` that is to have a job of `size` megabytes that
/// wants `codec`; `None` when none is idle, measured and able.
#[must_use]
pub fn choose<'a>(size: f64, codec: &str, engines: &[&'a Engine]) -> Option<&'a Engine> {
    let able = || engines.iter().copied().filter(|engine| engine.can(codec));
    let time = |engine: &Engine| engine.benchmark_time.unwrap_or(f64::INFINITY);
    // Equal times: the name decides, so that the choice can be foretold.
    let order = |a: &&Engine, b: &&Engine| {
        time(a).total_cmp(&time(b)).then_with(|| a.engine_id.cmp(&b.engine_id))
    };
    if size < SMALL {
        return able().max_by(|a, b| {
            time(a).total_cmp(&time(b)).then_with(|| b.engine_id.cmp(&a.engine_id))
        });
    }
    let streaming = || able().filter(|engine| engine.streaming_support).min_by(order);
    let fastest = || able().min_by(order);
    if size < LARGE { fastest() } else { streaming().or_else(fastest) }
}

/// Something that happens to a job of the dispatch protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum DispatchEvent {
    /// An engine gets it.
    Assign {
        /// Which.
        engine: String,
    },
    /// It is done.
    Complete {
        /// Where the output is.
        output_url: String,
    },
    /// An attempt failed.
    Fail {
        /// Why.
        message: String,
    },
    /// Its engine fell silent.
    EngineLost,
    /// reelmill's own workers get it.
    TakeInside,
    /// It is to be tried once more.
    Retry,
}

/// Why something cannot happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchRefused {
    /// It has ended.
    Ended,
    /// It has not ended.
    Open,
    /// reelmill's own workers have it.
    Inside,
    /// It is not waiting.
    Taken,
    /// No engine has it.
    NoEngine,
}

/// The word of the dispatch protocol for a job's state.
#[must_use]
pub fn status(state: JobState, dispatch: Option<&Dispatch>) -> &'static str {
    let assigned = dispatch.is_some_and(|dispatch| dispatch.engine.is_some());
    match state {
        JobState::Completed => "completed",
        JobState::Cancelled => "cancelled",
        JobState::Failed | JobState::Rejected | JobState::Skipped => "failed_permanently",
        JobState::Running => "assigned",
        JobState::Uploading | JobState::Queued if assigned => "assigned",
        JobState::Uploading | JobState::Queued => "pending",
    }
}

impl Dispatch {
    /// Whether an engine could be given it.
    #[must_use]
    pub fn waits(&self, state: JobState) -> bool {
        state == JobState::Uploading && self.engine.is_none()
    }

    /// The job after `event`, and its state.
    ///
    /// # Errors
    /// When it does not fit the present state.
    pub fn happen(
        &self,
        state: JobState,
        event: &DispatchEvent,
    ) -> Result<(Self, JobState), DispatchRefused> {
        let mut next = self.clone();
        if let DispatchEvent::Retry = event {
            if !matches!(state, JobState::Failed | JobState::Cancelled) {
                return Err(if state.is_final() {
                    DispatchRefused::Ended
                } else {
                    DispatchRefused::Open
                });
            }
            next.engine = None;
            next.retries = 0;
            next.error_message = None;
            next.inside = false;
            return Ok((next, JobState::Uploading));
        }
        if state.is_final() {
            return Err(DispatchRefused::Ended);
        }
        if self.inside && state != JobState::Uploading {
            return Err(DispatchRefused::Inside);
        }
        match event {
            DispatchEvent::Assign { engine } => {
                if !self.waits(state) {
                    return Err(DispatchRefused::Taken);
                }
                next.engine = Some(engine.clone());
                next.inside = false;
                Ok((next, JobState::Running))
            }
            DispatchEvent::Complete { output_url } => {
                next.output_url = Some(output_url.clone());
                next.error_message = None;
                Ok((next, JobState::Completed))
            }
            DispatchEvent::Fail { message } => {
                next.error_message = Some(message.clone());
                next.engine = None;
                if self.retries < self.max_retries {
                    next.retries += 1;
                    return Ok((next, JobState::Uploading));
                }
                Ok((next, JobState::Failed))
            }
            DispatchEvent::EngineLost => {
                if self.engine.is_none() {
                    return Err(DispatchRefused::NoEngine);
                }
                next.engine = None;
                Ok((next, JobState::Uploading))
            }
            DispatchEvent::TakeInside => {
                if !self.waits(state) {
                    return Err(DispatchRefused::Taken);
                }
                next.inside = true;
                Ok((next, JobState::Uploading))
            }
            DispatchEvent::Retry => Err(DispatchRefused::Open),
        }
    }
}

/// Who takes jobs of the dispatch protocol.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ExternalEngines {
    /// External engines while one is alive that could; else our own workers.
    #[default]
    Prefer,
    /// Our own workers alone.
    Never,
    /// External engines alone.
    Only,
}

/// Whether our own workers are to begin with a job that waits, given whether
/// they can, and whether an engine is alive that could take it.
#[must_use]
pub fn take_inside(policy: ExternalEngines, able: bool, engine_alive: bool) -> bool {
    able && match policy {
        ExternalEngines::Only => false,
        ExternalEngines::Never => true,
        ExternalEngines::Prefer => !engine_alive,
    }
}

/// When an engine that was last heard of at `seen` counts as gone.
#[must_use]
pub fn is_silent(seen: Timestamp, now: Timestamp, patience: i64) -> bool {
    now.since(seen) > patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job() -> Dispatch {
        Dispatch {
            source_url: "http://a/b.mp4".into(),
            target_codec: "h264".into(),
            job_size: 1.0,
            max_retries: 2,
            retries: 0,
            priority: 0,
            engine: None,
            output_url: None,
            error_message: None,
            inside: false,
        }
    }

    fn engine(name: &str, time: Option<f64>, streams: bool) -> Engine {
        Engine {
            engine_id: name.into(),
            engine_type: None,
            supported_codecs: vec![],
            status: EngineStatus::Idle,
            storage_capacity_gb: 1.0,
            streaming_support: streams,
            benchmark_time: time,
        }
    }

    #[test]
    fn size_decides_between_slow_fast_and_streaming() {
        let slow = engine("slow", Some(9.0), true);
        let fast = engine("fast", Some(1.0), false);
        let stream = engine("stream", Some(5.0), true);
        let unmeasured = engine("unmeasured", None, true);
        let all = [&unmeasured, &fast, &stream, &slow];
        let who = |size| choose(size, "h264", &all).map(|engine| engine.engine_id.as_str());
        assert_eq!(who(0.0), Some("slow"));
        assert_eq!(who(49.999), Some("slow"));
        assert_eq!(who(50.0), Some("fast"));
        assert_eq!(who(99.999), Some("fast"));
        assert_eq!(who(100.0), Some("stream"));
        assert_eq!(choose(500.0, "h264", &[&fast]).unwrap().engine_id, "fast");
        assert_eq!(choose(1.0, "h264", &[&unmeasured]), None);
    }

    #[test]
    fn busy_engines_and_those_without_the_codec_are_passed_over() {
        let busy = Engine { status: EngineStatus::Busy, ..engine("busy", Some(1.0), true) };
        let other = Engine { supported_codecs: vec!["vp9".into()], ..engine("o", Some(1.0), true) };
        let able = Engine { supported_codecs: vec!["H264".into()], ..engine("a", Some(2.0), true) };
        assert_eq!(choose(1.0, "h264", &[&busy, &other]), None);
        assert_eq!(choose(1.0, "h264", &[&busy, &other, &able]).unwrap().engine_id, "a");
    }

    #[test]
    fn a_job_fails_for_good_only_after_its_retries() {
        let (mut job, mut state) = (job(), JobState::Uploading);
        let fail = DispatchEvent::Fail { message: "x".into() };
        for retry in 1..=2 {
            let assign = DispatchEvent::Assign { engine: "e".into() };
            (job, state) = job.happen(state, &assign).unwrap();
            assert_eq!(status(state, Some(&job)), "assigned");
            (job, state) = job.happen(state, &fail).unwrap();
            assert_eq!((job.retries, status(state, Some(&job))), (retry, "pending"));
            assert_eq!(job.engine, None);
        }
        (job, state) = job.happen(state, &fail).unwrap();
        assert_eq!((job.retries, status(state, Some(&job))), (2, "failed_permanently"));
        assert_eq!(job.happen(state, &fail), Err(DispatchRefused::Ended));
        (job, state) = job.happen(state, &DispatchEvent::Retry).unwrap();
        assert_eq!((job.retries, status(state, Some(&job))), (0, "pending"));
    }

    #[test]
    fn an_engine_that_falls_silent_costs_the_job_nothing() {
        let assign = DispatchEvent::Assign { engine: "e".into() };
        let (assigned, state) = job().happen(JobState::Uploading, &assign).unwrap();
        let (back, state) = assigned.happen(state, &DispatchEvent::EngineLost).unwrap();
        assert_eq!((back, state), (job(), JobState::Uploading));
        assert_eq!(job().happen(state, &DispatchEvent::EngineLost), Err(DispatchRefused::NoEngine));
    }

    #[test]
    fn policies_decide_who_begins() {
        use ExternalEngines::{Never, Only, Prefer};
        assert!(take_inside(Prefer, true, false) && !take_inside(Prefer, true, true));
        assert!(take_inside(Never, true, true) && !take_inside(Only, true, false));
        assert!(!take_inside(Prefer, false, false), "it cannot be fetched");
    }

    proptest! {
        /// Whatever happens, in whatever order: an engine has the job exactly
        /// while it runs outside, retries stay within their limit, and nothing
        /// but a retry by hand opens what has ended.
        #[test]
        fn no_history_breaks_a_job(steps in proptest::collection::vec(0..6usize, 0..60)) {
            let (mut job, mut state) = (job(), JobState::Uploading);
            for step in steps {
                let event = match step {
                    0 => DispatchEvent::Assign { engine: "e".into() },
                    1 => DispatchEvent::Complete { output_url: "u".into() },
                    2 => DispatchEvent::Fail { message: "m".into() },
                    3 => DispatchEvent::EngineLost,
                    4 => DispatchEvent::TakeInside,
                    _ => DispatchEvent::Retry,
                };
                let before = state;
                if let Ok((next, to)) = job.happen(state, &event) {
                    prop_assert!(!before.is_final() || event == DispatchEvent::Retry);
                    (job, state) = (next, to);
                }
                prop_assert!(job.retries <= job.max_retries);
                if state == JobState::Running {
                    prop_assert!(job.engine.is_some());
                }
                if state == JobState::Uploading {
                    prop_assert!(job.engine.is_none());
                }
            }
        }
    }
}
