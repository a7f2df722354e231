//! The cage that every tool runs in: what a tool that a crafted file has taken
//! over can still do.
//!
//! Three rungs. *Full*: Landlock lets the tool see its own files and the system's
//! libraries only, seccomp takes sockets and the kernel's rarer calls away.
//! *Namespaces*: the same through bubblewrap, where Landlock is missing. *Limits*:
//! neither; then only the lists of containers and decoders, time and memory stand
//! between a file and the machine, and the log says so.

mod access;
#[cfg(target_os = "linux")]
mod bubblewrap;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod landlocked;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod trial;

pub use access::Access;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::memory;

use reelmill_core::error::Failure;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Memory that one tool may use where nobody says otherwise and the machine's
/// own is not known, bytes.
const USUAL_MEMORY: u64 = 8 << 30;

/// A rung of the cage, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Time, memory and lists of formats only.
    Limits,
    /// Namespaces of its own, made by bubblewrap.
    Namespaces,
    /// Landlock and seccomp.
    Full,
}

impl Level {
    /// Its name in settings and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Namespaces => "namespaces",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Limits, Self::Namespaces, Self::Full]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| format!("'{text}' is none of limits, namespaces, full"))
    }
}

/// How strong a cage is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The strongest rung to use.
    pub highest: Level,
    /// The weakest rung to be content with.
    pub lowest: Level,
    /// Memory that one tool may use, bytes; three quarters of the machine's when
    /// not given.
    pub memory: Option<u64>,
}

impl Default for Wanted {
    /// As strong as the machine can, and content with less.
    fn default() -> Self {
        Self { highest: Level::Full, lowest: Level::Limits, memory: None }
    }
}

/// The cage that this machine has: chosen once, the same for every tool.
#[derive(Debug, Clone)]
pub struct Cage {
    level: Level,
    memory: u64,
    why_not_more: Vec<String>,
    #[cfg(target_os = "linux")]
    parts: trial::Parts,
}

impl Cage {
    /// The strongest cage that works here, by trying.
    ///
    /// # Errors
    /// Class environment when that is weaker than the weakest that is wanted.
    pub async fn choose(wanted: Wanted) -> Result<Self, Failure> {
        let memory = wanted.memory.unwrap_or_else(usual_memory);
        #[cfg(target_os = "linux")]
        let cage = {
            let (level, parts, why_not_more) = trial::strongest(wanted.highest).await;
            Self { level, memory, why_not_more, parts }
        };
        #[cfg(not(target_os = "linux"))]
        let cage = Self {
            level: Level::Limits,
            memory,
            why_not_more: vec![format!("{} has no sandbox yet", std::env::consts::OS)],
        };
        if cage.level < wanted.lowest {
            let message = format!(
                "the sandbox reaches '{}' here, but '{}' is required ({})",
                cage.level,
                wanted.lowest,
                cage.why_not_more.join("; ")
            );
            return Err(Failure::environment(message).advise(
                "run on a kernel with Landlock and seccomp (Linux 5.13 or newer), install \
                 bubblewrap, or require less (--sandbox-require)",
            ));
        }
        Ok(cage)
    }

    /// The rung.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Memory that one tool may use, bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// What a tool in it can and cannot do, as one line of the log.
    #[must_use]
    pub fn line(&self) -> String {
        #[cfg(target_os = "linux")]
        let (abi, net, fs) = self.parts.facts();
        #[cfg(not(target_os = "linux"))]
        let (abi, net, fs) = ("none", "open", "open");
        let mem = if cfg!(target_os = "linux") { "rss" } else { "none" };
        let facts = format!("landlock_abi={abi} net={net} fs={fs} mem={mem}");
        if self.level > Level::Limits {
            return format!("sandbox={} {facts}", self.level);
        }
        let files = (fs == "open").then(|| format!("read every file of {}", user()));
        let nets = (net == "open").then(|| "open network connections".to_owned());
        let effect: Vec<String> = files.into_iter().chain(nets).collect();
        format!(
            "sandbox={} {facts} reason=\"{}\" effect=\"ffmpeg can {}\"",
            self.level,
            self.why_not_more.join("; "),
            if effect.is_empty() { "do little harm".to_owned() } else { effect.join(" and ") },
        )
    }

    /// Logs that line: a warning, where a file could reach the machine.
    pub fn log(&self) {
        if self.level == Level::Limits {
            tracing::warn!("{}", self.line());
        } else {
            tracing::info!("{}", self.line());
        }
    }

    /// The command line that runs `program` in this cage.
    pub(crate) fn wrap(
        &self,
        program: &Path,
        args: Vec<OsString>,
        dir: Option<&Path>,
        access: &Access,
    ) -> (PathBuf, Vec<OsString>) {
        #[cfg(target_os = "linux")]
        if let (Level::Namespaces, Some(bwrap)) = (self.level, &self.parts.bwrap) {
            let args = bubblewrap::args(program, args, dir, access);
            return (bwrap.clone(), args);
        }
        let _ = (dir, access);
        (program.to_owned(), args)
    }

    /// Shuts the calling thread, and every process that it starts from now on,
    /// into the cage. There is no way out: the thread must end with the tool.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing may be started.
    pub(crate) fn enter(&self, program: &Path, access: &Access) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.level != Level::Namespaces {
            self.parts.enter(program, access)?;
        }
        let _ = (program, access);
        Ok(())
    }

    /// A tool's exit status, whoever it was told by: bubblewrap says 128 and the
    /// number of the signal that ended it.
    pub(crate) fn status(&self, told: i32) -> i32 {
        match self.level {
            Level::Namespaces if told > 128 && told < 128 + 65 => 128 - told,
            _ => told,
        }
    }
}

/// Three quarters of the machine's memory, bytes.
fn usual_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(USUAL_MEMORY, |kib| kib.saturating_mul(1024) / 4 * 3)
}

/// Whose files a tool can read, for the log.
fn user() -> String {
    match std::env::var("USER").or_else(|_| std::env::var("LOGNAME")) {
        Ok(name) if !name.is_empty() => format!("user {name}"),
        _ => "this user".to_owned(),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
