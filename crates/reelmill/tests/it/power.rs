//! The power goes: a disk image is cut off at one system call of a replacement
//! after another, and what had reached it is mounted and recovered. Another file
//! is flushed just before the cut, so that the file system's journal is written
//! and the films' own blocks are not. Needs root, loop devices and strace.

use super::fire::{CASES, Case, Fire, OLD, Point, strace};
use super::support::{long, not_run, tool};
use std::path::{Path, PathBuf};

/// The size of the image: room for the films, and for what stays free.
const IMAGE: u64 = 64 << 20;

/// XFS makes none that are smaller.
const XFS_IMAGE: u64 = 320 << 20;

fn done(program: &str, args: &[&std::ffi::OsStr]) -> bool {
    tool(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// A mounted image; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        let loops = ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()];
        done("mount", &loops).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !done("umount", &[self.0.as_os_str()]) {
            done("umount", &["-l".as_ref(), self.0.as_os_str()]);
        }
    }
}

/// An image of a file system with the film on it.
fn image(kind: &str, at: &Path) -> Option<PathBuf> {
    let image = at.join(format!("{kind}.img"));
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(if kind == "xfs" { XFS_IMAGE } else { IMAGE }).unwrap();
    let force = if kind == "xfs" { "-f" } else { "-F" };
    let make = format!("mkfs.{kind}");
    if !done(&make, &["-q".as_ref(), force.as_ref(), image.as_os_str()]) {
        return None;
    }
    let films = at.join("mount");
    std::fs::create_dir_all(&films).unwrap();
    let _mounted = Mounted::new(&image, &films)?;
    std::fs::write(films.join("film.mkv"), OLD).unwrap();
    std::fs::create_dir(films.join("other")).unwrap();
    Some(image)
}

fn copy(from: &Path, to: &Path) {
    assert!(done("cp", &["--sparse=always".as_ref(), from.as_os_str(), to.as_os_str()]));
}

/// Cuts the power at `point`; says what is wrong afterwards.
fn cut(
    image: &Path,
    case: Case,
    point: &Point,
    mutant: Option<&'static str>,
) -> Result<(), String> {
    let fire = Fire::bare(case, mutant);
    let [disk, rest, log] = ["disk", "rest", "log"].map(|name| fire.place.path(name));
    let told = |why: String| format!("{case:?} {point:?}: {why}");
    copy(image, &disk);
    {
        let _mounted = Mounted::new(&disk, &fire.films()).unwrap();
        let inject = point.inject("signal=SIGKILL");
        fire.traced(&fire.replace(), Some(&inject), &log);
        let other = fire.films().join("other/file");
        std::fs::write(&other, "other").unwrap();
        std::fs::File::open(&other).unwrap().sync_all().unwrap();
        copy(&disk, &rest);
    }
    let _mounted = Mounted::new(&rest, &fire.films()).unwrap();
    fire.judge("after the power came back").map_err(told)?;
    for _ in 0..2 {
        let ran = fire.traced(&fire.clean(), None, &log);
        if ran.code != 0 {
            return Err(told(format!("cannot recover: {}{}", ran.out, ran.err)));
        }
    }
    fire.settled().map_err(told)
}

fn points(image: &Path, case: Case) -> Vec<Point> {
    let fire = Fire::bare(case, None);
    let disk = fire.place.path("disk");
    copy(image, &disk);
    let _mounted = Mounted::new(&disk, &fire.films()).unwrap();
    fire.points(&fire.replace())
}

#[test]
fn a_power_cut_loses_nothing_and_the_mutant_that_does_not_flush_is_caught() {
    let group = "power cuts on loop-mounted disks";
    if !rustix::process::geteuid().is_root() {
        return not_run(group, "only root may mount");
    }
    if !strace(group) {
        return;
    }
    for kind in ["ext4", "xfs"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(image) = image(kind, folder.path()) else {
            not_run(&format!("{group}: {kind}"), "it cannot be made or mounted here");
            continue;
        };
        if kind == "xfs" && !long() {
            not_run(&format!("{group}: xfs"), "only with REELMILL_TEST_LONG=1");
            continue;
        }
        let (mut cuts, mut caught, mut wrong) = (0, 0, Vec::new());
        for case in CASES {
            let points = points(&image, case);
            let stride = if long() { 1 } else { points.len().div_ceil(3) };
            for point in points.iter().skip(stride / 2).step_by(stride) {
                cuts += 1;
                wrong.extend(cut(&image, case, point, None).err());
            }
            // The mutant's cuts come late: there is something to be lost then.
            let late = points.iter().rev().step_by(if long() { 2 } else { 4 });
            for point in late {
                if !long() && caught > 0 {
                    break;
                }
                caught += usize::from(cut(&image, case, point, Some("replace-fsync")).is_err());
            }
        }
        println!("{kind}: {cuts} cuts, the mutant was caught {caught} times");
        assert!(wrong.is_empty(), "{kind}: {} of {cuts}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(caught > 0, "{kind}: cuts would not notice that nothing is flushed");
    }
}
