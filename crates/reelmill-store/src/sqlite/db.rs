//! A connection, its statements and the rows that they find. Everything here runs
//! on the thread that calls it, without a detour: most statements take less time
//! than handing them to another thread would.

use super::rows::told;
use crate::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

pub(super) use rusqlite::Row;

/// How long to wait for a lock of the database before giving up as `Busy`.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Statements kept prepared for each connection: more than there are, but for the
/// many forms of lists.
const PREPARED: usize = 256;

/// A connection to the database.
#[derive(Debug)]
pub(super) struct Db(pub(super) Connection);

impl Db {
    /// Opens the database at `path`, which is there. What is acknowledged to a
    /// connection that writes is on disk.
    pub(super) fn open(path: &Path, writes: bool) -> Result<Self, StoreError> {
        let access = if writes {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(trouble)?;
        db.set_prepared_statement_cache_capacity(PREPARED);
        db.busy_timeout(PATIENCE).map_err(trouble)?;
        // A plan that does not look at the values need not be made again for others.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(trouble)?;
        let db = Self(db);
        db.script("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        Ok(db)
    }

    /// Runs statements without values.
    pub(super) fn script(&self, text: &str) -> Result<(), StoreError> {
        self.0.execute_batch(text).map_err(trouble)
    }

    /// Runs one of the statements that come over and over and have no values.
    pub(super) fn step(&self, text: &str) -> Result<(), StoreError> {
        query(text).execute(self).map(|_| ())
    }
}

/// A statement with values for its places, in their order.
#[derive(Debug)]
pub(super) struct Query<'q> {
    text: Cow<'q, str>,
    values: Result<Vec<Value>, StoreError>,
}

/// A statement; its values are still to be bound.
pub(super) fn query(text: &str) -> Query<'_> {
    Query { text: Cow::Borrowed(text), values: Ok(Vec::new()) }
}

impl Query<'_> {
    /// The value for the next place.
    pub(super) fn bind(mut self, value: impl ToSql) -> Self {
        self.add(&value);
        self
    }

    fn add(&mut self, value: &impl ToSql) {
        match (owned(value), &mut self.values) {
            (Ok(value), Ok(values)) => values.push(value),
            (Err(error), Ok(_)) => self.values = Err(error),
            (_, Err(_)) => {}
        }
    }

    /// More of its text.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Another place with its value.
    pub(super) fn push_bind(&mut self, value: impl ToSql) -> &mut Self {
        self.add(&value);
        self.push("?")
    }

    /// Runs it; yields how many rows it changed.
    pub(super) fn execute(self, db: &Db) -> Result<usize, StoreError> {
        let mut statement = db.0.prepare_cached(&self.text).map_err(trouble)?;
        statement.execute(params_from_iter(self.values?)).map_err(trouble)
    }

    /// What `read` makes of each row.
    pub(super) fn all<T>(
        self,
        db: &Db,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = db.0.prepare_cached(&self.text).map_err(trouble)?;
        let mut rows = statement.query(params_from_iter(self.values?)).map_err(trouble)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(trouble)? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// What `read` makes of the first row, if there is one.
    pub(super) fn first<T>(
        self,
        db: &Db,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = db.0.prepare_cached(&self.text).map_err(trouble)?;
        let mut rows = statement.query(params_from_iter(self.values?)).map_err(trouble)?;
        rows.next().map_err(trouble)?.map(read).transpose()
    }

    /// The first column of the one row that there always is.
    pub(super) fn value<T: FromSql>(self, db: &Db) -> Result<T, StoreError> {
        let found = self.first(db, |row| column(row, 0))?;
        found.ok_or_else(|| StoreError::Corrupt("a sum came without a row".into()))
    }
}

fn owned(value: &impl ToSql) -> Result<Value, StoreError> {
    match value.to_sql().map_err(trouble)? {
        ToSqlOutput::Owned(value) => Ok(value),
        ToSqlOutput::Borrowed(value) => Value::try_from(value).map_err(unfit),
        other => Err(unfit(other)),
    }
}

fn unfit(value: impl std::fmt::Debug) -> StoreError {
    StoreError::Invalid(format!("it cannot be stored: {value:?}"))
}

/// Column `at`.
pub(super) fn column<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, StoreError> {
    row.get(at).map_err(trouble)
}

/// Column `at`, a text, as it lies in the row.
pub(super) fn text<'r>(row: &'r Row<'_>, at: usize) -> Result<&'r str, StoreError> {
    let found = row.get_ref(at).map_err(trouble)?.as_str();
    found.map_err(|error| StoreError::Corrupt(format!("column {at}: {error}")))
}

/// Column `at`, bytes, as they lie in the row; `None` where there are none.
pub(super) fn blob<'r>(row: &'r Row<'_>, at: usize) -> Result<Option<&'r [u8]>, StoreError> {
    let found = row.get_ref(at).map_err(trouble)?.as_blob_or_null();
    found.map_err(|error| StoreError::Corrupt(format!("column {at}: {error}")))
}

/// What an error of SQLite means.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
pub(super) fn trouble(error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::SqliteFailure(code, _) => {
            told(Some(code.extended_code), error.to_string())
        }
        // A column that is not there, or not what it should be.
        _ => StoreError::Corrupt(error.to_string()),
    }
}

#[cfg(test)]
impl Query<'_> {
    /// The statement itself.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
