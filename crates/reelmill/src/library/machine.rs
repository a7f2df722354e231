//! How busy this machine is with what is not ours, what time it is, and how much
//! space is left: what a watch keeps to.

use crate::clock;
use reelmill_core::library::hours::Now;
use std::collections::HashMap;
use std::path::Path;

/// Processes that are looked at, at most.
const MOST: usize = 100_000;

/// Measures the cores that others use.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    last: Option<Used>,
}

/// Processor time so far, in ticks, at a moment.
#[derive(Debug, Clone, Copy)]
struct Used {
    all: u64,
    ours: u64,
    at: i64,
}

impl Machine {
    /// Cores that others used since the last look, on average; `None` at the
    /// first look, and where the system does not tell.
    pub(crate) fn others(&mut self) -> Option<f64> {
        let now = Used { all: all_ticks()?, ours: our_ticks()?, at: clock::steady() };
        let last = self.last.replace(now)?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let seconds = (now.at - last.at) as f64 / 1e6;
        let ours = now.ours.saturating_sub(last.ours);
        let others = now.all.saturating_sub(last.all).saturating_sub(ours);
        (seconds > 0.0).then(|| others as f64 / ticks / seconds)
    }

    /// How it is now, with the free space of `folders`.
    pub(crate) fn now(&mut self, folders: &[&Path]) -> Now {
        let at = jiff::Timestamp::from_microsecond(clock::now().0).unwrap_or_default();
        let at = at.to_zoned(jiff::tz::TimeZone::system());
        let free = folders.iter().filter_map(|folder| free(folder)).min();
        Now {
            weekday: at.weekday().to_monday_zero_offset() as usize,
            minute: at.hour() as u16 * 60 + at.minute() as u16,
            load: self.others(),
            free: free.unwrap_or(u64::MAX),
        }
    }
}

/// Bytes that are free where `folder` lies.
fn free(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

fn all_ticks() -> Option<u64> {
    parse_all(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// Ticks of all cores in which something ran: of user, nice, system, irq and
/// softirq time.
fn parse_all(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    Some([0, 1, 2, 5, 6].iter().filter_map(|at| times.get(*at)).sum())
}

/// Ticks of this process and all that it started, also of those that ended.
fn our_ticks() -> Option<u64> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten().take(MOST) {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat"));
        if let Some(process) = stat.ok().as_deref().and_then(parse_process) {
            all.insert(id, process);
        }
    }
    Some(family(&all, std::process::id()))
}

/// Parent and ticks of a process, with those of its children that ended.
fn parse_process(stat: &str) -> Option<(u32, u64)> {
    // The name, in brackets, may hold anything.
    let rest = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = [11, 12, 13, 14].into_iter().filter_map(number).sum();
    Some((u32::try_from(number(1)?).ok()?, ticks))
}

fn family(all: &HashMap<u32, (u32, u64)>, root: u32) -> u64 {
    let ours = |id: u32| {
        let mut at = id;
        // A family is no deeper than there are processes.
        for _ in 0..=all.len() {
            match all.get(&at) {
                _ if at == root => return true,
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
        false
    };
    all.iter().filter(|(id, _)| ours(**id)).map(|(_, (_, ticks))| ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_families_summed() {
        let stat = "cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_all(stat), Some(163));
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6";
        assert_eq!(parse_process(line), Some((7, 100)));
        let all = HashMap::from([(1, (0, 1)), (7, (1, 10)), (42, (7, 100)), (9, (1, 1000))]);
        assert_eq!(family(&all, 7), 110);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_second_look_tells_what_others_used() {
        let mut machine = Machine::default();
        assert_eq!(machine.others(), None);
        let load = machine.others().unwrap();
        assert!(load.is_finite() && load >= 0.0, "{load}");
        let now = machine.now(&[Path::new("/")]);
        assert!(now.weekday < 7 && now.minute < 24 * 60 && now.free > 0);
    }
}
