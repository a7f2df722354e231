//! What this machine is at: load, waiting for disks, network, memory.

use reelmill_core::load::Load;
use std::fs::read_to_string;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two readings: shares are counted over it.
const EVERY: Duration = Duration::from_secs(5);

/// Reads what the machine is at from `/proc`; elsewhere it tells nothing.
#[derive(Debug, Default)]
pub(crate) struct Gauge(Mutex<Option<Reading>>);

/// Counters as they stood, and what they came to.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    counters: Counters,
    load: Option<Load>,
}

/// What only counts up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counters {
    /// Ticks of all cores.
    ticks: u64,
    /// Ticks that cores waited for disks.
    waited: u64,
    /// Bytes through the network.
    bytes: u64,
}

impl Gauge {
    /// What the machine is at; `None` where it cannot be told, or not yet.
    pub(crate) fn read(&self) -> Option<Load> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(reading) = last.as_ref().filter(|reading| now - reading.at < EVERY) {
            return reading.load;
        }
        let counters = Counters {
            bytes: network(&read_to_string("/proc/net/dev").unwrap_or_default()),
            ..cores(&read_to_string("/proc/stat").ok()?)?
        };
        let memory = memory(&read_to_string("/proc/meminfo").ok()?)?;
        let running = running(&read_to_string("/proc/loadavg").ok()?)?;
        let since = last.as_ref().map(|before| (before.counters, (now - before.at).as_secs_f64()));
        let cpu = (running / f64::from(crate::farm::cores()) - 1.0).max(0.0);
        let load = since.map(|(before, seconds)| Load {
            cpu,
            io_wait: share(
                counters.waited - before.waited.min(counters.waited),
                counters.ticks - before.ticks.min(counters.ticks),
            ),
            network: link().map_or(0.0, |link| {
                (counters.bytes.saturating_sub(before.bytes)) as f64 / seconds.max(0.001) / link
            }),
            memory,
        });
        *last = Some(Reading { at: now, counters, load });
        load
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The line of all cores in `/proc/stat`.
fn cores(text: &str) -> Option<Counters> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let waited = *ticks.get(4)?;
    Some(Counters { ticks: ticks.iter().take(8).sum(), waited, bytes: 0 })
}

/// Bytes in and out in `/proc/net/dev`, without the loop-back.
fn network(text: &str) -> u64 {
    let of = |line: &str| -> Option<u64> {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        (name.trim() != "lo").then(|| numbers.first().unwrap_or(&0) + numbers.get(8).unwrap_or(&0))
    };
    text.lines().filter_map(of).sum()
}

/// The share of memory that programs can still have, in `/proc/meminfo`.
fn memory(text: &str) -> Option<f64> {
    let of = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    Some(share(of("MemAvailable:")?, of("MemTotal:")?))
}

/// Processes that want to run, in the mean of a minute, in `/proc/loadavg`.
fn running(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes a second of the fastest network link, where the system tells.
fn link() -> Option<f64> {
    let links = std::fs::read_dir("/sys/class/net").ok()?;
    let speed = |entry: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
        let text = read_to_string(entry.ok()?.path().join("speed")).ok()?;
        text.trim().parse::<f64>().ok().filter(|megabits| *megabits > 0.0)
    };
    let fastest = links.filter_map(speed).fold(0.0, f64::max);
    (fastest > 0.0).then_some(fastest * 1e6 / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_understood() {
        let stat = "cpu  100 0 50 800 40 0 10 0 0 0\ncpu0 50 0 25 400 20 0 5 0 0 0\n";
        assert_eq!(cores(stat), Some(Counters { ticks: 1000, waited: 40, bytes: 0 }));
        let net = "Inter-|   Receive\n face |bytes\n    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n  \
                   eth0: 1000 5 0 0 0 0 0 0 500 4 0 0 0 0 0 0\n";
        assert_eq!(network(net), 1500);
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(memory(meminfo), Some(0.25));
        assert_eq!(running("1.50 0.9 0.5 1/100 1234\n"), Some(1.5));
        assert_eq!(cores("nothing"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells_of_itself_the_second_time() {
        let gauge = Gauge::default();
        assert_eq!(gauge.read(), None, "shares are counted between two readings");
        let mut last = gauge.0.lock().unwrap();
        last.as_mut().unwrap().at = Instant::now() - EVERY;
        drop(last);
        let load = gauge.read().unwrap();
        assert!((0.0..=1.0).contains(&load.memory) && (0.0..=1.0).contains(&load.io_wait));
    }
}
