//! Starts processes and ends them with everything they started.

use crate::sandbox::{Access, Cage};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::oneshot;

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
    /// The thread that started it ends when this is dropped.
    _alive: SyncSender<()>,
}

/// What the kernel ends a tool for.
#[derive(Clone, Copy)]
struct Limits {
    /// Files it may have open.
    files: u64,
    /// Size of a file it writes, bytes.
    file_size: Option<u64>,
}

/// Files that a tool may have open.
const FILES: u64 = 1024;

/// The part of the free space that one tool may fill with one file, in percent:
/// a file without end must not take the whole disk.
const FREE_PERCENT: u64 = 95;

impl Limits {
    fn of(start: &Start) -> Self {
        let written = start.access.writes().iter().filter_map(|file| file.parent());
        let mut places = written.chain(start.access.folders().iter().map(PathBuf::as_path));
        let place = places.next().filter(|place| !place.as_os_str().is_empty());
        Self { files: FILES, file_size: place.and_then(free).map(|free| free / 100 * FREE_PERCENT) }
    }
}

/// What is to be started.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) dir: Option<PathBuf>,
    pub(super) access: Access,
    /// None runs with all our rights.
    pub(super) cage: Option<Arc<Cage>>,
}

/// Stack of a thread that only starts a process and waits, bytes.
const STACK: usize = 256 * 1024;

/// Starts a program with pipes, in a group of its own, in its cage.
///
/// Each is started by a thread of its own that lives as long as it does: a
/// cage shuts in the thread that enters it with all that the thread starts,
/// and Linux ends a child "when its parent dies", by which it means the thread.
pub(super) async fn spawn(start: Start) -> io::Result<Running> {
    let (reply, answer) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("tool".into()).stack_size(STACK).spawn(move || {
        let (alive, over) = std::sync::mpsc::sync_channel(0);
        let _context = runtime.enter();
        // A reply that nobody waits for is dropped, and the process with it.
        let _ = reply.send(caged(start, alive));
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = over.recv();
    })?;
    answer.await.map_err(|_| io::Error::other("the thread that starts the tool is gone"))?
}

fn caged(mut start: Start, alive: SyncSender<()>) -> io::Result<Running> {
    if let Some(cage) = start.cage.take() {
        start.access.make_files();
        cage.enter(&start.program, &start.access)?;
        let dir = start.dir.as_deref();
        (start.program, start.args) = cage.wrap(&start.program, start.args, dir, &start.access);
    }
    start_here(start, alive)
}

#[expect(clippy::disallowed_methods, reason = "the one place where processes start")]
fn start_here(start: Start, alive: SyncSender<()>) -> io::Result<Running> {
    let limits = Limits::of(&start);
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
    isolate(&mut command, limits);
    let mut child = command.spawn()?;
    Ok(Running {
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        group: child.id().and_then(Group::of),
        child,
        _alive: alive,
    })
}

impl Running {
    /// Standard output and standard error, once; nothing the second time.
    pub(super) fn pipes(&mut self) -> (Pipe<ChildStdout>, Pipe<ChildStderr>) {
        (Pipe(self.stdout.take()), Pipe(self.stderr.take()))
    }

    /// Its process id, until it has been waited for.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
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
use unix::{Group, free, isolate};

#[cfg(unix)]
mod unix {
    use super::Limits;
    use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit};
    use std::path::Path;
    use tokio::process::Command;

    /// Bytes free in the file system of a folder.
    pub(super) fn free(folder: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

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

    pub(super) fn isolate(command: &mut Command, limits: Limits) {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        shorten_life(command, limits);
        #[cfg(not(target_os = "linux"))]
        let _ = limits;
    }

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    fn shorten_life(command: &mut Command, limits: Limits) {
        use rustix::process::{getpid, getppid, set_parent_process_death_signal};
        let parent = getpid();
        // SAFETY: the closure runs in the child after fork. It makes system
        // calls only, which are async-signal-safe, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                let both = |most| Rlimit { current: Some(most), maximum: Some(most) };
                setrlimit(Resource::Core, both(0))?;
                // These may already be lower, which is as good.
                let _ = setrlimit(Resource::Nofile, both(limits.files));
                if let Some(most) = limits.file_size {
                    let _ = setrlimit(Resource::Fsize, both(most));
                }
                // The parent may have died before the call above took effect.
                if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            });
        }
    }
}

#[cfg(not(unix))]
use elsewhere::{Group, free, isolate};

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

    pub(super) fn isolate(_command: &mut tokio::process::Command, _limits: super::Limits) {}

    /// Not known here.
    pub(super) fn free(_folder: &std::path::Path) -> Option<u64> {
        None
    }
}
