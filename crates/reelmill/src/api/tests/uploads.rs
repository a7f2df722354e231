//! Uploads: resumed, digested, bounded.

use super::farm::{Farm, Served, http, noise, sha512, until};
use super::proxy::{Cut, Proxy};
use crate::api::Auth;
use crate::client::calls::Client;
use crate::client::upload::{UnderWay, send};
use reqwest::Response;
use serde_json::{Value, json};
use std::time::Duration;

async fn begin(server: &Served, length: u64) -> String {
    let made = http().post(server.at_path("/api/v1/uploads"));
    let made = made.header("upload-length", length).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 201);
    made.headers()["location"].to_str().unwrap().to_owned()
}

async fn patch(server: &Served, upload: &str, at: u64, bytes: &[u8]) -> Response {
    let request = http().patch(server.at_path(upload)).header("upload-offset", at);
    let request = request.header("content-type", "application/offset+octet-stream");
    request.body(bytes.to_vec()).send().await.unwrap()
}

async fn offset(server: &Served, upload: &str) -> u64 {
    let answer = http().head(server.at_path(upload)).send().await.unwrap();
    answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
}

async fn finish(server: &Served, upload: &str, sha512: &str) -> Response {
    let path = format!("{upload}/finish");
    http().post(server.at_path(&path)).json(&json!({"sha512": sha512})).send().await.unwrap()
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_is_digested() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise(100_000);
    let upload = begin(&server, bytes.len() as u64).await;
    let answer = patch(&server, &upload, 0, &bytes[..60_000]).await;
    assert_eq!(answer.status().as_u16(), 204);
    assert_eq!(answer.headers()["upload-offset"], "60000");
    assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
    assert_eq!(offset(&server, &upload).await, 60_000);
    patch(&server, &upload, 60_000, &bytes[60_000..]).await;
    let blob: Value = finish(&server, &upload, &sha512(&bytes)).await.json().await.unwrap();
    assert_eq!(blob["sha512"], sha512(&bytes));
    assert_eq!(blob["bytes"], 100_000);
    let again: Value = finish(&server, &upload, &sha512(&bytes)).await.json().await.unwrap();
    assert_eq!(again, blob, "a lost answer may be asked for again");
}

#[tokio::test]
async fn a_wrong_offset_is_refused_with_the_right_one() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = begin(&server, 10).await;
    patch(&server, &upload, 0, b"abc").await;
    for wrong in [0, 2, 4] {
        let answer = patch(&server, &upload, wrong, b"x").await;
        assert_eq!(answer.status().as_u16(), 409);
        assert_eq!(answer.headers()["upload-offset"], "3");
    }
    assert_eq!(offset(&server, &upload).await, 3);
}

#[tokio::test]
async fn more_than_announced_is_refused() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = begin(&server, 3).await;
    assert_eq!(patch(&server, &upload, 0, b"abcd").await.status().as_u16(), 413);
    // Without an announced length it shows only while it comes.
    let stream = futures::stream::iter([Ok::<_, std::io::Error>("abcd")]);
    let request = http().patch(server.at_path(&upload)).header("upload-offset", 0);
    let request = request.header("content-type", "application/offset+octet-stream");
    let answer = request.body(reqwest::Body::wrap_stream(stream)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
    assert_eq!(finish(&server, &upload, &sha512(b"abc")).await.status().as_u16(), 409);
}

#[tokio::test]
async fn a_digest_that_differs_ends_the_upload() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = begin(&server, 3).await;
    patch(&server, &upload, 0, b"abc").await;
    let answer = finish(&server, &upload, &sha512(b"abd")).await;
    assert_eq!(answer.status().as_u16(), 422);
    let head = http().head(server.at_path(&upload)).send().await.unwrap();
    assert_eq!(head.status().as_u16(), 404);
    assert_eq!(farm.coordinator.blobs().uploads().await.unwrap(), []);
}

/// The upload at `place` as a crash between its last byte and its row leaves it.
async fn whole_without_a_row(farm: &Farm, place: &str) {
    let id = place.rsplit('/').next().unwrap().parse().unwrap();
    let upload = farm.coordinator.blobs().upload(id).await.unwrap();
    upload.finish(None).await.unwrap();
}

#[tokio::test]
async fn an_end_that_broke_off_before_it_was_noted_is_repeated() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise(100_000);
    for (digest, restarted) in [(true, false), (false, false), (true, true), (false, true)] {
        let upload = begin(&server, 100_000).await;
        patch(&server, &upload, 0, &bytes).await;
        whole_without_a_row(&farm, &upload).await;
        if restarted {
            farm.coordinator.recover(&[]).await.unwrap();
        }
        assert_eq!(offset(&server, &upload).await, 100_000, "it was acknowledged");
        let request = http().post(server.at_path(&format!("{upload}/finish")));
        let body = if digest { json!({"sha512": sha512(&bytes)}) } else { json!({}) };
        let blob: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!((&blob["sha512"], &blob["bytes"]), (&json!(sha512(&bytes)), &json!(100_000)));
        let id = blob["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(farm.coordinator.blobs().len(id).await.unwrap(), Some(100_000));
    }
}

#[tokio::test]
async fn ends_at_once_and_ends_that_nobody_waits_for_agree() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise(3 << 20);
    for turn in 0..40 {
        let upload = begin(&server, bytes.len() as u64).await;
        patch(&server, &upload, 0, &bytes).await;
        let request = http().post(server.at_path(&format!("{upload}/finish"))).json(&json!({}));
        // Its sender goes away sooner or later.
        let _ = request.timeout(Duration::from_micros(turn * 500)).send().await;
        let digest = sha512(&bytes);
        let ends = [finish(&server, &upload, &digest), finish(&server, &upload, &digest)];
        for answer in futures::future::join_all(ends).await {
            assert_eq!(answer.status().as_u16(), 200, "turn {turn}");
            let blob: Value = answer.json().await.unwrap();
            assert_eq!((&blob["sha512"], &blob["bytes"]), (&json!(digest), &json!(bytes.len())));
        }
    }
}

#[tokio::test]
async fn a_beginning_that_is_repeated_because_its_answer_was_lost_is_one() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let begin = async |length: u64, key: &str| {
        let request = http().post(server.at_path("/api/v1/uploads"));
        let request = request.header("upload-length", length).header("idempotency-key", key);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, first) = begin(3, "k").await;
    assert_eq!(status, 201);
    patch(&server, &format!("/api/v1/uploads/{}", first["id"].as_str().unwrap()), 0, b"ab").await;
    let (_, again) = begin(3, "k").await;
    assert_eq!((&again["id"], &again["offset"]), (&first["id"], &json!(2)));
    assert_eq!(begin(4, "k").await.0, 422, "another upload under the same name");
    assert_ne!(begin(3, "other").await.1["id"], first["id"]);
    assert_eq!(farm.coordinator.promised().await.unwrap(), 4, "1 byte, and 3 of the other");
}

#[tokio::test]
async fn an_upload_can_be_thrown_away() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = begin(&server, 3).await;
    let delete = async || http().delete(server.at_path(&upload)).send().await.unwrap().status();
    assert_eq!(delete().await.as_u16(), 204);
    assert_eq!(delete().await.as_u16(), 404);
    assert_eq!(farm.coordinator.blobs().uploads().await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_it_is_sent() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let begin = async |length: Option<&str>| {
        let request = http().post(server.at_path("/api/v1/uploads"));
        let request = match length {
            Some(length) => request.header("upload-length", length),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(begin(None).await, 400);
    assert_eq!(begin(Some("ten")).await, 400);
    assert_eq!(begin(Some("-1")).await, 400);
    assert_eq!(begin(Some("0")).await, 422);
    assert_eq!(begin(Some("1073741825")).await, 413);
}

#[tokio::test]
async fn other_versions_of_tus_and_other_bodies_are_refused() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let upload = begin(&server, 3).await;
    let old = http().head(server.at_path(&upload)).header("tus-resumable", "0.2.2");
    let answer = old.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 412);
    assert_eq!(answer.headers()["tus-version"], "1.0.0");
    let json = http().patch(server.at_path(&upload)).header("upload-offset", 0).json(&json!(1));
    assert_eq!(json.send().await.unwrap().status().as_u16(), 415);
    let options = http().request(reqwest::Method::OPTIONS, server.at_path("/api/v1/uploads"));
    let options = options.send().await.unwrap();
    assert_eq!(options.headers()["tus-extension"], "creation,termination");
    assert_eq!(options.headers()["tus-max-size"], "1073741824");
}

/// A body of 3 MiB in one request, cut at many places: what is stored is always
/// a beginning of it, and the rest fits on.
#[tokio::test]
async fn a_cut_connection_keeps_a_beginning_that_the_rest_fits_on() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise((3 << 20) + 17);
    let cuts = [1, 300, 5_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 400, 2_500_000, 3 << 20];
    for cut in cuts {
        let upload = begin(&server, bytes.len() as u64).await;
        let proxy = Proxy::before(server.authority(), [Cut::Sent(cut)]).await;
        let request = http().patch(format!("{}{upload}", proxy.url)).header("upload-offset", 0);
        let request = request.header("content-type", "application/offset+octet-stream");
        assert!(request.body(bytes.clone()).send().await.is_err());
        // All that came is kept; only the request's headers are no part of it.
        until(async || offset(&server, &upload).await + 1000 >= cut as u64).await;
        // The last bytes may still be on their way to the disk, which a sender
        // is told by the offset that counts.
        until(async || {
            let kept = offset(&server, &upload).await;
            assert!(kept <= cut as u64);
            let answer = patch(&server, &upload, kept, &bytes[kept as usize..]).await;
            answer.status().as_u16() == 204
        })
        .await;
        let done = finish(&server, &upload, &sha512(&bytes)).await;
        assert_eq!(done.status().as_u16(), 200, "cut at {cut}");
    }
}

#[tokio::test]
async fn our_client_goes_on_after_cuts_and_lost_answers_and_sends_nothing_twice() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise(9 << 20);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let cuts = [
        Cut::Sent(1 << 20),
        Cut::Sent(200),
        Cut::Received(10),
        Cut::Sent(5 << 20),
        Cut::Received(0),
        Cut::Sent(3 << 20),
    ];
    // The first connection is cut after the upload was begun.
    let proxy = Proxy::before(server.authority(), cuts).await;
    let client = Client::new(std::slice::from_ref(&proxy.url), None).unwrap();
    let under_way = UnderWay::default();
    let blob = send(&client, file.path(), "film.mkv", "key", &under_way, &|_, _| {}).await.unwrap();
    assert!(proxy.is_through(), "every cut was made");
    assert_eq!(blob.sha512, sha512(&bytes));
    assert_eq!(under_way.get(), None);
    assert_eq!(farm.coordinator.blobs().uploads().await.unwrap(), []);
    let sent = *proxy.sent.lock().unwrap();
    let piece = 4 << 20;
    assert!(sent <= bytes.len() + cuts.len() * piece, "{sent} bytes were sent");
}

/// Where to cut: `few` places, or 200 with `REELMILL_TEST_LONG`; the edges of
/// parts and of what is written at once among them.
fn places(length: usize, few: usize) -> Vec<usize> {
    let long = std::env::var_os("REELMILL_TEST_LONG").is_some_and(|value| value == "1");
    let edges = [1, 4 << 20, 8 << 20, 1 << 20];
    let edges = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1, edge + 300]);
    let count = if long { 200 } else { few };
    let spread = (0..count).map(|n| (n * length / count) + n * 7 % 1000);
    let mut all: Vec<usize> = edges.chain(spread).filter(|at| *at < length).collect();
    all.sort_unstable();
    all.dedup();
    if long { all } else { all.into_iter().step_by(3).collect() }
}

#[tokio::test]
async fn a_cut_anywhere_costs_our_client_no_more_than_a_part() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise((8 << 20) + 4321);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let (wanted, part) = (sha512(&bytes), 4 << 20);
    for cut in places(bytes.len(), 10) {
        let proxy = Proxy::before(server.authority(), [Cut::Sent(cut)]).await;
        let client = Client::new(std::slice::from_ref(&proxy.url), None).unwrap();
        let under_way = UnderWay::default();
        let sent = send(&client, file.path(), "film.mkv", "key", &under_way, &|_, _| {}).await;
        assert_eq!(sent.unwrap().sha512, wanted, "cut at {cut}");
        assert!(proxy.is_through());
        let sent = *proxy.sent.lock().unwrap();
        assert!(sent <= bytes.len() + part + 20_000, "cut at {cut}: {sent} bytes were sent");
    }
    assert_eq!(farm.coordinator.blobs().uploads().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_begins_anew_when_the_server_forgot_the_upload() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let bytes = noise(6 << 20);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let client = Client::new(std::slice::from_ref(&server.url), None).unwrap();
    let under_way = UnderWay::default();
    let forgotten = std::sync::atomic::AtomicBool::new(false);
    let forget = |done: u64, _: u64| {
        if done > 0 && !forgotten.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let (id, blobs) = (under_way.get().unwrap(), farm.coordinator.blobs().clone());
            let drop = async move { blobs.upload_discard(id).await.unwrap() };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(drop));
        }
    };
    let sending = send(&client, file.path(), "film.mkv", "key", &under_way, &forget);
    let blob = sending.await;
    assert!(forgotten.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(blob.unwrap().sha512, sha512(&bytes));
}
