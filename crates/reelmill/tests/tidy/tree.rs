//! The files of the repository.

use crate::rust::Rust;
use std::path::{Path, PathBuf};

/// The files of the repository, by path.
pub(crate) struct Tree(Vec<File>);

/// A file.
pub(crate) struct File {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// What it says; empty where that is not text.
    pub(crate) text: String,
    /// The same as Rust, when it is.
    pub(crate) rust: Option<Rust>,
}

impl Tree {
    /// Reads the repository that this test was built from. What .gitignore
    /// names is no part of it.
    pub(crate) fn read() -> std::io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let ignored = Ignored::new(&std::fs::read_to_string(root.join(".gitignore"))?);
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if ignored.has(&name) {
                    continue;
                }
                let path = folder.join(&name);
                match entry.file_type()? {
                    kind if kind.is_dir() => folders.push(path),
                    kind if kind.is_file() => {
                        let bytes = std::fs::read(root.join(&path))?;
                        let text = String::from_utf8(bytes).unwrap_or_default();
                        files.push(File::new(&path.to_string_lossy().replace('\\', "/"), text));
                    }
                    _ => {}
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(files))
    }

    /// A tree for tests: (path, text) pairs.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(path, text)| File::new(path, text.to_owned())).collect())
    }

    /// All files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }

    /// The Rust files: (path, source).
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &Rust)> {
        self.files().filter_map(|file| Some((file.path.as_str(), file.rust.as_ref()?)))
    }

    /// Whether `path` is a file or a folder in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.file(path).is_some() || self.files().any(|file| file.path.starts_with(&folder))
    }
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| Rust::new(&text));
        Self { path: path.to_owned(), text, rust }
    }
}

/// The names in .gitignore, as far as this repository uses its language: plain
/// names and `*.ending`.
struct Ignored(Vec<String>);

impl Ignored {
    fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(names.map(|name| name.trim_matches('/').to_owned()).chain([".git".into()]).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|ignored| match ignored.strip_prefix('*') {
            Some(ending) => name.ends_with(ending),
            None => name == ignored,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_names_are_skipped() {
        let ignored = Ignored::new("# built\n/target\n*.snap.new\n\n");
        assert!(ignored.has("target") && ignored.has("a.snap.new") && ignored.has(".git"));
        assert!(!ignored.has("targets") && !ignored.has("a.snap") && !ignored.has(".gitignore"));
    }

    #[test]
    fn folders_are_in_the_tree_too() {
        let tree = Tree::of([("docs/a.md", "")]);
        assert!(tree.has("docs/a.md") && tree.has("docs") && tree.has("docs/"));
        assert!(!tree.has("doc") && !tree.has("docs/a"));
    }
}
