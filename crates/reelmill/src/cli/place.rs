//! Where an output goes: looked at before, put together beside, renamed into.

use crate::exit::Ending;
use reelmill_core::error::{Failure, FailureClass};
use sha2::{Digest, Sha512};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Space below which nothing is begun, bytes: what the conversion's own records
/// take, with room to write down that it failed.
const LEAST_SPACE: u64 = 4 << 20;

/// Makes the folder for chunks and records, and refuses it when it is as good as
/// full: a conversion that cannot write down how it went cannot end either.
///
/// # Errors
/// When the folder cannot be made, or has less than 4 MiB free.
pub(super) fn make_room(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
    let Ok(space) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= LEAST_SPACE {
        return Ok(());
    }
    let message = format!("there is no space left for chunks in {}", folder.display());
    Err(Failure::new(FailureClass::NoSpace, message)
        .advise("free some space there, or choose another place with --scratch"))
}

/// Whether `output` can be written without harming anything, found by trying.
///
/// # Errors
/// When it is the input, exists, or its folder cannot be written to.
pub(super) fn check_output(input: &Path, output: &Path, overwrite: bool) -> Result<(), Ending> {
    let shown = output.display();
    if same_file(input, output) {
        let failure = Failure::permanent(format!("the output {shown} is the input itself"));
        return Err(Ending::usage(failure.advise("choose another name with -o")));
    }
    if output.symlink_metadata().is_ok() && !overwrite {
        let failure = Failure::permanent(format!("{shown} exists already"));
        return Err(Ending::usage(failure.advise("add --overwrite to replace it")));
    }
    let folder = folder_of(output);
    let writable = std::fs::metadata(folder).and_then(|meta| {
        if !meta.is_dir() {
            return Err(std::io::Error::from(ErrorKind::NotADirectory));
        }
        // The only honest test of writability is to write.
        tempfile::Builder::new().prefix(".reelmill-").tempfile_in(folder).map(drop)
    });
    writable.map_err(|e| Failure::io(format!("write to the folder {}", folder.display()), &e))?;
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Bytes that a file's name may have on the file systems that people use.
const LONGEST_NAME: usize = 255;

/// Where the output is put together: beside its place, hidden. A digest stands
/// for a name that is not UTF-8, which no job can state, or too long to be added to.
pub(super) fn staged_path(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default();
    let hidden = |name: &str| format!(".{name}.reelmill-part");
    let plain = name.to_str().map(hidden).filter(|name| name.len() <= LONGEST_NAME);
    let digest = || hidden(&hex::encode(&Sha512::digest(name.as_encoded_bytes())[..16]));
    output.with_file_name(plain.unwrap_or_else(digest))
}

/// `path` in absolute form, by a name that is UTF-8: its own, or else that of a
/// symbolic link to it that is made at `link`.
///
/// # Errors
/// When the link cannot be made, or its name is not UTF-8 either.
pub(super) fn plain_path(path: &Path, link: &Path) -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::io(format!("find {}", path.display()), &e);
    let (path, link) =
        (std::path::absolute(path).map_err(fail)?, std::path::absolute(link).map_err(fail)?);
    if let Some(text) = path.to_str() {
        return Ok(text.to_owned());
    }
    let at = |e: std::io::Error| Failure::io(format!("link {}", link.display()), &e);
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(&path, &link).map_err(at)?;
    let text = link.to_str().filter(|_| cfg!(unix)).map(str::to_owned);
    text.ok_or_else(|| {
        Failure::input(format!("{} has a name that is not UTF-8", path.display()))
            .advise("rename it")
    })
}

/// Puts the finished file in its place, in one step.
pub(super) fn publish(staged: &Path, output: &Path, overwrite: bool) -> Result<(), Ending> {
    let fail = |e: std::io::Error| Failure::io(format!("put {} in place", output.display()), &e);
    let placed =
        if overwrite { std::fs::rename(staged, output) } else { rename_new(staged, output) };
    match placed {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message = format!("{} appeared meanwhile; it was not replaced", output.display());
            let advice = format!("the finished file is at {}", staged.display());
            return Err(Ending::usage(Failure::permanent(message).advise(advice)));
        }
        Err(error) => return Err(fail(error).into()),
    }
    let folder = std::fs::File::open(folder_of(output)).map_err(fail)?;
    folder.sync_all().map_err(fail)?;
    Ok(())
}

/// Renames without replacing: by a hard link where there are such, which
/// network file systems do atomically too.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}
