//! A process at a job: carries out what [`Member`] asks for.

use super::fs::Fs;
use super::library::Library;
use super::record::{Deal, Record};
use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::settle::{Op, Place, Reply, Seen, Way};
use reelmill_core::slots::{Ask, Leave, Mark, Member, Slot, Told};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Steps that one visit may take: a replacement needs some thirty.
const MOST_STEPS: usize = 2000;

/// A process at one job.
pub(crate) struct Desk<'a> {
    library: &'a Library,
    id: String,
    file: String,
    member: Member,
    /// What this process would commit, or what the last commit said.
    deal: Option<Deal>,
    reason: Option<String>,
    /// Errors met, told once it ends.
    trouble: Option<String>,
    /// Held while files may be exchanged: ends with this process.
    lock: Option<File>,
}

/// Why a visit stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stop {
    /// The job is ours: convert it.
    Work,
    /// Somebody else holds it, by the last of these slots.
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
    /// The slot.
    pub(crate) slot: usize,
}

impl<'a> Desk<'a> {
    /// Sits down at job `id`, about the file `relative`.
    pub(crate) fn new(library: &'a Library, id: &str, relative: &str, way: Way) -> Self {
        let token = (clock::fresh().as_u128() as u64) | 1;
        let member = Member::new(token, way);
        let (id, file) = (id.to_owned(), relative.to_owned());
        Self { library, id, file, member, deal: None, reason: None, trouble: None, lock: None }
    }

    /// Takes a finished job up again with `mark`.
    pub(crate) fn reopening(mut self, mark: Mark, deal: Option<Deal>) -> Self {
        self.member = self.member.reopening(mark);
        self.deal = deal;
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

    /// The conversion ended without an output; for good, or for now.
    pub(crate) fn ended(&mut self, reason: &str, for_good: bool) {
        self.reason = Some(reason.to_owned());
        self.member.told(if for_good { Told::Refused } else { Told::GaveUp });
    }

    /// Whoever holds the job is silent.
    pub(crate) fn silent(&mut self) {
        self.member.told(Told::Silent);
    }

    /// Goes on until there is something to wait for.
    ///
    /// # Errors
    /// When slots cannot be read.
    pub(crate) fn go_on(&mut self) -> Result<Stop, Failure> {
        for _ in 0..MOST_STEPS {
            let told = match self.member.ask() {
                Ask::Read(n) => self.read(n)?,
                Ask::Put(n, slot) => self.put(n, slot),
                Ask::Watch(n) => return self.held(n),
                Ask::Work => return Ok(Stop::Work),
                Ask::Settle(op) => Told::Op(self.perform(op)),
                Ask::Leave(leave) => {
                    self.tidy(leave);
                    return Ok(Stop::Left(leave));
                }
            };
            self.member.told(told);
        }
        Ok(Stop::Left(Leave::Unresolved))
    }

    fn slot_path(&self, n: usize) -> PathBuf {
        self.library.slots(&self.id).join(format!("{n}.json"))
    }

    fn read(&mut self, n: usize) -> Result<Told, Failure> {
        match self.library.fs.read(&self.slot_path(n)) {
            Ok(content) => {
                let record = Record::parse(&content);
                if record.deal.is_some() && !matches!(self.member.ask(), Ask::Put(..)) {
                    // The last commit's deal is what has to be settled.
                    if self.deal.is_none() || matches!(record.slot.mark, Mark::Commit { .. }) {
                        self.deal = record.deal.or(self.deal.take());
                    }
                }
                Ok(Told::Slot(Some(record.slot)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Told::Slot(None)),
            Err(error) => Err(Failure::io(format!("read {}", self.slot_path(n).display()), &error)),
        }
    }

    fn held(&self, n: usize) -> Result<Stop, Failure> {
        let content = self
            .library
            .fs
            .read(&self.slot_path(n))
            .map_err(|e| Failure::io(format!("read {}", self.slot_path(n).display()), &e))?;
        let record = Record::parse(&content);
        let by = format!("{} (process {})", record.who.host, record.who.pid);
        let exchanging = record.slot.mark == (Mark::Commit { way: Way::Exchange });
        let dead = if exchanging {
            // Its lock ends with its process, wherever that runs.
            File::open(self.library.open_mark(&self.id)).is_ok_and(|file| file.try_lock().is_ok())
        } else {
            record.who.dead()
        };
        Ok(Stop::Held(Box::new(Held { by, dead, slot: n })))
    }

    fn put(&mut self, n: usize, slot: Slot) -> Told {
        let mut record = Record::new(slot, &self.file);
        record.reason.clone_from(&self.reason);
        if matches!(slot.mark, Mark::Commit { .. } | Mark::Done { .. }) {
            record.deal.clone_from(&self.deal);
        }
        match self.write(n, &record) {
            Ok(()) => Told::Won,
            Err(error) => {
                let content = self.library.fs.read(&self.slot_path(n));
                match content.map(|content| Record::parse(&content).slot) {
                    // A lost answer: it was written all the same.
                    Ok(there) if there == slot => Told::Won,
                    Ok(_) if error.kind() == ErrorKind::AlreadyExists => Told::Lost,
                    _ => {
                        self.note("write a slot", &error);
                        Told::Failed
                    }
                }
            }
        }
    }

    fn write(&mut self, n: usize, record: &Record) -> io::Result<()> {
        let fs = &self.library.fs;
        let folder = self.library.slots(&self.id);
        if let Some(above) = folder.parent() {
            fs.make_dir(above)?;
        }
        fs.make_dir(&folder)?;
        if let Mark::Commit { way } = record.slot.mark {
            let open = self.library.open_mark(&self.id);
            match fs.create(&open, b"") {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if way == Way::Exchange {
                let file = File::open(&open)?;
                file.try_lock().map_err(io::Error::other)?;
                self.lock = Some(file);
            }
        }
        let content = serde_json::to_vec(record)?;
        fs.create(&self.slot_path(n), &content)
    }

    fn note(&mut self, what: &str, error: &io::Error) {
        tracing::warn!(what, %error, job = self.id, "while replacing");
        self.trouble.get_or_insert_with(|| format!("cannot {what}: {error}"));
    }

    fn path(&self, place: Place) -> Option<PathBuf> {
        let deal = self.deal.as_ref()?;
        Some(match place {
            Place::Source => self.library.absolute(&deal.source),
            Place::Target => self.library.absolute(deal.target.as_ref()?),
            Place::Part => self.library.absolute(&deal.part),
            Place::Hold(n) => self.library.private(&self.id, n, "hold"),
            Place::Discard(n) => self.library.private(&self.id, n, "discard"),
        })
    }

    fn perform(&mut self, op: Op) -> Reply {
        let fs = &self.library.fs;
        let paths = |one, other| Some((self.path(one)?, self.path(other)?));
        let missing = || io::Error::other("the record of this job is incomplete");
        let (what, done) = match op {
            Op::Look(place) => match self.look(place) {
                Ok(seen) => return Reply::Saw(seen),
                Err(error) => ("look at a file", Err(error)),
            },
            Op::Move { from, to } => match paths(from, to) {
                Some((from, to)) => ("move a file", fs.rename(&from, &to)),
                None => ("move a file", Err(missing())),
            },
            Op::Publish { from, to } => match paths(from, to) {
                Some((from, to)) => ("put a file in place", fs.publish(&from, &to)),
                None => ("put a file in place", Err(missing())),
            },
            Op::Exchange => match paths(Place::Part, Place::Source) {
                Some((part, source)) => ("exchange two files", fs.exchange(&part, &source)),
                None => ("exchange two files", Err(missing())),
            },
            Op::Drop(place) => match self.path(place) {
                Some(path) => ("remove a file", fs.remove(&path)),
                None => ("remove a file", Err(missing())),
            },
            Op::Sync => ("flush the folders", self.sync()),
        };
        match done {
            Ok(()) => Reply::Done,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Reply::Exists,
            Err(error) if error.kind() == ErrorKind::NotFound => Reply::Missing,
            Err(error) => {
                self.note(what, &error);
                Reply::Failed
            }
        }
    }

    fn look(&self, place: Place) -> io::Result<Option<Seen>> {
        let (Some(path), Some(deal)) = (self.path(place), &self.deal) else {
            return Err(io::Error::other("the record of this job is incomplete"));
        };
        let facts = self.library.fs.facts(&path)?;
        Ok(facts
            .map(|facts| Seen { kind: facts.kind(&deal.original, &deal.output), node: facts.node }))
    }

    fn sync(&self) -> io::Result<()> {
        let mut folders = vec![self.library.home("hold")];
        for place in [Place::Source, Place::Target, Place::Part] {
            if let Some(folder) = self.path(place).as_deref().and_then(Path::parent) {
                folders.push(folder.to_owned());
            }
        }
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| self.library.fs.sync_dir(folder))
    }

    /// What was kept goes to the trash, under a name that people can read.
    fn tidy(&mut self, leave: Leave) {
        let kept = match self.member.slots().last().map(|slot| slot.mark) {
            Some(Mark::Done { kept }) if matches!(leave, Leave::Settled(_) | Leave::Finished) => {
                kept
            }
            _ => return,
        };
        let fs = &self.library.fs;
        if let (Some(n), Some(deal)) = (kept, &self.deal) {
            let source = self.library.absolute(&deal.source);
            let (hold, trash) = (
                self.library.private(&self.id, n, "hold"),
                self.library.trash(&self.id, n, &source),
            );
            if let Err(error) = fs.rename(&hold, &trash)
                && error.kind() != ErrorKind::NotFound
            {
                self.note("move the original to the trash", &error);
                return;
            }
            let _ = fs.sync_dir(&self.library.home("trash"));
        }
        self.lock = None;
        let _ = fs.remove(&self.library.open_mark(&self.id));
    }
}

/// Finishes what crashed processes left; yields the jobs that are still open.
///
/// # Errors
/// When the records cannot be read.
pub(crate) fn recover(library: &Library) -> Result<Vec<String>, Failure> {
    let ids = library
        .unsettled()
        .map_err(|e| Failure::io(format!("read {}", library.home("hold").display()), &e))?;
    let mut open = Vec::new();
    for id in ids {
        let Ok(records) = library.records(&id) else { continue };
        let Some(last) = records.last() else {
            let _ = library.fs.remove(&library.open_mark(&id));
            continue;
        };
        let mut desk = Desk::new(library, &id, &last.file, Way::Capture);
        // A lease holder that died before its commit leaves the mark alone.
        let mut stop = desk.go_on()?;
        if let Stop::Held(held) = &stop
            && held.dead
            && records.iter().any(|r| matches!(r.slot.mark, Mark::Commit { .. }))
        {
            desk.silent();
            stop = match desk.go_on()? {
                Stop::Work => {
                    desk.ended("given back", false);
                    desk.go_on()?
                }
                other => other,
            };
        }
        if !matches!(stop, Stop::Left(Leave::Finished | Leave::Settled(_) | Leave::GivenBack)) {
            open.push(id);
        }
    }
    Ok(open)
}
