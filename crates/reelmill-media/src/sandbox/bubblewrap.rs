//! The files that a tool can see, by a mount namespace that bubblewrap makes.

use super::Access;
use super::landlocked::{SYSTEM, library_folders};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The arguments for bubblewrap that make it run `program` with `args` in
/// namespaces of its own, without network, where only `access` exists.
pub(super) fn args(
    program: &Path,
    args: Vec<OsString>,
    dir: Option<&Path>,
    access: &Access,
) -> Vec<OsString> {
    let mut all: Vec<OsString> =
        ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--proc", "/proc"]
            .map(OsString::from)
            .into();
    all.extend(["--dev", "/dev", "--tmpfs", "/tmp"].map(OsString::from));
    let mut bind = |how: &str, path: &Path| {
        all.extend([OsString::from(how), path.into(), path.into()]);
    };
    let system = SYSTEM.iter().map(PathBuf::from).chain(library_folders());
    for path in system.filter(|path| !["/proc", "/dev"].iter().any(|root| path.starts_with(root))) {
        bind("--ro-bind-try", &path);
    }
    bind("--ro-bind-try", program);
    for path in access.devices() {
        bind("--dev-bind-try", &path);
    }
    for path in access.device_facts().iter().filter(|path| !path.starts_with("/proc")) {
        bind("--ro-bind-try", Path::new(path));
    }
    for path in access.folders() {
        bind("--bind-try", &absolute(path));
    }
    for path in access.reads() {
        bind("--ro-bind-try", &absolute(path));
    }
    for path in access.writes() {
        bind("--bind-try", &absolute(path));
    }
    let here = std::env::current_dir().ok();
    if let Some(dir) = dir.map(absolute).or(here.filter(|_| relative(access))) {
        all.extend(["--dir".into(), dir.clone().into(), "--chdir".into(), dir.into()]);
    }
    all.extend(["--".into(), program.into()]);
    all.extend(args);
    all
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn relative(access: &Access) -> bool {
    [access.reads(), access.writes(), access.folders()]
        .concat()
        .iter()
        .any(|path| path.is_relative())
}
