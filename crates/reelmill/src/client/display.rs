//! Showing progress as it happens: bars for people at a terminal, now and then
//! a line for those who are not, events for programs.

use super::Common;
use super::render::{clean, phase_word, progress, state};
use crate::cli::out;
use crate::coordinator::{ChunkView, JobView};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reelmill_core::id::JobId;
use reelmill_core::task::TaskState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most chunks that get a line of their own at a terminal.
const MAX_LINES: usize = 12;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bars,
    Lines,
    Json,
    Quiet,
}

impl Way {
    fn of(common: &Common) -> Self {
        if common.json {
            Self::Json
        } else if common.quiet {
            Self::Quiet
        } else if out::stderr_is_terminal() {
            Self::Bars
        } else {
            Self::Lines
        }
    }
}

/// Shows how far a transfer is.
pub(super) struct Transfer {
    way: Way,
    event: &'static str,
    bar: Option<ProgressBar>,
    /// The last percentage that was told, plus one.
    told: AtomicU64,
}

impl Transfer {
    /// A display for a transfer that `word` names; its events are called `event`.
    pub(super) fn new(common: &Common, word: &'static str, event: &'static str) -> Self {
        let way = Way::of(common);
        let bar = (way == Way::Bars).then(|| {
            let bar = ProgressBar::new(0);
            let template =
                "{prefix:>11} {bar:30.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
            bar.set_style(style(template));
            bar.set_prefix(word);
            bar
        });
        Self { way, event, bar, told: AtomicU64::new(0) }
    }

    /// So many bytes of so many are there.
    pub(super) fn show(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
        let percent = done.saturating_mul(100) / total.max(1);
        if self.way != Way::Json || self.told.swap(percent + 1, Ordering::Relaxed) == percent + 1 {
            return;
        }
        out::json(&serde_json::json!({
            "event": self.event, "bytes_done": done, "bytes_total": total,
        }));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how a job fares.
pub(super) struct Display {
    way: Way,
    bars: Option<Bars>,
    told: Option<(String, u64)>,
    event: Option<serde_json::Value>,
    planned: bool,
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    chunks: BTreeMap<u32, ProgressBar>,
}

impl Display {
    /// A display as the user wants it.
    pub(super) fn new(common: &Common) -> Self {
        let way = Way::of(common);
        let bars = (way == Way::Bars).then(|| {
            let all = MultiProgress::new();
            let overall = all.add(ProgressBar::new(0));
            overall.set_style(style("{prefix:>11} {bar:30.cyan/dim} {percent:>3}% {msg}"));
            overall.enable_steady_tick(Duration::from_millis(200));
            Bars { all, overall, chunks: BTreeMap::new() }
        });
        Self { way, bars, told: None, event: None, planned: false }
    }

    /// Shows where the job stands.
    pub(super) fn show(&mut self, view: &JobView) {
        self.tell_plan(view);
        match self.way {
            Way::Json => self.tell_event(view),
            Way::Lines => self.tell_line(view),
            Way::Bars => {
                if let Some(bars) = &mut self.bars {
                    bars.show(view);
                }
            }
            Way::Quiet => {}
        }
    }

    /// Tells that the server is away and that we go on waiting.
    pub(super) fn away(&self, why: &str) {
        match &self.bars {
            Some(bars) => {
                bars.overall.set_message(format!("waiting for the server: {}", clean(why)))
            }
            None if self.way == Way::Lines => out::note(&format!("waiting for the server: {why}")),
            None => {}
        }
    }

    fn tell_plan(&mut self, view: &JobView) {
        if self.planned || view.chunks.len() < 2 {
            return;
        }
        self.planned = true;
        let mut notes: Vec<String> = view.notes.iter().map(|note| clean(note)).collect();
        notes.extend(
            view.whole_reason.iter().map(|why| format!("encoded in one piece: {}", clean(why))),
        );
        match self.way {
            Way::Json => out::json(&serde_json::json!({
                "event": "planned", "job": view.job.id, "chunks": view.pieces().1,
                "frames_total": view.frames_total, "whole_reason": view.whole_reason,
                "notes": view.notes,
            })),
            Way::Quiet => {}
            Way::Lines | Way::Bars => {
                for note in notes {
                    match &self.bars {
                        Some(bars) => {
                            let _ = bars.all.println(out::noted(&note));
                        }
                        None => out::note(&out::noted(&note)),
                    }
                }
            }
        }
    }

    fn tell_event(&mut self, view: &JobView) {
        let (done, all) = view.pieces();
        let running = view.chunks.iter().filter(|chunk| chunk.state == TaskState::Leased).count();
        let event = serde_json::json!({
            "event": "progress", "job": view.job.id, "state": view.job.state, "phase": view.phase,
            "frames_done": view.frames_done, "frames_total": view.frames_total, "fps": view.fps,
            "speed": view.speed, "eta_seconds": view.eta_seconds, "chunks_done": done,
            "chunks_total": all, "running": running,
        });
        if self.event.as_ref() != Some(&event) {
            out::json(&event);
            self.event = Some(event);
        }
    }

    /// A line whenever the state changes and at every tenth of the way.
    fn tell_line(&mut self, view: &JobView) {
        let tenth = view.frames_total.map_or(0, |total| view.frames_done * 10 / total.max(1));
        let now = (state(view), tenth);
        if self.told.as_ref() != Some(&now) {
            out::note(&format!("{}: {}", now.0, progress(view)));
            self.told = Some(now);
        }
    }

    /// Clears the bars away.
    pub(super) fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            for bar in bars.chunks.values() {
                bar.finish_and_clear();
            }
            bars.overall.finish_and_clear();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}

impl Bars {
    fn show(&mut self, view: &JobView) {
        let word = view.phase.map_or_else(|| view.job.state.label(), phase_word);
        self.overall.set_prefix(word);
        self.overall.set_length(view.frames_total.unwrap_or(0));
        self.overall.set_position(view.frames_done);
        self.overall.set_message(progress(view));
        let busy = view.chunks.iter().filter(|chunk| chunk.worker.is_some());
        let busy: BTreeMap<u32, &ChunkView> =
            busy.take(MAX_LINES).map(|chunk| (chunk.task, chunk)).collect();
        self.chunks.retain(|task, bar| {
            let stays = busy.contains_key(task);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for (task, chunk) in busy {
            let all = &self.all;
            let bar = self.chunks.entry(task).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(0));
                bar.set_style(style("{prefix:>11} {bar:30.dim} {pos}/{len} {msg}"));
                bar
            });
            bar.set_prefix(format!("{} {task}", chunk.kind.label()));
            bar.set_length(chunk.frames_total.unwrap_or(0));
            bar.set_position(chunk.frames_done);
            bar.set_message(clean(chunk.worker.as_deref().unwrap_or_default()));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .map(|style| style.progress_chars("━╸─"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Says that a job was accepted.
pub(super) fn submitted(common: &Common, id: JobId, name: &str) {
    if common.json {
        out::json(&serde_json::json!({"event": "submitted", "job": id, "name": name}));
    } else {
        out::line(&id.to_string());
    }
}
