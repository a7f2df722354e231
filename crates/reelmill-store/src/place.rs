//! By what tasks and jobs are found: the part that all engines share.

use reelmill_core::encoder::VideoEncoder;
use reelmill_core::id::{TaskId, WorkerId};
use reelmill_core::job::{Job, Source};
use reelmill_core::lease::LeaseTerms;
use reelmill_core::schedule::{Candidate, SizeClass, rank};
use reelmill_core::task::{Task, TaskKind, TaskState};
use reelmill_core::time::Timestamp;
use serde::Deserialize;

/// By what a store finds a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which workers can take it: house work, or by encoder.
    pub(crate) class: String,
    /// The build its job is bound to; empty when none, or when it matters not.
    pub(crate) pin: String,
    /// Whose job it is; empty when nobody's.
    pub(crate) owner: String,
    /// Where its job stands in the queue, the lowest first.
    pub(crate) rank: i64,
    /// When time alone changes it: a pause is over, a lease may end.
    pub(crate) due: Option<Timestamp>,
}

/// By what `task` of `job` is found.
pub(crate) fn place(job: &Job, task: &Task, terms: LeaseTerms) -> Place {
    let pin = task.needs.and(job.encoder_pin.clone()).unwrap_or_default();
    Place {
        class: class(task),
        pin,
        owner: job.owner.clone().unwrap_or_default(),
        rank: rank(job.priority, job.created),
        due: due(task, terms),
    }
}

fn class(task: &Task) -> String {
    match task.needs {
        _ if task.kind.is_house_work() => "house".into(),
        Some(encoder) => encoder.to_string(),
        None => "any".into(),
    }
}

/// `task`, called `id`, of `job` as something to claim, for workers with build `pin` if
/// that is not empty.
pub(crate) fn candidate(id: TaskId, task: Brief, job: &Placed, pin: &str) -> Candidate {
    Candidate {
        task: id,
        kind: task.kind,
        priority: job.priority,
        queued: job.created,
        owner: job.owner.clone(),
        weight: task.weight,
        cost: task.cost,
        size: SizeClass::of(job.bytes),
        needs: task.needs,
        pin: (!pin.is_empty()).then(|| pin.to_owned()),
        failed_on: task.failed_on,
        losses: task.losses,
    }
}

/// What counts of a task where it waits: a part of what is stored of it, since many are
/// read for each that is claimed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Brief {
    kind: TaskKind,
    pub(crate) weight: u64,
    #[serde(default)]
    cost: u64,
    #[serde(default)]
    needs: Option<VideoEncoder>,
    #[serde(default)]
    failed_on: Vec<WorkerId>,
    losses: u32,
}

impl From<&Task> for Brief {
    fn from(task: &Task) -> Self {
        let Task { kind, weight, cost, needs, losses, .. } = *task;
        Self { kind, weight, cost, needs, failed_on: task.failed_on.clone(), losses }
    }
}

/// What counts of a job where its tasks wait.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// 0 to 100.
    pub(crate) priority: u8,
    /// When it was accepted.
    pub(crate) created: Timestamp,
    /// Whose it is; empty when nobody's.
    pub(crate) owner: String,
    /// How big its source is, where that is known.
    pub(crate) bytes: Option<u64>,
}

impl From<&Job> for Placed {
    fn from(job: &Job) -> Self {
        let bytes = match job.source {
            Source::Upload { bytes, .. } => Some(bytes),
            _ => None,
        };
        let owner = job.owner.clone().unwrap_or_default();
        Self { priority: job.priority, created: job.created, owner, bytes }
    }
}

/// Most tasks looked at of each of so many groups, when `limit` are wanted of
/// each: with many groups less of each, so that the cost has a limit.
pub(crate) fn share(limit: u32, groups: usize) -> u32 {
    let groups = u32::try_from(groups).unwrap_or(u32::MAX).max(1);
    (limit.saturating_mul(8) / groups).clamp(limit.min(4), limit)
}

/// When time alone changes `task`.
pub(crate) fn due(task: &Task, terms: LeaseTerms) -> Option<Timestamp> {
    match (task.state, &task.lease) {
        (TaskState::Leased, Some(_)) => task.leases().map(|lease| lease.due(terms)).min(),
        (TaskState::Ready, _) => Some(task.not_before),
        _ => None,
    }
}

/// The range of ids, as numbers, whose text starts with `prefix`; `None` when
/// no id can.
pub(crate) fn id_range(prefix: &str) -> Option<(u128, u128)> {
    let digits: String = prefix.chars().filter(|c| *c != '-').collect();
    let hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 32 || !hexadecimal {
        return None;
    }
    let low = u128::from_str_radix(&digits, 16).ok()?;
    let free = 4 * (32 - digits.len() as u32);
    let low = low.checked_shl(free)?;
    Some((low, low | 1u128.checked_shl(free).map_or(u128::MAX, |above| above - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_prefixes_with_and_without_hyphens_name_the_same_range() {
        let id = uuid::Uuid::parse_str("0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506").unwrap();
        for prefix in ["0", "0192f3a4", "0192f3a4b5", "0192f3a4-b5c6-7D8E", &id.to_string()] {
            let (low, high) = id_range(prefix).unwrap();
            assert!((low..=high).contains(&id.as_u128()), "{prefix}");
        }
        let (low, high) = id_range("0192f3a5").unwrap();
        assert!(!(low..=high).contains(&id.as_u128()));
        for bad in ["", "xyz", "+1", "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f5060"] {
            assert_eq!(id_range(bad), None, "{bad}");
        }
    }
}
