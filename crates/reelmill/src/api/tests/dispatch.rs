//! The dispatch protocol, as its clients and engines speak it.

use super::farm::{Farm, Served, http};
use crate::api::{Auth, Role, create_key};
use reqwest::{Method, Response};
use serde_json::{Value, json};

struct Bench {
    farm: Farm,
    server: Served,
}

impl Bench {
    async fn open() -> Self {
        let farm = Farm::sqlite().await;
        let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
        Self { farm, server }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Response {
        let method: Method = method.parse().unwrap();
        let mut request =
            http().request(method, self.server.at_path(path)).header("x-api-key", "fixed");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        request.send().await.unwrap()
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.ask(method, path, Some(&body.to_string())).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn job(&self, more: Value) -> String {
        let mut body = json!({"source_url": "http://example.com/a.mp4", "target_codec": "h264"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, job) = self.json("POST", "/jobs/", &body).await;
        assert_eq!(status, 200, "{job}");
        job["job_id"].as_str().unwrap().to_owned()
    }

    async fn engine(&self, id: &str, more: Value) {
        let mut body = json!({"engine_id": id, "status": "idle", "benchmark_time": 1.0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.json("POST", "/engines/heartbeat", &body).await.0, 200);
    }
}

#[tokio::test]
async fn a_job_has_every_field_with_its_default() {
    let bench = Bench::open().await;
    let id = bench.job(json!({})).await;
    let job = bench.get(&format!("/jobs/{id}")).await;
    for (name, value) in [
        ("source_url", json!("http://example.com/a.mp4")),
        ("target_codec", json!("h264")),
        ("job_size", json!(0.0)),
        ("status", json!("pending")),
        ("assigned_engine", Value::Null),
        ("output_url", Value::Null),
        ("retries", json!(0)),
        ("max_retries", json!(3)),
        ("priority", json!(0)),
    ] {
        assert_eq!(job[name], value, "{name}");
    }
    let (created, updated) =
        (job["created_at"].as_i64().unwrap(), job["updated_at"].as_i64().unwrap());
    assert!(created > 1_700_000_000_000 && created < 10_000_000_000_000 && updated >= created);
    assert!(id.parse::<uuid::Uuid>().is_ok());
    let newer = bench.get(&format!("/api/v1/jobs/{id}")).await;
    for (name, value) in job.as_object().unwrap() {
        assert_eq!(newer[name], *value, "{name} under /api/v1");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_status_400() {
    let bench = Bench::open().await;
    let cases = [
        ("/jobs/", r#"{"target_codec":"h264"}"#, "source_url"),
        ("/jobs/", r#"{"source_url":"u"}"#, "target_codec"),
        ("/jobs/", r#"{"source_url":7,"target_codec":"h264"}"#, "source_url"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","job_size":"x"}"#, "job_size"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","job_size":-1}"#, "job_size"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","max_retries":-1}"#, "max_retries"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","max_retries":1.5}"#, "max_retries"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","priority":3}"#, "priority"),
        ("/jobs/", r#"{"source_url":"u","target_codec":"c","priority":"1"}"#, "priority"),
        ("/jobs/", "{", "JSON"),
        ("/jobs/", "[]", "object"),
        ("/engines/heartbeat", "{}", "engine_id"),
        ("/engines/heartbeat", r#"{"engine_id":1}"#, "engine_id"),
        ("/engines/heartbeat", r#"{"engine_id":"e","status":"tired"}"#, "status"),
        (
            "/engines/heartbeat",
            r#"{"engine_id":"e","supported_codecs":"h264"}"#,
            "supported_codecs",
        ),
        ("/engines/heartbeat", r#"{"engine_id":"e","supported_codecs":[1]}"#, "supported_codecs"),
        (
            "/engines/heartbeat",
            r#"{"engine_id":"e","storage_capacity_gb":-1}"#,
            "storage_capacity_gb",
        ),
        ("/engines/heartbeat", r#"{"engine_id":"e","streaming_support":1}"#, "streaming_support"),
        ("/engines/heartbeat", r#"{"engine_id":"e","benchmark_time":-1}"#, "benchmark_time"),
        ("/engines/benchmark_result", r#"{"engine_id":"e"}"#, "benchmark_time"),
        ("/engines/benchmark_result", r#"{"benchmark_time":1}"#, "engine_id"),
        ("/assign_job/", "nonsense", "JSON"),
        ("/api/v1/jobs", r#"{"source_url":7,"target_codec":"h264"}"#, "source_url"),
    ];
    for (path, body, named) in cases {
        let answer = bench.ask("POST", path, Some(body)).await;
        assert_eq!(answer.status().as_u16(), 400, "{path} {body}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(named), "{path} {body}: {text}");
    }
    assert_eq!(bench.get("/jobs/").await, json!([]));
}

#[tokio::test]
async fn a_slash_at_the_end_makes_no_difference() {
    let bench = Bench::open().await;
    bench.engine("e", json!({})).await;
    let id = bench.job(json!({})).await;
    for root in ["", "/api/v1"] {
        for path in ["/engines", "/engines/"] {
            let all = bench.get(&format!("{root}{path}")).await;
            assert_eq!(all[0]["engine_id"], "e", "{root}{path}");
        }
    }
    for path in ["/jobs", "/jobs/"] {
        assert_eq!(bench.get(path).await.as_array().unwrap().len(), 1);
    }
    for path in [format!("/jobs/{id}"), format!("/jobs/{id}/")] {
        assert_eq!(bench.get(&path).await["job_id"], id);
    }
    for path in ["/assign_job", "/assign_job/", "/api/v1/assign_job", "/api/v1/assign_job/"] {
        let status = bench.json("POST", path, &json!({"engine_id": "nobody"})).await.0;
        assert_eq!(status, 204, "{path}");
    }
    for path in ["/api/v1/version", "/api/v1/version/"] {
        assert_eq!(bench.get(path).await["api_version"], "v1");
    }
    let status = bench.get("/api/v1/status").await;
    assert_eq!((&status["jobs"]["pending"], &status["engines"]["idle"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn keys_are_asked_for_but_not_by_the_root() {
    let bench = Bench::open().await;
    let get = async |path: &str, key: Option<&str>| {
        let mut request = http().get(bench.server.at_path(path));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        request.send().await.unwrap()
    };
    let root = get("/", None).await;
    assert_eq!((root.status().as_u16(), root.text().await.unwrap().as_str()), (200, "OK"));
    assert_eq!(get("/jobs/", None).await.status().as_u16(), 401);
    assert_eq!(get("/jobs/", Some("wrong")).await.status().as_u16(), 401);
    assert_eq!(get("/jobs/", Some("fixed")).await.status().as_u16(), 200);
}

#[tokio::test]
async fn sizes_and_benchmarks_decide_who_gets_a_job() {
    let bench = Bench::open().await;
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 204, "no job");
    let small = bench.job(json!({"job_size": 10})).await;
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 204, "no engine");
    bench.engine("unmeasured", json!({"benchmark_time": null})).await;
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 204, "no benchmark");
    bench.engine("slow", json!({"benchmark_time": 9})).await;
    bench.engine("fast", json!({"benchmark_time": 1})).await;
    bench.engine("stream", json!({"benchmark_time": 5, "streaming_support": true})).await;
    let medium = bench.job(json!({"job_size": 60})).await;
    let large = bench.job(json!({"job_size": 200})).await;
    let urgent = bench.job(json!({"job_size": 60, "priority": 2})).await;
    for (job, engine) in [(&urgent, "fast"), (&small, "slow"), (&large, "stream")] {
        let fast_is_busy = engine != "fast";
        // The medium job waits: its turn comes, but it takes the fastest that is left.
        let wanted = if fast_is_busy && engine == "stream" { &medium } else { job };
        let (status, given) = bench.json("POST", "/assign_job/", &json!({})).await;
        assert_eq!(status, 200);
        assert_eq!((&given["job_id"], &given["assigned_engine"]), (&json!(wanted), &json!(engine)));
        assert_eq!(given["status"], "assigned");
    }
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 204, "all have something");
    bench.engine("stream", json!({"benchmark_time": 5, "streaming_support": true})).await;
    let (_, given) = bench.json("POST", "/assign_job/", &json!({"engine_id": "stream"})).await;
    assert_eq!(given["job_id"], json!(large));
}

#[tokio::test]
async fn failures_count_up_to_the_limit_and_a_retry_begins_anew() {
    let bench = Bench::open().await;
    let id = bench.job(json!({"max_retries": 1})).await;
    let fail = format!("/jobs/{id}/fail");
    assert_eq!(bench.json("POST", &fail, &json!({})).await.0, 400);
    for (status, retries) in [("pending", 1), ("failed_permanently", 1)] {
        let (code, job) = bench.json("POST", &fail, &json!({"error_message": "burnt"})).await;
        assert_eq!((code, &job["status"], &job["retries"]), (200, &json!(status), &json!(retries)));
        assert_eq!(job["error_message"], "burnt");
    }
    assert_eq!(bench.json("POST", &fail, &json!({"error_message": "x"})).await.0, 400, "final");
    assert_eq!(bench.ask("DELETE", &format!("/jobs/{id}"), None).await.status().as_u16(), 400);
    let (code, retried) = bench.json("POST", &format!("/jobs/{id}/retry"), &json!({})).await;
    assert_eq!(
        (code, &retried["new_status"], &retried["job_id"]),
        (200, &json!("pending"), &json!(id))
    );
    assert!(retried["message"].is_string());
    let (code, done) = bench
        .json("POST", &format!("/jobs/{id}/complete"), &json!({"output_url": "http://o"}))
        .await;
    assert_eq!(
        (code, &done["status"], &done["output_url"]),
        (200, &json!("completed"), &json!("http://o"))
    );
    let (path, body) = (format!("/jobs/{id}/complete"), json!({"output_url": "http://o"}));
    let again = bench.json("POST", &path, &body);
    assert_eq!(again.await.0, 200, "the answer was lost");
    assert_eq!(bench.json("POST", &format!("/jobs/{id}/complete"), &json!({})).await.0, 400);
    let nobody = crate::clock::fresh();
    for path in ["", "/complete", "/fail", "/retry"] {
        let method = if path.is_empty() { "GET" } else { "POST" };
        let body = json!({"output_url": "u", "error_message": "m"}).to_string();
        let answer = bench.ask(method, &format!("/jobs/{nobody}{path}"), Some(&body)).await;
        assert_eq!(answer.status().as_u16(), 404, "{path}");
    }
    let cancelled = bench.job(json!({})).await;
    let answer = bench.ask("DELETE", &format!("/jobs/{cancelled}"), None).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(bench.get(&format!("/jobs/{cancelled}")).await["status"], "cancelled");
}

#[tokio::test]
async fn an_engine_that_is_deleted_or_silent_loses_its_job() {
    let bench = Bench::open().await;
    bench.engine("e", json!({})).await;
    let id = bench.job(json!({})).await;
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 200);
    assert_eq!(bench.ask("DELETE", "/engines/e", None).await.status().as_u16(), 200);
    assert_eq!(bench.ask("DELETE", "/engines/e", None).await.status().as_u16(), 404);
    let job = bench.get(&format!("/jobs/{id}")).await;
    assert_eq!(
        (&job["status"], &job["assigned_engine"], &job["retries"]),
        (&json!("pending"), &Value::Null, &json!(0))
    );
    bench.engine("f", json!({})).await;
    assert_eq!(bench.json("POST", "/assign_job/", &json!({})).await.0, 200);
    bench.farm.coordinator.round().await.unwrap();
    assert_eq!(bench.get(&format!("/jobs/{id}")).await["status"], "assigned");
    // As if it had been silent for a lease and more.
    let (key, text) = bench.farm.store.meta_list("engine:").await.unwrap().remove(0);
    let mut kept: Value = serde_json::from_str(&text).unwrap();
    kept["seen"] = json!(kept["seen"].as_i64().unwrap() - 46_000_000);
    bench.farm.store.meta_put(&key, Some(&kept.to_string())).await.unwrap();
    bench.farm.coordinator.round().await.unwrap();
    assert_eq!(bench.get(&format!("/jobs/{id}")).await["status"], "pending");
}

#[tokio::test]
async fn a_benchmark_is_kept_until_the_next() {
    let bench = Bench::open().await;
    let result = json!({"engine_id": "e", "benchmark_time": 2.5});
    assert_eq!(bench.json("POST", "/engines/benchmark_result", &result).await.0, 404);
    let beat = json!({"engine_id": "e", "engine_type": "t", "supported_codecs": ["h264"], "status": "busy",
        "storage_capacity_gb": 12.5, "streaming_support": true});
    assert_eq!(bench.json("POST", "/engines/heartbeat", &beat).await.0, 200);
    assert_eq!(bench.json("POST", "/engines/benchmark_result", &result).await.0, 200);
    let engine = bench.get("/engines/").await[0].clone();
    for (name, value) in beat.as_object().unwrap() {
        assert_eq!(engine[name], *value, "{name}");
    }
    assert_eq!(engine["benchmark_time"], 2.5);
}

#[tokio::test]
async fn our_own_workers_are_in_the_same_lists() {
    let bench = Bench::open().await;
    let player = super::farm::Player::new();
    let source: &dyn crate::task_source::TaskSource = bench.farm.coordinator.as_ref();
    source.join(&player.hello()).await.unwrap();
    let engine = bench.get("/engines/").await[0].clone();
    assert_eq!(
        (&engine["engine_id"], &engine["engine_type"]),
        (&json!(player.id), &json!("reelmill"))
    );
    assert_eq!(engine["supported_codecs"], json!(["h264"]));
    let job = bench.farm.submit(b"film", None).await;
    let all = bench.get("/jobs/").await;
    assert_eq!((&all[0]["job_id"], &all[0]["status"]), (&json!(job.id), &json!("pending")));
}

#[tokio::test]
async fn a_client_reports_on_its_own_jobs_alone_and_a_worker_on_all() {
    let bench = Bench::open().await;
    let store = bench.farm.store.as_ref();
    let (anna, worker) = (
        create_key(store, Role::Client, "anna").await.unwrap(),
        create_key(store, Role::Worker, "w").await.unwrap(),
    );
    let id = bench.job(json!({})).await;
    let complete = async |key: &str| {
        let url = bench.server.at_path(&format!("/jobs/{id}/complete"));
        let body = json!({"output_url": "u"});
        http()
            .post(url)
            .header("x-api-key", key)
            .json(&body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(complete(&anna).await, 404);
    bench.engine("e", json!({})).await;
    let assign = http()
        .post(bench.server.at_path("/assign_job/"))
        .header("x-api-key", &anna)
        .json(&json!({}));
    assert_eq!(assign.send().await.unwrap().status().as_u16(), 204, "not hers");
    assert_eq!(complete(&worker).await, 200);
}
