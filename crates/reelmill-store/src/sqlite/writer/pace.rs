//! How long a group waits for those who are likely to join it.
//!
//! Whoever was answered comes back with the next operation a moment later. Without a
//! pause he would miss the group that those begin who came while his was flushed, and
//! wait for two flushes instead of one: half of all would ride in each group.

use std::time::Duration;

/// Longest pause, however long flushes take.
const LONGEST: Duration = Duration::from_millis(2);

/// Shorter pauses are not worth a sleep.
const SHORTEST: Duration = Duration::from_micros(100);

/// A pause takes at most this part of what a flush takes.
const PART: u32 = 4;

/// What the groups before tell about the next one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What a flush takes, as a moving average.
    flush: Duration,
    /// Operations that are likely to come together.
    likely: usize,
}

impl Pace {
    /// A group of `members` is on disk after a flush that took `flush`; so many as
    /// `waiting` came meanwhile.
    pub(super) fn ended(&mut self, members: usize, waiting: usize, flush: Duration) {
        self.flush = (self.flush * 7 + flush) / 8;
        self.likely = members + waiting;
    }

    /// How long to wait at most for others, when `there` are there.
    pub(super) fn pause(&self, there: usize) -> Duration {
        let pause = (self.flush / PART).min(LONGEST);
        if there < self.likely && pause >= SHORTEST { pause } else { Duration::ZERO }
    }

    /// Whether nobody else is likely to come now.
    pub(super) fn is_full(&self, there: usize) -> bool {
        there >= self.likely
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(groups: &[(usize, usize)], flush: Duration) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..100 {
            groups.iter().for_each(|(members, waiting)| pace.ended(*members, *waiting, flush));
        }
        pace
    }

    #[test]
    fn those_who_were_answered_are_waited_for_a_part_of_a_flush() {
        let pace = after(&[(8, 8)], Duration::from_millis(4));
        assert!(pace.pause(8) > Duration::from_micros(900), "{:?}", pace.pause(8));
        assert!(pace.pause(8) <= Duration::from_millis(1));
        assert_eq!(pace.pause(16), Duration::ZERO);
        assert!(pace.is_full(16) && !pace.is_full(15));
        let slow = after(&[(8, 8)], Duration::from_secs(1));
        assert_eq!(slow.pause(8), LONGEST);
    }

    #[test]
    fn one_alone_and_quick_disks_do_not_wait() {
        assert_eq!(Pace::default().pause(1), Duration::ZERO, "nothing is known");
        assert_eq!(after(&[(1, 0)], Duration::from_millis(4)).pause(1), Duration::ZERO);
        assert_eq!(after(&[(8, 8)], Duration::from_micros(200)).pause(8), Duration::ZERO);
    }
}
