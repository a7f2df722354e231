//! Doing one task.

use super::planning::{analyse, plan_request};
use super::run::{Meter, Worker};
use super::sizing;
use crate::files;
use crate::task_source::{Assignment, FinishOrder, Order, Part, Report};
use reelmill_core::check::Verdict;
use reelmill_core::container::{Container, OutputKind};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::Request;
use reelmill_core::media::MediaInfo;
use reelmill_core::packets::Uncuttable;
use reelmill_core::plan::{Cut, PlanLimits, SourceFacts};
use reelmill_core::preset::Preset;
use reelmill_core::rate::Coded;
use reelmill_core::room::Need;
use reelmill_core::task::{Encoded, Finished, TaskResult, Work};
use reelmill_media::audio;
use reelmill_media::encode::{EncodedFile, Source, VideoJob, encode_chunk, encode_video};
use reelmill_media::stitch::{Assembly, Parts, stitch};
use reelmill_media::verify::{expect, verify};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often work that counts nothing shows that it goes on.
const TICK: Duration = Duration::from_secs(5);

/// Does what the assignment says. Temporary files are gone afterwards,
/// whatever the outcome.
///
/// # Errors
/// What went wrong; class `Cancelled` when `cancel` ended it.
pub(super) async fn execute(
    worker: &Worker,
    assignment: &Assignment,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Report, Failure> {
    let room = worker.spots.room(need(assignment, worker.depot.copies()))?;
    let scratch = tempfile::Builder::new()
        .prefix(assignment.kind.label())
        .tempdir_in(room.folder)
        .map_err(|e| Failure::io(format!("use {}", room.folder.display()), &e))?;
    let attempt = Attempt { worker, assignment, meter, cancel, scratch: scratch.path() };
    match &assignment.order {
        Order::Analyse { request, limits } => attempt.analyse(request, *limits).await,
        Order::Encode { work, media } => attempt.encode(work, media).await,
        Order::Finish(order) => attempt.finish(order).await,
    }
}

/// What the task needs for temporary files; with `copies` its source is one of them.
fn need(assignment: &Assignment, copies: bool) -> Need {
    match &assignment.order {
        Order::Analyse { .. } => Need::default(),
        Order::Encode { work, media } => Need::of(work, media, copies),
        Order::Finish(order) => {
            let staged = order.stage_path.is_some();
            let out = if staged { 0 } else { order.plan.estimate.bytes };
            let usual = order.media.format.starts_with("matroska")
                || !matches!(order.plan.video.cut, Cut::Metadata { .. });
            let copy = if usual { 0 } else { order.plan.source_bytes };
            Need::about(out).and(Need::exactly(copy))
        }
    }
}

/// One attempt at a task.
pub(super) struct Attempt<'a> {
    pub(super) worker: &'a Worker,
    pub(super) assignment: &'a Assignment,
    pub(super) meter: &'a Meter,
    pub(super) cancel: &'a CancellationToken,
    pub(super) scratch: &'a Path,
}

impl Attempt<'_> {
    async fn whole_source(&self) -> Result<PathBuf, Failure> {
        self.worker.depot.source(self.assignment, &[], self.scratch, self.cancel).await
    }

    async fn analyse(&self, request: &Request, limits: PlanLimits) -> Result<Report, Failure> {
        let path = self.whole_source().await?;
        let wanted = (&request.preset, uncuttable(request));
        let facts = analyse(&self.worker.tools, &path, wanted, self.cancel);
        let (media, index, skeleton) = facts.await?;
        let source =
            SourceFacts { media: &media, index: index.as_ref().map_err(Clone::clone), skeleton };
        let planning =
            plan_request(&self.worker.tools, &path, source, request, limits, self.cancel);
        let plan = self.ticking(Box::pin(planning)).await?;
        Ok(Report::Analysed { media, plan: Box::new(plan) })
    }

    async fn encode(&self, work: &Work, media: &MediaInfo) -> Result<Report, Failure> {
        let begun = Instant::now();
        let out = self.scratch.join("encoded.nut");
        let (file, fingerprint) = match work {
            Work::EncodeChunk { encode, .. } | Work::EncodeVideo { encode, .. } => {
                let file = self.encode_video(work, media, &out).await?;
                (file, self.fingerprint(encode.encoder)?)
            }
            Work::EncodeAudio { tracks } => {
                let path = self.whole_source().await?;
                let told = |_| self.meter.tick();
                let (tools, source) = (&self.worker.tools, source(&path, media, false));
                audio::encode_audio(tools, source, tracks, &out, &told, self.cancel).await?;
                (no_picture(), String::new())
            }
            Work::Finish => return Err(Failure::permanent("a finish is not an encode")),
        };
        let blob = self.worker.depot.keep(self.assignment, &out, self.cancel).await?;
        let crf = file.score.map(|score| score.crf);
        let crf = crf.or(work.encode().and_then(|encode| encode.crf));
        let encoded = Encoded {
            blob,
            frames: file.frames,
            seconds: begun.elapsed().as_secs_f64(),
            extradata: file.extradata,
            fingerprint,
            pts: file.pts,
            score: file.score,
            coded: crf.map(|crf| Coded { crf, bytes: file.bytes }),
        };
        Ok(Report::Done { result: TaskResult::Encoded(encoded) })
    }

    fn fingerprint(
        &self,
        encoder: reelmill_core::encoder::VideoEncoder,
    ) -> Result<String, Failure> {
        let proven = self.worker.encoders.iter().find(|proven| proven.encoder == encoder);
        let proven = proven.ok_or_else(|| {
            Failure::environment(format!("{encoder} has not been proven on this machine"))
        })?;
        Ok(proven.fingerprint.clone())
    }

    async fn encode_video(
        &self,
        work: &Work,
        media: &MediaInfo,
        out: &Path,
    ) -> Result<EncodedFile, Failure> {
        let trials = work.encode().is_some_and(|encode| encode.target.is_some());
        let told = |progress| self.meter.note(&progress, trials);
        let (depot, tools) = (&self.worker.depot, &self.worker.tools);
        match work {
            Work::EncodeChunk { stream, time_base, encode, chunk, slice } => {
                let job = |path, partial| VideoJob {
                    source: source(path, media, partial),
                    stream: *stream,
                    time_base: *time_base,
                    encode,
                };
                let path = depot.source(self.assignment, slice, self.scratch, self.cancel).await?;
                let job_of_slice = job(&path, !slice.is_empty());
                match encode_chunk(tools, job_of_slice, chunk, out, &told, self.cancel).await {
                    Err(failure) if failure.class == FailureClass::Recut && !slice.is_empty() => {
                        tracing::info!(task = %self.assignment.task, "slice too small; fetching all");
                        let path = self.whole_source().await?;
                        encode_chunk(tools, job(&path, false), chunk, out, &told, self.cancel).await
                    }
                    other => other,
                }
            }
            Work::EncodeVideo { stream, time_base, encode, declared } => {
                let path = self.whole_source().await?;
                let job = VideoJob {
                    source: source(&path, media, false),
                    stream: *stream,
                    time_base: *time_base,
                    encode,
                };
                let made = encode_video(tools, job, *declared, out, &told, self.cancel).await;
                made.map_err(|failure| by_software(failure, encode.encoder))
            }
            Work::EncodeAudio { .. } | Work::Finish => {
                Err(Failure::permanent("this task has no picture"))
            }
        }
    }

    async fn finish(&self, order: &FinishOrder) -> Result<Report, Failure> {
        let source = self.whole_source().await?;
        match &order.plan.video.cut {
            Cut::Metadata { how, kept } => {
                return self.convert_metadata(order, &source, (*how, *kept)).await;
            }
            Cut::Absent => return self.make_sound(order, &source).await,
            Cut::Still { image } => return self.make_still(order, &source, *image).await,
            Cut::Chunks { .. } | Cut::Whole { .. } => {}
        }
        let mut video = Vec::with_capacity(order.video.len());
        for part in &order.video {
            video.push(self.piece(part).await?);
        }
        let audio = match &order.audio {
            Some(part) => Some(self.piece(part).await?),
            None => None,
        };
        let out = self.out(order);
        let made = self.stitch_and_verify(order, &source, (&video, audio.as_deref()), &out).await;
        match made {
            Ok(result) => Ok(Report::Done { result }),
            Err(failure) => {
                if order.stage_path.is_some() {
                    let _ = tokio::fs::remove_file(&out).await;
                }
                Err(failure)
            }
        }
    }

    /// Where the output is put together.
    pub(super) fn out(&self, order: &FinishOrder) -> PathBuf {
        let name = || self.scratch.join(format!("output.{}", order.plan.container));
        order.stage_path.as_ref().map_or_else(name, PathBuf::from)
    }

    async fn piece(&self, part: &Part) -> Result<PathBuf, Failure> {
        let path = self.worker.depot.piece(&part.blob).await?;
        self.meter.tick();
        Ok(path)
    }

    async fn stitch_and_verify(
        &self,
        order: &FinishOrder,
        source: &Path,
        (video, audio): (&[PathBuf], Option<&Path>),
        out: &Path,
    ) -> Result<TaskResult, Failure> {
        if let Some(missed) = sizing::before(order)? {
            return Ok(missed);
        }
        let tools = &self.worker.tools;
        let encode = order.plan.video.encode.as_ref();
        let assembly = Assembly {
            plan: &order.plan,
            encode: encode.ok_or_else(|| Failure::permanent("the plan encodes no picture"))?,
            media: &order.media,
            source,
            parts: Parts { video, audio },
            whole_pts: order.video.first().and_then(|part| part.pts.as_ref()),
            scratch: self.scratch,
        };
        let told = |_| self.meter.tick();
        let stitching = stitch(tools, assembly, out, &told, self.cancel);
        let expecting = self.ticking(Box::pin(expect(tools, assembly, self.cancel)));
        let expected = if order.plan.limits_file() {
            stitching.await?;
            if let Some(missed) = sizing::stitched(order, out).await? {
                return Ok(missed);
            }
            expecting.await?
        } else {
            tokio::try_join!(stitching, expecting)?.1
        };
        let extradata: Vec<String> =
            order.video.iter().map(|part| part.extradata.clone()).collect();
        let mut verdict = self
            .ticking(Box::pin(verify(tools, assembly, expected, &extradata, out, self.cancel)))
            .await?;
        verdict.checks.extend(order.score());
        verdict.checks.extend(sizing::check(order, out).await?);
        if !verdict.passed() {
            let cut = !order.plan.chunks().is_empty();
            let again = recut(&verdict).filter(|_| cut);
            return Err(again.unwrap_or_else(|| refused(&verdict)));
        }
        self.seal(out, order.stage_path.is_some(), verdict).await.map(TaskResult::Finished)
    }

    /// Shows signs of progress while `work` runs: each tool that it starts has
    /// a time limit of its own.
    pub(super) async fn ticking<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(TICK) => self.meter.tick(),
            }
        }
    }

    pub(super) async fn seal(
        &self,
        out: &Path,
        stays: bool,
        verdict: Verdict,
    ) -> Result<Finished, Failure> {
        let fail = |e: std::io::Error| Failure::io(format!("write {}", out.display()), &e);
        if stays {
            files::sync(out).await.map_err(fail)?;
            let bytes = tokio::fs::metadata(out).await.map_err(fail)?.len();
            // It goes nowhere; who wants to know its digest reads it.
            return Ok(Finished { blob: None, bytes, sha512: String::new(), verdict });
        }
        let blob = self.worker.depot.keep(self.assignment, out, self.cancel).await?;
        let (bytes, sha512) = (blob.bytes, blob.sha512.clone());
        Ok(Finished { blob: Some(blob), bytes, sha512, verdict })
    }
}

/// What hardware fails at is planned again for software, whatever it said: drivers
/// say little that is true, and if the source is bad, software will tell.
fn by_software(failure: Failure, encoder: VideoEncoder) -> Failure {
    let own = [FailureClass::Cancelled, FailureClass::NoSpace].contains(&failure.class);
    if own || encoder.hardware().is_none() {
        return failure;
    }
    let message = format!("{encoder} failed: {}", failure.message);
    Failure { class: FailureClass::Recut, message, ..failure }
        .advise("the film is encoded by software instead")
}

/// Why the packets need no index: they cannot be cut, or will not be.
fn uncuttable(request: &Request) -> Option<Uncuttable> {
    request.uncuttable.clone().or_else(|| no_index(&request.preset, request.container))
}

/// Why the packets of the picture need no index: nothing of it is encoded.
pub(crate) fn no_index(preset: &Preset, container: Container) -> Option<Uncuttable> {
    let encoded = !preset.remux && container.kind() == OutputKind::Film;
    (!encoded).then_some(Uncuttable::Empty)
}

pub(super) fn source<'a>(path: &'a Path, media: &'a MediaInfo, partial: bool) -> Source<'a> {
    let (codec, pixel_format) = media
        .video()
        .map_or(("", ""), |(stream, info)| (stream.codec.as_str(), info.pixel_format.as_str()));
    Source { path, start_micros: media.start_micros, codec, pixel_format, partial }
}

/// Checks that a source which cannot be cut after all may fail, though its packets look as if
/// it could: a decoder that does not begin anew at its keyframes (Sorenson Video 3), pictures
/// that change their size.
const OF_CUTTING: [&str; 3] = ["frames", "picture", "parameter sets"];

/// The failure of a film that was cut and may come out right in one piece.
fn recut(verdict: &Verdict) -> Option<Failure> {
    let mut failed = verdict.checks.iter().filter(|check| !check.passed);
    failed.all(|check| OF_CUTTING.contains(&check.name.as_str())).then(|| {
        Failure::new(FailureClass::Recut, verdict.complaint())
            .advise("the film is encoded again, in one piece")
    })
}

pub(super) fn refused(verdict: &Verdict) -> Failure {
    Failure::permanent(format!("the output was refused: {}", verdict.complaint()))
        .advise("nothing was published; please report this with the source's details")
}

fn no_picture() -> EncodedFile {
    EncodedFile { frames: 0, extradata: String::new(), pts: None, score: None, bytes: 0 }
}
