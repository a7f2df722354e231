//! A process at a job: carries out what [`Member`] asks for, one step at a time.

use super::leftovers;
use super::library::Library;
use super::record::{Deal, Record};
use crate::{clock, mutant};
use reelmill_core::error::Failure;
use reelmill_core::settle::{End, Op, Place, Reply, Seen, Way};
use reelmill_core::slots::{Ask, Leave, Mark, Member, Slot, Told};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Steps that one visit may take: a replacement needs some thirty.
const MOST_STEPS: usize = 2000;

/// A process at one job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Desk {
    id: String,
    file: String,
    member: Member,
    /// What this process would commit, or what the last commit said.
    deal: Option<Deal>,
    /// What this process means to do with a job that is done.
    next: Option<Deal>,
    /// How the last replacement ended.
    end: Option<End>,
    /// Why there is no output, and by which settings that is so for good.
    reason: Option<(String, Option<String>)>,
    /// Errors met, told once it ends.
    trouble: Option<String>,
}

/// Why a visit stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stop {
    /// The job is ours: convert it.
    Work,
    /// Somebody else holds it.
    Held(Box<Held>),
    /// It is over.
    Left(Leave),
}

/// Who holds a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// Machine and process.
    pub(crate) by: String,
    /// It is certain that this process is no more.
    pub(crate) dead: bool,
    /// Its silence alone does not show that it is no more.
    pub(crate) only_death_counts: bool,
    /// The slot.
    pub(crate) slot: usize,
}

impl Desk {
    /// Sits down at job `id`, about the file `relative`.
    pub(crate) fn new(id: &str, relative: &str, way: Way) -> Self {
        Self::called((clock::fresh().as_u128() as u64) | 1, id, relative, way)
    }

    /// The same, as the member `me`.
    pub(crate) fn called(me: u64, id: &str, relative: &str, way: Way) -> Self {
        let member = Member::new(me, way);
        let (id, file) = (id.to_owned(), relative.to_owned());
        Self { id, file, member, deal: None, next: None, end: None, reason: None, trouble: None }
    }

    /// Takes a finished job up again with `mark`.
    pub(crate) fn reopening(mut self, mark: Mark, deal: Option<Deal>) -> Self {
        self.member = self.member.reopening(mark);
        self.next = deal;
        self
    }

    /// The machine inside.
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// The slot that is ours.
    pub(crate) fn slot(&self) -> usize {
        self.member.slots().len().saturating_sub(1)
    }

    /// What went wrong on the way.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The conversion is finished: `deal` is to be done.
    pub(crate) fn made(&mut self, deal: Deal) {
        self.deal = Some(deal);
        self.member.told(Told::Made);
    }

    /// The conversion ended without an output; for good, if done by these settings, or for now.
    pub(crate) fn ended(&mut self, reason: &str, for_good: Option<&str>) {
        self.reason = Some((reason.to_owned(), for_good.map(str::to_owned)));
        self.member.told(if for_good.is_some() { Told::Refused } else { Told::GaveUp });
    }

    /// Whoever holds the job is silent.
    pub(crate) fn silent(&mut self) {
        self.member.told(Told::Silent);
    }

    /// A slot that is there is not seen: the directory view is old.
    #[cfg(test)]
    pub(super) fn not_seen(&mut self) {
        self.member.told(Told::Slot(None));
    }

    /// Goes on until there is something to wait for.
    ///
    /// # Errors
    /// When slots cannot be read.
    pub(crate) fn go_on(&mut self, library: &Library) -> Result<Stop, Failure> {
        for _ in 0..MOST_STEPS {
            if let Some(stop) = self.step(library)? {
                return Ok(stop);
            }
        }
        Ok(Stop::Left(Leave::Unresolved))
    }

    /// Takes one step; yields why it could not.
    ///
    /// # Errors
    /// When a slot cannot be read.
    pub(crate) fn step(&mut self, library: &Library) -> Result<Option<Stop>, Failure> {
        let told = match self.member.ask() {
            Ask::Read(n) => self.read(library, n)?,
            Ask::Put(n, slot) => self.put(library, n, slot),
            Ask::Watch(n) => return self.held(library, n).map(Some),
            Ask::Work => return Ok(Some(Stop::Work)),
            Ask::Settle(op) => Told::Op(self.perform(library, op)),
            Ask::Leave(leave) => {
                self.tidy(library, leave);
                return Ok(Some(Stop::Left(leave)));
            }
        };
        self.member.told(told);
        Ok(None)
    }

    fn slot_path(&self, library: &Library, n: usize) -> PathBuf {
        library.slots(&self.id).join(format!("{n}.json"))
    }

    fn record(&self, library: &Library, n: usize) -> io::Result<Record> {
        Ok(Record::parse(&library.fs.read(&self.slot_path(library, n))?))
    }

    fn read(&mut self, library: &Library, n: usize) -> Result<Told, Failure> {
        match self.record(library, n) {
            Ok(record) => {
                // What was committed last has to be settled, whoever did.
                if matches!(record.slot.mark, Mark::Commit { .. } | Mark::Done { .. }) {
                    self.end = record.end;
                    self.deal = record.deal.or(self.deal.take());
                }
                Ok(Told::Slot(Some(record.slot)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Told::Slot(None)),
            Err(error) => {
                let path = self.slot_path(library, n);
                Err(Failure::io(format!("read {}", path.display()), &error))
            }
        }
    }

    fn held(&self, library: &Library, n: usize) -> Result<Stop, Failure> {
        let record = self.record(library, n).map_err(|e| {
            Failure::io(format!("read {}", self.slot_path(library, n).display()), &e)
        })?;
        let by = format!("{} (process {})", record.who.host, record.who.pid);
        let exchanging = record.slot.mark == (Mark::Commit { way: Way::Exchange });
        let dead = if exchanging && library.can.local {
            // Its lock ends with its process, wherever that runs.
            let mark = library.open_mark(&self.id);
            let free = library.fs.hold(&mark).unwrap_or(false);
            if free {
                library.fs.release(&mark);
            }
            free
        } else {
            !exchanging && record.who.dead()
        };
        Ok(Stop::Held(Box::new(Held { by, dead, only_death_counts: exchanging, slot: n })))
    }

    fn put(&mut self, library: &Library, n: usize, slot: Slot) -> Told {
        let mut record = Record::new(slot, &self.file);
        let (reason, how) = self.reason.clone().unzip();
        (record.reason, record.how) = (reason, how.flatten());
        match slot.mark {
            Mark::Commit { .. } => {
                let last = self.member.slots().last().map(|slot| slot.mark);
                if matches!(last, Some(Mark::Done { .. })) && self.next.is_some() {
                    self.deal = self.next.take();
                }
                record.deal.clone_from(&self.deal);
            }
            Mark::Done { .. } => {
                self.end = self.member.outcome().map(|outcome| outcome.end);
                record.end = self.end;
                record.deal = self.deal.clone().filter(|_| self.end.is_some());
            }
            Mark::Lease | Mark::Abandon => {}
        }
        match self.write(library, n, &record) {
            Ok(()) => Told::Won,
            Err(error) => match self.record(library, n).map(|record| record.slot) {
                // A lost answer: it was written all the same.
                Ok(there) if there == slot => Told::Won,
                Ok(_) if error.kind() == ErrorKind::AlreadyExists => Told::Lost,
                _ => {
                    self.note("write a slot", &error);
                    Told::Failed
                }
            },
        }
    }

    fn write(&mut self, library: &Library, n: usize, record: &Record) -> io::Result<()> {
        let fs = &library.fs;
        let folder = library.slots(&self.id);
        if let Some(above) = folder.parent() {
            fs.make_dir(above)?;
        }
        fs.make_dir(&folder)?;
        if let Mark::Commit { way } = record.slot.mark {
            let open = library.open_mark(&self.id);
            match fs.create(&open, b"") {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if way == Way::Exchange {
                fs.release(&open);
                if !fs.hold(&open)? {
                    return Err(io::Error::other("another process exchanges these files"));
                }
            }
        }
        let content = serde_json::to_vec(record)?;
        fs.create(&self.slot_path(library, n), &content)
    }

    fn note(&mut self, what: &str, error: &io::Error) {
        tracing::warn!(what, %error, job = self.id, "while replacing");
        self.trouble.get_or_insert_with(|| format!("cannot {what}: {error}"));
    }

    fn path(&self, library: &Library, place: Place) -> Option<PathBuf> {
        let deal = self.deal.as_ref()?;
        Some(match place {
            Place::Source => library.absolute(&deal.source),
            Place::Target => library.absolute(deal.target.as_ref()?),
            Place::Part => library.absolute(&deal.part),
            Place::Hold(n) => library.private(&self.id, n, "hold"),
            Place::Discard(n) => library.private(&self.id, n, "discard"),
        })
    }

    fn perform(&mut self, library: &Library, op: Op) -> Reply {
        let (what, done) = match self.attempt(library, op) {
            Ok(reply) => return reply,
            Err(failed) => failed,
        };
        match done.kind() {
            ErrorKind::AlreadyExists => Reply::Exists,
            ErrorKind::NotFound => Reply::Missing,
            _ => {
                self.note(what, &done);
                Reply::Failed
            }
        }
    }

    /// One operation; an error comes with what could not be done.
    fn attempt(&self, library: &Library, op: Op) -> Result<Reply, (&'static str, io::Error)> {
        let fs = &library.fs;
        let path = |place: Place| {
            let missing = || io::Error::other("the record of this job is incomplete");
            self.path(library, place).ok_or_else(missing)
        };
        let (what, done) = match op {
            Op::Look(place) => {
                let seen = path(place).and_then(|path| self.look(library, &path));
                return seen.map(Reply::Saw).map_err(|error| ("look at a file", error));
            }
            Op::Move { from, to } => {
                if mutant::leaves_out("replace-capture") && from == Place::Source {
                    let naive = path(Place::Part).and_then(|part| fs.rename(&part, &path(from)?));
                    return naive.map(|()| Reply::Done).map_err(|error| ("rename over", error));
                }
                ("move a file", path(from).and_then(|from| fs.rename(&from, &path(to)?)))
            }
            Op::Publish { from, to } => {
                ("put a file in place", path(from).and_then(|from| fs.publish(&from, &path(to)?)))
            }
            Op::Exchange => {
                let part = path(Place::Part);
                if mutant::leaves_out("replace-capture") {
                    let naive = part.and_then(|part| fs.rename(&part, &path(Place::Source)?));
                    return naive.map(|()| Reply::Done).map_err(|error| ("rename over", error));
                }
                let both = part.and_then(|part| fs.exchange(&part, &path(Place::Source)?));
                ("exchange two files", both)
            }
            Op::Drop(place) => ("remove a file", path(place).and_then(|path| fs.remove(&path))),
            Op::Sync => ("flush the folders", self.sync(library)),
        };
        done.map(|()| Reply::Done).map_err(|error| (what, error))
    }

    fn look(&self, library: &Library, path: &Path) -> io::Result<Option<Seen>> {
        let Some(deal) = &self.deal else {
            return Err(io::Error::other("the record of this job is incomplete"));
        };
        let Some(facts) = library.fs.facts(path)? else { return Ok(None) };
        // A file with one name has no twin, whatever number a mount made up for it.
        let node = if facts.links > 1 { facts.node } else { node_of(path) };
        Ok(Some(Seen { kind: facts.kind(&deal.original, &deal.output), node }))
    }

    fn sync(&self, library: &Library) -> io::Result<()> {
        let mut folders = vec![library.home("hold")];
        for place in [Place::Source, Place::Target, Place::Part] {
            if let Some(folder) = self.path(library, place).as_deref().and_then(Path::parent) {
                folders.push(folder.to_owned());
            }
        }
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| library.fs.sync_dir(folder))
    }

    /// What was kept goes to the trash, under a name that people can read.
    fn tidy(&mut self, library: &Library, leave: Leave) {
        let kept = match self.member.slots().last().map(|slot| slot.mark) {
            Some(Mark::Done { kept }) if matches!(leave, Leave::Settled(_) | Leave::Finished) => {
                kept
            }
            Some(Mark::Done { .. }) if leave == Leave::GivenBack => {
                leftovers::clear_slots(library, &self.id);
                return self.let_go(library);
            }
            _ => return self.let_go(library),
        };
        if let (Some(n), Some(deal)) = (kept, &self.deal) {
            let source = library.absolute(&deal.source);
            let hold = library.private(&self.id, n, "hold");
            let trash = library.trash(&self.id, n, &source);
            if let Err(error) = library.fs.rename(&hold, &trash)
                && error.kind() != ErrorKind::NotFound
            {
                self.note("move the original to the trash", &error);
                return self.let_go(library);
            }
            let _ = library.fs.sync_dir(&library.home("trash"));
        }
        self.forget_restored(library);
        let _ = library.fs.remove(&library.open_mark(&self.id));
        leftovers::clear_slots(library, &self.id);
        self.let_go(library);
    }

    fn let_go(&self, library: &Library) {
        library.fs.release(&library.open_mark(&self.id));
    }

    /// The original is back in its place: its second name in the trash goes.
    fn forget_restored(&self, library: &Library) {
        let Some(deal) = self.deal.as_ref().filter(|_| self.end == Some(End::Replaced)) else {
            return;
        };
        let Some(trash) = &deal.undoes else { return };
        let back = library.absolute(deal.target.as_ref().unwrap_or(&deal.source));
        let there = matches!(library.fs.facts(&back), Ok(Some(facts)) if deal.output.alike(&facts));
        if there {
            let _ = library.fs.remove(&library.absolute(trash));
        }
    }
}

fn node_of(path: &Path) -> u64 {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
