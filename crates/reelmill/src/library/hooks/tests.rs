//! Hooks against a small server that notes every request as it came.

use super::*;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use reelmill_core::library::hooks::Happened;
use serde_json::json;
use std::sync::{Arc, Mutex};

/// A request: method, path and query, headers that matter, body.
#[derive(Debug, Clone, PartialEq)]
struct Noted {
    line: String,
    headers: Vec<String>,
    body: Value,
}

type Notes = Arc<Mutex<(Vec<Noted>, u32)>>;

const HEADERS: [&str; 8] = [
    "x-api-key",
    "x-plex-token",
    "accept",
    "authorization",
    "content-type",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// As the services answer; the first `away` requests are answered 503.
async fn answer(State(notes): State<Notes>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let header =
        |name: &&str| Some(format!("{name}: {}", parts.headers.get(*name)?.to_str().unwrap()));
    let noted = Noted {
        line: format!("{} {}", parts.method, parts.uri),
        headers: HEADERS.iter().filter_map(header).filter(|line| line != "accept: */*").collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let mut notes = notes.lock().unwrap();
    notes.0.push(noted);
    if notes.1 > 0 {
        notes.1 -= 1;
        return (axum::http::StatusCode::SERVICE_UNAVAILABLE, "later").into_response();
    }
    let told = match parts.uri.path() {
        "/api/v3/series" => {
            json!([{"id": 4, "path": "/tv/Other"}, {"id": 7, "title": "Show", "path": "/tv/Show"}])
        }
        "/api/v3/movie" => json!([{"id": 12, "path": "/films/A Film (1999)"}]),
        "/library/sections" => json!({"MediaContainer": {"Directory": [
            {"key": "1", "Location": [{"id": 1, "path": "/films"}]},
            {"key": "2", "Location": [{"id": 2, "path": "/more"}, {"id": 3, "path": "/tv"}]},
        ]}}),
        "/refuse" => return (axum::http::StatusCode::UNAUTHORIZED, "no").into_response(),
        "/moved" => return axum::response::Redirect::temporary("/elsewhere").into_response(),
        _ => json!({"id": 1}),
    };
    axum::Json(told).into_response()
}

async fn server(away: u32) -> (String, Notes) {
    let notes = Notes::default();
    notes.lock().unwrap().1 = away;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(notes.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, notes)
}

fn hooks(text: &str) -> Hooks {
    Hooks::parse(text, "hooks.toml").unwrap()
}

fn event(path: &str) -> HookEvent {
    HookEvent {
        event: Happened::Converted,
        path: path.into(),
        old_path: None,
        preset: "hevc".into(),
        bytes_before: 9,
        bytes_after: Some(4),
        reason: None,
    }
}

/// Calls the one hook of `text`, and yields what the server noted.
async fn called(text: &str, event: &HookEvent) -> Vec<Noted> {
    let (url, notes) = server(0).await;
    let hooks = hooks(&text.replace("URL", &url));
    for (name, result) in call(&hooks, event, &CancellationToken::new()).await {
        result.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    notes.lock().unwrap().0.clone()
}

fn noted(line: &str, headers: &[&str], body: Value) -> Noted {
    Noted { line: line.into(), headers: headers.iter().map(|h| (*h).to_owned()).collect(), body }
}

#[tokio::test]
async fn sonarr_is_asked_to_look_at_the_series() {
    let text = "[[hook]]\nname='s'\nkind='sonarr'\nurl='URL/'\nkey='abc'\nmap={'/mnt/media'='/'}\n";
    let all = called(text, &event("/mnt/media/tv/Show/S01/e.mkv")).await;
    assert_eq!(
        all,
        [
            noted("GET /api/v3/series", &["x-api-key: abc"], Value::Null),
            noted(
                "POST /api/v3/command",
                &["x-api-key: abc", "content-type: application/json"],
                json!({"name": "RescanSeries", "seriesId": 7}),
            ),
        ]
    );
}

#[tokio::test]
async fn radarr_is_asked_to_look_at_the_film() {
    let text = "[[hook]]\nname='r'\nkind='radarr'\nurl='URL'\nkey='abc'\n";
    let all = called(text, &event("/films/A Film (1999)/film.mkv")).await;
    assert_eq!(
        all,
        [
            noted("GET /api/v3/movie", &["x-api-key: abc"], Value::Null),
            noted(
                "POST /api/v3/command",
                &["x-api-key: abc", "content-type: application/json"],
                json!({"name": "RescanMovie", "movieId": 12}),
            ),
        ]
    );
}

#[tokio::test]
async fn plex_is_asked_to_look_at_the_folder() {
    let text = "[[hook]]\nname='p'\nkind='plex'\nurl='URL'\nkey='tok'\n";
    let all = called(text, &event("/tv/Show & Co/S01/e.mkv")).await;
    let headers = ["x-plex-token: tok", "accept: application/json"];
    assert_eq!(
        all,
        [
            noted("GET /library/sections", &headers, Value::Null),
            noted(
                "GET /library/sections/2/refresh?path=%2Ftv%2FShow%20%26%20Co%2FS01",
                &headers,
                Value::Null
            ),
        ]
    );
}

#[tokio::test]
async fn jellyfin_is_told_of_both_names() {
    let text = "[[hook]]\nname='j'\nkind='jellyfin'\nurl='URL'\nkey='tok'\n";
    let event = HookEvent { old_path: Some("/films/a.avi".into()), ..event("/films/a.mkv") };
    let all = called(text, &event).await;
    assert_eq!(
        all,
        [noted(
            "POST /Library/Media/Updated",
            &["authorization: MediaBrowser Token=\"tok\"", "content-type: application/json"],
            json!({"Updates": [
                {"Path": "/films/a.avi", "UpdateType": "Deleted"},
                {"Path": "/films/a.mkv", "UpdateType": "Modified"},
            ]}),
        )]
    );
}

#[tokio::test]
async fn a_webhook_carries_the_event_signed() {
    let text = "[[hook]]\nname='w'\nkind='webhook'\nurl='URL/told'\nkey='whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n";
    let all = called(text, &event("/films/a.mkv")).await;
    assert_eq!(all[0].line, "POST /told");
    assert_eq!(all[0].body, serde_json::to_value(event("/films/a.mkv")).unwrap());
    let header = |name: &str| {
        let start = format!("{name}: ");
        all[0].headers.iter().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
    };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    let seconds = header("webhook-timestamp").parse().unwrap();
    let signed = sign(&[secret], &header("webhook-id"), seconds, &all[0].body.to_string()).unwrap();
    assert_eq!(header("webhook-signature"), signed);
}

#[tokio::test]
async fn a_program_is_run_and_its_failure_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    let text = format!(
        "[[hook]]\nname='c'\nkind='command'\ncommand=['/bin/cp','{{path}}','{}']\n\
         [[hook]]\nname='bad'\nkind='command'\ncommand=['/bin/false']\n",
        file.display()
    );
    let source = dir.path().join("a b.mkv");
    std::fs::write(&source, "film").unwrap();
    let event = event(source.to_str().unwrap());
    let all = call(&hooks(&text), &event, &CancellationToken::new()).await;
    all[0].1.clone().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "film");
    assert!(all[1].1.clone().unwrap_err().message.contains("hook 'bad'"));
}

#[tokio::test]
async fn a_service_that_is_away_is_tried_again_and_one_that_refuses_is_not() {
    let (url, notes) = server(2).await;
    let text = |path: &str| format!("[[hook]]\nname='w'\nkind='webhook'\nurl='{url}{path}'\n");
    let cancel = CancellationToken::new();
    let told =
        async |path: &str| call(&hooks(&text(path)), &event("/a"), &cancel).await.remove(0).1;
    told("/x").await.unwrap();
    assert_eq!(notes.lock().unwrap().0.len(), 3, "two were answered 503");
    let refused = told("/refuse?key=secret").await.unwrap_err();
    assert!(
        refused.message.contains("answered 401") && !refused.message.contains("secret"),
        "{refused}"
    );
    assert_eq!(notes.lock().unwrap().0.len(), 4);
    let moved = told("/moved").await.unwrap_err();
    assert!(moved.message.contains("307"), "no redirect is followed: {moved}");
    let closed = hooks("[[hook]]\nname='w'\nkind='webhook'\nurl='http://127.0.0.1:9'\n");
    let away = call(&closed, &event("/a"), &cancel).await.remove(0).1.unwrap_err();
    assert!(away.message.contains("does not answer"), "{away}");
}
