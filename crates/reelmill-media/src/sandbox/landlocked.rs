//! The files that a tool can see, by Landlock.

use super::Access;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The newest version whose rights are asked for; older kernels get what they
/// know.
const NEWEST: ABI = ABI::V6;

/// What every program needs to start and encoders look at: libraries, fonts,
/// time zones, the number of processors.
pub(super) const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// Where the loaders of the C libraries lie, which run every program.
const LOADERS: &[&str] = &["/lib64", "/lib", "/usr/lib64", "/usr/lib"];

/// Shuts the calling thread in; says which version of Landlock the kernel has.
pub(super) fn enter(program: &Path, access: &Access) -> Result<i32, String> {
    let say = |error: RulesetError| format!("landlock: {error}");
    let status = rules(program, access).and_then(RulesetCreated::restrict_self).map_err(say)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32)
        }
        LandlockStatus::NotEnabled => return Err("landlock: not enabled in this kernel".into()),
        LandlockStatus::NotImplemented => return Err("landlock: ENOSYS".into()),
    };
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err("landlock: not enforced".into());
    }
    Ok(abi)
}

fn rules(program: &Path, access: &Access) -> Result<RulesetCreated, RulesetError> {
    let everything = AccessFs::from_all(NEWEST);
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in SYSTEM.iter().map(PathBuf::from).chain(library_folders()) {
        rules = allow(rules, &path, look)?;
    }
    rules = allow(rules, Path::new("/dev/null"), device)?;
    for path in may_run(program) {
        rules = allow(rules, &path, AccessFs::Execute | AccessFs::ReadFile)?;
    }
    for path in access.devices() {
        rules = allow(rules, &path, device | AccessFs::ReadDir | AccessFs::IoctlDev)?;
    }
    for path in access.device_facts() {
        rules = allow(rules, Path::new(path), look)?;
    }
    for path in access.reads() {
        rules = allow(rules, path, AccessFs::ReadFile.into())?;
    }
    for path in access.writes() {
        rules = allow(rules, path, device | AccessFs::Truncate)?;
    }
    let work = look
        | device
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    for path in access.folders() {
        rules = allow(rules, path, work)?;
    }
    Ok(rules)
}

/// Adds `rights` on `path`; what does not exist needs none. On a file, only the
/// rights that files have count.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(handle) = PathFd::new(path) else {
        return Ok(rules);
    };
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(handle, rights))
}

/// Folders that the environment adds to the loader's.
pub(super) fn library_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&named).filter(|folder| folder.is_absolute()).collect()
}

/// Files that may be executed: the program and the loaders. A program that is a
/// script may run what the system has, or it could do nothing.
fn may_run(program: &Path) -> Vec<PathBuf> {
    let mut files = vec![program.to_owned()];
    if is_script(program) {
        files.extend(["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from));
        return files;
    }
    files.extend(loaders().iter().cloned());
    files
}

/// The loaders of this machine, looked for once: a tool starts for every file.
fn loaders() -> &'static [PathBuf] {
    static FOUND: std::sync::OnceLock<Vec<PathBuf>> = std::sync::OnceLock::new();
    FOUND.get_or_init(|| {
        let entries = LOADERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let names = entries.flatten().flatten().map(|entry| entry.path());
        names.filter(|path| is_loader(path)).collect()
    })
}

fn is_loader(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("ld-linux") || name.starts_with("ld-musl") || name == "ld.so"
}

/// Whether a file begins with "#!".
pub(super) fn is_script(path: &Path) -> bool {
    let mut head = [0; 2];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && &head == b"#!"
}
