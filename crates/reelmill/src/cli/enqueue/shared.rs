//! The queue in the library itself, for machines that mount it and no server.

use crate::clock;
use crate::farm;
use crate::library::place::Place;
use crate::share::library::Library;
use crate::share::queue::{self, Order};
use reelmill_core::error::Failure;
use std::collections::HashSet;

/// The queue of a library.
pub(super) struct Shared {
    library: Library,
    /// Files that orders wait for already.
    waiting: HashSet<String>,
}

impl Shared {
    /// The queue of the library at `place`.
    ///
    /// # Errors
    /// When it cannot be read, or made.
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        let library = Library::open(&place.root)?;
        let waiting = queue::list(&library)?.into_iter().map(|(_, order)| order.file).collect();
        Ok(Self { library, waiting })
    }

    /// Whether an order for the file waits already, whoever gave it.
    pub(super) fn waits(&self, place: &Place, path: &[u8]) -> bool {
        self.waiting.contains(&self.library.relative(&place.path(path)))
    }

    /// Puts an order into the queue; its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn order(
        &self,
        (place, path): (&Place, &[u8]),
        (preset, set, priority): (&str, &[String], u8),
        replace: bool,
    ) -> Result<String, Failure> {
        let order = Order {
            file: self.library.relative(&place.path(path)),
            preset: preset.to_owned(),
            set: set.to_vec(),
            format: None,
            replace,
            priority,
            by: farm::host_name(),
            at: clock::now().0 as f64 / 1e6,
        };
        queue::add(&self.library, &order)
    }
}
