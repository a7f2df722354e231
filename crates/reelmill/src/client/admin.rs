//! The commands for a server's operator: keys, and what the queue does.

use super::Common;
use super::args::{KeysArgs, KeysCommand, LimitArgs, ReleaseArgs, WhoArgs};
use super::commands::{conclude, or_interrupted};
use super::render::clean;
use crate::api::wire::Page;
use crate::api::{EnrolRequest, KeyRequest, KeyView, LimitRequest, NewKey};
use crate::cli::out;
use crate::coordinator::WorkerView;
use crate::exit::{Ending, Exit};
use crate::servers::{CallError, Servers};
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use reelmill_store::KeyRole;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

use super::calls::ClientError;

/// Longest that an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What the queue or a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing new.
    Pause,
    /// Go on.
    Resume,
    /// End what is there.
    Drain,
}

fn servers(common: &Common) -> Result<Servers, Ending> {
    Servers::new(&common.servers, common.api_key.as_deref()).map_err(Ending::usage)
}

fn failed(error: CallError) -> Ending {
    ClientError::from(error).into()
}

/// `reelmill keys`: its exit code.
pub(crate) async fn keys(args: KeysArgs, common: Common) -> u8 {
    let work = async {
        match args.what {
            KeysCommand::Create { name, role, expires_in_seconds } => {
                create(&common, KeyRequest { name, role, expires_in_seconds }).await
            }
            KeysCommand::List => list(&common).await,
            KeysCommand::Revoke { id } => revoke(&common, &id).await,
        }
    };
    conclude(or_interrupted(work).await, &common)
}

async fn create(common: &Common, request: KeyRequest) -> Result<Exit, Ending> {
    let make = |http: &reqwest::Client, url| http.post(url).json(&request).timeout(ANSWER_TIME);
    let made: NewKey = servers(common)?.json("/api/v1/keys", make).await.map_err(failed)?;
    if common.json {
        out::json(&made);
    } else {
        out::line(&made.key);
        if !common.quiet {
            out::note("shown only now: keep it");
        }
    }
    Ok(Exit::Done)
}

async fn list(common: &Common) -> Result<Exit, Ending> {
    let make = |http: &reqwest::Client, url| http.get(url).timeout(ANSWER_TIME);
    let keys: Page<KeyView> = servers(common)?.json("/api/v1/keys", make).await.map_err(failed)?;
    if common.json {
        keys.items.iter().for_each(out::json);
        return Ok(Exit::Done);
    }
    for key in &keys.items {
        let state = match (key.revoked, key.expires) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= crate::clock::now() => "expired",
            (None, _) => "valid",
        };
        let role = match key.role {
            KeyRole::Admin => "admin",
            KeyRole::Client => "client",
            KeyRole::Worker => "worker",
            KeyRole::Enrol => "enrol",
        };
        out::line(&format!("{}  {role:<6}  {state:<7}  {}", key.id, clean(&key.name)));
    }
    Ok(Exit::Done)
}

async fn revoke(common: &Common, id: &str) -> Result<Exit, Ending> {
    // A whole key may be given as well as its id.
    let id = id.split('_').nth(1).unwrap_or(id);
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Ending::usage(Failure::permanent("that is not the id of a key")));
    }
    let make = |http: &reqwest::Client, url| http.delete(url).timeout(ANSWER_TIME);
    servers(common)?.send(&format!("/api/v1/keys/{id}"), make).await.map_err(failed)?;
    if common.json {
        out::json(&json!({"event": "revoked", "key": id}));
    } else if !common.quiet {
        out::line(&format!("revoked: {id}"));
    }
    Ok(Exit::Done)
}

/// `reelmill pause`, `resume` and `drain`: their exit code.
pub(crate) async fn queue(args: WhoArgs, turn: Turn, common: Common) -> u8 {
    let work = async {
        let servers = servers(&common)?;
        let answer: Value = match &args.worker {
            None => {
                let state = match turn {
                    Turn::Pause => "paused",
                    Turn::Resume => "open",
                    Turn::Drain => "draining",
                };
                let body = json!({"state": state});
                let make =
                    |http: &reqwest::Client, url| http.put(url).json(&body).timeout(ANSWER_TIME);
                servers.json("/api/v1/queue", make).await.map_err(failed)?
            }
            Some(worker) => one_worker(&servers, worker, turn).await?,
        };
        if common.json {
            out::json(&answer);
        } else if !common.quiet {
            let whose = args.worker.as_deref().unwrap_or("queue");
            let state = answer["state"].as_str().unwrap_or("changed");
            out::line(&format!("{}: {state}", clean(whose)));
        }
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill limit`: its exit code.
pub(crate) async fn limit(args: LimitArgs, common: Common) -> u8 {
    let work = async {
        let servers = servers(&common)?;
        let id = find_worker(&servers, &args.worker).await?;
        let body = LimitRequest { limit: args.limit.0 };
        let make = |http: &reqwest::Client, url| http.put(url).json(&body).timeout(ANSWER_TIME);
        let path = format!("/api/v1/workers/{id}/limit");
        let answer: Value = servers.json(&path, make).await.map_err(failed)?;
        if common.json {
            out::json(&answer);
        } else if !common.quiet {
            let limit = match args.limit.0 {
                Some(limit) => format!("at most {limit} tasks at once"),
                None => "as many tasks as it has slots".to_owned(),
            };
            out::line(&format!("{}: {limit}", clean(&args.worker)));
        }
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

/// `reelmill release`: its exit code.
pub(crate) async fn release(args: ReleaseArgs, common: Common) -> u8 {
    let work = async {
        let servers = servers(&common)?;
        // One that is gone is in no list, but may be the one that is in the way.
        let id = match args.worker.parse() {
            Ok(id) => id,
            Err(_) => find_worker(&servers, &args.worker).await?,
        };
        let make = |http: &reqwest::Client, url| http.post(url).timeout(ANSWER_TIME);
        let path = format!("/api/v1/workers/{id}/release");
        let answer: Value = servers.json(&path, make).await.map_err(failed)?;
        if common.json {
            out::json(&answer);
        } else if !common.quiet {
            let name = clean(answer["name"].as_str().unwrap_or(&args.worker));
            out::line(&format!("{name}: the next key with which it joins has it"));
        }
        Ok(Exit::Done)
    };
    conclude(or_interrupted(work).await, &common)
}

async fn one_worker(servers: &Servers, worker: &str, turn: Turn) -> Result<Value, Ending> {
    let id = find_worker(servers, worker).await?;
    let word = match turn {
        Turn::Pause => "pause",
        Turn::Resume => "resume",
        Turn::Drain => "drain",
    };
    let make = |http: &reqwest::Client, url| http.post(url).timeout(ANSWER_TIME);
    servers.json(&format!("/api/v1/workers/{id}/{word}"), make).await.map_err(failed)
}

/// The id of the one worker that is called `worker`, or has that id.
async fn find_worker(servers: &Servers, worker: &str) -> Result<WorkerId, Ending> {
    let make = |http: &reqwest::Client, url| http.get(url).timeout(ANSWER_TIME);
    let all: Page<WorkerView> = servers.json("/api/v1/workers", make).await.map_err(failed)?;
    let is_it = |view: &&WorkerView| {
        view.record.name == worker || view.record.facts.id.to_string() == worker
    };
    let mut found = all.items.iter().filter(is_it);
    let (Some(view), None) = (found.next(), found.next()) else {
        let message = format!("there is no worker '{worker}', or several are called so");
        let failure =
            Failure::permanent(message).advise("'reelmill workers --json' shows their ids");
        return Err(Ending { exit: Exit::Failed, failure });
    };
    Ok(view.record.facts.id)
}

/// A worker's own key for an enrolment token, in place of its `former` one.
///
/// # Errors
/// When no server answers, or the token is not valid.
pub(crate) async fn enrol(
    list: &[String],
    token: &str,
    name: &str,
    former: Option<String>,
) -> Result<String, Ending> {
    let servers = Servers::new(list, None).map_err(Ending::usage)?;
    let request = EnrolRequest { token: token.to_owned(), name: name.to_owned(), former };
    let made: NewKey = post(&servers, "/api/v1/enrol", &request).await.map_err(failed)?;
    Ok(made.key)
}

async fn post<T: DeserializeOwned>(
    servers: &Servers,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<T, CallError> {
    let make = |http: &reqwest::Client, url| http.post(url).json(body).timeout(ANSWER_TIME);
    servers.json(path, make).await
}
