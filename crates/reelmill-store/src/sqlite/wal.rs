//! The write-ahead log, kept short beside the writer.
//!
//! What is written goes to the log first, and from there into the database. That
//! copying takes long (its pages lie all over the file), so a thread of its own does
//! it, while the writer goes on; only the last few pages, after which the log can
//! begin anew, are left to the writer.

use super::db::{Db, PATIENCE, column, query, trouble};
use crate::StoreError;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pages (of 4 KiB) in the log at which copying begins; tests write less.
const LONG: i64 = if cfg!(test) { 256 } else { 4096 };

/// Pages written between two attempts at that, when readers were in the way.
const STEP: i64 = LONG / 4;

/// Pages that the writer copies itself: about what two groups write.
const FEW: i64 = 256;

/// Rounds of the thread, each for what was written during the one before; when that
/// does not become less, the writer has to wait for the rest.
const ROUNDS: u32 = 6;

/// Pages at which the writer copies all itself, whatever the thread is at.
const LONGEST: i64 = 65_536;

/// How long the writer waits for readers of the old log before it begins a new one.
const MOMENT: Duration = Duration::from_millis(20);

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static PAGES: Cell<i64> = const { Cell::new(0) };
}

/// Keeps the log of one database short.
#[derive(Debug)]
pub(super) struct Wal {
    copier: Option<SyncSender<()>>,
    handle: Option<JoinHandle<()>>,
    /// Little is left to copy: the writer's turn.
    nearly: Arc<AtomicBool>,
    /// Pages at which something is done next.
    next: i64,
}

impl Wal {
    /// Takes the log of the database at `path` over from SQLite.
    pub(super) fn keep(path: &Path) -> Result<Self, StoreError> {
        let db = Db::open(path, true)?;
        let nearly = Arc::new(AtomicBool::new(false));
        let (copier, wanted) = sync_channel(1);
        let tell = nearly.clone();
        let work = move || {
            while wanted.recv().is_ok() {
                match copy_most(&db) {
                    Ok(()) => tell.store(true, Ordering::Release),
                    Err(error) => tracing::warn!(%error, "cannot shorten the database's log"),
                }
            }
        };
        let handle = std::thread::Builder::new().name("reelmill-wal".into()).spawn(work);
        let handle = handle.map_err(|error| StoreError::Io(format!("no thread: {error}")))?;
        Ok(Self { copier: Some(copier), handle: Some(handle), nearly, next: LONG })
    }

    /// Has SQLite tell the thread that writes with `db` how long the log is.
    pub(super) fn watch(db: &Db) {
        db.0.wal_hook(Some(|_, pages| {
            PAGES.set(pages.into());
            Ok(())
        }));
    }

    /// Something was committed on this thread.
    pub(super) fn grew(&mut self, db: &Db) {
        let pages = PAGES.get();
        if pages < LONG {
            self.next = LONG;
        } else if self.nearly.swap(false, Ordering::AcqRel) || pages >= self.next.max(LONGEST) {
            self.next = pages + STEP;
            if let Err(error) = begin_anew(db) {
                tracing::warn!(%error, "cannot shorten the database's log");
            }
        } else if pages >= self.next
            && let Some(copier) = &self.copier
        {
            self.next = pages + STEP;
            // Full: it is at it.
            let _ = copier.try_send(());
        }
    }

    /// Copies everything and empties the log. Nobody else may use the database.
    pub(super) fn close(&mut self, db: &Db) -> Result<(), StoreError> {
        self.stop();
        let (busy, ..) = checkpoint(db, "TRUNCATE")?;
        if busy {
            Err(StoreError::Busy("somebody reads the database still".into()))
        } else {
            Ok(())
        }
    }

    fn stop(&mut self) {
        self.copier = None;
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the thread that keeps the database's log short has panicked");
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies what is left, so that the next write begins the log anew, unless readers of
/// the old one take too long.
fn begin_anew(db: &Db) -> Result<(), StoreError> {
    db.0.busy_timeout(MOMENT).map_err(trouble)?;
    let done = checkpoint(db, "RESTART");
    db.0.busy_timeout(PATIENCE).map_err(trouble)?;
    done.map(|_| ())
}

/// Copies until little is left.
fn copy_most(db: &Db) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        if copy(db)? <= FEW {
            break;
        }
    }
    Ok(())
}

/// Copies what is in the log now; yields how many pages are left.
fn copy(db: &Db) -> Result<i64, StoreError> {
    let (_, pages, copied) = checkpoint(db, "PASSIVE")?;
    Ok(pages - copied)
}

/// Whether it was busy, pages in the log, and how many of them are copied.
fn checkpoint(db: &Db, how: &str) -> Result<(bool, i64, i64), StoreError> {
    let pragma = format!("PRAGMA wal_checkpoint({how})");
    let found = query(&pragma)
        .first(db, |row| Ok((column::<i64>(row, 0)? != 0, column(row, 1)?, column(row, 2)?)))?;
    found.ok_or_else(|| StoreError::Corrupt("a checkpoint told nothing".into()))
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;
    use crate::Store;

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len())
    }

    #[tokio::test]
    async fn the_log_begins_anew_while_it_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let big = "x".repeat(32 * 4096);
        let mut written = 0;
        while length(&path) == 0 || written < 2 * length(&path) {
            assert!(written < 50_000_000, "it only grows");
            store.meta_put("big", Some(&big)).await.unwrap();
            written += big.len() as u64;
        }
        assert_eq!(store.meta_get("big").await.unwrap(), Some(big));
    }

    #[tokio::test]
    async fn nothing_but_the_database_is_left_when_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.meta_put("name", Some("value")).await.unwrap();
        assert!(length(&path) > 0);
        store.close().await.unwrap();
        assert_eq!(length(&path), 0);
        assert!(store.meta_get("name").await.is_err() && store.check().await.is_err());
        drop(store);
        let again = SqliteStore::open(&path).await.unwrap();
        assert_eq!(again.meta_get("name").await.unwrap().as_deref(), Some("value"));
    }
}
