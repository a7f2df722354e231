//! The arguments of the client commands.

use clap::Args;
use reelmill_core::container::Container;
use reelmill_core::job::JobState;
use reelmill_store::KeyRole;
use std::path::PathBuf;

/// `reelmill submit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubmitArgs {
    /// The file to convert.
    pub(crate) file: PathBuf,
    /// Put it into the queue of this shared folder instead; no server is needed.
    #[arg(long, value_name = "DIR")]
    pub(crate) shared: Option<PathBuf>,
    /// With --shared: the output takes the file's place.
    #[arg(long, requires = "shared")]
    pub(crate) replace: bool,
    /// Preset (see 'reelmill presets'). Without it: the usual one for the output's
    /// format.
    #[arg(long, short)]
    pub(crate) preset: Option<String>,
    /// Output format: mkv, mp4, webm or mov. Without it: as the output's name
    /// says, else the preset's.
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
    /// Place in the queue: 0 (last) to 100 (first); 50 when not given.
    #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) priority: Option<u8>,
    /// Times that a failed piece of work is tried again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) max_retries: Option<u32>,
    /// A mark for the job, to find it by.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// What to call the job; the file's name when not given.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only tell whether it would be taken, what it would come to and who would
    /// do it; nothing is sent.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Wait until the job has ended, showing its progress.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Name of this request: submitted again under the same name, it yields the
    /// same job instead of a second one.
    #[arg(long, value_name = "NAME")]
    pub(crate) idempotency_key: Option<String>,
    /// Fetch the output to this file or folder when it is done: with --wait now,
    /// without it when 'reelmill sync' finds it ready.
    #[arg(long, short, value_name = "OUT", conflicts_with = "shared")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the output if it exists.
    #[arg(long, requires = "output")]
    pub(crate) overwrite: bool,
    /// Fail when no server can be reached, in place of keeping the request for
    /// 'reelmill sync'.
    #[arg(long)]
    pub(crate) no_outbox: bool,
}

impl SubmitArgs {
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

    /// The preset, as given or the usual one for the output.
    pub(crate) fn preset(&self) -> String {
        let usual = || self.container().unwrap_or(Container::Mkv).usual_preset().to_owned();
        self.preset.clone().unwrap_or_else(usual)
    }

    /// The output format, as given or as the output's name says.
    pub(crate) fn container(&self) -> Option<Container> {
        let of_name = || Container::from_extension(self.output.as_ref()?.extension()?.to_str()?);
        self.format.or_else(of_name)
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label has the form key=value".to_owned()),
    }
}

/// `reelmill list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// List the queue of this shared folder instead; no server is needed.
    #[arg(long, value_name = "DIR")]
    pub(crate) shared: Option<PathBuf>,
    /// Only jobs in these states, for example running,failed.
    #[arg(long, value_name = "STATE[,STATE…]", value_delimiter = ',')]
    pub(crate) state: Vec<JobState>,
    /// Only jobs with this label.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Option<(String, String)>,
    /// At most so many, newest first.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// `reelmill status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// The job: its id, or the beginning of it.
    #[arg(value_name = "ID")]
    pub(crate) job: String,
    /// Show its progress until it has ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Show all that happened to it, too.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) history: bool,
}

/// `reelmill fetch`.
#[derive(Debug, Clone, Args)]
pub(crate) struct FetchArgs {
    /// The job: its id, or the beginning of it.
    #[arg(value_name = "ID")]
    pub(crate) job: String,
    /// Where the output goes: a file, or a folder.
    #[arg(long, short, value_name = "OUT", default_value = ".")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `reelmill sync`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SyncArgs {
    /// Go on until stopped: look again and again whether a server can be reached
    /// and an output is ready.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "S", requires = "watch", default_value_t = 30.0, value_parser = pause)]
    pub(crate) every: f64,
    /// Only show what waits, and why.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) list: bool,
    /// Dismiss a request: its id in the list, or the beginning of it. May be given
    /// several times.
    #[arg(long, value_name = "ID", conflicts_with_all = ["watch", "list"])]
    pub(crate) forget: Vec<String>,
}

fn pause(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a pause is a number of seconds from 0.1 to 86400".to_owned()),
    }
}

/// `reelmill cancel`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    /// The job: its id, or the beginning of it.
    #[arg(value_name = "ID")]
    pub(crate) job: String,
}

/// `reelmill retry`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RetryArgs {
    /// The job: its id, or the beginning of it.
    #[arg(value_name = "ID")]
    pub(crate) job: String,
}

/// `reelmill keys`.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) what: KeysCommand,
}

/// What to do with keys.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key; it is shown only once.
    Create {
        /// Whose it is: owns the jobs that are submitted with it.
        name: String,
        /// client, worker, admin; or enrol: a token with which one worker gets
        /// a key of its own, within 15 minutes.
        #[arg(long, value_name = "ROLE", default_value = "client", value_parser = role)]
        role: KeyRole,
        /// Seconds after which it ends by itself.
        #[arg(long, value_name = "S")]
        expires_in_seconds: Option<u64>,
    },
    /// List all keys.
    List,
    /// Revoke a key.
    Revoke {
        /// Its id: the part between the underscores.
        id: String,
    },
}

fn role(text: &str) -> Result<KeyRole, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| "a role is client, worker, admin or enrol".to_owned())
}

/// `reelmill pause`, `resume` and `drain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhoArgs {
    /// Only this worker, by its id or name; the whole queue when not given.
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
}

/// `reelmill limit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArgs {
    /// The worker, by its id or name.
    pub(crate) worker: String,
    /// Tasks that it may have at once, or 'none' for as many as it has slots.
    #[arg(value_name = "N|none", value_parser = limit)]
    pub(crate) limit: Limit,
}

/// `reelmill release`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReleaseArgs {
    /// The worker, by its id or name.
    pub(crate) worker: String,
}

/// How many tasks a worker may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        number => match number.parse() {
            Ok(number @ 0..=1024) => Ok(Limit(Some(number))),
            _ => Err("a limit is a number from 0 to 1024, or 'none'".to_owned()),
        },
    }
}

/// `reelmill workers`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkersArgs {}
