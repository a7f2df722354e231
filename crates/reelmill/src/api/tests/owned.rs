//! What is somebody else's is not there: every route that names a thing, for
//! its owner, for another client, for an admin.

use super::access::ROUTES;
use super::farm::{Farm, Served, http};
use crate::api::operation::Whom;
use crate::api::{Auth, Role, create_key};
use crate::coordinator::{NewUpload, NewWebhook};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Whose the thing is that a route's parameter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// A client's: others must not see it.
    Owned,
    /// Nobody's in particular: who may use the route may use it on all.
    Common,
}

/// What the parameters of `path` name. A parameter that is not listed here
/// fails the test: say whose the thing is.
fn named(path: &str) -> Option<Named> {
    let parameter = path.split_once('{')?.1.split('}').next()?;
    Some(match parameter {
        "job" | "upload" | "webhook" => Named::Owned,
        // Tasks go by their lease, engines, workers and keys by the caller's
        // role; the items of a client are those among the caller's own jobs.
        "task" | "engine" | "worker" | "key_id" | "client" => Named::Common,
        other => panic!("whose is {{{other}}} in {path}?"),
    })
}

/// A job, an upload and a webhook of one owner.
struct Things {
    job: String,
    upload: String,
    webhook: String,
}

impl Things {
    async fn of(farm: &Farm, owner: &str) -> Self {
        let new = NewUpload { length: 4, owner: Some(owner.into()), ..NewUpload::default() };
        let upload = farm.coordinator.upload_begin(new).await.unwrap();
        let url = "https://93.184.216.34/hook".to_owned();
        let hook = NewWebhook { owner: Some(owner.to_owned()), url, events: vec![] };
        let webhook = farm.coordinator.webhook_create(hook).await.unwrap();
        Self {
            job: farm.completed(b"output", Some(owner)).await.id.to_string(),
            upload: upload.to_string(),
            webhook: webhook.id.to_string(),
        }
    }

    fn path(&self, path: &str) -> String {
        path.replace("{job}", &self.job)
            .replace("{upload}", &self.upload)
            .replace("{webhook}", &self.webhook)
    }

    /// All that is kept of them.
    async fn state(&self, farm: &Farm) -> String {
        let store = farm.store.as_ref();
        let job = store.job_get(self.job.parse().unwrap()).await.unwrap();
        let upload = farm.coordinator.upload_state(self.upload.parse().unwrap()).await;
        let hook = farm.coordinator.webhook(self.webhook.parse().unwrap()).await.unwrap();
        format!("{job:?}\n{upload:?}\n{hook:?}")
    }
}

/// The request of a route with a body that it takes.
async fn ask(server: &Served, method: &str, path: &str, filled: &str, key: &str) -> Response {
    let method: Method = method.parse().unwrap();
    let request = http().request(method.clone(), server.at_path(filled)).bearer_auth(key);
    let request = match path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default() {
        "finish" => request.json(&json!({})),
        "priority" => request.json(&json!({"priority": 1})),
        "complete" => request.json(&json!({"output_url": "https://example.org/x"})),
        "fail" => request.json(&json!({"error_message": "no"})),
        "{upload}" if method == Method::PATCH => request
            .header("upload-offset", 0)
            .header("content-type", "application/offset+octet-stream")
            .body("film"),
        _ => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there_and_is_not_touched() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let anna = create_key(store, Role::Client, "anna").await.unwrap();
    let admin = create_key(store, Role::Admin, "boss").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let his = Things::of(&farm, "bert").await;
    let before = his.state(&farm).await;
    let mut compared = 0;
    for (method, path, whom) in ROUTES {
        let clients = matches!(whom, Whom::Clients | Whom::AnyKey);
        if !clients || *method == "OPTIONS" || named(path) != Some(Named::Owned) {
            continue;
        }
        compared += 1;
        let strange = ask(&server, method, path, &his.path(path), &anna).await.status().as_u16();
        assert_eq!(strange, 404, "{method} {path} of somebody else");
        for (key, who) in [(&anna, "anna"), (&admin, "bert")] {
            let things = Things::of(&farm, who).await;
            let own = ask(&server, method, path, &things.path(path), key).await.status().as_u16();
            // Her job was submitted without an item.
            let fine = !matches!(own, 401 | 403 | 404) || path.ends_with("/item");
            assert!(fine && own < 500, "{method} {path}, {who}'s own: {own}");
        }
    }
    assert!(compared >= 30, "{compared}");
    assert_eq!(his.state(&farm).await, before, "nothing of his was changed");
}

#[tokio::test]
async fn lists_show_what_is_ones_own() {
    let farm = Farm::memory().await;
    let anna = create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let (hers, his) = (Things::of(&farm, "anna").await, Things::of(&farm, "bert").await);
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let get = async |path: &str| -> Value {
        let answer = http().get(server.at_path(path)).bearer_auth(&anna).send().await.unwrap();
        answer.json().await.unwrap()
    };
    for (path, field, own) in [
        ("/api/v1/jobs", "id", &hers.job),
        ("/api/v1/events", "job", &hers.job),
        ("/api/v1/webhooks", "id", &hers.webhook),
        ("/jobs/", "job_id", &hers.job),
    ] {
        let list = get(path).await;
        let items = list.get("items").unwrap_or(&list).as_array().unwrap();
        let all_hers = items.iter().all(|item| item[field] == **own);
        assert!(!items.is_empty() && all_hers, "{path}: {list}");
    }
    // Her job cannot be made of his upload.
    let theft = json!({"name": "x.mkv", "source": {"upload": his.upload}});
    let theft = http().post(server.at_path("/api/v1/jobs")).bearer_auth(&anna).json(&theft);
    assert_eq!(theft.send().await.unwrap().status().as_u16(), 422);
}
