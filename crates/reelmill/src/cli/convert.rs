//! `reelmill convert`: a coordinator and workers of its own, for one file.
//!
//! The same machinery as on a farm, over a folder that is named after the
//! source and the request: running the same command again finds the finished
//! chunks there.

use super::args::{Common, ConvertArgs};
use super::choice::{Chosen, choose, kind_of};
use super::folder::kind;
use super::out;
use super::place::{check_output, make_room, plain_path, publish, staged_path};
use super::progress::Display;
use super::resume::{forget_old, has_finished_work, remove_folder, resume_key};
use super::room;
use super::signals::Stop;
use crate::coordinator::{Coordinator, JobView, Submission};
use crate::exit::{Ending, Exit};
use crate::worker::{Benchmark, Spots, Worker};
use crate::{farm, files, paths};
use reelmill_core::check::Check;
use reelmill_core::container::{Container, OutputKind};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::{Job, JobState, Source};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::media::MediaInfo;
use reelmill_core::preset::Preset;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::schedule::ProvenEncoder;
use reelmill_media::probe::probe_for;
use reelmill_media::tools::Tools;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Runs the command.
pub(crate) async fn run(args: ConvertArgs, common: &Common) -> Result<Exit, Ending> {
    let stop =
        Stop::on_signals(Duration::ZERO).map_err(|e| Failure::io("listen for signals", &e))?;
    let tools = common.tools().await?;
    let several = args.inputs.len() > 1;
    let output = args.output.clone().unwrap_or_default();
    if several && !output.is_dir() {
        let message = format!("{} is not a folder, but there are several inputs", output.display());
        return Err(Ending::usage(
            Failure::permanent(message).advise("name an existing folder with -o"),
        ));
    }
    let scratch = args.scratch.clone().unwrap_or_else(paths::scratch).join("convert");
    forget_old(&scratch);
    let mut failed = 0;
    for input in &args.inputs {
        let one = One {
            input,
            given: &output,
            overwrite: args.overwrite,
            args: &args,
            common,
            tools: &tools,
            scratch: &scratch,
            stop: &stop,
        };
        match one.convert().await {
            Ok(()) => {}
            Err(ending) if !several || ending.exit == Exit::Interrupted => return Err(ending),
            Err(ending) => {
                failed += 1;
                out::failure(&ending.failure, common.json);
            }
        }
    }
    Ok(match failed {
        0 => Exit::Done,
        all if all == args.inputs.len() => Exit::Failed,
        _ => Exit::Partly,
    })
}

/// Converts one file into another, which is replaced if it exists.
///
/// # Errors
/// When it cannot be converted; finished chunks are kept.
pub(super) async fn one(
    input: &Path,
    output: &Path,
    args: &ConvertArgs,
    common: &Common,
    (tools, scratch, stop): (&Tools, &Path, &Stop),
) -> Result<(), Ending> {
    One { input, given: output, overwrite: true, args, common, tools, scratch, stop }
        .convert()
        .await
}

/// One input.
struct One<'a> {
    input: &'a Path,
    given: &'a Path,
    overwrite: bool,
    args: &'a ConvertArgs,
    common: &'a Common,
    tools: &'a Tools,
    scratch: &'a Path,
    stop: &'a Stop,
}

impl One<'_> {
    async fn convert(&self) -> Result<(), Ending> {
        let begun = Instant::now();
        let (container, output) = self.output()?;
        let chosen = choose(&self.args.encode, container, self.kind())?;
        let preset = &chosen.preset;
        // The trial of the encoder needs as long as the probe; let them share the wait.
        let (media, encoders) = tokio::join!(
            check_input(self.tools, self.input, preset, &self.stop.now),
            farm::proven_for(self.tools, (preset, preset.format), &self.stop.now),
        );
        let media = media?;
        check_output(self.input, &output, self.overwrite)?;
        let key = resume_key(self.input, &output, preset, &self.args.encode)?;
        let place = room::place(self.args, (self.scratch, &key), &output, (&media, preset))?;
        let staged = staged_path(&output);
        let done = self.run_job(&place, &staged, &chosen, (&media, encoders)).await;
        match done {
            Ok(job) => {
                publish(&staged, &output, self.overwrite)?;
                remove_folder(&place);
                self.tell_done(&job, &output, begun).await?;
                Ok(())
            }
            Err(ending) => {
                let _ = std::fs::remove_file(&staged);
                let lasting = ending.failure.class.lasting() || ending.exit == Exit::Input;
                if lasting || !has_finished_work(&place) {
                    remove_folder(&place);
                }
                Err(ending)
            }
        }
    }

    /// The kind of output that suits the input's name.
    fn kind(&self) -> Option<OutputKind> {
        kind(self.input).map(kind_of)
    }

    fn output(&self) -> Result<(Option<Container>, PathBuf), Ending> {
        let given = self.given;
        if !given.is_dir() {
            let extension = given.extension().and_then(|e| e.to_str());
            let named = extension.and_then(Container::from_extension);
            if let (Some(extension), None, None) = (extension, named, self.args.encode.format) {
                let message = format!("'.{extension}' is not an output format");
                return Err(Ending::usage(
                    Failure::permanent(message)
                        .advise(format!("use {}, or give --format", Container::names())),
                ));
            }
            return Ok((self.args.encode.format.or(named), given.to_owned()));
        }
        let container = match self.args.encode.format {
            Some(container) => container,
            None => choose(&self.args.encode, None, self.kind())?.preset.format,
        };
        let stem = self.input.file_stem().unwrap_or_default();
        let mut name = stem.to_owned();
        name.push(format!(".{}", container.name()));
        Ok((Some(container), given.join(name)))
    }

    /// Runs the job to its end in `place`, the output staged at `staged`.
    async fn run_job(
        &self,
        place: &Path,
        staged: &Path,
        chosen: &Chosen,
        (media, encoders): (&MediaInfo, Vec<ProvenEncoder>),
    ) -> Result<Job, Ending> {
        make_room(place)?;
        let slots = self.slots(media);
        let terms = farm::Terms {
            lease: LeaseTerms::default(),
            retry: RetryPolicy { max_retries: 1, base: 500_000, ..RetryPolicy::default() },
            encoder_threads: (farm::cores() / slots).max(1),
            retention: i64::MAX,
            max_upload: 1 << 42,
            service: crate::coordinator::Service::default(),
        };
        let coordinator = farm::open(place, terms).await?;
        let own = farm::own_worker(coordinator.store().as_ref(), 0).await?;
        coordinator.recover(&[own]).await?;
        let job = self.submit(&coordinator, (place, staged), chosen).await?;
        if let Some(encoder) = job.request.encoder()
            && !encoders.iter().any(|proven| proven.encoder == encoder)
            && !self.stop.drain.is_cancelled()
        {
            let message = format!("the {encoder} encoder does not work on this machine");
            return Err(Failure::environment(message)
                .advise("'reelmill doctor' says why; or choose another preset")
                .into());
        }
        let scratch = place.join("tasks");
        remove_folder(&scratch);
        std::fs::create_dir_all(&scratch)
            .map_err(|e| Failure::io(format!("create {}", scratch.display()), &e))?;
        let (name, spots) = (farm::host_name(), Arc::new(Spots::on(scratch)));
        let benchmark = Arc::new(Benchmark::off());
        let worker =
            farm::house_worker(&coordinator, self.tools, encoders, own, name, spots, benchmark);
        self.work(&coordinator, worker, slots, job).await
    }

    async fn submit(
        &self,
        coordinator: &Coordinator,
        (place, staged): (&Path, &Path),
        chosen: &Chosen,
    ) -> Result<Job, Ending> {
        let extension = self.input.extension().and_then(|e| e.to_str()).unwrap_or("media");
        let input = plain_path(self.input, &place.join(format!("source.{extension}")))?;
        let staged = std::path::absolute(staged)
            .map_err(|e| Failure::io(format!("find {}", staged.display()), &e))?;
        let folder = plain_path(staged.parent().unwrap_or(&staged), &place.join("output"))?;
        let staged = format!("{folder}/{}", staged.file_name().unwrap_or_default().display());
        let submission = Submission {
            name: self.input.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            owner: None,
            source: Source::Local { path: input },
            preset: chosen.name.clone(),
            overrides: self.args.encode.overrides(),
            container: Some(chosen.preset.format),
            chunk_seconds: self.args.encode.chunk_seconds,
            max_retries: None,
            priority: crate::coordinator::USUAL_PRIORITY,
            labels: BTreeMap::new(),
            idempotency_key: Some("convert".into()),
            stage_path: Some(staged),
            item: None,
            dispatch: None,
        };
        let job = coordinator.submit(submission).await.map_err(Ending::usage)?;
        match job.state {
            JobState::Failed | JobState::Cancelled => Ok(coordinator.retry(job.id).await?),
            _ => Ok(job),
        }
    }

    /// Encoders to run at once: one a core, fewer where memory is short.
    fn slots(&self, media: &MediaInfo) -> u32 {
        self.args.encode.workers.unwrap_or_else(|| {
            let pixels = media.video().map_or(0, |(_, v)| u64::from(v.width) * u64::from(v.height));
            farm::cores().min(farm::memory_slots(pixels))
        })
    }

    async fn work(
        &self,
        coordinator: &Arc<Coordinator>,
        worker: Arc<Worker>,
        slots: u32,
        job: Job,
    ) -> Result<Job, Ending> {
        let over = CancellationToken::new();
        let watch = tokio::spawn(coordinator.clone().keep_watch(over.clone()));
        let giving_up = self.stop.now.child_token();
        let running = tokio::spawn(worker.run(farm::slots(slots), over.clone(), giving_up.clone()));
        let ended = self.follow(coordinator, &job).await;
        over.cancel();
        if ended.is_err() {
            giving_up.cancel();
        }
        let _ = running.await;
        let _ = watch.await;
        ended
    }

    /// Shows progress until the job ends or we are told to stop.
    async fn follow(&self, coordinator: &Coordinator, job: &Job) -> Result<Job, Ending> {
        let mut display = Display::new(self.common.json, self.common.quiet);
        loop {
            let changed = coordinator.changed(LOOK);
            let job = coordinator.find(&job.id.to_string()).await?;
            let view = coordinator.view(job).await?;
            display.show(&view);
            if view.job.state.is_final() {
                display.end();
                return outcome(view, self.input);
            }
            if self.stop.drain.is_cancelled() {
                display.end();
                return Err(self.interrupted(&view));
            }
            tokio::select! {
                () = changed => {}
                () = self.stop.drain.cancelled() => {}
            }
        }
    }

    fn interrupted(&self, view: &JobView) -> Ending {
        let (done, all) = view.pieces();
        let message = if done > 0 {
            format!("interrupted; {done} of {all} chunks are kept")
        } else {
            "interrupted; nothing was written".to_owned()
        };
        let failure = Failure::new(FailureClass::Cancelled, message);
        let failure =
            if done > 0 { failure.advise("run the same command again to go on") } else { failure };
        failure.into()
    }

    async fn tell_done(&self, job: &Job, output: &Path, begun: Instant) -> Result<(), Failure> {
        let Some(finished) = &job.output else { return Ok(()) };
        let seconds = begun.elapsed().as_secs_f64();
        if self.common.json {
            let fail = |e: std::io::Error| Failure::io(format!("read {}", output.display()), &e);
            let sha512 = files::sha512(output).await.map_err(fail)?;
            out::json(&serde_json::json!({
                "event": "finished", "output": output, "bytes": finished.bytes,
                "sha512": sha512, "seconds": seconds, "verdict": finished.verdict,
            }));
        } else if !self.common.quiet {
            let checks = finished.verdict.checks.len();
            let size = |check: &&Check| ["bit rate", "file size"].contains(&check.name.as_str());
            out::note(&format!(
                "{} {} ({}, {checks} checks passed) in {}",
                out::paint("done:", "1;32"),
                output.display(),
                out::bytes(finished.bytes),
                out::seconds(seconds),
            ));
            for check in finished.verdict.checks.iter().filter(size) {
                out::note(&format!("{}: {}", check.name, check.detail));
            }
        }
        Ok(())
    }
}

/// Probes the input of a conversion by `preset`; whatever is wrong with it refuses it.
pub(super) async fn check_input(
    tools: &Tools,
    input: &Path,
    preset: &Preset,
    cancel: &CancellationToken,
) -> Result<MediaInfo, Ending> {
    let media =
        probe_for(tools, input, preset, cancel).await.map_err(|failure| match failure.class {
            FailureClass::Cancelled => Ending::from(failure),
            _ => Ending::input(failure),
        })?;
    let (sound, picture) = (media.audio().next().is_some(), media.video().is_some());
    let (what, advice) = match (preset.format.kind(), picture, sound) {
        (OutputKind::Film, true, _) if media.is_still() => {
            ("a still picture only", "choose a format for pictures: webp, avif, jpg or png")
        }
        (OutputKind::Film | OutputKind::Picture, true, _) | (OutputKind::Sound, _, true) => {
            return Ok(media);
        }
        (OutputKind::Picture, false, _) => ("no picture", "choose a picture"),
        (OutputKind::Film, false, true) => (
            "sound but no picture",
            "choose a preset for sound alone, such as aac or opus (see 'reelmill presets')",
        ),
        (OutputKind::Film, false, false) => ("no picture", "choose a file with video"),
        (OutputKind::Sound, _, false) => ("no sound", "choose a file with sound"),
    };
    let message = format!("{} has {what}", input.display());
    Err(Ending::input(Failure::input(message).advise(advice)))
}

fn outcome(view: JobView, input: &Path) -> Result<Job, Ending> {
    let job = view.job;
    match (job.state, job.failure.clone()) {
        (JobState::Completed, _) => Ok(job),
        (_, Some(mut failure)) => {
            if !failure.message.contains(&job.name) {
                failure.message = format!("{}: {}", input.display(), failure.message);
            }
            Err(failure.into())
        }
        (state, None) => {
            Err(Failure::permanent(format!("the conversion was {}", state.label())).into())
        }
    }
}
