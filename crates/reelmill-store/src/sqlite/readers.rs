//! The connections that only read.

use super::db::Db;
use crate::StoreError;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many there are: reads that go on at once.
const READERS: usize = 4;

/// All of them; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Db>>>,
    places: Arc<Semaphore>,
}

impl Readers {
    /// Opens them for the database at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let all: Result<Vec<Db>, StoreError> =
            (0..READERS).map(|_| Db::open(path, false)).collect();
        Ok(Self { idle: Arc::new(Mutex::new(all?)), places: Arc::new(Semaphore::new(READERS)) })
    }

    /// One that nobody else uses meanwhile.
    pub(super) async fn take(&self) -> Result<Reader, StoreError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| closed())?;
        let db = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = Some(db.ok_or_else(closed)?);
        Ok(Reader { db, home: self.idle.clone(), _place: place })
    }

    /// Closes them, once all are back.
    pub(super) async fn close(&self) {
        // Fails only when that was done before.
        let _all = self.places.acquire_many(READERS as u32).await;
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn closed() -> StoreError {
    StoreError::Io("the database is closed".into())
}

/// A connection that is in use; it goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    db: Option<Db>,
    home: Arc<Mutex<Vec<Db>>>,
    /// Let go after the connection is back.
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// What `look` finds by it.
    pub(super) fn look<T>(
        &self,
        look: impl FnOnce(&Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.as_ref().map_or_else(|| Err(closed()), look)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        }
    }
}
