//! The slot protocol and the replacement, model-checked: every interleaving of
//! several workers, any of them paused, judged silent or killed at any point,
//! with a user who replaces or deletes the file at any moment. The code checked
//! is the code that runs; only files and slots are a model.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets the unexpected has failed; the counts are for the reader of its log"
)]

mod numbers;

use numbers::{IDS, me, worker_of};
use reelmill_core::settle::{Kind, Op, Place, Reply, Seen, Way};
use reelmill_core::slots::{Ask, Leave, Mark, Member, Slot, Told};
use stateright::{Checker, Model, Property};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Content {
    Original,
    Output,
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Source,
    Target,
    Part(u64),
    Hold(u8),
    Discard(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    member: Member,
    /// A name found free, to be renamed to (by the mutant).
    pending: Option<(Name, Name)>,
    starts: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    files: Vec<Content>,
    names: Vec<(Name, u8)>,
    slots: Vec<Slot>,
    workers: Vec<Worker>,
    crashes: u8,
    user_acts: u8,
    deleted: bool,
    /// Files that the user took from their place: those may go.
    disowned: Vec<u8>,
    lost: bool,
    chains: u8,
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

impl World {
    fn at(&self, name: Name) -> Option<u8> {
        self.names.iter().find(|(n, _)| *n == name).map(|(_, file)| *file)
    }

    fn unlink(&mut self, name: Name, by_user: bool) {
        let Some(file) = self.at(name) else { return };
        self.names.retain(|(n, _)| *n != name);
        if by_user && !self.disowned.contains(&file) {
            self.disowned.push(file);
        }
        let alive = self.names.iter().any(|(_, f)| *f == file);
        let owned =
            self.files[usize::from(file)] != Content::Output && !self.disowned.contains(&file);
        self.lost |= !alive && owned;
    }

    fn link(&mut self, name: Name, file: u8) {
        self.names.push((name, file));
        self.names.sort_unstable();
    }

    fn rename(&mut self, from: Name, to: Name) -> Reply {
        let Some(file) = self.at(from) else { return Reply::Missing };
        self.unlink(to, false);
        self.names.retain(|(n, _)| *n != from);
        self.link(to, file);
        Reply::Done
    }

    fn part(&self) -> Name {
        // The part of whoever committed after working.
        let first = self.slots.iter().find(|slot| matches!(slot.mark, Mark::Commit { .. }));
        Name::Part(first.map_or(IDS, |slot| me(worker_of(slot.by), 0)))
    }

    fn name(&self, place: Place) -> Name {
        match place {
            Place::Source => Name::Source,
            Place::Target => Name::Target,
            Place::Part => self.part(),
            Place::Hold(n) => Name::Hold(n),
            Place::Discard(n) => Name::Discard(n),
        }
    }

    fn op(&mut self, worker: usize, op: Op, mutant: Mutant) -> Option<Reply> {
        Some(match op {
            Op::Look(place) => Reply::Saw(self.at(self.name(place)).map(|file| Seen {
                kind: match self.files[usize::from(file)] {
                    Content::Original => Kind::Original,
                    Content::Output => Kind::Output,
                    Content::User => Kind::Other,
                },
                node: u64::from(file),
            })),
            Op::Move { from, to } => self.rename(self.name(from), self.name(to)),
            Op::Publish { from, to } => {
                let (from, to) = (self.name(from), self.name(to));
                if mutant == Mutant::CheckThenRename {
                    if self.workers[worker].pending.take().is_none() {
                        if self.at(to).is_some() {
                            return Some(Reply::Exists);
                        }
                        self.workers[worker].pending = Some((from, to));
                        return None;
                    }
                    return Some(self.rename(from, to));
                }
                match (self.at(from), self.at(to)) {
                    (_, Some(_)) => Reply::Exists,
                    (None, None) => Reply::Missing,
                    (Some(file), None) => {
                        self.link(to, file);
                        Reply::Done
                    }
                }
            }
            Op::Exchange => {
                let part = self.part();
                match (self.at(part), self.at(Name::Source)) {
                    (Some(one), Some(other)) => {
                        self.names.retain(|(n, _)| *n != part && *n != Name::Source);
                        self.link(part, other);
                        self.link(Name::Source, one);
                        Reply::Done
                    }
                    _ => Reply::Missing,
                }
            }
            Op::Drop(place) => {
                let name = self.name(place);
                self.unlink(name, false);
                Reply::Done
            }
            Op::Sync => Reply::Done,
        })
    }

    fn put(&mut self, n: usize, slot: Slot, mutant: Mutant) -> Told {
        if mutant == Mutant::UnlinkStaleLock {
            self.slots.truncate(n);
        } else if n < self.slots.len() {
            return Told::Lost;
        }
        let after = self.slots.get(n.wrapping_sub(1)).map(|slot| slot.mark);
        if matches!(slot.mark, Mark::Commit { .. }) && after == Some(Mark::Lease) {
            self.chains += 1;
        }
        self.slots.push(slot);
        Told::Won
    }

    fn step(&mut self, worker: usize, mutant: Mutant) {
        let told = match self.workers[worker].member.ask() {
            Ask::Read(n) => Told::Slot(self.slots.get(n).copied()),
            Ask::Put(n, slot) => self.put(n, slot, mutant),
            Ask::Watch(_) => Told::Silent,
            Ask::Work => {
                self.files.push(Content::Output);
                let file = u8::try_from(self.files.len() - 1).unwrap();
                let part = Name::Part(me(worker, 0));
                self.unlink(part, false);
                self.link(part, file);
                Told::Made
            }
            Ask::Settle(op) => match self.op(worker, op, mutant) {
                Some(reply) => Told::Op(reply),
                None => return,
            },
            Ask::Leave(_) => return,
        };
        self.workers[worker].member.told(told);
    }

    /// Whether a living worker is at the exchange that this slot announces.
    fn exchanging(&self, slot: usize) -> bool {
        let Some(slot) = self.slots.get(slot) else { return false };
        let (worker, starts) = (worker_of(slot.by), (slot.by - IDS) % 100);
        let lives = &self.workers[worker];
        slot.mark == (Mark::Commit { way: Way::Exchange })
            && u64::from(lives.starts) == starts
            && !matches!(lives.member.ask(), Ask::Leave(_))
    }

    fn at_rest(&self) -> bool {
        self.workers.iter().all(|worker| matches!(worker.member.ask(), Ask::Leave(_)))
    }
}

impl Model for Farm {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let worker =
            |n| Worker { member: Member::new(me(n, 0), self.way), pending: None, starts: 0 };
        vec![World {
            files: vec![Content::Original],
            names: vec![(Name::Source, 0)],
            slots: Vec::new(),
            workers: (0..self.workers).map(worker).collect(),
            crashes: self.crashes,
            user_acts: self.user_acts,
            deleted: false,
            disowned: Vec::new(),
            lost: false,
            chains: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (n, worker) in world.workers.iter().enumerate() {
            match worker.member.ask() {
                Ask::Leave(_) => continue,
                Ask::Read(slot) if slot < world.slots.len() => actions.push(Action::NotSeen(n)),
                // An exchange is done under a lock that ends with its process.
                Ask::Watch(slot) if world.exchanging(slot) => continue,
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
        let mut next = world.clone();
        match action {
            Action::Step(n) => next.step(n, self.mutant),
            Action::NotSeen(n) => next.workers[n].member.told(Told::Slot(None)),
            Action::Crash(n) => {
                let starts = next.workers[n].starts + 1;
                let member = Member::new(me(n, starts), self.way);
                next.workers[n] = Worker { member, pending: None, starts };
                next.crashes -= 1;
            }
            Action::UserReplaces => {
                next.unlink(Name::Source, true);
                next.files.push(Content::User);
                next.link(Name::Source, u8::try_from(next.files.len() - 1).unwrap());
                next.user_acts -= 1;
            }
            Action::UserDeletes => {
                next.unlink(Name::Source, true);
                next.deleted = true;
                next.user_acts -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing of the user's is lost", |_, world: &World| !world.lost),
            Property::always("at most one commit", |_, world: &World| world.chains <= 1),
            Property::always("at rest a file is there", |farm: &Farm, world: &World| {
                let place = if farm.way == Way::NewName { Name::Target } else { Name::Source };
                !world.at_rest()
                    || world.deleted
                    || world.at(place).is_some()
                    || world.at(Name::Source).is_some()
            }),
            Property::always("nobody is left in doubt", |_, world: &World| {
                world.workers.iter().all(|w| w.member.ask() != Ask::Leave(Leave::Unresolved))
            }),
            Property::sometimes("the output gets its place", |farm: &Farm, world: &World| {
                let place = if farm.way == Way::NewName { Name::Target } else { Name::Source };
                world.at_rest()
                    && world
                        .at(place)
                        .is_some_and(|f| world.files[usize::from(f)] == Content::Output)
            }),
        ]
    }
}

fn check(farm: &Farm) -> usize {
    let checker = farm.clone().checker().threads(2).spawn_dfs().join();
    checker.assert_properties();
    println!("{farm:?}: {} states", checker.unique_state_count());
    checker.unique_state_count()
}

fn long() -> bool {
    option_env!("REELMILL_TEST_LONG") == Some("1")
}

const CAPTURE: Farm =
    Farm { way: Way::Capture, workers: 2, crashes: 0, user_acts: 1, mutant: Mutant::None };

#[test]
fn two_workers_and_a_user_lose_nothing_in_any_order() {
    assert!(check(&CAPTURE) > 1000);
    check(&Farm { way: Way::NewName, ..CAPTURE });
    check(&Farm { workers: 1, crashes: 1, ..CAPTURE });
    check(&Farm { way: Way::NewName, workers: 1, crashes: 1, ..CAPTURE });
    check(&Farm { way: Way::Exchange, workers: 1, crashes: 1, user_acts: 2, ..CAPTURE });
    check(&Farm { way: Way::Exchange, user_acts: 1, ..CAPTURE });
    if long() {
        check(&Farm { crashes: 1, user_acts: 1, ..CAPTURE });
        check(&Farm { way: Way::NewName, crashes: 1, user_acts: 1, ..CAPTURE });
        check(&Farm { way: Way::Exchange, crashes: 1, user_acts: 1, ..CAPTURE });
        check(&Farm { workers: 3, crashes: 0, user_acts: 1, ..CAPTURE });
    }
    // Too many states for every run.
    if option_env!("REELMILL_MODEL_ALL") == Some("1") {
        check(&Farm { workers: 3, crashes: 1, user_acts: 1, ..CAPTURE });
    }
}

/// Found by the model with two workers, a crash and a user: whoever was late with
/// taking over left, though a move of the crashed worker's had come after the end.
#[test]
fn who_is_late_with_taking_over_looks_for_what_is_astray() {
    let by = 1;
    let commit = Mark::Commit { way: Way::Capture };
    let mut late = Member::new(7, Way::Capture);
    for mark in [Mark::Lease, commit] {
        late.told(Told::Slot(Some(Slot { by, mark })));
    }
    late.told(Told::Slot(None));
    assert_eq!(late.ask(), Ask::Watch(1));
    late.told(Told::Silent);
    assert_eq!(late.ask(), Ask::Put(2, Slot { by: 7, mark: commit }));
    late.told(Told::Lost);
    assert_eq!(late.ask(), Ask::Read(2));
    late.told(Told::Slot(Some(Slot { by, mark: Mark::Done { kept: Some(0) } })));
    late.told(Told::Slot(None));
    assert!(matches!(late.ask(), Ask::Settle(Op::Look(_))), "{:?}", late.ask());
}

fn violated(farm: &Farm, property: &'static str) {
    let checker = farm.clone().checker().threads(2).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{farm:?} should violate: {property}");
}

#[test]
fn mutant_that_unlinks_a_stale_lock_is_caught() {
    violated(&Farm { mutant: Mutant::UnlinkStaleLock, ..CAPTURE }, "at most one commit");
}

#[test]
fn mutant_that_checks_and_then_renames_is_caught() {
    let farm = Farm { mutant: Mutant::CheckThenRename, ..CAPTURE };
    violated(&farm, "nothing of the user's is lost");
}
