//! Where the tools lie and which versions they are.

mod known;

use crate::args::Args;
use crate::process::ToolCommand;
use crate::sandbox::{Cage, Wanted};
use reelmill_core::error::{Failure, FailureClass};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The oldest FFmpeg whose options are all there: major, minor.
const OLDEST: (u32, u32) = (5, 1);

/// In each series, the first release without the flaws that a crafted file can
/// use to run code (CVE-2026-8461 and others).
const FIXED: [(u32, u32, u32); 4] = [(5, 1, 10), (6, 1, 6), (7, 1, 5), (8, 1, 2)];

/// A tool says its version within this time, even from a slow network drive.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// FFmpeg's programs, found and tried.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `ffmpeg`.
    pub ffmpeg: PathBuf,
    /// `ffprobe`.
    pub ffprobe: PathBuf,
    /// The version of `ffmpeg`.
    pub version: FfmpegVersion,
    /// What they run in.
    pub cage: Arc<Cage>,
    /// What they said about files lately.
    pub(crate) probed: Arc<crate::probe::Memory>,
}

/// Where a person says that the tools lie; the rest is searched for.
#[derive(Clone, Debug, Default)]
pub struct ToolPaths {
    /// `ffmpeg`.
    pub ffmpeg: Option<PathBuf>,
    /// `ffprobe`.
    pub ffprobe: Option<PathBuf>,
    /// The file that keeps what they said of themselves: who has said it in the same
    /// cage, and lies there unchanged, is not asked again. Without it they are asked.
    pub memory: Option<PathBuf>,
}

/// A version of FFmpeg; builds from between releases have the largest numbers,
/// for they are newer than any release that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FfmpegVersion {
    /// The version as FFmpeg prints it.
    pub text: String,
    /// First number; `u32::MAX` for a build from between releases.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
}

impl fmt::Display for FfmpegVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FfmpegVersion {
    /// The version that `text` names, such as `5.1.9-0+deb12u1`, `n6.0-2`,
    /// `N-109876-g1234567` or `2024-07-10-git-1a86a7a48d`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let digits = text.strip_prefix(['n', 'v']).unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let mut numbers = digits[..end].split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(Result::ok);
        let (major, minor, micro) = match next() {
            // Dated builds begin with a year.
            Some(major) if major < 1000 => {
                (major, next().unwrap_or_default(), next().unwrap_or_default())
            }
            _ => (u32::MAX, 0, 0),
        };
        Self { text: text.to_owned(), major, minor, micro }
    }

    /// Whether it is `major.minor` or newer.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl Tools {
    /// Finds FFmpeg as [`Self::find_in`] does, in the strongest cage that this
    /// machine has.
    ///
    /// # Errors
    /// Class environment, when one is missing, does not start or is too old.
    pub async fn find(paths: &ToolPaths) -> Result<Self, Failure> {
        Self::find_in(Cage::choose(Wanted::default()).await?, paths).await
    }

    /// Finds FFmpeg: where `paths` say, else where `REELMILL_FFMPEG` and
    /// `REELMILL_FFPROBE` say, else on the `PATH`; tries it in `cage`.
    ///
    /// # Errors
    /// Class environment, when one is missing, does not start or is too old.
    pub async fn find_in(cage: Cage, paths: &ToolPaths) -> Result<Self, Failure> {
        let cage = Arc::new(cage);
        let ffmpeg = locate("ffmpeg", paths.ffmpeg.as_deref(), "REELMILL_FFMPEG")?;
        let ffprobe = locate("ffprobe", paths.ffprobe.as_deref(), "REELMILL_FFPROBE")?;
        let memory = paths.memory.as_deref();
        let before = |program| known::recall(memory?, program, cage.level());
        let (version, other) = match (before(&ffmpeg), before(&ffprobe)) {
            (Some(version), Some(other)) => (version, other),
            _ => {
                let (version, other) =
                    tokio::join!(ffmpeg_version(&ffmpeg, &cage), ffmpeg_version(&ffprobe, &cage));
                let (version, other) = (version?, other?);
                if let Some(memory) = memory {
                    let said = [(ffmpeg.as_path(), &version), (ffprobe.as_path(), &other)];
                    known::remember(memory, cage.level(), &said);
                }
                (version, other)
            }
        };
        check_age(&ffmpeg, &version)?;
        check_age(&ffprobe, &other)?;
        Ok(Self { ffmpeg, ffprobe, version, cage, probed: Arc::default() })
    }

    /// `ffmpeg` with `args`, in the cage.
    #[must_use]
    pub fn ffmpeg(&self, args: Args) -> ToolCommand {
        self.program(&self.ffmpeg, args)
    }

    /// `ffprobe` with `args`, in the cage.
    #[must_use]
    pub fn ffprobe(&self, args: Args) -> ToolCommand {
        self.program(&self.ffprobe, args)
    }

    /// Another program with `args`, in the cage: it can read and write the files
    /// that `args` know of ([`Args::open`], [`Args::write`]…) and no others.
    #[must_use]
    pub fn program(&self, program: &Path, args: Args) -> ToolCommand {
        ToolCommand::caged(program, &self.cage, args)
    }

    /// A warning, when this FFmpeg has flaws that a crafted file can use.
    #[must_use]
    pub fn known_bad(&self) -> Option<String> {
        let FfmpegVersion { text, major, minor, micro } = &self.version;
        let fixed = FIXED.iter().find(|fixed| fixed.0 == *major)?;
        ((*major, *minor, *micro) < *fixed).then(|| {
            format!(
                "FFmpeg {text} has known flaws that a crafted media file can use to run code \
                 (CVE-2026-8461 and others); update to {}.{}.{} or newer, or make sure that \
                 your distribution has fixed them",
                fixed.0, fixed.1, fixed.2
            )
        })
    }
}

/// The version of `mkvmerge`, when it is on the `PATH` and starts.
pub async fn mkvmerge_version() -> Option<String> {
    let program = which("mkvmerge")?;
    let said = first_line(ToolCommand::uncaged(&program).arg("--version")).await.ok()?;
    let version = said.split(' ').find_map(|word| word.strip_prefix('v')).unwrap_or(&said);
    Some(version.to_owned())
}

/// The program `name` on the `PATH`.
#[must_use]
pub fn which(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    search(name, &folders)
}

fn search(name: &str, folders: &OsStr) -> Option<PathBuf> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file))
        .find(|path| executable(path))
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(path: &Path) -> bool {
    path.is_file()
}

fn locate(name: &str, given: Option<&Path>, variable: &str) -> Result<PathBuf, Failure> {
    let given = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from));
    match given {
        None => which(name).ok_or_else(|| {
            Failure::environment(format!("{name} is not installed: it is not on the PATH"))
                .advise(INSTALL)
        }),
        Some(path) if executable(&path) => Ok(path),
        Some(path) => Err(Failure::environment(format!(
            "{} is not a program, but is set as the path of {name}",
            path.display()
        ))
        .advise(format!("correct the setting or {variable}"))),
    }
}

const INSTALL: &str = "install FFmpeg 5.1 or newer (Debian, Ubuntu: 'apt-get install ffmpeg'; \
    Fedora: 'dnf install ffmpeg'; macOS: 'brew install ffmpeg'; Windows: 'winget install ffmpeg'), \
    or name its path with REELMILL_FFMPEG and REELMILL_FFPROBE";

async fn first_line(command: ToolCommand) -> Result<String, Failure> {
    let command = command.limit(VERSION_LIMIT).capture_limit(1 << 20);
    let output = command.run(&CancellationToken::new()).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

async fn ffmpeg_version(program: &Path, cage: &Arc<Cage>) -> Result<FfmpegVersion, Failure> {
    let question = || Args::new().arg("-version");
    let line = match first_line(ToolCommand::caged(program, cage, question())).await {
        Ok(line) => line,
        Err(failure) => {
            let outside = ToolCommand::uncaged(program).arg("-version");
            if first_line(outside).await.is_ok() {
                let message = format!(
                    "{} starts, but not inside the sandbox ({})",
                    program.display(),
                    failure.message
                );
                return Err(Failure { class: FailureClass::Environment, message, ..failure }
                    .advise("install it under /usr, or choose a weaker one: --sandbox limits"));
            }
            return Err(Failure {
                class: FailureClass::Environment,
                advice: failure.advice.clone().or_else(|| Some(INSTALL.to_owned())),
                ..failure
            });
        }
    };
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(_), Some("version"), Some(text)) => Ok(FfmpegVersion::parse(text)),
        _ => Err(Failure::environment(format!(
            "{} does not answer as FFmpeg does, but with '{line}'",
            program.display()
        ))
        .advise(INSTALL)),
    }
}

fn check_age(program: &Path, found: &FfmpegVersion) -> Result<(), Failure> {
    let (major, minor) = OLDEST;
    if found.at_least(major, minor) {
        return Ok(());
    }
    let message =
        format!("{} is version {found}, but {major}.{minor} or newer is needed", program.display());
    Err(Failure::environment(message).advise(INSTALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> (u32, u32, u32) {
        let version = FfmpegVersion::parse(text);
        assert_eq!(version.to_string(), text);
        (version.major, version.minor, version.micro)
    }

    #[test]
    fn reads_the_versions_that_builds_print() {
        assert_eq!(numbers("5.1.9-0+deb12u1"), (5, 1, 9));
        assert_eq!(numbers("7.1"), (7, 1, 0));
        assert_eq!(numbers("n6.0-2-gabcdef"), (6, 0, 0));
        assert_eq!(numbers("4.4.2-0ubuntu0.22.04.1"), (4, 4, 2));
        assert_eq!(numbers("8.1.2-full_build-www.gyan.dev"), (8, 1, 2));
        for git in ["N-109876-g0123456789", "2024-07-10-git-1a86a7a48d", "git-2020-01-01-x"] {
            assert_eq!(numbers(git), (u32::MAX, 0, 0), "{git}");
        }
    }

    #[test]
    fn old_versions_are_refused_with_both_versions_named() {
        let path = Path::new("/usr/bin/ffmpeg");
        let failure = check_age(path, &FfmpegVersion::parse("4.4.2-0ubuntu0.22.04.1")).unwrap_err();
        assert_eq!(failure.class, FailureClass::Environment);
        assert!(failure.message.contains("4.4.2") && failure.message.contains("5.1"), "{failure}");
        for fine in ["5.1", "5.1.9", "6.0", "N-1-g2"] {
            assert!(check_age(path, &FfmpegVersion::parse(fine)).is_ok(), "{fine}");
        }
    }

    #[tokio::test]
    async fn warns_of_versions_with_known_flaws() {
        let cage = Arc::new(Cage::choose(Wanted::default()).await.unwrap());
        let warns = |text: &str| {
            let tools = Tools {
                probed: Arc::default(),
                ffmpeg: PathBuf::new(),
                ffprobe: PathBuf::new(),
                version: FfmpegVersion::parse(text),
                cage: cage.clone(),
            };
            tools.known_bad().is_some()
        };
        for bad in ["5.1.9-0+deb12u1", "6.0", "6.1.5", "7.0.2", "7.1.4", "8.0", "8.1.1"] {
            assert!(warns(bad), "{bad}");
        }
        for good in ["5.1.10", "6.1.6", "7.1.5", "8.1.2", "9.0", "N-1-g2", "2026-08-01-git-x"] {
            assert!(!warns(good), "{good}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn searches_the_path_for_programs_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let [plain, program] = ["a", "b"].map(|name| folder.path().join(name));
        for (dir, mode) in [(&plain, 0o644), (&program, 0o755)] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("tool"), "").unwrap();
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.join("tool"), permissions).unwrap();
        }
        let folders = std::env::join_paths([Path::new("."), &plain, &program]).unwrap();
        assert_eq!(search("tool", &folders), Some(program.join("tool")));
        assert_eq!(search("other", &folders), None);
    }

    #[tokio::test]
    async fn finds_the_tools_of_this_machine() {
        let tools = Tools::find(&ToolPaths::default()).await.unwrap();
        assert!(tools.version.at_least(5, 1));
        let (ffmpeg, ffprobe) = (Some(tools.ffmpeg.clone()), Some(tools.ffprobe));
        let again = ToolPaths { ffmpeg, ffprobe, memory: None };
        assert_eq!(Tools::find(&again).await.unwrap().ffmpeg, tools.ffmpeg);
    }

    #[tokio::test]
    async fn a_wrong_path_and_a_wrong_program_are_told_apart() {
        let find = async |path: &str| {
            let paths = ToolPaths { ffmpeg: Some(path.into()), ..ToolPaths::default() };
            Tools::find(&paths).await.unwrap_err()
        };
        let missing = find("/nowhere/ffmpeg").await;
        assert!(missing.message.contains("is not a program"), "{missing}");
        let other = find("/bin/echo").await;
        assert!(other.message.contains("does not answer as FFmpeg"), "{other}");
        for failure in [missing, other] {
            assert_eq!(failure.class, FailureClass::Environment);
            assert!(failure.advice.is_some());
        }
    }
}
