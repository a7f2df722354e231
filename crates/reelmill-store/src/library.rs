//! The scan cache: what is known of the files of libraries, in an SQLite file
//! of its own. A file is known by its library and its path within it, never by
//! where the library is mounted.

mod change;
mod events;
mod outcomes;
mod query;
mod rows;
mod stats;
mod verdicts;

pub use change::FileChange;
pub use events::FileEvent;
pub use outcomes::{KeptBy, Lines, OutcomeSum};
pub use query::{FileFilter, FoundFile};
pub use stats::{Group, LibraryStats};
pub use verdicts::{Judged, VerdictStats};

use crate::StoreError;
use crate::sqlite::{fault, folder_of, fresh, refuse_network, turn};
use futures::TryStreamExt;
use reelmill_core::facts::Facts;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use std::path::Path;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/library");

/// How long to wait for another process's write.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file of a library.
#[derive(Debug, Clone, PartialEq)]
pub struct LibraryFile {
    /// The folder that it lies in, within the library; empty for the root.
    pub folder: Vec<u8>,
    /// Its name; bytes, since names need not be UTF-8.
    pub name: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// Digest of its size and both its ends.
    pub digest: u64,
    /// What it is, or why that cannot be told.
    pub facts: Result<Facts, Trouble>,
}

/// Why nobody can tell what a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason, for people.
    pub reason: String,
    /// It may pass: the next scan looks again.
    pub retry: bool,
}

impl LibraryFile {
    /// Its path within the library.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        joined(&self.folder, &self.name)
    }
}

/// The path of `name` in `folder`.
#[must_use]
pub fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend(folder);
    if !folder.is_empty() {
        path.push(b'/');
    }
    path.extend(name);
    path
}

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryRecord {
    /// Its row.
    pub id: i64,
    /// Its name for all machines.
    pub uuid: String,
    /// Where this machine saw it last.
    pub root: Vec<u8>,
    /// The sidecar that says the same as the rows, if one does.
    pub snapshot: Option<String>,
    /// The rules by which its files were judged.
    pub rules: Option<String>,
}

/// The scan cache. Clones share it.
#[derive(Debug, Clone)]
pub struct LibraryStore {
    pool: SqlitePool,
}

const LIBRARY: &str = "SELECT id, uuid, root, snapshot, rules FROM library";

impl LibraryStore {
    /// Opens the cache at `path`, making it (and its folder) if it is not
    /// there.
    ///
    /// # Errors
    /// When it cannot be opened, lies on a network file system, or a later
    /// version wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|error| {
            StoreError::Io(format!("cannot create {}: {error}", folder.display()))
        })?;
        refuse_network(path, folder)?;
        if fresh::is_wanted(path) {
            let _turn = turn(path, PATIENCE).await?;
            fresh::make(path, &MIGRATIONS, 0).await?;
        }
        // A cache may lose its last seconds in a power cut, never its shape.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(PATIENCE);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(fault)?;
        let store = Self { pool };
        store.migrate(path).await?;
        Ok(store)
    }

    async fn migrate(&self, path: &Path) -> Result<(), StoreError> {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(fault)?;
        if tables > 0 {
            let found: i64 =
                sqlx::query_scalar("SELECT ifnull(max(version), 0) FROM _sqlx_migrations")
                    .fetch_one(&self.pool)
                    .await
                    .map_err(fault)?;
            if found > known {
                return Err(StoreError::NewerDatabase { path: path.to_owned(), found, known });
            }
            if found == known {
                return Ok(());
            }
        }
        // Whoever comes second finds nothing to be done.
        let _turn = turn(path, PATIENCE).await?;
        let mut db = self.pool.acquire().await.map_err(fault)?;
        fresh::migrate(&MIGRATIONS, &mut db, path).await
    }

    /// The row of the library `uuid`, now seen at `root`.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn library(&self, uuid: &str, root: &[u8]) -> Result<LibraryRecord, StoreError> {
        let found = self.one("WHERE uuid = ?", uuid.as_bytes()).await?;
        if let Some(record) = found.filter(|record| record.root == root) {
            return Ok(record);
        }
        let put = "INSERT INTO library (uuid, root) VALUES (?, ?) \
                   ON CONFLICT (uuid) DO UPDATE SET root = excluded.root";
        sqlx::query(put).bind(uuid).bind(root).execute(&self.pool).await.map_err(fault)?;
        let record = self.one("WHERE uuid = ?", uuid.as_bytes()).await?;
        record.ok_or_else(|| StoreError::Corrupt(format!("library {uuid} was not kept")))
    }

    /// The library that was seen last at `root`.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn seen_at(&self, root: &[u8]) -> Result<Option<LibraryRecord>, StoreError> {
        self.one("WHERE root = ? ORDER BY id DESC LIMIT 1", root).await
    }

    async fn one(&self, which: &str, value: &[u8]) -> Result<Option<LibraryRecord>, StoreError> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(LIBRARY);
        let (before, after) = which.split_once('?').unwrap_or((which, ""));
        query.push(" ").push(before);
        match std::str::from_utf8(value) {
            Ok(text) if before.contains("uuid") => query.push_bind(text.to_owned()),
            _ => query.push_bind(value.to_owned()),
        };
        query.push(after);
        let row = query.build().fetch_optional(&self.pool).await.map_err(fault)?;
        row.as_ref().map(rows::library).transpose().map_err(fault)
    }

    /// All libraries that are known.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn libraries(&self) -> Result<Vec<LibraryRecord>, StoreError> {
        let rows = sqlx::query(LIBRARY).fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(rows::library).collect::<Result<_, _>>().map_err(fault)
    }

    /// Tells of every file of a library that was there at the last scan, by
    /// folder and name in the order of their bytes.
    ///
    /// # Errors
    /// When the cache cannot be read, or `tell` fails.
    pub async fn each<E: From<StoreError>>(
        &self,
        library: i64,
        mut tell: impl FnMut(LibraryFile) -> Result<(), E>,
    ) -> Result<(), E> {
        let get = "SELECT d.path, f.name, f.size, f.mtime, f.digest, f.failure, f.retry, s.facts, \
                          f.duration_ms, f.fps_milli \
                   FROM folder d JOIN file f ON f.folder = d.id LEFT JOIN shape s ON s.id = f.shape \
                   WHERE d.library = ? AND f.gone_at IS NULL ORDER BY d.path, f.name";
        let mut rows = sqlx::query(get).bind(library).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(fault)? {
            tell(rows::file(&row, 0).map_err(fault)?)?;
        }
        Ok(())
    }

    /// Files that went missing, by size and digest: path within the library.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn gone(
        &self,
        library: i64,
    ) -> Result<Vec<(u64, u64, Vec<u8>, Vec<u8>)>, StoreError> {
        let get = "SELECT f.size, f.digest, d.path, f.name FROM file f JOIN folder d ON d.id = f.folder \
                   WHERE d.library = ? AND f.gone_at IS NOT NULL AND f.shape IS NOT NULL";
        let rows = sqlx::query(get).bind(library).fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &sqlx::sqlite::SqliteRow| {
            Ok((
                row.try_get::<i64, _>(0)? as u64,
                row.try_get::<i64, _>(1)? as u64,
                row.try_get(2)?,
                row.try_get(3)?,
            ))
        };
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)
    }

    /// A scan has ended: the sums are made anew, and `snapshot` says the same as
    /// the rows.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn settle(&self, library: i64, snapshot: Option<&str>) -> Result<(), StoreError> {
        let mut write = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let clear = sqlx::query("DELETE FROM tally WHERE library = ?").bind(library);
        clear.execute(&mut *write).await.map_err(fault)?;
        let sum = "INSERT INTO tally \
                   SELECT d.library, f.shape, f.verdict, count(*), sum(f.size), ifnull(sum(f.duration_ms), 0) \
                   FROM file f JOIN folder d ON d.id = f.folder \
                   WHERE d.library = ? AND f.gone_at IS NULL GROUP BY f.shape, f.verdict";
        sqlx::query(sum).bind(library).execute(&mut *write).await.map_err(fault)?;
        let set = sqlx::query("UPDATE library SET snapshot = ? WHERE id = ?")
            .bind(snapshot)
            .bind(library);
        set.execute(&mut *write).await.map_err(fault)?;
        write.commit().await.map_err(fault)
    }

    /// Closes the cache, so that nothing but its file is left.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests;
