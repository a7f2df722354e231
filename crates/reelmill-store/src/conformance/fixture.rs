//! Jobs, leases and reports for tests.

use crate::{Applied, ApplyError, NewJob, Store, Submitted};
use reelmill_core::check::{Check, Verdict};
use reelmill_core::container::Container;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::id::{BlobId, JobId, LeaseId, SessionId, TaskId, WorkerId};
use reelmill_core::job::{Job, JobState, Request, Source};
use reelmill_core::lease::{Lease, LeaseProof, LeaseTerms};
use reelmill_core::media::{MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::packets::Uncuttable;
use reelmill_core::plan::{Plan, PlanLimits, SourceFacts, plan};
use reelmill_core::preset::{Preset, Presets};
use reelmill_core::retry::RetryPolicy;
use reelmill_core::task::{
    BlobRef, Encoded, Finished, Rules, Task, TaskEvent, TaskKind, TaskResult, TaskState,
};
use reelmill_core::time::{TimeBase, Timestamp};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(crate) const RULES: Rules = Rules {
    terms: LeaseTerms { length: 45_000_000, stall: 300_000_000, deadline: 86_400_000_000 },
    retry: RetryPolicy { max_retries: 3, max_losses: 3, base: 5_000_000, cap: 600_000_000 },
    chance: 1.0,
};

/// Second `second` of the test.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn job_id(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

pub(crate) fn worker(number: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(number))
}

pub(crate) fn blob(number: u128) -> BlobRef {
    BlobRef { id: BlobId(Uuid::from_u128(number)), bytes: 1000, sha512: format!("{number:0128x}") }
}

fn preset() -> Preset {
    Presets::built_in().unwrap().get("h264", &[]).unwrap()
}

pub(crate) fn request() -> Request {
    Request {
        preset_name: "h264".into(),
        preset: preset(),
        container: Container::Mkv,
        chunk_seconds: Some(0.1 + 0.2),
        retry: RULES.retry,
        stage_path: None,
        uncuttable: None,
        hardware_failed: None,
    }
}

/// Job `number`, accepted at second `number`.
pub(crate) fn job(number: u128) -> Job {
    let created = at(number as i64);
    Job {
        id: job_id(number),
        name: format!("film {number}"),
        owner: None,
        created,
        updated: created,
        ended: None,
        priority: 50,
        labels: BTreeMap::new(),
        source: Source::Local { path: "film.mkv".into() },
        request: request(),
        state: JobState::Queued,
        generation: 0,
        stage: 0,
        media: None,
        encoder_pin: None,
        losses: 0,
        output: None,
        failure: None,
        item: None,
        dispatch: None,
    }
}

pub(crate) fn task_id(job: u128, number: u32) -> TaskId {
    TaskId { job: job_id(job), generation: 0, number }
}

/// A submission of `job` with an analysis to do.
pub(crate) fn new_job(job: Job) -> NewJob {
    let id = TaskId { job: job.id, generation: 0, number: 0 };
    let tasks = vec![Task::new(id, TaskKind::Analyse, 0, job.created)];
    NewJob { job, idempotency_key: None, tasks }
}

pub(crate) async fn submit(store: &dyn Store, number: u128) {
    let submitted = store.job_submit(new_job(job(number))).await.unwrap();
    assert_eq!(submitted, Submitted::New);
}

pub(crate) fn lease(number: u128, by: u128, now: Timestamp) -> Lease {
    let session = SessionId(Uuid::from_u128(by + 1000));
    Lease::grant(LeaseId(Uuid::from_u128(number)), worker(by), session, RULES.terms, now)
}

pub(crate) async fn apply(
    store: &dyn Store,
    id: TaskId,
    event: TaskEvent,
    now: Timestamp,
) -> Result<Applied, ApplyError> {
    store.task_apply(id, event, RULES, now).await
}

/// Claims `id` for worker `by`.
pub(crate) async fn claim(store: &dyn Store, id: TaskId, by: u128, now: Timestamp) -> LeaseProof {
    let before = store.task_get(id).await.unwrap().unwrap();
    let number = by * 1000 + u128::from(before.epoch);
    let applied = apply(store, id, TaskEvent::Claim(lease(number, by, now)), now).await.unwrap();
    assert_eq!(applied.task.epoch, before.epoch + 1);
    LeaseProof { lease: LeaseId(Uuid::from_u128(number)), epoch: applied.task.epoch }
}

pub(crate) async fn complete(
    store: &dyn Store,
    id: TaskId,
    proof: LeaseProof,
    now: Timestamp,
) -> Applied {
    let kind = store.task_get(id).await.unwrap().unwrap().kind;
    apply(store, id, TaskEvent::Complete(proof, result(kind)), now).await.unwrap()
}

/// Claims and completes `id`.
pub(crate) async fn work(store: &dyn Store, id: TaskId, by: u128, now: Timestamp) -> Applied {
    let proof = claim(store, id, by, now).await;
    complete(store, id, proof, now).await
}

pub(crate) async fn fail(
    store: &dyn Store,
    id: TaskId,
    proof: LeaseProof,
    failure: Failure,
    now: Timestamp,
) -> Applied {
    apply(store, id, TaskEvent::Fail(proof, failure), now).await.unwrap()
}

/// What a task of `kind` yields.
pub(crate) fn result(kind: TaskKind) -> TaskResult {
    match kind {
        TaskKind::Analyse => TaskResult::Analysed,
        TaskKind::Finish => TaskResult::Finished(finished()),
        _ => TaskResult::Encoded(Encoded {
            blob: blob(77),
            frames: 240,
            // Needs all its digits to come back as it was.
            seconds: 0.1 + 0.7 * 3.3,
            extradata: "e1".into(),
            fingerprint: "x264-164".into(),
            score: None,
            pts: None,
            coded: None,
        }),
    }
}

pub(crate) fn finished() -> Finished {
    let verdict = Verdict { checks: vec![Check::new("frames", true, "all")] };
    Finished { blob: Some(blob(99)), bytes: 1000, sha512: "ab".into(), verdict }
}

pub(crate) fn media() -> MediaInfo {
    let video = VideoInfo {
        width: 320,
        height: 180,
        pixel_format: "yuv420p".into(),
        frame_rate: Some((24000, 1001)),
        ..VideoInfo::default()
    };
    let stream = Stream {
        index: 0,
        codec: "h264".into(),
        profile: None,
        time_base: TimeBase::new(1, 90_000),
        start_ticks: Some(0),
        duration: Some(10.010_01),
        bit_rate: None,
        dispositions: vec![],
        tags: BTreeMap::new(),
        kind: StreamKind::Video(video),
    };
    MediaInfo {
        format: "matroska,webm".into(),
        size: 1000,
        duration: Some(10.010_01),
        start_micros: 0,
        streams: vec![stream],
        chapters: vec![],
        tags: BTreeMap::new(),
    }
}

pub(crate) fn a_plan() -> Plan {
    let media = media();
    let facts = SourceFacts { media: &media, index: Err(Uncuttable::Empty), skeleton: vec![] };
    let limits =
        PlanLimits { slots: 2, queued: 0, threads: 1, chunk_seconds: None, hardware: None };
    plan(facts, &preset(), Container::Mkv, limits).unwrap()
}

/// Tasks of a plan with `chunks` chunks (1…), the audio, and the finish; a
/// later chunk is heavier.
pub(crate) fn planned(job: u128, generation: u32, chunks: u32, now: Timestamp) -> Vec<Task> {
    let id = |number| TaskId { job: job_id(job), generation, number };
    let chunk = |number| Task {
        weight: u64::from(number) * 10,
        needs: Some(VideoEncoder::X264),
        ..Task::new(id(number), TaskKind::EncodeChunk, 1, now)
    };
    let mut tasks: Vec<Task> = (1..=chunks).map(chunk).collect();
    tasks.push(Task::new(id(chunks + 1), TaskKind::EncodeAudio, 1, now));
    tasks.push(Task::new(id(chunks + 2), TaskKind::Finish, 2, now));
    tasks
}

/// Analyses job `number` of generation 0 and plans `chunks` chunks.
pub(crate) async fn analyse(
    store: &dyn Store,
    number: u128,
    chunks: u32,
    now: Timestamp,
) -> Applied {
    let generation = store.job_get(job_id(number)).await.unwrap().unwrap().generation;
    let id = TaskId { job: job_id(number), generation, number: 0 };
    let proof = claim(store, id, 500, now).await;
    let tasks = planned(number, generation, chunks, now);
    store.plan_commit(id, proof, &media(), &a_plan(), tasks, RULES, now).await.unwrap()
}

pub(crate) async fn state(store: &dyn Store, id: TaskId) -> TaskState {
    store.task_get(id).await.unwrap().unwrap().state
}

pub(crate) async fn the_job(store: &dyn Store, number: u128) -> Job {
    store.job_get(job_id(number)).await.unwrap().unwrap()
}

/// The words of a job's history.
pub(crate) async fn events(store: &dyn Store, number: u128) -> Vec<String> {
    let entries = store.job_history(job_id(number), 0, 10_000).await.unwrap();
    let word = |entry: &crate::HistoryEntry| entry.event["event"].as_str().unwrap().to_owned();
    entries.iter().map(word).collect()
}
