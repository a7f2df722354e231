//! A chunk is accepted only with exactly the planned frames.

use crate::convert::{preset, tools};
use crate::fixture::film;
use reelmill_core::chunk::Chunk;
use reelmill_core::container::Container;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::plan::{Plan, PlanLimits, SourceFacts, plan};
use reelmill_core::pts::PtsList;
use reelmill_media::encode::{EncodedFile, Source, VideoJob, encode_chunk};
use reelmill_media::packets::index;
use reelmill_media::probe::probe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct Setting {
    dir: TempDir,
    source: PathBuf,
    plan: Plan,
}

async fn setting() -> Setting {
    let dir = TempDir::new().unwrap();
    let source = film(dir.path(), "film.mkv", 6, "").await;
    let (tools, cancel) = (tools().await, CancellationToken::new());
    let media = probe(&tools, &source, &cancel).await.unwrap();
    let packets = index(&tools, &source, 0, &cancel).await.unwrap();
    let facts = SourceFacts { media: &media, index: Ok(&packets), skeleton: Vec::new() };
    let limits =
        PlanLimits { slots: 2, queued: 0, threads: 1, chunk_seconds: Some(2.0), hardware: None };
    let preset = preset("h264", &["speed=ultrafast"]);
    let plan = plan(facts, &preset, Container::Mkv, limits).unwrap();
    Setting { dir, source, plan }
}

impl Setting {
    fn out(&self) -> PathBuf {
        self.dir.path().join("chunk.nut")
    }

    async fn encode(&self, chunk: &Chunk, partial: bool) -> Result<EncodedFile, Failure> {
        self.encode_with(&self.source, chunk, partial, &CancellationToken::new()).await
    }

    async fn encode_with(
        &self,
        path: &Path,
        chunk: &Chunk,
        partial: bool,
        cancel: &CancellationToken,
    ) -> Result<EncodedFile, Failure> {
        let source =
            Source { path, start_micros: 0, codec: "h264", pixel_format: "yuv420p", partial };
        let video = &self.plan.video;
        let (stream, time_base) = (video.stream, video.time_base);
        let job = VideoJob { source, stream, time_base, encode: video.encode.as_ref().unwrap() };
        let frames = AtomicU64::new(0);
        let on_progress = |progress: reelmill_media::progress::Progress| {
            frames.fetch_max(progress.frames, Ordering::Relaxed);
        };
        let file =
            encode_chunk(&tools().await, job, chunk, &self.out(), &on_progress, cancel).await?;
        assert_eq!(frames.load(Ordering::Relaxed), file.frames, "progress tells every frame");
        Ok(file)
    }
}

#[tokio::test]
async fn a_seek_that_lands_late_is_made_good_from_further_back() {
    let setting = setting().await;
    let mut chunk = setting.plan.chunks()[2].clone();
    let late = chunk.start + 1500;
    chunk.prerolls.insert(0, late);
    let file = setting.encode(&chunk, false).await.unwrap();
    assert_eq!(file.frames as usize, chunk.pts.len());
    let failure = setting.encode(&chunk, true).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Recut, "with a part of the source there is one way");
    assert!(!setting.out().exists(), "nothing wrong is left behind");
}

#[tokio::test]
async fn frames_that_the_source_lacks_mean_another_plan() {
    let setting = setting().await;
    let mut chunk = setting.plan.chunks()[1].clone();
    let mut ticks = chunk.pts.ticks().to_vec();
    ticks[7] += 1;
    chunk.pts = PtsList::new(ticks).unwrap();
    let failure = setting.encode(&chunk, false).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Recut);
    assert!(failure.message.contains("frame 7 is at"), "{failure}");
    assert!(failure.message.contains("from the beginning"), "{failure}");
}

#[tokio::test]
async fn chunks_made_twice_are_equal() {
    let setting = setting().await;
    let chunk = &setting.plan.chunks()[1];
    let first = setting.encode(chunk, false).await.unwrap();
    let bytes = std::fs::read(setting.out()).unwrap();
    assert_eq!(setting.encode(chunk, false).await.unwrap(), first);
    assert!(bytes == std::fs::read(setting.out()).unwrap());
}

#[tokio::test]
async fn what_is_not_the_chunks_fault_is_told_as_such() {
    let setting = setting().await;
    let chunk = &setting.plan.chunks()[0];
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let failure = setting.encode_with(&setting.source, chunk, false, &cancelled).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Cancelled);
    let gone = setting.dir.path().join("gone.mkv");
    let failure =
        setting.encode_with(&gone, chunk, false, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Environment, "{failure}");
}
