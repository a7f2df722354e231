//! Who may do what: every route, every kind of key, and web pages.

use super::farm::{Farm, Served, http};
use crate::api::auth::create_key_until;
use crate::api::operation::{Operation, Whom};
use crate::api::{Auth, Role, create_key, paths};
use crate::clock;
use reqwest::{Method, RequestBuilder};

/// Every operation there is, and who may use it: written down apart from the
/// code, so that a change of it is noticed.
pub(super) const ROUTES: &[(&str, &str, Whom)] = &[
    ("DELETE", "/api/v1/engines/{engine}", Whom::AnyKey),
    ("DELETE", "/api/v1/engines/{engine}/", Whom::AnyKey),
    ("DELETE", "/api/v1/jobs/{job}", Whom::Clients),
    ("DELETE", "/api/v1/jobs/{job}/", Whom::Clients),
    ("DELETE", "/api/v1/keys/{key_id}", Whom::Admins),
    ("DELETE", "/api/v1/uploads/{upload}", Whom::Clients),
    ("DELETE", "/api/v1/webhooks/{webhook}", Whom::Clients),
    ("DELETE", "/engines/{engine}", Whom::AnyKey),
    ("DELETE", "/engines/{engine}/", Whom::AnyKey),
    ("DELETE", "/jobs/{job}", Whom::Clients),
    ("DELETE", "/jobs/{job}/", Whom::Clients),
    ("GET", "/", Whom::Everybody),
    ("GET", "/api/docs", Whom::Everybody),
    ("GET", "/api/docs/docs.css", Whom::Everybody),
    ("GET", "/api/docs/docs.js", Whom::Everybody),
    ("GET", "/api/v1/audit", Whom::Admins),
    ("GET", "/api/v1/clients/{client}/items", Whom::Clients),
    ("GET", "/api/v1/engines", Whom::AnyKey),
    ("GET", "/api/v1/engines/", Whom::AnyKey),
    ("GET", "/api/v1/events", Whom::Clients),
    ("GET", "/api/v1/jobs", Whom::Clients),
    ("GET", "/api/v1/jobs/{job}", Whom::Clients),
    ("GET", "/api/v1/jobs/{job}/attempts", Whom::Clients),
    ("GET", "/api/v1/jobs/{job}/events", Whom::Clients),
    ("GET", "/api/v1/jobs/{job}/item", Whom::Clients),
    ("GET", "/api/v1/jobs/{job}/output", Whom::Clients),
    ("GET", "/api/v1/keys", Whom::Admins),
    ("GET", "/api/v1/openapi.json", Whom::Everybody),
    ("GET", "/api/v1/presets", Whom::Clients),
    ("GET", "/api/v1/queue", Whom::Clients),
    ("GET", "/api/v1/stats", Whom::Clients),
    ("GET", "/api/v1/status", Whom::AnyKey),
    ("GET", "/api/v1/status/", Whom::AnyKey),
    ("GET", "/api/v1/tasks/{task}/source", Whom::Workers),
    ("GET", "/api/v1/version", Whom::AnyKey),
    ("GET", "/api/v1/version/", Whom::AnyKey),
    ("GET", "/api/v1/webhooks", Whom::Clients),
    ("GET", "/api/v1/webhooks/{webhook}", Whom::Clients),
    ("GET", "/api/v1/webhooks/{webhook}/deliveries", Whom::Clients),
    ("GET", "/api/v1/workers", Whom::Clients),
    ("GET", "/engines", Whom::AnyKey),
    ("GET", "/engines/", Whom::AnyKey),
    ("GET", "/jobs", Whom::Clients),
    ("GET", "/jobs/", Whom::Clients),
    ("GET", "/jobs/{job}", Whom::Clients),
    ("GET", "/jobs/{job}/", Whom::Clients),
    ("GET", "/livez", Whom::Everybody),
    ("GET", "/metrics", Whom::AnyKey),
    ("GET", "/readyz", Whom::Everybody),
    ("HEAD", "/api/v1/jobs/{job}/output", Whom::Clients),
    ("HEAD", "/api/v1/uploads/{upload}", Whom::Clients),
    ("OPTIONS", "/api/v1/uploads", Whom::Clients),
    ("OPTIONS", "/api/v1/uploads/{upload}", Whom::Clients),
    ("PATCH", "/api/v1/uploads/{upload}", Whom::Clients),
    ("POST", "/api/v1/assign_job", Whom::AnyKey),
    ("POST", "/api/v1/assign_job/", Whom::AnyKey),
    ("POST", "/api/v1/engines/benchmark_result", Whom::AnyKey),
    ("POST", "/api/v1/engines/benchmark_result/", Whom::AnyKey),
    ("POST", "/api/v1/engines/heartbeat", Whom::AnyKey),
    ("POST", "/api/v1/engines/heartbeat/", Whom::AnyKey),
    ("POST", "/api/v1/enrol", Whom::Everybody),
    ("POST", "/api/v1/jobs", Whom::Clients),
    ("POST", "/api/v1/jobs/{job}/cancel", Whom::Clients),
    ("POST", "/api/v1/jobs/{job}/complete", Whom::AnyKey),
    ("POST", "/api/v1/jobs/{job}/complete/", Whom::AnyKey),
    ("POST", "/api/v1/jobs/{job}/fail", Whom::AnyKey),
    ("POST", "/api/v1/jobs/{job}/fail/", Whom::AnyKey),
    ("POST", "/api/v1/jobs/{job}/retry", Whom::Clients),
    ("POST", "/api/v1/keys", Whom::Admins),
    ("POST", "/api/v1/uploads", Whom::Clients),
    ("POST", "/api/v1/uploads/{upload}/finish", Whom::Clients),
    ("POST", "/api/v1/webhooks", Whom::Clients),
    ("POST", "/api/v1/webhooks/{webhook}/enable", Whom::Clients),
    ("POST", "/api/v1/webhooks/{webhook}/rotate", Whom::Clients),
    ("POST", "/api/v1/workers/{worker}/drain", Whom::Admins),
    ("POST", "/api/v1/workers/{worker}/pause", Whom::Admins),
    ("POST", "/api/v1/workers/{worker}/release", Whom::Admins),
    ("POST", "/api/v1/workers/{worker}/resume", Whom::Admins),
    ("POST", "/assign_job", Whom::AnyKey),
    ("POST", "/assign_job/", Whom::AnyKey),
    ("POST", "/engines/benchmark_result", Whom::AnyKey),
    ("POST", "/engines/benchmark_result/", Whom::AnyKey),
    ("POST", "/engines/heartbeat", Whom::AnyKey),
    ("POST", "/engines/heartbeat/", Whom::AnyKey),
    ("POST", "/jobs", Whom::Clients),
    ("POST", "/jobs/", Whom::Clients),
    ("POST", "/jobs/{job}/complete", Whom::AnyKey),
    ("POST", "/jobs/{job}/complete/", Whom::AnyKey),
    ("POST", "/jobs/{job}/fail", Whom::AnyKey),
    ("POST", "/jobs/{job}/fail/", Whom::AnyKey),
    ("POST", "/jobs/{job}/retry", Whom::Clients),
    ("POST", "/jobs/{job}/retry/", Whom::Clients),
    ("PUT", "/api/v1/jobs/{job}/priority", Whom::Clients),
    ("PUT", "/api/v1/queue", Whom::Admins),
    ("PUT", "/api/v1/tasks/{task}/output", Whom::Workers),
    ("PUT", "/api/v1/uploads/{upload}/finish", Whom::Clients),
    ("PUT", "/api/v1/workers/{worker}/limit", Whom::Admins),
];

fn operations() -> Vec<(String, String, Whom)> {
    let (_, operations) = paths(&Auth::Open).into_parts();
    let row = |op: Operation| (op.method.to_string(), op.path.to_owned(), op.whom);
    operations.into_iter().map(row).collect()
}

#[test]
fn every_route_is_in_the_table() {
    let found = operations();
    let known = |m: &str, p: &str, w: Whom| ROUTES.contains(&(m, p, w));
    let missing: Vec<String> = found
        .iter()
        .filter(|(method, path, whom)| !known(method, path, *whom))
        .map(|(method, path, whom)| format!("    (\"{method}\", \"{path}\", Whom::{whom:?}),"))
        .collect();
    assert!(missing.is_empty(), "not in ROUTES, or for others:\n{}", missing.join("\n"));
    for (method, path, _) in ROUTES {
        assert!(found.iter().any(|(m, p, _)| m == method && p == path), "{method} {path} is gone");
    }
}

/// `path` with something for each parameter; `job` and `upload` where they fit.
fn filled(path: &str, job: &str, upload: &str) -> String {
    let fresh = clock::fresh().to_string();
    let filled = path
        .replace("{job}", job)
        .replace("{upload}", upload)
        .replace("{task}", &format!("{fresh}.0.0"))
        .replace("{worker}", &fresh)
        .replace("{webhook}", &fresh)
        .replace("{key_id}", "00")
        .replace("{client}", "nobody")
        .replace("{engine}", "nobody");
    assert!(!filled.contains('{'), "say what to put into {path}");
    filled
}

async fn status(server: &Served, method: &str, path: &str, key: Option<&str>) -> u16 {
    let method: Method = method.parse().unwrap();
    let fresh = clock::fresh().to_string();
    let path = filled(path, &fresh, &fresh);
    let mut request = http().request(method, server.at_path(&path));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn each_key_opens_exactly_its_routes() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let admin = create_key(store, Role::Admin, "a").await.unwrap();
    let client = create_key(store, Role::Client, "c").await.unwrap();
    let worker = create_key(store, Role::Worker, "w").await.unwrap();
    let revoked = create_key(store, Role::Admin, "r").await.unwrap();
    let ended = Some(clock::now().plus_micros(-1));
    let expired = create_key_until(store, Role::Admin, "e", ended).await.unwrap().1;
    let token = create_key_until(store, Role::Enrol, "t", None).await.unwrap().1;
    let disguised = token.replace("rme_", "rmk_");
    let revoked_id = revoked.split('_').nth(1).unwrap();
    assert!(store.key_revoke(revoked_id, clock::now()).await.unwrap());
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let other_secret = format!("{}{}", &admin[..admin.len() - 1], "g");
    for (method, path, whom) in ROUTES {
        let of = async |key: Option<&str>| status(&server, method, path, key).await;
        let check = async |key: Option<&str>, lets: bool, wanted: u16| {
            let got = of(key).await;
            // A token that is not valid is answered with 401 as well.
            let admitted = !matches!(got, 401 | 403) || path.ends_with("/enrol");
            assert!(admitted == lets && (lets || got == wanted), "{method} {path} {key:?}: {got}");
            assert!(got < 500 && got != 405, "{method} {path}: {got}");
        };
        let open = *whom == Whom::Everybody;
        let never = [&*other_secret, &*revoked, &*expired, &*token, &*disguised, "x", "rmk_00_00"];
        for wrong in never.map(Some).into_iter().chain([None]) {
            check(wrong, open, 401).await;
        }
        check(Some(&admin), true, 0).await;
        check(Some("fixed"), true, 0).await;
        let any = open || *whom == Whom::AnyKey;
        check(Some(&client), any || *whom == Whom::Clients, 403).await;
        check(Some(&worker), any || *whom == Whom::Workers, 403).await;
    }
}

#[tokio::test]
async fn an_open_server_asks_for_no_key() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    for (method, path, _) in ROUTES {
        let got = status(&server, method, path, None).await;
        let fine = !matches!(got, 401 | 403 | 405) || path.ends_with("/enrol");
        assert!(fine && got < 500, "{method} {path}: {got}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_advice_and_a_challenge() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let answer = http().get(server.at_path("/api/v1/jobs")).send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"reelmill\"");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["status"], 401);
    assert!(problem["advice"].as_str().unwrap().contains("--api-key"));
}

#[tokio::test]
async fn either_header_takes_the_key() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let ask = || http().get(server.at_path("/api/v1/version"));
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(ask().header("x-api-key", "fixed")).await, 200);
    assert_eq!(status(ask().header("authorization", "Bearer fixed")).await, 200);
    assert_eq!(status(ask().header("authorization", "Basic fixed")).await, 401);
}

#[tokio::test]
async fn web_pages_do_not_reach_an_open_server() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let own = server.url.clone();
    let ask = |path: &str| http().get(server.at_path(path));
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    for path in ["/", "/livez", "/api/v1/jobs", "/nothing", "/reelmill.v1.WorkerService/Join"] {
        assert_eq!(status(ask(path).header("host", "evil.example")).await, 403, "{path}");
        assert_eq!(status(ask(path).header("origin", "http://evil.example")).await, 403, "{path}");
        assert_eq!(status(ask(path).header("sec-fetch-site", "cross-site")).await, 403, "{path}");
    }
    let page = ask("/").header("origin", own).header("sec-fetch-site", "same-origin");
    assert_eq!(status(page).await, 200);
}

#[tokio::test]
async fn a_server_with_keys_answers_under_any_name() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let ask = http().get(server.at_path("/api/v1/version")).header("host", "farm.example");
    assert_eq!(ask.bearer_auth("fixed").send().await.unwrap().status().as_u16(), 200);
}
