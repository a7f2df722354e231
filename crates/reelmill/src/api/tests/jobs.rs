//! Jobs over REST.

use super::farm::{Farm, Player, Served, http, until};
use crate::api::Auth;
use crate::task_source::TaskSource;
use reqwest::{Method, Response};
use serde_json::{Value, json};

async fn submit(server: &Served, body: &Value, key: Option<&str>) -> Response {
    let mut request = http().post(server.at_path("/api/v1/jobs")).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.send().await.unwrap()
}

async fn get(server: &Served, path: &str) -> (u16, Value) {
    let answer = http().get(server.at_path(path)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn put(server: &Served, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = http().request(method, server.at_path(path)).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_job_is_made_once_however_often_it_is_asked_for() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = farm.upload(b"film").await.id;
    let body = json!({
        "name": "film.avi", "source": {"upload": upload}, "preset": "hevc", "format": "mp4",
        "overrides": ["crf=21.3", "width=640"], "chunk_seconds": 2.5, "max_retries": 1,
        "priority": 70, "labels": {"show": "x"},
    });
    let made = submit(&server, &body, Some("k1")).await;
    assert_eq!(made.status().as_u16(), 201);
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let job: Value = made.json().await.unwrap();
    assert_eq!(location, format!("/api/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!(job["state"], "queued");
    assert_eq!(job["priority"], 70);
    assert_eq!(job["labels"]["show"], "x");
    assert_eq!(job["request"]["container"], "mp4");
    assert_eq!(job["request"]["preset"]["video"]["crf"], 21.3);
    assert_eq!(job["request"]["retry"]["max_retries"], 1);
    assert_eq!(job["source"]["file_name"], "film.avi");
    let again = submit(&server, &body, Some("k1")).await;
    assert_eq!(again.status().as_u16(), 200);
    assert_eq!(again.json::<Value>().await.unwrap()["id"], job["id"]);
    assert_eq!(get(&server, "/api/v1/jobs").await.1["items"].as_array().unwrap().len(), 1);
    for (field, value) in [("name", json!("other")), ("preset", json!("h264"))] {
        let mut other = body.clone();
        other[field] = value;
        assert_eq!(submit(&server, &other, Some("k1")).await.status().as_u16(), 422, "{field}");
    }
}

#[tokio::test]
async fn a_request_repeated_after_the_job_has_ended_yields_it() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = farm.upload(b"film").await.id;
    let body = json!({"name": "film.avi", "source": {"upload": upload}});
    let made: Value = submit(&server, &body, Some("k")).await.json().await.unwrap();
    farm.work_off(b"output").await;
    assert_eq!(farm.coordinator.uploaded(upload).await.unwrap(), None, "its source is gone");
    let again = submit(&server, &body, Some("k")).await;
    assert_eq!(again.status().as_u16(), 200);
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["state"]), (&made["id"], &json!("completed")));
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_come_to_and_makes_nothing() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let nil = "00000000-0000-0000-0000-000000000000";
    let body = json!({"name": "a.mkv", "source": {"upload": nil}, "overrides": ["crf=30"]});
    let path = "/api/v1/jobs?dry_run=true";
    let (status, request) = put(&server, Method::POST, path, &body).await;
    assert_eq!((status, &request["preset"]["video"]["crf"]), (200, &json!(30.0)));
    let wrong = json!({"name": "a.mkv", "source": {"upload": nil}, "preset": "h265"});
    assert_eq!(put(&server, Method::POST, path, &wrong).await.0, 422);
    assert_eq!(get(&server, "/api/v1/jobs").await.1["items"], json!([]));
}

#[tokio::test]
async fn a_dry_run_tells_time_size_and_worker_by_what_workers_have_shown() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let nil = "00000000-0000-0000-0000-000000000000";
    let facts = json!({"duration_seconds": 100.0, "width": 1000, "height": 1000, "fps": 10.0});
    let body = json!({"name": "a.mkv", "source": {"upload": nil}, "facts": facts});
    let ask = async || {
        let (status, told) = put(&server, Method::POST, "/api/v1/jobs?dry_run=true", &body).await;
        assert_eq!(status, 200, "{told}");
        told["estimate"].clone()
    };
    let nobody = ask().await;
    assert_eq!(nobody["outlook"]["why"]["reason"], "nobody");
    assert!(nobody["worker"].is_null() && nobody["seconds"].as_f64().unwrap() > 1.0);
    let player = Player::new();
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&player.hello()).await.unwrap();
    let (coordinator, asking) = (farm.coordinator.clone(), player.ask());
    assert_eq!(ask().await["outlook"]["why"]["reason"], "next", "it is between two words");
    assert_eq!(ask().await["worker"], "player");
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    // Its claim waits, so that it is known to be free.
    let waiting = tokio::spawn(async move {
        coordinator.claim_until(&asking, std::time::Duration::from_secs(60), &stopped).await
    });
    until(async || ask().await["outlook"]["starts_in"] == 0.0).await;
    farm.coordinator.set_queue(crate::coordinator::QueueState::Paused).await.unwrap();
    assert_eq!(ask().await["outlook"]["why"]["reason"], "queue_paused");
    farm.coordinator.set_queue(crate::coordinator::QueueState::Open).await.unwrap();
    let usual = ask().await;
    assert_eq!((&usual["workers"], &usual["jobs_before"]), (&json!(["player"]), &json!(0)));
    assert_eq!(usual["outlook"]["why"]["reason"], "next");
    // A million thousands of pixels over two slots that do 10,000 a second each.
    let mut record = farm.store.worker_get(player.id).await.unwrap().unwrap();
    record.speeds.insert(reelmill_core::encoder::VideoEncoder::X264, 10_000.0);
    farm.store.worker_put(&record).await.unwrap();
    farm.coordinator.limit_worker(player.id, None).await.unwrap();
    assert_eq!(ask().await["seconds"], 51.0);
    farm.coordinator.limit_worker(player.id, Some(1)).await.unwrap();
    assert_eq!(ask().await["seconds"], 101.0);
    stop.cancel();
    waiting.await.unwrap().unwrap();
    assert_eq!(get(&server, "/api/v1/jobs").await.1["items"], json!([]));
}

#[tokio::test]
async fn items_of_a_client_are_listed_page_by_page() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    for (number, client) in ["tv", "pc", "tv", "tv"].into_iter().enumerate() {
        let blob = farm.upload(format!("film {number}").as_bytes()).await;
        let item = json!({"client_id": client, "version": number.to_string()});
        let body = json!({"name": "a.mkv", "source": {"upload": blob.id}, "item": item});
        assert_eq!(submit(&server, &body, None).await.status().as_u16(), 201);
    }
    let (_, first) = get(&server, "/api/v1/clients/tv/items?limit=2").await;
    let versions = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|item| item["version"].clone()).collect()
    };
    assert_eq!(versions(&first), ["3", "2"]);
    let next = format!("/api/v1/clients/tv/items?after={}", first["next"].as_str().unwrap());
    let (_, rest) = get(&server, &next).await;
    assert_eq!((versions(&rest), &rest["next"]), (vec![json!("0")], &Value::Null));
    assert_eq!(get(&server, "/api/v1/clients/tv/items?limit=0").await.0, 400);
    assert_eq!(get(&server, "/api/v1/clients/nobody/items").await.1["items"], json!([]));
}

#[tokio::test]
async fn twenty_copies_of_one_request_at_once_make_one_job() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = farm.upload(b"film").await.id;
    let body = json!({"name": "film.avi", "source": {"upload": upload}});
    let copies = (0..20).map(|_| submit(&server, &body, Some("same")));
    let answers = futures::future::join_all(copies).await;
    let created = answers.iter().filter(|answer| answer.status().as_u16() == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 201)));
    assert!(created >= 1);
    assert_eq!(get(&server, "/api/v1/jobs").await.1["items"].as_array().unwrap().len(), 1);
    assert!(farm.store.blob_get(upload).await.unwrap().is_some(), "its source stays");
    assert_eq!(farm.coordinator.blobs().len(upload).await.unwrap(), Some(4));
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_a_reason() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = farm.upload(b"film").await.id;
    let good = json!({"name": "a.mkv", "source": {"upload": upload}});
    let unknown = "0199a3f2-0000-7000-8000-000000000000";
    let cases = [
        ("preset", json!("h265"), 422, "no preset"),
        ("overrides", json!(["crf=99"]), 422, "crf 99"),
        ("overrides", json!(["crf"]), 422, "key=value"),
        ("format", json!("avi"), 422, "avi"),
        ("format", json!("webm"), 422, "cannot hold"),
        ("chunk_seconds", json!(0), 422, "chunk seconds"),
        ("priority", json!(101), 422, "priority"),
        ("priority", json!(-1), 422, "priority"),
        ("name", json!(""), 422, "name"),
        ("name", json!("a\u{1b}b"), 422, "control"),
        ("name", json!("x".repeat(256)), 422, "name"),
        ("labels", json!({"": "x"}), 422, "label"),
        ("source", json!({"upload": unknown}), 422, "upload"),
        ("source", json!({"upload": "x"}), 422, ""),
        ("source", json!({"path": "/etc/passwd"}), 422, "path"),
        ("speed", json!("fast"), 422, "unknown field"),
    ];
    for (field, value, wanted, word) in cases {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = submit(&server, &body, None).await;
        assert_eq!(answer.status().as_u16(), wanted, "{field} {value}");
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{field} {value}: {detail}");
    }
    assert_eq!(submit(&server, &good, Some(&"k".repeat(256))).await.status().as_u16(), 400);
    let raw = |kind: &str, body: &str| {
        let request = http().post(server.at_path("/api/v1/jobs")).header("content-type", kind);
        request.body(body.to_owned()).send()
    };
    assert_eq!(raw("application/json", "{").await.unwrap().status().as_u16(), 400);
    assert_eq!(raw("text/plain", "{}").await.unwrap().status().as_u16(), 415);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(raw("application/json", &huge).await.unwrap().status().as_u16(), 413);
    assert_eq!(get(&server, "/api/v1/jobs").await.1["items"], json!([]));
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let mut ids = Vec::new();
    for number in 0..5u8 {
        ids.push(farm.submit(&[number], None).await.id.to_string());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/v1/jobs?limit=2".to_owned();
    for _ in 0..3 {
        let (status, page) = get(&server, &path).await;
        assert_eq!(status, 200);
        let items = page["items"].as_array().unwrap().clone();
        seen.extend(items.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/jobs?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(get(&server, "/api/v1/jobs?state=running,failed").await.1["items"], json!([]));
    let queued = get(&server, "/api/v1/jobs?state=queued").await.1;
    assert_eq!(queued["items"].as_array().unwrap().len(), 5);
    for bad in ["limit=0", "limit=201", "limit=x", "state=asleep", "after=7", "page=2", "label=x"] {
        assert_eq!(get(&server, &format!("/api/v1/jobs?{bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_job_is_found_by_the_beginning_of_its_id() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let id = farm.submit(b"film", None).await.id.to_string();
    for name in [&id[..], &id[..13], &id[..4], &id.to_uppercase()[..]] {
        let (status, job) = get(&server, &format!("/api/v1/jobs/{name}")).await;
        assert_eq!((status, job["id"].as_str()), (200, Some(&*id)), "{name}");
    }
    for nothing in [&id[..3], "zzzz", "%25", "0000", "a%2Fb", "..%2f"] {
        let (status, problem) = get(&server, &format!("/api/v1/jobs/{nothing}")).await;
        assert_eq!(status, 404, "{nothing}");
        assert_eq!(problem["type"], "urn:reelmill:problem:not-found");
    }
}

#[tokio::test]
async fn jobs_are_cancelled_opened_again_and_reordered() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let id = farm.submit(b"film", None).await.id;
    let at = |what: &str| format!("/api/v1/jobs/{id}/{what}");
    let none = json!(null);
    assert_eq!(put(&server, Method::POST, &at("retry"), &none).await.0, 409);
    let (status, job) = put(&server, Method::POST, &at("cancel"), &none).await;
    assert_eq!((status, &job["state"]), (200, &json!("cancelled")));
    assert_eq!(put(&server, Method::POST, &at("cancel"), &none).await.0, 409);
    let (status, job) = put(&server, Method::POST, &at("retry"), &none).await;
    assert_eq!((status, &job["state"]), (200, &json!("queued")));
    let (status, job) = put(&server, Method::PUT, &at("priority"), &json!({"priority": 9})).await;
    assert_eq!((status, &job["priority"]), (200, &json!(9)));
    assert_eq!(put(&server, Method::PUT, &at("priority"), &json!({"priority": 101})).await.0, 422);
    let (_, events) = get(&server, &at("events")).await;
    let entries = events["items"].as_array().unwrap().clone();
    assert!(entries.len() >= 3, "{events}");
    let after = entries[0]["seq"].as_i64().unwrap();
    let (_, rest) = get(&server, &at(&format!("events?after={after}"))).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), entries.len() - 1);
}

#[tokio::test]
async fn unknown_places_and_methods_are_problems_too() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let ask = async |method: Method, path: &str| {
        let answer = http().request(method, server.at_path(path)).send().await.unwrap();
        let kind = answer.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind)
    };
    let problem = |status| (status, "application/problem+json".to_owned());
    assert_eq!(ask(Method::GET, "/nothing/here").await, problem(404));
    assert_eq!(ask(Method::DELETE, "/api/v1/jobs").await, problem(405));
    assert_eq!(ask(Method::POST, "/livez").await, problem(405));
    assert_eq!(ask(Method::GET, "/api/v1/tasks/7/source").await, problem(404));
}

#[tokio::test]
async fn the_server_says_what_it_is_and_offers() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let text = async |path: &str| {
        http().get(server.at_path(path)).send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(text("/").await, "OK");
    assert_eq!(text("/livez").await, "ok");
    assert_eq!(text("/readyz").await, "ready");
    let (_, version) = get(&server, "/api/v1/version").await;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["api_version"], "v1");
    let (_, presets) = get(&server, "/api/v1/presets").await;
    assert!(presets["items"].as_array().unwrap().iter().any(|preset| preset["name"] == "h264"));
    assert_eq!(get(&server, "/api/v1/workers").await.1, json!({"items": []}));
}
