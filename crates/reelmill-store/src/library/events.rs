//! The history of files.

use super::{LibraryStore, joined};
use crate::StoreError;
use crate::sqlite::fault;
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// Something that happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    /// The file's path within its library.
    pub path: Vec<u8>,
    /// When.
    pub at: Timestamp,
    /// What: `changed`, `moved`, `gone`, `back`, `queued`, `converted`, `failed`…
    pub what: String,
    /// More about it, for people.
    pub note: String,
}

impl LibraryStore {
    /// Writes into a file's history.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn note(
        &self,
        file: i64,
        what: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let put = "INSERT INTO event (file, at, what, note) VALUES (?, ?, ?, ?)";
        let put = sqlx::query(put).bind(file).bind(now.0).bind(what).bind(note);
        put.execute(&self.pool).await.map(|_| ()).map_err(fault)
    }

    /// What happened to a file, the latest last; or to all of a library when no
    /// file is given, at most `limit`, the latest ones.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn history(
        &self,
        library: Option<i64>,
        file: Option<i64>,
        limit: u32,
    ) -> Result<Vec<FileEvent>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT d.path, f.name, e.at, e.what, e.note FROM event e JOIN file f ON f.id = e.file \
             JOIN folder d ON d.id = f.folder WHERE TRUE",
        );
        if let Some(file) = file {
            query.push(" AND e.file = ").push_bind(file);
        }
        if let Some(library) = library {
            query.push(" AND d.library = ").push_bind(library);
        }
        query.push(" ORDER BY e.id DESC LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &SqliteRow| {
            Ok(FileEvent {
                path: joined(row.try_get(0)?, row.try_get(1)?),
                at: Timestamp(row.try_get(2)?),
                what: row.try_get(3)?,
                note: row.try_get(4)?,
            })
        };
        let mut events: Vec<_> =
            rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)?;
        events.reverse();
        Ok(events)
    }
}
