//! The rows behind the coordinator's outer face, in memory.

use super::MemoryStore;
use crate::error::StoreError;
use crate::rollup;
use crate::service::{AuditEntry, DeliveryRecord, DeliveryState, ServiceStore, WebhookRecord};
use async_trait::async_trait;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Webhooks, deliveries and the audit log.
#[derive(Debug, Default)]
pub(super) struct Service {
    webhooks: BTreeMap<Uuid, WebhookRecord>,
    deliveries: BTreeMap<Uuid, DeliveryRecord>,
    audit: Vec<AuditEntry>,
}

#[async_trait]
impl ServiceStore for MemoryStore {
    async fn job_dispatch(
        &self,
        id: JobId,
        was: &Dispatch,
        to: &Dispatch,
        to_state: JobState,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let mut state = self.lock();
        let outcome =
            state.jobs.get(&id).and_then(|job| rollup::dispatched(job, was, to, to_state, now));
        Ok(outcome.map(|outcome| state.write(outcome, now)))
    }

    async fn owner_bytes(&self, owner: &str) -> Result<u64, StoreError> {
        let state = self.lock();
        let owned = |job: &JobId| {
            state.jobs.get(job).is_some_and(|job| job.owner.as_deref() == Some(owner))
        };
        let records = state.blobs.values().map(|(record, _)| record);
        Ok(records.filter(|r| r.job.as_ref().is_some_and(owned)).map(|r| r.blob.bytes).sum())
    }

    async fn meta_list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let state = self.lock();
        let found = state.meta.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn webhook_put(&self, record: &WebhookRecord) -> Result<(), StoreError> {
        self.lock().service.webhooks.insert(record.id, record.clone());
        Ok(())
    }

    async fn webhook_list(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let mut found: Vec<_> = self.lock().service.webhooks.values().cloned().collect();
        found.sort_by_key(|record| (record.created, record.id));
        Ok(found)
    }

    async fn webhook_delete(&self, id: Uuid) -> Result<bool, StoreError> {
        let service = &mut self.lock().service;
        service.deliveries.retain(|_, delivery| delivery.webhook != id);
        Ok(service.webhooks.remove(&id).is_some())
    }

    async fn outbox_fill(
        &self,
        webhook: Uuid,
        was: i64,
        cursor: i64,
        deliveries: Vec<DeliveryRecord>,
    ) -> Result<bool, StoreError> {
        let service = &mut self.lock().service;
        let Some(record) = service.webhooks.get_mut(&webhook).filter(|r| r.cursor == was) else {
            return Ok(false);
        };
        record.cursor = cursor;
        service.deliveries.extend(deliveries.into_iter().map(|delivery| (delivery.id, delivery)));
        Ok(true)
    }

    async fn outbox_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let state = self.lock();
        let due = |d: &&DeliveryRecord| d.state == DeliveryState::Waiting && d.due <= now;
        let mut found: Vec<_> = state.service.deliveries.values().filter(due).cloned().collect();
        found.sort_by_key(|delivery| (delivery.due, delivery.id));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn delivery_put(&self, record: &DeliveryRecord) -> Result<(), StoreError> {
        let service = &mut self.lock().service;
        if service.webhooks.contains_key(&record.webhook) {
            service.deliveries.insert(record.id, record.clone());
        }
        Ok(())
    }

    async fn deliveries_of(
        &self,
        webhook: Uuid,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let state = self.lock();
        let of = state.service.deliveries.values().filter(|d| d.webhook == webhook);
        let mut found: Vec<_> = of.cloned().collect();
        found.sort_by_key(|delivery| std::cmp::Reverse((delivery.seq, delivery.id)));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn deliveries_prune(&self, seq: i64) -> Result<u64, StoreError> {
        let service = &mut self.lock().service;
        let before = service.deliveries.len();
        service.deliveries.retain(|_, d| d.state == DeliveryState::Waiting || d.seq > seq);
        Ok((before - service.deliveries.len()) as u64)
    }

    async fn audit_add(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let audit = &mut self.lock().service.audit;
        let seq = audit.last().map_or(0, |last| last.seq) + 1;
        audit.push(AuditEntry { seq, ..entry.clone() });
        Ok(())
    }

    async fn audit_list(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let state = self.lock();
        let later = state.service.audit.iter().filter(|entry| entry.seq > after);
        Ok(later.take(limit as usize).cloned().collect())
    }
}
