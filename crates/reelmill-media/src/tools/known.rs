//! What programs said of themselves before, in a file: to ask FFmpeg for its
//! version takes as long as to look at a film.

use super::FfmpegVersion;
use crate::sandbox::Level;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// More than anybody has of installations.
const MOST: usize = 16;

/// A program as it lies on the disk, and the cage in which it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    path: PathBuf,
    bytes: u64,
    /// When it was changed, and when anything about it was, nanoseconds.
    modified: u128,
    changed: i128,
    inode: u64,
    level: Level,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    program: Program,
    version: String,
}

impl Program {
    fn at(path: &Path, level: Level) -> Option<Self> {
        // Behind the links: those of a package manager stay while what they name changes.
        let path = std::fs::canonicalize(path).ok()?;
        let meta = std::fs::metadata(&path).ok()?;
        let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        let (changed, inode) = identity(&meta);
        Some(Self { path, bytes: meta.len(), modified, changed, inode, level })
    }
}

#[cfg(unix)]
fn identity(meta: &std::fs::Metadata) -> (i128, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()), meta.ino())
}

#[cfg(not(unix))]
fn identity(_meta: &std::fs::Metadata) -> (i128, u64) {
    (0, 0)
}

/// What `program` said in a cage of this `level`, if the file at `memory` tells and
/// the program is still the same.
pub(super) fn recall(memory: &Path, program: &Path, level: Level) -> Option<FfmpegVersion> {
    let program = Program::at(program, level)?;
    let known = read(memory).into_iter().find(|known| known.program == program)?;
    Some(FfmpegVersion::parse(&known.version))
}

/// Keeps what programs said, if the file's folder is there: who only asks makes none.
/// That it cannot be kept is nobody's trouble: they are asked again.
pub(super) fn remember(memory: &Path, level: Level, said: &[(&Path, &FfmpegVersion)]) {
    if !memory.parent().is_some_and(Path::is_dir) {
        return;
    }
    let mut all = read(memory);
    for (path, version) in said {
        let Some(program) = Program::at(path, level) else { return };
        all.retain(|known| (&known.program.path, known.program.level) != (&program.path, level));
        all.insert(0, Known { program, version: version.text.clone() });
    }
    all.truncate(MOST);
    if let Err(error) = write(memory, &all) {
        tracing::debug!(%error, file = %memory.display(), "versions are not kept");
    }
}

fn read(memory: &Path) -> Vec<Known> {
    let text = std::fs::read(memory).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write(memory: &Path, all: &[Known]) -> std::io::Result<()> {
    let folder = memory.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, all)?;
    file.persist(memory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_until_the_program_changes() {
        let place = tempfile::tempdir().unwrap();
        let [memory, one, two] = ["a/known.json", "one", "two"].map(|name| place.path().join(name));
        std::fs::write(&one, "program one").unwrap();
        std::fs::write(&two, "program two").unwrap();
        let version = |text| FfmpegVersion::parse(text);
        let recall = |program| recall(&memory, program, Level::Limits).map(|found| found.text);
        assert_eq!(recall(&one), None, "no file yet");

        let said = [(one.as_path(), &version("5.1.9-0+deb12u1")), (&two, &version("7.1"))];
        remember(&memory, Level::Limits, &said);
        assert!(!place.path().join("a").exists(), "nothing is written where nothing is");
        std::fs::create_dir(place.path().join("a")).unwrap();
        remember(&memory, Level::Limits, &said);
        assert_eq!(recall(&one).as_deref(), Some("5.1.9-0+deb12u1"));
        assert_eq!(recall(&two).as_deref(), Some("7.1"));
        assert_eq!(super::recall(&memory, &one, Level::Full), None, "it did not start there yet");

        // Another of the same size takes its place.
        let other = place.path().join("other");
        std::fs::write(&other, "program 1ne").unwrap();
        std::fs::rename(&other, &one).unwrap();
        assert_eq!(recall(&one), None);
        assert_eq!(recall(&two).as_deref(), Some("7.1"));
        std::fs::remove_file(&two).unwrap();
        assert_eq!(recall(&two), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn who_said_it_before_is_not_started_again() {
        use crate::sandbox::{Cage, Wanted};
        use crate::tools::{ToolPaths, Tools};
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["ffmpeg", "ffprobe"] {
            let calls = at("calls");
            let script =
                format!("#!/bin/sh\necho >>'{}'\necho {name} version 6.1\n", calls.display());
            std::fs::write(at(name), &script).unwrap();
            let may = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(at(name), may).unwrap();
        }
        let [ffmpeg, ffprobe, memory] =
            ["ffmpeg", "ffprobe", "tools.json"].map(|name| Some(at(name)));
        let find = async |memory: Option<PathBuf>| {
            let wanted = Wanted { highest: Level::Limits, ..Wanted::default() };
            let paths = ToolPaths { ffmpeg: ffmpeg.clone(), ffprobe: ffprobe.clone(), memory };
            let found = Tools::find_in(Cage::choose(wanted).await.unwrap(), &paths).await.unwrap();
            (found.version.text, std::fs::read_to_string(at("calls")).unwrap().lines().count())
        };
        assert_eq!(find(memory.clone()).await, ("6.1".into(), 2));
        assert_eq!(find(memory.clone()).await, ("6.1".into(), 2));
        assert_eq!(find(None).await, ("6.1".into(), 4), "without a memory they are asked");
    }

    #[test]
    fn a_damaged_file_is_no_knowledge_and_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let [memory, program] = ["known.json", "program"].map(|name| place.path().join(name));
        std::fs::write(&memory, "[{\"program\":").unwrap();
        std::fs::write(&program, "x").unwrap();
        assert!(recall(&memory, &program, Level::Full).is_none());
        remember(&memory, Level::Full, &[(&program, &FfmpegVersion::parse("6.0"))]);
        assert_eq!(recall(&memory, &program, Level::Full).unwrap().major, 6);
        assert_eq!(
            std::fs::read_dir(place.path()).unwrap().count(),
            2,
            "nothing is left beside it"
        );
    }
}
