//! The store in an SQLite file: the default, for one coordinator.

mod blobs;
mod db;
pub(crate) mod fresh;
mod guard;
mod jobs;
mod listing;
mod queue;
mod readers;
mod rows;
mod service;
mod store;
mod tasks;
mod wal;
mod workers;
mod writer;

use crate::StoreError;
use db::Db;
use guard::Guard;
pub(crate) use guard::{folder_of, refuse_network, turn};
use readers::Readers;
pub(crate) use rows::fault;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::path::Path;
use wal::Wal;
use writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Marks the file as ours: "rlml".
const APPLICATION: u32 = 0x726c_6d6c;

/// Keeps everything in an SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
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
        if !fresh::make(path, &MIGRATIONS, APPLICATION).await? {
            bring_up(path).await?;
        }
        let readers = Readers::open(path)?;
        let writer = Writer::start(Db::open(path, true)?, Wal::keep(path)?, guard)?;
        Ok(Self { writer, readers })
    }

    /// Looks something up that takes about as long as handing it to another thread
    /// would: it is done on this one.
    async fn look<T>(
        &self,
        look: impl FnOnce(&Db) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let reader = self.readers.take().await?;
        reader.look(look)
    }

    /// Looks for what may take long, beside the async threads.
    async fn search<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Db) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.readers.take().await?;
        let found = tokio::task::spawn_blocking(move || reader.look(search)).await;
        found.map_err(|error| StoreError::Io(format!("a search broke off: {error}")))?
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Makes the database look as if a later version had written it.
    pub(crate) async fn raise_version(&self, version: i64) {
        let raise = "UPDATE _sqlx_migrations SET version = ?
                     WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
        let run = self.writer.run(move |db| db::query(raise).bind(version).execute(db).map(|_| ()));
        run.await.unwrap();
    }
}

/// Brings a database that is there up to this program's version.
async fn bring_up(path: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(db::PATIENCE);
    let mut db = options.connect().await.map_err(fault)?;
    migrate(&mut db, path).await?;
    db.close().await.map_err(fault)
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
    fresh::migrate(&MIGRATIONS, db, path).await
}

/// Refuses to make tables in a database that belongs to another program.
async fn claim_file(db: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let count = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema");
    let tables: i64 = count.fetch_one(&mut *db).await.map_err(fault)?;
    if tables > 0 {
        let message = format!("{} is the database of another program", path.display());
        return Err(StoreError::Invalid(message));
    }
    fresh::mark(db, APPLICATION).await
}

#[cfg(test)]
mod earlier;
#[cfg(test)]
mod tests;
