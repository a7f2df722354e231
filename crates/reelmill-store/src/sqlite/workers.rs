//! Workers, keys and settings.

use super::rows::{bytes, doc, encode, fault, unword, word};
use crate::StoreError;
use crate::records::{KeyRecord, WorkerRecord, WorkerState};
use reelmill_core::id::{SessionId, WorkerId};
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

pub(super) async fn put(db: &mut SqliteConnection, record: WorkerRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO workers (id, name, session, seen, state, doc)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(bytes(record.facts.id.0))
    .bind(&record.name)
    .bind(bytes(record.session.0))
    .bind(record.seen.0)
    .bind(word(&record.state)?)
    .bind(encode(&record)?)
    .execute(db)
    .await
    .map_err(fault)?;
    Ok(())
}

pub(super) async fn get(
    db: &mut SqliteConnection,
    id: WorkerId,
) -> Result<Option<WorkerRecord>, StoreError> {
    let query = sqlx::query("SELECT doc, seen, state FROM workers WHERE id = ?");
    let found = query.bind(bytes(id.0)).fetch_optional(db).await.map_err(fault)?;
    found.as_ref().map(record).transpose()
}

pub(super) async fn list(db: &mut SqliteConnection) -> Result<Vec<WorkerRecord>, StoreError> {
    let query = sqlx::query("SELECT doc, seen, state FROM workers ORDER BY name, id");
    let rows = query.fetch_all(db).await.map_err(fault)?;
    rows.iter().map(record).collect()
}

/// The columns that change often count, not their copies in the document.
fn record(row: &SqliteRow) -> Result<WorkerRecord, StoreError> {
    Ok(WorkerRecord {
        seen: Timestamp(row.try_get(1).map_err(fault)?),
        state: unword(row.try_get(2).map_err(fault)?)?,
        ..doc(row, 0, "a worker")?
    })
}

pub(super) async fn seen(
    db: &mut SqliteConnection,
    id: WorkerId,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE workers SET seen = ? WHERE id = ? AND session = ?");
    let query = query.bind(now.0).bind(bytes(id.0)).bind(bytes(session.0));
    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn set_state(
    db: &mut SqliteConnection,
    id: WorkerId,
    state: WorkerState,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE workers SET state = ? WHERE id = ?");
    let query = query.bind(word(&state)?).bind(bytes(id.0));
    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn delete(db: &mut SqliteConnection, id: WorkerId) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM workers WHERE id = ?").bind(bytes(id.0));
    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn key_put(db: &mut SqliteConnection, key: KeyRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO keys (id, name, role, hash, created, revoked, expires)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&key.id)
    .bind(&key.name)
    .bind(word(&key.role)?)
    .bind(&key.hash)
    .bind(key.created.0)
    .bind(key.revoked.map(|at| at.0))
    .bind(key.expires.map(|at| at.0))
    .execute(db)
    .await
    .map_err(fault)?;
    Ok(())
}

pub(super) async fn key_get(
    db: &mut SqliteConnection,
    id: &str,
) -> Result<Option<KeyRecord>, StoreError> {
    let query = sqlx::query(
        "SELECT id, name, role, hash, created, revoked, expires FROM keys WHERE id = ?",
    );
    let found = query.bind(id).fetch_optional(db).await.map_err(fault)?;
    found.as_ref().map(key).transpose()
}

pub(super) async fn key_list(db: &mut SqliteConnection) -> Result<Vec<KeyRecord>, StoreError> {
    let query = sqlx::query(
        "SELECT id, name, role, hash, created, revoked, expires FROM keys
                     ORDER BY created, id",
    );
    let rows = query.fetch_all(db).await.map_err(fault)?;
    rows.iter().map(key).collect()
}

fn key(row: &SqliteRow) -> Result<KeyRecord, StoreError> {
    let revoked: Option<i64> = row.try_get(5).map_err(fault)?;
    let expires: Option<i64> = row.try_get(6).map_err(fault)?;
    Ok(KeyRecord {
        id: row.try_get(0).map_err(fault)?,
        name: row.try_get(1).map_err(fault)?,
        role: unword(row.try_get(2).map_err(fault)?)?,
        hash: row.try_get(3).map_err(fault)?,
        created: Timestamp(row.try_get(4).map_err(fault)?),
        revoked: revoked.map(Timestamp),
        expires: expires.map(Timestamp),
    })
}

pub(super) async fn key_revoke(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL");
    let query = query.bind(now.0).bind(id);
    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn meta_get(
    db: &mut SqliteConnection,
    key: &str,
) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?").bind(key);
    query.fetch_optional(db).await.map_err(fault)
}

pub(super) async fn meta_put(
    db: &mut SqliteConnection,
    key: &str,
    value: Option<&str>,
) -> Result<(), StoreError> {
    let query = match value {
        Some(value) => sqlx::query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)")
            .bind(key)
            .bind(value),
        None => sqlx::query("DELETE FROM meta WHERE key = ?").bind(key),
    };
    query.execute(db).await.map_err(fault)?;
    Ok(())
}
