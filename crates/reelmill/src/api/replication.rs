//! The sharding encoder's protocol, as its clients speak it.

use super::auth::Caller;
use super::grpc_status::{refusal, see};
use super::proto::replication as pb;
use super::proto::replication::master_service_server::{MasterService, MasterServiceServer};
use super::proto::replication::node_service_server::{NodeService, NodeServiceServer};
use super::wire::output_name;
use crate::clock;
use crate::coordinator::{Coordinator, Submission, USUAL_PRIORITY};
use crate::metrics::{add, metrics};
use axum::Router;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::job::{Job, JobState, Source};
use reelmill_core::task::BlobRef;
use reelmill_store::{BlobRecord, BlobRole};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one message to a client, whose limit is 1 MiB and 1 KiB in all.
const PIECE: usize = 512 << 10;

/// Largest message taken from a client.
const MAX_MESSAGE: usize = 8 << 20;

/// Longest id or name, bytes.
const MAX_NAME: usize = 200;

/// Longest pause between two messages of an upload.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

/// The routes.
pub(super) fn routes(coordinator: Arc<Coordinator>) -> Router {
    let master = MasterServiceServer::new(Replication { coordinator: coordinator.clone() })
        .max_decoding_message_size(MAX_MESSAGE);
    let node = NodeServiceServer::new(Replication { coordinator });
    tonic::service::Routes::new(master).add_service(node).into_axum_router().reset_fallback()
}

struct Replication {
    coordinator: Arc<Coordinator>,
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("no key"))
}

fn key(video: &str) -> String {
    format!("video:{video}")
}

/// What to set of the preset, and the output's format.
fn wishes(first: &pb::UploadVideoChunk) -> Result<(Vec<String>, Container), Status> {
    let container = match first.output_format.trim().to_lowercase().as_str() {
        "" | "mp4" => Container::Mp4,
        "mkv" => Container::Mkv,
        "webm" => Container::Webm,
        "mov" => Container::Mov,
        other => {
            let message = format!("there is no output format '{other}': mkv, mp4, webm or mov");
            return Err(Status::invalid_argument(message));
        }
    };
    let mut overrides = Vec::new();
    let (mut width, mut height) = (first.target_width, first.target_height);
    if width < 0 || height < 0 || first.upscale_width < 0 || first.upscale_height < 0 {
        return Err(Status::invalid_argument("a size is not negative"));
    }
    if first.upscale_width > width || first.upscale_height > height {
        width = width.max(first.upscale_width);
        height = height.max(first.upscale_height);
        overrides.push("upscale=true".to_owned());
    }
    let sizes = [("width", width), ("height", height)];
    let given = sizes.iter().filter(|(_, size)| *size > 0);
    overrides.extend(given.map(|(name, size)| format!("{name}={size}")));
    Ok((overrides, container))
}

impl Replication {
    async fn job(&self, caller: &Caller, video: &str) -> Result<Option<Job>, Status> {
        let owner = caller.name.as_deref();
        self.coordinator.accepted(owner, &key(video)).await.map_err(|f| refusal(&f))
    }

    async fn take(
        &self,
        caller: &Caller,
        first: pb::UploadVideoChunk,
        mut rest: impl Stream<Item = Result<pb::UploadVideoChunk, Status>> + Unpin,
    ) -> Result<BlobRef, Status> {
        let fail = |failure: Failure| refusal(&failure);
        let (owner, most) = (caller.name.as_deref(), self.coordinator.settings().max_upload);
        self.coordinator.check_space(first.data_chunk.len() as u64).await.map_err(fail)?;
        let id = BlobId(clock::fresh());
        let writer = self.coordinator.blobs().create(id).await;
        let mut writer = writer.map_err(|e| fail(e.into()))?;
        let (mut bytes, mut looked, mut piece) = (0u64, 0u64, first.data_chunk);
        loop {
            let length = piece.len() as u64;
            writer.write(piece.into()).await.map_err(|e| fail(e.into()))?;
            bytes += length;
            add(&metrics().bytes_in, length);
            if bytes > most {
                return Err(Status::resource_exhausted(format!("more than {most} bytes")));
            }
            if bytes - looked > 64 << 20 {
                looked = bytes;
                self.coordinator.check_quota(owner, bytes).await.map_err(fail)?;
                self.coordinator.check_space(0).await.map_err(fail)?;
            }
            let next = tokio::time::timeout(PAUSE, rest.next()).await;
            let next = next.map_err(|_| Status::deadline_exceeded("nothing more came"))?;
            match next.transpose()? {
                Some(message) => piece = message.data_chunk,
                None => break,
            }
        }
        if bytes == 0 {
            return Err(Status::invalid_argument("the video is empty"));
        }
        self.coordinator.check_quota(owner, bytes).await.map_err(fail)?;
        let blob = writer.commit().await.map_err(|e| fail(e.into()))?;
        let role = BlobRole::Upload;
        let record = BlobRecord { blob: blob.clone(), created: clock::now(), job: None, role };
        self.coordinator.store().blob_put(&record).await.map_err(|e| fail(e.into()))?;
        Ok(blob)
    }

    /// Makes a job of what arrived; under another id where the given one is
    /// somebody's already.
    async fn submit(
        &self,
        caller: &Caller,
        first: &pb::UploadVideoChunk,
        blob: &BlobRef,
        (overrides, container): (Vec<String>, Container),
    ) -> Result<String, Status> {
        let file_name = if first.original_filename.is_empty() {
            first.video_id.clone()
        } else {
            first.original_filename.clone()
        };
        let preset = if container == Container::Webm { "vp9" } else { "h264" };
        let mut video = first.video_id.clone();
        for _ in 0..100 {
            let taken = self.coordinator.video_is_taken(&key(&video)).await;
            if taken.map_err(|f| refusal(&f))? {
                let mark = clock::fresh().simple().to_string();
                video = format!("{}-{}", first.video_id, mark.get(20..).unwrap_or(&mark));
                continue;
            }
            let submission = Submission {
                name: file_name.clone(),
                owner: caller.name.clone(),
                source: Source::Upload {
                    blob: blob.id,
                    bytes: blob.bytes,
                    sha512: blob.sha512.clone(),
                    file_name: file_name.clone(),
                },
                preset: preset.to_owned(),
                overrides: overrides.clone(),
                container: Some(container),
                chunk_seconds: None,
                max_retries: None,
                priority: USUAL_PRIORITY,
                labels: BTreeMap::from([("video_id".to_owned(), video.clone())]),
                idempotency_key: Some(key(&video)),
                stage_path: None,
                item: None,
                dispatch: None,
            };
            let job = self.coordinator.submit(submission).await.map_err(|f| refusal(&f))?;
            let ours = matches!(&job.source, Source::Upload { blob: used, .. } if *used == blob.id);
            if ours {
                self.coordinator.take_video(&key(&video), job.id).await.map_err(|f| refusal(&f))?;
                return Ok(video);
            }
        }
        Err(Status::aborted("no free id was found"))
    }
}

#[tonic::async_trait]
impl MasterService for Replication {
    async fn upload_video(
        &self,
        request: Request<Streaming<pb::UploadVideoChunk>>,
    ) -> Result<Response<pb::UploadVideoResponse>, Status> {
        let caller = caller(&request)?;
        let mut stream = request.into_inner();
        let first = tokio::time::timeout(PAUSE, stream.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing came"))?.transpose()?;
        let first = first.ok_or_else(|| Status::invalid_argument("there is no message"))?;
        let named = |name: &str| name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        if first.video_id.trim().is_empty() || !named(&first.video_id) {
            return Err(Status::invalid_argument("video_id has 1 to 200 bytes, none of control"));
        }
        if !named(&first.original_filename) {
            return Err(Status::invalid_argument("original_filename has at most 200 bytes"));
        }
        let wishes = wishes(&first)?;
        let head = pb::UploadVideoChunk { data_chunk: Vec::new(), ..first.clone() };
        let name = match head.original_filename.as_str() {
            "" => &head.video_id,
            name => name,
        };
        self.coordinator.check_kind(name).map_err(|failure| refusal(&failure))?;
        let blob = self.take(&caller, first, stream).await?;
        let done = self.submit(&caller, &head, &blob, wishes).await;
        if done.is_err() {
            let _ = self.coordinator.blobs().delete(blob.id).await;
            let _ = self.coordinator.store().blob_delete(blob.id).await;
        }
        let video_id = done?;
        let message = format!("{} bytes arrived", blob.bytes);
        Ok(Response::new(pb::UploadVideoResponse { video_id, success: true, message }))
    }

    type RetrieveVideoStream = BoxStream<'static, Result<pb::RetrieveVideoChunk, Status>>;

    async fn retrieve_video(
        &self,
        request: Request<pb::RetrieveVideoRequest>,
    ) -> Result<Response<Self::RetrieveVideoStream>, Status> {
        let caller = caller(&request)?;
        let video_id = request.into_inner().video_id;
        let nothing = || Status::not_found(format!("there is no video '{video_id}'"));
        let job = self.job(&caller, &video_id).await?.ok_or_else(nothing)?;
        let blob = job.output.as_ref().and_then(|output| output.blob.clone());
        let blob = blob.ok_or_else(|| {
            Status::failed_precondition(format!("the job is {}: no output", job.state.label()))
        })?;
        let reader = self.coordinator.blobs().read(blob.id, None).await;
        let reader = reader.map_err(|e| refusal(&e.into()))?;
        tracing::debug!(job = %job.id, name = output_name(&job), "video retrieved");
        let pieces = futures::stream::unfold((reader, video_id), async |(mut reader, video_id)| {
            let mut data_chunk = Vec::with_capacity(PIECE);
            match (&mut reader).take(PIECE as u64).read_to_end(&mut data_chunk).await {
                Ok(0) => None,
                Ok(count) => {
                    add(&metrics().bytes_out, count as u64);
                    let chunk = pb::RetrieveVideoChunk { video_id: video_id.clone(), data_chunk };
                    Some((Ok(chunk), (reader, video_id)))
                }
                Err(error) => Some((Err(Status::data_loss(error.to_string())), (reader, video_id))),
            }
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn get_video_status(
        &self,
        request: Request<pb::VideoStatusRequest>,
    ) -> Result<Response<pb::VideoStatusResponse>, Status> {
        let caller = caller(&request)?;
        let video_id = request.into_inner().video_id;
        let (status, message) = match self.job(&caller, &video_id).await? {
            None => ("not_found", format!("there is no video '{video_id}'")),
            Some(job) => match (job.state, job.failure) {
                (JobState::Completed, _) => ("completed", "the output can be retrieved".to_owned()),
                (state, _) if !state.is_final() => ("processing", state.label().to_owned()),
                (_, Some(failure)) => ("processing_failed", failure.message),
                (state, None) => ("processing_failed", state.label().to_owned()),
            },
        };
        let status = status.to_owned();
        Ok(Response::new(pb::VideoStatusResponse { video_id, status, message }))
    }
}

#[tonic::async_trait]
impl NodeService for Replication {
    async fn get_node_stats(
        &self,
        request: Request<pb::NodeStatsRequest>,
    ) -> Result<Response<pb::NodeStatsResponse>, Status> {
        let address = see(&request);
        let stats = self.coordinator.stats().await.map_err(|f| refusal(&f))?;
        let load = |text: &str| text.split_whitespace().next().and_then(|one| one.parse().ok());
        let load: f32 =
            std::fs::read_to_string("/proc/loadavg").ok().and_then(|t| load(&t)).unwrap_or(0.0);
        let cores = crate::farm::cores() as f32;
        let free = i64::try_from(stats.free_bytes.unwrap_or(0)).unwrap_or(i64::MAX);
        Ok(Response::new(pb::NodeStatsResponse {
            node_id: crate::farm::host_name(),
            node_address: address.clone(),
            is_master: true,
            current_master_address: address,
            cpu_utilization: (load / cores.max(1.0) * 100.0).min(100.0),
            memory_utilization: memory_used().unwrap_or(0.0),
            disk_space_free_shards: free,
            disk_space_total_shards: free,
            disk_space_free_masterdata: free,
            disk_space_total_masterdata: free,
            active_tasks: i32::try_from(stats.slots_busy).unwrap_or(i32::MAX),
            known_nodes_count: stats.workers.values().sum::<u64>() as i32 + 1,
            election_in_progress: false,
            current_term: 1,
        }))
    }

    async fn get_current_master(
        &self,
        request: Request<pb::GetCurrentMasterRequest>,
    ) -> Result<Response<pb::GetCurrentMasterResponse>, Status> {
        let master_address = see(&request);
        let is_master_known = true;
        Ok(Response::new(pb::GetCurrentMasterResponse { master_address, term: 1, is_master_known }))
    }
}

/// Percent of this machine's memory in use.
fn memory_used() -> Option<f32> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = |name: &str| -> Option<f32> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (all, free) = (line("MemTotal:")?, line("MemAvailable:")?);
    Some((all - free) / all.max(1.0) * 100.0)
}
