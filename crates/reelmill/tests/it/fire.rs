//! Replacing under fire: the program is killed, or told of an error, at one
//! system call after another, and so is the recovery. At no point is the
//! original lost or anything half-written seen. Needs strace.

use super::siege::{Effort, Report, lay};
use super::support::{Place, Ran, long, not_run, tool};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) const OLD: &[u8] = b"the old content, which must never be lost";
pub(super) const NEW: &[u8] = b"the new content";

/// System calls that touch files.
const CALLS: &str = "openat,read,write,pwrite64,lseek,fsync,rename,renameat2,link,linkat,unlink,\
    unlinkat,mkdir,statx,fstat,newfstatat,fchown,fchmod,utimensat,fsetxattr,setxattr,getxattr,\
    listxattr,getdents64,flock,statfs";

/// Those before which a user may come in between.
pub(super) const KINDS_OF_STEPS: [&str; 9] =
    ["openat", "rename", "renameat2", "link", "linkat", "unlink", "fsync", "statx", "mkdir"];

/// One way of replacing a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    args: &'static [&'static str],
    /// The file's new name.
    target: &'static str,
}

pub(super) const CASES: [Case; 3] = [
    Case { args: &[], target: "film.mkv" },
    Case { args: &["--shared"], target: "film.mkv" },
    Case { args: &[], target: "film.mp4" },
];

/// A system call of a run, by its name and number.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) call: String,
    number: usize,
    /// Whether it may change what lies in the folder.
    pub(super) changes: bool,
}

impl Point {
    /// Makes strace do `harm` there.
    pub(super) fn inject(&self, harm: &str) -> String {
        format!("{}:{harm}:when={}", self.call, self.number)
    }

    /// Those in a log of strace, by the main thread, from the first that names the records.
    pub(super) fn all(log: &str) -> Vec<Self> {
        let main = log.split_whitespace().next().unwrap_or_default().to_owned();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = Vec::new();
        let mut begun = false;
        for line in log.lines() {
            let mut words = line.splitn(2, char::is_whitespace);
            let (thread, rest) = (words.next(), words.next().unwrap_or_default().trim_start());
            let Some((call, args)) = rest.split_once('(') else { continue };
            if thread != Some(&main) || call.contains(' ') {
                continue;
            }
            let number = counts.entry(call.to_owned()).or_insert(0);
            *number += 1;
            begun |= rest.contains(".reelmill");
            if begun {
                let opens =
                    call == "openat" && !args.contains("O_CREAT") && !args.contains("O_TRUNC");
                let changes = !opens && !READING.contains(&call);
                found.push(Self { call: call.to_owned(), number: *number, changes });
            }
        }
        found
    }
}

/// System calls that leave every file and folder as it is.
const READING: [&str; 11] = [
    "read",
    "lseek",
    "fsync",
    "statx",
    "fstat",
    "newfstatat",
    "getxattr",
    "listxattr",
    "getdents64",
    "flock",
    "statfs",
];

pub(super) struct Fire {
    pub(super) place: Place,
    case: Case,
    mutant: Option<&'static str>,
}

impl Fire {
    pub(super) fn new(case: Case, mutant: Option<&'static str>) -> Self {
        let fire = Self::bare(case, mutant);
        std::fs::write(fire.film(), OLD).unwrap();
        fire
    }

    /// The same, but the film is not there yet.
    pub(super) fn bare(case: Case, mutant: Option<&'static str>) -> Self {
        Self::within(Place::new(), case, mutant)
    }

    /// The same in another place, without a film.
    pub(super) fn again(&self, place: Place) -> Self {
        Self::within(place, self.case, self.mutant)
    }

    pub(super) fn within(place: Place, case: Case, mutant: Option<&'static str>) -> Self {
        let fire = Self { place, case, mutant };
        std::fs::create_dir(fire.films()).unwrap();
        std::fs::write(fire.new_file(), NEW).unwrap();
        fire
    }

    pub(super) fn films(&self) -> PathBuf {
        self.place.path("films")
    }

    pub(super) fn film(&self) -> PathBuf {
        self.films().join("film.mkv")
    }

    fn target(&self) -> PathBuf {
        self.films().join(self.case.target)
    }

    fn new_file(&self) -> PathBuf {
        self.place.path("new").with_extension(self.target().extension().unwrap())
    }

    pub(super) fn replace(&self) -> Vec<std::ffi::OsString> {
        let mut args = vec!["replace".into(), self.film().into(), self.new_file().into()];
        args.extend(self.case.args.iter().map(Into::into));
        args
    }

    pub(super) fn clean(&self) -> Vec<std::ffi::OsString> {
        vec!["locks".into(), "--clean".into(), self.films().into()]
    }

    /// Runs the program under strace; the log goes to `log`.
    pub(super) fn traced(
        &self,
        args: &[std::ffi::OsString],
        inject: Option<&str>,
        log: &Path,
    ) -> Ran {
        Ran::in_time(&mut self.strace(args, inject, log))
    }

    /// The program under strace, to be started.
    pub(super) fn strace(
        &self,
        args: &[std::ffi::OsString],
        inject: Option<&str>,
        log: &Path,
    ) -> Command {
        let plain = self.place.reelmill();
        let mut command = tool("strace");
        command
            .args(["-f", "-qq", "-s", "200", "-o"])
            .arg(log)
            .arg("-e")
            .arg(format!("trace={CALLS}"));
        if let Some(inject) = inject {
            command.arg("-e").arg(format!("inject={inject}"));
        }
        command.arg(plain.get_program()).args(args);
        for (key, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(mutant) = self.mutant {
            command.env("REELMILL_MUTANT", mutant);
        }
        command.current_dir(self.place.path(".")).stdin(Stdio::null());
        command
    }

    /// The points of a run: each call of the main thread once it touches the
    /// library.
    pub(super) fn points(&self, args: &[std::ffi::OsString]) -> Vec<Point> {
        let log = self.place.path("log");
        let ran = self.traced(args, None, &log).ok();
        assert!(!ran.err.contains("panicked"));
        Point::all(&self.log())
    }

    /// What strace wrote last to the place's log.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.place.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What must hold at any moment: nothing is lost, nothing half-written is seen, and where
    /// files are exchanged the name never goes.
    pub(super) fn judge(&self, when: &str) -> Result<(), String> {
        let gone = |path: PathBuf| !path.exists();
        if self.case.args.is_empty() && gone(self.film()) && gone(self.target()) {
            return Err(format!("{when}: the name is gone"));
        }
        self.intact(when)
    }

    /// The same, but for the name: a second try, after a crash, moves the file away before the
    /// other gets its name.
    pub(super) fn intact(&self, when: &str) -> Result<(), String> {
        let seen = |path: PathBuf| std::fs::read(path).ok();
        for path in [self.film(), self.target()] {
            match seen(path.clone()) {
                Some(content) if content != OLD && content != NEW => {
                    return Err(format!("{when}: {} is half-written", path.display()));
                }
                _ => {}
            }
        }
        let kept = self.hidden().iter().any(|path| seen(path.clone()).as_deref() == Some(OLD));
        if !kept && seen(self.film()).as_deref() != Some(OLD) {
            return Err(format!("{when}: the original is lost"));
        }
        Ok(())
    }

    /// Files in the records and hidden beside the film.
    pub(super) fn hidden(&self) -> Vec<PathBuf> {
        let home = self.films().join(".reelmill");
        let folders = [self.films(), home.join("hold"), home.join("trash")];
        let entries = folders.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).filter(|path| *path != self.film()).collect()
    }

    /// After the recovery: all is settled one way or the other, nothing is left.
    pub(super) fn settled(&self) -> Result<(), String> {
        self.judge("in the end")?;
        let read = |path: &Path| std::fs::read(path).ok();
        let beside = |path: &PathBuf| *path != self.target();
        let trash: Vec<PathBuf> = self.hidden().into_iter().filter(beside).collect();
        let done = read(&self.target()).as_deref() == Some(NEW);
        let only = |kept: &[u8]| trash.len() == 1 && read(&trash[0]).as_deref() == Some(kept);
        let same_name = self.target() == self.film();
        let right = if done {
            only(OLD) && (same_name || read(&self.film()).is_none())
        } else {
            trash.is_empty() && read(&self.film()).as_deref() == Some(OLD)
        };
        if right { Ok(()) } else { Err(format!("done {done}, left over: {trash:?}")) }
    }
}

pub(super) fn strace(group: &str) -> bool {
    let mut command: Command = tool("strace");
    let works = command.args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        not_run(group, "strace is missing, or may not trace here");
    }
    works
}

/// Everything, or a little of it.
fn effort() -> Effort {
    match long() {
        true => Effort { first: usize::MAX, later: usize::MAX, depth: 2, harm: "" },
        false => Effort { first: 9, later: 1, depth: 2, harm: "" },
    }
}

#[test]
fn a_replacement_killed_or_failed_at_any_system_call_loses_nothing() {
    if !strace("replacing under fire") {
        return;
    }
    let mut all = Vec::new();
    for case in CASES {
        let Report { points, shots, same, states, depth, wrong } = lay(case, None, effort());
        println!(
            "{case:?}: {points} points, {shots} shots ({same} kills leave what a later one leaves), \
             {states} states, {depth} hurt runs in a row, {} violations",
            wrong.len()
        );
        assert!(states > 5, "{case:?}: hardly anything was hurt");
        all.extend(wrong);
    }
    assert!(all.is_empty(), "{} went wrong:\n{}", all.len(), all.join("\n"));
}

#[test]
fn mutant_that_renames_over_the_source_is_caught() {
    if !strace("the mutant that renames over the source") {
        return;
    }
    for case in &CASES[..2] {
        let first = if long() { usize::MAX } else { 3 };
        let effort = Effort { first, later: 0, depth: 1, harm: "signal" };
        let Report { shots, wrong, .. } = lay(*case, Some("replace-capture"), effort);
        let lost = wrong.iter().filter(|why| why.contains("lost")).count();
        println!("{case:?}: the mutant that renames over is caught {lost} times by {shots} kills");
        assert!(lost > 0, "{case:?}: {wrong:?}");
    }
}

/// Whether the output was flushed before its commit was written, and the folder
/// after it was put in place.
fn flushed_in_order(case: Case, mutant: Option<&'static str>) -> bool {
    let fire = Fire::new(case, mutant);
    let log = fire.place.path("log");
    fire.traced(&fire.replace(), None, &log).ok();
    let text = fire.log();
    let lines: Vec<&str> = text.lines().collect();
    let find = |from: usize, what: &dyn Fn(&str) -> bool| {
        lines[from..].iter().position(|line| what(line)).map(|at| at + from)
    };
    let part = |line: &str| line.contains(".part\"") && line.contains("O_CREAT");
    let Some(made) = find(0, &part) else { return false };
    let Some((_, descriptor)) = lines[made].rsplit_once("= ") else { return false };
    let flush = format!("fsync({})", descriptor.trim());
    let Some(flushed) = find(made, &|line| line.contains(&flush)) else { return false };
    // The third slot of a fresh job is its commit: lease, commit, done.
    let slot = |line: &str| line.contains("/1.json\"") && line.contains("link");
    let Some(committed) = find(flushed, &slot) else { return false };
    find(committed, &|line| line.contains("fsync(")).is_some()
}

#[test]
fn everything_is_flushed_in_order_and_the_mutant_that_does_not_is_caught() {
    if !strace("the order of flushes") {
        return;
    }
    for case in CASES {
        assert!(flushed_in_order(case, None), "{case:?}");
        assert!(!flushed_in_order(case, Some("replace-fsync")), "{case:?}");
    }
}
