//! Starts processes and ends them with everything they started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);

/// Variables that are handed down: where programs and libraries lie, and where
/// temporary files go.
const KEPT_VARIABLES: &[&str] = &[
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "WINDIR",
];

/// A process that is ended, with its group, when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// Its process group, until it has been waited for.
    group: Option<Group>,
}

/// What is to be started.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) dir: Option<PathBuf>,
}

struct Request {
    start: Start,
    runtime: tokio::runtime::Handle,
    reply: oneshot::Sender<io::Result<Running>>,
}

/// Requests that may wait for the one thread that starts processes.
const QUEUE: usize = 64;

/// Starts a program with pipes, in a group of its own.
///
/// Linux ends a child "when its parent dies", but means the *thread* that
/// started it. So one thread that lives as long as this process starts them
/// all; a runtime's threads come and go.
pub(super) async fn spawn(start: Start) -> io::Result<Running> {
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = oneshot::channel();
    let request = Request { start, runtime: tokio::runtime::Handle::current(), reply };
    spawner()?.send(request).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn spawner() -> io::Result<&'static mpsc::Sender<Request>> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (requests, mut inbox) = mpsc::channel::<Request>(QUEUE);
    std::thread::Builder::new().name("spawner".into()).spawn(move || {
        while let Some(request) = inbox.blocking_recv() {
            let _context = request.runtime.enter();
            // A reply that nobody waits for is dropped, and the process with it.
            let _ = request.reply.send(start(request.start));
        }
    })?;
    Ok(SPAWNER.get_or_init(|| requests))
}

#[expect(clippy::disallowed_methods, reason = "the one place where processes start")]
fn start(start: Start) -> io::Result<Running> {
    let mut command = Command::new(start.program);
    if let Some(dir) = start.dir {
        command.current_dir(dir);
    }
    command
        .args(start.args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_clear()
        .kill_on_drop(true);
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // The C.UTF-8 locale: messages in English, file names in UTF-8.
    command.env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8");
    isolate(&mut command);
    let mut child = command.spawn()?;
    Ok(Running {
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        group: child.id().and_then(Group::of),
        child,
    })
}

impl Running {
    /// Standard output and standard error, once; nothing the second time.
    pub(super) fn pipes(&mut self) -> (Pipe<ChildStdout>, Pipe<ChildStderr>) {
        (Pipe(self.stdout.take()), Pipe(self.stderr.take()))
    }

    /// Waits for its end; the exit status, negative for a signal.
    pub(super) async fn wait(&mut self) -> io::Result<i32> {
        let status = self.child.wait().await?;
        Ok(status_number(status))
    }

    /// Asks it to end, then makes it; returns when it is gone.
    pub(super) async fn stop(&mut self) {
        if let Some(group) = &self.group {
            group.ask();
        }
        let gone = tokio::time::timeout(GRACE, self.child.wait()).await;
        self.kill();
        if gone.is_err() {
            // The wait cannot fail in a way that leaves something to do.
            let _ = self.child.wait().await;
        }
    }

    fn kill(&mut self) {
        match self.group.take() {
            Some(group) => group.kill(),
            None => {
                // It has ended, or there are no groups here.
                let _ = self.child.start_kill();
            }
        }
    }
}

impl Drop for Running {
    /// Also ends what a tool that has ended left behind in its group.
    fn drop(&mut self) {
        self.kill();
    }
}

/// A pipe that may be missing, which reads as empty.
pub(super) struct Pipe<T>(Option<T>);

impl<T: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for Pipe<T> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(pipe) => std::pin::Pin::new(pipe).poll_read(context, buffer),
            None => std::task::Poll::Ready(Ok(())),
        }
    }
}

#[cfg(unix)]
fn status_number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => -signal,
        (None, None) => -1,
    }
}

#[cfg(not(unix))]
fn status_number(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

#[cfg(unix)]
use unix::{Group, isolate};

#[cfg(unix)]
mod unix {
    use rustix::process::{Pid, Signal, kill_process_group};
    use tokio::process::Command;

    /// The processes that a tool started, and itself.
    #[derive(Debug)]
    pub(super) struct Group(Pid);

    impl Group {
        pub(super) fn of(id: u32) -> Option<Self> {
            let id = i32::try_from(id).ok()?;
            Pid::from_raw(id).map(Self)
        }

        /// Errors mean that the group is gone, as it should be.
        pub(super) fn ask(&self) {
            let _ = kill_process_group(self.0, Signal::TERM);
        }

        pub(super) fn kill(&self) {
            let _ = kill_process_group(self.0, Signal::KILL);
        }
    }

    pub(super) fn isolate(command: &mut Command) {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        die_with_parent(command);
    }

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    fn die_with_parent(command: &mut Command) {
        use rustix::process::{getpid, getppid, set_parent_process_death_signal};
        let parent = getpid();
        // SAFETY: the closure runs in the child after fork. It makes two system
        // calls, which are async-signal-safe, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the call above took effect.
                if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            });
        }
    }
}

#[cfg(not(unix))]
use elsewhere::{Group, isolate};

#[cfg(not(unix))]
mod elsewhere {
    /// There are no process groups here: the process is ended alone.
    #[derive(Debug)]
    pub(super) struct Group;

    impl Group {
        pub(super) fn of(_id: u32) -> Option<Self> {
            None
        }

        pub(super) fn ask(&self) {}

        pub(super) fn kill(&self) {}
    }

    pub(super) fn isolate(_command: &mut tokio::process::Command) {}
}
