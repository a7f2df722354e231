//! `reelmill hooks`: whom this machine tells of conversions, and whether that works.

use super::args::Common;
use super::library_args::HooksArgs;
use super::out;
use crate::exit::{Ending, Exit};
use crate::library::hooks;
use reelmill_core::error::Failure;
use reelmill_core::library::hooks::{Happened, HookEvent, Hooks};
use tokio_util::sync::CancellationToken;

/// Calls all hooks that want to know of `event`; one that fails is told of and
/// changes nothing.
pub(super) async fn tell(hooks: &Hooks, event: &HookEvent, common: &Common) {
    for (name, result) in hooks::call(hooks, event, &CancellationToken::new()).await {
        let Err(failure) = result else { continue };
        if common.json {
            out::json(
                &serde_json::json!({"event": "hook_failed", "hook": name, "failure": failure}),
            );
        } else if !common.quiet {
            out::note(&format!("warning: {}", failure.message));
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: &HooksArgs, common: &Common) -> Result<Exit, Ending> {
    let hooks = hooks::configured().map_err(Ending::usage)?;
    let Some(file) = &args.test else {
        for hook in &hooks.hooks {
            let url = hook
                .url
                .as_deref()
                .or(hook.command.first().map(String::as_str))
                .unwrap_or_default();
            let url = crate::outside::shown(url);
            if common.json {
                out::json(
                    &serde_json::json!({"hook": hook.name, "kind": hook.kind, "to": url, "on": hook.on}),
                );
            } else {
                out::line(&format!("{}: {} {url}", hook.name, hook.kind.name()));
            }
        }
        if hooks.hooks.is_empty() && !common.json {
            out::note("there are none; docs/hooks.md says how to make them");
        }
        return Ok(Exit::Done);
    };
    let path = std::path::absolute(file)
        .map_err(|e| Failure::io(format!("find {}", file.display()), &e))?;
    let size = std::fs::metadata(&path)
        .map_err(|e| Ending::input(Failure::io(format!("read {}", path.display()), &e)))?;
    let event = HookEvent {
        event: Happened::Converted,
        path: path.to_string_lossy().into_owned(),
        old_path: None,
        preset: "test".to_owned(),
        bytes_before: size.len(),
        bytes_after: Some(size.len()),
        reason: None,
    };
    let (mut worked, mut failed) = (0, 0);
    for (name, result) in hooks::call(&hooks, &event, &CancellationToken::new()).await {
        match result {
            Ok(()) => {
                worked += 1;
                if common.json {
                    out::json(&serde_json::json!({"hook": name, "worked": true}));
                } else {
                    out::line(&format!("{name}: worked"));
                }
            }
            Err(failure) => {
                failed += 1;
                out::failure(&failure, common.json);
            }
        }
    }
    Ok(match (worked, failed) {
        (_, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::Partly,
    })
}
