//! Running the program, making fixtures, waiting for conditions.

use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder of one test's own, with places for everything reelmill keeps.
pub(crate) struct Place {
    root: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), settings: Vec::new() }
    }

    /// The same, in memory where there is such a folder: for small files, thousands of times.
    pub(crate) fn in_memory() -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { root, settings: Vec::new() }
    }

    /// Sets a variable for every run of the program.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.push((name, value.into()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The program, kept inside this place.
    pub(crate) fn reelmill(&self) -> Command {
        let mut command = tool(env!("CARGO_BIN_EXE_reelmill"));
        command
            .env_remove("REELMILL_SERVER")
            .env_remove("REELMILL_API_KEY")
            .env_remove("DISTCONV_API_KEY")
            .env("REELMILL_BENCHMARK", "off")
            .env("REELMILL_STATE", self.path("state"))
            .env("REELMILL_SCRATCH", self.path("scratch"))
            .env("REELMILL_CONFIG_DIR", self.path("config"))
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.reelmill().args(args))
    }

    /// Files below the scratch folder that are more than a worker's place and what
    /// tools said of themselves.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = self.files("scratch");
        found.retain(|path| path.file_name().is_none_or(|name| name != "tools.json"));
        found
    }

    /// Files anywhere below the folder `below` of the place.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path(below), &mut found);
        found
    }

    /// Names in the place itself.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests start the program and the real tools")]
pub(crate) fn tool(program: &str) -> Command {
    Command::new(program)
}

/// What a finished run left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// The same; what does not end by itself is killed with all that it started, and says so.
    pub(crate) fn in_time(command: &mut Command) -> Self {
        use rustix::process::{Pid, Signal, kill_process_group};
        use std::sync::mpsc::{RecvTimeoutError, sync_channel};
        let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        let group = Pid::from_child(&child);
        let (ended, end) = sync_channel::<()>(1);
        let guard = std::thread::spawn(move || {
            let hangs = end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if hangs {
                let _ = kill_process_group(group, Signal::KILL);
            }
            hangs
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        drop(ended);
        let hangs = if guard.join().unwrap() { "it hangs\n" } else { "" };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let err = text(stderr) + hangs;
        Self { code: status.code().unwrap_or(-1), out: text(stdout), err }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// One clear message that holds all `words`, this exit code, no panic.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        let all = format!("stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        assert!(!self.err.contains("panicked"), "{all}");
        for word in words {
            assert!(self.err.contains(word), "no '{word}' in {all}");
        }
        assert_eq!(self.err.matches("error:").count(), 1, "one message: {all}");
        self
    }

    /// The failure that a run with `--json` ended with, as it was told.
    #[track_caller]
    pub(crate) fn events_of_failure(&self) -> String {
        assert_eq!(self.code, 1, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out.clone() + &self.err
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Waits until `condition` yields something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A process that is killed, by its id, when the test is over.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(tool("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs FFmpeg with `args`, which end with the output.
pub(crate) fn ffmpeg(args: &[&str], output: &Path) {
    let ran = tool("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(args)
        .arg(output)
        .output()
        .unwrap();
    assert!(ran.status.success(), "ffmpeg {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A clip of `seconds` with a picture that is different in every frame, cuts
/// every 4 s, and stereo sound; made once for all tests of this run.
pub(crate) fn clip(seconds: u32) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let path = folder.path().join(format!("clip-{seconds}.mkv"));
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !path.exists() {
        make_clip(seconds, &path);
    }
    path
}

fn make_clip(seconds: u32, path: &Path) {
    let picture = format!("testsrc2=size=320x180:rate=24:duration={seconds},hue=h=90*floor(t/4)");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let args = [
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-f",
        "lavfi",
        "-i",
        &sound,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        "-g",
        "48",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-ac",
        "2",
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:0",
        "title=Main",
    ];
    ffmpeg(&args, path);
}

/// The folder of real media that `REELMILL_TEST_MEDIA` names. Without it the
/// group is listed as not run.
pub(crate) fn media(group: &str) -> Option<PathBuf> {
    match std::env::var_os("REELMILL_TEST_MEDIA") {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            assert!(folder.is_dir(), "REELMILL_TEST_MEDIA names no folder: {}", folder.display());
            Some(folder)
        }
        None => {
            not_run(group, "REELMILL_TEST_MEDIA names no folder of media");
            None
        }
    }
}

/// Lists a group of tests as not run.
pub(crate) fn not_run(group: &str, why: &str) {
    use std::io::Write;
    let Some(file) = std::env::var_os("REELMILL_NOT_RUN") else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    writeln!(file, "NOT RUN: {group} ({why})").unwrap();
}

/// Whether the long versions of tests are asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("REELMILL_TEST_LONG").is_some_and(|value| value == "1")
}
