//! What a machine has to spare, as one number, and how fast a worker has shown
//! to be.

use crate::encoder::VideoEncoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a worker's machine is at, as it reports it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Load {
    /// Processes that want to run, beyond this worker's own, for each core.
    pub cpu: f64,
    /// Share of the time that cores wait for disks, 0..=1.
    pub io_wait: f64,
    /// Share of the network link in use, 0..=1; 0 when its speed is not known.
    pub network: f64,
    /// Share of memory that is free for use, 0..=1.
    pub memory: f64,
}

impl Load {
    /// What the machine has to spare, 0 (nothing) to 1 (everything): the
    /// scarcest thing decides.
    #[must_use]
    pub fn score(self) -> f64 {
        let number = |value: f64| if value.is_finite() { value } else { 0.0 };
        // One foreign process a core halves what is left for us.
        let cpu = 1.0 / (1.0 + number(self.cpu).max(0.0));
        let disk = 1.0 - number(self.io_wait).clamp(0.0, 1.0);
        let network = 1.0 - 0.5 * number(self.network).clamp(0.0, 1.0);
        // Only the last tenth of memory is scarce.
        let memory = (number(self.memory) * 10.0).clamp(0.0, 1.0);
        cpu.min(disk).min(network).min(memory)
    }
}

/// How much the newest measurement counts in the moving average.
const NEWEST: f64 = 0.3;

/// Seconds of work from which on a measurement counts whole; a shorter one counts
/// by its share, since starting up and chance make up more of it.
const WHOLE: f64 = 10.0;

/// Seconds of work below which a measurement says nothing at all.
const NOTHING: f64 = 1.0;

/// What a worker has shown: thousands of pixels a second, by encoder.
pub type Speeds = BTreeMap<VideoEncoder, f64>;

/// Takes a measurement into `speeds`: `cost` thousands of pixels in `seconds`.
/// Yields whether the average moved by more than a tenth, so that it is worth
/// keeping. A tiny job teaches nothing.
pub fn measured(speeds: &mut Speeds, encoder: VideoEncoder, cost: u64, seconds: f64) -> bool {
    if cost == 0 || !seconds.is_finite() || seconds < NOTHING {
        return false;
    }
    let shown = cost as f64 / seconds;
    let newest = NEWEST * (seconds / WHOLE).min(1.0);
    let before = speeds.get(&encoder).copied();
    let after = before.map_or(shown, |before| before + newest * (shown - before));
    speeds.insert(encoder, after);
    before.is_none_or(|before| (after - before).abs() > before / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FREE: Load = Load { cpu: 0.0, io_wait: 0.0, network: 0.0, memory: 0.8 };

    #[test]
    fn the_scarcest_thing_decides() {
        assert!((FREE.score() - 1.0).abs() < 1e-9);
        assert!((Load { cpu: 1.0, ..FREE }.score() - 0.5).abs() < 1e-9);
        assert!((Load { memory: 0.02, ..FREE }.score() - 0.2).abs() < 1e-9);
        assert!((Load { io_wait: 0.9, cpu: 1.0, ..FREE }.score() - 0.1).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn a_score_lies_between_nothing_and_everything(
            cpu in any::<f64>(), io_wait in any::<f64>(), network in any::<f64>(),
            memory in any::<f64>(),
        ) {
            let score = Load { cpu, io_wait, network, memory }.score();
            prop_assert!((0.0..=1.0).contains(&score), "{score}");
        }

        #[test]
        fn an_average_lies_among_what_was_measured(
            measurements in prop::collection::vec((1u64..1_000_000, 1.0f64..1000.0), 1..20),
        ) {
            let mut speeds = Speeds::new();
            let mut range = (f64::MAX, 0.0f64);
            for (cost, seconds) in measurements {
                let shown = cost as f64 / seconds;
                range = (range.0.min(shown), range.1.max(shown));
                measured(&mut speeds, VideoEncoder::X264, cost, seconds);
            }
            let speed = speeds[&VideoEncoder::X264];
            prop_assert!(range.0 * 0.999 <= speed && speed <= range.1 * 1.001);
        }
    }

    #[test]
    fn tiny_jobs_teach_no_absurd_speed() {
        let mut speeds = Speeds::new();
        assert!(!measured(&mut speeds, VideoEncoder::X264, 50_000, 0.001));
        assert!(speeds.is_empty(), "the usual speed is a better guess");
        measured(&mut speeds, VideoEncoder::X264, 100_000, 10.0);
        for _ in 0..100 {
            measured(&mut speeds, VideoEncoder::X264, 50_000, 0.02);
        }
        assert!((speeds[&VideoEncoder::X264] - 10_000.0).abs() < 1.0);
        measured(&mut speeds, VideoEncoder::X264, 1_000_000, 1.0);
        assert!(speeds[&VideoEncoder::X264] < 50_000.0, "a second of work counts for little");
    }

    #[test]
    fn only_a_notable_change_is_worth_keeping() {
        let mut speeds = Speeds::new();
        assert!(measured(&mut speeds, VideoEncoder::X264, 10_000, 10.0));
        assert!(!measured(&mut speeds, VideoEncoder::X264, 10_100, 10.0));
        assert!(measured(&mut speeds, VideoEncoder::X264, 1000, 10.0));
        assert!(!measured(&mut speeds, VideoEncoder::X264, 0, 1.0));
        assert!(!measured(&mut speeds, VideoEncoder::X264, 1, f64::NAN));
    }
}
