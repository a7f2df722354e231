//! The folder in which an interrupted conversion waits to be gone on with.

use super::args::EncodeArgs;
use crate::files;
use reelmill_core::error::Failure;
use reelmill_core::preset::Preset;
use sha2::{Digest, Sha512};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Folders of interrupted conversions are thrown away after this.
const KEEP_INTERRUPTED: Duration = Duration::from_secs(14 * 24 * 3600);

/// A name for "this source, this request": digest of the source's size, time
/// and both ends, and of everything that shapes the output.
pub(super) fn resume_key(
    input: &Path,
    output: &Path,
    preset: &Preset,
    encode: &EncodeArgs,
) -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::io(format!("read {}", input.display()), &e);
    let mut file = std::fs::File::open(input).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
    let mut digest = Sha512::new();
    digest.update(meta.len().to_le_bytes());
    digest.update(changed.unwrap_or_default().as_nanos().to_le_bytes());
    for end in files::ends(&mut file, meta.len()).map_err(fail)? {
        digest.update(&end);
    }
    let output = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
    let request = serde_json::json!([preset, encode.chunk_seconds, output.to_string_lossy(), 1]);
    digest.update(request.to_string());
    Ok(hex::encode(&digest.finalize()[..16]))
}

/// Whether something in `place` is worth keeping for another run.
pub(super) fn has_finished_work(place: &Path) -> bool {
    fn any_file(folder: &Path) -> bool {
        let Ok(entries) = std::fs::read_dir(folder) else { return false };
        entries.flatten().any(|entry| {
            let path = entry.path();
            if path.is_dir() { any_file(&path) } else { true }
        })
    }
    any_file(&place.join("blobs"))
}

/// Removes a folder and all in it; there may be none.
pub(super) fn remove_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove");
        }
        _ => {}
    }
}

/// Throws away what interrupted conversions left long ago.
pub(super) fn forget_old(scratch: &Path) {
    let Ok(entries) = std::fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_some_and(|age| age > KEEP_INTERRUPTED) {
            remove_folder(&entry.path());
        }
    }
}
