//! Files of a folder: what is known of them against what is there.

use crate::facts::MediaKind;

/// What tells whether a file is still the one that was looked at. The folder
/// is known from where this stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its name in its folder; bytes, since names need not be UTF-8.
    pub name: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
}

/// What became of a file since it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: places in the known and the found files.
    Same(usize, usize),
    /// It is there, with another size or time: places in both.
    Changed(usize, usize),
    /// It was not there before: place in the found files.
    New(usize),
    /// It is not there: place in the known files.
    Missing(usize),
}

/// Holds the known files of a folder against those that were found in it. Both
/// are sorted by name, without doubles; `tell` hears of each name once, in order.
pub fn compare<'k, 'f>(
    known: impl Fn(usize) -> Option<Seen<'k>>,
    found: impl Fn(usize) -> Option<Seen<'f>>,
    mut tell: impl FnMut(Change),
) {
    let (mut k, mut f) = (0, 0);
    loop {
        match (known(k), found(f)) {
            (None, None) => return,
            (Some(old), Some(new)) if old.name == new.name => {
                let same = old.size == new.size && same_time(old.mtime, new.mtime);
                tell(if same { Change::Same(k, f) } else { Change::Changed(k, f) });
                (k, f) = (k + 1, f + 1);
            }
            (Some(old), new) if new.as_ref().is_none_or(|new| old.name < new.name) => {
                tell(Change::Missing(k));
                k += 1;
            }
            (_, _) => {
                tell(Change::New(f));
                f += 1;
            }
        }
    }
}

/// Steps in which mounts count a file's time, nanoseconds: Windows shares, NFS
/// and FAT show one and the same time cut to different lengths.
const STEPS: [i64; 5] = [100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000];

/// Whether two times of one file are the same, though a mount may cut them off.
#[must_use]
pub fn same_time(one: i64, other: i64) -> bool {
    let cut = |short: i64, long: i64| {
        STEPS
            .iter()
            .any(|step| short.rem_euclid(*step) == 0 && long.div_euclid(*step) * step == short)
    };
    one == other || cut(one, other) || cut(other, one)
}

const VIDEO: &[&str] = &[
    "3gp", "asf", "avi", "divx", "dv", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg",
    "mts", "mxf", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv",
];
const AUDIO: &[&str] = &[
    "aac", "ac3", "aif", "aiff", "ape", "dts", "eac3", "flac", "m4a", "m4b", "mka", "mp2", "mp3",
    "oga", "ogg", "opus", "wav", "wma", "wv",
];
const IMAGE: &[&str] = &["avif", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// The longest of those, bytes.
const LONGEST: usize = 4;

/// The kind of media that a file's name promises by its ending.
#[must_use]
pub fn promised(name: &[u8]) -> Option<MediaKind> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let ending = &name[dot + 1..];
    if ending.len() > LONGEST || dot == 0 {
        return None;
    }
    let is = |list: &[&str]| list.iter().any(|one| ending.eq_ignore_ascii_case(one.as_bytes()));
    match () {
        () if is(VIDEO) => Some(MediaKind::Video),
        () if is(AUDIO) => Some(MediaKind::Audio),
        () if is(IMAGE) => Some(MediaKind::Image),
        () => None,
    }
}

/// Folders that systems keep for themselves, in which no library's files lie.
const FOREIGN: [&[u8]; 5] =
    [b"@eaDir", b"#recycle", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found"];

/// Whether a walk passes this name by: hidden (ours are, too), or the system's.
#[must_use]
pub fn passed_by(name: &[u8]) -> bool {
    name.first() == Some(&b'.') || FOREIGN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Folder = BTreeMap<Vec<u8>, (u64, i64)>;

    fn seen(folder: &Folder) -> Vec<Seen<'_>> {
        folder
            .iter()
            .map(|(name, (size, mtime))| Seen { name, size: *size, mtime: *mtime })
            .collect()
    }

    fn folder() -> impl Strategy<Value = Folder> {
        let name = prop::collection::vec(0u8..4, 0..3);
        // So far apart that no mount's step makes them the same.
        let time = (0i64..3).prop_map(|n| n * 3_000_000_000);
        prop::collection::btree_map(name, (0u64..3, time), 0..12)
    }

    proptest! {
        #[test]
        fn every_name_is_told_once_and_rightly(known in folder(), found in folder()) {
            let (old, new) = (seen(&known), seen(&found));
            let mut told = Vec::new();
            compare(|at| old.get(at).cloned(), |at| new.get(at).cloned(), |change| told.push(change));
            let mut names = Vec::new();
            for change in told {
                let (name, right) = match change {
                    Change::Same(k, f) => (old[k].name, old[k] == new[f]),
                    Change::Changed(k, f) => {
                        (old[k].name, old[k].name == new[f].name && old[k] != new[f])
                    }
                    Change::New(f) => (new[f].name, !known.contains_key(new[f].name)),
                    Change::Missing(k) => (old[k].name, !found.contains_key(old[k].name)),
                };
                prop_assert!(right, "{change:?}");
                names.push(name.to_vec());
            }
            let mut all: Vec<_> = known.keys().chain(found.keys()).cloned().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(names, all, "in order, each once");
        }

        #[test]
        fn a_time_cut_off_by_a_mount_is_the_same(time in any::<i32>(), fraction in 0i64..1_000_000_000) {
            let whole = i64::from(time) * 1_000_000_000;
            let exact = whole + fraction;
            for step in STEPS {
                prop_assert!(same_time(exact, exact.div_euclid(step) * step));
            }
            prop_assert!(!same_time(exact, exact + 2_000_000_001));
        }
    }

    #[test]
    fn times_that_differ_within_a_step_are_different() {
        assert!(!same_time(1_500_000_001, 1_500_000_002));
        assert!(!same_time(1_000_000_100, 1_000_000_200));
        assert!(same_time(1_123_456_789, 1_123_456_700));
        assert!(same_time(3_999_999_999, 2_000_000_000), "FAT");
    }

    #[test]
    fn endings_promise_kinds() {
        assert_eq!(promised(b"A film.MKV"), Some(MediaKind::Video));
        assert_eq!(promised(b"\xff\xfe.mp4"), Some(MediaKind::Video));
        assert_eq!(promised(b"song.flac"), Some(MediaKind::Audio));
        assert_eq!(promised(b"cover.jpg"), Some(MediaKind::Image));
        assert_eq!(promised(b"film.mkv.part"), None);
        assert_eq!(promised(b".mkv"), None);
        assert_eq!(promised(b"mkv"), None);
        assert!(passed_by(b".reelmill") && passed_by(b"@eaDir") && !passed_by(b"Films"));
    }
}
