//! Workers, keys and settings.

use super::db::{Db, Row, column, query, text};
use super::rows::{bytes, doc, encode, unword, word};
use crate::StoreError;
use crate::records::{KeyRecord, WorkerRecord, WorkerState};
use reelmill_core::id::{SessionId, WorkerId};
use reelmill_core::time::Timestamp;

pub(super) fn put(db: &Db, record: &WorkerRecord) -> Result<(), StoreError> {
    query(
        "INSERT OR REPLACE INTO workers (id, name, session, seen, state, doc)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(bytes(record.facts.id.0))
    .bind(&record.name)
    .bind(bytes(record.session.0))
    .bind(record.seen.0)
    .bind(word(&record.state)?)
    .bind(encode(record)?)
    .execute(db)?;
    Ok(())
}

pub(super) fn get(db: &Db, id: WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
    let query = query("SELECT doc, seen, state FROM workers WHERE id = ?");
    query.bind(bytes(id.0)).first(db, record)
}

pub(super) fn list(db: &Db) -> Result<Vec<WorkerRecord>, StoreError> {
    let query = query("SELECT doc, seen, state FROM workers ORDER BY name, id");
    query.all(db, record)
}

/// The columns that change often count, not their copies in the document.
fn record(row: &Row<'_>) -> Result<WorkerRecord, StoreError> {
    Ok(WorkerRecord {
        seen: Timestamp(column(row, 1)?),
        state: unword(text(row, 2)?)?,
        ..doc(row, 0, "a worker")?
    })
}

pub(super) fn seen(
    db: &Db,
    id: WorkerId,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = query("UPDATE workers SET seen = ? WHERE id = ? AND session = ?");
    let query = query.bind(now.0).bind(bytes(id.0)).bind(bytes(session.0));
    Ok(query.execute(db)? > 0)
}

pub(super) fn set_state(db: &Db, id: WorkerId, state: WorkerState) -> Result<bool, StoreError> {
    let query = query("UPDATE workers SET state = ? WHERE id = ?");
    let query = query.bind(word(&state)?).bind(bytes(id.0));
    Ok(query.execute(db)? > 0)
}

pub(super) fn delete(db: &Db, id: WorkerId) -> Result<bool, StoreError> {
    let query = query("DELETE FROM workers WHERE id = ?").bind(bytes(id.0));
    Ok(query.execute(db)? > 0)
}

pub(super) fn key_put(db: &Db, key: &KeyRecord) -> Result<(), StoreError> {
    query(
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
    .execute(db)?;
    Ok(())
}

pub(super) fn key_get(db: &Db, id: &str) -> Result<Option<KeyRecord>, StoreError> {
    let query =
        query("SELECT id, name, role, hash, created, revoked, expires FROM keys WHERE id = ?");
    query.bind(id).first(db, key)
}

pub(super) fn key_list(db: &Db) -> Result<Vec<KeyRecord>, StoreError> {
    let query = query(
        "SELECT id, name, role, hash, created, revoked, expires FROM keys
                     ORDER BY created, id",
    );
    query.all(db, key)
}

fn key(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    let revoked: Option<i64> = column(row, 5)?;
    let expires: Option<i64> = column(row, 6)?;
    Ok(KeyRecord {
        id: column(row, 0)?,
        name: column(row, 1)?,
        role: unword(text(row, 2)?)?,
        hash: column(row, 3)?,
        created: Timestamp(column(row, 4)?),
        revoked: revoked.map(Timestamp),
        expires: expires.map(Timestamp),
    })
}

pub(super) fn key_revoke(db: &Db, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    let query = query("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL");
    let query = query.bind(now.0).bind(id);
    Ok(query.execute(db)? > 0)
}

pub(super) fn meta_get(db: &Db, key: &str) -> Result<Option<String>, StoreError> {
    query("SELECT value FROM meta WHERE key = ?").bind(key).first(db, |row| column(row, 0))
}

pub(super) fn meta_put(db: &Db, key: &str, value: Option<&str>) -> Result<(), StoreError> {
    let query = match value {
        Some(value) => {
            query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").bind(key).bind(value)
        }
        None => query("DELETE FROM meta WHERE key = ?").bind(key),
    };
    query.execute(db)?;
    Ok(())
}
