//! Workers, blob rows, keys, settings.

use super::fixture::*;
use crate::{
    BlobRecord, BlobRole, KeyRecord, KeyRole, Store, StoreError, WorkerRecord, WorkerState,
};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::id::SessionId;
use reelmill_core::schedule::{ProvenEncoder, WorkerFacts};
use serde_json::json;
use uuid::Uuid;

fn a_worker(number: u128, name: &str) -> WorkerRecord {
    let fingerprint = "x264-164".to_owned();
    let facts = WorkerFacts {
        id: worker(number),
        encoders: vec![ProvenEncoder { encoder: VideoEncoder::X264, fingerprint }],
        house: true,
        encodes: true,
        streams: true,
    };
    WorkerRecord {
        facts,
        name: name.into(),
        session: SessionId(Uuid::from_u128(number)),
        slots: 2,
        version: "0.1.0".into(),
        started: at(1),
        seen: at(1),
        state: WorkerState::Active,
        speeds: [(VideoEncoder::X264, 0.1 + 0.2)].into(),
        benchmarks: [(VideoEncoder::X265, 0.7)].into(),
        limit: Some(1),
        key: Some("4f1c".into()),
        details: json!({"cores": 2, "load": 0.3}),
    }
}

pub(super) async fn workers_are_kept_and_seen(store: &dyn Store) {
    let mut one = a_worker(1, "zoe");
    store.worker_put(&one).await.unwrap();
    store.worker_put(&a_worker(2, "adam")).await.unwrap();
    let session = one.session;
    assert!(store.worker_seen(worker(1), session, at(5)).await.unwrap());
    let other = SessionId(Uuid::from_u128(99));
    assert!(!store.worker_seen(worker(1), other, at(9)).await.unwrap(), "another run of it");
    assert!(!store.worker_seen(worker(3), session, at(9)).await.unwrap());
    assert!(store.worker_state(worker(1), WorkerState::Draining).await.unwrap());
    assert!(!store.worker_state(worker(3), WorkerState::Gone).await.unwrap());
    one.seen = at(5);
    one.state = WorkerState::Draining;
    assert_eq!(store.worker_get(worker(1)).await.unwrap(), Some(one.clone()));
    assert_eq!(store.worker_list().await.unwrap(), [a_worker(2, "adam"), one.clone()]);
    let restarted = WorkerRecord { session: other, started: at(10), ..one };
    store.worker_put(&restarted).await.unwrap();
    assert_eq!(store.worker_get(worker(1)).await.unwrap(), Some(restarted));
    assert!(store.worker_delete(worker(1)).await.unwrap());
    assert!(!store.worker_delete(worker(1)).await.unwrap());
    assert_eq!(store.worker_get(worker(1)).await.unwrap(), None);
}

pub(super) async fn blob_rows_are_kept_and_those_of_no_job_are_found(store: &dyn Store) {
    submit(store, 1).await;
    let row = |number: u128, job, role| BlobRecord {
        blob: blob(number),
        created: at(number as i64),
        job,
        role,
    };
    let upload = row(1, None, BlobRole::Upload);
    let part = row(2, Some(job_id(1)), BlobRole::Part);
    for record in [&part, &upload, &row(3, None, BlobRole::Upload)] {
        store.blob_put(record).await.unwrap();
    }
    let orphan = store.blob_put(&row(4, Some(job_id(9)), BlobRole::Part)).await.unwrap_err();
    assert!(matches!(orphan, StoreError::Invalid(_)), "{orphan}");
    assert_eq!(store.blob_get(part.id()).await.unwrap(), Some(part.clone()));
    assert_eq!(store.blob_get(blob(4).id).await.unwrap(), None);
    let loose = store.blobs_unreferenced(at(99), 1).await.unwrap();
    assert_eq!(loose, std::slice::from_ref(&upload), "oldest first");
    let old = store.blobs_unreferenced(at(3), 10).await.unwrap();
    assert_eq!(old, std::slice::from_ref(&upload));
    let source = BlobRecord { job: Some(job_id(1)), role: BlobRole::Source, ..upload };
    store.blob_put(&source).await.unwrap();
    assert_eq!(store.blobs_of(job_id(1)).await.unwrap(), [source, part.clone()]);
    assert_eq!(store.blobs_unreferenced(at(99), 10).await.unwrap().len(), 1);
    assert!(store.blob_delete(part.id()).await.unwrap());
    assert!(!store.blob_delete(part.id()).await.unwrap());
    assert_eq!(store.blobs_of(job_id(1)).await.unwrap().len(), 1);
}

pub(super) async fn keys_are_kept_and_revoked(store: &dyn Store) {
    let key = |id: &str, second| KeyRecord {
        id: id.into(),
        name: format!("key {id}"),
        role: KeyRole::Client,
        hash: "ab".repeat(32),
        created: at(second),
        revoked: None,
        expires: None,
    };
    store.key_put(&key("zz", 1)).await.unwrap();
    store.key_put(&key("aa", 2)).await.unwrap();
    assert_eq!(store.key_by_id("aa").await.unwrap(), Some(key("aa", 2)));
    assert_eq!(store.key_by_id("a").await.unwrap(), None);
    assert_eq!(store.key_list().await.unwrap(), [key("zz", 1), key("aa", 2)]);
    assert!(store.key_revoke("aa", at(9)).await.unwrap());
    assert!(!store.key_revoke("aa", at(10)).await.unwrap());
    assert!(!store.key_revoke("bb", at(10)).await.unwrap());
    let revoked = KeyRecord { revoked: Some(at(9)), ..key("aa", 2) };
    assert_eq!(store.key_by_id("aa").await.unwrap(), Some(revoked));
}

pub(super) async fn settings_are_kept(store: &dyn Store) {
    assert_eq!(store.meta_get("paused").await.unwrap(), None);
    store.meta_put("paused", Some("yes")).await.unwrap();
    store.meta_put("paused", Some("no")).await.unwrap();
    store.meta_put("other", Some("1")).await.unwrap();
    assert_eq!(store.meta_get("paused").await.unwrap().as_deref(), Some("no"));
    store.meta_put("paused", None).await.unwrap();
    store.meta_put("paused", None).await.unwrap();
    assert_eq!(store.meta_get("paused").await.unwrap(), None);
    assert_eq!(store.meta_get("other").await.unwrap().as_deref(), Some("1"));
}

pub(super) async fn the_store_can_be_checked(store: &dyn Store) {
    store.check().await.unwrap();
    store.check().await.unwrap();
}
