//! The trash: originals that were replaced, and outputs that were taken back.
//! Each lies there for some days and can be had back until then.

use super::library::Library;
use super::record::Record;
use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::slots::Mark;
use std::path::PathBuf;

/// Units of 100 ns in a day.
const DAY: f64 = 24.0 * 3600.0 * 1e7;

/// A file in the trash.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The job that put it there.
    pub(crate) id: String,
    /// The commit, counted from 0, that did.
    pub(crate) number: u8,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// What lies in the trash, as far as it bears a name of ours.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn list(library: &Library) -> Result<Vec<Kept>, Failure> {
    let folder = library.home("trash");
    let names = library
        .fs
        .list(&folder)
        .map_err(|e| Failure::io(format!("read {}", folder.display()), &e))?;
    let kept = names.into_iter().filter_map(|name| {
        let path = folder.join(&name);
        let name = name.to_string_lossy();
        let (mark, _) = name.split_once("--")?;
        let (id, number) = mark.split_once('.')?;
        Some(Kept { id: id.to_owned(), number: number.parse().ok()?, path })
    });
    Ok(kept.collect())
}

/// Removes what has lain in the trash for more than `days`, by the file server's
/// clock and by the record of its job both. Yields files and bytes.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn expire(library: &Library, days: f64) -> Result<(u64, u64), Failure> {
    let mut gone = (0, 0);
    let Some(now) = library.now() else { return Ok(gone) };
    for kept in list(library)? {
        let Ok(Some(facts)) = library.fs.facts(&kept.path) else { continue };
        let Ok(records) = library.records(&kept.id) else { continue };
        let Some(told) = records.iter().find(|record| keeps(record, kept.number)) else { continue };
        let told_ago = clock::now().0 as f64 * 10.0 - told.at * 1e7;
        let moved_ago = (now - facts.changed) as f64;
        if told_ago.min(moved_ago) > days * DAY && library.fs.remove(&kept.path).is_ok() {
            gone = (gone.0 + 1, gone.1 + facts.size);
        }
    }
    Ok(gone)
}

fn keeps(record: &Record, number: u8) -> bool {
    record.slot.mark == (Mark::Done { kept: Some(number) })
}
