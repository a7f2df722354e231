//! What a job would come to, before it is there: time, size, and who takes it.

use super::fleet::{between_words, others};
use super::{Coordinator, QueueState, dispatch::LOOK_AHEAD};
use crate::clock;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::facts::Facts;
use reelmill_core::fleet::{Outlook, Turn, Waits, deal, explain, together};
use reelmill_core::id::{JobId, TaskId};
use reelmill_core::job::{JobState, Request, Source};
use reelmill_core::plan::{copied, rough, usual_speed};
use reelmill_core::schedule::{Candidate, SizeClass};
use reelmill_core::task::TaskKind;
use reelmill_media::headers::{self, Headers};
use reelmill_store::{JobFilter, WorkerState};
use std::fs::File;
use std::path::Path;
use uuid::Uuid;

/// Jobs that are counted as standing before a new one, at most.
const MOST_BEFORE: u32 = 1000;

/// Frames a second of a film that does not say.
const USUAL_FPS: f64 = 25.0;

/// What must be known of a film to tell what encoding it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Film {
    /// Pixels across and down, as shown.
    pub(crate) size: (u32, u32),
    /// Frames a second; the usual when not known.
    pub(crate) fps: Option<f64>,
    /// Its length, seconds.
    pub(crate) seconds: f64,
    /// Bytes, where known.
    pub(crate) bytes: Option<u64>,
}

impl Film {
    /// What `facts` say of a film of `bytes`; `None` without picture or length.
    fn of(facts: &Facts, bytes: u64) -> Option<Self> {
        let video = facts.video.as_ref()?;
        Some(Self {
            size: (video.width, video.height),
            fps: video.fps_milli.map(|fps| f64::from(fps) / 1000.0),
            seconds: facts.duration_ms? as f64 / 1000.0,
            bytes: Some(bytes),
        })
    }

    /// What the headers of an open file called `name` say, if they do.
    pub(crate) fn look(file: File, name: &str) -> Option<Self> {
        let bytes = file.metadata().ok()?.len();
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
        match headers::of_open(file, bytes, ending.unwrap_or_default()) {
            Ok(Headers::Facts(facts)) => Self::of(&facts, bytes),
            Ok(Headers::Unsure(_)) | Err(_) => None,
        }
    }

    /// The size of the pictures that `request` makes of it.
    fn output_size(&self, request: &Request) -> (u32, u32) {
        let (width, height) = self.size;
        let shrunk = |wanted: u32, from: u32| {
            let part = f64::from(wanted) / f64::from(from.max(1));
            ((f64::from(width) * part) as u32, (f64::from(height) * part) as u32)
        };
        let Some(video) = &request.preset.video else { return self.size };
        match (video.width, video.height) {
            (Some(wanted), _) if wanted < width => shrunk(wanted, width),
            (None, Some(wanted)) if wanted < height => shrunk(wanted, height),
            _ => self.size,
        }
    }
}

/// What a job would come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forecast {
    /// Seconds of encoding, once it has begun, with all workers that can.
    pub(crate) seconds: f64,
    /// Bytes of the output.
    pub(crate) bytes: u64,
    /// When its first piece begins, and where.
    pub(crate) outlook: Outlook,
    /// What the worker is called that takes its first piece.
    pub(crate) worker: Option<String>,
    /// Workers that could do it, the one with most slots first.
    pub(crate) workers: Vec<String>,
    /// Jobs that are before it, at most [`MOST_BEFORE`].
    pub(crate) jobs_before: u64,
}

impl Coordinator {
    /// What the headers of a source tell that is here, if they do.
    pub(crate) async fn look_at(&self, source: &Source) -> Option<Film> {
        let (file, name) = match source {
            Source::Library { root, path } => (self.open_library(root, path).ok()?, path.clone()),
            Source::Upload { blob, file_name, .. } => {
                let path = self.blobs.local_path(*blob).await.ok()??;
                (File::open(path).ok()?, file_name.clone())
            }
            Source::Url { .. } | Source::Local { .. } => return None,
        };
        tokio::task::spawn_blocking(move || Film::look(file, &name)).await.ok()?
    }

    /// What `request` would come to for `film`, of `owner` with `priority`.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn forecast(
        &self,
        request: &Request,
        film: Film,
        owner: Option<&str>,
        priority: u8,
    ) -> Result<Forecast, Failure> {
        let encoder = request.encoder();
        let size = film.output_size(request);
        let fps = film.fps.unwrap_or(USUAL_FPS);
        let all = f64::from(size.0) * f64::from(size.1) * fps * film.seconds;
        let cost = (all / 1000.0) as u64;
        let (seconds, slots) =
            encoder.map_or((None, 1), |encoder| self.seconds_together(encoder, cost));
        let guess = match encoder {
            Some(encoder) => rough(encoder, size, fps, film.seconds, 1),
            None => copied(film.bytes.unwrap_or_default()),
        };
        let piece = cost / u64::from(slots.max(1));
        let outlook = self.outlook_of(encoder, piece, film.bytes, owner, priority).await?;
        let mut workers = self.workers().await?;
        workers.retain(|worker| {
            let facts = &worker.record.facts;
            encoder.map_or(facts.house, |encoder| {
                facts.encodes && facts.fingerprint(encoder).is_some()
            })
        });
        workers.sort_by_key(|worker| std::cmp::Reverse(worker.record.slots));
        let worker = workers.iter().find(|one| Some(one.record.facts.id) == outlook.worker);
        let worker = worker.map(|one| one.record.name.clone());
        let states = vec![JobState::Queued, JobState::Running];
        let filter = JobFilter { states, limit: MOST_BEFORE, ..JobFilter::default() };
        let before = self.jobs(&filter).await?;
        Ok(Forecast {
            seconds: seconds.unwrap_or(guess.seconds),
            bytes: guess.bytes,
            worker,
            outlook,
            workers: workers.into_iter().map(|worker| worker.record.name).collect(),
            jobs_before: before.iter().filter(|job| job.priority >= priority).count() as u64,
        })
    }

    /// Seconds that `cost` takes when all slots share it, by the speeds that
    /// they have shown, and how many slots those are.
    fn seconds_together(&self, encoder: VideoEncoder, cost: u64) -> (Option<f64>, u32) {
        let fleet = self.fleet.lock();
        let able = fleet.values().filter(|known| {
            known.state == WorkerState::Active
                && known.facts.encodes
                && known.facts.fingerprint(encoder).is_some()
        });
        let slots = |known: &super::fleet::Known| {
            known.limit.map_or(known.slots, |limit| limit.min(known.slots))
        };
        let seats: Vec<_> = able
            .flat_map(|known| {
                std::iter::repeat_n(known.seat(&known.facts, 0.0), slots(known) as usize)
            })
            .collect();
        (together(&seats, encoder, cost, usual_speed(encoder)), seats.len() as u32)
    }

    /// When a piece of a job that came now would begin, and where.
    async fn outlook_of(
        &self,
        encoder: Option<VideoEncoder>,
        cost: u64,
        bytes: Option<u64>,
        owner: Option<&str>,
        priority: u8,
    ) -> Result<Outlook, Failure> {
        if self.queue_state().await? == QueueState::Paused {
            let why = Waits::QueuePaused;
            return Ok(Outlook { why, worker: None, starts_in: None, takes: None });
        }
        let task = TaskId { job: JobId(Uuid::nil()), generation: 0, number: 1 };
        let mut candidates = self.store.tasks_ready(clock::now(), LOOK_AHEAD).await?;
        candidates.push(Candidate {
            task,
            kind: if encoder.is_some() { TaskKind::EncodeChunk } else { TaskKind::Finish },
            priority,
            queued: clock::now(),
            owner: owner.unwrap_or_default().to_owned(),
            weight: 0,
            cost,
            size: SizeClass::of(bytes),
            needs: encoder,
            pin: None,
            failed_on: Vec::new(),
            losses: 0,
        });
        self.sort(&mut candidates);
        let running = self.live.all();
        let fleet = self.fleet.lock();
        let seats = others(&fleet, &running);
        let turns: Vec<Turn> = deal(&candidates, &seats);
        let at = candidates.iter().position(|one| one.task == task).unwrap_or_default();
        let outlook = explain(at, &turns, &seats);
        Ok(candidates.get(at).map_or(outlook.clone(), |one| between_words(outlook, &fleet, one)))
    }
}
