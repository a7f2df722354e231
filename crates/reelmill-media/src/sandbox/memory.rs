//! How much memory a tool and its children use.
//!
//! A limit on address space would be the kernel's to keep, but makes some
//! encoders hang for ever when they meet it; so we look, and end the tool.

use std::time::Duration;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(100);

/// Processes that are counted.
const MOST: usize = 64;

/// Ends when the process `pid` and its children use more than `limit` bytes of
/// memory of their own; what they used.
pub(crate) async fn wait_for_excess(pid: Option<u32>, limit: u64) -> u64 {
    let Some(pid) = pid else {
        return std::future::pending().await;
    };
    // Most probes are over before the first look.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let used = used(pid);
        if used > limit {
            return used;
        }
    }
}

/// Bytes that are not backed by a file, of a process and all below it.
fn used(pid: u32) -> u64 {
    let mut found = vec![pid];
    let mut sum = 0;
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        sum += own(pid);
        if found.len() < MOST {
            found.extend(children(pid));
        }
        at += 1;
    }
    sum
}

fn own(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssShmem:")) * 1024
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn our_own_memory_is_counted() {
        let before = used(std::process::id());
        let block = vec![1_u8; 64 << 20];
        assert!(used(std::process::id()) >= before + (60 << 20), "{before}");
        drop(block);
        let excess = wait_for_excess(Some(std::process::id()), 1).await;
        assert!(excess > 1);
    }
}
