//! What happens: history, live events, attempts, items of a client.

use super::ApiState;
use super::auth::{Auth, Caller};
use super::body::{Named, Params};
use super::error::ApiError;
use super::listen::Closing;
use super::operation::{Operation, Paths, Whom};
use super::rest_jobs::{MAX_PAGE, find, page};
use super::wire::{AttemptView, ItemView, Page};
use crate::coordinator::Coordinator;
use axum::Extension;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use reelmill_core::id::JobId;
use reelmill_core::job::Job;
use reelmill_store::{HistoryEntry, JobFilter, KeyRole};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// What a browser says to go on after a cut.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Longest time between two looks, and so between two figures of progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Entries on a page, or sent at once.
const PAGE: u32 = 1000;

/// Jobs whose owner a stream remembers.
const REMEMBERED: usize = 10_000;

/// Which part of a history to show.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventParams {
    /// The number of the last entry that is known.
    after: Option<i64>,
}

/// The routes.
pub(crate) fn routes(auth: &Auth) -> Paths {
    let op = |path, id, summary| Operation::new(Whom::Clients, Method::GET, path, id, summary);
    let events = |path, id, summary| {
        op(path, id, summary)
            .query::<EventParams>()
            .header::<i64>("Last-Event-ID", false, "As 'after', for event streams")
            .gives_or_streams::<Page<HistoryEntry>>(
                200,
                "A page, oldest first; live, with 'Accept: text/event-stream'",
            )
    };
    Paths::new(auth)
        .on(events("/api/v1/jobs/{job}/events", "jobEvents", "What happened to a job"), of_job)
        .on(
            events("/api/v1/events", "events", "What happened to all jobs that you may see"),
            of_all,
        )
        .on(
            op(
                "/api/v1/jobs/{job}/attempts",
                "listAttempts",
                "Every try at every task of a job, with its log",
            )
            .gives::<Page<AttemptView>>(200, "All of them, oldest first"),
            attempts,
        )
        .on(
            op("/api/v1/jobs/{job}/item", "getItem", "How an item of a client stands")
                .gives::<ItemView>(200, "It"),
            item,
        )
        .on(
            op("/api/v1/clients/{client}/items", "listItems", "How all items of a client stand")
                .query::<ItemParams>()
                .gives::<Page<ItemView>>(200, "A page of items, newest first"),
            items,
        )
}

/// Which items to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ItemParams {
    /// Items on a page; 200 when not given.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// What `next` of the page before said.
    after: Option<JobId>,
}

fn start(params: EventParams, headers: &HeaderMap) -> Result<i64, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(params.after.unwrap_or(0)) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| ApiError::malformed("Last-Event-ID is not the number of an event"))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.contains("text/event-stream")
}

async fn of_job(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Extension(closing): Extension<Closing>,
    Named(id): Named<String>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let after = start(params, &headers)?;
    if wants_stream(&headers) {
        return Ok(live(&api, caller, closing, Some(job.id), after));
    }
    let items = api.coordinator.history(job.id, after).await?;
    let next = items.last().map(|entry| entry.seq.to_string());
    Ok(axum::Json(Page { items, next }).into_response())
}

async fn of_all(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Extension(closing): Extension<Closing>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = start(params, &headers)?;
    if wants_stream(&headers) {
        // Without a place to go on from, a stream begins now.
        let fresh = params.after.is_none() && !headers.contains_key(LAST_EVENT_ID);
        let after = if fresh { api.coordinator.last_event().await? } else { after };
        return Ok(live(&api, caller, closing, None, after));
    }
    let mut teller = Teller::new(&api.coordinator, caller, None, after);
    let items = teller.entries().await?;
    let next = (teller.after > after).then(|| teller.after.to_string());
    Ok(axum::Json(Page { items, next }).into_response())
}

/// Tells what happens, from a place in the history on.
struct Teller {
    coordinator: Arc<Coordinator>,
    caller: Caller,
    job: Option<JobId>,
    after: i64,
    owners: HashMap<JobId, Option<String>>,
    waiting: VecDeque<Event>,
    progress: String,
    over: bool,
}

impl Teller {
    fn new(coordinator: &Arc<Coordinator>, caller: Caller, job: Option<JobId>, after: i64) -> Self {
        Self {
            coordinator: coordinator.clone(),
            caller,
            job,
            after,
            owners: HashMap::new(),
            waiting: VecDeque::new(),
            progress: String::new(),
            over: false,
        }
    }

    /// The next entries that the caller may see.
    async fn entries(&mut self) -> Result<Vec<HistoryEntry>, ApiError> {
        let found = match self.job {
            Some(job) => self.coordinator.history(job, self.after).await?,
            None => self.coordinator.history_of_all(self.after, PAGE).await?,
        };
        let mut seen = Vec::new();
        for entry in found {
            self.after = entry.seq;
            if self.job.is_some() || self.sees(entry.job).await? {
                seen.push(entry);
            }
        }
        Ok(seen)
    }

    async fn sees(&mut self, job: JobId) -> Result<bool, ApiError> {
        if self.caller.role == KeyRole::Admin {
            return Ok(true);
        }
        if !self.owners.contains_key(&job) {
            if self.owners.len() >= REMEMBERED {
                self.owners.clear();
            }
            let owner = self.coordinator.job(job).await?.and_then(|job| job.owner);
            self.owners.insert(job, owner);
        }
        let owner = self.owners.get(&job).and_then(Option::as_deref);
        Ok(owner.is_some() && self.caller.sees(owner))
    }

    /// Puts what is new into the queue.
    async fn look(&mut self) -> Result<(), ApiError> {
        for entry in self.entries().await? {
            let word = entry.event["event"].as_str().unwrap_or("event").to_owned();
            let event = Event::default().id(entry.seq.to_string()).event(word).json_data(&entry);
            if let Ok(event) = event {
                self.waiting.push_back(event);
            }
        }
        let Some(id) = self.job else { return Ok(()) };
        let Some(job) = self.coordinator.job(id).await? else {
            self.over = true;
            return Ok(());
        };
        if job.state.is_final() {
            self.over = self.waiting.is_empty();
            return Ok(());
        }
        let view = self.coordinator.view(job).await?;
        let progress = serde_json::json!({
            "state": view.job.state, "phase": view.phase, "frames_done": view.frames_done,
            "frames_total": view.frames_total, "fps": view.fps, "speed": view.speed,
            "eta_seconds": view.eta_seconds,
        })
        .to_string();
        if progress != self.progress {
            // It has no id: after a cut, the history goes on, progress begins anew.
            self.waiting.push_back(Event::default().event("progress").data(progress.clone()));
            self.progress = progress;
        }
        Ok(())
    }
}

fn live(
    api: &ApiState,
    caller: Caller,
    closing: Closing,
    job: Option<JobId>,
    after: i64,
) -> Response {
    let teller = Teller::new(&api.coordinator, caller, job, after);
    let keep = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(told(teller, closing)).keep_alive(keep).into_response()
}

fn told(teller: Teller, closing: Closing) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((teller, closing), async |(mut teller, closing)| {
        loop {
            if let Some(event) = teller.waiting.pop_front() {
                return Some((Ok(event), (teller, closing)));
            }
            if teller.over || closing.0.is_cancelled() {
                return None;
            }
            let coordinator = teller.coordinator.clone();
            let changed = coordinator.changed(LOOK_EVERY);
            if let Err(error) = teller.look().await {
                tracing::debug!(?error, "an event stream cannot go on");
                return None;
            }
            if teller.waiting.is_empty() && !teller.over {
                tokio::select! {
                    () = closing.0.cancelled() => {}
                    () = changed => {}
                }
            }
        }
    })
}

/// Every attempt, put together from the history.
async fn attempts(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<Page<AttemptView>>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let mut history = Vec::new();
    loop {
        let after = history.last().map_or(0, |entry: &HistoryEntry| entry.seq);
        let page = api.coordinator.history(job.id, after).await?;
        if page.is_empty() {
            break;
        }
        history.extend(page);
    }
    let names = api.coordinator.worker_names().await?;
    let name = |text: &str| match text.parse() {
        Ok(id) => names.get(&id).cloned().unwrap_or_else(|| text.to_owned()),
        Err(_) => text.to_owned(),
    };
    let mut all = tries(&history);
    for attempt in &mut all {
        attempt.worker = attempt.worker.as_deref().map(name);
    }
    Ok(axum::Json(Page::whole(all)))
}

fn tries(history: &[HistoryEntry]) -> Vec<AttemptView> {
    let mut all: Vec<AttemptView> = Vec::new();
    for entry in history {
        let Some(task) = entry.task else { continue };
        let word = entry.event["event"].as_str().unwrap_or_default();
        if word == "claimed" {
            let before = all.iter().filter(|attempt| attempt.task == task).count();
            all.push(AttemptView {
                task,
                kind: serde_json::from_value(entry.event["kind"].clone()).ok(),
                attempt: before as u32 + 1,
                worker: entry.event["worker"].as_str().map(str::to_owned),
                began: entry.at,
                ended: None,
                outcome: "running".to_owned(),
                failure: None,
            });
            continue;
        }
        let open =
            all.iter_mut().rev().find(|attempt| attempt.task == task && attempt.ended.is_none());
        if let Some(attempt) = open {
            attempt.ended = Some(entry.at);
            attempt.outcome = word.to_owned();
            attempt.failure = serde_json::from_value(entry.event["failure"].clone()).ok();
        }
    }
    all
}

fn item_of(job: Job) -> Option<ItemView> {
    let output = job.output.as_ref();
    Some(ItemView {
        id: job.id,
        state: job.state,
        updated: job.updated,
        output_bytes: output.map(|output| output.bytes),
        output_sha512: output.map(|output| output.sha512.clone()),
        item: job.item?,
        failure: job.failure,
    })
}

async fn item(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<String>,
) -> Result<axum::Json<ItemView>, ApiError> {
    let job = find(&api, &caller, &id).await?;
    let failure = reelmill_core::error::Failure::permanent("the job was submitted without an item");
    item_of(job).map(axum::Json).ok_or_else(|| ApiError::missing(failure))
}

async fn items(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Named(client): Named<String>,
    Params(params): Params<ItemParams>,
) -> Result<axum::Json<Page<ItemView>>, ApiError> {
    if client.len() > 255 {
        return Err(ApiError::malformed("a client's name has at most 255 bytes"));
    }
    let owner = match caller.role {
        KeyRole::Admin => None,
        _ => Some(caller.name.clone().unwrap_or_default()),
    };
    let limit = params.limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::malformed(format!("limit lies between 1 and {MAX_PAGE}")));
    }
    let (client, after) = (Some(client), params.after);
    let filter = JobFilter { owner, client, after, limit, ..JobFilter::default() };
    let Page { items, next } = page(&api, &caller, &filter).await?;
    let items = items.into_iter().filter_map(item_of).collect();
    Ok(axum::Json(Page { items, next }))
}
