//! What one owner may keep here, by every way in which bytes come: uploads, sources
//! by URL and from a library, videos over gRPC.

use super::farm::{Farm, Served, http, noise, until};
use super::service::farm;
use crate::api::proto::replication as pb;
use crate::api::{Auth, Role, create_key};
use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::routing::get;
use reelmill_core::error::FailureClass;
use reelmill_core::job::{Job, JobState};
use reelmill_store::JobFilter;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Bytes that are left of the quota of the farm of these tests.
const QUOTA: usize = 10_000;

/// Serves `small.mkv`, which fits the quota once, and `large.mkv`, which does not;
/// the second has no length that could be looked at beforehand.
async fn films() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pieces = || {
        let piece = bytes::Bytes::from(noise(QUOTA));
        futures::stream::iter((0..20).map(move |_| Ok::<_, std::io::Error>(piece.clone())))
    };
    let app = Router::new()
        .route("/small.mkv", get(async || noise(6_000)))
        .route("/large.mkv", get(async move || axum::body::Body::from_stream(pieces())));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Hands in a job under `key` and waits until its source is here, or will not be.
async fn settled(farm: &Farm, server: &Served, key: &str, source: Value) -> Job {
    let body = json!({"name": "film.mkv", "source": source, "max_retries": 0});
    let request = http().post(server.at_path("/api/v1/jobs")).bearer_auth(key).json(&body);
    let view: Value = request.send().await.unwrap().json().await.unwrap();
    let id = view["id"].as_str().unwrap_or_else(|| panic!("{view}")).parse().unwrap();
    let job = async || farm.coordinator.job(id).await.unwrap().unwrap();
    until(async || {
        farm.coordinator.round().await.unwrap();
        job().await.state != JobState::Uploading
    })
    .await;
    job().await
}

/// The job failed for want of space of its owner's, and nothing of it is kept.
async fn refused(farm: &Farm, job: &Job) {
    let failure = job.failure.as_ref().unwrap_or_else(|| panic!("{job:?}"));
    assert_eq!((job.state, failure.class), (JobState::Failed, FailureClass::NoSpace), "{failure}");
    assert!(failure.message.contains("anna") && failure.message.contains("10000"), "{failure}");
    assert!(failure.advice.is_some());
    assert!(farm.store.blobs_of(job.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn sources_that_are_fetched_count_against_the_quota() {
    let farm = farm().await;
    let anna = create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let bert = create_key(farm.store.as_ref(), Role::Client, "bert").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let films = films().await;
    let by_url = |name: &str| json!({"url": format!("{films}/{name}.mkv")});
    refused(&farm, &settled(&farm, &server, &anna, by_url("large")).await).await;
    let by_path = json!({"library": {"root": "films", "path": "film.mkv"}});
    refused(&farm, &settled(&farm, &server, &anna, by_path).await).await;
    let fits = settled(&farm, &server, &anna, by_url("small")).await;
    assert_eq!(fits.state, JobState::Queued, "{:?}", fits.failure);
    refused(&farm, &settled(&farm, &server, &anna, by_url("small")).await).await;
    let other = settled(&farm, &server, &bert, by_url("small")).await;
    assert_eq!(other.state, JobState::Queued, "another owner has a quota of his own");
}

/// Sends a video of `pieces` under `key`.
async fn send_video(
    server: &Served,
    key: &str,
    name: &str,
    pieces: Vec<Vec<u8>>,
) -> Result<(), Status> {
    let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let chunk = |(at, data_chunk): (usize, Vec<u8>)| pb::UploadVideoChunk {
        video_id: name.to_owned(),
        data_chunk,
        original_filename: if at == 0 { "film.mkv".to_owned() } else { String::new() },
        ..pb::UploadVideoChunk::default()
    };
    let chunks: Vec<_> = pieces.into_iter().enumerate().map(chunk).collect();
    let mut request = Request::new(futures::stream::iter(chunks));
    request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    let path = PathAndQuery::from_static("/replication.MasterService/UploadVideo");
    let codec = ProstCodec::<pb::UploadVideoChunk, pb::UploadVideoResponse>::default();
    grpc.client_streaming(request, path, codec).await.map(|_| ())
}

#[tokio::test]
async fn videos_over_grpc_count_against_the_quota() {
    let farm = farm().await;
    let anna = create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let pieces = |count: usize| vec![noise(3_000); count];
    let refused = send_video(&server, &anna, "large", pieces(4)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("10000"), "{refused:?}");
    send_video(&server, &anna, "fits", pieces(2)).await.unwrap();
    let refused = send_video(&server, &anna, "second", pieces(2)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let all = JobFilter { limit: 10, ..JobFilter::default() };
    let jobs = farm.coordinator.jobs(&all);
    assert_eq!(jobs.await.unwrap().len(), 1, "a refused video makes no job");
    let kept = farm.coordinator.blobs().list().await.unwrap();
    assert_eq!(kept.len(), 1, "and leaves no bytes");
}
