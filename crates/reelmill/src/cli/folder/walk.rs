//! Which files of a folder are media, and what else reelmill knows there.

use super::MediaType;
use crate::cli::args::ConvertArgs;
use crate::exit::Ending;
use crate::share::lock::DRAFT;
use crate::share::record::Who;
use reelmill_core::error::Failure;
use reelmill_core::lockfile::ENDING;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders within folders that are entered; deeper is a loop or a mistake.
const DEEPEST: usize = 64;

const VIDEO: &[&str] = &[
    "3gp", "asf", "avi", "divx", "dv", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg",
    "mts", "mxf", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv",
];
const AUDIO: &[&str] = &[
    "aac", "ac3", "aif", "aiff", "ape", "dts", "eac3", "flac", "m4a", "m4b", "mka", "mp2", "mp3",
    "oga", "ogg", "opus", "wav", "wma", "wv",
];
const IMAGE: &[&str] = &["avif", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// What lies in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The folder, without links and dots.
    pub(super) root: PathBuf,
    /// Media files of the wanted kind, in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// Lock files.
    pub(super) locks: Vec<PathBuf>,
    /// Hidden files that reelmill makes and removes again.
    pub(super) hidden: Vec<PathBuf>,
    /// Folders that could not be read.
    pub(super) unread: Vec<(PathBuf, Failure)>,
}

/// The kind of media that a name promises.
pub(in crate::cli) fn kind(path: &Path) -> Option<MediaType> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    let is = |list: &[&str]| list.contains(&extension.as_str());
    match () {
        () if is(VIDEO) => Some(MediaType::Video),
        () if is(AUDIO) => Some(MediaType::Audio),
        () if is(IMAGE) => Some(MediaType::Image),
        () => None,
    }
}

fn wanted(kind: MediaType, asked: MediaType) -> bool {
    kind == asked || (asked == MediaType::Both && kind != MediaType::Image)
}

/// The mark of an output that waits beside its place without any records.
pub(super) fn plain_mark() -> String {
    format!("alone-{}", Who::me().mark())
}

/// Whether a hidden file is an output without records whose maker is gone.
pub(super) fn abandoned(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mark = name.strip_suffix(".part").and_then(|name| name.rsplit_once(".reelmill-alone-"));
    mark.is_some_and(|(_, mark)| Who::marked_dead(mark))
}

/// The folder that is worked on and what lies in it.
pub(super) fn find(args: &ConvertArgs) -> Result<Found, Ending> {
    match &args.file {
        Some(file) => one(file),
        None => {
            let folder = args.dir.clone().unwrap_or_default();
            let inside = args.output_dir.as_ref().and_then(|dir| std::fs::canonicalize(dir).ok());
            all(&folder, inside.as_deref(), args.media_type.unwrap_or(MediaType::Video))
        }
    }
}

fn one(file: &Path) -> Result<Found, Ending> {
    let fail =
        |e: std::io::Error| Ending::input(Failure::io(format!("open {}", file.display()), &e));
    let whole = std::path::absolute(file).map_err(fail)?;
    let root = std::fs::canonicalize(whole.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
    let path = root.join(whole.file_name().unwrap_or_default());
    if std::fs::symlink_metadata(&path).map_err(fail)?.is_dir() {
        let failure = Failure::input(format!("{} is a folder", file.display()));
        return Err(Ending::input(failure.advise("use --dir")));
    }
    Ok(Found { root, files: vec![path], ..Found::default() })
}

/// A folder and all folders in it, but for `inside`.
pub(super) fn all(folder: &Path, inside: Option<&Path>, asked: MediaType) -> Result<Found, Ending> {
    let fail =
        |e: std::io::Error| Ending::input(Failure::io(format!("open {}", folder.display()), &e));
    let root = std::fs::canonicalize(folder).map_err(fail)?;
    std::fs::read_dir(&root).map_err(fail)?;
    let mut found = Found { root: root.clone(), ..Found::default() };
    let mut folders = vec![(root, 0)];
    while let Some((folder, depth)) = folders.pop() {
        if let Err(error) = look_into(&folder, &mut found, asked, |path| {
            if depth < DEEPEST && Some(path.as_path()) != inside {
                folders.push((path, depth + 1));
            }
        }) {
            let failure = Failure::io(format!("read the folder {}", folder.display()), &error);
            found.unread.push((folder, failure));
        }
    }
    found.files.sort();
    Ok(found)
}

fn look_into(
    folder: &Path,
    found: &mut Found,
    asked: MediaType,
    mut enter: impl FnMut(PathBuf),
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.as_bytes();
        let is_folder = entry.file_type()?.is_dir();
        if name.starts_with(b".") {
            let part = name.ends_with(b".part") && name.windows(10).any(|w| w == b".reelmill-");
            if !is_folder && (part || name.starts_with(DRAFT.as_bytes())) {
                found.hidden.push(path);
            }
        } else if is_folder {
            enter(path);
        } else if name.ends_with(ENDING.as_bytes()) {
            found.locks.push(path);
        } else if kind(&path).is_some_and(|kind| wanted(kind, asked)) {
            found.files.push(path);
        }
    }
    Ok(())
}
