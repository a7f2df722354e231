//! Going over the files of a folder, one after another.

use super::ends::Fate;
use super::job::{FileJob, preset_of};
use super::line::{Line, describe, line};
use super::queued;
use crate::cli::args::ConvertArgs;
use crate::cli::{hooks, out};
use crate::exit::{Ending, Exit};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::library::hooks::{Happened, HookEvent, Hooks};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at what others hold.
const PAUSE: Duration = Duration::from_secs(2);

/// A file that is to be converted.
pub(super) struct Item {
    pub(super) path: PathBuf,
    /// What came of it.
    pub(super) line: Option<Line>,
    /// The order in the queue that names it, and how it is to be converted.
    pub(super) order: Option<(String, Box<ConvertArgs>)>,
}

impl Item {
    /// A file that was found in the folder.
    pub(super) fn found(path: PathBuf) -> Self {
        Self { path, line: None, order: None }
    }
}

/// What hooks are told of a file, if anything.
fn happened(line: &Line, preset: &str) -> Option<HookEvent> {
    let event = match line.result {
        "converted" => Happened::Converted,
        "failed" => Happened::Failed,
        _ => return None,
    };
    let whole = |path: &str| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        path.to_string_lossy().into_owned()
    };
    let source = whole(&line.file);
    let path = line.output.as_deref().map_or_else(|| source.clone(), whole);
    Some(HookEvent {
        event,
        old_path: (path != source).then_some(source),
        path,
        preset: preset.to_owned(),
        bytes_before: line.bytes_before,
        bytes_after: line.bytes_after,
        reason: line.reason.clone().filter(|_| event == Happened::Failed),
    })
}

/// All files.
pub(super) struct Work<'a> {
    pub(super) files: Vec<Item>,
    pub(super) job: FileJob<'a>,
    pub(super) hooks: Hooks,
    pub(super) begun: Instant,
}

impl Work<'_> {
    /// Goes over the files. What others hold is looked at again after the rest,
    /// for as long as something else gets done; with `--wait` until they end or
    /// fall silent.
    pub(super) async fn all(&mut self) -> Result<(), Ending> {
        let mut held: Vec<(usize, String)> = self.pass(0..self.files.len()).await?;
        // Others may have put orders into the queue meanwhile.
        while self.job.args.queue {
            let begin = self.files.len();
            queued::take_up(self)?;
            if self.files.len() == begin {
                break;
            }
            held.extend(self.pass(begin..self.files.len()).await?);
        }
        while !held.is_empty() {
            let before = held.len();
            held = self.pass(held.into_iter().map(|(at, _)| at)).await?;
            if held.len() < before {
                continue;
            }
            if !self.job.args.wait {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.job.stop.drain.cancelled() => {}
            }
        }
        for (at, by) in held {
            let file = self.files[at].path.clone();
            self.tell(at, line(&file, Fate::Held(by)));
        }
        Ok(())
    }

    /// Goes over these files once; yields those that others hold, and who.
    async fn pass(
        &mut self,
        files: impl Iterator<Item = usize>,
    ) -> Result<Vec<(usize, String)>, Ending> {
        let mut held = Vec::new();
        for at in files {
            if self.files[at].line.is_some() {
                continue;
            }
            if self.job.stop.drain.is_cancelled() {
                return self.interrupted();
            }
            let file = self.files[at].path.clone();
            let asked = self.job.args.clone();
            if let Some((_, args)) = &self.files[at].order {
                self.job.args = args.as_ref().clone();
            }
            let fate = Box::pin(self.job.convert(&file)).await;
            let args = std::mem::replace(&mut self.job.args, asked);
            match fate {
                Fate::Held(by) => held.push((at, by)),
                Fate::Interrupted => return self.interrupted(),
                fate => {
                    let line = line(&file, fate);
                    if !args.dry_run
                        && let Some(event) = happened(&line, &preset_of(&args, &file))
                    {
                        hooks::tell(&self.hooks, &event, self.job.common).await;
                    }
                    self.tell(at, line);
                }
            }
        }
        Ok(held)
    }

    fn interrupted<T>(&self) -> Result<T, Ending> {
        let done = self.files.iter().filter(|item| item.line.is_some()).count();
        let message = format!("interrupted; {done} of {} files are done", self.files.len());
        let class = FailureClass::Cancelled;
        Err(Failure::new(class, message).advise("run the same command again to go on").into())
    }

    pub(super) fn tell(&mut self, at: usize, line: Line) {
        let done = self.files.iter().filter(|item| item.line.is_some()).count() + 1;
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
        queued::end(self, at, &line);
        self.files[at].line = Some(line);
    }

    pub(super) fn summary(&self) -> Exit {
        let lines = || self.files.iter().filter_map(|item| item.line.as_ref());
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
        let refused = lines().any(|line| line.class == Some(FailureClass::Input));
        match (failed, self.files.len() - failed) {
            (0, _) => Exit::Done,
            (_, 0) if self.job.args.file.is_some() && refused => Exit::Input,
            (_, 0) => Exit::Failed,
            _ => Exit::Partly,
        }
    }
}
