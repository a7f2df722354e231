//! `reelmill submit`: hands a file over, or keeps the request until a server
//! can be reached.

use super::Common;
use super::args::SubmitArgs;
use super::calls::Client;
use super::commands::{bring, conclude, ended, follow, interrupted};
use super::deliver::{Unsent, deliver, or_usage};
use super::display::submitted;
use super::upload::UnderWay;
use super::{download, render, upload};
use crate::api::wire::{DryRun, JobRequest, SourceFacts, SourceRequest};
use crate::cli::out;
use crate::coordinator::Film;
use crate::exit::{Ending, Exit};
use crate::farm;
use crate::outbox::{Entry, Outbox, Output, Source, Trouble, Wanted};
use crate::servers;
use reelmill_core::error::Failure;
use reelmill_core::id::BlobId;
use reelmill_core::job::JobState;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// Longest that tidying up after an interruption may take.
const TIDY_TIME: Duration = Duration::from_secs(3);

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
    let fetched_later = later(args, common)?;
    let mut entry = entry(args, common, request)?;
    let job = match deliver(&client, &mut entry, under_way, common, &mut |_| Ok(())).await {
        Ok(job) => job,
        Err(Unsent::Away(why) | Unsent::Later(why)) => return keep(args, common, entry, why),
        Err(Unsent::No(ending)) => return Err(ending),
    };
    submitted(common, job.id, &job.name);
    if let Some(outbox) = fetched_later {
        return note_output(&outbox, &entry, common);
    }
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

/// The outbox, where the output is to be fetched by a later command.
fn later(args: &SubmitArgs, common: &Common) -> Result<Option<Outbox>, Ending> {
    if args.output.is_none() || args.wait {
        return Ok(None);
    }
    if args.no_outbox {
        let message = "without the outbox, nobody would fetch the output";
        let failure = Failure::permanent(message).advise("give --wait, or leave out --no-outbox");
        return Err(Ending::usage(failure));
    }
    Ok(Some(Outbox::open(&common.outbox)?))
}

/// The request, with all that is needed to go on with it later.
fn entry(args: &SubmitArgs, common: &Common, request: JobRequest) -> Result<Entry, Ending> {
    let servers = servers::addresses(&common.servers).map_err(Ending::usage)?;
    let output = args.output.as_ref().map(|path| Output::new(path, args.overwrite)).transpose()?;
    Ok(Entry::new(Wanted {
        servers: servers.iter().map(ToString::to_string).collect(),
        key: args.idempotency_key.clone(),
        source: Source::look(&args.file)?,
        request,
        output,
    }))
}

/// Keeps a request that no server took because of `why`, where that is wanted.
fn keep(
    args: &SubmitArgs,
    common: &Common,
    mut entry: Entry,
    why: Failure,
) -> Result<Exit, Ending> {
    let unreachable = |failure| Ending { exit: Exit::Unreachable, failure };
    if args.wait || args.no_outbox {
        let advice = why.advice.clone().filter(|_| args.no_outbox).unwrap_or_else(|| {
            "try again, or leave out --wait: the request is kept then until a server can be reached"
                .to_owned()
        });
        return Err(unreachable(why.advise(advice)));
    }
    entry.trouble = Some(Trouble { away: true, failure: why.clone() });
    let first = Outbox::open(&common.outbox).and_then(|outbox| outbox.add(&entry));
    let first = first.map_err(|failure| {
        let message = format!("{}, and the request is not kept: {}", why.message, failure.message);
        unreachable(Failure { message, ..failure })
    })?;
    tell_kept(first.as_ref(), &entry, &why, common);
    warn_of_preset(args);
    Ok(Exit::Done)
}

/// Says that the request waits, since when, and what becomes of it.
fn tell_kept(first: Option<&Entry>, entry: &Entry, why: &Failure, common: &Common) {
    let waits = first.unwrap_or(entry);
    let output = entry.output.as_ref().map(Output::path);
    if common.json {
        out::json(&serde_json::json!({
            "event": "kept", "entry": waits.id, "name": entry.request.name, "output": output,
            "known": first.is_some(), "failure": why,
        }));
        return;
    }
    // Also when little is to be said: nobody would look for the film otherwise.
    out::note(&why.message);
    out::note(&match first {
        None => format!("kept in the outbox as {}", waits.id),
        Some(_) => format!("the same request waits in the outbox already, as {}", waits.id),
    });
    let fetches = output.map(|path| format!(", and fetches the output to {}", path.display()));
    let key = common.api_key.as_ref().map(|_| " (the key is not kept: give it then, too)");
    out::note(&format!(
        "  what to do: 'reelmill sync' sends it when a server can be reached{}{}",
        fetches.unwrap_or_default(),
        key.unwrap_or_default()
    ));
}

/// A server may have presets of its own, so that this is no error.
fn warn_of_preset(args: &SubmitArgs) {
    let known = farm::presets().and_then(|all| all.get(&args.preset(), &args.overrides()));
    if let Err(failure) = known {
        out::note(&format!("warning: the server may refuse it: {}", failure.message));
    }
}

/// Notes where the output of a job goes that a server has.
fn note_output(outbox: &Outbox, entry: &Entry, common: &Common) -> Result<Exit, Ending> {
    outbox.add_sent(entry).map_err(|failure| {
        let message = format!(
            "the job was submitted; where its output goes is not kept: {}",
            failure.message
        );
        Failure { message, ..failure }.advise("'reelmill fetch' brings it when it is done")
    })?;
    if let Some(output) = entry.output.as_ref().filter(|_| !common.json && !common.quiet) {
        let path = output.path().display();
        out::note(&format!("'reelmill sync' fetches the output to {path} when it is done"));
    }
    Ok(Exit::Done)
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

fn name(args: &SubmitArgs) -> Result<String, Ending> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| {
        Ending::usage(Failure::permanent(format!("{} names no file", args.file.display())))
    })
}
