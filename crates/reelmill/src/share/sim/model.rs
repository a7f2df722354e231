//! The code that runs, in every order: stateright drives [`Desk`] over a
//! simulated disk. Several workers, any of them paused, judged silent or killed
//! at any point; directory views that are old; a user who replaces or deletes
//! the file at any moment.

use super::super::desk::{Desk, Stop};
use super::super::fs::Fingerprint;
use super::super::library::Library;
use super::super::record::{Deal, Record};
use super::{Disk, Faults, Owner, SimFs, figures, lock, long};
use crate::clock::{self, Simulated};
use reelmill_core::settle::{Op, Place, Way};
use reelmill_core::slots::{Ask, Leave, Mark};
use reelmill_core::time::Timestamp;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::path::Path;
use std::sync::{Arc, Mutex};

const ID: &str = "0123456789abcdef0123";
const SOURCE: &str = "/lib/film.avi";
const TARGET: &str = "/lib/film.mkv";

/// What is left out, to see that the properties notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// A lock that is held to be stale is removed and made anew.
    UnlinkStaleLock,
    /// "Is the name free?", then a rename that replaces.
    CheckThenRename,
}

#[derive(Debug, Clone)]
struct Farm {
    way: Way,
    workers: usize,
    crashes: u8,
    user_acts: u8,
    mutant: Mutant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    desk: Desk,
    starts: u64,
    /// The mutant found the name free.
    free: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    disk: Disk,
    workers: Vec<Worker>,
    crashes: u8,
    user_acts: u8,
    deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Step(usize),
    /// The directory view is old: a slot that is there is not seen.
    NotSeen(usize),
    Crash(usize),
    UserReplaces,
    UserDeletes,
}

impl Farm {
    fn desk(&self, worker: usize, starts: u64) -> Desk {
        Desk::called(worker as u64 * 100 + starts, ID, "film.avi", self.way)
    }

    fn place(&self) -> &'static str {
        if self.way == Way::NewName { TARGET } else { SOURCE }
    }
}

fn original(disk: &Disk) -> Fingerprint {
    // The first file of all, wherever it is now.
    let mut alone = disk.clone();
    alone.names.insert("first".into(), 0);
    alone.facts(Path::new("first")).unwrap().fingerprint()
}

impl World {
    fn ask(&self, worker: usize) -> Ask {
        self.workers[worker].desk.member().ask()
    }

    fn at_rest(&self) -> bool {
        (0..self.workers.len()).all(|worker| matches!(self.ask(worker), Ask::Leave(_)))
    }

    /// The slots as they are, whoever sees them.
    fn slots(&self) -> Vec<Mark> {
        let path = |n: usize| format!("/lib/.reelmill/slots/01/{ID}/{n}.json");
        let slot = |n: usize| self.disk.content(Path::new(&path(n)));
        (0..).map_while(slot).map(|content| Record::parse(content).slot.mark).collect()
    }

    fn step(&mut self, worker: usize, farm: &Farm) {
        if farm.mutant == Mutant::CheckThenRename
            && let Ask::Settle(Op::Publish { to, .. }) = self.ask(worker)
            && !self.workers[worker].free
        {
            let name = if to == Place::Source { SOURCE } else { TARGET };
            if self.disk.at(Path::new(name)).is_none() {
                self.workers[worker].free = true;
                return;
            }
        }
        let clobber = std::mem::take(&mut self.workers[worker].free);
        let disk = Arc::new(Mutex::new(std::mem::take(&mut self.disk)));
        let mut fs = SimFs::new(&disk, &Arc::new(Mutex::new(Faults::none(1))), worker);
        fs.clobber = clobber;
        fs.unlink_slots = farm.mutant == Mutant::UnlinkStaleLock;
        let library = fs.library();
        let desk = &mut self.workers[worker].desk;
        match desk.step(&library).unwrap() {
            Some(Stop::Work) => make(desk, &library, &disk, farm),
            Some(Stop::Held(_)) => desk.silent(),
            Some(Stop::Left(_)) | None => {}
        }
        self.disk = std::mem::take(&mut lock(&disk));
    }
}

/// Converts: a part appears.
fn make(desk: &mut Desk, library: &Library, disk: &Mutex<Disk>, farm: &Farm) {
    let part = format!("/lib/.film.reelmill-{ID}-{}.part", desk.slot());
    let original = original(&lock(disk));
    lock(disk).put(Path::new(&part), Owner::Us, b"output");
    let output = library.fs.facts(Path::new(&part)).unwrap().unwrap().fingerprint();
    desk.made(Deal {
        source: library.relative(Path::new(SOURCE)),
        target: (farm.way == Way::NewName).then(|| library.relative(Path::new(TARGET))),
        part: library.relative(Path::new(&part)),
        original,
        output,
        undoes: None,
    });
}

impl Model for Farm {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut disk = Disk { links: true, ..Disk::default() };
        disk.put(Path::new(SOURCE), Owner::User, b"original");
        let worker = |n| Worker { desk: self.desk(n, 0), starts: 0, free: false };
        vec![World {
            disk,
            workers: (0..self.workers).map(worker).collect(),
            crashes: self.crashes,
            user_acts: self.user_acts,
            deleted: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for n in 0..world.workers.len() {
            match world.ask(n) {
                Ask::Leave(_) => continue,
                Ask::Read(slot) if slot < world.slots().len() => actions.push(Action::NotSeen(n)),
                _ => {}
            }
            actions.push(Action::Step(n));
            if world.crashes > 0 {
                actions.push(Action::Crash(n));
            }
        }
        if world.user_acts > 0 && !world.at_rest() {
            actions.extend([Action::UserReplaces, Action::UserDeletes]);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        clock::simulate(Some(Simulated { now: Timestamp(1), steady: 0, dice: 1 }));
        let mut next = world.clone();
        let source = Path::new(SOURCE);
        match action {
            Action::Step(n) => next.step(n, self),
            Action::NotSeen(n) => next.workers[n].desk.not_seen(),
            Action::Crash(n) => {
                let starts = next.workers[n].starts + 1;
                next.workers[n] = Worker { desk: self.desk(n, starts), starts, free: false };
                next.crashes -= 1;
            }
            Action::UserReplaces => {
                next.disk.disown(source);
                next.disk.put(source, Owner::User, b"newer");
                next.user_acts -= 1;
            }
            Action::UserDeletes => {
                next.disk.disown(source);
                next.deleted = true;
                next.user_acts -= 1;
            }
        }
        clock::simulate(None);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing of the user's is lost", |_, world: &World| {
                world.disk.lost.is_none()
            }),
            Property::always("at most one commit", |_, world: &World| {
                world.disk.commits.values().all(|commits| *commits <= 1)
            }),
            Property::always("at rest a file is there", |farm: &Farm, world: &World| {
                let there = |name: &str| world.disk.at(Path::new(name)).is_some();
                !world.at_rest() || world.deleted || there(farm.place()) || there(SOURCE)
            }),
            Property::always("nobody is left in doubt", |_, world: &World| {
                let doubt = Ask::Leave(Leave::Unresolved);
                (0..world.workers.len()).all(|worker| world.ask(worker) != doubt)
            }),
            Property::sometimes("the output gets its place", |farm: &Farm, world: &World| {
                let there = world.disk.content(Path::new(farm.place()));
                world.at_rest() && there == Some(b"output")
            }),
        ]
    }
}

fn check(farm: &Farm) -> usize {
    let checker = farm.clone().checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    figures(&format!("{farm:?}: {} states", checker.unique_state_count()));
    checker.unique_state_count()
}

const CAPTURE: Farm =
    Farm { way: Way::Capture, workers: 2, crashes: 0, user_acts: 0, mutant: Mutant::None };

#[test]
fn workers_who_share_a_folder_lose_nothing_in_any_order() {
    assert!(check(&CAPTURE) > 1000);
    check(&Farm { workers: 1, crashes: 1, user_acts: 1, ..CAPTURE });
    check(&Farm { way: Way::NewName, workers: 1, crashes: 1, user_acts: 1, ..CAPTURE });
    if long() {
        for way in [Way::Capture, Way::NewName] {
            check(&Farm { way, user_acts: 1, ..CAPTURE });
            check(&Farm { way, crashes: 1, user_acts: 1, ..CAPTURE });
            check(&Farm { way, workers: 3, ..CAPTURE });
        }
    }
}

fn violated(farm: &Farm, property: &'static str) {
    let enough = HasDiscoveries::AnyFailures;
    let checker = farm.clone().checker().threads(2).finish_when(enough).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{farm:?} should violate: {property}");
}

#[test]
fn mutant_that_unlinks_a_stale_lock_is_caught_in_the_code_that_runs() {
    violated(&Farm { mutant: Mutant::UnlinkStaleLock, ..CAPTURE }, "at most one commit");
}

#[test]
fn mutant_that_checks_and_then_renames_is_caught_in_the_code_that_runs() {
    let farm = Farm { mutant: Mutant::CheckThenRename, workers: 1, user_acts: 1, ..CAPTURE };
    violated(&farm, "nothing of the user's is lost");
}
