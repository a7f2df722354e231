//! Workers are told apart by numbers that mean nothing: worlds that differ by them alone
//! count as one, which leaves a sixth of the states of three workers.

use super::World;
use ahash::{AHasher, RandomState};
use std::hash::{BuildHasher as _, Hash, Hasher};

/// Names of workers are numbers from here on; no other number is as large.
pub(super) const IDS: u64 = 1 << 60;

pub(super) fn me(worker: usize, starts: u8) -> u64 {
    IDS + worker as u64 * 100 + u64::from(starts)
}

pub(super) fn worker_of(id: u64) -> usize {
    ((id - IDS) / 100) as usize
}

/// Worlds in which only the numbers of the workers differ count as one.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let orders: &[&[usize]] = match self.workers.len() {
            1 => &[&[0]],
            2 => &[&[0, 1], &[1, 0]],
            3 => &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]],
            more => unreachable!("{more} workers"),
        };
        let least = orders.iter().map(|order| self.numbered(order)).min();
        least.hash(state);
    }
}

/// Hashes all but numbers of workers as it is.
struct Renumbering<'a> {
    order: &'a [usize],
    hasher: AHasher,
}

impl Hasher for Renumbering<'_> {
    fn finish(&self) -> u64 {
        self.hasher.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    fn write_u8(&mut self, value: u8) {
        self.hasher.write_u8(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.hasher.write_usize(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.hasher.write_isize(value);
    }

    fn write_u64(&mut self, value: u64) {
        let renamed = value.checked_sub(IDS).map(|id| {
            let place = self.order.iter().position(|n| *n as u64 == id / 100).unwrap();
            IDS + place as u64 * 100 + id % 100
        });
        self.hasher.write_u64(renamed.unwrap_or(value));
    }
}

impl World {
    /// Its hash with the workers in this order and numbered anew.
    fn numbered(&self, order: &[usize]) -> u64 {
        let seeded = RandomState::with_seeds(1, 2, 3, 4);
        let fresh = || Renumbering { order, hasher: seeded.build_hasher() };
        let mut hasher = fresh();
        let rest = (self.crashes, self.user_acts, self.deleted, self.lost, self.chains);
        (&self.files, &self.slots, &self.disowned, rest).hash(&mut hasher);
        let names = self.names.iter().map(|name| {
            let mut hasher = fresh();
            name.hash(&mut hasher);
            hasher.finish()
        });
        hasher.write_u64(names.fold(0, u64::wrapping_add) & (IDS - 1));
        for n in order {
            self.workers[*n].hash(&mut hasher);
        }
        hasher.finish()
    }
}
