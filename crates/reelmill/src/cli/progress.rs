//! Showing a conversion's progress: a bar for people, events for programs,
//! nothing for files.

use super::out;
use crate::coordinator::JobView;
use indicatif::{ProgressBar, ProgressStyle};
use reelmill_core::job::Phase;
use reelmill_core::task::TaskState;
use std::time::Duration;

/// Shows one job.
pub(crate) struct Display {
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    told: Option<(usize, Phase, u64, Option<u32>)>,
    /// Generation of the plan that was told.
    planned: Option<u32>,
    /// What was said of the plans before it.
    said: Vec<String>,
}

impl Display {
    /// A display: JSON events when `json`, nothing when `quiet` or when nobody
    /// watches.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let bar = (!json && !quiet && out::stderr_is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            bar.set_style(style());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { json, quiet, bar, told: None, planned: None, said: Vec::new() }
    }

    /// Shows where the job stands.
    pub(crate) fn show(&mut self, view: &JobView) {
        self.tell_plan(view);
        if self.json {
            self.event(view);
        }
        let Some(bar) = &self.bar else { return };
        let (done, all) = view.pieces();
        bar.set_length(view.frames_total.unwrap_or(0));
        bar.set_position(view.frames_done);
        bar.set_prefix(phase_word(view.phase));
        let speed = view.speed.map_or(String::new(), |speed| format!(" {speed:.2}x"));
        let eta = view.eta_seconds.map_or(String::new(), |s| format!(" ETA {}", out::seconds(s)));
        let again = pass(view).filter(|pass| *pass > 1);
        let again = again.map_or(String::new(), |pass| format!("pass {pass} "));
        bar.set_message(format!("{again}chunks {done}/{all} {:.1} fps{speed}{eta}", view.fps));
    }

    /// What each plan has to say, once.
    fn tell_plan(&mut self, view: &JobView) {
        let generation = view.job.generation;
        if self.planned == Some(generation) || view.chunks.len() < 2 {
            return;
        }
        self.planned = Some(generation);
        let (kept, all) = view.pieces();
        if self.json {
            out::json(&serde_json::json!({
                "event": "planned", "chunks": all, "chunks_done": kept,
                "frames_total": view.frames_total, "whole_reason": view.whole_reason,
                "notes": view.notes, "pass": pass(view),
            }));
            return;
        }
        if self.quiet {
            return;
        }
        let mut lines = view.notes.clone();
        if let Some(reason) = &view.whole_reason {
            lines.push(format!("encoded in one piece: {reason}"));
        }
        lines.retain(|line| !self.said.contains(line));
        self.said.extend(lines.iter().cloned());
        lines.extend(of_pass(pass(view).unwrap_or(1), kept, all));
        for line in lines {
            match &self.bar {
                Some(bar) => bar.println(out::noted(&line)),
                None => out::note(&out::noted(&line)),
            }
        }
    }

    fn event(&mut self, view: &JobView) {
        let (done, all) = view.pieces();
        let Some(phase) = view.phase else { return };
        let now = (done, phase, view.frames_done, pass(view));
        if self.told == Some(now) {
            return;
        }
        self.told = Some(now);
        let busy = view.chunks.iter().filter(|chunk| chunk.state == TaskState::Leased).count();
        out::json(&serde_json::json!({
            "event": "progress", "phase": phase, "frames_done": view.frames_done,
            "frames_total": view.frames_total, "fps": view.fps, "speed": view.speed,
            "eta_seconds": view.eta_seconds, "chunks_done": done, "chunks_total": all,
            "running": busy, "pass": pass(view),
        }));
    }

    /// Clears the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// What a plan begins with, by the pass over the film that it is for.
fn of_pass(pass: u32, kept: usize, all: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if pass > 1 {
        lines.push(format!("pass {pass}, for the size that is asked for"));
    }
    if kept > 0 {
        let from = if pass > 1 { "an earlier pass or run" } else { "an earlier run" };
        lines.push(format!("{kept} of {all} chunks are there from {from}"));
    }
    lines
}

/// Which pass over the film it is, where a size is aimed at.
fn pass(view: &JobView) -> Option<u32> {
    view.size.as_ref().map(|size| size.pass)
}

fn phase_word(phase: Option<Phase>) -> &'static str {
    match phase {
        None => "waiting",
        Some(Phase::Analysing) => "analysing",
        Some(Phase::Encoding) => "encoding",
        Some(Phase::Finishing) => "finishing",
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:>9} {bar:30.cyan/dim} {percent:>3}% {msg}";
    ProgressStyle::with_template(template)
        .map(|style| style.progress_chars("━╸─"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_told_and_what_is_kept() {
        assert_eq!(of_pass(1, 0, 4), Vec::<String>::new());
        assert_eq!(of_pass(1, 2, 4), ["2 of 4 chunks are there from an earlier run"]);
        let second = of_pass(2, 3, 4);
        assert_eq!(second[0], "pass 2, for the size that is asked for");
        assert_eq!(second[1], "3 of 4 chunks are there from an earlier pass or run");
    }
}
