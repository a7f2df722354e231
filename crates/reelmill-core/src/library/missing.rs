//! Files that a walk did not find. A share that is not mounted looks like a
//! folder whose files were all deleted; nothing here takes the one for the
//! other.

/// How a walk found a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// It was read, and something lies in it.
    Read,
    /// It was read, and nothing at all lies in it: so looks the place of a
    /// mount that is not there.
    Empty,
    /// It could not be read.
    Unreadable,
}

/// What a missing file is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is gone.
    Gone,
    /// Nobody can tell: it is kept as it was.
    Unseen,
}

/// What the files are taken for that are missing from `folder`, a path within the
/// library; `state` tells how the walk found a folder, `None` where it met none.
/// The nearest folder that the walk met decides.
#[must_use]
pub fn judge(folder: &[u8], state: impl Fn(&[u8]) -> Option<FolderState>) -> Missing {
    let mut at = folder;
    loop {
        match state(at) {
            Some(FolderState::Read) => return Missing::Gone,
            Some(FolderState::Empty | FolderState::Unreadable) => return Missing::Unseen,
            None if at.is_empty() => return Missing::Unseen,
            None => at = parent(at),
        }
    }
}

/// The folder that a path within the library lies in; empty for the root.
#[must_use]
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

/// Why a library is not believed to have lost its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// No file was found where some are known.
    Empty {
        /// How many are known.
        known: u64,
    },
    /// More than half of them are missing.
    MostMissing {
        /// How many are known.
        known: u64,
        /// How many of those were not found.
        missing: u64,
    },
}

/// So few missing files are no alarm, even if they are most of a library.
const FEW: u64 = 10;

/// Whether the result of a walk is to be believed: of `known` files `missing`
/// were not found, `there` files were found in all.
#[must_use]
pub fn alarm(known: u64, missing: u64, there: u64) -> Option<Alarm> {
    match () {
        () if known > 0 && there == 0 => Some(Alarm::Empty { known }),
        () if missing > FEW && missing > known / 2 => Some(Alarm::MostMissing { known, missing }),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_or_unreadable_folder_hides_its_files_and_those_below() {
        let state = |folder: &[u8]| match folder {
            b"" | b"films" => Some(FolderState::Read),
            b"shows" => Some(FolderState::Empty),
            b"films/locked" => Some(FolderState::Unreadable),
            _ => None,
        };
        assert_eq!(judge(b"films", state), Missing::Gone);
        assert_eq!(judge(b"films/old/one", state), Missing::Gone, "the folder went with its files");
        assert_eq!(judge(b"shows", state), Missing::Unseen);
        assert_eq!(judge(b"shows/one/two", state), Missing::Unseen);
        assert_eq!(judge(b"films/locked/x", state), Missing::Unseen);
        assert_eq!(judge(b"films", |_| None), Missing::Unseen, "the root itself was not met");
    }

    proptest! {
        #[test]
        fn a_library_is_never_emptied(known in 1u64..1_000_000) {
            prop_assert!(alarm(known, known, 0).is_some());
            prop_assert!(alarm(known, 0, known).is_none());
            prop_assert!(known <= FEW || alarm(known, known, 1).is_some());
        }
    }
}
