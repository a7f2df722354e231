//! Temporary names that killed processes leave, removed once they are old.

use super::library::Library;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Nothing is still being done under a temporary name that has not been written to for
/// longer: seconds, one day.
const OLD: i64 = 24 * 3600;

/// Removes what killed processes left in `folder` under names that begin with any of `names`.
/// `now` is what the file server's clock shows, in seconds since 1970: another machine may be
/// at work under such a name right now, and our clock may be wrong.
pub(crate) fn clear(folder: &Path, names: &[&str], now: i64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if names.iter().any(|begin| name.as_bytes().starts_with(begin.as_bytes())) {
            remove_old(&entry.path(), now);
        }
    }
}

/// The same for files that were found in a library.
pub(crate) fn clear_these(library: &Library, paths: &[PathBuf]) {
    let now = || library.now().map(|now| now / 10_000_000);
    if let Some(now) = Some(paths).filter(|paths| !paths.is_empty()).and_then(|_| now()) {
        paths.iter().for_each(|path| remove_old(path, now));
    }
}

/// Removes what killed processes left among the slots of a job that is done: drafts, and
/// signs of life.
pub(crate) fn clear_slots(library: &Library, id: &str) {
    let folder = library.slots(id);
    for name in library.fs.list(&folder).unwrap_or_default() {
        let text = name.to_string_lossy();
        if text.starts_with("tmp-") || text.ends_with(".beat") {
            let _ = library.fs.remove(&folder.join(&name));
        }
    }
}

/// Removes what was written to last more than a day before `now`. What cannot be removed stays.
fn remove_old(path: &Path, now: i64) {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    if now - meta.mtime() <= OLD {
        return;
    }
    let removed =
        if meta.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "cannot remove a leftover");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn how_old_a_leftover_is_is_told_by_the_file_servers_clock() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("probe-1");
        std::fs::create_dir(&left).unwrap();
        let days = |days: i64| days * OLD;
        // Its clock is ten days ahead of ours, or behind.
        for off in [10, -10] {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 + days(off);
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(now as u64);
            File::open(&left).unwrap().set_modified(written).unwrap();
            clear(folder.path(), &["probe-"], now + 60);
            assert!(left.exists(), "it was written to a minute ago, {off} days off");
        }
        clear(folder.path(), &["clock-"], days(100_000));
        assert!(left.exists(), "another name");
        clear(folder.path(), &["probe-"], days(100_000));
        assert!(!left.exists());
    }
}
