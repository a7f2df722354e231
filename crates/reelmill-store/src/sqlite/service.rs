//! The rows behind the coordinator's outer face.

use super::db::{Db, Row, column, query};
use super::rows::{bytes, doc, encode, word};
use super::{SqliteStore, jobs};
use crate::error::StoreError;
use crate::rollup;
use crate::service::{AuditEntry, DeliveryRecord, ServiceStore, WebhookRecord};
use async_trait::async_trait;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
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
                let job = jobs::get(db, id)?;
                let outcome = job.and_then(|job| rollup::dispatched(&job, &was, &to, state, now));
                outcome.map(|outcome| jobs::write(db, outcome, now)).transpose()
            })
            .await
    }

    async fn owner_bytes(&self, owner: &str) -> Result<u64, StoreError> {
        let query = query(
            "SELECT ifnull(sum(blobs.bytes), 0) FROM jobs JOIN blobs ON blobs.job = jobs.id
             WHERE jobs.owner = ?",
        );
        let query = query.bind(owner);
        let sum: i64 = self.search(move |db| query.value(db)).await?;
        Ok(sum.unsigned_abs())
    }

    async fn meta_list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let query =
            query("SELECT key, value FROM meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key");
        let pair = |row: &Row<'_>| Ok((column(row, 0)?, column(row, 1)?));
        self.look(|db| query.bind(prefix).all(db, pair)).await
    }

    async fn webhook_put(&self, record: &WebhookRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| put_webhook(db, &record)).await
    }

    async fn webhook_list(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let query = query("SELECT doc FROM webhooks ORDER BY created, id");
        self.look(|db| query.all(db, |row| doc(row, 0, "a webhook"))).await
    }

    async fn webhook_delete(&self, id: Uuid) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let query = query("DELETE FROM webhooks WHERE id = ?").bind(bytes(id));
                Ok(query.execute(db)? > 0)
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
        self.writer.run(move |db| fill(db, webhook, was, cursor, &deliveries)).await
    }

    async fn outbox_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let query = query(
            "SELECT doc FROM deliveries WHERE state = 'waiting' AND due <= ?
             ORDER BY due, id LIMIT ?",
        );
        let query = query.bind(now.0).bind(limit);
        self.look(|db| query.all(db, |row| doc(row, 0, "a delivery"))).await
    }

    async fn delivery_put(&self, record: &DeliveryRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.writer.run(move |db| put_delivery(db, &record)).await
    }

    async fn deliveries_of(
        &self,
        webhook: Uuid,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let query = query(
            "SELECT doc FROM deliveries WHERE webhook = ? ORDER BY seq DESC, id DESC LIMIT ?",
        );
        let query = query.bind(bytes(webhook)).bind(limit);
        self.look(|db| query.all(db, |row| doc(row, 0, "a delivery"))).await
    }

    async fn deliveries_prune(&self, seq: i64) -> Result<u64, StoreError> {
        self.writer
            .run(move |db| {
                let query = query("DELETE FROM deliveries WHERE state != 'waiting' AND seq <= ?");
                Ok(query.bind(seq).execute(db)? as u64)
            })
            .await
    }

    async fn audit_add(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let (at, entry) = (entry.at.0, encode(entry)?);
        self.writer
            .run(move |db| {
                let query = query("INSERT INTO audit (at, doc) VALUES (?, ?)");
                query.bind(at).bind(entry).execute(db).map(|_| ())
            })
            .await
    }

    async fn audit_list(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let query = query("SELECT seq, doc FROM audit WHERE seq > ? ORDER BY seq LIMIT ?");
        let query = query.bind(after).bind(limit);
        let entry = |row: &Row<'_>| {
            let entry: AuditEntry = doc(row, 1, "a line of the audit log")?;
            Ok(AuditEntry { seq: column(row, 0)?, ..entry })
        };
        self.search(move |db| query.all(db, entry)).await
    }
}

fn put_webhook(db: &Db, record: &WebhookRecord) -> Result<(), StoreError> {
    // Not REPLACE: that would take the deliveries along.
    query(
        "INSERT INTO webhooks (id, owner, created, doc) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET owner = ?2, created = ?3, doc = ?4",
    )
    .bind(bytes(record.id))
    .bind(&record.owner)
    .bind(record.created.0)
    .bind(encode(record)?)
    .execute(db)?;
    Ok(())
}

fn fill(
    db: &Db,
    webhook: Uuid,
    was: i64,
    cursor: i64,
    deliveries: &[DeliveryRecord],
) -> Result<bool, StoreError> {
    let query = query("SELECT doc FROM webhooks WHERE id = ?").bind(bytes(webhook));
    let record: Option<WebhookRecord> = query.first(db, |row| doc(row, 0, "a webhook"))?;
    let Some(record) = record.filter(|record| record.cursor == was) else { return Ok(false) };
    put_webhook(db, &WebhookRecord { cursor, ..record })?;
    for delivery in deliveries {
        put_delivery(db, delivery)?;
    }
    Ok(true)
}

fn put_delivery(db: &Db, record: &DeliveryRecord) -> Result<(), StoreError> {
    query(
        "INSERT OR REPLACE INTO deliveries (id, webhook, seq, state, due, doc)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM webhooks WHERE id = ?2)",
    )
    .bind(bytes(record.id))
    .bind(bytes(record.webhook))
    .bind(record.seq)
    .bind(word(&record.state)?)
    .bind(record.due.0)
    .bind(encode(record)?)
    .execute(db)?;
    Ok(())
}
