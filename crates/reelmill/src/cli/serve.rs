//! `reelmill serve`: the coordinator as a service, with workers of its own.

use super::args::{Common, ServeArgs};
use super::out;
use super::signals::Stop;
use crate::api::{self, ApiState, Auth};
use crate::coordinator::Coordinator;
use crate::exit::{Ending, Exit};
use crate::serve_config::ServeConfig;
use crate::worker::{Benchmark, Scratch, Spots};
use crate::{clock, farm, paths, tls};
use reelmill_core::error::Failure;
use reelmill_core::lease::LeaseTerms;
use reelmill_core::retry::RetryPolicy;
use reelmill_media::tools::Tools;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that keep the service going until the workers have ended.
const KEEPERS: usize = 3;

/// Runs the command until a signal ends it.
pub(crate) async fn run(args: ServeArgs, common: &Common) -> Result<Exit, Ending> {
    let config = config(&args)?;
    let tls_files = config.tls();
    let tls = tls_files.as_ref().map(tls::server).transpose()?;
    let terms = terms(&args, &config)?;
    let stop = Stop::on_signals(seconds(args.drain_seconds)?)
        .map_err(|e| Failure::io("listen for signals", &e))?;
    let tools = common.tried_tools().await?;
    tools.cage.log();
    if let Some(warning) = tools.known_bad() {
        tracing::warn!("{warning}");
    }
    let listener = listen(&args.listen).await?;
    let address = listener.local_addr().map_err(|e| Failure::io("listen", &e))?;
    let folder = args.state.clone().unwrap_or_else(paths::state);
    let coordinator = farm::open(&folder, terms).await?;
    let certificates = tls_files.is_some_and(|files| files.worker_ca.is_some());
    let mut auth = authentication(&coordinator, address, common, certificates).await?;
    if certificates {
        auth = auth.with_worker_certificates();
    }
    let crew = Crew::muster(&coordinator, &tools, &folder, &args).await?;
    let over = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(coordinator.clone().keep_watch(over.clone()));
    tasks.spawn(coordinator.clone().keep_service(over.clone()));
    tasks.spawn(coordinator.clone().keep_telling(over.clone()));
    let _memory = crew.start(&mut tasks, &stop);
    let router = api::router(ApiState { coordinator: coordinator.clone(), auth });
    tracing::info!(%address, state = %folder.display(), workers = args.workers, "serving");
    if common.json {
        out::json(&serde_json::json!({"event": "serving", "address": address.to_string()}));
    } else if !common.quiet {
        let scheme = if tls.is_some() { "https" } else { "http" };
        out::line(&format!("reelmill serves on {scheme}://{address}"));
    }
    let served = api::serve(listener, router, tls, stop.drain.clone()).await;
    stop.drain.cancel();
    while tasks.len() > KEEPERS {
        let _ = tasks.join_next().await;
    }
    over.cancel();
    while tasks.join_next().await.is_some() {}
    if let Err(error) = coordinator.store().close().await {
        tracing::warn!(%error, "the database was not closed in order; nothing is lost by that");
    }
    served?;
    Ok(Exit::Done)
}

fn seconds(value: f64) -> Result<Duration, Ending> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| Ending::usage(Failure::permanent(format!("{value} seconds make no sense"))))
}

/// The configuration: the file that is named, or the usual one if it is there.
fn config(args: &ServeArgs) -> Result<ServeConfig, Ending> {
    let usual = paths::config().join("serve.toml");
    let mut config = match &args.config {
        Some(path) => ServeConfig::read(path).map_err(Ending::usage)?,
        None if usual.exists() => ServeConfig::read(&usual).map_err(Ending::usage)?,
        None => ServeConfig::default(),
    };
    config
        .set_tls(args.tls_cert.clone(), args.tls_key.clone(), args.worker_ca.clone())
        .map_err(Ending::usage)?;
    Ok(config)
}

fn terms(args: &ServeArgs, config: &ServeConfig) -> Result<farm::Terms, Ending> {
    if !(1.0..=86_400.0).contains(&args.lease_seconds) {
        let message = "--lease-seconds must lie between 1 and 86400";
        return Err(Ending::usage(Failure::permanent(message)));
    }
    let usual = LeaseTerms::default();
    Ok(farm::Terms {
        lease: LeaseTerms { length: (args.lease_seconds * 1e6) as i64, ..usual },
        retry: RetryPolicy::default(),
        encoder_threads: 1,
        retention: (args.keep_days.max(0.0) * 86_400e6) as i64,
        max_upload: config.max_upload(),
        service: config.service(),
    })
}

async fn listen(address: &str) -> Result<TcpListener, Ending> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}: {error}");
        let failure = Failure::environment(message);
        match error.kind() {
            ErrorKind::AddrInUse => {
                Ending::from(failure.advise(
                    "another program has that port; stop it or choose another with --listen",
                ))
            }
            ErrorKind::InvalidInput => Ending::usage(failure.advise("use the form 127.0.0.1:7474")),
            _ => Ending::from(failure.advise("is that address one of this machine's?")),
        }
    })
}

/// Open on a loopback address without a key; everywhere else, and where workers
/// must show `certificates`, keys are needed, and the first start makes them.
async fn authentication(
    coordinator: &Arc<Coordinator>,
    address: SocketAddr,
    common: &Common,
    certificates: bool,
) -> Result<Auth, Failure> {
    let store = coordinator.store().clone();
    let fixed = common.api_key.clone();
    let keys = store.key_list().await?;
    let known = !keys.is_empty();
    // Whoever makes keys for clients alone must not lock himself out.
    let has_admin =
        keys.iter().any(|key| key.role == api::Role::Admin && key.is_live(clock::now()));
    if fixed.is_none() && !known && address.ip().is_loopback() && !certificates {
        tracing::info!("no key configured: anyone on this machine may use this server");
        return Ok(Auth::Open);
    }
    if fixed.is_none() && !has_admin {
        let admin = api::create_key(store.as_ref(), api::Role::Admin, "first admin").await?;
        out::line(&format!("admin key, shown only now:    {admin}"));
    }
    if fixed.is_none() && !known {
        let worker = api::create_key(store.as_ref(), api::Role::Worker, "first workers").await?;
        out::line(&format!("worker token, shown only now: {worker}"));
    }
    Ok(Auth::keys(store, fixed.as_deref()))
}

/// The workers of this process.
struct Crew {
    workers: Vec<(Arc<crate::worker::Worker>, Vec<crate::worker::Slot>)>,
    /// Their folder in memory; it is theirs for as long as this is kept.
    memory: Option<Scratch>,
}

impl Crew {
    /// Gets them ready; the first does the house work too. Without any, one
    /// does the house work alone.
    async fn muster(
        coordinator: &Arc<Coordinator>,
        tools: &Tools,
        folder: &Path,
        args: &ServeArgs,
    ) -> Result<Self, Failure> {
        let count = args.workers;
        let cancel = CancellationToken::new();
        let encoders = match count {
            0 => Vec::new(),
            _ => farm::proven(tools, &cancel).await,
        };
        let scratch = folder.join("tasks");
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::io(format!("clean {}", scratch.display()), &error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&scratch)
            .map_err(|e| Failure::io(format!("create {}", scratch.display()), &e))?;
        let mut spots = Spots::on(scratch);
        let mut memory = None;
        if let Some((folder, most)) = args.ram.memory() {
            let ours = Scratch::claim(&folder)?;
            spots = spots.with_memory(ours.path().to_owned(), most);
            memory = Some(ours);
        }
        let spots = Arc::new(spots);
        let encode = farm::cores().checked_div(count).map_or(0, |each| each.max(1));
        let measured = folder.join("benchmark.json");
        let benchmark = args.benchmark.benchmark;
        let benchmark = Benchmark::new(benchmark, &encoders, encode * count, measured);
        let benchmark = Arc::new(benchmark);
        let mut crew = Vec::new();
        let mut own = Vec::new();
        for number in 0..count.max(1) {
            let id = farm::own_worker(coordinator.store().as_ref(), number).await?;
            own.push(id);
            let name = if count > 1 {
                format!("{}/{number}", farm::host_name())
            } else {
                farm::host_name()
            };
            let (encoders, spots) = (encoders.clone(), spots.clone());
            let benchmark = benchmark.clone();
            let worker =
                farm::house_worker(coordinator, tools, encoders, id, name, spots, benchmark);
            let mut slots = farm::slots(encode);
            if number > 0 {
                slots.remove(0);
            }
            crew.push((worker, slots));
        }
        coordinator.recover(&own).await?;
        Ok(Self { workers: crew, memory })
    }

    /// Has them work; yields what holds their folder in memory.
    fn start(self, tasks: &mut JoinSet<()>, stop: &Stop) -> Option<Scratch> {
        for (worker, slots) in self.workers {
            let (drain, now) = (stop.drain.clone(), stop.now.clone());
            tasks.spawn(async move {
                if let Err(failure) = worker.run(slots, drain, now).await {
                    tracing::error!(%failure, "a worker of this process stopped");
                }
            });
        }
        self.memory
    }
}
