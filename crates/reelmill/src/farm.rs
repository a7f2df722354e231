//! Putting the parts together: a coordinator over its folder, and workers in
//! the same process.

use crate::clock;
use crate::coordinator::{Coordinator, Service, Settings};
use crate::paths;
use crate::worker::{Benchmark, LocalDepot, Slot, Spots, Worker};
use reelmill_core::container::Container;
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_core::hardware::Hardware;
use reelmill_core::id::{SessionId, WorkerId};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::preset::{Preset, Presets};
use reelmill_core::retry::RetryPolicy;
use reelmill_core::schedule::ProvenEncoder;
use reelmill_media::capability::{EncoderTrial, prove_encoders};
use reelmill_media::tools::Tools;
use reelmill_store::{LocalBlobs, SqliteStore, Store};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Presets: those that come with reelmill, and the user's.
///
/// # Errors
/// When the user's file cannot be read or is not valid.
pub(crate) fn presets() -> Result<Presets, Failure> {
    let mut presets = Presets::built_in()?;
    let file = paths::config().join("presets.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => presets.add(&text, &file.display().to_string())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::io(format!("read {}", file.display()), &error)),
    }
    Ok(presets)
}

/// Processor cores that this process may use.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// What distinguishes the coordinator of `serve` from that of `convert`.
pub(crate) struct Terms {
    /// How long leases last.
    pub(crate) lease: LeaseTerms,
    /// When to try again.
    pub(crate) retry: RetryPolicy,
    /// Threads of one encoder.
    pub(crate) encoder_threads: u32,
    /// How long finished jobs are kept, microseconds.
    pub(crate) retention: i64,
    /// Largest upload taken, bytes.
    pub(crate) max_upload: u64,
    /// What users may make the server do beyond taking uploads.
    pub(crate) service: Service,
}

/// A coordinator whose rows and blobs lie under `folder`.
///
/// # Errors
/// When the folder cannot be used, or another process uses it.
pub(crate) async fn open(folder: &Path, terms: Terms) -> Result<Arc<Coordinator>, Failure> {
    let make = |path: &Path| {
        std::fs::create_dir_all(path)
            .map_err(|e| Failure::io(format!("create the folder {}", path.display()), &e))
    };
    make(folder)?;
    let store = SqliteStore::open(&folder.join("reelmill.db")).await?;
    let blob_root = folder.join("blobs");
    let blobs = LocalBlobs::open(&blob_root).await?;
    let settings = Settings {
        terms: terms.lease,
        retry: terms.retry,
        presets: presets()?,
        encoder_threads: terms.encoder_threads,
        max_upload: terms.max_upload,
        min_free: 256 << 20,
        retention: terms.retention,
        service: terms.service,
    };
    Ok(Coordinator::new(Arc::new(store), Arc::new(blobs), settings))
}

/// The id of worker `number` in a coordinator's own process: the same over
/// restarts, so that what it held is known to be free.
///
/// # Errors
/// When the store fails.
pub(crate) async fn own_worker(store: &dyn Store, number: u32) -> Result<WorkerId, Failure> {
    let key = format!("own-worker:{number}");
    if let Some(id) = store.meta_get(&key).await?.and_then(|text| text.parse().ok()) {
        return Ok(id);
    }
    let id = WorkerId(clock::fresh());
    store.meta_put(&key, Some(&id.to_string())).await?;
    Ok(id)
}

/// The encoder that an output of `preset` in `container` needs, and those in hardware
/// that may stand in for it, as far as they work on this machine.
pub(crate) async fn proven_for(
    tools: &Tools,
    (preset, container): (&Preset, Container),
    cancel: &CancellationToken,
) -> Vec<ProvenEncoder> {
    let Some(encoder) = preset.encoder_for(container) else { return Vec::new() };
    let hardware = preset.video.as_ref().map_or(Hardware::Off, |video| video.hardware);
    let mut encoders = vec![encoder];
    encoders.extend(hardware.encoders(encoder.codec()));
    working(prove_encoders(tools, &encoders, cancel).await)
}

/// The best encoder in hardware that works on this machine, of those that `preset`
/// allows.
pub(crate) async fn hardware_for(
    tools: &Tools,
    preset: &Preset,
    cancel: &CancellationToken,
) -> Option<VideoEncoder> {
    let video = preset.video.as_ref()?;
    let allowed = video.hardware.encoders(video.encoder.codec());
    let proven = working(prove_encoders(tools, &allowed, cancel).await);
    proven.first().map(|proven| proven.encoder)
}

/// All encoders that work on this machine.
pub(crate) async fn proven(tools: &Tools, cancel: &CancellationToken) -> Vec<ProvenEncoder> {
    let all = [VideoEncoder::SOFTWARE.as_slice(), VideoEncoder::HARDWARE.as_slice()].concat();
    working(prove_encoders(tools, &all, cancel).await)
}

/// Those that worked when tried; logs the others.
fn working(trials: Vec<EncoderTrial>) -> Vec<ProvenEncoder> {
    let proven = |trial: EncoderTrial| match trial.outcome {
        Ok(fingerprint) => Some(ProvenEncoder { encoder: trial.encoder, fingerprint }),
        // Most machines lack most kinds.
        Err(why) if trial.encoder.hardware().is_some() => {
            tracing::info!(encoder = %trial.encoder, why, "not encoded in hardware");
            None
        }
        Err(why) => {
            tracing::warn!(encoder = %trial.encoder, why, "encoder does not work here");
            None
        }
    };
    trials.into_iter().filter_map(proven).collect()
}

/// A worker in the coordinator's own process.
pub(crate) fn house_worker(
    coordinator: &Arc<Coordinator>,
    tools: &Tools,
    encoders: Vec<ProvenEncoder>,
    id: WorkerId,
    name: String,
    spots: Arc<Spots>,
    benchmark: Arc<Benchmark>,
) -> Arc<Worker> {
    Arc::new(Worker {
        source: coordinator.clone(),
        depot: Arc::new(LocalDepot::new(coordinator.blobs().clone())),
        tools: tools.clone(),
        id,
        session: SessionId(clock::fresh()),
        name,
        encoders,
        benchmark,
        spots,
        gauge: Arc::default(),
    })
}

/// `encode` encoding slots and one for house work.
pub(crate) fn slots(encode: u32) -> Vec<Slot> {
    let mut slots = vec![Slot::House];
    slots.extend((0..encode).map(|_| Slot::Encode));
    slots
}

/// This machine's name, for people.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Encoders that this machine's free memory can take, for pictures of `pixels`.
/// Gigabytes a megapixel by encoder run from 0.3 to 1.2 (Av1an's figures and
/// our own); the highest counts, so that no choice of preset runs out.
pub(crate) fn memory_slots(pixels: u64) -> u32 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let Some(free) = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()) else {
        return u32::MAX;
    };
    let each = 200_000 + pixels * 6 / 5;
    u32::try_from(free / each.max(1)).unwrap_or(u32::MAX).max(1)
}
