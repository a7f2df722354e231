//! `reelmill convert --dir` and `--file`: a whole folder, one file after another,
//! resuming where it stopped; a bad file never stops the rest.

mod ends;
mod job;
mod walk;

use super::args::{Common, ConvertArgs};
use super::out;
use super::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::paths;
use crate::share::desk::recover;
use crate::share::library::Library;
use crate::share::lock::Watcher;
use ends::Fate;
use job::FileJob;
use reelmill_core::error::Failure;
use reelmill_media::tools::{ToolPaths, Tools};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks at what others hold.
const PAUSE: Duration = Duration::from_secs(2);

/// Kinds of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MediaType {
    /// Films.
    Video,
    /// Sound alone.
    Audio,
    /// Pictures.
    Image,
    /// Films and sound.
    Both,
}

/// What came of one file, for people and programs.
#[derive(Debug, Clone, Serialize)]
struct Line {
    event: &'static str,
    file: PathBuf,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    bytes_before: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_after: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(args: &ConvertArgs, common: &Common) -> Result<Exit, Ending> {
    let stop =
        Stop::on_signals(Duration::ZERO).map_err(|e| Failure::io("listen for signals", &e))?;
    let tools = Tools::find(&ToolPaths::default()).await?;
    let (root, files) = walk::files(args)?;
    let library = open(args, &root)?;
    if let Some(library) = &library {
        for id in recover(library)? {
            tracing::warn!(job = id, "an interrupted replacement is still open");
        }
    }
    let scratch = args.scratch.clone().unwrap_or_else(paths::scratch).join("convert");
    super::resume::forget_old(&scratch);
    let mut work = Work {
        files: files.iter().map(|file| (file.clone(), None)).collect(),
        job: FileJob {
            args,
            common,
            tools: &tools,
            stop: &stop,
            scratch,
            root: &root,
            library: library.as_ref(),
            watcher: Watcher::new(args.lock_expiry),
        },
        begun: Instant::now(),
    };
    work.all().await?;
    Ok(work.summary())
}

/// The library's records are needed to replace files or to share the work.
fn open(args: &ConvertArgs, root: &Path) -> Result<Option<Library>, Ending> {
    if !args.replace && !args.shared || args.dry_run {
        return Ok(None);
    }
    let library = Library::open(root)?;
    if args.shared {
        let can = crate::share::probe::measure(&library.home("tmp"))
            .map_err(|e| Failure::io(format!("write to {}", root.display()), &e))?;
        out::note(&format!("{}: {}", library.root.display(), can.told()));
    }
    Ok(Some(library))
}

struct Work<'a> {
    files: Vec<(PathBuf, Option<Line>)>,
    job: FileJob<'a>,
    begun: Instant,
}

impl Work<'_> {
    /// Goes over the files until nothing is left that others may yet give back.
    async fn all(&mut self) -> Result<(), Ending> {
        loop {
            let mut held = false;
            let mut moved = false;
            for at in 0..self.files.len() {
                if self.files[at].1.is_some() {
                    continue;
                }
                if self.job.stop.drain.is_cancelled() {
                    return self.interrupted();
                }
                let file = self.files[at].0.clone();
                match self.job.convert(&file).await {
                    Fate::Held(by) if self.job.args.shared => {
                        tracing::info!(file = %file.display(), by, "held");
                        held = true;
                    }
                    Fate::Interrupted => return self.interrupted(),
                    fate => {
                        moved = true;
                        self.tell(at, line(&file, fate));
                    }
                }
            }
            if !held {
                return Ok(());
            }
            if !moved {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.job.stop.drain.cancelled() => {}
                }
            }
        }
    }

    fn interrupted(&self) -> Result<(), Ending> {
        let done = self.files.iter().filter(|(_, line)| line.is_some()).count();
        let message = format!("interrupted; {done} of {} files are done", self.files.len());
        let class = reelmill_core::error::FailureClass::Cancelled;
        Err(Failure::new(class, message).advise("run the same command again to go on").into())
    }

    fn tell(&mut self, at: usize, line: Line) {
        let done = self.files.iter().filter(|(_, line)| line.is_some()).count() + 1;
        let common = self.job.common;
        if common.json {
            out::json(&line);
            out::json(&serde_json::json!({
                "event": "folder_progress", "files_done": done, "files_total": self.files.len(),
                "seconds": self.begun.elapsed().as_secs_f64(),
            }));
        } else if !common.quiet {
            let all = self.files.len();
            let left = self.begun.elapsed().as_secs_f64() / done as f64 * (all - done) as f64;
            let eta =
                if done < all { format!(", ETA {}", out::seconds(left)) } else { String::new() };
            out::note(&format!("[{done}/{all}{eta}] {}", describe(&line, self.job.root)));
        }
        self.files[at].1 = Some(line);
    }

    fn summary(&self) -> Exit {
        let lines = || self.files.iter().filter_map(|(_, line)| line.as_ref());
        let count = |what| lines().filter(|line| line.result == what).count();
        let (converted, skipped, failed) = (count("converted"), count("skipped"), count("failed"));
        let sum = |of: fn(&Line) -> u64| -> u64 {
            lines().filter(|line| line.result == "converted").map(of).sum()
        };
        let before = sum(|line| line.bytes_before);
        let after = sum(|line| line.bytes_after.unwrap_or_default());
        if self.job.common.json {
            out::json(&serde_json::json!({
                "event": "summary", "converted": converted, "skipped": skipped, "failed": failed,
                "planned": count("planned"), "bytes_before": before, "bytes_after": after,
                "seconds": self.begun.elapsed().as_secs_f64(),
            }));
        } else {
            let planned = match count("planned") {
                0 => String::new(),
                count => format!("{count} would be converted, "),
            };
            out::line(&format!(
                "{planned}{converted} converted ({} became {}), {skipped} skipped, {failed} failed",
                out::bytes(before),
                out::bytes(after)
            ));
            if self.job.common.quiet {
                for line in lines().filter(|line| line.result == "failed") {
                    out::note(&describe(line, self.job.root));
                }
            }
        }
        match (failed, converted + skipped) {
            (0, _) => Exit::Done,
            (_, 0) => Exit::Failed,
            _ => Exit::Partly,
        }
    }
}

fn line(file: &Path, fate: Fate) -> Line {
    let mut line = Line {
        event: "file",
        file: file.to_owned(),
        result: "skipped",
        output: None,
        reason: None,
        job: None,
        bytes_before: 0,
        bytes_after: None,
    };
    match fate {
        Fate::Converted { output, before, after, job, note } => {
            (line.result, line.output, line.reason, line.job) =
                ("converted", Some(output), note, job);
            (line.bytes_before, line.bytes_after) = (before, Some(after));
        }
        Fate::Planned(output) => (line.result, line.output) = ("planned", Some(output)),
        Fate::Skipped(reason) => line.reason = Some(reason),
        Fate::Held(by) => line.reason = Some(format!("{by} works on it")),
        Fate::Failed(failure) => {
            let advice = failure.advice.as_ref().map(|a| format!(" ({a})")).unwrap_or_default();
            line.result = "failed";
            line.reason = Some(format!("{}{advice}", failure.message));
        }
        Fate::Interrupted => line.reason = Some("interrupted".into()),
    }
    line
}

fn describe(line: &Line, root: &Path) -> String {
    let name = line.file.strip_prefix(root).unwrap_or(&line.file).display();
    let reason = line.reason.as_deref().unwrap_or_default();
    match (line.result, &line.output) {
        ("converted", Some(output)) => {
            let after = line.bytes_after.unwrap_or_default();
            let note = if reason.is_empty() { String::new() } else { format!("; {reason}") };
            format!(
                "{} {name} → {} ({} became {}){note}",
                out::paint("converted", "1;32"),
                output.file_name().unwrap_or_default().to_string_lossy(),
                out::bytes(line.bytes_before),
                out::bytes(after)
            )
        }
        ("planned", Some(output)) => format!("would convert {name} → {}", output.display()),
        ("failed", _) => format!("{} {name}: {reason}", out::paint("failed", "1;31")),
        _ => format!("skipped {name}: {reason}"),
    }
}
