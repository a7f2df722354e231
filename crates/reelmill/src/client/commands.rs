//! The client commands.

use super::Common;
use super::args::{CancelArgs, FetchArgs, ListArgs, RetryArgs, StatusArgs, WorkersArgs};
use super::calls::{Client, ClientError};
use super::display::{Display, Transfer};
use super::{download, render};
use crate::api::wire::output_name;
use crate::cli::out;
use crate::coordinator::JobView;
use crate::exit::{Ending, Exit};
use crate::outbox::Outbox;
use crate::servers::Patience;
use reelmill_core::error::Failure;
use reelmill_core::job::{Job, JobState};
use reelmill_store::HistoryEntry;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Pause between two looks at a job that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a followed job's server may be away.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(600);

/// Jobs asked for at a time.
const PAGE: usize = 200;

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
    let code = conclude(or_interrupted(work).await, &common);
    mention_outbox(&common);
    code
}

/// Says that something waits here that no server knows of.
fn mention_outbox(common: &Common) {
    let found = Outbox::there(&common.outbox).and_then(|outbox| outbox.found().ok());
    let waiting = found.unwrap_or_default().len();
    if waiting > 0 && !common.json && !common.quiet {
        let requests = if waiting == 1 { "request is" } else { "requests are" };
        out::note(&format!(
            "{waiting} {requests} in the outbox: 'reelmill sync --list' shows them"
        ));
    }
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
pub(super) async fn interrupted() {
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
pub(super) async fn follow(client: &Client, id: &str, common: &Common) -> Result<Job, Ending> {
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
pub(super) fn ended(job: &Job, common: &Common) -> Result<Exit, Ending> {
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
pub(super) async fn bring(
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
