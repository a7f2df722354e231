//! All that can be left when a replacement is hurt, and when the recovery of that is hurt: a
//! graph of states of a folder. From each state the program runs once for each of its system
//! calls and each kind of harm. What is left is compared with the states that are known already,
//! by all that the program reads, and goes on only if it is new.

use super::fire::{Case, Fire, NEW, OLD, Point};
use super::support::Place;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may happen at a system call.
const KINDS: [&str; 3] = ["signal=SIGKILL", "error=EIO", "error=ENOSPC"];

/// Far more states than there are: a graph that grows for ever is a fault of the comparison.
const MOST_STATES: usize = 5000;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Shots at the replacement itself.
    pub(super) first: usize,
    /// Shots at the recovery of each state.
    pub(super) later: usize,
    /// Hurt runs, one after another; each state that is left in the end is recovered, too.
    pub(super) depth: usize,
    /// Only the harms that begin with this.
    pub(super) harm: &'static str,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// System calls at which something might have happened.
    pub(super) points: usize,
    /// Runs that were hurt.
    pub(super) shots: usize,
    /// Kills that leave what a kill at a later call leaves, as no call between changes anything.
    pub(super) same: usize,
    /// Different states of the folder.
    pub(super) states: usize,
    /// Hurt runs, one after another.
    pub(super) depth: usize,
    /// What was wrong.
    pub(super) wrong: Vec<String>,
}

/// A state of the folder, and how it came about.
struct State {
    fire: Fire,
    /// A recovery was hurt, too.
    again: bool,
    story: String,
}

impl State {
    fn holds(&self) -> Result<(), String> {
        if self.again { self.fire.intact("what is left") } else { self.fire.judge("what is left") }
    }
}

struct Shot<'a> {
    from: &'a State,
    point: Point,
    kind: &'static str,
}

/// Hurts a replacement, and the recoveries of all that this leaves.
pub(super) fn lay(case: Case, mutant: Option<&'static str>, effort: Effort) -> Report {
    let begin = Fire::within(Place::in_memory(), case, mutant);
    std::fs::write(begin.film(), OLD).unwrap();
    let _ =
        rustix::fs::setxattr(begin.film(), "user.note", b"kept", rustix::fs::XattrFlags::empty());
    let seen = Mutex::new(BTreeSet::from([print(&begin)]));
    let mut report = Report::default();
    let mut level = vec![State { fire: begin, again: false, story: format!("{case:?}") }];
    while !level.is_empty() {
        let first = report.depth == 0;
        let examined = spread(&level, |state| examine(state, first));
        let most = if first { effort.first } else { effort.later };
        let mut shots = Vec::new();
        for (from, (points, wrong)) in level.iter().zip(examined) {
            report.wrong.extend(wrong);
            if report.depth < effort.depth {
                report.points += points.len();
                report.same += aim(from, points, (most, effort.harm), &mut shots);
            }
        }
        report.shots += shots.len();
        report.depth += usize::from(!shots.is_empty());
        let left = spread(&shots, |shot| {
            let state = shoot(shot, first)?;
            let new = seen.lock().unwrap().insert(print(&state.fire));
            Ok(new.then_some(state))
        });
        let mut next = Vec::new();
        for state in left {
            state.map_or_else(|why: String| report.wrong.push(why), |new| next.extend(new));
        }
        drop(shots);
        level = next;
        report.states = seen.lock().unwrap().len();
        assert!(report.states < MOST_STATES, "{} states, and no end", report.states);
    }
    report
}

/// Chooses shots, all or some evenly spread with a kind each; yields how many kills are left out
/// because another leaves the same.
fn aim<'a>(
    from: &'a State,
    points: Vec<Point>,
    (most, harm): (usize, &str),
    shots: &mut Vec<Shot<'a>>,
) -> usize {
    let before = shots.len();
    let (all, stride) = (points.len() <= most, points.len().div_ceil(most.max(1)));
    let mut same = 0;
    for (n, point) in points.into_iter().enumerate() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            let kill = kind.starts_with("signal");
            let chosen = all || (n % stride == stride / 2 && (n / stride + before) % 3 == number);
            if !chosen || !kind.starts_with(harm) {
                continue;
            }
            if all && kill && !point.changes {
                // Nothing changes until the next call that does, or until the end.
                same += 1;
            } else {
                shots.push(Shot { from, point: point.clone(), kind });
            }
        }
    }
    same
}

/// The points of the run from a state that is to be hurt; and what is wrong with the state:
/// nothing is lost, and it can be recovered, which changes nothing the second time.
fn examine(state: &State, first: bool) -> (Vec<Point>, Option<String>) {
    let fire = copy(&state.fire);
    let mut points = Vec::new();
    let mut check = || {
        state.holds()?;
        let args = if first { fire.replace() } else { fire.clean() };
        recovers(&fire, &args)?;
        points = Point::all(&fire.log());
        let before = print(&fire);
        recovers(&fire, &fire.clean())?;
        let after = print(&fire);
        let same = before == after;
        if same { Ok(()) } else { Err(format!("recovered twice: {before} is now {after}")) }
    };
    let wrong = check().err().map(|why| format!("{}: {why}", state.story));
    if points.is_empty() {
        points = Point::all(&fire.log());
    }
    (points, wrong)
}

/// A run that nothing disturbs ends well, and all is settled.
fn recovers(fire: &Fire, args: &[std::ffi::OsString]) -> Result<(), String> {
    let ran = fire.traced(args, None, &fire.place.path("log"));
    if ran.code != 0 || ran.err.contains("panicked") {
        return Err(format!("cannot go on: {}{}", ran.out, ran.err));
    }
    fire.settled()
}

/// One run, hurt at one call.
fn shoot(shot: &Shot<'_>, first: bool) -> Result<State, String> {
    let fire = copy(&shot.from.fire);
    let inject = shot.point.inject(shot.kind);
    let story = format!("{}, {inject}", shot.from.story);
    let args = if first { fire.replace() } else { fire.clean() };
    let ran = fire.traced(&args, Some(&inject), &fire.place.path("log"));
    let told = |why: &str| format!("{story}: {why}: {}{}", ran.out, ran.err);
    if ran.err.contains("panicked") || ran.err.contains("it hangs") {
        return Err(told("it panics or hangs"));
    }
    let ended = ran.code != 0 && ran.code != -1 && !shot.kind.starts_with("signal");
    if ended && !ran.err.contains("error") {
        return Err(told("it does not say why it failed"));
    }
    let state = State { fire, again: !first, story: story.clone() };
    state.holds().map_err(|why| told(&why))?;
    Ok(state)
}

/// Works on all items at once, as many as there are cores; the results in their order.
fn spread<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((n, item)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    items.get(n).map(|item| (n, item))
                } {
                    let result = work(item);
                    done.lock().unwrap().insert(n, result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = |path: PathBuf| {
        let inside = if path.is_dir() { walk(&path) } else { Vec::new() };
        std::iter::once(path).chain(inside)
    };
    paths.into_iter().flat_map(below).collect()
}

/// The same state in a folder of its own: names, contents, times, attributes, and which names
/// are one file. The numbers of files in the records are those of the copies.
fn copy(from: &Fire) -> Fire {
    let to = from.again(Place::in_memory());
    let mut copies: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let mut records = Vec::new();
    for path in walk(&from.films()) {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let target = to.films().join(path.strip_prefix(from.films()).unwrap());
        if meta.is_dir() {
            std::fs::create_dir(&target).unwrap();
        } else if let Some((twin, _)) = copies.get(&meta.ino()) {
            std::fs::hard_link(twin, &target).unwrap();
        } else {
            std::fs::copy(&path, &target).unwrap();
            if let Some(note) = note(&path) {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&target, "user.note", &note, flags).unwrap();
            }
            let file = std::fs::File::options().write(true).open(&target).unwrap();
            file.set_modified(meta.modified().unwrap()).unwrap();
            copies.insert(meta.ino(), (target.clone(), file.metadata().unwrap().ino()));
            records.push(target);
        }
    }
    for path in records {
        let content = std::fs::read(&path).unwrap();
        let Ok(mut record) = serde_json::from_slice::<Value>(&content) else { continue };
        let numbered = |number: u64| match copies.get(&number) {
            Some((_, now)) => *now,
            // A file that is no more: none will ever have this number.
            None => 1,
        };
        each_number(&mut record, &mut |number| *number = numbered(number.as_u64().unwrap()).into());
        std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    }
    to
}

/// The attribute that the film was given.
fn note(path: &Path) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::getxattr(path, "user.note", &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// The numbers of files in a record.
fn each_number(record: &mut Value, act: &mut impl FnMut(&mut Value)) {
    let Some(fields) = record.as_object_mut() else { return };
    for (key, value) in fields {
        if key == "inode" && value.as_u64() != Some(0) {
            act(value);
        } else {
            each_number(value, act);
        }
    }
}

/// All that the program may read in a folder, without what is different each time: random names,
/// which process wrote (none of them lives), when, and the numbers of files as such. What lies
/// under `.reelmill/tmp` is tried out, never read again, and removed for its age alone.
fn print(fire: &Fire) -> String {
    let films = fire.films();
    let mut first_name: BTreeMap<u64, String> = BTreeMap::new();
    let mut writers: Vec<Value> = Vec::new();
    let (mut files, mut drafts, mut text) = (Vec::new(), BTreeSet::new(), String::new());
    for path in walk(&films) {
        let relative = path.strip_prefix(&films).unwrap().to_string_lossy().into_owned();
        if relative.starts_with(".reelmill/tmp/") {
            continue;
        }
        let name =
            relative.find("/tmp-").map_or(relative.clone(), |at| relative[..at + 5].to_owned());
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            writeln!(text, "{name}/").unwrap();
        } else {
            first_name.entry(meta.ino()).or_insert_with(|| name.clone());
            files.push((name, path, meta));
        }
    }
    for (name, path, meta) in files {
        if name.ends_with("/tmp-") {
            // A draft: removed by its name, whatever it holds and however many there are.
            drafts.insert(name);
            continue;
        }
        let twin = &first_name[&meta.ino()];
        let content = std::fs::read(&path).unwrap();
        let told = match serde_json::from_slice::<Value>(&content) {
            Ok(mut record) if record.is_object() => {
                each_number(&mut record, &mut |number| {
                    let name = number.as_u64().and_then(|number| first_name.get(&number));
                    *number = name.map_or("gone", String::as_str).into();
                });
                let by = record["by"].take();
                let writer = writers.iter().position(|known| *known == by);
                record["by"] = writer.unwrap_or(writers.len()).into();
                writers.extend(writer.is_none().then_some(by));
                (record["who"], record["at"]) = (Value::Null, Value::Null);
                record.to_string()
            }
            _ if content == OLD || content == NEW => {
                let time = meta.modified().unwrap();
                format!("{content:?} {:o} {:?} {time:?}", meta.mode(), note(&path))
            }
            _ => format!("{content:?}"),
        };
        writeln!(text, "{name} = {twin} {told}").unwrap();
    }
    drafts.iter().for_each(|name| writeln!(text, "{name}").unwrap());
    text
}
