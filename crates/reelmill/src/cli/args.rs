//! The command line's grammar.

use super::folder::MediaType;
use super::layer::LayerCommand;
use super::library_args::{HooksArgs, QueryArgs, ScanArgs, WatchArgs};
use super::presets::PresetsArgs;
use super::probe::ProbeArgs;
use super::share_args::{LocksArgs, ReplaceArgs, UndoArgs, seconds};
use super::shell::CompletionsArgs;
use super::subtitles::SubtitlesArgs;
use crate::client;
use crate::client::args::{
    CancelArgs, FetchArgs, KeysArgs, LimitArgs, ListArgs, ReleaseArgs, RetryArgs, StatusArgs,
    SubmitArgs, SyncArgs, WhoArgs, WorkersArgs,
};
use crate::paths;
use clap::{Args, Parser, Subcommand};
use reelmill_core::container::Container;
use reelmill_media::sandbox::{Level, Wanted};
use std::path::PathBuf;

/// Converts video on one machine or on many: cuts a film into chunks, encodes
/// them all at once, stitches them frame-exactly.
#[derive(Debug, Parser)]
#[command(name = "reelmill", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 input refused, \
    4 server not reachable or key refused, 5 some of several inputs failed, \
    6 a library's files are missing, 130 interrupted.")]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) common: Common,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Servers to talk to, the first that answers counts.
    #[arg(
        long,
        global = true,
        value_name = "URL[,URL…]",
        value_delimiter = ',',
        env = "REELMILL_SERVER",
        default_value = "http://127.0.0.1:7474"
    )]
    pub(crate) server: Vec<String>,
    /// Whether they were named on the command line.
    #[arg(skip)]
    pub(crate) server_named: bool,
    /// Key to show to the server.
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "REELMILL_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
    /// Certificates that servers may be signed by (PEM); the system's when not given.
    #[arg(long, global = true, value_name = "FILE", env = "REELMILL_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show to the server (PEM).
    #[arg(long, global = true, value_name = "FILE", env = "REELMILL_CLIENT_CERT")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, global = true, value_name = "FILE", env = "REELMILL_CLIENT_KEY")]
    pub(crate) client_key: Option<PathBuf>,
    /// The sandbox of FFmpeg: what tools may reach.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Print JSON, one event or object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors and results only.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Tell more (twice: much more).
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What tools may reach and take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sandbox of FFmpeg")]
pub(crate) struct SandboxArgs {
    /// The strongest sandbox to use: full, namespaces or limits.
    #[arg(
        long = "sandbox",
        global = true,
        value_name = "LEVEL",
        env = "REELMILL_SANDBOX",
        default_value = "full"
    )]
    pub(crate) highest: Level,
    /// Refuse to work in a weaker sandbox than this.
    #[arg(
        long = "sandbox-require",
        global = true,
        value_name = "LEVEL",
        env = "REELMILL_SANDBOX_REQUIRE",
        default_value = "limits"
    )]
    pub(crate) lowest: Level,
    /// Memory that one tool may use, in MiB; three quarters of the machine's
    /// when not given.
    #[arg(
        long = "tool-memory",
        global = true,
        value_name = "MIB",
        env = "REELMILL_TOOL_MEMORY",
        value_parser = clap::value_parser!(u64).range(16..=1 << 30)
    )]
    pub(crate) memory: Option<u64>,
}

impl SandboxArgs {
    /// As the sandbox takes it.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            highest: self.highest,
            lowest: self.lowest,
            memory: self.memory.map(|mib| mib << 20),
        }
    }
}

impl Common {
    /// Takes the key from the variable that other programs of this kind read,
    /// where no other is given. An empty one is none.
    pub(crate) fn settle_key(&mut self, elsewhere: Option<String>) {
        let some = |key: &String| !key.trim().is_empty();
        self.api_key = self.api_key.take().filter(some).or(elsewhere.filter(some));
    }

    /// The part that client commands need.
    pub(crate) fn client(&self) -> client::Common {
        client::Common {
            servers: self.server.clone(),
            api_key: self.api_key.clone(),
            json: self.json,
            quiet: self.quiet,
            outbox: paths::outbox(),
            chosen: self.server_named,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert files on this machine, no server needed.
    Convert(ConvertArgs),
    /// Put a file in another's place; the other goes to the trash.
    Replace(ReplaceArgs),
    /// Take a replacement back: the original returns from the trash.
    Undo(UndoArgs),
    /// Show who works on which files of a shared folder.
    Locks(LocksArgs),
    /// Show what converting a file would do, and why. Writes nothing.
    Plan(PlanArgs),
    /// Show what a media file holds.
    Probe(ProbeArgs),
    /// Write the image subtitles of a film (PGS, VobSub, DVB) to files.
    Subtitles(SubtitlesArgs),
    /// Show the presets, or one of them.
    Presets(PresetsArgs),
    /// Look through a library: what is there, what is new, what becomes of it.
    Scan(ScanArgs),
    /// Ask what is known of libraries.
    Query(QueryArgs),
    /// Work on libraries day and night: scan, convert by rules, scan again.
    Watch(WatchArgs),
    /// Show the hooks of this machine, or try them.
    Hooks(HooksArgs),
    /// Keep the Dolby Vision enhancement layer that a conversion takes out, or
    /// put it back.
    #[command(subcommand)]
    Layer(LayerCommand),
    /// Look at this machine: tools, encoders, folders.
    Doctor,
    /// Run a coordinator (with workers of its own).
    Serve(ServeArgs),
    /// Run a worker for a coordinator elsewhere.
    Work(super::work::WorkArgs),
    /// Hand a file to a coordinator.
    Submit(SubmitArgs),
    /// Hand over what was submitted while no server could be reached, and fetch
    /// what is ready; with --server only for that server.
    Sync(SyncArgs),
    /// List the coordinator's jobs.
    List(ListArgs),
    /// Show a job, its chunks and their workers.
    Status(StatusArgs),
    /// Fetch the output of a completed job.
    Fetch(FetchArgs),
    /// Cancel a job.
    Cancel(CancelArgs),
    /// Try a failed or cancelled job again; finished chunks are kept.
    Retry(RetryArgs),
    /// List the coordinator's workers.
    Workers(WorkersArgs),
    /// Make, list and revoke keys.
    Keys(KeysArgs),
    /// Hand out no more tasks, or none to one worker.
    Pause(WhoArgs),
    /// Hand out tasks again.
    Resume(WhoArgs),
    /// Take no more jobs, work off what is there; or let one worker end its own.
    Drain(WhoArgs),
    /// Give a worker at most so many tasks at once.
    Limit(LimitArgs),
    /// Let a worker join with another key than the one it belongs to.
    Release(ReleaseArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page.
    Man,
}

/// How to encode.
#[derive(Debug, Clone, Args)]
pub(crate) struct EncodeArgs {
    /// Preset (see 'reelmill presets'). Without it: the usual one for the output's
    /// format. May be given once for each kind of file: films, sound, pictures.
    #[arg(long, short)]
    pub(crate) preset: Vec<String>,
    /// Output format: mkv, mp4, webm or mov, or one for sound or pictures. Without
    /// it: as the output's name says, else the preset's.
    #[arg(long)]
    pub(crate) format: Option<Container>,
    /// Output width; the height follows unless given.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Output height; the width follows unless given.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Average bit rate of the picture over the whole film, for example 2500k; the
    /// film is encoded in two passes or more.
    #[arg(long, value_name = "BITS", conflicts_with = "max_size")]
    pub(crate) bitrate: Option<String>,
    /// Largest size of the whole output, for example 700MB; with more, the film is
    /// encoded again.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_size: Option<String>,
    /// Length of a chunk in seconds; chosen to suit when not given.
    #[arg(long, value_name = "S")]
    pub(crate) chunk_seconds: Option<f64>,
    /// Encoders that run at once; as many as cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Change a setting of the preset, for example crf=20 or speed=slow.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Convert a Dolby Vision source although its full enhancement layer makes
    /// the picture brighter, and is lost.
    #[arg(long)]
    pub(crate) allow_fel_loss: bool,
    /// Leave HDR metadata (HDR10, HDR10+, Dolby Vision) out, where a job that
    /// cannot keep it would fail.
    #[arg(long)]
    pub(crate) drop_hdr: bool,
}

impl EncodeArgs {
    /// All overrides of the preset, `--width` and the like among them.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let sizes = [("width", self.width), ("height", self.height)];
        let sizes = sizes.iter().filter_map(|(key, size)| size.map(|size| format!("{key}={size}")));
        let fel = self.allow_fel_loss.then(|| "allow_fel_loss=true".to_owned());
        let hdr = self.drop_hdr.then(|| "hdr=drop".to_owned());
        let size = [("bitrate", &self.bitrate), ("max_size", &self.max_size)];
        let size = size.iter().filter_map(|(key, of)| of.as_ref().map(|of| format!("{key}={of}")));
        self.set.iter().cloned().chain(sizes).chain(fel).chain(hdr).chain(size).collect()
    }
}

/// `reelmill convert`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConvertArgs {
    /// Files to convert.
    #[arg(required_unless_present_any = ["dir", "file"], value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Where the output goes: a file, or a folder.
    #[arg(long, short, value_name = "OUT", required_unless_present_any = ["dir", "file"])]
    pub(crate) output: Option<PathBuf>,
    /// Convert a whole folder, and the folders in it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "output", "file"])]
    pub(crate) dir: Option<PathBuf>,
    /// Convert one file as --dir would.
    #[arg(long, value_name = "F", conflicts_with_all = ["inputs", "output"])]
    pub(crate) file: Option<PathBuf>,
    /// Which files of a folder; videos when not given.
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub(crate) media_type: Option<MediaType>,
    /// Put each output in its source's place; the original goes to the trash.
    #[arg(long, conflicts_with = "output_dir")]
    pub(crate) replace: bool,
    /// Put outputs into this folder, in folders like the sources'.
    #[arg(long, value_name = "D", conflicts_with_all = ["inputs", "output"])]
    pub(crate) output_dir: Option<PathBuf>,
    /// Share the folder with reelmill on other machines.
    #[arg(long, conflicts_with_all = ["inputs", "output_dir"])]
    pub(crate) shared: bool,
    /// Wait for files that others work on; take over from who falls silent.
    #[arg(long, conflicts_with = "inputs")]
    pub(crate) wait: bool,
    /// Convert what was put into the folder's queue with 'submit --shared'.
    #[arg(long, requires = "dir", requires = "shared")]
    pub(crate) queue: bool,
    /// Say what would be done; write nothing.
    #[arg(long, conflicts_with = "inputs")]
    pub(crate) dry_run: bool,
    /// Convert what is done, failed before or was made by reelmill, too.
    #[arg(long)]
    pub(crate) again: bool,
    /// Keep outputs that are no smaller than their sources.
    #[arg(long)]
    pub(crate) keep_bigger: bool,
    /// Seconds without a sign of life after which another machine takes over.
    #[arg(long, value_name = "S", default_value_t = 1800.0, value_parser = seconds)]
    pub(crate) lock_expiry: f64,
    /// Days after which replaced originals are removed from the trash.
    #[arg(long, value_name = "D", default_value_t = 30.0, value_parser = seconds)]
    pub(crate) trash_days: f64,
    /// How to encode.
    #[command(flatten)]
    pub(crate) encode: EncodeArgs,
    /// Replace the output if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Where finished chunks are kept until all are there.
    #[arg(long, visible_alias = "spool-dir", value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Small conversions in memory.
    #[command(flatten)]
    pub(crate) ram: super::ram_args::RamArgs,
}

/// `reelmill plan`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArgs {
    /// The file to plan for.
    pub(crate) input: PathBuf,
    /// How to encode.
    #[command(flatten)]
    pub(crate) encode: EncodeArgs,
}

/// `reelmill serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "REELMILL_LISTEN",
        default_value = "127.0.0.1:7474"
    )]
    pub(crate) listen: String,
    /// Folder for the database and blobs.
    #[arg(long, value_name = "DIR", env = "REELMILL_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Workers in this process; they share the cores. 0 for none.
    #[arg(long, value_name = "N", env = "REELMILL_WORKERS", default_value_t = 1)]
    pub(crate) workers: u32,
    /// Seconds after which a silent worker loses its task.
    #[arg(long, value_name = "S", env = "REELMILL_LEASE_SECONDS", default_value_t = 45.0)]
    pub(crate) lease_seconds: f64,
    /// Days that finished jobs and their outputs are kept.
    #[arg(long, value_name = "D", env = "REELMILL_KEEP_DAYS", default_value_t = 30.0)]
    pub(crate) keep_days: f64,
    /// Configuration file; serve.toml in the configuration folder when not given.
    #[arg(long, value_name = "FILE", env = "REELMILL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Folder for log files, a new one each day, instead of standard error.
    #[arg(long, value_name = "DIR", env = "REELMILL_LOG_FOLDER")]
    pub(crate) log_folder: Option<PathBuf>,
    /// Certificate to show, with its chain (PEM): TLS for everything.
    #[arg(long, value_name = "FILE", env = "REELMILL_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", env = "REELMILL_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Whose certificates workers must show (PEM).
    #[arg(long, value_name = "FILE", env = "REELMILL_WORKER_CA")]
    pub(crate) worker_ca: Option<PathBuf>,
    /// Seconds that running tasks get to end after a stop was asked for.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(crate) drain_seconds: f64,
    /// Temporary files in memory, of the workers in this process.
    #[command(flatten)]
    pub(crate) ram: super::ram_args::RamArgs,
    /// How fast the workers in this process are.
    #[command(flatten)]
    pub(crate) benchmark: super::benchmark_args::BenchmarkArgs,
}
