//! Ledgers of what came of conversions: in the library's records each machine has one of its
//! own, to which it only adds lines; every machine reads all of them into its cache.

use super::look;
use super::place::Place;
use crate::share::library::{FOLDER, root_of};
use crate::{clock, farm, paths};
use reelmill_core::error::Failure;
use reelmill_core::library::outcome::{Came, Outcome};
use reelmill_core::names;
use reelmill_core::time::Timestamp;
use reelmill_store::{LibraryStore, Lines};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folder of ledgers, within that of records.
const HISTORY: &str = "history";

/// How the names of ledgers end.
const ENDING: &str = ".jsonl";

/// Most of a ledger that is read at a time, bytes: some ten thousand lines.
const PART: u64 = 4 << 20;

/// Longest reason that is written down, bytes.
const LONGEST_NOTE: usize = 500;

/// Where this machine writes what came of a library's files.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    root: PathBuf,
    path: PathBuf,
    watch: bool,
}

/// A source, as it was before it was converted.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    file: String,
    digest: String,
    before: u64,
}

impl Ledger {
    /// Of the library that `folder` lies in, if it is one.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let root = root_of(&std::fs::canonicalize(folder).ok()?)?;
        let path = root.join(FOLDER).join(HISTORY).join(own_name());
        Some(Self { root, path, watch: false })
    }

    /// Of a library that is watched; on this machine where nothing can be written into it.
    pub(crate) fn of_watched(place: &Place) -> Self {
        let name = own_name();
        let path = match place.unwritable {
            None => place.root.join(FOLDER).join(HISTORY).join(name),
            Some(_) => aside(place).join(name),
        };
        Self { root: place.root.clone(), path, watch: true }
    }

    /// Contents that failed for good, as all ledgers of the library tell, and nothing else came
    /// of the same settings since. What cannot be read is passed by.
    pub(crate) fn failed(&self) -> Failed {
        let mut failed = HashMap::new();
        self.each(Some(FOR_GOOD), |outcome| {
            let at = outcome.at;
            let why = outcome.note.clone().unwrap_or_default();
            let known: &mut (Timestamp, String) = failed.entry(key(outcome)).or_default();
            *known = (at, why).max(std::mem::take(known));
        });
        if !failed.is_empty() {
            self.each(None, |outcome| {
                let key = key(outcome);
                if !outcome.for_good && failed.get(&key).is_some_and(|(at, _)| *at < outcome.at) {
                    failed.remove(&key);
                }
            });
        }
        Failed(failed)
    }

    /// Tells of each outcome in the library's ledgers whose line holds this word.
    fn each(&self, word: Option<&[u8]>, mut tell: impl FnMut(&Outcome)) {
        let folder = self.path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in folder.into_iter().flatten().flatten() {
            if !entry.file_name().as_bytes().ends_with(ENDING.as_bytes()) {
                continue;
            }
            let mut from = 0;
            while let Ok((outcomes, to)) = read(&entry.path(), from, word)
                && to > from
            {
                outcomes.iter().for_each(&mut tell);
                from = to;
            }
        }
    }

    /// The version of a source that is about to be converted.
    pub(crate) fn version(&self, source: &Path) -> io::Result<Version> {
        let source = match source.parent().map(std::fs::canonicalize) {
            Some(Ok(folder)) => folder.join(source.file_name().unwrap_or_default()),
            _ => source.to_owned(),
        };
        let file = File::open(&source)?;
        let before = file.metadata()?.len();
        let digest = format!("{:016x}", look::digest(&file, before)?);
        let within = source.strip_prefix(&self.root).unwrap_or(&source);
        Ok(Version { file: names::encode(within.as_os_str().as_bytes()), digest, before })
    }

    /// Writes down what came of it. What cannot be written is told in the log: the conversion
    /// is as it is.
    pub(crate) fn write(&self, version: &Version, (preset, how): (&str, &str), end: &End) {
        let Version { file, digest, before } = version.clone();
        let End { came, after, for_good, .. } = *end;
        let note = end.note.as_ref().map(|note| note.chars().take(LONGEST_NOTE).collect());
        let outcome = Outcome {
            at: clock::now(),
            machine: farm::host_name(),
            file,
            before,
            digest,
            came,
            preset: preset.to_owned(),
            how: how.to_owned(),
            after,
            note,
            for_good,
            watch: self.watch,
        };
        if let Err(error) = self.append(&outcome) {
            tracing::warn!(%error, ledger = %self.path.display(), "cannot write down an outcome");
        }
    }

    fn append(&self, outcome: &Outcome) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut line = serde_json::to_vec(outcome)?;
        line.push(b'\n');
        // In one write to the end: lines of several processes do not mix.
        let mut file = File::options().append(true).create(true).open(&self.path)?;
        file.write_all(&line)?;
        file.set_permissions(PermissionsExt::from_mode(0o644))
    }
}

/// How a try ended.
pub(crate) struct End {
    pub(crate) came: Came,
    /// Bytes of the output, where one was made.
    pub(crate) after: Option<u64>,
    /// Why, for people.
    pub(crate) note: Option<String>,
    /// It failed, and the same settings will fail again.
    pub(crate) for_good: bool,
}

impl End {
    /// With an output of so many bytes.
    pub(crate) fn of(came: Came, after: u64) -> Self {
        Self { came, after: Some(after), note: None, for_good: false }
    }

    /// With a failure.
    pub(crate) fn failed(failure: &Failure) -> Self {
        let (note, for_good) = (Some(failure.in_a_line()), failure.class.lasting());
        Self { came: Came::Failed, after: None, note, for_good }
    }
}

/// What is in the line of an outcome that failed for good.
const FOR_GOOD: &[u8] = b"\"for_good\":true";

/// Digest, size and settings.
type Key = (String, u64, String);

fn key(outcome: &Outcome) -> Key {
    (outcome.digest.clone(), outcome.before, outcome.how.clone())
}

/// Contents that failed for good, by settings: when, and why.
#[derive(Debug, Default)]
pub(crate) struct Failed(HashMap<Key, (Timestamp, String)>);

impl Failed {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why this version failed by these settings, if it did.
    pub(crate) fn why(&self, version: &Version, how: &str) -> Option<&str> {
        let key = (version.digest.clone(), version.before, how.to_owned());
        self.0.get(&key).map(|(_, why)| why.as_str())
    }
}

/// The name of this machine's ledgers: its own, and one that no other machine has.
fn own_name() -> String {
    let path = paths::state().join("machine");
    let known = || std::fs::read_to_string(&path).ok().filter(|id| !id.trim().is_empty());
    let id = known().unwrap_or_else(|| {
        let id = clock::fresh().simple().to_string();
        let made = std::fs::create_dir_all(paths::state()).and_then(|()| {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(id.as_bytes())
        });
        // Another process may have been faster.
        made.map_or_else(|_| known().unwrap_or_default(), |()| id)
    });
    let host: String = farm::host_name().chars().filter(|c| c.is_alphanumeric()).collect();
    format!("{host}-{}{ENDING}", id.trim())
}

/// The folder of this machine's ledgers for a library that cannot be written to.
fn aside(place: &Place) -> PathBuf {
    paths::state().join(format!("{}.{HISTORY}", place.record.uuid))
}

/// Takes into the cache what the ledgers of a library say beyond what is known; yields how many
/// lines that were. Ledgers that cannot be read are left for another time.
///
/// # Errors
/// When the cache cannot be written.
pub(crate) async fn take_in(place: &Place, store: &LibraryStore) -> Result<usize, Failure> {
    let id = place.record.id;
    let known = store.ledgers(id).await.map_err(|e| e.failure())?;
    let mut lines = 0;
    // The same machine may have one of each, by the same name.
    let within = (place.root.join(FOLDER).join(HISTORY), "");
    for (folder, prefix) in [within, (aside(place), "aside/")] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let Ok(size) = entry.metadata().map(|meta| meta.len()) else { continue };
            let mut from = known.get(&name).copied().unwrap_or(0);
            let mut anew = size < from;
            from = if anew { 0 } else { from };
            while name.ends_with(ENDING) && from < size {
                let Ok((outcomes, to)) = read(&entry.path(), from, None) else { break };
                if to == from {
                    break;
                }
                lines += outcomes.len();
                let new = Lines { name: &name, anew, bytes: to, outcomes: &outcomes };
                store.take_in(id, &farm::host_name(), new).await.map_err(|e| e.failure())?;
                (from, anew) = (to, false);
            }
        }
    }
    Ok(lines)
}

/// The whole lines of a ledger from a byte on, those that hold `word` where one is given, and
/// where they end. What is no record is passed by.
fn read(path: &Path, from: u64, word: Option<&[u8]>) -> io::Result<(Vec<Outcome>, u64)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut part = Vec::new();
    file.take(PART).read_to_end(&mut part)?;
    let Some(end) = part.iter().rposition(|byte| *byte == b'\n') else {
        // Half a line is still being written; a line beyond all measure is none.
        let skipped = if part.len() as u64 == PART { PART } else { 0 };
        return Ok((Vec::new(), from + skipped));
    };
    let lines = part[..end].split(|byte| *byte == b'\n');
    let holds =
        |line: &&[u8]| word.is_none_or(|word| line.windows(word.len()).any(|part| part == word));
    let outcomes =
        lines.filter(holds).filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok((outcomes, from + end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_and_foreign_lines_are_passed_by_and_half_a_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let line = r#"{"at":1,"machine":"m","file":"f","before":1,"digest":"0","came":"kept"}"#;
        std::fs::write(&path, format!("{line}\n{{\"at\":7,\n\n{line}\n{}", &line[..9])).unwrap();
        let (outcomes, to) = read(&path, 0, None).unwrap();
        assert_eq!(outcomes.len(), 2);
        assert_eq!(read(&path, to, None).unwrap(), (Vec::new(), to));
        let mut file = File::options().append(true).open(&path).unwrap();
        writeln!(file, "{}", &line[9..]).unwrap();
        assert_eq!(read(&path, to, None).unwrap().0.len(), 1);
        file.write_all(&vec![b'x'; PART as usize + 10]).unwrap();
        let end = read(&path, to, None).unwrap().1;
        assert!(read(&path, end, None).unwrap().1 > end, "a line without end does not stop it");
    }
}
