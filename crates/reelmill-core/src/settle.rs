//! Putting an output in its source's place: what to do next, from what is seen.
//!
//! [`Settling`] asks for one file operation after another and is told how each
//! went. The same value drives the real file system, a simulated one and a model
//! checker. Its rules, each learnt from a loss:
//!
//! - An error is not an absence: an operation that failed may have been done, so
//!   its places are looked at again.
//! - Nothing is removed under a name that anybody else uses. It is first moved to
//!   a name of our own and looked at there.
//! - Nothing is published over something: a name that is taken stays as it is.
//! - Whatever was taken away by mistake (the user's newer file) is put back.
//!
//! Every operation is safe whatever the view has become meanwhile; the view only
//! decides which one comes next. An *attempt* is one process that may act, and
//! has two private names: its hold and its discard. Whoever goes on after a
//! crash is a new attempt and knows those of all earlier ones.

mod view;
mod words;

use view::View;
pub use words::{End, Kind, Next, Op, Place, Reply, Seen, Way};

/// Failures after which no more is tried to get the output into place.
const GIVE_UP: u8 = 2;

/// Failures after which nothing more is tried at all.
const DESPAIR: u8 = 6;

/// One attempt to put an output in its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Settling {
    way: Way,
    own: u8,
    view: View,
    /// Everything done so far will survive a power cut.
    synced: bool,
    /// The source was taken away by us, once.
    captured: bool,
    /// The published output was taken back.
    withdrawn: bool,
    failures: u8,
}

impl Settling {
    /// The attempt `own` (counted from 0) of `own + 1`. The first knows that its
    /// private names are free.
    #[must_use]
    pub fn new(way: Way, own: u8) -> Self {
        // What another attempt exchanged may be exchanged back by its own
        // process at any time: later attempts use means that cannot cross.
        let way = if own > 0 && way == Way::Exchange { Way::Capture } else { way };
        Self {
            way,
            own,
            view: View::new(own),
            synced: own == 0,
            captured: false,
            withdrawn: false,
            failures: 0,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.failures >= DESPAIR {
            return Next::End(End::Unresolved);
        }
        if let Some(place) = self.view.unknown(self.in_place()) {
            return Next::Do(Op::Look(place));
        }
        if let Some(twin) = self.view.private_twin() {
            return Next::Do(Op::Drop(twin));
        }
        match self.way {
            Way::Exchange | Way::Capture => self.same_name(),
            Way::NewName => self.new_name(),
            Way::Beside => self.beside(),
        }
    }

    /// Takes in how `op` went.
    pub fn told(&mut self, op: Op, reply: Reply) {
        match (op, reply) {
            (Op::Look(place), Reply::Saw(seen)) => return self.view.set(place, seen),
            (Op::Sync, Reply::Done) => self.synced = true,
            // A flush that failed may have lost what it should have written;
            // flushing again would only hide that.
            (Op::Sync, _) => self.failures = DESPAIR,
            (_, Reply::Failed | Reply::Saw(_)) => self.failures += 1,
            _ => {}
        }
        match op {
            Op::Move { from, to } => {
                self.captured |= from == Place::Source;
                self.withdrawn |= from == Place::Target;
                if from != Place::Part || matches!(to, Place::Hold(_)) {
                    self.synced = false;
                }
                self.view.forget(from);
                self.view.forget(to);
            }
            Op::Publish { from, to } => {
                self.synced = false;
                self.view.forget(from);
                self.view.forget(to);
            }
            Op::Exchange => {
                self.synced = false;
                self.captured = true;
                self.view.forget(Place::Part);
                self.view.forget(Place::Source);
            }
            Op::Drop(place) => self.view.forget(place),
            Op::Look(_) | Op::Sync => {}
        }
    }

    /// Whether what is seen needs an attempt although the file counts as done:
    /// somebody who was cut off took the source away and died. `kept` is the
    /// attempt whose hold is the trash. Call it when [`Self::next`] asks for no
    /// more looks.
    #[must_use]
    pub fn stranded(&self, kept: Option<u8>) -> bool {
        let held = kept.map(Place::Hold);
        let astray = |place: Place| {
            self.view
                .at(place)
                .is_some_and(|seen| !(held == Some(place) && seen.kind == Kind::Original))
        };
        self.view.privates().any(astray)
    }

    /// The hold in which the original lies.
    #[must_use]
    pub fn held(&self) -> Option<u8> {
        let holds = (0..=self.own).rev();
        holds.into_iter().find(|n| self.view.is(Place::Hold(*n), Kind::Original))
    }

    /// Private places that keep a file of the user which could not be put back.
    #[must_use]
    pub fn rescued(&self) -> Vec<Place> {
        self.view.privates().filter(|place| self.view.is(*place, Kind::Other)).collect()
    }

    fn in_place(&self) -> bool {
        matches!(self.way, Way::Exchange | Way::Capture)
    }

    fn forward(&self) -> bool {
        self.failures < GIVE_UP
    }

    fn same_name(&self) -> Next {
        let view = &self.view;
        match view.kind(Place::Source) {
            None => self.fill_source(),
            Some(Kind::Original) => {
                if self.forward() && !self.captured && view.is(Place::Part, Kind::Output) {
                    return Next::Do(match self.way {
                        Way::Exchange => Op::Exchange,
                        _ => Op::Move { from: Place::Source, to: Place::Hold(self.own) },
                    });
                }
                self.clean(End::Failed)
            }
            Some(Kind::Output) => {
                if view.is(Place::Part, Kind::Other) && self.failures < DESPAIR {
                    if self.way == Way::Exchange {
                        return Next::Do(Op::Exchange);
                    }
                    if view.at(Place::Hold(self.own)).is_none() && !self.captured {
                        let to = Place::Hold(self.own);
                        return Next::Do(Op::Move { from: Place::Source, to });
                    }
                }
                self.clean(End::Replaced)
            }
            Some(Kind::Other) => self.clean(End::Changed),
        }
    }

    /// Nothing lies under the source's name: what belongs there?
    fn fill_source(&self) -> Next {
        let view = &self.view;
        let to = Place::Source;
        let parts = || view.privates().chain([Place::Part]);
        if let Some(from) = view.find(parts(), Kind::Other) {
            return Next::Do(Op::Publish { from, to });
        }
        let output = view.find([Place::Part].into_iter().chain(view.privates()), Kind::Output);
        if let Some(original) = view.find(parts(), Kind::Original) {
            let from = output.filter(|_| self.forward()).unwrap_or(original);
            return Next::Do(Op::Publish { from, to });
        }
        // Ours was in place and has been taken away by an attempt that came late.
        if let Some(from) = view.find(view.privates(), Kind::Output)
            && !matches!(from, Place::Discard(_))
        {
            return Next::Do(Op::Publish { from, to });
        }
        self.clean(End::Gone)
    }

    fn new_name(&self) -> Next {
        let view = &self.view;
        let held = view.find(view.privates(), Kind::Original);
        let source = view.kind(Place::Source);
        if let Some(put_back) = self.put_back_strangers() {
            return Next::Do(put_back);
        }
        match view.kind(Place::Target) {
            None => {
                let wanted = source == Some(Kind::Original) || (source.is_none() && held.is_some());
                let part = view.find([Place::Part], Kind::Output);
                if let Some(from) = part.filter(|_| wanted && self.forward() && !self.withdrawn) {
                    return Next::Do(Op::Publish { from, to: Place::Target });
                }
                self.restore(
                    held,
                    match source {
                        Some(Kind::Other | Kind::Output) => End::Changed,
                        None if held.is_none() => End::Gone,
                        _ => End::Failed,
                    },
                )
            }
            Some(Kind::Output) => self.published(source, held),
            Some(_) => self.restore(held, End::Taken),
        }
    }

    /// The output is there under its new name: the source may go.
    fn published(&self, source: Option<Kind>, held: Option<Place>) -> Next {
        if !self.synced {
            return Next::Do(Op::Sync);
        }
        match source {
            _ if held.is_some() => self.clean(End::Replaced),
            Some(Kind::Original) if !self.captured && self.forward() => {
                Next::Do(Op::Move { from: Place::Source, to: Place::Hold(self.own) })
            }
            None => self.clean(End::GonePublished),
            Some(_) => {
                let to = Place::Discard(self.own);
                match self.view.at(to) {
                    None => Next::Do(Op::Move { from: Place::Target, to }),
                    Some(_) => self.clean(End::Published),
                }
            }
        }
    }

    /// Files of the user that were taken from a name which is free again.
    fn put_back_strangers(&self) -> Option<Op> {
        let view = &self.view;
        let holds = (0..=self.own).map(Place::Hold);
        let discards = (0..=self.own).map(Place::Discard);
        if view.at(Place::Source).is_none()
            && let Some(from) = view.find(holds, Kind::Other)
        {
            return Some(Op::Publish { from, to: Place::Source });
        }
        if view.at(Place::Target).is_none()
            && let Some(from) = view.find(discards, Kind::Other)
        {
            return Some(Op::Publish { from, to: Place::Target });
        }
        None
    }

    /// Puts the original back where it was, if it was taken away.
    fn restore(&self, held: Option<Place>, end: End) -> Next {
        match held {
            Some(from) if self.view.at(Place::Source).is_none() => {
                Next::Do(Op::Publish { from, to: Place::Source })
            }
            _ => self.clean(end),
        }
    }

    fn beside(&self) -> Next {
        let view = &self.view;
        match (view.kind(Place::Target), view.kind(Place::Source)) {
            (None, Some(Kind::Original)) if self.forward() => {
                match view.find([Place::Part], Kind::Output) {
                    Some(from) => Next::Do(Op::Publish { from, to: Place::Target }),
                    None => self.clean(End::Failed),
                }
            }
            (None, Some(Kind::Original)) => self.clean(End::Failed),
            (None, Some(_)) => self.clean(End::Changed),
            (None, None) => self.clean(End::Gone),
            (Some(Kind::Output), _) => self.clean(End::Published),
            (Some(_), _) => self.clean(End::Taken),
        }
    }

    /// What is left over goes, and then it is over.
    fn clean(&self, end: End) -> Next {
        let view = &self.view;
        if !self.synced {
            return Next::Do(Op::Sync);
        }
        if let Some(private) = view.find(view.privates(), Kind::Output) {
            return Next::Do(Op::Drop(private));
        }
        if let Some(kind) = view.kind(Place::Part) {
            let (hold, discard) = (Place::Hold(self.own), Place::Discard(self.own));
            let wanted = if kind == Kind::Output { [discard, discard] } else { [hold, discard] };
            if let Some(to) = wanted.into_iter().find(|place| view.at(*place).is_none()) {
                return Next::Do(Op::Move { from: Place::Part, to });
            }
        }
        Next::End(end)
    }
}
