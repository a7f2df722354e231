//! What an attempt knows about the places it deals with.

use super::{Kind, Place, Seen};

/// What was last seen where; `None` where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct View {
    source: Option<Option<Seen>>,
    target: Option<Option<Seen>>,
    part: Option<Option<Seen>>,
    /// Hold and discard of each attempt.
    privates: Vec<[Option<Option<Seen>>; 2]>,
}

impl View {
    /// Nothing is known, but that the private names of attempt `own` are free.
    pub(super) fn new(own: u8) -> Self {
        let mut privates = vec![[None, None]; usize::from(own)];
        privates.push([Some(None), Some(None)]);
        Self { source: None, target: None, part: None, privates }
    }

    /// A place that must be looked at: private ones first, those that others use
    /// last, so that what is known of them is fresh.
    pub(super) fn unknown(&self, in_place: bool) -> Option<Place> {
        let public = [(Place::Part, false), (Place::Target, in_place), (Place::Source, false)];
        let public = public.into_iter().filter(|(_, unused)| !unused).map(|(place, _)| place);
        self.privates().chain(public).find(|place| self.get(*place).is_none())
    }

    fn get(&self, place: Place) -> Option<Option<Seen>> {
        let private = |n: u8, which: usize| self.privates.get(usize::from(n))?[which];
        match place {
            Place::Source => self.source,
            Place::Target => self.target,
            Place::Part => self.part,
            Place::Hold(n) => private(n, 0),
            Place::Discard(n) => private(n, 1),
        }
    }

    fn slot(&mut self, place: Place) -> Option<&mut Option<Option<Seen>>> {
        match place {
            Place::Source => Some(&mut self.source),
            Place::Target => Some(&mut self.target),
            Place::Part => Some(&mut self.part),
            Place::Hold(n) => self.privates.get_mut(usize::from(n)).map(|pair| &mut pair[0]),
            Place::Discard(n) => self.privates.get_mut(usize::from(n)).map(|pair| &mut pair[1]),
        }
    }

    /// Remembers what a look saw.
    pub(super) fn set(&mut self, place: Place, seen: Option<Seen>) {
        if let Some(slot) = self.slot(place) {
            *slot = Some(seen);
        }
    }

    /// Forgets what was seen: it may have changed.
    pub(super) fn forget(&mut self, place: Place) {
        if let Some(slot) = self.slot(place) {
            *slot = None;
        }
    }

    /// The file at `place`, as far as known.
    pub(super) fn at(&self, place: Place) -> Option<Seen> {
        self.get(place).flatten()
    }

    /// Whose file is at `place`.
    pub(super) fn kind(&self, place: Place) -> Option<Kind> {
        self.at(place).map(|seen| seen.kind)
    }

    /// Whether a file of this kind is at `place`.
    pub(super) fn is(&self, place: Place, kind: Kind) -> bool {
        self.kind(place) == Some(kind)
    }

    /// All private places, the newest attempt's first.
    pub(super) fn privates(&self) -> impl Iterator<Item = Place> + use<> {
        let attempts = u8::try_from(self.privates.len()).unwrap_or(u8::MAX);
        (0..attempts).rev().flat_map(|n| [Place::Hold(n), Place::Discard(n)])
    }

    /// The first of `places` that has a file of this kind.
    pub(super) fn find(
        &self,
        places: impl IntoIterator<Item = Place>,
        kind: Kind,
    ) -> Option<Place> {
        places.into_iter().find(|place| self.is(*place, kind))
    }

    /// A private name of a file that has its place under a public one: it can go
    /// without anything being lost.
    pub(super) fn private_twin(&self) -> Option<Place> {
        let public = [self.at(Place::Source), self.at(Place::Target)];
        let shown = |private: Seen| public.iter().flatten().any(|seen| *seen == private);
        self.privates().find(|place| self.at(*place).is_some_and(shown))
    }
}
