//! The whole way from a source to a verified output.

use reelmill_core::check::Verdict;
use reelmill_core::container::Container;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::media::MediaInfo;
use reelmill_core::packets::Uncuttable;
use reelmill_core::plan::{Cut, Plan, PlanLimits, SourceFacts, plan};
use reelmill_core::preset::{Preset, Presets};
use reelmill_core::pts::PtsList;
use reelmill_core::score::Score;
use reelmill_media::audio::encode_audio;
use reelmill_media::encode::{Source, VideoJob, encode_chunk, encode_video};
use reelmill_media::judge;
use reelmill_media::packets::index;
use reelmill_media::probe::probe;
use reelmill_media::stitch::{Assembly, Parts, stitch};
use reelmill_media::tools::{ToolPaths, Tools};
use reelmill_media::verify::{expect, verify};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The tools of this machine.
pub(crate) async fn tools() -> Tools {
    Tools::find(&ToolPaths::default()).await.unwrap()
}

/// A preset with overrides.
pub(crate) fn preset(name: &str, set: &[&str]) -> Preset {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Presets::built_in().unwrap().get(name, &set).unwrap()
}

/// A conversion with everything that it left behind.
pub(crate) struct Conversion {
    pub tools: Tools,
    pub dir: TempDir,
    pub source: PathBuf,
    pub media: MediaInfo,
    pub plan: Plan,
    pub parts: Vec<PathBuf>,
    pub digests: Vec<String>,
    pub scores: Vec<Score>,
    pub audio: Option<PathBuf>,
    pub whole_pts: Option<PtsList>,
    pub out: PathBuf,
    cancel: CancellationToken,
}

impl Conversion {
    /// Probes, plans, encodes and stitches.
    pub(crate) async fn run(
        source: &Path,
        preset: &Preset,
        container: Container,
        chunk_seconds: f64,
    ) -> Result<Self, Failure> {
        let mut made = Self::encode(source, preset, container, chunk_seconds).await?;
        made.stitch().await?;
        Ok(made)
    }

    /// Probes, plans and encodes.
    pub(crate) async fn encode(
        source: &Path,
        preset: &Preset,
        container: Container,
        chunk_seconds: f64,
    ) -> Result<Self, Failure> {
        let tools = tools().await;
        let cancel = CancellationToken::new();
        let media = probe(&tools, source, &cancel).await?;
        let dir = TempDir::new().unwrap();
        let out = dir.path().join(format!("out.{container}"));
        let mut made = Self {
            plan: make_plan(&tools, source, &media, preset, container, chunk_seconds, None).await?,
            tools,
            source: source.to_owned(),
            media,
            parts: Vec::new(),
            digests: Vec::new(),
            scores: Vec::new(),
            audio: None,
            whole_pts: None,
            out,
            dir,
            cancel,
        };
        if let Err(failure) = made.encode_video_parts().await {
            if failure.class != FailureClass::Recut {
                return Err(failure);
            }
            let uncuttable = Uncuttable::Contradicted { message: failure.message };
            let (tools, media) = (&made.tools, &made.media);
            made.plan =
                make_plan(tools, source, media, preset, container, chunk_seconds, Some(uncuttable))
                    .await?;
            made.parts.clear();
            made.digests.clear();
            made.encode_video_parts().await?;
        }
        made.encode_audio_tracks().await?;
        Ok(made)
    }

    fn read(&self) -> Source<'_> {
        let (stream, info) = self.media.video().unwrap();
        Source {
            path: &self.source,
            start_micros: self.media.start_micros,
            codec: &stream.codec,
            pixel_format: &info.pixel_format,
            partial: false,
        }
    }

    async fn encode_video_parts(&mut self) -> Result<(), Failure> {
        let plan = self.plan.clone();
        let job = VideoJob {
            source: self.read(),
            stream: plan.video.stream,
            time_base: plan.video.time_base,
            encode: plan.video.encode.as_ref().unwrap(),
        };
        let mut parts = Vec::new();
        let mut digests = Vec::new();
        let mut scores = Vec::new();
        let mut whole_pts = None;
        match &plan.video.cut {
            Cut::Chunks { chunks } => {
                for chunk in chunks {
                    let out = self.dir.path().join(format!("chunk{}.nut", chunk.number));
                    let file =
                        encode_chunk(&self.tools, job, chunk, &out, &|_| {}, &self.cancel).await?;
                    assert_eq!(file.frames as usize, chunk.pts.len());
                    parts.push(out);
                    digests.push(file.extradata);
                    scores.extend(file.score);
                }
            }
            Cut::Whole { declared, .. } => {
                let out = self.dir.path().join("whole.nut");
                let file =
                    encode_video(&self.tools, job, *declared, &out, &|_| {}, &self.cancel).await?;
                parts.push(out);
                digests.push(file.extradata);
                scores.extend(file.score);
                whole_pts = file.pts;
            }
            Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => panic!("nothing is encoded"),
        }
        (self.parts, self.digests, self.whole_pts) = (parts, digests, whole_pts);
        self.scores = scores;
        Ok(())
    }

    async fn encode_audio_tracks(&mut self) -> Result<(), Failure> {
        if self.plan.encodes_audio() {
            let out = self.dir.path().join("audio.nut");
            let source = self.read();
            encode_audio(&self.tools, source, &self.plan.tracks, &out, &|_| {}, &self.cancel)
                .await?;
            self.audio = Some(out);
        }
        Ok(())
    }

    fn assembly(&self) -> Assembly<'_> {
        Assembly {
            encode: self.plan.video.encode.as_ref().unwrap(),
            plan: &self.plan,
            media: &self.media,
            source: &self.source,
            parts: Parts { video: &self.parts, audio: self.audio.as_deref() },
            whole_pts: self.whole_pts.as_ref(),
            scratch: self.dir.path(),
        }
    }

    /// Puts the output together.
    pub(crate) async fn stitch(&mut self) -> Result<(), Failure> {
        stitch(&self.tools, self.assembly(), &self.out, &|_| {}, &self.cancel).await
    }

    /// Verifies the output.
    pub(crate) async fn verify(&self) -> Result<Verdict, Failure> {
        let expected = expect(&self.tools, self.assembly(), &self.cancel).await?;
        let (tools, cancel) = (&self.tools, &self.cancel);
        verify(tools, self.assembly(), expected, &self.digests, &self.out, cancel).await
    }

    /// Whether the output shows the source's frames at their times, judged
    /// independently; the same pictures only if the encode is `lossless`.
    pub(crate) async fn judge(&self, lossless: bool) -> Result<usize, String> {
        let encode = self.plan.video.encode.as_ref().unwrap();
        let (_, info) = self.media.video().unwrap();
        let (width, height) = encode.source_size;
        let mut filter = format!("scale={width}:{height}:flags=lanczos+accurate_rnd");
        if encode.crop {
            filter += &format!(",crop={}:{}:0:0", encode.size.0, encode.size.1);
        }
        // "yuvj" is "yuv" of full range: the same bytes.
        if info.pixel_format.replace("yuvj", "yuv") != encode.pixel_format.replace("yuvj", "yuv") {
            filter += &format!(",format={}", encode.pixel_format);
        }
        let words = |failure: Failure| failure.message;
        let mut source = judge::frames(&self.tools, &self.source, &filter).await.map_err(words)?;
        let mut output = judge::frames(&self.tools, &self.out, "null").await.map_err(words)?;
        if !lossless {
            source.iter_mut().chain(&mut output).for_each(|frame| frame.digest.clear());
        }
        let step = self.plan.container.timestamp_step() * 1e6;
        let tolerance = if step > 0.0 { 501 } else { 7 };
        judge::compare(&source, &output, self.plan.origin_micros, tolerance)?;
        Ok(output.len())
    }
}

/// The plan, as if four encoders could run.
pub(crate) async fn make_plan(
    tools: &Tools,
    source: &Path,
    media: &MediaInfo,
    preset: &Preset,
    container: Container,
    chunk_seconds: f64,
    uncuttable: Option<Uncuttable>,
) -> Result<Plan, Failure> {
    let Some((stream, _)) = media.video() else {
        return Err(Failure::input("no video"));
    };
    let packets = index(tools, source, stream.index, &CancellationToken::new()).await?;
    let index = uncuttable.map_or(Ok(&packets), Err);
    let limits = PlanLimits {
        slots: 2,
        queued: 0,
        threads: 2,
        chunk_seconds: Some(chunk_seconds),
        hardware: None,
    };
    plan(SourceFacts { media, index, skeleton: Vec::new() }, preset, container, limits)
}
