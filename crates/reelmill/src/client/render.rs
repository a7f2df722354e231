//! What people see of jobs and workers: tables and descriptions.

use crate::api::wire::DryRun;
use crate::cli::out::{bytes, seconds};
use crate::clock;
use crate::coordinator::{ChunkView, JobView, SizeView, WorkerView};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::fleet::Waits;
use reelmill_core::job::{Job, Phase, Source};
use reelmill_core::rate::Aim;
use reelmill_core::task::TaskState;
use reelmill_core::time::Timestamp;
use reelmill_store::HistoryEntry;
use reelmill_store::{WorkerRecord, WorkerState};

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
    let heading = ["NAME", "STATE", "BUSY", "SPARE", "SEEN", "VERSION", "ENCODERS, MPIX/S"]
        .map(str::to_owned);
    let now = clock::now();
    let row = |worker: &WorkerView| {
        let record = &worker.record;
        let encoders = record.facts.encoders.iter().map(|proven| speed(record, proven.encoder));
        let state = match record.state {
            WorkerState::Active => "active",
            WorkerState::Paused => "paused",
            WorkerState::Draining => "draining",
            WorkerState::Gone => "gone",
        };
        vec![
            clean(&record.name),
            state.to_owned(),
            match record.limit {
                Some(limit) => format!("{}/{} (at most {limit})", worker.busy, record.slots),
                None => format!("{}/{}", worker.busy, record.slots),
            },
            worker.score.map(|score| format!("{:.0} %", score * 100.0)).unwrap_or_default(),
            format!("{} ago", age(record.seen, now)),
            clean(&record.version),
            encoders.collect::<Vec<_>>().join(", "),
        ]
    };
    table(&std::iter::once(heading.to_vec()).chain(workers.iter().map(row)).collect::<Vec<_>>())
}

/// An encoder with millions of pixels a second that a slot of the worker encodes: as it
/// has shown, or, with `~`, as it was in its benchmark.
fn speed(record: &WorkerRecord, encoder: VideoEncoder) -> String {
    let rounded = |speed: f64| match speed / 1000.0 {
        mega if mega < 10.0 => format!("{mega:.1}"),
        mega => format!("{mega:.0}"),
    };
    match (record.speeds.get(&encoder), record.benchmarks.get(&encoder)) {
        (Some(shown), _) => format!("{encoder} {}", rounded(*shown)),
        (None, Some(benchmark)) => format!("{encoder} ~{}", rounded(*benchmark)),
        (None, None) => encoder.to_string(),
    }
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
    lines.extend(view.size.as_ref().map(size));
    if let Some(reason) = &view.whole_reason {
        lines.push(format!("note      encoded in one piece: {}", clean(reason)));
    }
    lines.extend(view.notes.iter().map(|note| format!("note      {}", clean(note))));
    if let [only] = view.chunks.as_slice() {
        lines.extend(outlook(only).map(|text| format!("waits     {text}")));
    }
    if view.chunks.len() > 1 {
        lines.extend(chunks(&view.chunks).into_iter().map(|line| format!("  {line}")));
    }
    lines.extend(job.failure.iter().flat_map(failure));
    lines
}

/// How it stands with the size that is aimed at.
fn size(view: &SizeView) -> String {
    let aim = match view.aim {
        Aim::Bitrate { bits } => format!("{:.0} kb/s of picture aimed at", bits as f64 / 1000.0),
        Aim::MaxSize { bytes: most } => format!("at most {} allowed", bytes(most)),
    };
    let pass = view.pass;
    let (Some(bits), Some(low), Some(high)) = (view.reached_bits, view.crf_low, view.crf_high)
    else {
        return format!("size      {aim}; pass {pass}");
    };
    let crf = if low < high { format!("{low} to {high}") } else { low.to_string() };
    format!("size      {aim}; pass {pass}: {:.0} kb/s at crf {crf}", bits / 1000.0)
}

/// What a request that was only tried would come to.
pub(super) fn dry_run(name: &str, told: &DryRun) -> Vec<String> {
    let request = &told.request;
    let mut lines = vec![
        format!("name      {}", clean(name)),
        format!("preset    {} to {}", clean(&request.preset_name), request.container),
        "nothing was sent; it would be taken".to_owned(),
    ];
    let Some(estimate) = &told.estimate else {
        lines.push("estimate  none: the file's headers do not tell enough".to_owned());
        return lines;
    };
    let time = seconds(estimate.seconds.max(1.0).round());
    lines.push(format!("estimate  {time} of encoding, {} of output", bytes(estimate.bytes)));
    let (outlook, before) = (&estimate.outlook, estimate.jobs_before);
    let place = match (&estimate.worker, outlook.starts_in) {
        (Some(worker), Some(wait)) if wait >= 1.0 => {
            format!("{}; goes to {} in {}", outlook.why, clean(worker), seconds(wait))
        }
        (Some(worker), _) => format!("{}; goes to {}", outlook.why, clean(worker)),
        (None, _) => outlook.why.to_string(),
    };
    let jobs = if before == 1 { "job" } else { "jobs" };
    lines.push(format!("waits     {place}; {before} {jobs} before it"));
    if !estimate.workers.is_empty() {
        lines.push(format!("workers   {}", clean(&estimate.workers.join(", "))));
    }
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
    let label = view.job.state.label();
    let state = match view.phase {
        Some(phase) => format!("{label}, {}", phase_word(phase)),
        None => label.to_owned(),
    };
    match stuck(view) {
        Some(why) => format!("{state} ({why})"),
        None => state,
    }
}

/// Why nothing of a job runs though it could, when that will not pass by itself
/// soon.
fn stuck(view: &JobView) -> Option<&Waits> {
    let works = view.chunks.iter().any(|chunk| chunk.state == TaskState::Leased);
    let mut reasons = view.chunks.iter().filter_map(|chunk| Some(&chunk.outlook.as_ref()?.why));
    reasons.find(|why| !works && matches!(why, Waits::Nobody | Waits::Pause | Waits::QueuePaused))
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
            remark(first, alike > 1),
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

/// What is special about a piece, and why it waits; of `several` alike, the
/// first is meant.
fn remark(chunk: &ChunkView, several: bool) -> String {
    let trouble = trouble(chunk);
    let waits = chunk.outlook.as_ref().filter(|outlook| outlook.why != Waits::Stage);
    let waits = waits.and_then(|_| outlook(chunk));
    let waits = waits.map(|text| if several { format!("the first: {text}") } else { text });
    let words = [Some(trouble).filter(|text| !text.is_empty()), waits];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Why a piece waits, and who will take it when.
fn outlook(chunk: &ChunkView) -> Option<String> {
    let outlook = chunk.outlook.as_ref()?;
    let why = outlook.why.to_string();
    let Some(name) = &chunk.goes_to else { return Some(why) };
    let name = clean(name);
    Some(match outlook.starts_in {
        Some(wait) if wait >= 1.0 => format!("{why}; goes to {name} in {}", seconds(wait)),
        _ => format!("{why}; goes to {name}"),
    })
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
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
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

pub(super) fn short(id: &str) -> String {
    id.get(..SHORT_ID).unwrap_or(id).to_owned()
}

/// How long ago `then` was, roughly.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
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
    use reelmill_core::fleet::Outlook;
    use reelmill_core::task::TaskKind;

    fn chunk(task: u32, state: TaskState) -> ChunkView {
        ChunkView {
            score: None,
            coded: None,
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
            goes_to: None,
        }
    }

    fn waits(why: Waits, starts_in: Option<f64>) -> Outlook {
        Outlook { why, worker: None, starts_in, takes: None }
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
        let behind = Waits::Behind { tasks: 3 };
        list[6].outlook = Some(waits(behind, Some(41.5)));
        list[6].goes_to = Some("anna".into());
        list.push(ChunkView {
            outlook: Some(waits(Waits::Next, Some(0.0))),
            goes_to: Some("b\u{7}".into()),
            failed_attempts: 1,
            ..chunk(10, TaskState::Ready)
        });
        list.push(ChunkView {
            outlook: Some(waits(Waits::Stage, None)),
            kind: TaskKind::Finish,
            ..chunk(11, TaskState::Waiting)
        });
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
