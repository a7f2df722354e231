//! Write-once slots: who works on a file of a shared folder, and who may commit.
//!
//! A file's slots are numbered from 0 and each is written at most once, by
//! whoever creates it first; the highest one rules. Taking over from a worker
//! that fell silent and committing one's own result both mean writing the next
//! slot, so that only one of the two happens: a worker that was paused for too
//! long finds the slot taken. No slot is ever changed or removed, no time is
//! compared, no lock is broken.
//!
//! [`Member`] is one worker at one file. It asks for one thing after another and
//! is told how it went, like [`Settling`], which it contains.

use crate::settle::{End, Next, Op, Place, Reply, Settling, Way};
use serde::{Deserialize, Serialize};

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "slot", rename_all = "snake_case")]
pub enum Mark {
    /// A worker converts the file.
    Lease,
    /// An output is finished and being put in its place.
    Commit {
        /// How.
        way: Way,
    },
    /// Given back; anybody may take it.
    Abandon,
    /// Nothing more is to be done.
    Done {
        /// The commit, counted from 0, whose hold has the original.
        kept: Option<u8>,
    },
}

/// A slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The process that wrote it, by a number of its own.
    pub by: u64,
    /// What it says.
    #[serde(flatten)]
    pub mark: Mark,
}

/// How often a slot is written again after errors, before it is given up.
const TRIES: u8 = 3;

/// How many commits a file may have: each is a crash in the middle of a
/// replacement, so more than a few means that something is very wrong.
pub const MOST_COMMITS: u8 = 16;

/// What a member wants to be done or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Read this slot.
    Read(usize),
    /// Write this slot, unless it is there.
    Put(usize, Slot),
    /// Tell when the worker that wrote this slot has fallen silent.
    Watch(usize),
    /// Convert the file and tell when it is done.
    Work,
    /// A file operation of the replacement.
    Settle(Op),
    /// Nothing: this member is finished with the file.
    Leave(Leave),
}

/// How a member left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leave {
    /// It was finished before.
    Finished,
    /// Settled by this member, and known to be.
    Settled(End),
    /// Somebody else took it over.
    TakenOver,
    /// The conversion ended without an output; the slot says so.
    GivenBack,
    /// Errors: it is not known how it stands.
    Unresolved,
}

/// What a member is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// The slot that was read.
    Slot(Option<Slot>),
    /// The slot is written, by us.
    Won,
    /// The slot is there already.
    Lost,
    /// An error; the slot may or may not have been written.
    Failed,
    /// The worker is silent.
    Silent,
    /// The conversion is finished and its output lies beside the place.
    Made,
    /// The conversion ended for good without an output.
    Refused,
    /// The conversion is given up; somebody else may try.
    GaveUp,
    /// How a file operation went.
    Op(Reply),
}

/// One worker at one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    me: u64,
    way: Way,
    slots: Vec<Slot>,
    phase: Phase,
    /// What to do with a file that counts as done, once.
    reopen: Option<Mark>,
    outcome: Option<Outcome>,
}

/// What came of a replacement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Private places that keep a file of the user which could not be put back.
    pub rescued: Vec<Place>,
    /// The commit whose hold has the original.
    pub kept: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Reading,
    Watching,
    Putting {
        mark: Mark,
        errors: u8,
    },
    /// An error at writing: is it there?
    Checking {
        mark: Mark,
        errors: u8,
    },
    Working,
    Settling(Settling),
    /// Looking whether a late attempt left something astray.
    Sweeping(Settling),
    /// What the last slot is to say is decided.
    Left(Leave),
}

impl Member {
    /// A member that calls itself `me` (never used before) and, when it commits,
    /// does so in `way`.
    #[must_use]
    pub fn new(me: u64, way: Way) -> Self {
        let (slots, phase) = (Vec::new(), Phase::Reading);
        Self { me, way, slots, phase, reopen: None, outcome: None }
    }

    /// The same, but a file that counts as done is taken up again with `mark`.
    #[must_use]
    pub fn reopening(mut self, mark: Mark) -> Self {
        self.reopen = Some(mark);
        self
    }

    /// What came of the replacement that this member has brought to an end.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The slots read and written so far.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The number of this member's commit.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        commits(&self.slots)
    }

    /// The replacement under way.
    #[must_use]
    pub fn settling(&self) -> Option<&Settling> {
        match &self.phase {
            Phase::Settling(settling) | Phase::Sweeping(settling) => Some(settling),
            _ => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn ask(&self) -> Ask {
        let next = self.slots.len();
        match &self.phase {
            Phase::Reading | Phase::Checking { .. } => Ask::Read(next),
            Phase::Watching => Ask::Watch(next - 1),
            Phase::Putting { mark, .. } => Ask::Put(next, Slot { by: self.me, mark: *mark }),
            Phase::Working => Ask::Work,
            Phase::Settling(settling) | Phase::Sweeping(settling) => match settling.next() {
                Next::Do(op) => Ask::Settle(op),
                Next::End(_) => Ask::Leave(Leave::Unresolved),
            },
            Phase::Left(leave) => Ask::Leave(*leave),
        }
    }

    /// Takes in what came of the last question.
    pub fn told(&mut self, told: Told) {
        let phase = std::mem::replace(&mut self.phase, Phase::Reading);
        self.phase = match (phase, told) {
            (Phase::Reading, Told::Slot(Some(slot))) => self.have(slot),
            (Phase::Reading, Told::Slot(None)) => self.standing(),
            (Phase::Watching, Told::Silent) => match self.last() {
                Some(Mark::Commit { way }) => self.commit(way),
                _ => putting(Mark::Lease),
            },
            (Phase::Putting { mark, .. }, Told::Won) => {
                self.slots.push(Slot { by: self.me, mark });
                self.won(mark)
            }
            (Phase::Putting { mark, .. }, Told::Lost) => self.lost(mark),
            (Phase::Putting { mark, errors }, Told::Failed) => {
                Phase::Checking { mark, errors: errors + 1 }
            }
            (Phase::Checking { mark, .. }, Told::Slot(Some(slot))) => {
                if slot == (Slot { by: self.me, mark }) {
                    self.slots.push(slot);
                    self.won(mark)
                } else {
                    self.lost(mark)
                }
            }
            (Phase::Checking { mark, errors }, Told::Slot(None)) if errors < TRIES => {
                Phase::Putting { mark, errors }
            }
            (Phase::Working, Told::Made) => self.commit(self.way),
            (Phase::Working, Told::Refused) => putting(Mark::Done { kept: None }),
            (Phase::Working, Told::GaveUp) => putting(Mark::Abandon),
            (Phase::Settling(mut settling), Told::Op(reply)) => {
                if let Next::Do(op) = settling.next() {
                    settling.told(op, reply);
                }
                self.settled(settling)
            }
            (Phase::Sweeping(mut settling), Told::Op(reply)) => {
                if let Next::Do(op @ Op::Look(_)) = settling.next() {
                    settling.told(op, reply);
                }
                self.swept(settling)
            }
            _ => Phase::Left(Leave::Unresolved),
        };
    }

    fn last(&self) -> Option<Mark> {
        self.slots.last().map(|slot| slot.mark)
    }

    fn have(&mut self, slot: Slot) -> Phase {
        self.slots.push(slot);
        Phase::Reading
    }

    /// All slots are read.
    fn standing(&mut self) -> Phase {
        match self.last() {
            Some(Mark::Done { .. }) if self.reopen.is_some() => {
                putting(self.reopen.take().unwrap_or(Mark::Lease))
            }
            None | Some(Mark::Abandon) => putting(Mark::Lease),
            Some(Mark::Lease | Mark::Commit { .. }) => Phase::Watching,
            Some(Mark::Done { .. }) => match self.way_of_commits() {
                Some(way) => self.swept(Settling::new(way, commits(&self.slots))),
                None => Phase::Left(Leave::Finished),
            },
        }
    }

    fn way_of_commits(&self) -> Option<Way> {
        self.slots.iter().rev().find_map(|slot| match slot.mark {
            Mark::Commit { way } => Some(way),
            _ => None,
        })
    }

    fn swept(&self, settling: Settling) -> Phase {
        if let Next::Do(Op::Look(_)) = settling.next() {
            return Phase::Sweeping(settling);
        }
        let kept = match self.last() {
            Some(Mark::Done { kept }) => kept,
            _ => None,
        };
        match self.way_of_commits().filter(|_| settling.stranded(kept)) {
            Some(way) => self.commit(way),
            None => Phase::Left(Leave::Finished),
        }
    }

    fn commit(&self, way: Way) -> Phase {
        if commits(&self.slots) >= MOST_COMMITS {
            return Phase::Left(Leave::Unresolved);
        }
        putting(Mark::Commit { way })
    }

    fn won(&mut self, mark: Mark) -> Phase {
        match mark {
            Mark::Lease => Phase::Working,
            Mark::Commit { way } => {
                self.settled(Settling::new(way, commits(&self.slots).saturating_sub(1)))
            }
            Mark::Abandon => Phase::Left(Leave::GivenBack),
            Mark::Done { .. } => match &self.outcome {
                Some(outcome) => Phase::Left(Leave::Settled(outcome.end)),
                None => Phase::Left(Leave::GivenBack),
            },
        }
    }

    fn settled(&mut self, settling: Settling) -> Phase {
        match settling.next() {
            Next::Do(_) => Phase::Settling(settling),
            Next::End(End::Unresolved) => Phase::Left(Leave::Unresolved),
            Next::End(end) => {
                let kept = settling.held();
                self.outcome = Some(Outcome { end, rescued: settling.rescued(), kept });
                putting(Mark::Done { kept })
            }
        }
    }

    /// Somebody else wrote the slot.
    fn lost(&self, mark: Mark) -> Phase {
        match (mark, self.last()) {
            (Mark::Lease, _) => Phase::Reading,
            // It was not our output but another's that we wanted to see to: by now it
            // may count as done, with something astray.
            (Mark::Commit { .. }, Some(Mark::Commit { .. } | Mark::Done { .. })) => Phase::Reading,
            _ => Phase::Left(Leave::TakenOver),
        }
    }
}

/// How many commits there are among `slots`.
#[must_use]
pub fn commits(slots: &[Slot]) -> u8 {
    let count = slots.iter().filter(|slot| matches!(slot.mark, Mark::Commit { .. })).count();
    u8::try_from(count).unwrap_or(u8::MAX)
}

fn putting(mark: Mark) -> Phase {
    Phase::Putting { mark, errors: 0 }
}
