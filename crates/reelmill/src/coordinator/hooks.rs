//! Telling webhooks what happens to jobs, as Standard Webhooks 1.0 has it. The
//! history, written in the same transaction as each change, is what the outbox
//! is filled from: nothing that happened is left untold by a crash.

use super::Coordinator;
use crate::clock;
use crate::metrics::{add, metrics};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use reelmill_core::time::Timestamp;
use reelmill_store::{DeliveryRecord, DeliveryState, HistoryEntry, WebhookRecord};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Pauses before the second and later attempts, seconds, as the standard
/// proposes; then it is given up.
const PAUSES: [i64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Longest that a receiver may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Deliveries given up in a row after which a webhook is switched off.
const MAX_FAILURES: u32 = 5;

/// Entries of the history looked at, and deliveries sent, in one round; those
/// sent at once.
const ROUND: u32 = 200;
const AT_ONCE: usize = 16;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// Most webhooks, and most events of one.
const MAX_WEBHOOKS: usize = 1000;

/// Words of a job's history that webhooks are told of.
const TOLD: &[&str] = &[
    "submitted",
    "uploaded",
    "started",
    "completed",
    "failed",
    "cancelled",
    "rejected",
    "skipped",
    "reopened",
    "replanned",
    "priority",
    "stage",
    "dispatched",
    "fetch_failed",
];

/// A webhook to make.
#[derive(Debug, Clone)]
pub(crate) struct NewWebhook {
    /// Whose jobs it is told of; all when nobody's.
    pub(crate) owner: Option<String>,
    /// Where to.
    pub(crate) url: String,
    /// What it wants to hear of, as `job.completed`; all when there is none.
    pub(crate) events: Vec<String>,
}

/// A new secret.
fn secret() -> Result<String, Failure> {
    Ok(format!("whsec_{}", STANDARD.encode(clock::secret::<32>()?)))
}

/// The signature of a message, one for each secret.
///
/// # Errors
/// When a secret is not `whsec_` and base64.
pub(crate) fn sign(
    secrets: &[String],
    id: &str,
    seconds: i64,
    body: &str,
) -> Result<String, Failure> {
    let broken = || Failure::environment("a webhook's secret is broken").advise("rotate it");
    let mut signatures = Vec::new();
    for secret in secrets {
        let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key.ok_or_else(broken)?).map_err(|_| broken())?;
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
    Ok(signatures.join(" "))
}

/// When to try again after `attempts` that failed; `None`: never. `chance` in
/// 0..1 spreads the pauses out.
fn next_try(attempts: u32, chance: f64) -> Option<i64> {
    let pause = PAUSES.get(attempts.saturating_sub(1) as usize)?;
    Some((*pause as f64 * 1e6 * (0.8 + 0.4 * chance)) as i64)
}

impl Coordinator {
    /// Makes a webhook; its secret is in the record.
    ///
    /// # Errors
    /// When its address may not be reached, or it wants what is never told.
    pub(crate) async fn webhook_create(&self, new: NewWebhook) -> Result<WebhookRecord, Failure> {
        self.outside()?.check(&new.url)?;
        let told =
            |event: &String| event.strip_prefix("job.").is_some_and(|word| TOLD.contains(&word));
        if let Some(event) = new.events.iter().find(|event| !told(event)) {
            let words: Vec<String> = TOLD.iter().map(|word| format!("job.{word}")).collect();
            return Err(Failure::permanent(format!("there is no event '{event}'"))
                .advise(format!("choose among {}", words.join(", "))));
        }
        if self.store.webhook_list().await?.len() >= MAX_WEBHOOKS {
            return Err(Failure::permanent("there are too many webhooks").advise("delete some"));
        }
        let record = WebhookRecord {
            id: clock::fresh(),
            owner: new.owner,
            url: new.url,
            events: new.events,
            secrets: vec![secret()?],
            created: clock::now(),
            cursor: self.store.history_last().await?,
            failures: 0,
            disabled: None,
        };
        self.store.webhook_put(&record).await?;
        Ok(record)
    }

    /// The webhook `id`.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn webhook(&self, id: Uuid) -> Result<Option<WebhookRecord>, Failure> {
        Ok(self.store.webhook_list().await?.into_iter().find(|record| record.id == id))
    }

    /// Gives a webhook a new secret; the one before signs too until the next
    /// rotation.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn webhook_rotate(&self, id: Uuid) -> Result<Option<WebhookRecord>, Failure> {
        let secret = secret()?;
        self.change_webhook(id, |record| {
            record.secrets.insert(0, secret);
            record.secrets.truncate(2);
        })
        .await
    }

    /// Switches a webhook on again; what happened meanwhile is not told.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn webhook_enable(&self, id: Uuid) -> Result<Option<WebhookRecord>, Failure> {
        let last = self.store.history_last().await?;
        self.change_webhook(id, |record| {
            if record.disabled.take().is_some() {
                record.failures = 0;
                record.cursor = last;
            }
        })
        .await
    }

    async fn change_webhook(
        &self,
        id: Uuid,
        change: impl FnOnce(&mut WebhookRecord),
    ) -> Result<Option<WebhookRecord>, Failure> {
        let _one_at_a_time = self.hooking.lock().await;
        let Some(mut record) = self.webhook(id).await? else { return Ok(None) };
        change(&mut record);
        self.store.webhook_put(&record).await?;
        Ok(Some(record))
    }

    /// Tells webhooks until `stop`.
    pub(crate) async fn keep_telling(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(failure) = self.tell_round().await {
                tracing::error!(%failure, "cannot tell webhooks; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// One round of telling; tests call it alone.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn tell_round(&self) -> Result<(), Failure> {
        self.fill_outboxes().await?;
        let due = self.store.outbox_due(clock::now(), ROUND).await?;
        let sent = futures::stream::iter(due).map(|delivery| self.send(delivery));
        let mut sent = sent.buffer_unordered(AT_ONCE);
        while let Some(done) = sent.next().await {
            done?;
        }
        Ok(())
    }

    async fn fill_outboxes(&self) -> Result<(), Failure> {
        let _one_at_a_time = self.hooking.lock().await;
        for hook in self.store.webhook_list().await? {
            if hook.disabled.is_some() {
                continue;
            }
            let entries = self.store.history_since(hook.cursor, ROUND).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { continue };
            let mut deliveries = Vec::new();
            for entry in entries {
                if let Some(delivery) = self.delivery(&hook, &entry).await? {
                    deliveries.push(delivery);
                }
            }
            self.store.outbox_fill(hook.id, hook.cursor, last, deliveries).await?;
        }
        Ok(())
    }

    /// What `hook` is to be told of `entry`, if anything.
    async fn delivery(
        &self,
        hook: &WebhookRecord,
        entry: &HistoryEntry,
    ) -> Result<Option<DeliveryRecord>, Failure> {
        let word = entry.event["event"].as_str().unwrap_or_default();
        let event = format!("job.{word}");
        let wanted = hook.events.is_empty() || hook.events.contains(&event);
        if entry.task.is_some() || !TOLD.contains(&word) || !wanted {
            return Ok(None);
        }
        let Some(job) = self.job(entry.job).await? else { return Ok(None) };
        if hook.owner.is_some() && hook.owner != job.owner {
            return Ok(None);
        }
        Ok(Some(DeliveryRecord {
            id: clock::fresh(),
            webhook: hook.id,
            seq: entry.seq,
            body: body(&event, entry, &job),
            event,
            state: DeliveryState::Waiting,
            attempts: 0,
            due: entry.at,
            status: None,
            error: None,
        }))
    }

    async fn send(&self, mut delivery: DeliveryRecord) -> Result<(), Failure> {
        let Some(hook) = self.webhook(delivery.webhook).await? else { return Ok(()) };
        if hook.disabled.is_some() {
            delivery.state = DeliveryState::GivenUp;
            delivery.error = Some("the webhook is switched off".to_owned());
            return Ok(self.store.delivery_put(&delivery).await?);
        }
        let answer = self.post(&hook, &delivery).await;
        delivery.attempts += 1;
        let gone = matches!(answer, Ok(410));
        (delivery.status, delivery.error) = match answer {
            Ok(status) => (Some(status), None),
            Err(failure) => (None, Some(failure.message)),
        };
        let taken = delivery.status.is_some_and(|status| (200..300).contains(&status));
        let now = clock::now();
        let figure = if taken { &metrics().hooks_delivered } else { &metrics().hooks_failed };
        add(figure, 1);
        let given_up = match next_try(delivery.attempts, clock::chance()) {
            _ if taken => {
                delivery.state = DeliveryState::Delivered;
                false
            }
            Some(pause) if !gone => {
                delivery.due = now.plus_micros(pause);
                false
            }
            _ => {
                delivery.state = DeliveryState::GivenUp;
                true
            }
        };
        self.store.delivery_put(&delivery).await?;
        self.judge(&hook, taken, given_up, gone, now).await
    }

    /// Switches off whom nothing reaches.
    async fn judge(
        &self,
        hook: &WebhookRecord,
        taken: bool,
        given_up: bool,
        gone: bool,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if !(given_up || taken && hook.failures > 0) {
            return Ok(());
        }
        let change = |record: &mut WebhookRecord| {
            record.failures = if taken { 0 } else { record.failures + 1 };
            if gone || record.failures >= MAX_FAILURES {
                tracing::warn!(webhook = %record.id, "nothing reaches it; it is switched off");
                record.disabled = Some(now);
            }
        };
        self.change_webhook(hook.id, change).await.map(|_| ())
    }

    async fn post(&self, hook: &WebhookRecord, delivery: &DeliveryRecord) -> Result<u16, Failure> {
        let id = format!("msg_{}", delivery.id.simple());
        let seconds = clock::now().0 / 1_000_000;
        let signature = sign(&hook.secrets, &id, seconds, &delivery.body)?;
        let request = self.outside()?.request(Method::POST, &hook.url)?;
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signature)
            .header(CONTENT_TYPE, "application/json")
            .timeout(ANSWER_TIME)
            .body(delivery.body.clone());
        // What the receiver says beyond its status is nobody's business.
        let response = request.send().await.map_err(|error| {
            Failure::transient(format!("no answer: {}", crate::servers::tell(&error)))
        })?;
        Ok(response.status().as_u16())
    }
}

/// What a receiver reads.
fn body(event: &str, entry: &HistoryEntry, job: &Job) -> String {
    let at = jiff::Timestamp::from_microsecond(entry.at.0).map(|at| at.to_string());
    let output = job.output.as_ref();
    serde_json::json!({
        "type": event,
        "timestamp": at.unwrap_or_default(),
        "data": {
            "job": {
                "id": job.id, "name": job.name, "state": job.state, "labels": job.labels,
                "owner": job.owner, "item": job.item, "priority": job.priority,
                "output": output.map(|o| serde_json::json!({"bytes": o.bytes, "sha512": o.sha512})),
                "failure": job.failure,
            },
            "seq": entry.seq,
            "event": entry.event,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the standard's own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let body = "{\"test\": 2432232314}";
        let signed = sign(
            std::slice::from_ref(&secret),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed.unwrap(), wanted);
        let both =
            sign(&[secret.clone(), secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(both.unwrap(), format!("{wanted} {wanted}"));
        assert!(sign(&["whsec_%".to_owned()], "m", 1, body).is_err());
    }

    #[test]
    fn pauses_grow_spread_out_and_end() {
        for (attempt, pause) in PAUSES.iter().enumerate() {
            let of = |chance| next_try(attempt as u32 + 1, chance).unwrap();
            assert!(of(0.0) >= pause * 800_000 && of(1.0) <= pause * 1_200_000);
            assert!(of(0.0) < of(0.5) && of(0.5) < of(1.0));
        }
        assert_eq!(next_try(PAUSES.len() as u32 + 1, 0.5), None);
    }
}
