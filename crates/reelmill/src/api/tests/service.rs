//! Webhooks, fetched sources, enrolment, TLS, queue states: over real
//! connections on this machine.

use super::farm::{Farm, Served, http, noise, settings, until};
use crate::api::auth::{create_key_until, enrol};
use crate::api::{ApiState, Auth, Role, router, serve};
use crate::coordinator::{Coordinator, NewWebhook, Service};
use crate::outside::tests::{FORBIDDEN, listen};
use crate::task_source::TaskSource;
use crate::tls;
use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use reelmill_core::job::{JobState, Source};
use reelmill_store::{DeliveryRecord, DeliveryState, LocalBlobs, MemoryStore};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A farm that may reach this machine.
pub(super) async fn farm() -> Farm {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("films");
    std::fs::create_dir(&library).unwrap();
    std::fs::write(library.join("film.mkv"), noise(3_000_000)).unwrap();
    let service = Service {
        fetch: true,
        allow: vec!["127.0.0.1".to_owned()],
        libraries: [("films".to_owned(), library)].into(),
        quota: Some(10_000),
        accept: vec!["mkv".to_owned()],
        ..Service::default()
    };
    serving(service, folder).await
}

async fn serving(service: Service, folder: tempfile::TempDir) -> Farm {
    let store = Arc::new(MemoryStore::new());
    let blobs = LocalBlobs::open(&folder.path().join("blobs")).await.unwrap();
    let settings = crate::coordinator::Settings { service, ..settings() };
    let coordinator = Coordinator::new(store.clone(), Arc::new(blobs), settings);
    Farm { coordinator, store, folder }
}

type Received = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// A receiver that answers with `status`, and what it received.
async fn receiver(status: u16) -> (String, Received) {
    let received = Received::default();
    let kept = received.clone();
    let take = async move |headers: HeaderMap, body: Bytes| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        kept.lock().unwrap().push((headers, text));
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn a_webhook_hears_of_its_owners_jobs_once_and_signed() {
    let farm = farm().await;
    let (url, received) = receiver(204).await;
    let events = vec!["job.completed".to_owned()];
    let new = NewWebhook { owner: Some("anna".into()), url, events };
    let hook = farm.coordinator.webhook_create(new).await.unwrap();
    let hers = farm.completed(b"out", Some("anna")).await;
    farm.completed(b"out", Some("bert")).await;
    for _ in 0..3 {
        farm.coordinator.tell_round().await.unwrap();
    }
    let got = received.lock().unwrap().clone();
    assert_eq!(got.len(), 1);
    let (headers, body) = &got[0];
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["job"]["id"]),
        (&json!("job.completed"), &json!(hers.id))
    );
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let seconds: i64 = text("webhook-timestamp").parse().unwrap();
    let signed =
        crate::coordinator::sign(&hook.secrets, &text("webhook-id"), seconds, body).unwrap();
    assert_eq!(text("webhook-signature"), signed);
    let log = farm.store.deliveries_of(hook.id, 9).await.unwrap();
    assert_eq!((log.len(), log[0].state, log[0].status), (1, DeliveryState::Delivered, Some(204)));
}

#[tokio::test]
async fn what_is_not_taken_waits_and_a_receiver_that_is_gone_is_left_alone() {
    let farm = farm().await;
    let make = async |status| {
        let (url, received) = receiver(status).await;
        let new = NewWebhook { owner: None, url, events: vec!["job.submitted".into()] };
        (farm.coordinator.webhook_create(new).await.unwrap().id, received)
    };
    let (broken, gone) = (make(500).await, make(410).await);
    farm.submit(b"film", None).await;
    for _ in 0..3 {
        farm.coordinator.tell_round().await.unwrap();
    }
    assert_eq!(broken.1.lock().unwrap().len(), 1, "the next try is due in seconds");
    assert_eq!(gone.1.lock().unwrap().len(), 1);
    let of = async |id| farm.store.deliveries_of(id, 9).await.unwrap().remove(0);
    assert_eq!(
        (of(broken.0).await.state, of(broken.0).await.attempts),
        (DeliveryState::Waiting, 1)
    );
    assert_eq!(of(gone.0).await.state, DeliveryState::GivenUp);
    let hook = async |id| farm.coordinator.webhook(id).await.unwrap().unwrap();
    assert!(hook(gone.0).await.disabled.is_some() && hook(broken.0).await.disabled.is_none());
    let again = farm.coordinator.webhook_enable(gone.0).await.unwrap().unwrap();
    assert!(again.disabled.is_none() && again.failures == 0);
}

/// A hook of everybody's at `url`, to which the submission of a job was told.
async fn told_to(farm: &Farm, url: String) -> DeliveryRecord {
    let new = NewWebhook { owner: None, url, events: vec!["job.submitted".into()] };
    let hook = farm.coordinator.webhook_create(new).await.unwrap();
    farm.submit(b"film", None).await;
    farm.coordinator.tell_round().await.unwrap();
    farm.store.deliveries_of(hook.id, 9).await.unwrap().remove(0)
}

#[tokio::test]
async fn webhooks_and_sources_reach_public_addresses_only() {
    let (port, canary) = listen(None).await;
    let service = Service { fetch: true, ..Service::default() };
    let farm = serving(service, tempfile::tempdir().unwrap()).await;
    for form in FORBIDDEN {
        let url = form.replace("PORT", &port.to_string());
        let new = NewWebhook { owner: None, url: url.clone(), events: vec![] };
        assert!(farm.coordinator.webhook_create(new).await.is_err(), "{url}");
        assert!(farm.coordinator.check_source(&Source::Url { url: url.clone() }).is_err(), "{url}");
    }
    // What a name leads to shows when it is asked for.
    let told = told_to(&farm, format!("http://localhost:{port}/")).await;
    assert_eq!((told.state, told.attempts, told.status), (DeliveryState::Waiting, 1, None));
    assert_eq!(canary.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_webhook_follows_no_redirect() {
    let farm = farm().await;
    let (port, canary) = listen(None).await;
    let (first, asked) = listen(Some(format!("http://127.0.0.1:{port}/"))).await;
    let told = told_to(&farm, format!("http://127.0.0.1:{first}/")).await;
    assert_eq!((told.state, told.status), (DeliveryState::Waiting, Some(302)));
    assert_eq!((asked.load(Ordering::SeqCst), canary.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn sources_come_by_url_and_from_a_library_and_nothing_else() {
    let farm = farm().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let bytes = noise(2_500_000);
    let body = bytes.clone();
    let app = Router::new().route("/film.mkv", get(async move || body.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let server = Served::start(&farm, Auth::Open).await;
    let submit = async |source: Value| {
        let body = json!({"name": "film.mkv", "source": source, "max_retries": 0});
        let answer = http().post(server.at_path("/api/v1/jobs")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, by_url) = submit(json!({"url": format!("http://{host}/film.mkv")})).await;
    assert_eq!((status, &by_url["state"]), (201, &json!("uploading")), "{by_url}");
    let (status, by_path) = submit(json!({"library": {"root": "films", "path": "film.mkv"}})).await;
    assert_eq!(status, 201, "{by_path}");
    let (_, lost) = submit(json!({"url": format!("http://{host}/nothing.mkv")})).await;
    for wrong in [
        json!({"url": "http://localhost:1/x"}).clone(),
        json!({"url": "file:///etc/passwd"}),
        json!({"url": "http://[::1]/x"}),
        json!({"library": {"root": "films", "path": "../blobs"}}),
        json!({"library": {"root": "other", "path": "film.mkv"}}),
    ] {
        let (status, told) = submit(wrong.clone()).await;
        // A name is looked up, and refused, when it is fetched.
        assert!(status == 422 || wrong["url"] == "http://localhost:1/x", "{wrong}: {told}");
    }
    let job = async |view: &Value| {
        let id = view["id"].as_str().unwrap().parse().unwrap();
        farm.coordinator.job(id).await.unwrap().unwrap()
    };
    until(async || {
        farm.coordinator.round().await.unwrap();
        job(&by_url).await.state == JobState::Queued
            && job(&by_path).await.state == JobState::Queued
            && job(&lost).await.state == JobState::Failed
    })
    .await;
    let fetched = serde_json::to_value(&job(&by_url).await.source).unwrap();
    assert_eq!(fetched["sha512"], super::farm::sha512(&bytes));
}

#[tokio::test]
async fn uploads_are_admitted_by_kind_quota_and_promised_space() {
    let farm = farm().await;
    let key = crate::api::create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let begin = async |length: u64, name: &str| {
        use base64::Engine;
        let name = base64::engine::general_purpose::STANDARD.encode(name);
        let request = http().post(server.at_path("/api/v1/uploads")).bearer_auth(&key);
        let request = request.header("upload-length", length);
        let request = request.header("upload-metadata", format!("filename {name}"));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(begin(6_000, "a.mkv").await.0, 201);
    let (status, told) = begin(6_000, "b.mkv").await;
    assert!(status == 507 && told["detail"].as_str().unwrap().contains("10000"), "{status} {told}");
    assert_eq!(begin(4_000, "c.MKV").await.0, 201, "what is left may be used");
    assert_eq!(begin(1, "d.exe").await.0, 422);
    assert_eq!(begin(0, "e.mkv").await.0, 422);
    assert_eq!(farm.coordinator.promised().await.unwrap(), 10_000);
    assert_eq!(begin(1 << 40, "f.mkv").await.0, 413);
}

#[tokio::test]
async fn an_enrolment_token_works_once_and_not_for_ever() {
    let farm = Farm::sqlite().await;
    let store = farm.store.as_ref();
    let token = create_key_until(store, Role::Enrol, "t", None).await.unwrap().1;
    let (one, two) = tokio::join!(enrol(store, &token, "a", None), enrol(store, &token, "b", None));
    assert!(one.is_ok() != two.is_ok(), "one of two gets a key");
    let key = one.or(two).unwrap().1;
    let late = Some(crate::clock::now().plus_micros(-1));
    let late = create_key_until(store, Role::Enrol, "t", late).await.unwrap().1;
    assert!(enrol(store, &late, "c", None).await.is_err());
    assert!(enrol(store, &key, "d", None).await.is_err(), "a key is no token");
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let status = http().get(server.at_path("/api/v1/version")).bearer_auth(&key).send().await;
    assert_eq!(status.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_paused_queue_or_worker_gets_nothing_and_a_draining_server_takes_nothing() {
    use crate::coordinator::QueueState::{Draining, Open, Paused};
    let farm = Farm::memory().await;
    let player = super::farm::Player::new();
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&player.hello()).await.unwrap();
    farm.submit(b"film", None).await;
    let claim = async || source.claim(&player.ask(), Duration::ZERO).await.unwrap();
    farm.coordinator.set_queue(Paused).await.unwrap();
    assert!(claim().await.is_none());
    farm.coordinator.set_queue(Open).await.unwrap();
    let paused = reelmill_store::WorkerState::Paused;
    farm.coordinator.set_worker(player.id, paused).await.unwrap();
    assert!(claim().await.is_none());
    let again = player.restarted();
    source.join(&again.hello()).await.unwrap();
    let claim = async || source.claim(&again.ask(), Duration::ZERO).await.unwrap();
    assert!(claim().await.is_none(), "a restart does not end the pause");
    let active = reelmill_store::WorkerState::Active;
    farm.coordinator.set_worker(player.id, active).await.unwrap();
    assert!(claim().await.is_some());
    farm.coordinator.set_queue(Draining).await.unwrap();
    let blob = farm.upload(b"another").await;
    let server = Served::start(&farm, Auth::Open).await;
    let body = json!({"name": "x.mkv", "source": {"upload": blob.id}});
    let refused = http().post(server.at_path("/api/v1/jobs")).json(&body).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
}

#[tokio::test]
async fn events_are_told_live_and_go_on_after_a_cut() {
    let farm = Farm::memory().await;
    let job = farm.completed(b"out", None).await;
    let server = Served::start(&farm, Auth::Open).await;
    let stream = async |last: Option<&str>| {
        let path = server.at_path(&format!("/api/v1/jobs/{}/events", job.id));
        let mut request = http().get(path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.unwrap().text().await.unwrap()
    };
    let whole = stream(None).await;
    assert!(whole.contains("event: submitted") && whole.contains("event: completed"), "{whole}");
    let first = whole.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let rest = stream(Some(first)).await;
    assert!(!rest.contains("event: submitted") && rest.contains("event: completed"));
    let tries = http().get(server.at_path(&format!("/api/v1/jobs/{}/attempts", job.id)));
    let tries: Value = tries.send().await.unwrap().json().await.unwrap();
    let tries = tries["items"].as_array().unwrap();
    assert!(tries.len() >= 2 && tries.iter().all(|t| t["outcome"] == "done" && t["attempt"] == 1));
}

#[tokio::test]
async fn rest_is_spoken_over_tls_and_workers_may_have_to_show_a_certificate() {
    let farm = Farm::memory().await;
    let folder = farm.folder.path();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let worker_ca = Some(cert.clone());
    let files = tls::ServerFiles { certificate: cert, key, worker_ca };
    let config = tls::server(&files).unwrap();
    let worker = crate::api::create_key(farm.store.as_ref(), Role::Worker, "w").await.unwrap();
    let auth = Auth::keys(farm.store.clone(), Some("fixed")).with_worker_certificates();
    let app = router(ApiState { coordinator: farm.coordinator.clone(), auth });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, app, Some(config), stop.clone()));
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let get = async |key: &str| {
        let url = format!("https://localhost:{port}/api/v1/version");
        client.get(url).bearer_auth(key).send().await.unwrap().status().as_u16()
    };
    assert_eq!(get("fixed").await, 200);
    assert_eq!(get(&worker).await, 403, "it shows no certificate");
    let plain = http().get(format!("http://localhost:{port}/livez")).send().await;
    assert!(plain.is_err(), "nothing is answered without TLS");
    stop.cancel();
    serving.await.unwrap().unwrap();
    let missing = tls::ServerFiles { certificate: folder.join("no"), ..files };
    assert!(tls::server(&missing).unwrap_err().message.contains("no"));
}

#[tokio::test]
async fn figures_and_the_audit_log_tell_what_was_done_and_no_secret() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let ask = |path: &str| http().get(server.at_path(path)).bearer_auth("fixed");
    let body = json!({"name": "anna", "role": "client"});
    let made = http().post(server.at_path("/api/v1/keys")).bearer_auth("fixed").json(&body);
    let made = made.header("x-request-id", "my-request").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"], "my-request");
    let made: Value = made.json().await.unwrap();
    let key = made["key"].as_str().unwrap();
    http().get(server.at_path("/api/v1/keys")).bearer_auth(key).send().await.unwrap();
    let log = ask("/api/v1/audit").send().await.unwrap().text().await.unwrap();
    assert!(log.contains("POST /api/v1/keys") && log.contains("my-request") && log.contains("403"));
    let figures = ask("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(figures.contains("reelmill_http_requests_total{class=\"2xx\"}"));
    let secret = key.rsplit('_').next().unwrap();
    for text in [log, figures, ask("/api/v1/keys").send().await.unwrap().text().await.unwrap()] {
        assert!(!text.contains(secret) && !text.contains("fixed"));
    }
}
