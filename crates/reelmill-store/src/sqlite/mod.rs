//! The store in an SQLite file: the default, for one coordinator.

mod blobs;
mod guard;
mod jobs;
mod listing;
mod queue;
mod rows;
mod service;
mod store;
mod tasks;
mod workers;
mod writer;

use crate::StoreError;
use guard::Guard;
pub(crate) use guard::refuse_network;
pub(crate) use rows::fault;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, SqliteConnection, SqlitePool};
use std::path::Path;
use std::time::Duration;
use writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that only read.
const READERS: u32 = 4;

/// How long to wait for a lock of the database before giving up as `Busy`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Statements kept prepared for each connection.
const PREPARED: usize = 256;

/// Marks the file as ours: "rlml".
const APPLICATION: u32 = 0x726c_6d6c;

/// Keeps everything in an SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, making it (and its folder) if it is not
    /// there, and brings it up to this program's version. Beside it lie
    /// `<path>.lock` and SQLite's own `-wal` and `-shm`.
    ///
    /// # Errors
    /// `InUse` when another process has it open, `NetworkFileSystem` when it
    /// lies on one, `NewerDatabase` when a later version wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let guard = Guard::take(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .statement_cache_capacity(PREPARED);
        let mut db = options.connect().await.map_err(fault)?;
        migrate(&mut db, path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .connect_with(options.read_only(true))
            .await
            .map_err(fault)?;
        Ok(Self { writer: Writer::new(db, guard), readers })
    }

    /// Finishes what is under way and closes the file, so that nothing but
    /// the database itself (and the unlocked lock file) is left. Not needed
    /// for safety.
    ///
    /// # Errors
    /// When the last writes cannot be flushed.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(fault)
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Makes the database look as if a later version had written it.
    pub(crate) async fn raise_version(&self, version: i64) {
        let raise = "UPDATE _sqlx_migrations SET version = ?
                     WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
        let run = self.writer.run(move |db| {
            Box::pin(async move {
                sqlx::query(raise).bind(version).execute(db).await.map_err(fault)?;
                Ok::<_, StoreError>(())
            })
        });
        run.await.unwrap();
    }
}

async fn migrate(db: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let named = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = ?");
    let tables: i64 = named.bind("_sqlx_migrations").fetch_one(&mut *db).await.map_err(fault)?;
    if tables > 0 {
        let version = sqlx::query_scalar("SELECT ifnull(max(version), 0) FROM _sqlx_migrations");
        let found: i64 = version.fetch_one(&mut *db).await.map_err(fault)?;
        if found > known {
            return Err(StoreError::NewerDatabase { path: path.to_owned(), found, known });
        }
    } else {
        claim_file(db, path).await?;
    }
    MIGRATIONS.run(db).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error),
        other => StoreError::Corrupt(format!("{}: {other}", path.display())),
    })
}

/// Refuses to make tables in a database that belongs to another program.
async fn claim_file(db: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let count = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema");
    let tables: i64 = count.fetch_one(&mut *db).await.map_err(fault)?;
    if tables > 0 {
        let message = format!("{} is the database of another program", path.display());
        return Err(StoreError::Invalid(message));
    }
    let mark = format!("PRAGMA application_id = {APPLICATION}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(db).await.map_err(fault)?;
    Ok(())
}

#[cfg(test)]
mod tests;
