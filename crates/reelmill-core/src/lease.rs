//! Leases: the right to work on a task until a time.

use crate::id::{LeaseId, SessionId, WorkerId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The right to work on a task, granted to one run of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random name of this grant.
    pub id: LeaseId,
    /// The task's epoch that this grant raised it to.
    #[serde(default)]
    pub epoch: u64,
    /// Who has it.
    pub worker: WorkerId,
    /// Which run of that worker.
    pub session: SessionId,
    /// When it was granted.
    pub granted: Timestamp,
    /// When it ends unless renewed.
    pub expires: Timestamp,
    /// When it ends in any case.
    pub deadline: Timestamp,
    /// Since when the reported progress has not advanced.
    pub progress_since: Timestamp,
    /// Frames (or other units) done, as last reported.
    pub progress: u64,
}

/// How long leases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// Microseconds from a grant or renewal to expiry.
    pub length: i64,
    /// Microseconds without advancing progress after which the lease ends.
    pub stall: i64,
    /// Microseconds from the grant after which it ends in any case.
    pub deadline: i64,
}

impl LeaseTerms {
    /// How often to renew: a third of the length, so that one lost heartbeat
    /// never loses a lease.
    #[must_use]
    pub fn heartbeat(self) -> i64 {
        self.length / 3
    }
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self { length: 45_000_000, stall: 300_000_000, deadline: 24 * 3_600_000_000 }
    }
}

/// Proof of a lease: what every write to a task must present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseProof {
    /// The grant's random name.
    pub lease: LeaseId,
    /// The task's epoch when it was granted.
    pub epoch: u64,
}

impl Lease {
    /// What its holder shows.
    #[must_use]
    pub fn proof(&self) -> LeaseProof {
        LeaseProof { lease: self.id, epoch: self.epoch }
    }

    /// A new grant at `now`.
    #[must_use]
    pub fn grant(
        id: LeaseId,
        worker: WorkerId,
        session: SessionId,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            epoch: 0,
            worker,
            session,
            granted: now,
            expires: now.plus_micros(terms.length),
            deadline: now.plus_micros(terms.deadline),
            progress_since: now,
            progress: 0,
        }
    }

    /// Why the lease has ended at `now`, if it has.
    #[must_use]
    pub fn ended(&self, terms: LeaseTerms, now: Timestamp) -> Option<LeaseEnd> {
        if now >= self.deadline {
            Some(LeaseEnd::Deadline)
        } else if now >= self.expires {
            Some(LeaseEnd::Expired)
        } else if now.since(self.progress_since) >= terms.stall {
            Some(LeaseEnd::Stalled)
        } else {
            None
        }
    }

    /// The first moment at which [`Lease::ended`] tells an end, unless it is
    /// renewed before.
    #[must_use]
    pub fn due(&self, terms: LeaseTerms) -> Timestamp {
        let stalled = self.progress_since.plus_micros(terms.stall);
        self.deadline.min(self.expires).min(stalled)
    }
}

/// Why a lease ended without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEnd {
    /// Not renewed in time.
    Expired,
    /// Renewed, but the work did not advance.
    Stalled,
    /// It took longer than any attempt may.
    Deadline,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn a_lease_is_due_exactly_when_it_has_ended(
            length in 1i64..100, stall in 1i64..100, deadline in 1i64..100, now in 0i64..120,
        ) {
            let terms = LeaseTerms { length, stall, deadline };
            let (id, by) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let lease =
                Lease::grant(LeaseId(id), WorkerId(by), SessionId(by), terms, Timestamp(0));
            let now = Timestamp(now);
            prop_assert_eq!(lease.ended(terms, now).is_some(), now >= lease.due(terms));
        }
    }
}
