//! Rows about blobs.

use super::rows::{bytes, fault, id, unword, whole, word};
use crate::StoreError;
use crate::records::BlobRecord;
use reelmill_core::id::{BlobId, JobId};
use reelmill_core::task::BlobRef;
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

pub(super) async fn put(db: &mut SqliteConnection, record: BlobRecord) -> Result<(), StoreError> {
    let written = sqlx::query(
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
    .execute(db)
    .await
    .map_err(fault)?;
    match record.job {
        Some(job) if written.rows_affected() == 0 => {
            Err(StoreError::Invalid(format!("there is no job {job}")))
        }
        _ => Ok(()),
    }
}

pub(super) async fn get(
    db: &mut SqliteConnection,
    blob: BlobId,
) -> Result<Option<BlobRecord>, StoreError> {
    let query = sqlx::query("SELECT id, job, created, role, bytes, sha512 FROM blobs WHERE id = ?");
    let found = query.bind(bytes(blob.0)).fetch_optional(db).await.map_err(fault)?;
    found.as_ref().map(record).transpose()
}

pub(super) async fn of(
    db: &mut SqliteConnection,
    job: JobId,
) -> Result<Vec<BlobRecord>, StoreError> {
    let query = sqlx::query(
        "SELECT id, job, created, role, bytes, sha512 FROM blobs WHERE job = ?
         ORDER BY created, id",
    );
    let rows = query.bind(bytes(job.0)).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(record).collect()
}

pub(super) async fn delete(db: &mut SqliteConnection, blob: BlobId) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM blobs WHERE id = ?").bind(bytes(blob.0));
    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
}

pub(super) async fn unreferenced(
    db: &mut SqliteConnection,
    older_than: Timestamp,
    limit: u32,
) -> Result<Vec<BlobRecord>, StoreError> {
    let query = sqlx::query(
        "SELECT id, job, created, role, bytes, sha512 FROM blobs
         WHERE job IS NULL AND loose_since < ? ORDER BY loose_since, id LIMIT ?",
    );
    let rows = query.bind(older_than.0).bind(limit).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<BlobRecord, StoreError> {
    let job: Option<&[u8]> = row.try_get(1).map_err(fault)?;
    let job = job.map(Uuid::from_slice).transpose();
    let size: i64 = row.try_get(4).map_err(fault)?;
    Ok(BlobRecord {
        blob: BlobRef {
            id: BlobId(id(row, 0)?),
            bytes: size.unsigned_abs(),
            sha512: row.try_get(5).map_err(fault)?,
        },
        created: Timestamp(row.try_get(2).map_err(fault)?),
        job: job.map_err(|error| StoreError::Corrupt(error.to_string()))?.map(JobId),
        role: unword(row.try_get(3).map_err(fault)?)?,
    })
}
