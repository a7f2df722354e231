//! Markdown pages: links lead somewhere, pages can be found.

use crate::tree::{File, Tree};

/// Every relative link leads to a file, and to a heading of it where it says so.
pub(crate) fn links(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in pages(tree) {
        for (line, target) in targets(&page.text) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.path.clone() } else { resolve(&page.path, file) };
            let to = tree.file(&path).filter(|to| to.path.ends_with(".md"));
            if !tree.has(&path) {
                complaints.push(format!("{}:{line}: {target} leads nowhere", page.path));
            } else if let (Some(to), false) = (to, heading.is_empty())
                && !headings(&to.text).any(|known| known == heading)
            {
                complaints.push(format!("{}:{line}: {path} has no #{heading}", page.path));
            }
        }
    }
    complaints
}

/// Every page under docs/ is linked from the README. A tree without a README
/// has nothing to link from.
pub(crate) fn linked_from_readme(tree: &Tree) -> Vec<String> {
    let Some(readme) = tree.file("README.md") else {
        return Vec::new();
    };
    let linked: Vec<String> = targets(&readme.text)
        .into_iter()
        .map(|(_, target)| resolve("README.md", target.split('#').next().unwrap_or_default()))
        .collect();
    let lost = pages(tree).filter(|page| page.path.starts_with("docs/"));
    lost.filter(|page| !linked.contains(&page.path))
        .map(|page| format!("README.md: does not link {}", page.path))
        .collect()
}

fn pages(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files().filter(|file| file.path.ends_with(".md"))
}

/// The lines of a page outside of code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((at + 1, line))
    })
}

/// Targets of the page's own links: (line, target). Links to the web are left
/// out: a test must not depend on the network.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
        let targets = inline.filter_map(|rest| rest.split([')', ' ']).next());
        let defined = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let targets = targets.chain(defined.map(|(_, target)| target.trim()));
        let own =
            targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        found.extend(own.map(|target| (number, target)));
    }
    found
}

/// The anchors of a page's headings, made the way that web views make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Where `target`, written in the page `from`, leads, seen from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Above the root nothing is part of the repository.
            ".." if parts.pop().is_none() => return format!("../{target}"),
            ".." => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let find = |link: &str| {
            let page = format!("[x]({link})\n```\n[code](nowhere.md)\n```\n");
            let there = "# The `one` thing\n## Two, three\n";
            links(&Tree::of([("docs/a.md", page.as_str()), ("docs/b.md", there), ("c/d.rs", "")]))
                .len()
        };
        for good in [
            "b.md",
            "./b.md#two-three",
            "../docs/b.md#the-one-thing",
            "../c",
            "../c/d.rs",
            "https://example.org/x",
            "mailto:x@example.org",
            "/c/d.rs",
        ] {
            assert_eq!(find(good), 0, "{good}");
        }
        for bad in ["e.md", "../b.md", "b.md#four", "#five", "../../docs/b.md"] {
            assert_eq!(find(bad), 1, "{bad}");
        }
        assert_eq!(links(&Tree::of([("a.md", "[x]\n\n[x]: gone.md\n")])).len(), 1);
    }

    #[test]
    fn a_page_that_the_readme_forgets_is_found() {
        let readme = "See [a](docs/a.md#x).";
        let tree = Tree::of([("README.md", readme), ("docs/a.md", ""), ("docs/b.md", "")]);
        assert_eq!(linked_from_readme(&tree), ["README.md: does not link docs/b.md"]);
        assert!(linked_from_readme(&Tree::of([("docs/b.md", "")])).is_empty());
    }
}
