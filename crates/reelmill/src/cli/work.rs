//! `reelmill work`: a worker for a coordinator elsewhere.

use super::args::{Common, WorkArgs};
use super::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::remote_source::RemoteSource;
use crate::worker::{HttpDepot, Scratch, Slot, Worker};
use crate::{clock, farm, paths};
use reelmill_core::error::Failure;
use reelmill_core::id::SessionId;
use reelmill_media::tools::{ToolPaths, Tools};
use std::sync::Arc;
use std::time::Duration;

/// Runs the command until a signal ends it.
pub(crate) async fn run(args: WorkArgs, common: &Common) -> Result<Exit, Ending> {
    let patience = Duration::try_from_secs_f64(args.drain_seconds)
        .map_err(|_| Ending::usage(Failure::permanent("--drain-seconds makes no sense")))?;
    let stop = Stop::on_signals(patience).map_err(|e| Failure::io("listen for signals", &e))?;
    let tools = Tools::find(&ToolPaths::default()).await?;
    if let Some(warning) = tools.known_bad() {
        tracing::warn!("{warning}");
    }
    let token = args.token.as_deref().or(common.api_key.as_deref());
    let source = RemoteSource::new(&common.server, token).map_err(Ending::usage)?;
    let depot = HttpDepot::new(&common.server, token).map_err(Ending::usage)?;
    let scratch =
        Scratch::claim(&args.scratch.clone().unwrap_or_else(|| paths::scratch().join("work")))?;
    let encoders = farm::proven(&tools, &stop.now).await;
    if encoders.is_empty() {
        return Err(Failure::environment("no video encoder works on this machine")
            .advise("'reelmill doctor' says why")
            .into());
    }
    let worker = Arc::new(Worker {
        source: Arc::new(source),
        depot: Arc::new(depot),
        tools,
        id: scratch.worker(),
        session: SessionId(clock::fresh()),
        name: args.name.clone().unwrap_or_else(farm::host_name),
        encoders,
        scratch: scratch.path().to_owned(),
    });
    let slots = vec![Slot::Encode; args.slots.unwrap_or_else(farm::cores) as usize];
    worker
        .run(slots, stop.drain.clone(), stop.now.clone())
        .await
        .map_err(|failure| Ending { exit: Exit::Unreachable, failure })?;
    Ok(Exit::Done)
}
