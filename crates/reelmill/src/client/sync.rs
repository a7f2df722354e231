//! `reelmill sync`: hands over what waits in the outbox and fetches what is
//! ready, once or again and again.

use super::Common;
use super::args::SyncArgs;
use super::commands::{conclude, interrupted};
use super::round::Round;
use super::told::{Told, listed};
use crate::cli::out;
use crate::exit::{Ending, Exit};
use crate::outbox::{Found, Outbox, Stage};
use crate::servers;
use reelmill_core::error::Failure;
use std::time::Duration;

/// `reelmill sync`: its exit code.
pub(crate) async fn sync(args: SyncArgs, common: Common) -> u8 {
    let outcome = match Outbox::there(&common.outbox) {
        None if !args.forget.is_empty() => Err(unknown(&args.forget[0]).into()),
        Some(outbox) if args.list => list(&outbox, &common),
        Some(outbox) if !args.forget.is_empty() => forget(&outbox, &args.forget, &common),
        // A watch has it made, so that it sees what is put in later.
        None if !args.watch => Ok(empty(&common)),
        _ => deliver(&args, &common).await,
    };
    conclude(outcome, &common)
}

async fn deliver(args: &SyncArgs, common: &Common) -> Result<Exit, Ending> {
    let outbox = Outbox::open(&common.outbox)?;
    let _alone = outbox.deliver()?;
    let only = match common.chosen {
        true => Some(servers::addresses(&common.servers).map_err(Ending::usage)?),
        false => None,
    };
    let only = only.map(|urls| urls.iter().map(ToString::to_string).collect());
    let mut round = Round::new(&outbox, common, only, Told::new(common, args.watch));
    if !args.watch {
        return tokio::select! {
            outcomes = round.all() => Ok(sum(&outcomes?, common)),
            () = interrupted() => Ok(Exit::Interrupted),
        };
    }
    let every = Duration::from_secs_f64(args.every);
    let watching = async {
        loop {
            round.all().await?;
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        ended = watching => ended,
        () = interrupted() => Ok(Exit::Done),
    }
}

/// What the ends of all entries come to.
fn sum(outcomes: &[Exit], common: &Common) -> Exit {
    if outcomes.is_empty() {
        return empty(common);
    }
    let mut bad = outcomes.iter().copied().filter(|exit| *exit != Exit::Done);
    let Some(first) = bad.next() else { return Exit::Done };
    if outcomes.contains(&Exit::Done) {
        return Exit::Partly;
    }
    if bad.all(|other| other == first) { first } else { Exit::Failed }
}

fn empty(common: &Common) -> Exit {
    if !common.json && !common.quiet {
        let whom = if common.chosen { " for that server" } else { "" };
        out::note(&format!("nothing waits in the outbox{whom}"));
    }
    Exit::Done
}

fn list(outbox: &Outbox, common: &Common) -> Result<Exit, Ending> {
    let found = outbox.found()?;
    if found.is_empty() {
        return Ok(empty(common));
    }
    listed(&found, common);
    let unreadable = found.iter().any(|found| matches!(found, Found::Unreadable { .. }));
    Ok(if unreadable { Exit::Partly } else { Exit::Done })
}

fn forget(outbox: &Outbox, ids: &[String], common: &Common) -> Result<Exit, Ending> {
    // All or none: a mistyped name is told before anything is gone.
    let found = outbox.found()?;
    let mut chosen = Vec::new();
    for id in ids {
        let mut fits = found.iter().filter(|found| found.id().starts_with(id.trim()));
        match (fits.next().filter(|_| !id.trim().is_empty()), fits.next()) {
            (Some(one), None) => chosen.push(one),
            (Some(_), Some(_)) => {
                let message = format!("several requests in the outbox begin with '{id}'");
                return Err(Failure::permanent(message).advise("write more of it").into());
            }
            (None, _) => return Err(unknown(id).into()),
        }
    }
    for one in chosen {
        outbox.remove(&one.id())?;
        if common.json {
            out::json(&serde_json::json!({"event": "dismissed", "entry": one.id()}));
        } else if !common.quiet {
            out::line(&format!("dismissed: {}{}", one.id(), still_there(one)));
        }
    }
    Ok(Exit::Done)
}

/// What goes on at a server though nobody here waits for it any more.
fn still_there(found: &Found) -> String {
    match found {
        Found::Entry(entry) => match &entry.stage {
            Stage::Sent { server, job } => {
                let at = server.trim_end_matches('/');
                format!("; its job {job} stays at {at}, 'reelmill cancel' ends it")
            }
            Stage::Waiting | Stage::Uploaded { .. } => String::new(),
        },
        Found::Unreadable { .. } => String::new(),
    }
}

fn unknown(id: &str) -> Failure {
    Failure::permanent(format!("nothing in the outbox is called '{id}'"))
        .advise("'reelmill sync --list' shows what waits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_exit_code_tells_all_some_and_none_apart() {
        let quiet = Common {
            servers: Vec::new(),
            api_key: None,
            json: false,
            quiet: true,
            outbox: PathBuf::new(),
            chosen: false,
        };
        let sum = |outcomes: &[Exit]| super::sum(outcomes, &quiet);
        assert_eq!(sum(&[]), Exit::Done);
        assert_eq!(sum(&[Exit::Done, Exit::Done]), Exit::Done);
        assert_eq!(sum(&[Exit::Unreachable, Exit::Unreachable]), Exit::Unreachable);
        assert_eq!(sum(&[Exit::Input]), Exit::Input);
        assert_eq!(sum(&[Exit::Input, Exit::Unreachable]), Exit::Failed);
        assert_eq!(sum(&[Exit::Done, Exit::Unreachable]), Exit::Partly);
    }
}
