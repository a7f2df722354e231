//! `reelmill work`: a worker for a coordinator elsewhere.

use super::args::Common;
use super::benchmark_args::BenchmarkArgs;
use super::ram_args::RamArgs;
use super::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::remote_source::RemoteSource;
use crate::worker::{Benchmark, HttpDepot, Scratch, Slot, Spots, Worker};
use crate::{client, clock, farm, paths};
use clap::Args;
use reelmill_core::error::Failure;
use reelmill_core::id::SessionId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `reelmill work`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkArgs {
    /// Token that the coordinator gave for workers.
    #[arg(long, env = "REELMILL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Tasks to run at once; as many as cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: Option<u32>,
    /// Folder for temporary files.
    #[arg(long, visible_alias = "spool-dir", value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Temporary files in memory.
    #[command(flatten)]
    pub(crate) ram: RamArgs,
    /// How fast it is.
    #[command(flatten)]
    pub(crate) benchmark: BenchmarkArgs,
    /// Name of this worker for people; the host's when not given.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Folder for log files, a new one each day, instead of standard error.
    #[arg(long, value_name = "DIR", env = "REELMILL_LOG_FOLDER")]
    pub(crate) log_folder: Option<PathBuf>,
    /// Seconds that running tasks get to end after a stop was asked for, before
    /// they are given back.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) drain_seconds: f64,
}

/// Runs the command until a signal ends it.
pub(crate) async fn run(args: WorkArgs, common: &Common) -> Result<Exit, Ending> {
    let patience = Duration::try_from_secs_f64(args.drain_seconds)
        .map_err(|_| Ending::usage(Failure::permanent("--drain-seconds makes no sense")))?;
    let stop = Stop::on_signals(patience).map_err(|e| Failure::io("listen for signals", &e))?;
    let tools = common.tried_tools().await?;
    tools.cage.log();
    if let Some(warning) = tools.known_bad() {
        tracing::warn!("{warning}");
    }
    let scratch =
        Scratch::claim(&args.scratch.clone().unwrap_or_else(|| paths::scratch().join("work")))?;
    let token = args.token.as_deref().or(common.api_key.as_deref());
    let name = args.name.clone().unwrap_or_else(farm::host_name);
    let token = credential(scratch.path(), token, common, &name).await?;
    let token = token.as_deref();
    let source = RemoteSource::new(&common.server, token).map_err(Ending::usage)?;
    let depot = HttpDepot::new(&common.server, token).map_err(Ending::usage)?;
    let encoders = farm::proven(&tools, &stop.now).await;
    if encoders.is_empty() {
        return Err(Failure::environment("no video encoder works on this machine")
            .advise("'reelmill doctor' says why")
            .into());
    }
    let memory = args.ram.memory();
    let memory = memory.map(|(folder, most)| Ok((Scratch::claim(&folder)?, most))).transpose();
    let memory: Option<(Scratch, u64)> =
        memory.map_err(|failure: Failure| Ending::from(failure))?;
    let mut spots = Spots::on(scratch.path().to_owned());
    if let Some((folder, most)) = &memory {
        spots = spots.with_memory(folder.path().to_owned(), *most);
    }
    let count = args.slots.unwrap_or_else(farm::cores);
    let measured = scratch.place().join("benchmark.json");
    let benchmark = Benchmark::new(args.benchmark.benchmark, &encoders, count, measured);
    let worker = Arc::new(Worker {
        source: Arc::new(source),
        depot: Arc::new(depot),
        tools,
        id: scratch.worker(),
        session: SessionId(clock::fresh()),
        name,
        encoders,
        benchmark: Arc::new(benchmark),
        spots: Arc::new(spots),
        gauge: Arc::default(),
    });
    let slots = vec![Slot::Encode; count as usize];
    worker
        .run(slots, stop.drain.clone(), stop.now.clone())
        .await
        .map_err(|failure| Ending { exit: Exit::Unreachable, failure })?;
    Ok(Exit::Done)
}

/// What to show to the coordinator: the token, or, for one that enrols, the key
/// that it brought, now or at an earlier start.
async fn credential(
    scratch: &Path,
    token: Option<&str>,
    common: &Common,
    name: &str,
) -> Result<Option<String>, Ending> {
    let own = scratch.parent().unwrap_or(scratch).join("worker.key");
    let kept = std::fs::read_to_string(&own).ok().map(|key| key.trim().to_owned());
    let kept = kept.filter(|key| !key.is_empty());
    let Some(token) = token else { return Ok(kept) };
    if !token.starts_with("rme_") {
        return Ok(Some(token.to_owned()));
    }
    match client::admin::enrol(&common.server, token, name, kept.clone()).await {
        Ok(key) => {
            keep(&own, &key).map_err(|e| Failure::io(format!("keep {}", own.display()), &e))?;
            Ok(Some(key))
        }
        // A token works once: at a later start the key is there already.
        Err(ending) => kept.map(Some).ok_or(ending),
    }
}

/// Writes a secret that only its owner can read.
fn keep(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    std::io::Write::write_all(&mut file, secret.as_bytes())?;
    file.sync_all()
}
