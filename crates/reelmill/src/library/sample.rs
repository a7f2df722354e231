//! Trying out what a conversion comes to: a few short chunks of a film, encoded
//! just as they would be.

use crate::farm;
use crate::worker::analyse;
use reelmill_core::chunk::Chunk;
use reelmill_core::error::Failure;
use reelmill_core::plan::{PlanLimits, SourceFacts, plan};
use reelmill_core::preset::Preset;
use reelmill_media::encode::{Source, VideoJob, encode_chunk};
use reelmill_media::tools::Tools;
use std::path::Path;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Length of a chunk that is tried, seconds.
const SECONDS: f64 = 3.0;

/// Where in the film they lie, of its chunks.
const AT: [f64; 3] = [0.2, 0.5, 0.8];

/// What the trial says of the whole film.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tried {
    /// Bytes of the whole picture.
    pub(crate) bytes: u64,
    /// Seconds of work for one core.
    pub(crate) seconds: f64,
}

/// Encodes three short chunks of the film at `path` with `preset`; or says why that
/// cannot be tried.
///
/// # Errors
/// When it cannot be read, planned or encoded.
pub(crate) async fn attempt(
    tools: &Tools,
    path: &Path,
    preset: &Preset,
    cancel: &CancellationToken,
) -> Result<Result<Tried, String>, Failure> {
    if preset.remux {
        return Ok(Err("nothing is encoded".to_owned()));
    }
    let (media, index, skeleton) = analyse(tools, path, (preset, None), cancel).await?;
    let threads = farm::cores();
    let limits =
        PlanLimits { slots: 1, queued: 0, threads, chunk_seconds: Some(SECONDS), hardware: None };
    let index = index.as_ref().map_err(Clone::clone);
    let plan = plan(SourceFacts { media: &media, index, skeleton }, preset, preset.format, limits)?;
    let (codec, pixel_format) = media
        .video()
        .map_or(("", ""), |(stream, info)| (stream.codec.as_str(), info.pixel_format.as_str()));
    let Some(encode) = &plan.video.encode else {
        return Ok(Err("no picture is encoded".to_owned()));
    };
    let job = VideoJob {
        source: Source {
            path,
            start_micros: media.start_micros,
            codec,
            pixel_format,
            partial: false,
        },
        stream: plan.video.stream,
        time_base: plan.video.time_base,
        encode,
    };
    let chunks = chosen(plan.chunks());
    if chunks.is_empty() {
        let why = plan.whole_reason().map(|why| format!(": {why}")).unwrap_or_default();
        return Ok(Err(format!("it is encoded in one piece{why}")));
    }
    let folder = tempfile::tempdir().map_err(|e| Failure::io("create a temporary folder", &e))?;
    let (mut frames, mut bytes) = (0usize, 0u64);
    let begun = Instant::now();
    for chunk in chunks {
        let out = folder.path().join("sample.nut");
        encode_chunk(tools, job, chunk, &out, &|_| {}, cancel).await?;
        bytes += std::fs::metadata(&out).map_or(0, |meta| meta.len());
        frames += chunk.pts.len();
    }
    let all: usize = plan.chunks().iter().map(|chunk| chunk.pts.len()).sum();
    let scale = all as f64 / frames.max(1) as f64;
    let seconds = begun.elapsed().as_secs_f64() * f64::from(threads) * scale;
    Ok(Ok(Tried { bytes: (bytes as f64 * scale) as u64, seconds }))
}

/// The chunks that are tried, each once.
fn chosen(chunks: &[Chunk]) -> Vec<&Chunk> {
    let at =
        |part: f64| ((chunks.len() as f64 * part) as usize).min(chunks.len().saturating_sub(1));
    let mut numbers: Vec<usize> = AT.iter().map(|part| at(*part)).collect();
    numbers.dedup();
    numbers.into_iter().filter_map(|at| chunks.get(at)).collect()
}
