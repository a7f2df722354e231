//! The lock file beside a media file that is being worked on:
//! `<name>.mediabox.lock`. People and their scripts read it; nothing depends on
//! it for safety.

use serde::{Deserialize, Serialize};

/// What the name of a lock file ends with.
pub const ENDING: &str = ".mediabox.lock";

/// What a lock file says. Other programs write files of this form too, with at
/// least the first five fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    /// The machine that works on the file.
    pub hostname: String,
    /// The process there.
    pub pid: i64,
    /// When the lock was last renewed: seconds since 1970 by that machine's clock.
    pub timestamp: f64,
    /// The file's path on that machine.
    pub file: String,
    /// When the lock was taken (ISO 8601).
    #[serde(default)]
    pub locked_at: String,
    /// The program; empty for others than reelmill.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// The job, to be found in reelmill's own records.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// What tells this run of the program from all others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Seconds without renewal after which others may take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<f64>,
}

impl LockFile {
    /// Reads one. Numbers may be written as text, as some scripts do.
    ///
    /// # Errors
    /// When it is not such a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut value: serde_json::Value = serde_json::from_slice(text)?;
        for key in ["timestamp", "pid"] {
            let number = value[key].as_str().and_then(|text| text.trim().parse::<f64>().ok());
            match number {
                Some(number) if key == "pid" => value[key] = (number as i64).into(),
                Some(number) => value[key] = number.into(),
                None => {}
            }
        }
        serde_json::from_value(value)
    }
}

/// What is known of a lock's age; all in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Age {
    /// Since the lock was written, both times by the file server's clock.
    pub written: Option<f64>,
    /// Since its `timestamp`, by our clock.
    pub told: Option<f64>,
    /// For which we have seen it unchanged, by our steady clock.
    pub watched: f64,
}

/// Whether whoever took the lock has given no sign for longer than `expiry`
/// seconds. A wrong clock alone never makes a lock stale: either we have watched
/// it for that long, or the file server's clock and the lock's own words agree.
#[must_use]
pub fn stale(age: Age, expiry: f64) -> bool {
    let older = |seconds: Option<f64>| seconds.is_some_and(|seconds| seconds > expiry);
    age.watched > expiry || (older(age.written) && older(age.told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_write_is_read() {
        let text = br#"{"hostname": "nas", "pid": "4711", "timestamp": "1700000000.5",
            "file": "/mnt/a.mkv", "locked_at": "2026-11-27T05:00:00", "user": "eva"}"#;
        let lock = LockFile::parse(text).unwrap();
        assert_eq!((lock.pid, lock.timestamp), (4711, 1_700_000_000.5));
        assert!(LockFile::parse(b"").is_err());
        assert!(LockFile::parse(b"[1]").is_err());
    }

    #[test]
    fn ours_has_the_fields_that_scripts_read() {
        let lock = LockFile {
            hostname: "nas".into(),
            pid: 1,
            timestamp: 1.5,
            file: "/a.mkv".into(),
            locked_at: "2026-11-27T05:00:00Z".into(),
            program: "reelmill".into(),
            job: "ab".into(),
            token: "12".into(),
            expires_after: Some(1800.0),
        };
        insta::assert_json_snapshot!(lock);
    }

    #[test]
    fn a_wrong_clock_makes_no_lock_stale() {
        let fresh = Age { written: Some(10.0), told: Some(90_000.0), watched: 5.0 };
        assert!(!stale(fresh, 1800.0), "its machine's clock is a day behind");
        let ahead = Age { written: Some(2000.0), told: Some(-90_000.0), watched: 5.0 };
        assert!(!stale(ahead, 1800.0), "its machine's clock is a day ahead");
        assert!(stale(Age { watched: 1801.0, ..ahead }, 1800.0));
        assert!(stale(Age { written: Some(1801.0), told: Some(1801.0), watched: 0.0 }, 1800.0));
    }
}
