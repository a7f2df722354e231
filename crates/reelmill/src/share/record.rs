//! What a slot's file says, beyond what the protocol needs.

use super::fs::Fingerprint;
use crate::{clock, farm};
use reelmill_core::settle::End;
use reelmill_core::slots::{Mark, Slot};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// A slot as it is written. Paths are relative to the root, with bytes that are
/// no text written as `%` and two digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the protocol needs.
    #[serde(flatten)]
    pub(crate) slot: Slot,
    /// Who wrote it.
    pub(crate) who: Who,
    /// Seconds since 1970 by the writer's clock; for people only.
    pub(crate) at: f64,
    /// The file it is about.
    pub(crate) file: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The settings by which there was no output for that reason; others may have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<String>,
    /// What is replaced by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deal: Option<Deal>,
    /// How a replacement ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

/// What is replaced by what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Deal {
    /// The file whose place is taken.
    pub(crate) source: String,
    /// The new file's name, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Where the finished output waits.
    pub(crate) part: String,
    /// What is expected under the source's name.
    pub(crate) original: Fingerprint,
    /// The output.
    pub(crate) output: Fingerprint,
    /// Where it undoes an earlier one: the original's name in the trash, to be
    /// removed there once it is back in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoes: Option<String>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    /// Its machine.
    pub(crate) host: String,
    /// Its number there.
    pub(crate) pid: u32,
    /// What tells this run of the machine and its process space from others.
    pub(crate) space: String,
    /// When it started, in the machine's ticks: numbers are used again.
    pub(crate) started: String,
}

impl Who {
    /// This process.
    pub(crate) fn me() -> Self {
        static ME: OnceLock<Who> = OnceLock::new();
        ME.get_or_init(Self::look).clone()
    }

    fn look() -> Self {
        let pid = std::process::id();
        let started = started(pid).unwrap_or_default();
        Self { host: farm::host_name(), pid, space: space(), started }
    }

    /// A short mark of this process, to be used in names of files.
    pub(crate) fn mark(&self) -> String {
        format!("{}-{}-{}", place(), self.pid, self.started)
    }

    /// Whether a process that left `mark` was on this machine and is no more.
    pub(crate) fn marked_dead(mark: &str) -> bool {
        let mut words = mark.split('-');
        let (here, pid, began) = (words.next(), words.next(), words.next());
        let pid = pid.and_then(|pid| pid.parse().ok());
        let (Some(pid), Some(began), true) = (pid, began, here == Some(&*place())) else {
            return false;
        };
        started(pid).is_none_or(|now| now != began)
    }

    /// Whether it is certain that this process is no more.
    pub(crate) fn dead(&self) -> bool {
        let here =
            !self.space.is_empty() && self.space == space() && self.host == farm::host_name();
        here && started(self.pid).is_none_or(|now| now != self.started)
    }
}

/// This machine and its process space, as a few letters.
fn place() -> String {
    let whole = format!("{} {}", farm::host_name(), space());
    hex::encode(&Sha256::digest(whole)[..6])
}

fn space() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let pids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), pids.display())
}

/// Field 22 of the process's line, counted after its name, which may hold
/// anything.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A process that has ended and waits for its parent does nothing any more.
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).unwrap_or_default().to_owned())
}

impl Record {
    /// A record of this process, of now.
    pub(crate) fn new(slot: Slot, file: &str) -> Self {
        let at = clock::now().0 as f64 / 1e6;
        Self {
            slot,
            who: Who::me(),
            at,
            file: file.to_owned(),
            reason: None,
            how: None,
            deal: None,
            end: None,
        }
    }

    /// Reads one. What cannot be read counts as a lease of somebody who is gone:
    /// a crash may leave an empty file where there are no hard links.
    pub(crate) fn parse(content: &[u8]) -> Self {
        serde_json::from_slice(content).unwrap_or_else(|_| {
            let mut record = Self::new(Slot { by: 0, mark: Mark::Lease }, "");
            record.who =
                Who { host: String::new(), pid: 0, space: String::new(), started: String::new() };
            record
        })
    }
}
