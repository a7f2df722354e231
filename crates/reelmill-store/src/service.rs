//! What the coordinator's outer face keeps: jobs of the dispatch protocol,
//! webhooks with their outbox, the audit log.

use crate::error::StoreError;
use async_trait::async_trait;
use reelmill_core::dispatch::Dispatch;
use reelmill_core::id::JobId;
use reelmill_core::job::{Job, JobState};
use reelmill_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody who wants to be told of what happens to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookRecord {
    /// Its name.
    pub id: Uuid,
    /// Whose jobs it is told of; all when nobody's.
    #[serde(default)]
    pub owner: Option<String>,
    /// Where to.
    pub url: String,
    /// Words of the history it wants; all when there are none.
    #[serde(default)]
    pub events: Vec<String>,
    /// Secrets to sign with, newest first, as `whsec_<base64>`.
    pub secrets: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The last entry of the history that its outbox has.
    pub cursor: i64,
    /// Deliveries given up in a row.
    #[serde(default)]
    pub failures: u32,
    /// Since when it is switched off, and why.
    #[serde(default)]
    pub disabled: Option<Timestamp>,
}

/// Something to tell a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRecord {
    /// Its name, which the receiver sees: sent again, it is the same.
    pub id: Uuid,
    /// To whom.
    pub webhook: Uuid,
    /// The entry of the history that it tells.
    pub seq: i64,
    /// What happened, a word.
    pub event: String,
    /// The body, as it is sent.
    pub body: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When to try next.
    pub due: Timestamp,
    /// Status of the last answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// What went wrong last.
    #[serde(default)]
    pub error: Option<String>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is to be sent.
    Waiting,
    /// It was taken.
    Delivered,
    /// It was tried often enough.
    GivenUp,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Rises with every line; 0 before it is stored.
    #[serde(default)]
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: a key's name, or what stands for none.
    pub who: String,
    /// From where.
    #[serde(default)]
    pub from: Option<String>,
    /// What: method and path.
    pub what: String,
    /// With which status it was answered.
    pub status: u16,
    /// The request's id.
    pub request: String,
}

/// The rows behind the coordinator's outer face. Each call is one transaction.
#[async_trait]
pub trait ServiceStore: Send + Sync {
    /// Changes what the dispatch protocol knows of a job from `was` to `to`,
    /// and the job's state to `state`; `None`, and nothing done, when it is not
    /// `was` any more or there is no such job. A job that has tasks keeps them.
    async fn job_dispatch(
        &self,
        id: JobId,
        was: &Dispatch,
        to: &Dispatch,
        state: JobState,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Bytes of the blobs that belong to jobs of `owner`.
    async fn owner_bytes(&self, owner: &str) -> Result<u64, StoreError>;

    /// Settings whose name starts with `prefix`, by name.
    async fn meta_list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Stores a webhook, in place of the one with its id.
    async fn webhook_put(&self, record: &WebhookRecord) -> Result<(), StoreError>;

    /// All webhooks, oldest first.
    async fn webhook_list(&self) -> Result<Vec<WebhookRecord>, StoreError>;

    /// Forgets a webhook and its deliveries; `false` when there was none.
    async fn webhook_delete(&self, id: Uuid) -> Result<bool, StoreError>;

    /// Puts deliveries into the outbox and sets their webhook's cursor, both or
    /// neither; `false`, and nothing done, when the cursor is not `was` any more.
    async fn outbox_fill(
        &self,
        webhook: Uuid,
        was: i64,
        cursor: i64,
        deliveries: Vec<DeliveryRecord>,
    ) -> Result<bool, StoreError>;

    /// Deliveries to be sent at `now`, the longest due first.
    async fn outbox_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Stores what became of a delivery.
    async fn delivery_put(&self, record: &DeliveryRecord) -> Result<(), StoreError>;

    /// Deliveries of a webhook, newest first.
    async fn deliveries_of(
        &self,
        webhook: Uuid,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Forgets deliveries that are over and tell entries of the history up to
    /// `seq`; yields how many.
    async fn deliveries_prune(&self, seq: i64) -> Result<u64, StoreError>;

    /// Appends to the audit log.
    async fn audit_add(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// Lines of the audit log after `after` (0: from the start), oldest first.
    async fn audit_list(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
