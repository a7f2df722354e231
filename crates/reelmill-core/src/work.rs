//! What the tasks of a plan are, and what each is to do.

use crate::chunk::{ByteRange, Chunk, slice};
use crate::encoder::VideoEncoder;
use crate::id::{JobId, TaskId};
use crate::plan::{Cut, Plan, VideoEncode};
use crate::task::{Task, TaskKind};
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

impl Plan {
    /// The tasks of this plan, numbered from 1 (0 is the analysis that made
    /// it): chunks or the whole video, audio beside it, then the finish.
    #[must_use]
    pub fn tasks(&self, job: JobId, generation: u32, now: Timestamp) -> Vec<Task> {
        let needs = Some(self.video.encode.encoder);
        let mut kinds: Vec<(TaskKind, u8, u64, Option<VideoEncoder>)> = match &self.video.cut {
            Cut::Chunks { chunks } => {
                chunks.iter().map(|c| (TaskKind::EncodeChunk, 1, c.weight, needs)).collect()
            }
            Cut::Whole { .. } => vec![(TaskKind::EncodeVideo, 1, u64::MAX >> 1, needs)],
            Cut::Metadata { .. } => Vec::new(),
        };
        if self.encodes_audio() {
            kinds.push((TaskKind::EncodeAudio, 1, 1, None));
        }
        kinds.push((TaskKind::Finish, 2, 1, None));
        let numbered = (1u32..).zip(kinds);
        numbered
            .map(|(number, (kind, stage, weight, needs))| {
                let id = TaskId { job, generation, number };
                Task { weight, needs, ..Task::new(id, kind, stage, now) }
            })
            .collect()
    }

    /// What task `number` of this plan is to do.
    #[must_use]
    pub fn work(&self, number: u32) -> Option<Work> {
        let video = &self.video;
        let at = number.checked_sub(1)? as usize;
        let pieces = match &video.cut {
            Cut::Chunks { chunks } => chunks.len(),
            Cut::Whole { .. } => 1,
            Cut::Metadata { .. } => 0,
        };
        if at >= pieces {
            return match (at - pieces, self.encodes_audio()) {
                (0, true) => Some(Work::EncodeAudio { tracks: self.encoded_audio() }),
                (0, false) | (1, true) => Some(Work::Finish),
                _ => None,
            };
        }
        let (stream, time_base, encode) = (video.stream, video.time_base, video.encode.clone());
        Some(match &video.cut {
            Cut::Chunks { chunks } => {
                let chunk = chunks.get(at)?.clone();
                let slice = slice(&self.skeleton, chunk.bytes, self.source_bytes);
                Work::EncodeChunk { stream, time_base, encode, chunk, slice }
            }
            Cut::Whole { declared, .. } => {
                Work::EncodeVideo { stream, time_base, encode, declared: *declared }
            }
            Cut::Metadata { .. } => return None,
        })
    }

    fn encoded_audio(&self) -> Vec<TrackPlan> {
        let encoded = |track: &&TrackPlan| matches!(track.action, TrackAction::EncodeAudio { .. });
        self.tracks.iter().filter(encoded).cloned().collect()
    }
}
