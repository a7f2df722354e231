//! The tidy test: what rustfmt, clippy and the compiler cannot see, told for
//! all files of the repository at once. See docs/style.md for the rules.
//!
//! Each rule is a function from the tree to complaints, `place: what is wrong
//! and what to do`, and has a test that plants a violation.

mod form;
mod layers;
mod pages;
mod places;
mod rust;
mod tree;

use tree::Tree;

/// A rule: complaints about a tree, none when it is tidy.
type Rule = fn(&Tree) -> Vec<String>;

const RULES: &[Rule] = &[
    form::prologues,
    form::lengths,
    form::widths,
    form::leftovers,
    layers::crates,
    layers::tool_names,
    layers::status_codes,
    layers::coordinator_and_worker,
    layers::output,
    pages::links,
    pages::linked_from_readme,
    places::own_paths,
    places::registries,
    places::clippy_settings,
];

#[test]
fn the_repository_is_tidy() {
    let tree = Tree::read().expect("the repository can be read");
    assert!(tree.rust().count() > 20, "the walk lost its way: it found hardly any Rust file");
    let complaints: Vec<String> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}
