//! The rows behind the coordinator's outer face.

use super::rows::{bytes, doc, encode, fault, word};
use super::{SqliteStore, jobs};
use crate::error::StoreError;
use crate::rollup;
use crate::service::{AuditEntry, DeliveryRecord, ServiceStore, WebhookRecord};
use async_trait::async_trait;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

#[async_trait]
impl ServiceStore for SqliteStore {
    async fn job_dispatch(
        &self,
        id: JobId,
        was: &Dispatch,
        to: &Dispatch,
        state: JobState,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let (was, to) = (was.clone(), to.clone());
        self.writer
            .run(move |db| {
                Box::pin(async move {
                    let job = jobs::get(&mut *db, id).await?;
                    let outcome =
                        job.and_then(|job| rollup::dispatched(&job, &was, &to, state, now));
                    match outcome {
                        Some(outcome) => jobs::write(db, outcome, now).await.map(Some),
                        None => Ok(None),
                    }
                })
            })
            .await
    }

    async fn owner_bytes(&self, owner: &str) -> Result<u64, StoreError> {
        let query = sqlx::query_scalar(
            "SELECT ifnull(sum(blobs.bytes), 0) FROM jobs JOIN blobs ON blobs.job = jobs.id
             WHERE jobs.owner = ?",
        );
        let sum: i64 =
            query.bind(owner).fetch_one(&mut *self.reader().await?).await.map_err(fault)?;
        Ok(sum.unsigned_abs())
    }

    async fn meta_list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let query = sqlx::query_as(
            "SELECT key, value FROM meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key",
        );
        query.bind(prefix).fetch_all(&mut *self.reader().await?).await.map_err(fault)
    }

    async fn webhook_put(&self, record: &WebhookRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| Box::pin(put_webhook(db, record))).await
    }

    async fn webhook_list(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let query = sqlx::query("SELECT doc FROM webhooks ORDER BY created, id");
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(fault)?;
        rows.iter().map(|row| doc(row, 0, "a webhook")).collect()
    }

    async fn webhook_delete(&self, id: Uuid) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                Box::pin(async move {
                    let query = sqlx::query("DELETE FROM webhooks WHERE id = ?").bind(bytes(id));
                    Ok(query.execute(db).await.map_err(fault)?.rows_affected() > 0)
                })
            })
            .await
    }

    async fn outbox_fill(
        &self,
        webhook: Uuid,
        was: i64,
        cursor: i64,
        deliveries: Vec<DeliveryRecord>,
    ) -> Result<bool, StoreError> {
        self.writer.run(move |db| Box::pin(fill(db, webhook, was, cursor, deliveries))).await
    }

    async fn outbox_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT doc FROM deliveries WHERE state = 'waiting' AND due <= ?
             ORDER BY due, id LIMIT ?",
        );
        let query = query.bind(now.0).bind(limit);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(fault)?;
        rows.iter().map(|row| doc(row, 0, "a delivery")).collect()
    }

    async fn delivery_put(&self, record: &DeliveryRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| Box::pin(async move { put_delivery(db, &record).await })).await
    }

    async fn deliveries_of(
        &self,
        webhook: Uuid,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT doc FROM deliveries WHERE webhook = ? ORDER BY seq DESC, id DESC LIMIT ?",
        );
        let query = query.bind(bytes(webhook)).bind(limit);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(fault)?;
        rows.iter().map(|row| doc(row, 0, "a delivery")).collect()
    }

    async fn deliveries_prune(&self, seq: i64) -> Result<u64, StoreError> {
        self.writer
            .run(move |db| {
                Box::pin(async move {
                    let query =
                        sqlx::query("DELETE FROM deliveries WHERE state != 'waiting' AND seq <= ?");
                    Ok(query.bind(seq).execute(db).await.map_err(fault)?.rows_affected())
                })
            })
            .await
    }

    async fn audit_add(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let (at, entry) = (entry.at.0, encode(entry)?);
        self.writer
            .run(move |db| {
                Box::pin(async move {
                    let query = sqlx::query("INSERT INTO audit (at, doc) VALUES (?, ?)");
                    query.bind(at).bind(entry).execute(db).await.map_err(fault)?;
                    Ok(())
                })
            })
            .await
    }

    async fn audit_list(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let query = sqlx::query("SELECT seq, doc FROM audit WHERE seq > ? ORDER BY seq LIMIT ?");
        let query = query.bind(after).bind(limit);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(fault)?;
        let entry = |row| {
            let entry: AuditEntry = doc(row, 1, "a line of the audit log")?;
            Ok(AuditEntry { seq: row.try_get(0).map_err(fault)?, ..entry })
        };
        rows.iter().map(entry).collect()
    }
}

async fn put_webhook(db: &mut SqliteConnection, record: WebhookRecord) -> Result<(), StoreError> {
    // Not REPLACE: that would take the deliveries along.
    sqlx::query(
        "INSERT INTO webhooks (id, owner, created, doc) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET owner = ?2, created = ?3, doc = ?4",
    )
    .bind(bytes(record.id))
    .bind(&record.owner)
    .bind(record.created.0)
    .bind(encode(&record)?)
    .execute(db)
    .await
    .map_err(fault)?;
    Ok(())
}

async fn fill(
    db: &mut SqliteConnection,
    webhook: Uuid,
    was: i64,
    cursor: i64,
    deliveries: Vec<DeliveryRecord>,
) -> Result<bool, StoreError> {
    let query = sqlx::query("SELECT doc FROM webhooks WHERE id = ?").bind(bytes(webhook));
    let row = query.fetch_optional(&mut *db).await.map_err(fault)?;
    let record: Option<WebhookRecord> = row.map(|row| doc(&row, 0, "a webhook")).transpose()?;
    let Some(record) = record.filter(|record| record.cursor == was) else { return Ok(false) };
    put_webhook(&mut *db, WebhookRecord { cursor, ..record }).await?;
    for delivery in &deliveries {
        put_delivery(&mut *db, delivery).await?;
    }
    Ok(true)
}

async fn put_delivery(
    db: &mut SqliteConnection,
    record: &DeliveryRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO deliveries (id, webhook, seq, state, due, doc)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM webhooks WHERE id = ?2)",
    )
    .bind(bytes(record.id))
    .bind(bytes(record.webhook))
    .bind(record.seq)
    .bind(word(&record.state)?)
    .bind(record.due.0)
    .bind(encode(record)?)
    .execute(db)
    .await
    .map_err(fault)?;
    Ok(())
}
