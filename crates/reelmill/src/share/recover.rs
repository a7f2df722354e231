//! Finishing what crashed processes left: replacements that were begun, and
//! outputs that wait beside a place they will never get.

use super::desk::{Desk, Stop};
use super::leftovers;
use super::library::Library;
use super::lock::DRAFT;
use super::record::Record;
use reelmill_core::error::Failure;
use reelmill_core::names;
use reelmill_core::settle::Way;
use reelmill_core::slots::{Leave, Mark};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Outputs of which nobody can say whether they are still made are removed when
/// they are older: in units of 100 ns, one week.
const OLD: i64 = 7 * 24 * 3600 * 10_000_000;

/// Finishes replacements that were begun; yields the jobs that are still open.
///
/// # Errors
/// When the records cannot be read.
pub(crate) fn recover(library: &Library) -> Result<Vec<String>, Failure> {
    let ids = library
        .unsettled()
        .map_err(|e| Failure::io(format!("read {}", library.home("hold").display()), &e))?;
    let mut open = Vec::new();
    for id in ids {
        if id.starts_with("tmp-") {
            // The draft of a mark. Should its writer live, it writes another.
            let _ = library.fs.remove(&library.home("hold").join(&id));
            continue;
        }
        match settle(library, &id) {
            Ok(true) => {}
            Ok(false) => open.push(id),
            Err(failure) => {
                tracing::warn!(job = id, %failure, "cannot finish a replacement");
                open.push(id);
            }
        }
    }
    Ok(open)
}

/// Settles one job; false when it is still open.
fn settle(library: &Library, id: &str) -> Result<bool, Failure> {
    let records = library
        .records(id)
        .map_err(|e| Failure::io(format!("read {}", library.slots(id).display()), &e))?;
    let Some(last) = records.last() else {
        let _ = library.fs.remove(&library.open_mark(id));
        return Ok(true);
    };
    let begun = records.iter().any(|record| matches!(record.slot.mark, Mark::Commit { .. }));
    match last.slot.mark {
        Mark::Commit { .. } | Mark::Done { .. } => {}
        // Whoever holds it, or will, finds all that was begun before settled.
        Mark::Lease | Mark::Abandon if begun => return Ok(true),
        Mark::Lease if !last.who.dead() && !old(library, &library.open_mark(id)) => {
            return Ok(false);
        }
        Mark::Lease | Mark::Abandon => {
            // It died between announcing a commit and writing its slot.
            let _ = library.fs.remove(&library.open_mark(id));
            return Ok(true);
        }
    }
    let mut desk = Desk::new(id, &last.file, Way::Capture);
    let mut stop = desk.go_on(library)?;
    if matches!(&stop, Stop::Held(held) if held.dead) {
        desk.silent();
        stop = desk.go_on(library)?;
    }
    Ok(matches!(stop, Stop::Left(Leave::Finished | Leave::Settled(_))))
}

/// What a hidden name of ours says: the job, and the slot of whoever made it.
fn marked(name: &[u8]) -> Option<(String, Option<usize>)> {
    let name = name.strip_prefix(b".")?.strip_suffix(b".part")?;
    let at = name.windows(10).rposition(|window| window == b".reelmill-")?;
    let mark = std::str::from_utf8(&name[at + 10..]).ok()?;
    let (id, slot) = mark.split_once('-')?;
    let hex = id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| (id.to_owned(), slot.parse().ok()))
}

/// Whether `path` is an output that waits beside a place which it will never
/// get: its maker is gone and no commit speaks of it.
fn orphan(library: &Library, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let Some((id, slot)) = marked(name) else { return false };
    let Ok(records) = library.records(&id) else { return false };
    let own = library.relative(path);
    let promised = |record: &Record| record.deal.as_ref().is_some_and(|deal| deal.part == own);
    let open = records.last().is_some_and(|last| !matches!(last.slot.mark, Mark::Done { .. }));
    if open && records.iter().any(promised) {
        return false;
    }
    match slot {
        Some(slot) if slot + 1 < records.len() => true,
        Some(slot) => records.get(slot).is_some_and(|record| record.who.dead()),
        None => old(library, path),
    }
}

/// Removes those of the hidden files `paths` that nobody will need any more: outputs that
/// will never get their place, and old drafts of lock files.
pub(crate) fn clear_hidden(library: &Library, paths: &[PathBuf]) {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().as_bytes().to_vec();
    for path in paths.iter().filter(|path| is_part(&name(path)) && orphan(library, path)) {
        let _ = std::fs::remove_file(path);
    }
    let drafts = paths.iter().filter(|path| name(path).starts_with(DRAFT.as_bytes()));
    leftovers::clear_these(library, &drafts.cloned().collect::<Vec<_>>());
}

fn old(library: &Library, path: &Path) -> bool {
    let Ok(Some(facts)) = library.fs.facts(path) else { return false };
    library.now().is_some_and(|now| now - facts.changed > OLD)
}

/// Whether a name is one that reelmill hides an output under.
pub(crate) fn is_part(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(b".part") && marked(name).is_some()
}

/// The hidden name of the output for `name` that job `id` makes as `mark`.
pub(crate) fn part_of(name: &[u8], id: &str, mark: impl std::fmt::Display) -> Vec<u8> {
    names::part(name, &format!("{id}-{mark}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_tell_their_job() {
        let id = "0123456789abcdef0123";
        let name = part_of(b"film.reelmill-x.mkv", id, 7);
        assert_eq!(marked(&name), Some((id.to_owned(), Some(7))));
        assert_eq!(marked(&part_of(b"film.mkv", id, "undo")), Some((id.to_owned(), None)));
        assert!(!is_part(b".film.mkv.part") && !is_part(b".film.reelmill-abc-1.part"));
    }
}
