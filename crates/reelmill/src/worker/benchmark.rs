//! How fast a worker's encoders are, measured before it takes its first chunk.

use crate::clock;
use reelmill_core::load::Speeds;
use reelmill_core::schedule::ProvenEncoder;
use reelmill_core::time::Timestamp;
use reelmill_media::benchmark::benchmark;
use reelmill_media::tools::Tools;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// When to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// When it is not known, or was measured with other encoders or slots, or more than
    /// 30 days ago.
    Auto,
    /// At each start.
    Always,
    /// Never.
    Off,
}

/// Microseconds that a measurement counts: machines get other neighbours, and other
/// cooling.
const KEPT: i64 = 30 * 86_400_000_000;

/// The speeds of one machine's encoders, measured once for all workers that share them.
#[derive(Debug)]
pub(crate) struct Benchmark {
    slots: u32,
    file: Option<PathBuf>,
    speeds: OnceCell<Speeds>,
}

/// What is kept of a measurement.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    at: Timestamp,
    slots: u32,
    encoders: Vec<ProvenEncoder>,
    speeds: Speeds,
}

impl Benchmark {
    /// One that is never made.
    pub(crate) fn off() -> Self {
        Self { slots: 0, file: None, speeds: OnceCell::new_with(Some(Speeds::new())) }
    }

    /// One of `encoders` that run in `slots` places at once, kept in `file`.
    pub(crate) fn new(when: When, encoders: &[ProvenEncoder], slots: u32, file: PathBuf) -> Self {
        let known = match when {
            When::Off => Some(Speeds::new()),
            When::Always => None,
            When::Auto => kept(&file, encoders, slots),
        };
        Self { slots, file: Some(file), speeds: OnceCell::new_with(known) }
    }

    /// The speeds, where nothing has to be measured for them.
    pub(crate) fn known(&self) -> Option<Speeds> {
        self.speeds.get().cloned()
    }

    /// The speeds, measured now unless that was done already. Without a part of them
    /// where `cancel` ended it.
    pub(crate) async fn measure(
        &self,
        tools: &Tools,
        encoders: &[ProvenEncoder],
        cancel: &CancellationToken,
    ) -> Speeds {
        let measure = async || {
            let mut speeds = Speeds::new();
            for ProvenEncoder { encoder, .. } in encoders {
                if let Some(speed) = benchmark(tools, *encoder, self.slots, cancel).await {
                    tracing::info!(%encoder, megapixels_per_second = speed / 1000.0, "measured");
                    speeds.insert(*encoder, speed);
                }
            }
            if cancel.is_cancelled() {
                return Err(speeds);
            }
            self.keep(encoders, &speeds);
            Ok(speeds)
        };
        match self.speeds.get_or_try_init(measure).await {
            Ok(speeds) => speeds.clone(),
            Err(part) => part,
        }
    }

    fn keep(&self, encoders: &[ProvenEncoder], speeds: &Speeds) {
        let Some(file) = &self.file else { return };
        let (encoders, speeds) = (encoders.to_vec(), speeds.clone());
        let kept = Kept { at: clock::now(), slots: self.slots, encoders, speeds };
        let kept = serde_json::to_vec(&kept).map_err(std::io::Error::other);
        // Half a file reads as none, and then it is measured again.
        if let Err(error) = kept.and_then(|kept| std::fs::write(file, kept)) {
            tracing::warn!(%error, file = %file.display(), "the benchmark is not kept");
        }
    }
}

/// What was measured with these encoders and slots not long ago.
fn kept(file: &Path, encoders: &[ProvenEncoder], slots: u32) -> Option<Speeds> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let age = clock::now().since(kept.at);
    let same = kept.slots == slots && kept.encoders == encoders;
    (same && (0..KEPT).contains(&age)).then_some(kept.speeds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::encoder::VideoEncoder;
    use reelmill_media::sandbox::{Cage, Level, Wanted};
    use reelmill_media::tools::ToolPaths;

    fn proven(fingerprint: &str) -> Vec<ProvenEncoder> {
        let fingerprint = fingerprint.to_owned();
        vec![ProvenEncoder { encoder: VideoEncoder::Ffv1, fingerprint }]
    }

    async fn tools() -> Tools {
        let wanted = Wanted { highest: Level::Limits, lowest: Level::Limits, memory: None };
        let cage = Cage::choose(wanted).await.unwrap();
        Tools::find_in(cage, &ToolPaths::default()).await.unwrap()
    }

    #[tokio::test]
    async fn it_is_measured_once_for_the_same_encoders_and_slots() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("benchmark.json");
        let new = |when, build, slots| Benchmark::new(when, &proven(build), slots, file.clone());
        let first = new(When::Auto, "a", 2);
        assert_eq!(first.known(), None);
        let speeds = first.measure(&tools().await, &proven("a"), &CancellationToken::new()).await;
        assert!(speeds[&VideoEncoder::Ffv1] > 0.0);
        assert_eq!(first.known().as_ref(), Some(&speeds));
        assert_eq!(new(When::Auto, "a", 2).known(), Some(speeds));
        assert_eq!(new(When::Auto, "b", 2).known(), None, "another build");
        assert_eq!(new(When::Auto, "a", 3).known(), None, "other slots");
        assert_eq!(new(When::Always, "a", 2).known(), None);
        assert_eq!(new(When::Off, "a", 2).known(), Some(Speeds::new()));
        let text = std::fs::read_to_string(&file).unwrap();
        let old = format!("\"at\":{}", clock::now().0 - KEPT - 1);
        let now = text.split(',').find(|part| part.contains("\"at\"")).unwrap();
        std::fs::write(&file, text.replace(now.trim_start_matches('{'), &old)).unwrap();
        assert_eq!(new(When::Auto, "a", 2).known(), None, "too long ago");
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
        assert_eq!(new(When::Auto, "a", 2).known(), None, "half a file");
    }

    #[tokio::test]
    async fn what_is_stopped_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("benchmark.json");
        let one = Benchmark::new(When::Auto, &proven("a"), 1, file.clone());
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(one.measure(&tools().await, &proven("a"), &cancel).await, Speeds::new());
        assert!(!file.exists() && one.known().is_none());
    }
}
