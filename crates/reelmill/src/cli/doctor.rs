//! `reelmill doctor`: what works on this machine.

use super::args::Common;
use super::out;
use crate::exit::{Ending, Exit};
use crate::{farm, paths};
use reelmill_core::encoder::VideoEncoder;
use reelmill_core::error::Failure;
use reelmill_media::capability::prove_encoders;
use reelmill_media::sandbox::{Cage, Level, Wanted};
use reelmill_media::tools::{ToolPaths, Tools, mkvmerge_version};
use serde::Serialize;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    state: State,
    detail: String,
}

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Missing,
    /// It is not there, and nothing needs it.
    Absent,
}

impl Finding {
    fn new(what: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        let state = if ok { State::Ok } else { State::Missing };
        Self { what: what.into(), state, detail: detail.into() }
    }

    fn absent(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Absent, detail: detail.into() }
    }

    /// What others may share with it.
    fn reason(&self) -> (State, &str) {
        (self.state, &self.detail)
    }

    fn warning(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Warning, detail: detail.into() }
    }
}

/// Runs the command. Fails when FFmpeg or every encoder is missing, or the
/// sandbox is weaker than asked for.
pub(crate) async fn run(common: &Common) -> Result<Exit, Ending> {
    let mut findings = Vec::new();
    let mut usable = false;
    let sandbox = Cage::choose(common.sandbox.wanted()).await;
    match find_tools(common).await {
        Ok(tools) => usable = look_at_tools(&tools, &mut findings).await && sandbox.is_ok(),
        Err(failure) => {
            let advice = failure.advice.unwrap_or_default();
            findings.push(Finding::new("FFmpeg", false, format!("{}; {advice}", failure.message)));
        }
    }
    let mkvmerge = mkvmerge_version().await;
    let detail = mkvmerge.clone().unwrap_or_else(|| "not found (install mkvtoolnix)".into());
    findings.push(Finding::new("MKVToolNix", mkvmerge.is_some(), detail));
    findings.push(look_at_sandbox(sandbox));
    for (what, path) in [("scratch folder", paths::scratch()), ("state folder", paths::state())] {
        findings.push(look_at_folder(what, &path));
    }
    findings.push(Finding::new("cores", true, farm::cores().to_string()));
    findings.push(look_at_clock());
    if common.json {
        findings.iter().for_each(out::json);
    } else {
        tell(&findings);
    }
    Ok(if usable { Exit::Done } else { Exit::Failed })
}

/// For people: what is absent for the same reason shares a line.
fn tell(findings: &[Finding]) {
    for some in findings.chunk_by(|a, b| a.state == State::Absent && a.reason() == b.reason()) {
        let Some(first) = some.first() else { continue };
        let mark = match first.state {
            State::Ok => "ok      ",
            State::Warning => "warning ",
            State::Missing => "missing ",
            State::Absent => "absent  ",
        };
        if some.len() == 1 {
            out::line(&format!("{mark}{:<18} {}", first.what, first.detail));
        } else {
            let names = some.iter().map(|one| one.what.trim_start_matches("encoder "));
            let names = names.collect::<Vec<_>>().join(", ");
            out::line(&format!("{mark}{names}: {}", first.detail));
        }
    }
}

/// The tools, in the strongest sandbox there is: that it may be too weak for
/// what is asked is a finding of its own.
async fn find_tools(common: &Common) -> Result<Tools, Failure> {
    let wanted = Wanted { lowest: Level::Limits, ..common.sandbox.wanted() };
    Tools::find_in(Cage::choose(wanted).await?, &ToolPaths::default()).await
}

async fn look_at_tools(tools: &Tools, findings: &mut Vec<Finding>) -> bool {
    let place = tools.ffmpeg.display();
    findings.push(Finding::new("FFmpeg", true, format!("{} at {place}", tools.version)));
    if let Some(warning) = tools.known_bad() {
        findings.push(Finding::warning("FFmpeg security", warning));
    }
    let mut any = false;
    let all = [VideoEncoder::SOFTWARE.as_slice(), VideoEncoder::HARDWARE.as_slice()].concat();
    for trial in prove_encoders(tools, &all, &CancellationToken::new()).await {
        let what = format!("encoder {}", trial.encoder);
        any |= trial.outcome.is_ok() && trial.encoder.hardware().is_none();
        findings.push(match trial.outcome {
            Ok(build) => Finding::new(what, true, format!("works (build {build})")),
            Err(why) if trial.encoder.hardware().is_some() => Finding::absent(what, why),
            Err(why) => Finding::new(what, false, why),
        });
    }
    any
}

fn look_at_sandbox(sandbox: Result<Cage, Failure>) -> Finding {
    match sandbox {
        Ok(cage) if cage.level() > Level::Limits => Finding::new("sandbox", true, cage.line()),
        Ok(cage) => Finding::warning("sandbox", cage.line()),
        Err(failure) => {
            let advice = failure.advice.unwrap_or_default();
            Finding::new("sandbox", false, format!("{}; {advice}", failure.message))
        }
    }
}

fn look_at_folder(what: &str, path: &Path) -> Finding {
    let shown = path.display();
    // The folder itself may not exist yet: its nearest ancestor tells.
    let existing = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match tempfile::tempfile_in(existing).and(Ok(rustix::fs::statvfs(existing))) {
        Ok(Ok(stat)) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            Finding::new(what, true, format!("{shown}, {} free", out::bytes(free)))
        }
        Ok(Err(error)) => Finding::new(what, false, format!("{shown}: {error}")),
        Err(error) => Finding::new(what, false, format!("{shown} is not writable: {error}")),
    }
}

fn look_at_clock() -> Finding {
    // Years before this program was written mean a clock that was never set.
    let seconds = crate::clock::now().0 / 1_000_000;
    let ok = seconds > 1_700_000_000;
    let detail = if ok { "set" } else { "wrong: set it (certificates and leases need it)" };
    Finding::new("clock", ok, detail)
}
