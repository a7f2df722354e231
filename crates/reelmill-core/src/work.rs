//! What the tasks of a plan are, and what each is to do.

use crate::chunk::{ByteRange, Chunk, slice};
use crate::encoder::VideoEncoder;
use crate::id::{JobId, TaskId};
use crate::plan::{Cut, Plan, VideoEncode};
use crate::rate::differs;
use crate::task::{Task, TaskKind, TaskResult};
use crate::time::{TimeBase, Timestamp};
use crate::tracks::{TrackAction, TrackPlan};
use serde::{Deserialize, Serialize};

/// What a worker is to do: everything, so that it has no choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Encode one chunk.
    EncodeChunk {
        /// Stream index in the source.
        stream: u32,
        /// Seconds per tick.
        time_base: TimeBase,
        /// How.
        encode: VideoEncode,
        /// Which frames.
        chunk: Chunk,
        /// Bytes of the source that suffice for it; empty when all are needed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        slice: Vec<ByteRange>,
    },
    /// Encode the whole video.
    EncodeVideo {
        /// Stream index in the source.
        stream: u32,
        /// Seconds per tick.
        time_base: TimeBase,
        /// How.
        encode: VideoEncode,
        /// Seconds the source declares.
        declared: Option<f64>,
    },
    /// Encode audio tracks, all into one file in this order.
    EncodeAudio {
        /// The tracks that are encoded.
        tracks: Vec<TrackPlan>,
    },
    /// Stitch and verify.
    Finish,
}

/// Threads of a chunk that is among the last, for each that it would have else.
const LAST_THREADS: u32 = 2;

impl Work {
    /// How the picture is encoded, where one is.
    #[must_use]
    pub fn encode(&self) -> Option<&VideoEncode> {
        match self {
            Self::EncodeChunk { encode, .. } | Self::EncodeVideo { encode, .. } => Some(encode),
            Self::EncodeAudio { .. } | Self::Finish => None,
        }
    }

    /// The same work for a worker of `slots` encoders when only `waiting` tasks
    /// wait for anyone: a chunk among the last gets more threads. Predictions of
    /// how long chunks take are some 10 % off, so that one ends after the others;
    /// it then uses the cores that they leave.
    #[must_use]
    pub fn among(mut self, waiting: usize, slots: usize) -> Self {
        if let Self::EncodeChunk { encode, .. } = &mut self
            && waiting < slots
            && slots > 1
        {
            encode.threads *= LAST_THREADS;
        }
        self
    }
}

impl Plan {
    /// The tasks of this plan, numbered from 1 (0 is the analysis that made
    /// it): chunks or the whole video, audio beside it, then the finish.
    #[must_use]
    pub fn tasks(&self, job: JobId, generation: u32, now: Timestamp) -> Vec<Task> {
        let video = match &self.video.cut {
            Cut::Chunks { .. } => self.chunk_tasks(job, generation, now),
            Cut::Whole { .. } => vec![Task {
                weight: u64::MAX >> 1,
                cost: self.kilopixels(self.declared_frames()),
                needs: self.encoder(),
                ..Task::new(TaskId { job, generation, number: 1 }, TaskKind::EncodeVideo, 1, now)
            }],
            Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => Vec::new(),
        };
        let mut tasks = video;
        let mut others = vec![(TaskKind::Finish, 2)];
        if self.encodes_audio() {
            others.insert(0, (TaskKind::EncodeAudio, 1));
        }
        for (kind, stage) in others {
            let number = tasks.len() as u32 + 1;
            tasks.push(Task::new(TaskId { job, generation, number }, kind, stage, now));
        }
        tasks
    }

    /// One task for each chunk. What all of them cost is known by their frames;
    /// how it is spread over them, by the bytes of the source.
    fn chunk_tasks(&self, job: JobId, generation: u32, now: Timestamp) -> Vec<Task> {
        let chunks = self.chunks();
        let frames: u64 = chunks.iter().map(|chunk| chunk.pts.len() as u64).sum();
        let weights: u64 = chunks.iter().map(|chunk| chunk.weight).sum();
        let all = self.kilopixels(frames) as f64;
        let task = |(number, chunk): (u32, &Chunk)| {
            let id = TaskId { job, generation, number };
            Task {
                weight: chunk.weight,
                cost: (all * chunk.weight as f64 / weights.max(1) as f64) as u64,
                frames: chunk.pts.len() as u64,
                needs: self.encoder(),
                ..Task::new(id, TaskKind::EncodeChunk, 1, now)
            }
        };
        (1u32..).zip(chunks).map(task).collect()
    }

    fn encoder(&self) -> Option<VideoEncoder> {
        self.video.encode.as_ref().map(|encode| encode.encoder)
    }

    /// Thousands of pixels that so many frames of the output have.
    fn kilopixels(&self, frames: u64) -> u64 {
        let (width, height) = self.video.encode.as_ref().map_or((0, 0), |encode| encode.size);
        (frames as f64 * f64::from(width) * f64::from(height) / 1000.0) as u64
    }

    /// Frames of a video in one piece, by its length; 25 a second are guessed.
    fn declared_frames(&self) -> u64 {
        match self.video.cut {
            Cut::Whole { declared: Some(seconds), .. } => (seconds.max(0.0) * 25.0) as u64,
            _ => 0,
        }
    }

    /// Why `result` cannot be what task `number` was to yield, if it cannot:
    /// another kind of thing, other frames, another build of the encoder than
    /// `pin`.
    #[must_use]
    pub fn contradicts(
        &self,
        number: u32,
        result: &TaskResult,
        pin: Option<&str>,
    ) -> Option<String> {
        let work = self.work(number)?;
        let encoded = match (&work, result) {
            (Work::Finish, TaskResult::Finished(_)) => return None,
            (Work::Finish, TaskResult::Missed { .. }) if self.video.rate.is_some() => return None,
            (Work::EncodeAudio { .. }, TaskResult::Encoded(_)) => return None,
            (Work::EncodeChunk { .. } | Work::EncodeVideo { .. }, TaskResult::Encoded(it)) => it,
            _ => return Some("the worker reported something else than it was asked for".into()),
        };
        if pin.is_some_and(|pin| pin != encoded.fingerprint) {
            let other = &encoded.fingerprint;
            return Some(format!("it comes from another build of the encoder ({other})"));
        }
        let crf = work.encode().and_then(|encode| encode.crf);
        if let Some(crf) = crf.filter(|_| self.video.rate.is_some()) {
            let Some(coded) = encoded.coded else {
                return Some("it does not say how many bytes its pictures have".into());
            };
            if differs(coded.crf, crf) || coded.bytes > encoded.blob.bytes {
                let (has, bytes) = (coded.crf, coded.bytes);
                return Some(format!(
                    "it was made at crf {has}, not {crf}, or has no {bytes} bytes"
                ));
            }
        }
        match &work {
            Work::EncodeChunk { chunk, .. } if encoded.frames != chunk.pts.len() as u64 => {
                let (has, must) = (encoded.frames, chunk.pts.len());
                Some(format!("it has {has} frames, not the {must} of its chunk"))
            }
            _ => None,
        }
    }

    /// What task `number` of this plan is to do.
    #[must_use]
    pub fn work(&self, number: u32) -> Option<Work> {
        let video = &self.video;
        let at = number.checked_sub(1)? as usize;
        let pieces = match &video.cut {
            Cut::Chunks { chunks } => chunks.len(),
            Cut::Whole { .. } => 1,
            Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => 0,
        };
        if at >= pieces {
            return match (at - pieces, self.encodes_audio()) {
                (0, true) => Some(Work::EncodeAudio { tracks: self.encoded_audio() }),
                (0, false) | (1, true) => Some(Work::Finish),
                _ => None,
            };
        }
        let (stream, time_base, mut encode) =
            (video.stream, video.time_base, video.encode.clone()?);
        if let Some(crf) = video.rate.as_ref().and_then(|rate| rate.crf(at)) {
            encode.crf = Some(crf);
        }
        Some(match &video.cut {
            Cut::Chunks { chunks } => {
                let chunk = chunks.get(at)?.clone();
                let slice = slice(&self.skeleton, chunk.bytes, self.source_bytes);
                Work::EncodeChunk { stream, time_base, encode, chunk, slice }
            }
            Cut::Whole { declared, .. } => {
                Work::EncodeVideo { stream, time_base, encode, declared: *declared }
            }
            Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => return None,
        })
    }

    fn encoded_audio(&self) -> Vec<TrackPlan> {
        let encoded = |track: &&TrackPlan| matches!(track.action, TrackAction::EncodeAudio { .. });
        self.tracks.iter().filter(encoded).cloned().collect()
    }
}
