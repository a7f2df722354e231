//! The form of Rust files.

use crate::tree::Tree;

/// Most lines of a file, its tests at the end not counted.
const MAX_LINES: usize = 400;

/// Most characters of a line.
const MAX_WIDTH: usize = 120;

/// Files that may be longer than [`MAX_LINES`], and why. This list only shrinks:
/// a file that has become short must leave it.
const LONG: &[(&str, &str)] =
    &[("crates/reelmill-store/src/memory/store.rs", "one trait, implemented in one piece")];

/// Every file says first what it is for.
pub(crate) fn prologues(tree: &Tree) -> Vec<String> {
    let bare = tree.rust().filter(|(_, rust)| !rust.text.starts_with("//! "));
    bare.map(|(path, _)| format!("{path}:1: begin with '//! ' and what the file is for")).collect()
}

/// No file is too long, and no exception has become needless.
pub(crate) fn lengths(tree: &Tree) -> Vec<String> {
    too_long(tree, LONG)
}

fn too_long(tree: &Tree, exceptions: &[(&str, &str)]) -> Vec<String> {
    let excepted = |path: &str| exceptions.iter().any(|(file, _)| *file == path);
    let long = |path: &str| {
        tree.file(path).and_then(|f| f.rust.as_ref()).is_some_and(|r| r.own_lines > MAX_LINES)
    };
    let new = tree.rust().filter(|(path, _)| long(path) && !excepted(path)).map(|(path, rust)| {
        format!("{path}: {} lines, the most is {MAX_LINES}: split it by noun", rust.own_lines)
    });
    let old = exceptions
        .iter()
        .filter(|(file, _)| !long(file))
        .map(|(file, _)| format!("{file} is not too long any more: take it out of LONG in tidy"));
    new.chain(old).collect()
}

/// No line is too long to read. In tests, literals do not count: what a tool
/// really wrote stays as it is.
pub(crate) fn widths(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, rust) in tree.rust() {
        let tests_only = path.contains("/tests/") || path.ends_with("/tests.rs");
        for (at, line) in rust.text.lines().enumerate() {
            let test = tests_only || at >= rust.own_lines;
            let golden = if test { rust.literal_width(at + 1) } else { 0 };
            let width = line.chars().count() - golden;
            if width > MAX_WIDTH {
                complaints.push(format!("{path}:{}: {width} characters wide", at + 1));
            }
        }
    }
    complaints
}

/// Nothing unfinished or switched off is left.
pub(crate) fn leftovers(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not complain about itself.
    let words = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
    let macros = ["dbg!", concat!("to", "do!"), concat!("unimple", "mented!")];
    let ignore = concat!("#[ig", "nore");
    let mut complaints = Vec::new();
    for (path, rust) in tree.rust() {
        for (at, line) in rust.text.lines().enumerate() {
            for word in words.iter().filter(|word| crate::rust::has_word(line, word)) {
                complaints.push(format!("{path}:{}: {word}: finish it or file it", at + 1));
            }
        }
        for name in macros {
            let lines = rust.mentions(name);
            complaints.extend(lines.iter().map(|at| format!("{path}:{at}: {name} is left over")));
        }
        let ignored = rust.mentions(ignore);
        complaints.extend(ignored.iter().map(|at| {
            format!("{path}:{at}: {ignore}]: let the test tell REELMILL_NOT_RUN why it cannot run")
        }));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_prologue_is_found() {
        let tree = Tree::of([("a.rs", "//! Good.\n"), ("b.rs", "use x;\n//! Late.\n")]);
        assert_eq!(prologues(&tree).len(), 1);
        assert!(prologues(&tree)[0].starts_with("b.rs:1"));
    }

    #[test]
    fn a_long_file_is_found_and_a_needless_exception_too() {
        let long = "x\n".repeat(MAX_LINES + 1);
        let tested = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let tree = Tree::of([("long.rs", long.as_str()), ("tested.rs", tested.as_str())]);
        assert_eq!(too_long(&tree, &[]).len(), 1);
        assert!(too_long(&tree, &[("long.rs", "")]).is_empty());
        assert_eq!(
            too_long(&tree, &[("long.rs", ""), ("tested.rs", ""), ("gone.rs", "")]).len(),
            2
        );
    }

    #[test]
    fn a_wide_line_is_found() {
        let (wide, fits) = ("ä".repeat(MAX_WIDTH + 1), "ä".repeat(MAX_WIDTH));
        let tree = Tree::of([("a.rs", wide.as_str()), ("b.rs", fits.as_str()), ("c.md", &wide)]);
        assert_eq!(widths(&tree), ["a.rs:1: 121 characters wide"]);
        let golden = format!("let golden = \"{wide}\";");
        let tested = format!("x\n#[cfg(test)]\nmod tests {{\n{golden}\n{wide}\n}}\n");
        assert_eq!(widths(&Tree::of([("a.rs", golden.as_str())])).len(), 1);
        assert_eq!(widths(&Tree::of([("a.rs", tested.as_str())])), ["a.rs:5: 121 characters wide"]);
    }

    #[test]
    fn leftovers_are_found() {
        for planted in [
            concat!("// FIX", "ME later"),
            concat!("/// TO", "DO: explain"),
            concat!("let x = db", "g!(y);"),
            concat!("to", "do!()"),
            concat!("#[ig", "nore]"),
            concat!("#[ig", "nore = \"slow\"]"),
        ] {
            let tree = Tree::of([("a.rs", planted)]);
            assert_eq!(leftovers(&tree).len(), 1, "{planted}");
        }
        assert!(leftovers(&Tree::of([("a.rs", "let todos = fixmes(\"dbg!\");")])).is_empty());
    }
}
