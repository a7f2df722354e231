//! What people see of jobs and workers: tables and descriptions.

use crate::cli::out::{bytes, seconds};
use crate::clock;
use crate::coordinator::{ChunkView, JobView, WorkerView};
use reelmill_core::error::Failure;
use reelmill_core::job::{Job, JobState, Phase, Source};
use reelmill_core::task::TaskState;
use reelmill_core::time::Timestamp;
use reelmill_store::HistoryEntry;
use reelmill_store::WorkerState;

/// Characters of an id that lists show: what tells jobs of different
/// milliseconds apart.
const SHORT_ID: usize = 13;

/// A list of jobs, one a line, with a heading.
pub(super) fn jobs(jobs: &[Job]) -> Vec<String> {
    let heading = ["ID", "STATE", "PRIORITY", "AGE", "NAME"].map(str::to_owned).to_vec();
    let now = clock::now();
    let row = |job: &Job| {
        vec![
            short(&job.id.to_string()),
            job.state.label().to_owned(),
            job.priority.to_string(),
            age(job.created, now),
            clean(&job.name),
        ]
    };
    table(&std::iter::once(heading).chain(jobs.iter().map(row)).collect::<Vec<_>>())
}

/// A list of workers, one a line, with a heading.
pub(super) fn workers(workers: &[WorkerView]) -> Vec<String> {
    let heading =
        ["NAME", "STATE", "BUSY", "SEEN", "VERSION", "ENCODERS"].map(str::to_owned).to_vec();
    let now = clock::now();
    let row = |worker: &WorkerView| {
        let record = &worker.record;
        let encoders = record.facts.encoders.iter().map(|proven| proven.encoder.to_string());
        let state = match record.state {
            WorkerState::Active => "active",
            WorkerState::Paused => "paused",
            WorkerState::Draining => "draining",
            WorkerState::Gone => "gone",
        };
        vec![
            clean(&record.name),
            state.to_owned(),
            format!("{}/{}", worker.busy, record.slots),
            format!("{} ago", age(record.seen, now)),
            clean(&record.version),
            encoders.collect::<Vec<_>>().join(" "),
        ]
    };
    table(&std::iter::once(heading).chain(workers.iter().map(row)).collect::<Vec<_>>())
}

/// All there is to say about a job.
pub(super) fn job(view: &JobView) -> Vec<String> {
    let job = &view.job;
    let mut lines = vec![
        format!("job       {}", job.id),
        format!("name      {}", clean(&job.name)),
        format!("state     {}", state(view)),
        format!("source    {}", source(&job.source)),
        format!("preset    {} to {}", clean(&job.request.preset_name), job.request.container),
    ];
    if !job.labels.is_empty() {
        let labels = job.labels.iter().map(|(key, value)| format!("{key}={value}"));
        lines.push(format!("labels    {}", clean(&labels.collect::<Vec<_>>().join(" "))));
    }
    if view.frames_total.is_some() || view.frames_done > 0 {
        lines.push(format!("progress  {}", progress(view)));
    }
    if let Some(output) = &job.output {
        let digest = output.sha512.get(..16).unwrap_or_default();
        lines.push(format!("output    {}, SHA-512 {digest}…", bytes(output.bytes)));
    }
    if let Some(reason) = &view.whole_reason {
        lines.push(format!("note      encoded in one piece: {}", clean(reason)));
    }
    lines.extend(view.notes.iter().map(|note| format!("note      {}", clean(note))));
    if view.chunks.len() > 1 {
        lines.extend(chunks(&view.chunks).into_iter().map(|line| format!("  {line}")));
    }
    lines.extend(job.failure.iter().flat_map(failure));
    lines
}

fn failure(failure: &Failure) -> Vec<String> {
    let mut lines =
        vec![format!("failure   {} ({})", clean(&failure.message), failure.class.label())];
    lines
        .extend(failure.tail.iter().rev().take(5).rev().map(|line| format!("  | {}", clean(line))));
    lines.extend(failure.command.iter().map(|command| format!("  command: {}", clean(command))));
    lines.extend(failure.advice.iter().map(|advice| format!("  what to do: {}", clean(advice))));
    lines
}

/// The state of a job and what it is at.
pub(super) fn state(view: &JobView) -> String {
    match view.phase {
        Some(phase) => format!("{}, {}", view.job.state.label(), phase_word(phase)),
        None if view.job.state == JobState::Queued => "queued".to_owned(),
        None => view.job.state.label().to_owned(),
    }
}

/// The word for a phase.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Analysing => "analysing",
        Phase::Encoding => "encoding",
        Phase::Finishing => "finishing",
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Upload { bytes: count, file_name, .. } => {
            format!("{}, {}", clean(file_name), bytes(*count))
        }
        Source::Local { path } => clean(path),
        Source::Url { url } => clean(crate::outside::shown(url).as_str()),
        Source::Library { root, path } => clean(&format!("{root}:{path}")),
    }
}

/// Frames, speed and the time left, in one line.
pub(super) fn progress(view: &JobView) -> String {
    let frames = match view.frames_total {
        Some(total) if total > 0 => {
            let percent = view.frames_done.saturating_mul(100) / total;
            format!("{}/{total} frames ({percent} %)", view.frames_done)
        }
        _ => format!("{} frames", view.frames_done),
    };
    let (done, all) = view.pieces();
    let mut words = vec![frames, format!("{done}/{all} chunks")];
    if view.fps > 0.0 {
        words.push(format!("{:.1} fps", view.fps));
    }
    words.extend(view.speed.map(|speed| format!("{speed:.2}x")));
    words.extend(view.eta_seconds.map(|left| format!("ETA {}", seconds(left))));
    words.join(", ")
}

/// The pieces of a job as a table; neighbours of which there is nothing special
/// to say share a line.
fn chunks(chunks: &[ChunkView]) -> Vec<String> {
    let mut rows =
        vec![["TASK", "KIND", "STATE", "WORKER", "FRAMES", ""].map(str::to_owned).to_vec()];
    let mut at = 0;
    while let Some(first) = chunks.get(at) {
        let alike = chunks[at..].iter().take_while(|chunk| alike(first, chunk)).count().max(1);
        let group = &chunks[at..at + alike];
        at += alike;
        let last = group.last().unwrap_or(first);
        let number = match alike {
            1 => first.task.to_string(),
            _ => format!("{}–{}", first.task, last.task),
        };
        let done: u64 = group.iter().map(|chunk| chunk.frames_done).sum();
        let total: Option<u64> = group.iter().map(|chunk| chunk.frames_total).sum();
        let frames = match total {
            Some(total) if total > 0 => format!("{done}/{total}"),
            _ if done > 0 => done.to_string(),
            _ => String::new(),
        };
        rows.push(vec![
            number,
            first.kind.label().to_owned(),
            task_word(first.state).to_owned(),
            clean(first.worker.as_deref().unwrap_or_default()),
            frames,
            trouble(first),
        ]);
    }
    table(&rows)
}

fn alike(one: &ChunkView, other: &ChunkView) -> bool {
    let plain = |chunk: &ChunkView| {
        chunk.worker.is_none()
            && chunk.failed_attempts == 0
            && chunk.lost_workers == 0
            && chunk.failure.is_none()
    };
    one.task == other.task
        || (plain(one) && plain(other) && (one.kind, one.state) == (other.kind, other.state))
}

fn trouble(chunk: &ChunkView) -> String {
    let mut words = Vec::new();
    if chunk.failed_attempts > 0 {
        words.push(format!("failed {} times", chunk.failed_attempts));
    }
    if chunk.lost_workers > 0 {
        words.push(format!("lost {} workers", chunk.lost_workers));
    }
    let mut text = words.join(", ");
    if let Some(failure) = &chunk.failure {
        text = if text.is_empty() { clean(failure) } else { format!("{text}: {}", clean(failure)) };
    }
    text
}

fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Ready => "ready",
        TaskState::Leased => "running",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Quarantined => "quarantined",
        TaskState::Cancelled => "cancelled",
    }
}

/// Rows with their columns aligned. The last column is not padded.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn short(id: &str) -> String {
    id.get(..SHORT_ID).unwrap_or(id).to_owned()
}

/// How long ago `then` was, roughly.
fn age(then: Timestamp, now: Timestamp) -> String {
    let whole = now.since(then).max(0) / 1_000_000;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min", whole / 60),
        3600..172_800 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    }
}

/// Text from elsewhere without characters that steer a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An entry of a job's history as a line.
pub(super) fn entry(entry: &HistoryEntry) -> String {
    let at = jiff::Timestamp::from_microsecond(entry.at.0).unwrap_or_default();
    let task = entry.task.map_or(String::new(), |task| format!(" task {}", task.number));
    let mut facts = entry.event.as_object().cloned().unwrap_or_default();
    let what = facts.remove("event").and_then(|v| v.as_str().map(str::to_owned));
    let facts = match facts.is_empty() {
        true => String::new(),
        false => format!(" {}", clean(&serde_json::Value::Object(facts).to_string())),
    };
    format!("{at:.3}{task} {}{facts}", what.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::task::TaskKind;

    fn chunk(task: u32, state: TaskState) -> ChunkView {
        ChunkView {
            task,
            kind: TaskKind::EncodeChunk,
            state,
            worker: None,
            frames_done: if state == TaskState::Done { 250 } else { 0 },
            frames_total: Some(250),
            attempts: 1,
            failed_attempts: 0,
            lost_workers: 0,
            failure: None,
            rival: None,
            outlook: None,
        }
    }

    #[test]
    fn neighbours_without_news_share_a_line() {
        let mut list: Vec<ChunkView> = (1..=3).map(|n| chunk(n, TaskState::Done)).collect();
        list.push(ChunkView { worker: Some("a\u{1b}[1m".into()), ..chunk(4, TaskState::Leased) });
        list.push(ChunkView { worker: Some("b".into()), ..chunk(5, TaskState::Leased) });
        let failed = ChunkView {
            failed_attempts: 2,
            failure: Some("no".into()),
            ..chunk(6, TaskState::Ready)
        };
        list.push(failed);
        list.extend((7..=9).map(|n| chunk(n, TaskState::Ready)));
        insta::assert_snapshot!(chunks(&list).join("\n"));
    }

    #[test]
    fn ages_are_rough() {
        let ago = |seconds: i64| age(Timestamp(0), Timestamp(seconds * 1_000_000));
        assert_eq!([ago(5), ago(61), ago(7200), ago(200_000)], ["5 s", "1 min", "2 h", "2 days"]);
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
    }
}
