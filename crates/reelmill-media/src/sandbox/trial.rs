//! Finds out by trying which cage works here.

use super::{Access, Level, bubblewrap, landlocked, seccomp};
use crate::process::ToolCommand;
use crate::tools::which;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A trial takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// A file that every Linux has and no tool needs.
const FOREIGN: &str = "/proc/version";

/// What the cage is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// Version of Landlock, where it works.
    landlock: Option<i32>,
    /// The filters, where seccomp works.
    seccomp: Option<seccomp::Filters>,
    /// The program, where it works and is needed.
    pub(super) bwrap: Option<PathBuf>,
}

impl Parts {
    /// Version of Landlock, what keeps tools off the network, what from files.
    pub(super) fn facts(&self) -> (String, &'static str, &'static str) {
        let abi = self.landlock.map_or("none".into(), |abi| abi.to_string());
        if self.bwrap.is_some() {
            return (abi, "denied(bwrap)", "denied(bwrap)");
        }
        let net = if self.seccomp.is_some() { "denied(seccomp)" } else { "open" };
        let fs = if self.landlock.is_some() { "denied(landlock)" } else { "open" };
        (abi, net, fs)
    }

    pub(super) fn enter(&self, program: &Path, access: &Access) -> std::io::Result<()> {
        if self.landlock.is_some() {
            access.make_files();
            landlocked::enter(program, access).map_err(std::io::Error::other)?;
        }
        match &self.seccomp {
            Some(filters) => seccomp::enter(filters),
            None => Ok(()),
        }
    }
}

/// The strongest cage up to `highest`, and why it is not stronger.
pub(super) async fn strongest(highest: Level) -> (Level, Parts, Vec<String>) {
    let mut why = Vec::new();
    let mut parts = Parts::default();
    if highest == Level::Limits {
        return (Level::Limits, parts, vec!["chosen by the configuration".into()]);
    }
    if highest == Level::Full {
        match apart(landlock_works) {
            Ok(abi) => parts.landlock = Some(abi),
            Err(reason) => why.push(reason),
        }
        match seccomp::filters().and_then(|filters| {
            let tried = filters.clone();
            apart(move || seccomp_works(&tried)).map(|()| filters)
        }) {
            Ok(filters) => parts.seccomp = Some(filters),
            Err(reason) => why.push(reason),
        }
        if parts.landlock.is_some() && parts.seccomp.is_some() {
            return (Level::Full, parts, why);
        }
    } else {
        why.push("landlock and seccomp: not chosen by the configuration".into());
    }
    match bwrap_works().await {
        Ok(program) => {
            parts.bwrap = Some(program);
            (Level::Namespaces, parts, why)
        }
        Err(reason) => {
            why.push(reason);
            (Level::Limits, parts, why)
        }
    }
}

/// Runs `trial` on a thread of its own, for there is no way out of a cage.
fn apart<T: Send + 'static>(
    trial: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let thread = std::thread::Builder::new().name("cage trial".into()).spawn(trial);
    let thread = thread.map_err(|error| format!("no thread for a trial: {error}"))?;
    thread.join().unwrap_or_else(|_| Err("the trial died".into()))
}

fn landlock_works() -> Result<i32, String> {
    let abi = landlocked::enter(Path::new("/nonexistent"), &Access::none())?;
    match std::fs::File::open(FOREIGN) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(abi),
        _ => Err("landlock: enforced, but a foreign file could be opened".into()),
    }
}

fn seccomp_works(filters: &seccomp::Filters) -> Result<(), String> {
    seccomp::enter(filters).map_err(|error| format!("seccomp: {error}"))?;
    match UdpSocket::bind("127.0.0.1:0") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        _ => Err("seccomp: applied, but a socket could be made".into()),
    }
}

async fn bwrap_works() -> Result<PathBuf, String> {
    let program = which("bwrap").ok_or("bwrap: not installed")?;
    let probe = which("true").ok_or("bwrap: no program to try it with")?;
    let args = bubblewrap::args(&probe, Vec::new(), None, &Access::none());
    let tried = ToolCommand::uncaged(&program).args(args).limit(LIMIT);
    match tried.run(&CancellationToken::new()).await {
        Ok(_) => Ok(program),
        Err(failure) => {
            let line = failure.tail.last().cloned().unwrap_or(failure.message);
            Err(format!("bwrap: {}", line.trim_start_matches("bwrap: ")))
        }
    }
}
