//! The one writer: operations one after the other, flushed to disk together.
//!
//! Every operation runs in a savepoint of a shared transaction. Having run, it
//! queues up again to commit; by then those that waited behind it have run
//! too, and the first to get its turn commits for all of them. Nobody is
//! answered before the commit, so an acknowledged operation is durable, and a
//! busy farm pays for one flush where it would have paid for many.

use super::guard::Guard;
use super::rows::fault;
use crate::{ApplyError, StoreError};
use sqlx::SqliteConnection;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, MutexGuard};

/// What an operation is while it runs.
pub(super) type Running<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// What an operation can fail with: the store's own failure, among others.
pub(super) trait Cause: From<StoreError> {
    /// The store's failure, if it is one.
    fn cause(&self) -> Option<StoreError>;
}

impl Cause for StoreError {
    fn cause(&self) -> Option<StoreError> {
        Some(self.clone())
    }
}

impl Cause for ApplyError {
    fn cause(&self) -> Option<StoreError> {
        match self {
            Self::Store(error) => Some(error.clone()),
            Self::Refused(_) | Self::NoSuchTask => None,
        }
    }
}

/// Where all writes go.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    db: SqliteConnection,
    /// The transaction that is open, if one is.
    group: Option<Group>,
    /// Set while an operation runs: found set, one broke off in the middle.
    running: bool,
    /// Let go only after the connection.
    _guard: Guard,
}

/// Operations that are committed together; holds how that went, once it went.
type Group = Arc<OnceLock<Result<(), StoreError>>>;

impl Writer {
    pub(super) fn new(db: SqliteConnection, guard: Guard) -> Self {
        let inner = Inner { db, group: None, running: false, _guard: guard };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Runs `operation` and makes it durable; undoes it when it fails. It goes
    /// on to its end even when the caller stops waiting.
    pub(super) async fn run<T, E, F>(&self, operation: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Cause + Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Running<'c, Result<T, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let (group, result) = Inner::join(inner.lock().await, operation).await?;
            Inner::settle(inner.lock().await, &group).await?;
            result
        });
        let broke = |error| E::from(StoreError::Io(format!("a write broke off: {error}")));
        task.await.map_err(broke)?
    }

    /// Waits for what is under way and closes the database.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().await;
        if inner.group.is_some() {
            inner.commit().await?;
        }
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut inner.db)
            .await
            .map_err(fault)?;
        Ok(())
    }
}

impl Inner {
    /// Runs `operation` in a savepoint of the open transaction.
    async fn join<T, E, F>(
        mut inner: MutexGuard<'_, Self>,
        operation: F,
    ) -> Result<(Group, Result<T, E>), E>
    where
        E: Cause,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Running<'c, Result<T, E>>,
    {
        if inner.running {
            let broken = StoreError::Io("a write before this one broke off".into());
            inner.abandon(broken).await;
        }
        let group = inner.begin().await?;
        inner.running = true;
        let result = operation(&mut inner.db).await;
        let end = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
        // After some errors (no space, for one) SQLite has rolled everything
        // back by itself: then this fails, and all of the group have failed.
        if let Err(error) = sqlx::raw_sql(end).execute(&mut inner.db).await {
            let cause = result.as_ref().err().and_then(Cause::cause);
            inner.abandon(cause.unwrap_or_else(|| fault(error))).await;
        }
        inner.running = false;
        Ok((group, result))
    }

    /// The open transaction, or a new one, with a savepoint.
    async fn begin(&mut self) -> Result<Group, StoreError> {
        let begun = match &self.group {
            Some(_) => sqlx::raw_sql("SAVEPOINT one").execute(&mut self.db).await,
            None => sqlx::raw_sql("BEGIN IMMEDIATE; SAVEPOINT one").execute(&mut self.db).await,
        };
        if let Err(error) = begun {
            let error = fault(error);
            self.abandon(error.clone()).await;
            return Err(error);
        }
        Ok(Arc::clone(self.group.get_or_insert_default()))
    }

    /// Commits `group` unless that was done, and tells how it went.
    async fn settle(mut inner: MutexGuard<'_, Self>, group: &Group) -> Result<(), StoreError> {
        if group.get().is_none() {
            inner.commit().await?;
        }
        group.get().cloned().unwrap_or(Ok(()))
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        if self.running {
            let broken = StoreError::Io("a write before this one broke off".into());
            self.abandon(broken.clone()).await;
            return Err(broken);
        }
        match sqlx::raw_sql("COMMIT").execute(&mut self.db).await {
            Ok(_) => {
                if let Some(group) = self.group.take() {
                    let _ = group.set(Ok(()));
                }
                Ok(())
            }
            Err(error) => {
                let error = fault(error);
                self.abandon(error.clone()).await;
                Err(error)
            }
        }
    }

    /// Rolls the open transaction back: all that took part in it have failed.
    async fn abandon(&mut self, error: StoreError) {
        if let Err(error) = sqlx::raw_sql("ROLLBACK").execute(&mut self.db).await {
            tracing::debug!(%error, "nothing was left to roll back");
        }
        self.running = false;
        if let Some(group) = self.group.take() {
            let _ = group.set(Err(error));
        }
    }
}
