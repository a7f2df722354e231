//! How fast the coordinator and its rows are. Run as a test it does a little of
//! everything, to show that it works; `scripts/bench-service.sh` sets
//! `REELMILL_BENCH` and runs it whole, in a release build, and prints figures.

mod blobs;
mod cage;
mod cycles;
mod queue;

use crate::coordinator::Coordinator;
use blobs::NoBytes;
use reelmill_store::SqliteStore;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether the figures are wanted, and not only a sign that it works.
fn whole() -> bool {
    std::env::var_os("REELMILL_BENCH").is_some()
}

/// `all` for the figures, `few` as a test.
fn count(all: usize, few: usize) -> usize {
    if whole() { all } else { few }
}

/// Prints a figure, its unit, and what it should be, where figures are wanted.
fn tell(what: &str, figure: f64, unit: &str, target: &str) {
    if whole() {
        crate::cli::out::line(&format!("  {what:<58} {figure:>10.1} {unit:<8} {target}"));
    }
}

/// A coordinator whose rows are in SQLite, fully synchronised, and whose bytes
/// are nowhere: what is measured is the queue.
struct Yard {
    coordinator: Arc<Coordinator>,
    store: Arc<SqliteStore>,
    blobs: Arc<NoBytes>,
}

impl Yard {
    async fn at(path: &Path) -> Self {
        let store = Arc::new(SqliteStore::open(path).await.unwrap());
        let blobs = Arc::new(NoBytes::default());
        let settings = crate::api::tests::farm::settings();
        let coordinator = Coordinator::new(store.clone(), blobs.clone(), settings);
        Self { coordinator, store, blobs }
    }
}

/// The value below which `share` of `times` lie, in milliseconds.
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// How many a second `done` since `begun` are.
fn rate(done: usize, begun: Instant) -> f64 {
    done as f64 / begun.elapsed().as_secs_f64().max(1e-9)
}
