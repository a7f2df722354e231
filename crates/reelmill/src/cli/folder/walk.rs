//! Which files of a folder are media.

use super::MediaType;
use crate::cli::args::ConvertArgs;
use crate::exit::Ending;
use reelmill_core::error::Failure;
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

/// The kind of media that a name promises.
pub(super) fn kind(path: &Path) -> Option<MediaType> {
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

/// The folder that is worked on and its media files, in the order of their names.
pub(super) fn files(args: &ConvertArgs) -> Result<(PathBuf, Vec<PathBuf>), Ending> {
    if let Some(file) = &args.file {
        let whole = std::path::absolute(file)
            .map_err(|e| Failure::io(format!("find {}", file.display()), &e))?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        let folder = std::fs::canonicalize(folder)
            .map_err(|e| Ending::input(Failure::io(format!("open {}", file.display()), &e)))?;
        let file = folder.join(whole.file_name().unwrap_or_default());
        let meta = std::fs::symlink_metadata(&file)
            .map_err(|e| Ending::input(Failure::io(format!("open {}", file.display()), &e)))?;
        if meta.is_dir() {
            let failure = Failure::input(format!("{} is a folder", file.display()));
            return Err(Ending::input(failure.advise("use --dir")));
        }
        return Ok((folder, vec![file]));
    }
    let folder = args.dir.clone().unwrap_or_default();
    let root = std::fs::canonicalize(&folder)
        .map_err(|e| Ending::input(Failure::io(format!("open {}", folder.display()), &e)))?;
    let inside = args.output_dir.as_ref().and_then(|dir| std::fs::canonicalize(dir).ok());
    let mut found = Vec::new();
    let mut folders = vec![(root.clone(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|e| Failure::io(format!("read the folder {}", folder.display()), &e))?;
        for entry in entries {
            let entry = entry
                .map_err(|e| Failure::io(format!("read the folder {}", folder.display()), &e))?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let path = entry.path();
            let Ok(kind_of_file) = entry.file_type() else { continue };
            if hidden {
                continue;
            }
            if kind_of_file.is_dir() {
                if depth < DEEPEST && Some(&path) != inside.as_ref() {
                    folders.push((path, depth + 1));
                }
            } else if kind(&path).is_some_and(|kind| wanted(kind, args.media_type)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok((root, found))
}
