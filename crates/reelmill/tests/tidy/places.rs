//! What belongs to one machine and not into the repository; settings that must
//! agree.

use crate::tree::Tree;

/// No file names a place of the machine it was written on.
pub(crate) fn own_paths(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not complain about itself.
    let places = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("/fa", "rm/"),
        concat!("/tmp/ba", "sh_"),
    ];
    let mut complaints = Vec::new();
    for file in tree.files() {
        for (at, line) in file.text.lines().enumerate() {
            let home = home_folder(line).map(|name| format!("/home/{name}"));
            let named = places.iter().filter(|place| starts_a_path(line, place));
            complaints.extend(named.map(|place| (*place).to_owned()).chain(home).map(|place| {
                format!("{}:{}: {place} is a place on one machine", file.path, at + 1)
            }));
        }
    }
    complaints
}

/// Whether `line` has `place` as the start of a path, not as a part of one.
fn starts_a_path(line: &str, place: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-.$})".contains(c);
    line.match_indices(place).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

/// The user whose home folder `line` names. A user called "you" is nobody, and
/// good in examples.
fn home_folder(line: &str) -> Option<&str> {
    let at = line.match_indices("/home/").find(|(at, _)| starts_a_path(&line[*at..], "/home/"))?.0;
    let name = &line[at + "/home/".len()..];
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    let name = &name[..end];
    (!name.is_empty() && name != "you").then_some(name)
}

/// Everything comes from the public registries, by their public names.
pub(crate) fn registries(tree: &Tree) -> Vec<String> {
    let public = "registry+https://github.com/rust-lang/crates.io-index";
    let mut complaints = Vec::new();
    for file in tree.files() {
        for (at, line) in file.text.lines().enumerate() {
            let line = line.trim();
            let private = match file.path.rsplit('/').next() {
                Some("Cargo.lock") => line.starts_with("source = ") && !line.contains(public),
                Some("package-lock.json") => {
                    line.starts_with("\"resolved\":") && !line.contains("//registry.npmjs.org/")
                }
                Some("config.toml" | "Cargo.toml") => {
                    line.starts_with(concat!("replace-", "with")) || line.starts_with("registry =")
                }
                Some(".npmrc" | "pip.conf") => line.contains("://"),
                _ => line.contains(concat!("--index", "-url")),
            };
            if private {
                complaints.push(format!("{}:{}: not a public registry: {line}", file.path, at + 1));
            }
        }
    }
    complaints
}

/// The clippy settings of core repeat the workspace's.
pub(crate) fn clippy_settings(tree: &Tree) -> Vec<String> {
    let own = "crates/reelmill-core/clippy.toml";
    let (Some(all), Some(core)) = (tree.file("clippy.toml"), tree.file(own)) else {
        return vec![format!("clippy.toml or {own} is missing")];
    };
    let plain = all.text.lines().filter(|line| {
        line.contains(" = ") && !line.ends_with('[') && !line.trim_start().starts_with(['{', '#'])
    });
    let lost = plain.filter(|line| !core.text.lines().any(|other| other == *line));
    lost.map(|line| format!("{own}: lacks the workspace's setting '{line}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_one_machine_is_found() {
        for planted in [
            concat!("let x = \"/wo", "rk/main/x\";"),
            concat!("see /ho", "me/anna/film.mkv"),
            concat!("(/fa", "rm/x)"),
        ] {
            assert_eq!(own_paths(&Tree::of([("docs/a.md", planted)])).len(), 1, "{planted}");
        }
        let fine = concat!("$dir/wo", "rk/main x/fa", "rm/ /home/you/film.mkv ProtectHome=/home/");
        assert!(own_paths(&Tree::of([("a.rs", fine)])).is_empty());
    }

    #[test]
    fn a_private_registry_is_found() {
        let line = |at: &str| format!("source = \"{at}\"");
        let public = line("registry+https://github.com/rust-lang/crates.io-index");
        let private = line("registry+https://mirror.example/index");
        assert!(registries(&Tree::of([("Cargo.lock", public.as_str())])).is_empty());
        assert_eq!(registries(&Tree::of([("Cargo.lock", private.as_str())])).len(), 1);
        let replaced = concat!("[source.crates-io]\nreplace-", "with = \"x\"");
        assert_eq!(registries(&Tree::of([(".cargo/config.toml", replaced)])).len(), 1);
        let locked = "  \"resolved\": \"https://mirror.example/x.tgz\",";
        assert_eq!(registries(&Tree::of([("ui/package-lock.json", locked)])).len(), 1);
        let pip = concat!("pip install --index", "-url https://mirror.example x");
        assert_eq!(registries(&Tree::of([("scripts/a.sh", pip)])).len(), 1);
    }

    #[test]
    fn a_setting_that_core_lost_is_found() {
        let all = "a = true\nb = 70\nbans = [\n    { path = \"x\", reason = \"y\" },\n]\n";
        let tree =
            |core| Tree::of([("clippy.toml", all), ("crates/reelmill-core/clippy.toml", core)]);
        assert!(clippy_settings(&tree("a = true\nb = 70\nc = 1\n")).is_empty());
        assert_eq!(clippy_settings(&tree("a = true\nb = 80\n")).len(), 1);
    }
}
