//! Brings a file into the usual form of Matroska, by MKVToolNix.

use crate::process::ToolCommand;
use crate::tools::which;
use reelmill_core::error::{Failure, FailureClass};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// `source` with all its tracks, uncompressed by the container, as a Matroska
/// file in `scratch`.
///
/// # Errors
/// Class environment without `mkvmerge`, no space when `scratch` cannot hold a
/// copy, input when the source cannot be read.
pub(super) async fn bring(
    source: &Path,
    scratch: &Path,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let mkvmerge = which("mkvmerge").ok_or_else(|| {
        Failure::environment("mkvmerge is not installed, and this source needs it")
            .advise("install MKVToolNix 74 or newer (Debian, Ubuntu: 'apt-get install mkvtoolnix')")
    })?;
    check_space(source, scratch)?;
    let usual = scratch.join("usual.mkv");
    let exit = ToolCommand::uncaged(&mkvmerge)
        .args(["--quiet", "--compression", "-1:none", "-o"])
        .arg(&usual)
        .args(["--compression", "-1:none"])
        .arg(source)
        .run_any(cancel)
        .await?;
    // 1 means that it had something to say.
    if exit.status <= 1 && exit.status >= 0 {
        return Ok(usual);
    }
    exit.success().map_err(|failure| Failure { class: FailureClass::Input, ..failure })?;
    Ok(usual)
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
