//! Runs a tool to its end: the only place of this crate that starts processes.
//!
//! Every tool runs without a shell, with nothing on standard input, with an
//! environment reduced to what it needs, and in a process group of its own
//! that dies with the run: when it is cancelled, when it takes too long, when
//! the future is dropped, and (on Linux) when this process is killed.

mod diagnose;
mod lines;
mod pump;
mod spawn;

pub(crate) use diagnose::plain;

use crate::args::Args;
use crate::sandbox::{Access, Cage, memory};
use lines::{Lines, Tail};
use pump::{Life, Sink, Stop};
use reelmill_core::error::{Failure, FailureClass};
use spawn::Start;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lines of standard error that are kept.
const STDERR_LINES: usize = 200;

/// Bytes of a line of standard error that are kept.
const STDERR_LINE_BYTES: usize = 1024;

/// Bytes of a line of standard output that are kept by [`ToolCommand::run_lines`].
const STDOUT_LINE_BYTES: usize = 64 * 1024;

/// A tool with its arguments and limits, not yet started.
#[derive(Debug, Clone)]
pub struct ToolCommand {
    program: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    stall: Option<Duration>,
    limit: Option<Duration>,
    capture: usize,
    access: Access,
    cage: Option<Arc<Cage>>,
}

/// What a tool wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolOutput {
    /// Standard output; empty when it was taken line by line.
    pub stdout: Vec<u8>,
    /// The last 200 lines of standard error, each of at most 1 KiB, without
    /// control characters.
    pub stderr: Vec<String>,
}

/// What a tool wrote and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolExit {
    /// What it wrote.
    pub output: ToolOutput,
    /// Its exit status; negative for the signal that ended it.
    pub status: i32,
    failure: Option<Failure>,
}

impl ToolExit {
    /// The output, if the tool ended with status 0.
    ///
    /// # Errors
    /// Why it failed, read from what it wrote to standard error.
    pub fn success(self) -> Result<ToolOutput, Failure> {
        match self.failure {
            None => Ok(self.output),
            Some(failure) => Err(failure),
        }
    }
}

impl ToolCommand {
    /// `program` in `cage`, with `args` and no other files than they name. It is
    /// ended neither for silence nor for taking long, and may write 256 MiB of
    /// output.
    #[must_use]
    pub(crate) fn caged(program: &Path, cage: &Arc<Cage>, args: Args) -> Self {
        let (words, access) = args.into_parts();
        Self { args: words, access, cage: Some(cage.clone()), ..Self::uncaged(program) }
    }

    /// `program` with all our rights, without arguments: for what opens no file
    /// of anybody else's, and for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn uncaged(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            dir: None,
            stall: None,
            limit: None,
            capture: 256 << 20,
            access: Access::none(),
            cage: None,
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Started in the folder `dir`, where it may write.
    #[must_use]
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.access.use_folder(dir);
        self.dir = Some(dir.to_owned());
        self
    }

    /// Ended (class timeout) when it gives no sign of life for so long: no line
    /// on standard output or standard error. Lines of an FFmpeg progress report
    /// count only when frames, time or bytes have grown.
    #[must_use]
    pub fn stall_after(mut self, silence: Duration) -> Self {
        self.stall = Some(silence);
        self
    }

    /// Ended (class timeout) when it runs longer than this.
    #[must_use]
    pub fn limit(mut self, time: Duration) -> Self {
        self.limit = Some(time);
        self
    }

    /// Ended (class permanent) when [`Self::run`] would have to keep more than
    /// so many bytes of standard output.
    #[must_use]
    pub fn capture_limit(mut self, bytes: usize) -> Self {
        self.capture = bytes;
        self
    }

    /// The command as one line that a shell would take.
    #[must_use]
    pub fn line(&self) -> String {
        diagnose::command_line(&self.program, &self.args)
    }

    /// Runs it and keeps its output.
    ///
    /// # Errors
    /// When it cannot be started, fails, is cancelled or breaks a limit; the
    /// class says which.
    pub async fn run(self, cancel: &CancellationToken) -> Result<ToolOutput, Failure> {
        self.run_any(cancel).await?.success()
    }

    /// Runs it and keeps its output; that it failed is an answer too.
    ///
    /// # Errors
    /// When it cannot be started, is cancelled or breaks a limit.
    pub async fn run_any(self, cancel: &CancellationToken) -> Result<ToolExit, Failure> {
        let sink = Sink::Keep { bytes: Vec::new(), limit: self.capture };
        self.drive(sink, cancel).await
    }

    /// Runs it, handing over each line of its standard output as it comes,
    /// without line ends; lines are cut at 64 KiB.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_lines(
        self,
        cancel: &CancellationToken,
        on_line: pump::OnLine<'_>,
    ) -> Result<ToolOutput, Failure> {
        self.run_lines_any(cancel, on_line).await?.success()
    }

    /// As [`Self::run_lines`]; that it failed is an answer too.
    ///
    /// # Errors
    /// As [`Self::run_any`].
    pub async fn run_lines_any(
        self,
        cancel: &CancellationToken,
        on_line: pump::OnLine<'_>,
    ) -> Result<ToolExit, Failure> {
        let lines = Lines::new(STDOUT_LINE_BYTES);
        self.drive(Sink::Lines { lines, on_line }, cancel).await
    }

    async fn drive(
        self,
        mut sink: Sink<'_>,
        cancel: &CancellationToken,
    ) -> Result<ToolExit, Failure> {
        if cancel.is_cancelled() {
            return Err(self.stopped(Stop::Cancelled, &[]));
        }
        tracing::debug!(command = self.line(), "start");
        let mut running = spawn::spawn(self.start())
            .await
            .map_err(|error| diagnose::cannot_start(&self.program, self.line(), &error))?;
        let mut tail = Tail::new(STDERR_LINES, STDERR_LINE_BYTES);
        let ended = {
            let life = Life::now();
            let pid = running.id();
            let work = pump::work(&mut running, &mut sink, &mut tail, &life);
            tokio::select! {
                ended = work => ended,
                stop = self.watch(&life, pid, cancel) => Err(stop),
            }
        };
        let status = match ended {
            Ok(status) => self.cage.as_ref().map_or(status, |cage| cage.status(status)),
            Err(stop) => {
                running.stop().await;
                return Err(self.stopped(stop, &tail.into_lines()));
            }
        };
        Ok(self.exit(status, sink, tail.into_lines()))
    }

    fn start(&self) -> Start {
        Start {
            program: self.program.clone(),
            args: self.args.clone(),
            dir: self.dir.clone(),
            access: self.access.clone(),
            cage: self.cage.clone(),
        }
    }

    /// Ends when the run must be stopped.
    async fn watch(&self, life: &Life, pid: Option<u32>, cancel: &CancellationToken) -> Stop {
        let overtime = async {
            match self.limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let stalled = async {
            match self.stall {
                Some(silence) => life.wait_for_silence(silence).await,
                None => std::future::pending().await,
            }
        };
        let excess = async {
            match &self.cage {
                Some(cage) => memory::wait_for_excess(pid, cage.memory()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Stop::Cancelled,
            used = excess => Stop::Memory(used),
            () = overtime => Stop::Overtime,
            () = stalled => Stop::Stalled,
        }
    }

    fn stopped(&self, stop: Stop, stderr: &[String]) -> Failure {
        let tool = diagnose::tool_name(&self.program);
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        let mut failure = match stop {
            Stop::Cancelled => {
                Failure::new(FailureClass::Cancelled, format!("{tool} was cancelled"))
            }
            Stop::Stalled => Failure::new(
                FailureClass::Timeout,
                format!("{tool} made no progress for {} s", seconds(self.stall)),
            ),
            Stop::Overtime => Failure::new(
                FailureClass::Timeout,
                format!("{tool} was not done within its {} s", seconds(self.limit)),
            ),
            Stop::Memory(used) => Failure::environment(format!(
                "{tool} used {} MiB of memory, more than the {} MiB that one tool may use",
                used >> 20,
                self.cage.as_ref().map_or(0, |cage| cage.memory()) >> 20
            ))
            .advise(
                "the source may be made to fill memory; if it is not, allow more (--tool-memory)",
            ),
            Stop::TooMuch => Failure::permanent(format!(
                "{tool} wrote more than {} bytes of output",
                self.capture
            )),
            Stop::Io(error) => Failure::io(format_args!("read what {tool} writes"), &error),
        };
        failure.command = Some(self.line());
        failure.tail = diagnose::last_lines(stderr);
        failure
    }

    fn exit(&self, status: i32, sink: Sink<'_>, stderr: Vec<String>) -> ToolExit {
        let (stdout, said) = match sink {
            Sink::Keep { bytes, .. } => {
                let mut tail = Tail::new(STDERR_LINES, STDERR_LINE_BYTES);
                if status != 0 && stderr.is_empty() {
                    tail.push(&bytes);
                }
                (bytes, tail.into_lines())
            }
            Sink::Lines { .. } => (Vec::new(), Vec::new()),
        };
        let said = if stderr.is_empty() { &said } else { &stderr };
        let failure =
            (status != 0).then(|| diagnose::failed(&self.program, self.line(), status, said));
        ToolExit { output: ToolOutput { stdout, stderr }, status, failure }
    }
}

#[cfg(test)]
mod tests;
