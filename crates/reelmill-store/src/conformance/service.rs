//! Jobs of the dispatch protocol, the outbox, the audit log.

use super::fixture::*;
use crate::{
    AuditEntry, BlobRecord, BlobRole, DeliveryRecord, DeliveryState, JobFilter, KeyRecord, KeyRole,
    NewJob, Store, WebhookRecord,
};
use reelmill_core::dispatch::{Dispatch, DispatchEvent};
use reelmill_core::job::{Job, JobState, Source};
use uuid::Uuid;

fn dispatch() -> Dispatch {
    Dispatch {
        source_url: "http://a/b.mp4".into(),
        target_codec: "h264".into(),
        job_size: 0.1 + 0.2,
        max_retries: 0,
        retries: 0,
        priority: 0,
        engine: None,
        output_url: None,
        error_message: None,
        inside: false,
    }
}

pub(super) async fn a_dispatched_job_changes_only_from_what_it_was(store: &dyn Store) {
    let source = Source::Url { url: "http://a/b.mp4".into() };
    let dispatch = dispatch();
    let waiting = Job {
        state: JobState::Uploading,
        source,
        dispatch: Some(Box::new(dispatch.clone())),
        ..job(1)
    };
    let new = NewJob { job: waiting, idempotency_key: None, tasks: vec![] };
    store.job_submit(new).await.unwrap();
    let assign = DispatchEvent::Assign { engine: "e".into() };
    let (to, state) = dispatch.happen(JobState::Uploading, &assign).unwrap();
    let done = store.job_dispatch(job_id(1), &dispatch, &to, state, at(5)).await.unwrap().unwrap();
    assert_eq!((done.state, done.updated), (JobState::Running, at(5)));
    assert_eq!(the_job(store, 1).await, done);
    let again = store.job_dispatch(job_id(1), &dispatch, &to, state, at(6)).await.unwrap();
    assert_eq!(again, None, "two assign calls at once: one wins");
    let fail = DispatchEvent::Fail { message: "burnt".into() };
    let (failed, state) = to.happen(state, &fail).unwrap();
    let done = store.job_dispatch(job_id(1), &to, &failed, state, at(7)).await.unwrap().unwrap();
    assert_eq!((done.state, done.ended), (JobState::Failed, Some(at(7))));
    assert!(done.failure.unwrap().message.contains("burnt"));
    assert_eq!(events(store, 1).await, ["submitted", "dispatched", "dispatched"]);
    assert_eq!(store.job_dispatch(job_id(9), &to, &to, state, at(8)).await.unwrap(), None);
}

fn webhook(number: u128) -> WebhookRecord {
    WebhookRecord {
        id: Uuid::from_u128(number),
        owner: Some("anna".into()),
        url: "https://hooks.example/x".into(),
        events: vec!["completed".into()],
        secrets: vec!["whsec_AAAA".into()],
        created: at(number as i64),
        cursor: 0,
        failures: 0,
        disabled: None,
    }
}

fn delivery(number: u128, seq: i64) -> DeliveryRecord {
    DeliveryRecord {
        id: Uuid::from_u128(number),
        webhook: Uuid::from_u128(1),
        seq,
        event: "completed".into(),
        body: "{}".into(),
        state: DeliveryState::Waiting,
        attempts: 0,
        due: at(seq),
        status: None,
        error: None,
    }
}

pub(super) async fn an_outbox_is_filled_once_and_emptied_by_due_time(store: &dyn Store) {
    let hook = webhook(1);
    store.webhook_put(&hook).await.unwrap();
    store.webhook_put(&webhook(2)).await.unwrap();
    let (one, two) = (delivery(11, 3), delivery(12, 2));
    let fill =
        async |was, deliveries| store.outbox_fill(hook.id, was, 3, deliveries).await.unwrap();
    assert!(fill(0, vec![one.clone(), two.clone()]).await);
    assert!(!fill(0, vec![delivery(13, 9)]).await, "another dispatcher was faster");
    assert!(!store.outbox_fill(Uuid::from_u128(9), 0, 1, vec![]).await.unwrap());
    let listed = store.webhook_list().await.unwrap();
    assert_eq!(listed, [WebhookRecord { cursor: 3, ..hook.clone() }, webhook(2)]);
    assert_eq!(store.outbox_due(at(2), 9).await.unwrap(), std::slice::from_ref(&two));
    assert_eq!(store.outbox_due(at(9), 9).await.unwrap(), [two.clone(), one.clone()]);
    let sent = DeliveryRecord { state: DeliveryState::Delivered, attempts: 1, ..two.clone() };
    store.delivery_put(&sent).await.unwrap();
    assert_eq!(store.outbox_due(at(9), 9).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.deliveries_of(hook.id, 9).await.unwrap(), [one.clone(), sent.clone()]);
    assert_eq!(store.deliveries_of(hook.id, 1).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.deliveries_prune(3).await.unwrap(), 1, "what waits stays");
    // Changing a webhook keeps its outbox; deleting it does not.
    store.webhook_put(&WebhookRecord { failures: 2, ..listed[0].clone() }).await.unwrap();
    assert_eq!(store.outbox_due(at(9), 9).await.unwrap().len(), 1);
    assert!(store.webhook_delete(hook.id).await.unwrap());
    assert!(!store.webhook_delete(hook.id).await.unwrap());
    store.delivery_put(&one).await.unwrap();
    assert!(store.outbox_due(at(9), 9).await.unwrap().is_empty());
}

pub(super) async fn the_audit_log_only_grows(store: &dyn Store) {
    let entry = |what: &str| AuditEntry {
        seq: 0,
        at: at(1),
        who: "anna".into(),
        from: Some("127.0.0.1".into()),
        what: what.into(),
        status: 200,
        request: "r".into(),
    };
    for what in ["a", "b", "c"] {
        store.audit_add(&entry(what)).await.unwrap();
    }
    let all = store.audit_list(0, 10).await.unwrap();
    let told: Vec<(i64, &str)> = all.iter().map(|line| (line.seq, line.what.as_str())).collect();
    assert_eq!(told, [(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(store.audit_list(1, 1).await.unwrap(), [AuditEntry { seq: 2, ..entry("b") }]);
}

pub(super) async fn what_an_owner_keeps_is_counted(store: &dyn Store) {
    let owned = Job { owner: Some("anna".into()), ..job(1) };
    store.job_submit(new_job(owned)).await.unwrap();
    submit(store, 2).await;
    for (number, job) in [(1, 1), (2, 1), (3, 2)] {
        let job = Some(job_id(job));
        let row = BlobRecord { blob: blob(number), created: at(1), job, role: BlobRole::Part };
        store.blob_put(&row).await.unwrap();
    }
    assert_eq!(store.owner_bytes("anna").await.unwrap(), 2000);
    assert_eq!(store.owner_bytes("bert").await.unwrap(), 0);
}

pub(super) async fn settings_are_listed_by_their_beginning(store: &dyn Store) {
    for key in ["engine:b", "engine:a", "engine", "enginf:c", "engine:%"] {
        store.meta_put(key, Some(key)).await.unwrap();
    }
    let found = store.meta_list("engine:").await.unwrap();
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["engine:%", "engine:a", "engine:b"]);
}

pub(super) async fn jobs_are_listed_by_time(store: &dyn Store) {
    for number in 1..=4 {
        submit(store, number).await;
    }
    let filter =
        JobFilter { since: Some(at(2)), until: Some(at(4)), limit: 9, ..JobFilter::default() };
    let found = store.job_list(&filter).await.unwrap();
    assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), [job_id(3), job_id(2)]);
    let none = JobFilter { label: Some(("a".into(), "b".into())), ..filter };
    assert!(store.job_list(&none).await.unwrap().is_empty());
}

pub(super) async fn keys_end_at_their_time(store: &dyn Store) {
    let key = KeyRecord {
        id: "e".into(),
        name: "for a worker".into(),
        role: KeyRole::Enrol,
        hash: "ab".repeat(32),
        created: at(1),
        revoked: None,
        expires: Some(at(9)),
    };
    store.key_put(&key).await.unwrap();
    let found = store.key_by_id("e").await.unwrap().unwrap();
    assert_eq!(found, key);
    assert!(found.is_live(at(8)) && !found.is_live(at(9)));
    let (one, two) = (store.key_revoke("e", at(2)).await, store.key_revoke("e", at(2)).await);
    assert_eq!((one.unwrap(), two.unwrap()), (true, false), "it is used once");
}
