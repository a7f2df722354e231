//! Who may do what: every route, every kind of key, and web pages.

use super::farm::{Farm, Served, http};
use crate::api::{Auth, Role, create_key};
use crate::clock;
use reqwest::{Method, RequestBuilder};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Everybody,
    Clients,
    Workers,
}

/// Every route there is.
const ROUTES: &[(&str, &str, Whom)] = &[
    ("GET", "/", Whom::Everybody),
    ("GET", "/livez", Whom::Everybody),
    ("GET", "/readyz", Whom::Everybody),
    ("GET", "/api/v1/version", Whom::Clients),
    ("GET", "/api/v1/presets", Whom::Clients),
    ("GET", "/api/v1/workers", Whom::Clients),
    ("POST", "/api/v1/uploads", Whom::Clients),
    ("OPTIONS", "/api/v1/uploads", Whom::Clients),
    ("HEAD", "/api/v1/uploads/{id}", Whom::Clients),
    ("PATCH", "/api/v1/uploads/{id}", Whom::Clients),
    ("DELETE", "/api/v1/uploads/{id}", Whom::Clients),
    ("POST", "/api/v1/uploads/{id}/finish", Whom::Clients),
    ("GET", "/api/v1/jobs", Whom::Clients),
    ("POST", "/api/v1/jobs", Whom::Clients),
    ("GET", "/api/v1/jobs/{id}", Whom::Clients),
    ("GET", "/api/v1/jobs/{id}/events", Whom::Clients),
    ("POST", "/api/v1/jobs/{id}/cancel", Whom::Clients),
    ("POST", "/api/v1/jobs/{id}/retry", Whom::Clients),
    ("PUT", "/api/v1/jobs/{id}/priority", Whom::Clients),
    ("GET", "/api/v1/jobs/{id}/output", Whom::Clients),
    ("HEAD", "/api/v1/jobs/{id}/output", Whom::Clients),
    ("GET", "/api/v1/tasks/{id}.0.0/source", Whom::Workers),
    ("PUT", "/api/v1/tasks/{id}.0.0/output", Whom::Workers),
];

/// The routes as the source files write them, so that none is forgotten above.
const SOURCES: &[&str] = &[
    include_str!("../rest_jobs.rs"),
    include_str!("../rest_output.rs"),
    include_str!("../rest_system.rs"),
    include_str!("../rest_tasks.rs"),
    include_str!("../rest_uploads.rs"),
];

#[test]
fn every_route_is_in_the_table() {
    let mut found = 0;
    for source in SOURCES {
        for rest in source.split(".route(\"").skip(1) {
            let path = rest.split('"').next().unwrap().replace("{task}", "{id}.0.0");
            assert!(ROUTES.iter().any(|(_, known, _)| *known == path), "{path} is not in ROUTES");
            found += 1;
        }
    }
    assert!(found >= 15, "the search found hardly any route");
}

async fn status(server: &Served, method: &str, path: &str, key: Option<&str>) -> u16 {
    let method: Method = method.parse().unwrap();
    let path = path.replace("{id}", &clock::fresh().to_string());
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
    let revoked_id = revoked.split('_').nth(1).unwrap();
    assert!(store.key_revoke(revoked_id, clock::now()).await.unwrap());
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed"))).await;
    let other_secret = format!("{}{}", &admin[..admin.len() - 1], "g");
    for (method, path, whom) in ROUTES {
        let of = async |key: Option<&str>| status(&server, method, path, key).await;
        let check = async |key: Option<&str>, lets: bool, wanted: u16| {
            let got = of(key).await;
            let admitted = !matches!(got, 401 | 403);
            assert!(admitted == lets && (lets || got == wanted), "{method} {path} {key:?}: {got}");
            assert!(got < 500 && got != 405, "{method} {path}: {got}");
        };
        let open = *whom == Whom::Everybody;
        for wrong in [None, Some("x"), Some("rmk_00_00"), Some(&*other_secret), Some(&*revoked)] {
            check(wrong, open, 401).await;
        }
        check(Some(&admin), true, 0).await;
        check(Some("fixed"), true, 0).await;
        check(Some(&client), open || *whom == Whom::Clients, 403).await;
        check(Some(&worker), open || *whom == Whom::Workers, 403).await;
    }
}

#[tokio::test]
async fn an_open_server_asks_for_no_key() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    for (method, path, _) in ROUTES {
        let got = status(&server, method, path, None).await;
        assert!(!matches!(got, 401 | 403 | 405) && got < 500, "{method} {path}: {got}");
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

#[tokio::test]
async fn a_client_sees_only_its_own_jobs() {
    let farm = Farm::memory().await;
    let anna = create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let admin = create_key(farm.store.as_ref(), Role::Admin, "boss").await.unwrap();
    let hers = farm.submit(b"hers", Some("anna")).await;
    let his = farm.completed(b"his", Some("bert")).await;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let get = async |path: String, key: &str| {
        http().get(server.at_path(&path)).bearer_auth(key).send().await.unwrap()
    };
    let list: serde_json::Value = get("/api/v1/jobs".into(), &anna).await.json().await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], hers.id.to_string());
    for rest in ["", "/output", "/events"] {
        let path = format!("/api/v1/jobs/{}{rest}", his.id);
        assert_eq!(get(path.clone(), &anna).await.status().as_u16(), 404, "{path}");
        assert_eq!(get(path, &admin).await.status().as_u16(), 200);
    }
    let cancel = http().post(server.at_path(&format!("/api/v1/jobs/{}/cancel", his.id)));
    assert_eq!(cancel.bearer_auth(&anna).send().await.unwrap().status().as_u16(), 404);
}
