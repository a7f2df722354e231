//! The client commands.

use super::Common;
use super::args::{
    CancelArgs, FetchArgs, ListArgs, RetryArgs, StatusArgs, SubmitArgs, WorkersArgs,
};
use super::calls::{Client, ClientError};
use super::display::{Display, Transfer, submitted};
use super::upload::UnderWay;
use super::{download, render, upload};
use crate::api::wire::{DryRun, JobRequest, SourceFacts, SourceRequest, output_name};
use crate::cli::out;
use crate::clock;
use crate::coordinator::{Film, JobView};
use crate::exit::{Ending, Exit};
use crate::servers::Patience;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::id::BlobId;
use reelmill_core::job::{Job, JobState};
use reelmill_store::HistoryEntry;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// Pause between two looks at a job that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a followed job's server may be away.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(600);

/// Longest that tidying up after an interruption may take.
const TIDY_TIME: Duration = Duration::from_secs(3);

/// Jobs asked for at a time.
const PAGE: usize = 200;

/// `reelmill submit`: its exit code.
pub(crate) async fn submit(args: SubmitArgs, common: Common) -> u8 {
    let under_way = UnderWay::default();
    let outcome = tokio::select! {
        outcome = submit_and_wait(&args, &common, &under_way) => outcome,
        () = interrupted() => {
            discard(&common, &under_way).await;
            Ok(Exit::Interrupted)
        }
    };
    conclude(outcome, &common)
}

/// `reelmill list`: its exit code.
pub(crate) async fn list(args: ListArgs, common: Common) -> u8 {
    let work = async {
        let jobs = collect(&Client::of(&common)?, &args).await?;
        if common.json {
            jobs.iter().for_each(out::json);
        } else if !jobs.is_empty() || !common.quiet {
            render::jobs(&jobs).iter().for_each(|line| out::line(line));
        }
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill status`: its exit code.
pub(crate) async fn status(args: StatusArgs, common: Common) -> u8 {
    let work = async {
        let client = Client::of(&common)?;
        let view = client.job(&args.job).await.map_err(ClientError::from)?;
        if args.follow {
            let job = follow(&client, &view.job.id.to_string(), &common).await?;
            return ended(&job, &common);
        }
        let history = if args.history { client.history(view.job.id).await? } else { Vec::new() };
        tell(&view, &history, &common);
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill fetch`: its exit code.
pub(crate) async fn fetch(args: FetchArgs, common: Common) -> u8 {
    let work = async {
        let client = Client::of(&common)?;
        let view = client.job(&args.job).await.map_err(ClientError::from)?;
        bring(&client, &view.job, &args.output, args.overwrite, &common).await?;
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill cancel`: its exit code.
pub(crate) async fn cancel(args: CancelArgs, common: Common) -> u8 {
    let work = async {
        let view = Client::of(&common)?.cancel(&args.job).await?;
        confirm(&view, "cancelled", &common);
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill retry`: its exit code.
pub(crate) async fn retry(args: RetryArgs, common: Common) -> u8 {
    let work = async {
        let view = Client::of(&common)?.retry(&args.job).await?;
        confirm(&view, "opened again", &common);
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill workers`: its exit code.
pub(crate) async fn workers(_args: WorkersArgs, common: Common) -> u8 {
    let work = async {
        let workers = Client::of(&common)?.workers().await?.items;
        if common.json {
            workers.iter().for_each(out::json);
        } else {
            render::workers(&workers).iter().for_each(|line| out::line(line));
        }
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

pub(super) fn conclude(outcome: Result<Exit, Ending>, common: &Common) -> u8 {
    match outcome {
        Ok(exit) => exit as u8,
        Err(ending) => {
            out::failure(&ending.failure, common.json);
            ending.exit as u8
        }
    }
}

pub(super) async fn or_interrupted(
    work: impl Future<Output = Result<Exit, Ending>>,
) -> Result<Exit, Ending> {
    tokio::select! {
        outcome = work => outcome,
        () = interrupted() => Ok(Exit::Interrupted),
    }
}

/// Ends when the user or the system asks the program to stop.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Throws away the upload that was interrupted, if the server still listens.
async fn discard(common: &Common, under_way: &UnderWay) {
    let (Some(id), Ok(client)) = (under_way.get(), Client::of(common)) else { return };
    let _ = tokio::time::timeout(TIDY_TIME, client.upload_discard(id)).await;
}

async fn submit_and_wait(
    args: &SubmitArgs,
    common: &Common,
    under_way: &UnderWay,
) -> Result<Exit, Ending> {
    let client = Client::of(common)?;
    let name = name(args)?;
    if let Some(output) = &args.output {
        // Better now than after hours of work.
        download::place(&name, output, args.overwrite || output.is_dir()).map_err(Ending::usage)?;
    }
    let mut request = request(args, name);
    upload::check(&args.file)?;
    if args.dry_run {
        request.facts = facts(&args.file);
        let told = client.check(&request).await.map_err(or_usage)?;
        tell_dry_run(&request.name, &told, common);
        return Ok(Exit::Done);
    }
    client.check(&request).await.map_err(or_usage)?;
    let transfer = Transfer::new(common, "uploading", "uploading");
    let told = |done, total| transfer.show(done, total);
    let blob = upload::send(&client, &args.file, &request.name, under_way, &told).await;
    let blob = blob.map_err(or_refused)?;
    drop(transfer);
    request.source = SourceRequest::Upload(blob.id);
    let key = args.idempotency_key.clone().unwrap_or_else(|| clock::fresh().to_string());
    let view = client.submit(&request, &key).await.map_err(or_usage)?;
    let job = view.job;
    submitted(common, job.id, &job.name);
    if !args.wait {
        return Ok(Exit::Done);
    }
    let job = follow(&client, &job.id.to_string(), common).await?;
    if let (Some(output), JobState::Completed) = (&args.output, job.state) {
        bring(&client, &job, output, args.overwrite, common).await?;
        return Ok(Exit::Done);
    }
    ended(&job, common)
}

/// What the headers of the file tell a server that has not got it.
fn facts(path: &Path) -> Option<SourceFacts> {
    let name = path.file_name()?.to_string_lossy();
    let film = Film::look(std::fs::File::open(path).ok()?, &name)?;
    let ((width, height), duration_seconds) = (film.size, film.seconds);
    Some(SourceFacts { duration_seconds, width, height, fps: film.fps, bytes: film.bytes })
}

fn tell_dry_run(name: &str, told: &DryRun, common: &Common) {
    if common.json {
        out::json(told);
    } else if !common.quiet {
        render::dry_run(name, told).iter().for_each(|line| out::line(line));
    }
}

/// What is asked for; the source is not there yet.
fn request(args: &SubmitArgs, name: String) -> JobRequest {
    JobRequest {
        name,
        source: SourceRequest::Upload(BlobId(Uuid::nil())),
        preset: args.preset(),
        overrides: args.overrides(),
        format: args.container(),
        chunk_seconds: args.chunk_seconds,
        max_retries: args.max_retries,
        priority: args.priority,
        labels: args.label.iter().cloned().collect(),
        item: None,
        facts: None,
    }
}

/// A request that can never be met is a wrong command line.
fn or_usage(error: ClientError) -> Ending {
    match error {
        ClientError::Problem(failure) if failure.class == FailureClass::Permanent => {
            Ending::usage(failure)
        }
        other => other.into(),
    }
}

/// A file that the server will never take is a refused input.
fn or_refused(error: ClientError) -> Ending {
    match error {
        ClientError::Problem(failure) if failure.class == FailureClass::Permanent => {
            Ending::input(failure)
        }
        other => other.into(),
    }
}

fn name(args: &SubmitArgs) -> Result<String, Ending> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| {
        Ending::usage(Failure::permanent(format!("{} names no file", args.file.display())))
    })
}

async fn collect(client: &Client, args: &ListArgs) -> Result<Vec<Job>, Ending> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut after = None;
    while jobs.len() < args.limit {
        let wanted = (args.limit - jobs.len()).min(PAGE);
        let label = args.label.as_ref();
        let page = client.jobs(&args.state, label, wanted, after.as_deref()).await?;
        jobs.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(jobs)
}

/// Shows a job's progress until it has ended. While the server is away the job
/// may well go on, so that it is waited for.
async fn follow(client: &Client, id: &str, common: &Common) -> Result<Job, Ending> {
    let mut display = Display::new(common);
    let mut patience = Patience::new(FOLLOW_PATIENCE);
    loop {
        match client.job(id).await {
            Ok(view) => {
                patience.renew();
                display.show(&view);
                if view.job.state.is_final() {
                    return Ok(view.job);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) if error.passes() => {
                display.away(&error.clone().failure().message);
                if !patience.wait().await {
                    return Err(ClientError::from(error).into());
                }
            }
            Err(error) => return Err(ClientError::from(error).into()),
        }
    }
}

/// How a job that has ended ends the command.
fn ended(job: &Job, common: &Common) -> Result<Exit, Ending> {
    match (job.state, &job.failure) {
        (JobState::Completed, _) => {
            if common.json {
                let output = job.output.as_ref();
                out::json(&serde_json::json!({
                    "event": "completed", "job": job.id,
                    "bytes": output.map(|o| o.bytes), "sha512": output.map(|o| &o.sha512),
                }));
            } else if !common.quiet {
                out::note(&format!("completed; 'reelmill fetch {}' brings the output", job.id));
            }
            Ok(Exit::Done)
        }
        (JobState::Rejected, Some(failure)) => Err(Ending::input(failure.clone())),
        (_, Some(failure)) => Err(failure.clone().into()),
        (state, None) => {
            let failure = Failure::permanent(format!("the job was {}", state.label()));
            Err(Ending { exit: Exit::Failed, failure })
        }
    }
}

/// Fetches a job's output and says where it is.
async fn bring(
    client: &Client,
    job: &Job,
    output: &Path,
    overwrite: bool,
    common: &Common,
) -> Result<(), Ending> {
    if job.output.is_some() {
        download::place(&output_name(job), output, overwrite).map_err(Ending::usage)?;
    }
    let transfer = Transfer::new(common, "fetching", "fetching");
    let told = |done, total| transfer.show(done, total);
    let path = download::fetch(client, job, output, overwrite, &told).await?;
    drop(transfer);
    let finished = job.output.as_ref();
    if common.json {
        out::json(&serde_json::json!({
            "event": "finished", "job": job.id, "output": path,
            "bytes": finished.map(|o| o.bytes), "sha512": finished.map(|o| &o.sha512),
        }));
    } else if !common.quiet {
        let size = finished.map(|o| out::bytes(o.bytes)).unwrap_or_default();
        out::note(&format!("{} ({size})", path.display()));
    }
    Ok(())
}

fn tell(view: &JobView, history: &[HistoryEntry], common: &Common) {
    if !common.json {
        render::job(view).iter().for_each(|line| out::line(line));
        history.iter().for_each(|entry| out::line(&render::entry(entry)));
        return;
    }
    match serde_json::to_value(view) {
        Ok(serde_json::Value::Object(mut job)) if !history.is_empty() => {
            job.insert("history".into(), serde_json::json!(history));
            out::json(&job);
        }
        _ => out::json(view),
    }
}

fn confirm(view: &JobView, what: &str, common: &Common) {
    if common.json {
        out::json(view);
    } else if !common.quiet {
        out::line(&format!("{what}: {} ({})", view.job.id, render::clean(&view.job.name)));
    }
}
