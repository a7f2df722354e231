//! Calling hooks: the media servers and programs that want to know of a
//! conversion. A hook that fails is told of and changes nothing.

use crate::clock;
use crate::coordinator::sign;
use crate::paths;
use reelmill_core::error::Failure;
use reelmill_core::library::hooks::{Ask, Hook, HookEvent, HookKind, Hooks};
use reelmill_media::process::ToolCommand;
use reqwest::{Client, Method};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest that a service may take to answer, or a program to end.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Longest that a program may take.
const PROGRAM_TIME: Duration = Duration::from_secs(600);

/// Times that a call is tried while the service is away, and the pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(2) };

/// Largest list that a service may answer with, bytes: Sonarr and Radarr tell all
/// that they know of every series and film.
const LARGEST: usize = 256 << 20;

/// The hooks of this machine: `hooks.toml` in the folder of configuration. Never
/// those of a library, which others may write to.
///
/// # Errors
/// When the file cannot be read or makes no sense.
pub(crate) fn configured() -> Result<Hooks, Failure> {
    let path = paths::config().join("hooks.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Hooks::parse(&text, &path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Hooks::default()),
        Err(error) => Err(Failure::io(format!("read {}", path.display()), &error)),
    }
}

/// Calls all hooks that want to know of `event`; each hook's name, and why it
/// failed if it did.
pub(crate) async fn call(
    hooks: &Hooks,
    event: &HookEvent,
    cancel: &CancellationToken,
) -> Vec<(String, Result<(), Failure>)> {
    let mut done = Vec::new();
    for hook in hooks.of(event.event) {
        done.push((hook.name.clone(), one(hook, event, cancel).await));
    }
    done
}

/// Calls one hook.
///
/// # Errors
/// When the service or program does not do what it is asked for.
async fn one(hook: &Hook, event: &HookEvent, cancel: &CancellationToken) -> Result<(), Failure> {
    if hook.kind == HookKind::Command {
        return run(hook, event, cancel).await;
    }
    let Some(first) = hook.first(event) else { return Ok(()) };
    let client = client()?;
    let answer = ask(&client, hook, &first).await?;
    match hook.then(event, &answer)? {
        Some(second) => ask(&client, hook, &second).await.map(drop),
        None => Ok(()),
    }
}

/// The address stands in the configuration of whoever runs us, so it may be one
/// of the house; a redirect is not followed, for it would carry the key away.
fn client() -> Result<Client, Failure> {
    crate::tls::provide();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_TIME)
        .user_agent(concat!("reelmill/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Failure::environment(format!("cannot set up HTTP: {e}")))
}

async fn run(hook: &Hook, event: &HookEvent, cancel: &CancellationToken) -> Result<(), Failure> {
    let Some(program) = hook.command.first() else { return Ok(()) };
    // The user's own program, in the user's own configuration: no cage.
    let command =
        ToolCommand::uncaged(Path::new(program)).args(hook.arguments(event)).limit(PROGRAM_TIME);
    command.run(cancel).await.map(drop).map_err(|failure| Failure {
        message: format!("hook '{}': {}", hook.name, failure.message),
        ..failure
    })
}

async fn ask(client: &Client, hook: &Hook, ask: &Ask) -> Result<Value, Failure> {
    let mut last = Failure::transient(format!("hook '{}' was not called", hook.name));
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match send(client, hook, ask).await {
            Err(failure) if failure.class.retryable() => last = failure,
            other => return other,
        }
    }
    Err(last)
}

async fn send(client: &Client, hook: &Hook, ask: &Ask) -> Result<Value, Failure> {
    let method = if ask.method == "GET" { Method::GET } else { Method::POST };
    let mut request = client.request(method, &ask.url);
    for (name, value) in &ask.headers {
        request = request.header(*name, value);
    }
    if let Some(body) = &ask.body {
        let text = body.to_string();
        if let (HookKind::Webhook, Some(secret)) = (hook.kind, &hook.key) {
            let id = format!("msg_{}", clock::fresh().simple());
            let seconds = clock::now().0 / 1_000_000;
            let signature = sign(std::slice::from_ref(secret), &id, seconds, &text)?;
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds.to_string())
                .header("webhook-signature", signature);
        }
        request = request.header("content-type", "application/json").body(text);
    }
    // The query may hold a secret: it is not told.
    let shown = crate::outside::shown(&ask.url);
    let mut answer = request.send().await.map_err(|error| {
        let why = crate::servers::tell(&error.without_url());
        Failure::transient(format!("hook '{}': {shown} does not answer: {why}", hook.name))
    })?;
    let status = answer.status().as_u16();
    if !(200..300).contains(&status) {
        let message = format!("hook '{}': {shown} answered {status}", hook.name);
        return Err(match status {
            401 | 403 => Failure::permanent(message).advise("check the hook's 'key'"),
            408 | 429 | 500.. => Failure::transient(message),
            _ => Failure::permanent(message).advise("check the hook's 'url'"),
        });
    }
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| {
        Failure::transient(format!(
            "hook '{}': {shown} broke off: {}",
            hook.name,
            error.without_url()
        ))
    };
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > LARGEST {
            return Err(Failure::permanent(format!(
                "hook '{}': {shown} answers without an end",
                hook.name
            )));
        }
        body.extend(piece);
    }
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests;
