//! The scan cache: what is known of the files of libraries, in an SQLite file
//! of its own. A file is known by its library and its path within it, never by
//! where the library is mounted.

mod query;
mod rows;

pub use query::{FileFilter, LibraryStats};

use crate::StoreError;
use crate::sqlite::fault;
use reelmill_core::facts::Facts;
use sqlx::Row;
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/library");

/// How long to wait for another process's write.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file of a library.
#[derive(Debug, Clone, PartialEq)]
pub struct LibraryFile {
    /// Path within the library; bytes, since names need not be UTF-8.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// Digest of its size and both its ends.
    pub digest: Vec<u8>,
    /// What it is, or why that cannot be told.
    pub facts: Result<Facts, String>,
}

/// What tells whether a file is still the one that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// Its row.
    pub id: i64,
    /// Path within the library.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// Digest of its size and both its ends.
    pub digest: Vec<u8>,
    /// Whether it was missing at the last scan.
    pub gone: bool,
}

/// A change that a scan found.
#[derive(Debug, Clone, PartialEq)]
pub enum FileChange {
    /// It is new or different.
    Put(Box<LibraryFile>),
    /// The file of this row lies elsewhere now, or is back: path and
    /// modification time.
    Moved(i64, Vec<u8>, i64),
    /// The file of this row is missing, since this moment (microseconds).
    Gone(i64, i64),
}

/// The scan cache. Clones share it.
#[derive(Debug, Clone)]
pub struct LibraryStore {
    pool: SqlitePool,
}

impl LibraryStore {
    /// Opens the cache at `path`, making it (and its folder) if it is not
    /// there.
    ///
    /// # Errors
    /// When it cannot be opened, or a later version wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                StoreError::Io(format!("cannot create {}: {error}", folder.display()))
            })?;
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
            .connect_with(options)
            .await
            .map_err(fault)?;
        MIGRATIONS
            .run(&pool)
            .await
            .map_err(|error| StoreError::Corrupt(format!("{}: {error}", path.display())))?;
        Ok(Self { pool })
    }

    /// The row of the library `uuid`, now seen at `root`.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn library(&self, uuid: &str, root: &[u8]) -> Result<i64, StoreError> {
        let put = "INSERT INTO library (uuid, root) VALUES (?, ?) \
                   ON CONFLICT (uuid) DO UPDATE SET root = excluded.root RETURNING id";
        sqlx::query_scalar(put).bind(uuid).bind(root).fetch_one(&self.pool).await.map_err(fault)
    }

    /// The uuid of the library that was seen last at `root`, and how many files
    /// it had.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn seen_at(&self, root: &[u8]) -> Result<Option<(String, u64)>, StoreError> {
        let get = "SELECT uuid, (SELECT count(*) FROM file WHERE library = l.id AND gone_at IS NULL) \
                   FROM library l WHERE root = ? ORDER BY id DESC LIMIT 1";
        let row = sqlx::query(get).bind(root).fetch_optional(&self.pool).await.map_err(fault)?;
        let decode =
            |row: sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? as u64));
        row.map(decode).transpose().map_err(fault)
    }

    /// All files that are known of a library, gone ones too.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn known(&self, library: i64) -> Result<Vec<KnownFile>, StoreError> {
        let get =
            "SELECT id, path, size, mtime, digest, gone_at IS NOT NULL FROM file WHERE library = ?";
        let rows = sqlx::query(get).bind(library).fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(rows::known).collect::<Result<_, _>>().map_err(fault)
    }

    /// Writes a batch of changes, all or none.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn apply(&self, library: i64, changes: &[FileChange]) -> Result<(), StoreError> {
        let mut write = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        for change in changes {
            let query = match change {
                FileChange::Put(file) => rows::put(library, file),
                FileChange::Moved(id, path, mtime) => {
                    // A gone row may hold the name.
                    let clear = "DELETE FROM file WHERE library = ? AND path = ? AND id <> ?";
                    let clear = sqlx::query(clear).bind(library).bind(path).bind(id);
                    clear.execute(&mut *write).await.map_err(fault)?;
                    sqlx::query("UPDATE file SET path = ?, mtime = ?, gone_at = NULL WHERE id = ?")
                        .bind(path)
                        .bind(mtime)
                        .bind(id)
                }
                FileChange::Gone(id, at) => {
                    sqlx::query("UPDATE file SET gone_at = ? WHERE id = ?").bind(at).bind(id)
                }
            };
            query.execute(&mut *write).await.map_err(fault)?;
        }
        write.commit().await.map_err(fault)
    }
}

#[cfg(test)]
mod tests;
