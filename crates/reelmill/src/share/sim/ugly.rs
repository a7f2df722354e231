//! Many machines on an ugly disk: stale views, lost replies, errors, no hard
//! links, upper and lower case the same; processes that pause, are judged silent
//! and die; a user who replaces, edits and deletes files meanwhile.

use super::super::desk::{Desk, Stop};
use super::super::fs::Facts;
use super::super::library::Library;
use super::super::record::{Deal, Record};
use super::{Disk, Faults, Owner, SimFs, figures, lock, long};
use reelmill_core::settle::Way;
use reelmill_core::slots::{Leave, Mark};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Machines at work.
const MACHINES: usize = 4;

/// Files of a folder.
const FILES: usize = 3;

/// Steps in which things go wrong; after them all is calm.
const STORMY: usize = 600;

/// Steps within which a calm folder must be done.
const CALM: usize = 20_000;

/// What is left out, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    UnlinkStaleLock,
    Clobber,
}

/// A machine at a job.
struct Job {
    desk: Desk,
    id: String,
    /// The file, and what it was; none when it only finishes what others began.
    file: Option<(usize, Facts)>,
}

/// What a machine is doing.
struct Machine {
    library: Library,
    job: Option<Job>,
    /// Jobs that it has left, and need no more of it in this calm.
    left: BTreeMap<String, Leave>,
    /// Steps for which it does nothing.
    asleep: usize,
}

/// What came of one seed.
#[derive(Debug, Default)]
struct Outcome {
    lost: usize,
    double: usize,
    conversions: usize,
    commits: usize,
    unsettled: Vec<String>,
    ghosts: Vec<String>,
}

struct Folder {
    disk: Arc<Mutex<Disk>>,
    faults: Arc<Mutex<Faults>>,
    machines: Vec<Machine>,
    tokens: u64,
    conversions: usize,
    stormy: bool,
}

fn ended(leave: &Leave) -> bool {
    matches!(leave, Leave::Finished | Leave::Settled(_))
}

fn name(file: usize) -> PathBuf {
    PathBuf::from(format!("/lib/Film{file}.avi"))
}

fn target(file: usize) -> PathBuf {
    // One file changes its name, the others keep theirs.
    if file == 0 { "/lib/Film0.mkv".into() } else { name(file) }
}

impl Folder {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut dice = Faults::none(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (links, folds_case) = (dice.roll(160), dice.roll(64));
        dice.refused = if dice.roll(128) { 6 } else { 0 };
        dice.reply_lost = if dice.roll(200) { 10 } else { 0 };
        dice.stale = if dice.roll(200) { 90 } else { 0 };
        let mut disk = Disk { links, folds_case, ..Disk::default() };
        for file in 0..FILES {
            disk.put(&name(file), Owner::User, format!("film {file}").as_bytes());
        }
        let (disk, faults) = (Arc::new(Mutex::new(disk)), Arc::new(Mutex::new(dice)));
        let machines = (0..MACHINES)
            .map(|process| {
                let mut fs = SimFs::new(&disk, &faults, process);
                fs.clobber = mutant == Mutant::Clobber;
                fs.unlink_slots = mutant == Mutant::UnlinkStaleLock;
                Machine { library: fs.library(), job: None, left: BTreeMap::new(), asleep: 0 }
            })
            .collect();
        Self { disk, faults, machines, tokens: 0, conversions: 0, stormy: true }
    }

    fn roll(&self, of_256: u8) -> bool {
        lock(&self.faults).roll(of_256)
    }

    fn pick(&self, of: usize) -> usize {
        let mut faults = lock(&self.faults);
        (crate::sim::dice::next(&mut faults.dice) >> 16) as usize % of
    }

    fn run(&mut self) -> Outcome {
        for _ in 0..STORMY {
            self.anything();
        }
        self.stormy = false;
        {
            let mut faults = lock(&self.faults);
            *faults = Faults::none(faults.dice);
        }
        for machine in &mut self.machines {
            machine.asleep = 0;
            machine.left.clear();
        }
        for _ in 0..CALM {
            let machine = self.pick(MACHINES);
            self.step(machine);
            if self.machines.iter().all(|machine| machine.job.is_none()) && self.over() {
                return self.judge();
            }
        }
        let mut outcome = self.judge();
        outcome.unsettled.push("it never comes to an end".into());
        outcome
    }

    /// Whether every machine has seen every file to its end.
    fn over(&self) -> bool {
        let begun = self.machines[0].library.unsettled().unwrap_or_default();
        let ids: Vec<String> =
            (0..FILES).filter_map(|file| self.id(0, file)).chain(begun).collect();
        self.machines
            .iter()
            .all(|machine| ids.iter().all(|id| machine.left.get(id).is_some_and(ended)))
    }

    fn id(&self, machine: usize, file: usize) -> Option<String> {
        let library = &self.machines[machine].library;
        let facts = library.fs.facts(&name(file)).ok()??;
        Some(library.id(&name(file), &facts))
    }

    fn anything(&mut self) {
        let machine = self.pick(MACHINES);
        match self.pick(100) {
            0 => self.machines[machine].job = None,
            1..=3 => self.machines[machine].asleep = self.pick(80),
            4 => self.user(),
            _ => self.step(machine),
        }
    }

    fn user(&mut self) {
        let file = self.pick(FILES);
        let content = format!("the user's {}", self.tokens);
        self.tokens += 1;
        let act = self.pick(4);
        let mut disk = lock(&self.disk);
        match act {
            0 => disk.disown(&name(file)),
            1 => disk.edit(&name(file), content.as_bytes()),
            _ => {
                disk.disown(&name(file));
                disk.put(&name(file), Owner::User, content.as_bytes());
            }
        }
    }

    fn step(&mut self, at: usize) {
        if self.machines[at].asleep > 0 {
            self.machines[at].asleep -= 1;
            return;
        }
        let Some(mut job) = self.machines[at].job.take() else {
            return self.sit_down(at);
        };
        let library = self.machines[at].library.clone();
        match job.desk.step(&library) {
            // What cannot be read is tried again by whoever comes next.
            Err(_) => return,
            Ok(None) => {}
            Ok(Some(Stop::Work)) => match job.file.clone() {
                Some((file, facts)) => {
                    if !self.work(&library, &mut job, file, &facts) {
                        return;
                    }
                }
                None => job.desk.ended("given back", None),
            },
            Ok(Some(Stop::Held(_))) => {
                // Silence is judged at any time, rightly or not.
                if self.roll(if self.stormy { 40 } else { 128 }) {
                    job.desk.silent();
                } else if self.roll(64) {
                    return;
                }
            }
            Ok(Some(Stop::Left(leave))) => {
                let mut leave = leave;
                if leave == Leave::GivenBack && job.file.is_none() {
                    // As the recovery does: nothing was committed, so nothing is open.
                    let _ = library.fs.remove(&library.open_mark(&job.id));
                    leave = Leave::Finished;
                }
                self.machines[at].left.insert(job.id, leave);
                return;
            }
        }
        self.machines[at].job = Some(job);
    }

    fn sit_down(&mut self, at: usize) {
        let begun = self.machines[at].library.unsettled().unwrap_or_default();
        let which = self.pick(FILES + begun.len());
        let job = match begun.get(which.wrapping_sub(FILES)) {
            Some(id) => Some((id.clone(), None)),
            None => self.fresh(at, which),
        };
        let Some((id, file)) = job else { return };
        let left = &mut self.machines[at].left;
        if !self.stormy && left.get(&id).is_some_and(ended) {
            return;
        }
        if file.as_ref().is_some_and(|(_, facts)| facts.ends.starts_with("output")) {
            left.entry(id).or_insert(Leave::Finished);
            return;
        }
        self.tokens += 1;
        let way = if which == 0 { Way::NewName } else { Way::Capture };
        let desk = Desk::called(self.tokens, &id, "a film", way);
        self.machines[at].job = Some(Job { desk, id, file });
    }

    fn fresh(&self, at: usize, file: usize) -> Option<(String, Option<(usize, Facts)>)> {
        let library = &self.machines[at].library;
        let facts = library.fs.facts(&name(file)).ok()??;
        Some((library.id(&name(file), &facts), Some((file, facts))))
    }

    /// Converts; false when the part could not be written, and the job is left.
    fn work(&mut self, library: &Library, job: &mut Job, file: usize, facts: &Facts) -> bool {
        self.conversions += 1;
        let (id, slot) = (&job.id, job.desk.slot());
        let part = PathBuf::from(format!("/lib/.Film.reelmill-{id}-{slot}.part"));
        let content = format!("output {} of {id}", self.tokens);
        lock(&self.disk).put(&part, Owner::Us, content.as_bytes());
        let Some(output) = lock(&self.disk).facts(&part) else { return false };
        job.desk.made(Deal {
            source: library.relative(&name(file)),
            target: (target(file) != name(file)).then(|| library.relative(&target(file))),
            part: library.relative(&part),
            original: facts.fingerprint(),
            output: output.fingerprint(),
            undoes: None,
        });
        true
    }

    fn judge(&self) -> Outcome {
        let disk = lock(&self.disk);
        let mut outcome = Outcome { conversions: self.conversions, ..Outcome::default() };
        outcome.lost = usize::from(disk.lost.is_some());
        let mut jobs: BTreeMap<PathBuf, Vec<(usize, Mark)>> = BTreeMap::new();
        for (path, file) in &disk.names {
            let hidden = path.to_string_lossy();
            if hidden.contains("/slots/") && hidden.ends_with(".json") {
                let number = path.file_stem().and_then(|n| n.to_str()?.parse().ok()).unwrap();
                let mark = Record::parse(&disk.files[*file].content).slot.mark;
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                jobs.entry(folder).or_default().push((number, mark));
            } else if hidden.ends_with(".part") || hidden.contains("/hold/") {
                outcome.ghosts.push(hidden.into_owned());
            }
        }
        outcome.commits = disk.commits.values().map(|commits| usize::from(*commits)).sum();
        outcome.double = disk.commits.values().filter(|commits| **commits > 1).count();
        for (folder, mut slots) in jobs {
            slots.sort_by_key(|(number, _)| *number);
            if matches!(slots.last(), Some((_, Mark::Commit { .. }))) {
                outcome.unsettled.push(folder.to_string_lossy().into_owned());
            }
        }
        outcome
    }
}

fn run(seed: u64, mutant: Mutant) -> Outcome {
    Folder::new(seed, mutant).run()
}

#[test]
fn an_ugly_disk_loses_nothing_and_commits_nothing_twice() {
    let (mut conversions, mut commits) = (0, 0);
    for seed in 0..if long() { 1000 } else { 60 } {
        let outcome = run(seed, Mutant::None);
        assert_eq!((outcome.lost, outcome.double), (0, 0), "seed {seed}: {outcome:?}");
        assert!(outcome.unsettled.is_empty(), "seed {seed}: {outcome:?}");
        conversions += outcome.conversions;
        commits += outcome.commits;
    }
    figures(&format!("{conversions} conversions, {commits} commits"));
    assert!(commits > 60, "things happen: {commits}");
}

#[test]
fn mutants_are_caught_on_an_ugly_disk() {
    let caught = |mutant, bad: fn(&Outcome) -> bool| (0..200).any(|seed| bad(&run(seed, mutant)));
    assert!(caught(Mutant::UnlinkStaleLock, |outcome| outcome.double > 0 || outcome.lost > 0));
    assert!(caught(Mutant::Clobber, |outcome| outcome.lost > 0));
}
