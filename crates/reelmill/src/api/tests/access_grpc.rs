//! Who may call what over gRPC: every method, every kind of key, own and
//! foreign objects.

use super::farm::{Farm, Player, Served, analysed, http};
use crate::api::auth::{create_key_until, enrol};
use crate::api::operation::Whom;
use crate::api::proto::{pack, pack_proof, v1};
use crate::api::{Auth, Role, create_key};
use crate::clock;
use crate::coordinator::NewUpload;
use crate::task_source::TaskSource;
use axum::http::uri::PathAndQuery;
use reelmill_core::id::{JobId, LeaseId, TaskId};
use reelmill_core::lease::LeaseProof;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// Every method there is, and who may call it: written down apart from the code.
const METHODS: &[(&str, Whom)] = &[
    ("/reelmill.v1.TransferService/Download", Whom::Clients),
    ("/reelmill.v1.TransferService/Upload", Whom::Clients),
    ("/reelmill.v1.TransferService/Watch", Whom::Clients),
    ("/reelmill.v1.WorkerService/Claim", Whom::Workers),
    ("/reelmill.v1.WorkerService/Join", Whom::Workers),
    ("/reelmill.v1.WorkerService/Leave", Whom::Workers),
    ("/reelmill.v1.WorkerService/Renew", Whom::Workers),
    ("/reelmill.v1.WorkerService/Report", Whom::Workers),
    ("/replication.MasterService/GetVideoStatus", Whom::Clients),
    ("/replication.MasterService/RetrieveVideo", Whom::Clients),
    ("/replication.MasterService/UploadVideo", Whom::Clients),
    ("/replication.NodeService/GetCurrentMaster", Whom::Clients),
    ("/replication.NodeService/GetNodeStats", Whom::Clients),
];

/// The methods of the checked-in descriptions.
fn described() -> BTreeSet<String> {
    let texts = [
        include_str!("../proto/reelmill/v1/worker.proto"),
        include_str!("../proto/reelmill/v1/transfer.proto"),
        include_str!("../proto/replication/replication.proto"),
    ];
    let mut found = BTreeSet::new();
    for text in texts {
        let after = |line: &str, word: &str| -> Option<String> {
            let rest = line.trim().strip_prefix(word)?.trim_start();
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').next()?;
            Some(name.to_owned())
        };
        let package = text.lines().find_map(|line| after(line, "package ")).unwrap();
        let mut service = String::new();
        for line in text.lines() {
            service = after(line, "service ").unwrap_or(service);
            if let Some(method) = after(line, "rpc ") {
                found.insert(format!("/{package}.{service}/{method}"));
            }
        }
    }
    found
}

#[test]
fn every_method_is_in_the_table() {
    let known: BTreeSet<String> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(described(), known);
}

async fn channel(server: &Served) -> Channel {
    Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap()
}

/// How a call with an empty message ends.
async fn empty(channel: &Channel, path: &'static str, key: Option<&str>) -> Code {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    }
    let codec = ProstCodec::<(), ()>::default();
    match grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await {
        Ok(answer) => answer.into_inner().message().await.err().map_or(Code::Ok, |s| s.code()),
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn each_key_calls_exactly_its_methods() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let admin = create_key(store, Role::Admin, "a").await.unwrap();
    let client = create_key(store, Role::Client, "c").await.unwrap();
    let worker = create_key(store, Role::Worker, "w").await.unwrap();
    let revoked = create_key(store, Role::Admin, "r").await.unwrap();
    let ended = Some(clock::now().plus_micros(-1));
    let expired = create_key_until(store, Role::Admin, "e", ended).await.unwrap().1;
    let token = create_key_until(store, Role::Enrol, "t", None).await.unwrap().1;
    let id = revoked.split('_').nth(1).unwrap();
    assert!(store.key_revoke(id, clock::now()).await.unwrap());
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let channel = channel(&server).await;
    for (path, whom) in METHODS {
        for wrong in [None, Some(&revoked), Some(&expired), Some(&token)] {
            let code = empty(&channel, path, wrong.map(String::as_str)).await;
            assert_eq!(code, Code::Unauthenticated, "{path} {wrong:?}");
        }
        for (key, role) in [(&client, Whom::Clients), (&worker, Whom::Workers)] {
            let code = empty(&channel, path, Some(key)).await;
            assert_eq!(code == Code::PermissionDenied, role != *whom, "{path} {role:?}: {code:?}");
            assert_ne!(code, Code::Unauthenticated, "{path} {role:?}");
        }
        let code = empty(&channel, path, Some(&admin)).await;
        assert!(
            !matches!(code, Code::PermissionDenied | Code::Unauthenticated),
            "{path}: {code:?}"
        );
        assert!(!matches!(code, Code::Internal | Code::Unknown), "{path}: {code:?}");
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there_over_grpc_either() {
    let farm = Farm::memory().await;
    let anna = create_key(farm.store.as_ref(), Role::Client, "anna").await.unwrap();
    let his = farm.completed(b"his", Some("bert")).await.id.to_string();
    let hers = farm.completed(b"hers", Some("anna")).await.id.to_string();
    let new = NewUpload { length: 4, owner: Some("bert".into()), ..NewUpload::default() };
    let his_upload = farm.coordinator.upload_begin(new).await.unwrap().to_string();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let keyed = |mut request: Request<()>| {
        request.metadata_mut().insert("x-api-key", anna.parse().unwrap());
        Ok(request)
    };
    let mut calls = v1::transfer_service_client::TransferServiceClient::with_interceptor(
        channel(&server).await,
        keyed,
    );
    for (job, wanted) in [(&hers, Code::Ok), (&his, Code::NotFound)] {
        let download = v1::DownloadRequest { job_id: job.clone(), offset: 0 };
        let code = calls.download(download).await.err().map_or(Code::Ok, |s| s.code());
        assert_eq!(code, wanted, "download of {job}");
        let watch = v1::WatchRequest { job_id: job.clone() };
        let code = calls.watch(watch).await.err().map_or(Code::Ok, |s| s.code());
        assert_eq!(code, wanted, "watch of {job}");
    }
    let begin = v1::UploadBegin { upload_id: his_upload, length: 0, file_name: String::new() };
    let part = Some(v1::upload_request::Part::Begin(begin));
    let stream = futures::stream::iter([v1::UploadRequest { part }]);
    let mut answers = calls.upload(stream).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::NotFound);
}

/// A worker with a key of its own, and what another holds.
#[tokio::test]
async fn a_worker_has_no_say_over_what_another_holds() {
    let farm = Farm::memory().await;
    let key = create_key(farm.store.as_ref(), Role::Worker, "other").await.unwrap();
    let (holder, other) = (Player::new(), Player::new());
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&holder.hello()).await.unwrap();
    farm.submit(b"film", None).await;
    let analyse = source.claim(&holder.ask(), Duration::ZERO).await.unwrap().unwrap();
    source.report(&holder.done(&analyse, analysed(2))).await.unwrap();
    let held = source.claim(&holder.ask(), Duration::ZERO).await.unwrap().unwrap();
    let before = farm.store.task_get(held.task).await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let keyed = |mut request: Request<()>| {
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        Ok(request)
    };
    let mut calls = v1::worker_service_client::WorkerServiceClient::with_interceptor(
        channel(&server).await,
        keyed,
    );
    let guessed = LeaseProof { lease: LeaseId(clock::fresh()), ..held.proof };
    let lost = v1::Standing::Lost as i32;
    let renewal = v1::RenewRequest {
        worker_id: other.id.to_string(),
        task_id: held.task.to_string(),
        lease: pack_proof(guessed),
        ..v1::RenewRequest::default()
    };
    assert_eq!(calls.renew(renewal).await.unwrap().into_inner().standing, lost);
    let released = serde_json::to_vec(&crate::task_source::Report::Released).unwrap();
    let report = v1::ReportRequest {
        worker_id: other.id.to_string(),
        task_id: held.task.to_string(),
        lease: pack_proof(guessed),
        report: Some(v1::Payload { format: 1, json: released }),
    };
    assert_eq!(calls.report(report).await.unwrap().into_inner().standing, lost);
    let leave = v1::LeaveRequest {
        worker_id: holder.id.to_string(),
        session_id: other.session.to_string(),
    };
    let refused = calls.leave(leave).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    for (method, place) in [(reqwest::Method::GET, "source"), (reqwest::Method::PUT, "output")] {
        let path = server.at_path(&format!("/api/v1/tasks/{}/{place}", held.task));
        let ask = http().request(method.clone(), &path).bearer_auth(&key).body("bytes");
        let ask = ask
            .header("x-reelmill-lease", guessed.lease.to_string())
            .header("x-reelmill-epoch", guessed.epoch)
            .header("x-reelmill-sha512", "0".repeat(128));
        assert_eq!(ask.send().await.unwrap().status().as_u16(), 409, "{place}");
    }
    assert_eq!(farm.store.task_get(held.task).await.unwrap(), before);
}

/// The calls of a worker, shown `key`.
struct Voice {
    calls: v1::worker_service_client::WorkerServiceClient<Channel>,
    key: String,
}

impl Voice {
    async fn new(server: &Served, key: &str) -> Self {
        let calls = v1::worker_service_client::WorkerServiceClient::new(channel(server).await);
        Self { calls, key: key.to_owned() }
    }

    fn keyed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-api-key", self.key.parse().unwrap());
        request
    }

    async fn join(&mut self, player: &Player) -> Result<(), tonic::Status> {
        let message = v1::JoinRequest {
            worker_id: player.id.to_string(),
            session_id: player.session.to_string(),
            hello: pack(&player.hello()).unwrap(),
        };
        let request = self.keyed(message);
        self.calls.join(request).await.map(|_| ())
    }

    /// Whether there was a task.
    async fn claim(&mut self, player: &Player) -> Result<bool, tonic::Status> {
        let claim = self.keyed(v1::ClaimRequest {
            worker_id: player.id.to_string(),
            session_id: player.session.to_string(),
            patience_millis: 0,
            ask: pack(&player.ask()).unwrap(),
        });
        let answer = self.calls.claim(claim).await?;
        Ok(answer.into_inner().assignment.is_some())
    }

    /// How each call that a worker makes once it has joined ends.
    async fn speak(&mut self, player: &Player) -> [Code; 4] {
        let (worker_id, session_id) = (player.id.to_string(), player.session.to_string());
        let task_id = TaskId { job: JobId(clock::fresh()), generation: 0, number: 0 }.to_string();
        let lease = pack_proof(LeaseProof { lease: LeaseId(clock::fresh()), epoch: 1 });
        let ended = |code: Option<tonic::Status>| code.map_or(Code::Ok, |status| status.code());
        let claim = ended(self.claim(player).await.err());
        let renew = self.keyed(v1::RenewRequest {
            worker_id: worker_id.clone(),
            task_id: task_id.clone(),
            lease: lease.clone(),
            ..v1::RenewRequest::default()
        });
        let renew = ended(self.calls.renew(renew).await.err());
        let report = pack(&crate::task_source::Report::Released).unwrap();
        let report =
            self.keyed(v1::ReportRequest { worker_id: worker_id.clone(), task_id, lease, report });
        let report = ended(self.calls.report(report).await.err());
        let leave = self.keyed(v1::LeaveRequest { worker_id, session_id });
        [claim, renew, report, ended(self.calls.leave(leave).await.err())]
    }
}

#[tokio::test]
async fn a_worker_belongs_to_the_key_with_which_it_joined_first() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let (key, anna) = create_key_until(store, Role::Worker, "anna", None).await.unwrap();
    let bert = create_key(store, Role::Worker, "anna").await.unwrap();
    let admin = create_key(store, Role::Admin, "admin").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed one"))).await;
    let mut anna = Voice::new(&server, &anna).await;
    let mut bert = Voice::new(&server, &bert).await;
    let mut boss = Voice::new(&server, &admin).await;
    let mut fixed = Voice::new(&server, "fixed one").await;
    let player = Player::new();
    let (yes, no) = ([Code::Ok; 4], [Code::PermissionDenied; 4]);
    anna.join(&player).await.unwrap();

    // Another worker's key, though of the same name, is refused in every call.
    let thief = player.restarted();
    let refused = bert.join(&thief).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for word in [key.id.as_str(), "another key", "reelmill release"] {
        assert!(refused.message().contains(word), "no '{word}' in {}", refused.message());
    }
    assert_eq!(bert.speak(&thief).await, no);
    assert_eq!(bert.speak(&player).await, no);
    let known = store.worker_get(player.id).await.unwrap().unwrap();
    assert_eq!((known.session, known.key), (player.session, Some(key.id.clone())));

    // Its own, and admins', are not, and change nothing about whose it is.
    assert_eq!(anna.speak(&player).await, yes);
    for voice in [&mut boss, &mut fixed] {
        voice.join(&player.restarted()).await.unwrap();
        assert_eq!(voice.speak(&player).await, yes);
    }
    assert_eq!(bert.join(&thief).await.unwrap_err().code(), Code::PermissionDenied);

    // Released, it belongs to who comes next.
    let path = server.at_path(&format!("/api/v1/workers/{}/release", player.id));
    let released = http().post(&path).bearer_auth(&admin).send().await.unwrap();
    assert_eq!(released.status().as_u16(), 200);
    bert.join(&thief).await.unwrap();
    assert_eq!(bert.speak(&thief).await, yes);
    assert_eq!(anna.join(&player).await.unwrap_err().code(), Code::PermissionDenied);

    // A revoked key holds nothing.
    let id = store.worker_get(player.id).await.unwrap().unwrap().key.unwrap();
    assert!(store.key_revoke(&id, clock::now()).await.unwrap());
    anna.join(&player.restarted()).await.unwrap();
}

#[tokio::test]
async fn the_coordinators_own_workers_and_those_of_admins_are_nobody_elses() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let worker = create_key(store, Role::Worker, "w").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed one"))).await;
    let mut worker = Voice::new(&server, &worker).await;
    let (house, admins) = (Player::new(), Player::new());
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&house.hello()).await.unwrap();
    Voice::new(&server, "fixed one").await.join(&admins).await.unwrap();
    for player in [&house, &admins] {
        let refused = worker.join(&player.restarted()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert_eq!(worker.speak(player).await, [Code::PermissionDenied; 4]);
    }
}

/// Which reads whole sources and writes outputs.
#[tokio::test]
async fn a_workers_key_gets_no_house_work_whatever_it_says() {
    let farm = Farm::memory().await;
    let worker = create_key(farm.store.as_ref(), Role::Worker, "w").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), Some("fixed one"))).await;
    farm.submit(b"source", None).await;
    for (key, gets) in [(worker.as_str(), false), ("fixed one", true)] {
        let (player, mut voice) = (Player::new(), Voice::new(&server, key).await);
        assert!(player.hello().facts.house);
        voice.join(&player).await.unwrap();
        assert_eq!(voice.claim(&player).await.unwrap(), gets);
    }
}

#[tokio::test]
async fn a_worker_that_enrols_again_keeps_its_place() {
    let farm = Farm::memory().await;
    let store = farm.store.as_ref();
    let token = async || create_key_until(store, Role::Enrol, "t", None).await.unwrap().1;
    let first = enrol(store, &token().await, "anna", None).await.unwrap().1;
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let player = Player::new();
    Voice::new(&server, &first).await.join(&player).await.unwrap();
    let second = enrol(store, &token().await, "anna", Some(&first)).await.unwrap().1;
    Voice::new(&server, &second).await.join(&player.restarted()).await.unwrap();
    let old = Voice::new(&server, &first).await.join(&player).await.unwrap_err();
    assert_eq!(old.code(), Code::Unauthenticated, "the former key opens nothing");
    let admin = create_key(store, Role::Admin, "a").await.unwrap();
    enrol(store, &token().await, "anna", Some(&admin)).await.unwrap();
    let id = admin.split('_').nth(1).unwrap();
    let kept = store.key_by_id(id).await.unwrap().unwrap();
    assert!(kept.revoked.is_none(), "only a worker's key is given up so");
}
