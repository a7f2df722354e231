//! Brings a file into the usual form of Matroska, by MKVToolNix.

use crate::args::Args;
use crate::tools::{Tools, mkvmerge_version, which};
use reelmill_core::error::{Failure, FailureClass};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The oldest version that leaves Dolby Vision whole.
const OLDEST: u32 = 57;

/// `source` with all its tracks, uncompressed by the container, as a Matroska
/// file in `scratch`.
///
/// # Errors
/// Class environment without `mkvmerge`, no space when `scratch` cannot hold a
/// copy, input when the source cannot be read.
pub(super) async fn bring(
    tools: &Tools,
    source: &Path,
    scratch: &Path,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let mkvmerge = which("mkvmerge").ok_or_else(|| {
        Failure::environment("mkvmerge is not installed, and this source needs it")
            .advise("install MKVToolNix 74 or newer (Debian, Ubuntu: 'apt-get install mkvtoolnix')")
    })?;
    check_version(mkvmerge_version().await.as_deref())?;
    check_space(source, scratch)?;
    let usual = scratch.join("usual.mkv");
    // An absolute path is never taken for an option or a list of options.
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| Failure::io(format!("find {}", path.display()), &error))
    };
    let (from, to) = (absolute(source)?, absolute(&usual)?);
    let args = Args::new().words("--quiet -o").arg(&to).words("--compression -1:none").arg(&from);
    let args = args.reads(&from).writes(&to);
    let exit = tools.program(&mkvmerge, args).run_any(cancel).await?;
    // 1 means that it had something to say.
    if exit.status <= 1 && exit.status >= 0 {
        return Ok(usual);
    }
    exit.success().map_err(|failure| Failure { class: FailureClass::Input, ..failure })?;
    Ok(usual)
}

/// Whether this MKVToolNix writes Dolby Vision as it should: 56 damaged it.
fn check_version(version: Option<&str>) -> Result<(), Failure> {
    let major = version.and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST => Ok(()),
        _ => Err(Failure::environment(format!(
            "mkvmerge is version {}, but {OLDEST} or newer is needed",
            version.unwrap_or("unknown")
        ))
        .advise("install MKVToolNix 74 or newer")),
    }
}

/// Whether `scratch` can hold a copy of the source.
fn check_space(source: &Path, scratch: &Path) -> Result<(), Failure> {
    let size = std::fs::metadata(source)
        .map_err(|error| Failure::io(format!("read {}", source.display()), &error))?
        .len();
    #[cfg(unix)]
    {
        let fail = |error: rustix::io::Errno| {
            Failure::io(format!("use {}", scratch.display()), &error.into())
        };
        let space = rustix::fs::statvfs(scratch).map_err(fail)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < size + size / 50 {
            let message = format!(
                "{} has {free} bytes free; a copy of the source needs {size}",
                scratch.display()
            );
            return Err(Failure::new(FailureClass::NoSpace, message)
                .advise("free some space there, or choose another place with --scratch"));
        }
    }
    let _ = (size, scratch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap12_versions_that_damage_dolby_vision_are_refused() {
        assert!(check_version(Some("74.0.0")).is_ok() && check_version(Some("57.0.0")).is_ok());
        for bad in [Some("56.1.0"), Some("9.8.0"), Some("what"), None] {
            let failure = check_version(bad).unwrap_err();
            assert_eq!(failure.class, FailureClass::Environment, "{failure}");
        }
    }
}
