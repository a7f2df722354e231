//! Rows about blobs.

use super::db::{Db, Row, column, query, text};
use super::rows::{bytes, id, id_or_none, unword, whole, word};
use crate::StoreError;
use crate::records::{BlobRecord, BlobRole};
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::task::BlobRef;
use reelmill_core::time::Timestamp;

pub(super) fn put(db: &Db, record: &BlobRecord) -> Result<(), StoreError> {
    let written = query(
        "INSERT OR REPLACE INTO blobs (id, job, created, loose_since, role, bytes, sha512)
         SELECT ?1, ?2, ?3, ?3, ?4, ?5, ?6
         WHERE ?2 IS NULL OR EXISTS (SELECT 1 FROM jobs WHERE id = ?2)",
    )
    .bind(bytes(record.blob.id.0))
    .bind(record.job.map(|job| bytes(job.0)))
    .bind(record.created.0)
    .bind(word(&record.role)?)
    .bind(whole(record.blob.bytes))
    .bind(&record.blob.sha512)
    .execute(db)?;
    match record.job {
        Some(job) if written == 0 => Err(StoreError::Invalid(format!("there is no job {job}"))),
        _ => Ok(()),
    }
}

pub(super) fn get(db: &Db, blob: BlobId) -> Result<Option<BlobRecord>, StoreError> {
    let query = query("SELECT id, job, created, role, bytes, sha512 FROM blobs WHERE id = ?");
    query.bind(bytes(blob.0)).first(db, record)
}

pub(super) fn of(db: &Db, job: JobId) -> Result<Vec<BlobRecord>, StoreError> {
    let query = query(
        "SELECT id, job, created, role, bytes, sha512 FROM blobs WHERE job = ?
         ORDER BY created, id",
    );
    query.bind(bytes(job.0)).all(db, record)
}

pub(super) fn delete(db: &Db, blob: BlobId) -> Result<bool, StoreError> {
    let query = query("DELETE FROM blobs WHERE id = ?").bind(bytes(blob.0));
    Ok(query.execute(db)? > 0)
}

/// Forgets the blobs that a completed job needs no more: all but its output.
pub(super) fn let_go(db: &Db, job: JobId) -> Result<Vec<BlobId>, StoreError> {
    let query = query("DELETE FROM blobs WHERE job = ? AND role <> ? RETURNING id");
    let query = query.bind(bytes(job.0)).bind(word(&BlobRole::Output)?);
    let mut dropped = query.all(db, |row| id(row, 0).map(BlobId))?;
    dropped.sort_unstable();
    Ok(dropped)
}

pub(super) fn unreferenced(
    db: &Db,
    older_than: Timestamp,
    limit: u32,
) -> Result<Vec<BlobRecord>, StoreError> {
    let query = query(
        "SELECT id, job, created, role, bytes, sha512 FROM blobs
         WHERE job IS NULL AND loose_since < ? ORDER BY loose_since, id LIMIT ?",
    );
    query.bind(older_than.0).bind(limit).all(db, record)
}

fn record(row: &Row<'_>) -> Result<BlobRecord, StoreError> {
    let size: i64 = column(row, 4)?;
    Ok(BlobRecord {
        blob: BlobRef {
            id: BlobId(id(row, 0)?),
            bytes: size.unsigned_abs(),
            sha512: column(row, 5)?,
        },
        created: Timestamp(column(row, 2)?),
        job: id_or_none(row, 1)?.map(JobId),
        role: unword(text(row, 3)?)?,
    })
}
