//! The command line: what was typed, and what it sets off.

mod args;
mod benchmark_args;
mod choice;
mod convert;
mod doctor;
mod enqueue;
mod folder;
mod hooks;
mod layer;
mod library_args;
mod locks;
mod log;
pub(crate) mod out;
mod place;
mod plan;
mod presets;
mod probe;
mod progress;
mod query;
mod query_render;
mod ram_args;
mod replace;
mod resume;
mod room;
mod savings;
mod scan;
mod serve;
mod share_args;
mod shell;
mod signals;
mod subtitles;
mod tools;
mod watch;
mod work;

use crate::client;
use crate::client::admin::Turn;
use crate::exit::{Ending, Exit};
use args::{Cli, Command};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

/// Runs the program; the result is its exit code.
pub(crate) fn run() -> u8 {
    let mut cli = match read() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 };
        }
    };
    cli.common.settle_key(std::env::var("DISTCONV_API_KEY").ok());
    if let Err(failure) = log::start(&cli) {
        out::failure(&failure, cli.common.json);
        return Exit::Usage as u8;
    }
    let common = &cli.common;
    let (certificate, key) = (common.client_cert.as_deref(), common.client_key.as_deref());
    if let Err(failure) = crate::tls::trust(common.ca.as_deref(), certificate, key) {
        out::failure(&failure, common.json);
        return Exit::Usage as u8;
    }
    let runtime = match runtime(&cli.command) {
        Ok(runtime) => runtime,
        Err(error) => {
            out::error(&format!("cannot start: {error}"));
            return Exit::Failed as u8;
        }
    };
    let json = cli.common.json;
    let code = match runtime.block_on(dispatch(cli)) {
        Ok(code) => code,
        Err(ending) => {
            out::failure(&ending.failure, json);
            ending.exit as u8
        }
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// What was typed.
fn read() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let cli = Cli::from_arg_matches(&matches);
    let mut cli = cli.map_err(|error| error.format(&mut Cli::command()))?;
    cli.common.server_named = matches.value_source("server") == Some(ValueSource::CommandLine);
    Ok(cli)
}

/// What a command runs on. One that only reads and writes files needs no threads to be started,
/// and none to be waited for while something is wrong with this machine.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    match command {
        Command::Replace(_) | Command::Undo(_) | Command::Locks(_) | Command::Presets(_) => {
            Builder::new_current_thread().build()
        }
        _ => Builder::new_multi_thread().enable_all().build(),
    }
}

async fn dispatch(cli: Cli) -> Result<u8, Ending> {
    let Cli { common, command } = cli;
    let done = |exit: Exit| exit as u8;
    match command {
        Command::Replace(args) => replace::replace(&args, &common).map(done),
        Command::Undo(args) => replace::undo(&args, &common).map(done),
        Command::Locks(args) => locks::locks(&args, &common).map(done),
        Command::Convert(args) if args.dir.is_some() || args.file.is_some() => {
            Box::pin(folder::run(&args, &common)).await.map(done)
        }
        Command::Convert(args) => convert::run(args, &common).await.map(done),
        Command::Plan(args) => plan::run(args, &common).await.map(done),
        Command::Probe(args) => probe::run(&args, &common).await.map(done),
        Command::Subtitles(args) => subtitles::run(&args, &common).await.map(done),
        Command::Presets(args) => presets::run(&args, &common).map(done),
        Command::Scan(args) => scan::run(args, &common).await.map(done),
        Command::Watch(args) => Box::pin(watch::run(args, &common)).await.map(done),
        Command::Hooks(args) => hooks::run(&args, &common).await.map(done),
        Command::Query(args) => query::run(args, &common).await.map(done),
        Command::Layer(command) => layer::run(command, &common).await.map(done),
        Command::Doctor => doctor::run(&common).await.map(done),
        Command::Serve(args) => serve::run(args, &common).await.map(done),
        Command::Work(args) => work::run(args, &common).await.map(done),
        Command::Completions(args) => shell::completions(&args).map(done),
        Command::Man => shell::man().map(done),
        Command::Submit(args) if args.shared.is_some() => {
            let shared = args.shared.clone().unwrap_or_default();
            folder::submit(&args, &shared, &common).map(done)
        }
        Command::Submit(args) => Ok(client::submit::submit(args, common.client()).await),
        Command::Sync(args) => Ok(client::sync::sync(args, common.client()).await),
        Command::List(args) if args.shared.is_some() => {
            folder::list_queue(&args.shared.unwrap_or_default(), &common).map(done)
        }
        Command::List(args) => Ok(client::commands::list(args, common.client()).await),
        Command::Status(args) => Ok(client::commands::status(args, common.client()).await),
        Command::Fetch(args) => Ok(client::commands::fetch(args, common.client()).await),
        Command::Cancel(args) => Ok(client::commands::cancel(args, common.client()).await),
        Command::Retry(args) => Ok(client::commands::retry(args, common.client()).await),
        Command::Keys(args) => Ok(client::admin::keys(args, common.client()).await),
        Command::Pause(args) => Ok(client::admin::queue(args, Turn::Pause, common.client()).await),
        Command::Resume(args) => {
            Ok(client::admin::queue(args, Turn::Resume, common.client()).await)
        }
        Command::Drain(args) => Ok(client::admin::queue(args, Turn::Drain, common.client()).await),
        Command::Release(args) => Ok(client::admin::release(args, common.client()).await),
        Command::Limit(args) => Ok(client::admin::limit(args, common.client()).await),
        Command::Workers(args) => Ok(client::commands::workers(args, common.client()).await),
    }
}
