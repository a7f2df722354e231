//! The rest of the simulated store: what the outer face of the coordinator
//! keeps, passed on like everything else.

use super::store::SimStore;
use async_trait::async_trait;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use reelmill_store::{AuditEntry, DeliveryRecord, ServiceStore, StoreError, WebhookRecord};
use uuid::Uuid;

macro_rules! passed {
    ($($writes:literal $name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl ServiceStore for SimStore {
            $(async fn $name(&self, $($arg: $kind),*) -> $out {
                self.pass($writes, self.real.$name($($arg),*)).await
            })+
        }
    };
}

passed! {
    true job_dispatch(
        id: JobId, was: &Dispatch, to: &Dispatch, state: JobState, now: Timestamp
    ) -> Result<Option<Job>, StoreError>;
    false owner_bytes(owner: &str) -> Result<u64, StoreError>;
    false meta_list(prefix: &str) -> Result<Vec<(String, String)>, StoreError>;
    true webhook_put(record: &WebhookRecord) -> Result<(), StoreError>;
    false webhook_list() -> Result<Vec<WebhookRecord>, StoreError>;
    true webhook_delete(id: Uuid) -> Result<bool, StoreError>;
    true outbox_fill(webhook: Uuid, was: i64, cursor: i64, deliveries: Vec<DeliveryRecord>)
        -> Result<bool, StoreError>;
    false outbox_due(now: Timestamp, limit: u32) -> Result<Vec<DeliveryRecord>, StoreError>;
    true delivery_put(record: &DeliveryRecord) -> Result<(), StoreError>;
    false deliveries_of(webhook: Uuid, limit: u32) -> Result<Vec<DeliveryRecord>, StoreError>;
    true deliveries_prune(seq: i64) -> Result<u64, StoreError>;
    true audit_add(entry: &AuditEntry) -> Result<(), StoreError>;
    false audit_list(after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
