//! Bytes that go out, and those that workers bring: ranges, digests, leases.

use super::farm::{Farm, Player, Served, analysed, encoded, http, noise, sha512};
use crate::api::Auth;
use crate::api::download::repr_digest;
use crate::task_source::{Assignment, Report, Standing, TaskSource};
use reelmill_core::task::BlobRef;
use reelmill_store::BlobRole;
use reqwest::{RequestBuilder, Response};
use std::time::Duration;

async fn ask(request: RequestBuilder) -> (u16, Response) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer)
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_output_comes_whole_with_name_and_digest() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let output = noise(700_000);
    let job = farm.completed(&output, None).await;
    let url = server.at_path(&format!("/api/v1/jobs/{}/output", job.id));
    let (status, answer) = ask(http().get(&url)).await;
    assert_eq!(status, 200);
    assert_eq!(header(&answer, "etag"), format!("\"{}\"", sha512(&output)));
    assert_eq!(header(&answer, "repr-digest"), repr_digest(&sha512(&output)));
    assert_eq!(header(&answer, "accept-ranges"), "bytes");
    assert_eq!(header(&answer, "content-length"), "700000");
    let name = "attachment; filename=\"Am_lie.mkv\"; filename*=UTF-8''Am%C3%A9lie.mkv";
    assert_eq!(header(&answer, "content-disposition"), name);
    assert_eq!(answer.bytes().await.unwrap(), output);
    let (status, head) = ask(http().head(&url)).await;
    assert_eq!((status, header(&head, "content-length")), (200, "700000"));
    let same = http().get(&url).header("if-none-match", format!("\"{}\"", sha512(&output)));
    assert_eq!(ask(same).await.0, 304);
}

#[tokio::test]
async fn an_output_comes_in_ranges() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let output = noise(1000);
    let job = farm.completed(&output, None).await;
    let url = server.at_path(&format!("/api/v1/jobs/{}/output", job.id));
    let tag = format!("\"{}\"", sha512(&output));
    let range = |text: &str| http().get(&url).header("range", text);
    let (status, answer) = ask(range("bytes=10-19")).await;
    assert_eq!((status, header(&answer, "content-range")), (206, "bytes 10-19/1000"));
    assert_eq!(answer.bytes().await.unwrap(), output[10..20]);
    let (status, answer) = ask(range("bytes=990-")).await;
    assert_eq!((status, answer.bytes().await.unwrap()), (206, output[990..].to_vec().into()));
    let (status, answer) = ask(range("bytes=1000-")).await;
    assert_eq!((status, header(&answer, "content-range")), (416, "bytes */1000"));
    let (status, answer) = ask(range("bytes=5-").header("if-range", &tag)).await;
    assert_eq!((status, answer.bytes().await.unwrap().len()), (206, 995));
    let (status, answer) = ask(range("bytes=5-").header("if-range", "\"other\"")).await;
    assert_eq!((status, answer.bytes().await.unwrap().len()), (200, 1000));
}

#[tokio::test]
async fn a_job_without_output_says_so() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let job = farm.submit(b"film", None).await;
    let url = server.at_path(&format!("/api/v1/jobs/{}/output", job.id));
    let (status, answer) = ask(http().get(&url)).await;
    assert_eq!(status, 409);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("queued"));
}

/// A worker with a chunk of a job whose source is `source`.
async fn with_chunk(farm: &Farm, source: &[u8]) -> (Player, Assignment) {
    farm.submit(source, None).await;
    let player = Player::new();
    let tasks = farm.coordinator.clone();
    tasks.join(&player.hello()).await.unwrap();
    let analyse = tasks.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
    tasks.report(&player.done(&analyse, analysed(2))).await.unwrap();
    let chunk = tasks.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
    (player, chunk)
}

fn proven(request: RequestBuilder, of: &Assignment) -> RequestBuilder {
    let request = request.header("x-reelmill-lease", of.proof.lease.to_string());
    request.header("x-reelmill-epoch", of.proof.epoch)
}

#[tokio::test]
async fn a_source_is_read_under_the_current_lease_only() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let (player, chunk) = with_chunk(&farm, b"0123456789").await;
    let url = server.at_path(&format!("/api/v1/tasks/{}/source", chunk.task));
    let part = proven(http().get(&url), &chunk).header("range", "bytes=2-4");
    let (status, answer) = ask(part).await;
    assert_eq!((status, answer.bytes().await.unwrap()), (206, "234".into()));
    assert_eq!(ask(http().get(&url)).await.0, 400, "without any proof");
    let other_epoch = http().get(&url).header("x-reelmill-lease", chunk.proof.lease.to_string());
    assert_eq!(ask(other_epoch.header("x-reelmill-epoch", chunk.proof.epoch + 1)).await.0, 409);
    let other_lease = http().get(&url).header("x-reelmill-epoch", chunk.proof.epoch);
    let other_lease = other_lease.header("x-reelmill-lease", player.id.to_string());
    assert_eq!(ask(other_lease).await.0, 409);
    farm.coordinator.report(&player.done(&chunk, Report::Released)).await.unwrap();
    assert_eq!(ask(proven(http().get(&url), &chunk)).await.0, 409, "given back");
    let again = farm.coordinator.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(again.task, chunk.task);
    assert_eq!(ask(proven(http().get(&url), &chunk)).await.0, 409, "granted anew");
    assert_eq!(ask(proven(http().get(&url), &again)).await.0, 200);
    let nowhere = server.at_path(&format!("/api/v1/tasks/{}.9.9/source", chunk.task.job));
    assert_eq!(ask(proven(http().get(nowhere), &chunk)).await.0, 409);
}

#[tokio::test]
async fn an_output_is_kept_under_the_current_lease_only() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let (player, chunk) = with_chunk(&farm, b"source").await;
    let url = server.at_path(&format!("/api/v1/tasks/{}/output", chunk.task));
    let bytes = noise(3 << 20);
    let put = |of: &Assignment| {
        let request = proven(http().put(&url), of).header("x-reelmill-sha512", sha512(&bytes));
        request.body(bytes.clone())
    };
    let (status, answer) = ask(put(&chunk)).await;
    assert_eq!(status, 200);
    let blob: BlobRef = answer.json().await.unwrap();
    assert_eq!((blob.bytes, blob.sha512.clone()), (bytes.len() as u64, sha512(&bytes)));
    let row = farm.store.blob_get(blob.id).await.unwrap().unwrap();
    assert_eq!((row.job, row.role), (Some(chunk.task.job), BlobRole::Part));
    let standard =
        proven(http().put(&url), &chunk).header("repr-digest", repr_digest(&sha512(&bytes)));
    let (status, answer) = ask(standard.body(bytes.clone())).await;
    assert_eq!(status, 200);
    let second: BlobRef = answer.json().await.unwrap();
    assert_ne!(second.id, blob.id, "two attempts never share a name");
    let done = player.done(&chunk, encoded(blob));
    assert_eq!(farm.coordinator.report(&done).await, Ok(Standing::Held));
    assert_eq!(ask(put(&chunk)).await.0, 409, "it was reported already");
}

#[tokio::test]
async fn an_output_that_arrives_damaged_or_cut_leaves_nothing() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let (_, chunk) = with_chunk(&farm, b"source").await;
    let before = farm.coordinator.blobs().list().await.unwrap().len();
    let url = server.at_path(&format!("/api/v1/tasks/{}/output", chunk.task));
    let put = || proven(http().put(&url), &chunk);
    let wrong = put().header("x-reelmill-sha512", sha512(b"other")).body("bytes");
    assert_eq!(ask(wrong).await.0, 422);
    assert_eq!(ask(put().body("bytes")).await.0, 400, "no digest");
    assert_eq!(ask(put().header("x-reelmill-sha512", "ab").body("bytes")).await.0, 422);
    let broken = futures::stream::iter([Ok("by"), Err(std::io::Error::other("cable"))]);
    let cut = put().header("x-reelmill-sha512", sha512(b"by"));
    assert!(cut.body(reqwest::Body::wrap_stream(broken)).send().await.is_err());
    let after = farm.coordinator.blobs().list().await.unwrap().len();
    assert_eq!(after, before);
    assert_eq!(farm.store.blobs_of(chunk.task.job).await.unwrap().len(), 1, "only the source");
}

#[tokio::test]
async fn an_output_whose_lease_ends_while_it_comes_is_refused() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let (player, chunk) = with_chunk(&farm, b"source").await;
    let before = farm.coordinator.blobs().list().await.unwrap().len();
    let url = server.at_path(&format!("/api/v1/tasks/{}/output", chunk.task));
    let (farm_side, done) = (farm.coordinator.clone(), player.done(&chunk, Report::Released));
    let body = futures::stream::unfold(0, move |step| {
        let (farm_side, done) = (farm_side.clone(), done.clone());
        async move {
            match step {
                0 => Some((Ok::<_, std::io::Error>("by"), 1)),
                1 => {
                    farm_side.report(&done).await.unwrap();
                    Some((Ok("tes"), 2))
                }
                _ => None,
            }
        }
    });
    let put = proven(http().put(&url), &chunk).header("x-reelmill-sha512", sha512(b"bytes"));
    assert_eq!(ask(put.body(reqwest::Body::wrap_stream(body))).await.0, 409);
    assert_eq!(farm.coordinator.blobs().list().await.unwrap().len(), before);
}
