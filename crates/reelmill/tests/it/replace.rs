//! Files that take another's place, and come back.

use super::folder::{convert, films, names, summary, tiny};
use super::support::{Place, Ran};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn replace(place: &Place, file: &Path, with: &Path, args: &[&str]) -> Ran {
    let mut command = place.reelmill();
    Ran::of(command.arg("replace").arg(file).arg(with).args(args))
}

fn undo(place: &Place, what: &Path) -> Ran {
    place.run(["undo".as_ref(), what.as_os_str()])
}

/// Old and new content in files, not yet in the library.
fn two(place: &Place, name: impl AsRef<OsStr>) -> (PathBuf, PathBuf) {
    let film = films(place).join(name.as_ref());
    std::fs::write(&film, "the old content").unwrap();
    let new = place.path("new.mkv");
    std::fs::write(&new, "new").unwrap();
    (film, new)
}

fn trash(place: &Place) -> Vec<String> {
    names(&place.path("films/.reelmill/trash"))
}

#[test]
fn a_replaced_file_comes_back_by_undo() {
    let place = Place::new();
    let films = films(&place);
    let film = films.join("film.mkv");
    tiny(&film, 1);
    std::fs::set_permissions(&film, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (before, meta) = (std::fs::read(&film).unwrap(), std::fs::metadata(&film).unwrap());
    for shared in [&["--replace"][..], &["--replace", "--shared", "--again"][..]] {
        Ran::of(&mut convert(&place, &films, shared)).ok();
        let after = std::fs::metadata(&film).unwrap();
        assert!(std::fs::read(&film).unwrap() != before);
        assert_eq!((after.mode(), after.mtime()), (meta.mode(), meta.mtime()));
        assert_eq!(names(&films), [".reelmill", "film.mkv"]);
        let again = Ran::of(&mut convert(&place, &films, &["--replace", "--json"])).ok();
        assert_eq!(summary(&again)["converted"], 0, "{}", again.out);
        undo(&place, &film).ok();
        assert!(std::fs::read(&film).unwrap() == before);
        assert_eq!(std::fs::metadata(&film).unwrap().nlink(), 1, "no second name is left");
        assert_eq!(names(&films), [".reelmill", "film.mkv"]);
    }
    let undone = Ran::of(&mut convert(&place, &films, &["--replace"])).ok();
    assert!(undone.err.contains("undone"), "{}", undone.err);
    assert_eq!(trash(&place).len(), 2, "what had replaced it");
}

#[test]
fn a_new_name_is_taken_and_given_back() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("film.avi"), 1);
    let before = std::fs::read(films.join("film.avi")).unwrap();
    let ran = Ran::of(&mut convert(&place, &films, &["--replace", "--keep-bigger", "--json"])).ok();
    assert_eq!(summary(&ran)["converted"], 1);
    assert_eq!(names(&films), [".reelmill", "film.mkv"]);
    undo(&place, &films.join("film.avi")).ok();
    assert_eq!(names(&films), [".reelmill", "film.avi"]);
    assert_eq!(std::fs::read(films.join("film.avi")).unwrap(), before);
}

#[test]
fn undo_refuses_what_was_changed_since_and_keeps_the_original() {
    for shared in [&[][..], &["--shared"][..]] {
        let place = Place::new();
        let (film, new) = two(&place, "film.mkv");
        replace(&place, &film, &new, shared).ok();
        std::fs::write(&film, "the user's own").unwrap();
        undo(&place, &film).refused(1, &["was changed", "trash"]);
        assert_eq!(std::fs::read(&film).unwrap(), b"the user's own");
        let kept = place.path("films/.reelmill/trash").join(&trash(&place)[0]);
        assert_eq!(std::fs::read(kept).unwrap(), b"the old content", "still in the trash");
        undo(&place, Path::new("other.mkv")).refused(3, &["other.mkv"]);
    }
}

#[test]
fn everything_a_file_has_besides_its_content_is_kept() {
    let place = Place::new();
    for (number, (ways, with)) in
        [(&[][..], "x.mkv"), (&["--shared"][..], "x.mkv"), (&[][..], "x.mp4")].iter().enumerate()
    {
        let film = films(&place).join(format!("film{number}.mkv"));
        std::fs::write(&film, "the old content").unwrap();
        let new = place.path(with);
        std::fs::write(&new, "new").unwrap();
        let attribute =
            rustix::fs::setxattr(&film, "user.comment", b"kept", rustix::fs::XattrFlags::empty());
        if attribute.is_err() {
            super::support::not_run("attributes of replaced files", "the disk keeps none");
        }
        std::fs::set_permissions(&film, std::fs::Permissions::from_mode(0o2751)).unwrap();
        let owner = std::os::unix::fs::chown(&film, Some(12), Some(34));
        std::fs::set_permissions(&film, std::fs::Permissions::from_mode(0o2751)).unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567);
        let file = std::fs::File::options().write(true).open(&film).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(then).set_accessed(then)).unwrap();
        let before = std::fs::metadata(&film).unwrap();
        replace(&place, &film, &new, ways).ok();
        let placed = film.with_extension(with.rsplit_once('.').unwrap().1);
        let after = std::fs::metadata(&placed).unwrap();
        assert_eq!(std::fs::read(&placed).unwrap(), b"new");
        assert_eq!(after.mode(), before.mode());
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert!(owner.is_err() || (after.uid(), after.gid()) == (12, 34));
        assert_eq!(after.modified().unwrap(), then);
        if attribute.is_ok() {
            let mut value = [0; 16];
            let length = rustix::fs::getxattr(&placed, "user.comment", &mut value[..]).unwrap();
            assert_eq!(&value[..length], b"kept");
        }
    }
}

#[test]
fn names_of_every_kind_are_replaced() {
    let place = Place::new();
    let long = format!("{}.mkv", "ä".repeat(125) + "x");
    assert_eq!(long.len(), 255);
    let odd: [&OsStr; 5] = [
        OsStr::new(&long),
        OsStr::from_bytes(b"not\xff\xfeutf8.mkv"),
        OsStr::new("%61 new\nline.mkv"),
        OsStr::new("-y.mkv"),
        OsStr::new("e\u{301}.mkv"),
    ];
    for name in odd {
        for way in [&[][..], &["--shared"][..]] {
            let (film, new) = two(&place, name);
            replace(&place, &film, &new, way).ok();
            assert_eq!(std::fs::read(&film).unwrap(), b"new");
            undo(&place, &film).ok();
            assert_eq!(std::fs::read(&film).unwrap(), b"the old content");
        }
    }
    assert_eq!(names(&films(&place)).len(), odd.len() + 1);
}

#[test]
fn a_name_that_differs_in_case_only_stays_as_it_is() {
    let place = Place::new();
    let (film, new) = two(&place, "FILM.MKV");
    replace(&place, &film, &new, &[]).ok();
    assert_eq!(names(&films(&place)), [".reelmill", "FILM.MKV"]);
    assert_eq!(std::fs::read(&film).unwrap(), b"new");
}

#[test]
fn hard_links_and_symbolic_links_are_left_alone() {
    let place = Place::new();
    let films = films(&place);
    tiny(&films.join("film.mkv"), 1);
    std::fs::hard_link(films.join("film.mkv"), place.path("seeded.mkv")).unwrap();
    std::os::unix::fs::symlink("film.mkv", films.join("link.mkv")).unwrap();
    let ran = Ran::of(&mut convert(&place, &films, &["--replace", "--json"])).ok();
    let told = summary(&ran);
    assert_eq!((&told["skipped"], &told["converted"]), (&2.into(), &0.into()), "{}", ran.out);
    assert!(ran.out.contains("hard links"), "{}", ran.out);
    let new = place.path("new.mkv");
    std::fs::write(&new, "new").unwrap();
    replace(&place, &films.join("film.mkv"), &new, &[]).refused(2, &["hard links"]);
    replace(&place, &films.join("link.mkv"), &new, &[]).refused(3, &["no file"]);
    replace(&place, &films.join("none.mkv"), &new, &[]).refused(3, &["no file"]);
    replace(&place, &films.join("film.mkv"), &place.path("none"), &[]).refused(3, &["no file"]);
}

#[test]
fn a_taken_name_is_not_replaced() {
    let place = Place::new();
    let (film, _) = two(&place, "film.avi");
    let new = place.path("new.mkv");
    std::fs::write(&new, "new").unwrap();
    std::fs::write(films(&place).join("film.mkv"), "another").unwrap();
    replace(&place, &film, &new, &[]).refused(1, &["was not replaced"]);
    assert_eq!(std::fs::read(&film).unwrap(), b"the old content");
    assert_eq!(std::fs::read(films(&place).join("film.mkv")).unwrap(), b"another");
    std::fs::remove_file(films(&place).join("film.mkv")).unwrap();
    replace(&place, &film, &new, &[]).ok();
    assert_eq!(names(&films(&place)), [".reelmill", "film.mkv"]);
}

#[test]
fn the_trash_is_emptied_after_its_days_and_not_before() {
    let place = Place::new();
    let (film, new) = two(&place, "film.mkv");
    replace(&place, &film, &new, &[]).ok();
    let run = |days: &str| {
        let args = ["--replace", "--trash-days", days, "--json"];
        Ran::of(&mut convert(&place, &films(&place), &args))
    };
    run("1");
    assert_eq!(trash(&place).len(), 1);
    let ran = run("0.0000001");
    assert!(ran.err.contains("removed 1 files"), "{}", ran.err);
    assert!(trash(&place).is_empty());
    undo(&place, &film).refused(3, &["nothing is known"]);
}
