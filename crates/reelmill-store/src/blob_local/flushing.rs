//! Flushing a file to disk beside its writing, so that whoever waits for all of it to
//! be there waits for the last bytes only.

use std::fs::File;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes written after which a flush begins.
const EVERY: u64 = 16 << 20;

/// Bytes that a crash of the machine may cost a sender who sends all at once: when so
/// many are not known to be on disk, writing waits.
const MOST: u64 = 64 << 20;

/// How much of a file that grows is on disk.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    /// Bytes known to be there.
    pub(super) durable: u64,
    /// A flush of so many bytes.
    under_way: Option<(u64, JoinHandle<io::Result<()>>)>,
}

impl Flushing {
    /// Nothing but `durable` bytes are there, all on disk.
    pub(super) fn at(durable: u64) -> Self {
        Self { durable, under_way: None }
    }

    /// Before more is written to `file`, which has `written` bytes.
    ///
    /// # Errors
    /// When a flush has failed: what is not durable may be lost.
    pub(super) async fn keep_up(&mut self, file: &Arc<File>, written: u64) -> io::Result<()> {
        let done = self.under_way.as_ref().is_some_and(|(_, flush)| flush.is_finished());
        if done || written.saturating_sub(self.durable) >= MOST {
            self.wait().await?;
        }
        if self.under_way.is_none() && written.saturating_sub(self.durable) >= EVERY {
            let file = Arc::clone(file);
            let flush = tokio::task::spawn_blocking(move || file.sync_data());
            self.under_way = Some((written, flush));
        }
        Ok(())
    }

    /// Waits for the flush that is under way, if one is.
    ///
    /// # Errors
    /// When it has failed: what is not durable may be lost.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        let Some((bytes, flush)) = &mut self.under_way else { return Ok(()) };
        let (bytes, done) = (*bytes, flush.await);
        self.under_way = None;
        done.map_err(io::Error::other)??;
        self.durable = self.durable.max(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_long_ago_is_flushed_beside() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::create(folder.path().join("film")).unwrap());
        let mut flushing = Flushing::default();
        flushing.keep_up(&file, EVERY - 1).await.unwrap();
        assert!(flushing.under_way.is_none(), "too little");
        flushing.keep_up(&file, EVERY).await.unwrap();
        assert!(flushing.under_way.is_some());
        flushing.wait().await.unwrap();
        assert_eq!(flushing.durable, EVERY);
        flushing.keep_up(&file, 2 * EVERY).await.unwrap();
        flushing.keep_up(&file, EVERY + MOST).await.unwrap();
        assert!(flushing.durable >= 2 * EVERY, "it waits before more is at stake");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_flush_that_failed_is_told() {
        // It takes bytes, but cannot be flushed.
        let file = Arc::new(File::create("/dev/null").unwrap());
        let mut flushing = Flushing::default();
        flushing.keep_up(&file, EVERY).await.unwrap();
        assert!(flushing.keep_up(&file, EVERY + MOST).await.is_err());
        assert_eq!(flushing.durable, 0);
    }
}
