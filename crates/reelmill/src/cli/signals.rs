//! Being told to stop: the first signal asks, the second insists.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a stopping program should do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Take nothing new; finish what is running.
    pub(crate) drain: CancellationToken,
    /// Give back what is running, now.
    pub(crate) now: CancellationToken,
}

impl Stop {
    /// Listens for SIGINT and SIGTERM. The first starts draining; a second one,
    /// or `patience` later, ends everything; a third ends the process at once.
    pub(crate) fn on_signals(patience: Duration) -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = Self::default();
        let ours = stop.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            ours.drain.cancel();
            tokio::select! {
                () = next() => {}
                () = tokio::time::sleep(patience) => {}
            }
            ours.now.cancel();
            next().await;
            std::process::exit(crate::exit::Exit::Interrupted as i32);
        });
        Ok(stop)
    }
}
