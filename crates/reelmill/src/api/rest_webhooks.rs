//! Webhooks: make, list, delete, rotate, switch on again, see what was sent.

use super::ApiState;
use super::auth::{Auth, Caller};
use super::body::{Json, Named};
use super::error::{ApiError, CREATED, NO_CONTENT};
use super::operation::{Content, Operation, Paths, Whom};
use super::wire::Page;
use crate::coordinator::NewWebhook;
use axum::Extension;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use reelmill_core::error::Failure;
use reelmill_core::time::Timestamp;
use reelmill_store::{DeliveryRecord, KeyRole, WebhookRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A webhook to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookRequest {
    /// Where to send: http or https.
    #[schemars(length(min = 1, max = 2048))]
    pub(crate) url: String,
    /// What to tell, for example `job.completed`; everything when empty.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub(crate) events: Vec<String>,
}

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WebhookView {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whose jobs it is told of.
    pub(crate) owner: Option<String>,
    /// Where to.
    pub(crate) url: String,
    /// What it is told.
    pub(crate) events: Vec<String>,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Deliveries given up in a row.
    pub(crate) failures: u32,
    /// Since when it is switched off, because nothing reached it.
    pub(crate) disabled: Option<Timestamp>,
}

/// A webhook with its secret, which is shown now or never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NewWebhookView {
    /// What to check signatures with.
    pub(crate) secret: String,
    /// The webhook.
    #[serde(flatten)]
    pub(crate) view: WebhookView,
}

impl From<WebhookRecord> for WebhookView {
    fn from(record: WebhookRecord) -> Self {
        let WebhookRecord { id, owner, url, events, created, failures, disabled, .. } = record;
        Self { id, owner, url, events, created, failures, disabled }
    }
}

fn with_secret(record: WebhookRecord) -> NewWebhookView {
    let secret = record.secrets.first().cloned().unwrap_or_default();
    NewWebhookView { secret, view: record.into() }
}

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |method, path, id, summary| Operation::new(Whom::Clients, method, path, id, summary);
    let (all, one) = ("/api/v1/webhooks", "/api/v1/webhooks/{webhook}");
    Paths::new(auth)
        .on(
            op(Method::GET, all, "listWebhooks", "Webhooks").gives::<Page<WebhookView>>(200, "All"),
            list,
        )
        .on(
            op(Method::POST, all, "createWebhook", "Be told of what happens to jobs")
                .takes::<WebhookRequest>()
                .gives::<NewWebhookView>(201, "The webhook; its secret is shown only now"),
            create,
        )
        .on(op(Method::GET, one, "getWebhook", "A webhook").gives::<WebhookView>(200, "It"), show)
        .on(
            op(Method::DELETE, one, "deleteWebhook", "Be told no more").sends(
                204,
                "It is gone",
                Content::Nothing,
            ),
            delete,
        )
        .on(
            op(
                Method::POST,
                "/api/v1/webhooks/{webhook}/rotate",
                "rotateWebhook",
                "Get a new secret",
            )
            .gives::<NewWebhookView>(200, "The secret before signs too until the next rotation"),
            rotate,
        )
        .on(
            op(
                Method::POST,
                "/api/v1/webhooks/{webhook}/enable",
                "enableWebhook",
                "Switch it on again",
            )
            .gives::<WebhookView>(200, "The webhook"),
            enable,
        )
        .on(
            op(
                Method::GET,
                "/api/v1/webhooks/{webhook}/deliveries",
                "listDeliveries",
                "What was sent",
            )
            .gives::<Page<DeliveryRecord>>(200, "The newest 200"),
            deliveries,
        )
}

async fn find(api: &ApiState, caller: &Caller, id: Uuid) -> Result<WebhookRecord, ApiError> {
    let found = api.coordinator.webhook(id).await?;
    let found = found.filter(|record| caller.sees(record.owner.as_deref()));
    found.ok_or_else(|| nothing(id))
}

fn nothing(id: Uuid) -> ApiError {
    ApiError::missing(Failure::permanent(format!("there is no webhook {id}")))
}

async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<Page<WebhookView>>, ApiError> {
    let all = api.coordinator.store().webhook_list().await.map_err(Failure::from)?;
    let own = all.into_iter().filter(|record| caller.sees(record.owner.as_deref()));
    Ok(axum::Json(Page::whole(own.map(WebhookView::from).collect())))
}

async fn create(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<WebhookRequest>,
) -> Result<(StatusCode, axum::Json<NewWebhookView>), ApiError> {
    // An admin hears of all jobs, others of their own.
    let owner = match caller.role {
        KeyRole::Admin => None,
        _ => Some(caller.name.unwrap_or_default()),
    };
    let new = NewWebhook { owner, url: request.url, events: request.events };
    let record = api.coordinator.webhook_create(new).await?;
    Ok((CREATED, axum::Json(with_secret(record))))
}

async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<WebhookView>, ApiError> {
    Ok(axum::Json(find(&api, &caller, id).await?.into()))
}

async fn delete(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<StatusCode, ApiError> {
    find(&api, &caller, id).await?;
    api.coordinator.store().webhook_delete(id).await.map_err(Failure::from)?;
    Ok(NO_CONTENT)
}

async fn rotate(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<NewWebhookView>, ApiError> {
    find(&api, &caller, id).await?;
    let record = api.coordinator.webhook_rotate(id).await?.ok_or_else(|| nothing(id))?;
    Ok(axum::Json(with_secret(record)))
}

async fn enable(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<WebhookView>, ApiError> {
    find(&api, &caller, id).await?;
    let record = api.coordinator.webhook_enable(id).await?.ok_or_else(|| nothing(id))?;
    Ok(axum::Json(record.into()))
}

async fn deliveries(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<Page<DeliveryRecord>>, ApiError> {
    find(&api, &caller, id).await?;
    let items = api.coordinator.store().deliveries_of(id, 200).await.map_err(Failure::from)?;
    Ok(axum::Json(Page::whole(items)))
}
