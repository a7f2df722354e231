//! A coordinator for tests, with a server before it where wanted.

use crate::api::{ApiState, Auth, router, serve};
use crate::clock;
use crate::coordinator::{Coordinator, NewUpload, Service, Settings, Submission, USUAL_PRIORITY};
use crate::task_source::{Ask, Assignment, Done, Hello, Order, Report, Standing, TaskSource};
use bytes::Bytes;
use reelmill_core::check::{Check, Verdict};
use reelmill_core::chunk::{ByteRange, Chunk};
use reelmill_core::container::Container;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::id::{BlobId, SessionId, WorkerId};
use reelmill_core::job::{Job, Source};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::load::Speeds;
use reelmill_core::media::{MediaInfo, Stream, StreamKind, VideoInfo};
use reelmill_core::packets::Uncuttable;
use reelmill_core::plan::{Cut, Plan, PlanLimits, SourceFacts, plan};
use reelmill_core::preset::Presets;
use reelmill_core::pts::PtsList;
use reelmill_core::retry::RetryPolicy;
use reelmill_core::schedule::{ProvenEncoder, WorkerFacts};
use reelmill_core::task::{BlobRef, Encoded, Finished, TaskResult};
use reelmill_core::time::TimeBase;
use reelmill_store::{LocalBlobs, MemoryStore, SqliteStore, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A coordinator over temporary storage.
pub(crate) struct Farm {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) folder: tempfile::TempDir,
}

/// The settings of a farm for tests.
pub(crate) fn settings() -> Settings {
    Settings {
        terms: LeaseTerms::default(),
        retry: RetryPolicy::default(),
        presets: Presets::built_in().unwrap(),
        encoder_threads: 1,
        max_upload: 1 << 30,
        min_free: 0,
        retention: i64::MAX,
        service: Service::default(),
    }
}

impl Farm {
    /// Rows in memory.
    pub(crate) async fn memory() -> Self {
        Self::over(Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap()).await
    }

    /// Rows in SQLite.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("rows.db")).await.unwrap();
        Self::over(Arc::new(store), folder).await
    }

    async fn over(store: Arc<dyn Store>, folder: tempfile::TempDir) -> Self {
        let blobs = LocalBlobs::open(&folder.path().join("blobs")).await.unwrap();
        let coordinator = Coordinator::new(store.clone(), Arc::new(blobs), settings());
        Self { coordinator, store, folder }
    }

    /// A finished upload of `bytes`.
    pub(crate) async fn upload(&self, bytes: &[u8]) -> BlobRef {
        let new = NewUpload { length: bytes.len() as u64, ..NewUpload::default() };
        let id = self.coordinator.upload_begin(new).await.unwrap();
        let mut turn = self.coordinator.upload_turn(id, 0).await.unwrap();
        turn.append(bytes.to_vec().into()).await.unwrap();
        turn.sync().await.unwrap();
        self.coordinator.upload_finish(id, None).await.unwrap()
    }

    /// A job for a new upload of `bytes`.
    pub(crate) async fn submit(&self, bytes: &[u8], owner: Option<&str>) -> Job {
        self.submit_as("h264", bytes, owner).await
    }

    /// A job by `preset` for a new upload of `bytes`.
    pub(crate) async fn submit_as(&self, preset: &str, bytes: &[u8], owner: Option<&str>) -> Job {
        let blob = self.upload(bytes).await;
        let submission = Submission {
            name: "Amélie.avi".to_owned(),
            owner: owner.map(str::to_owned),
            source: Source::Upload {
                blob: blob.id,
                bytes: blob.bytes,
                sha512: blob.sha512,
                file_name: "Amélie.avi".to_owned(),
            },
            preset: preset.to_owned(),
            overrides: vec![],
            container: None,
            chunk_seconds: None,
            max_retries: None,
            priority: USUAL_PRIORITY,
            labels: BTreeMap::new(),
            idempotency_key: None,
            stage_path: None,
            item: None,
            dispatch: None,
        };
        self.coordinator.submit(submission).await.unwrap()
    }

    /// Stores `bytes` as a blob.
    pub(crate) async fn blob(&self, bytes: &[u8]) -> BlobRef {
        let mut writer = self.coordinator.blobs().create(BlobId(clock::fresh())).await.unwrap();
        writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        writer.commit().await.unwrap()
    }

    /// A job that is completed; its output is `output`.
    pub(crate) async fn completed(&self, output: &[u8], owner: Option<&str>) -> Job {
        let job = self.submit(b"source", owner).await;
        self.work_off(output).await;
        let job = self.coordinator.job(job.id).await.unwrap().unwrap();
        assert!(job.output.is_some(), "{:?}", job.failure);
        job
    }

    /// Does all there is to do; every output is `output`.
    pub(crate) async fn work_off(&self, output: &[u8]) {
        let player = Player::new();
        let source: &dyn TaskSource = self.coordinator.as_ref();
        source.join(&player.hello()).await.unwrap();
        loop {
            let granted = source.claim(&player.ask(), Duration::ZERO).await.unwrap();
            let Some(assignment) = granted else { break };
            let report = self.do_work(&assignment, output).await;
            assert_eq!(source.report(&player.done(&assignment, report)).await, Ok(Standing::Held));
        }
        source.leave(player.id, player.session).await.unwrap();
    }

    /// What a worker would report for `assignment`; the output is `output`.
    pub(crate) async fn do_work(&self, assignment: &Assignment, output: &[u8]) -> Report {
        match &assignment.order {
            Order::Analyse { .. } => analysed(0),
            Order::Encode { .. } => encoded(self.blob(b"chunk").await),
            Order::Finish(_) => finished(self.blob(output).await),
        }
    }
}

/// A worker of a test.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    pub(crate) id: WorkerId,
    pub(crate) session: SessionId,
}

impl Player {
    /// A new worker.
    pub(crate) fn new() -> Self {
        Self { id: WorkerId(clock::fresh()), session: SessionId(clock::fresh()) }
    }

    /// The same worker, started anew.
    pub(crate) fn restarted(&self) -> Self {
        Self { session: SessionId(clock::fresh()), ..self.clone() }
    }

    fn facts(&self) -> WorkerFacts {
        let fingerprint = "x264-164".to_owned();
        let encoders = vec![ProvenEncoder { encoder: VideoEncoder::X264, fingerprint }];
        WorkerFacts { id: self.id, encoders, house: true, encodes: true, streams: true }
    }

    pub(crate) fn hello(&self) -> Hello {
        let (name, version) = ("player".to_owned(), "0".to_owned());
        Hello {
            facts: self.facts(),
            name,
            session: self.session,
            slots: 2,
            version,
            benchmarks: Speeds::new(),
        }
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask { facts: self.facts(), session: self.session, request: None, load: None }
    }

    pub(crate) fn done(&self, assignment: &Assignment, report: Report) -> Done {
        Done { task: assignment.task, proof: assignment.proof, worker: self.id, report }
    }
}

/// What a probe would find.
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

fn a_plan(chunks: u32) -> Plan {
    let media = media();
    let facts = SourceFacts { media: &media, index: Err(Uncuttable::Empty), skeleton: vec![] };
    let limits =
        PlanLimits { slots: 2, queued: 0, threads: 1, chunk_seconds: None, hardware: None };
    let preset = Presets::built_in().unwrap().get("h264", &[]).unwrap();
    let mut plan = plan(facts, &preset, Container::Mkv, limits).unwrap();
    let chunk = |number: u32| {
        let start = i64::from(number) * 100;
        Chunk {
            number,
            start,
            starts_at: None,
            warm_up: None,
            end: (number + 1 < chunks).then_some(start + 100),
            prerolls: vec![start],
            pts: PtsList::new((start..start + 100).collect()).unwrap(),
            bytes: Some(ByteRange { start: start as u64, end: start as u64 + 100 }),
            weight: 1,
        }
    };
    if chunks > 0 {
        plan.video.cut = Cut::Chunks { chunks: (0..chunks).map(chunk).collect() };
    }
    plan
}

/// A plan of `chunks` chunks; in one piece for 0.
pub(crate) fn analysed(chunks: u32) -> Report {
    Report::Analysed { media: media(), plan: Box::new(a_plan(chunks)) }
}

/// A finished piece.
pub(crate) fn encoded(blob: BlobRef) -> Report {
    let encoded = Encoded {
        blob,
        frames: 100,
        // Needs all its digits to come through as it is.
        seconds: 0.1 + 0.7 * 3.3,
        extradata: "e1".into(),
        fingerprint: "x264-164".into(),
        score: None,
        pts: None,
        coded: None,
    };
    Report::Done { result: TaskResult::Encoded(encoded) }
}

/// A finished output.
pub(crate) fn finished(blob: BlobRef) -> Report {
    let verdict = Verdict { checks: vec![Check::new("frames", true, "all")] };
    let (bytes, sha512) = (blob.bytes, blob.sha512.clone());
    let finished = Finished { blob: Some(blob), bytes, sha512, verdict };
    Report::Done { result: TaskResult::Finished(finished) }
}

/// A server before a farm.
pub(crate) struct Served {
    /// Its address, `http://127.0.0.1:port`.
    pub(crate) url: String,
    /// Stops it.
    pub(crate) stop: CancellationToken,
    /// Ends when it has ended.
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Serves `farm` on a free port.
    pub(crate) async fn start(farm: &Farm, auth: Auth) -> Self {
        Self::at(farm, auth, "127.0.0.1:0").await
    }

    /// Serves `farm` at `address`.
    pub(crate) async fn at(farm: &Farm, auth: Auth, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(ApiState { coordinator: farm.coordinator.clone(), auth });
        let stop = CancellationToken::new();
        let serving = serve(listener, router, None, stop.clone());
        let ended = tokio::spawn(async move { serving.await.unwrap() });
        Self { url, stop, ended }
    }

    /// Its address and port, without the scheme.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The URL of `path`.
    pub(crate) fn at_path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// An HTTP client that uses no proxy.
pub(crate) fn http() -> reqwest::Client {
    crate::tls::provide();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it never came true");
}

/// `length` bytes that repeat nowhere near.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// SHA-512, hexadecimal.
pub(crate) fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha512::digest(bytes))
}
