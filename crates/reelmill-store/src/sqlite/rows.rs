//! Between rows and values.

use super::db::{Row, blob, column, text};
use crate::StoreError;
use reelmill_core::id::{JobId, TaskId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What an error of SQLx means.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
pub(crate) fn fault(error: sqlx::Error) -> StoreError {
    let code = match &error {
        sqlx::Error::Database(inner) => inner.code().and_then(|code| code.parse::<i32>().ok()),
        sqlx::Error::PoolTimedOut => Some(5),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => Some(11),
        _ => None,
    };
    told(code, error.to_string())
}

/// What SQLite means by a result code.
pub(super) fn told(code: Option<i32>, told: String) -> StoreError {
    // The primary result code is the low byte of the extended one.
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreError::Busy(told),
        Some(13) => StoreError::Full(told),
        Some(11 | 19 | 26) => StoreError::Corrupt(told),
        _ => StoreError::Io(told),
    }
}

/// A value as it is stored.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Invalid(format!("it cannot be written as JSON: {error}")))
}

/// A stored value; `what` names it.
pub(super) fn decode<T: DeserializeOwned>(
    text: &str,
    what: impl std::fmt::Display,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

/// The plain word that an enum without data is stored as.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    Ok(encode(value)?.trim_matches('"').to_owned())
}

/// The enum that a word stands for.
pub(super) fn unword<T: DeserializeOwned>(word: &str) -> Result<T, StoreError> {
    decode(&format!("\"{word}\""), word)
}

/// The 16 bytes of an id.
pub(super) fn bytes(id: Uuid) -> [u8; 16] {
    id.into_bytes()
}

/// Column `at` as an id.
pub(super) fn id(row: &Row<'_>, at: usize) -> Result<Uuid, StoreError> {
    id_or_none(row, at)?.ok_or_else(|| StoreError::Corrupt(format!("no id in column {at}")))
}

/// Column `at` as an id, if it has one.
pub(super) fn id_or_none(row: &Row<'_>, at: usize) -> Result<Option<Uuid>, StoreError> {
    let id = blob(row, at)?.map(Uuid::from_slice).transpose();
    id.map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Columns `at`, `at + 1`, `at + 2` as a task's id.
pub(super) fn task_id(row: &Row<'_>, at: usize) -> Result<TaskId, StoreError> {
    Ok(TaskId {
        job: JobId(id(row, at)?),
        generation: column(row, at + 1)?,
        number: column(row, at + 2)?,
    })
}

/// Column `at`, a stored value.
pub(super) fn doc<T: DeserializeOwned>(
    row: &Row<'_>,
    at: usize,
    what: &str,
) -> Result<T, StoreError> {
    decode(text(row, at)?, what)
}

/// A count that SQLite can hold; the largest it can for those beyond.
pub(super) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
