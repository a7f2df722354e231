//! A queue in the shared folder: one machine fills it, others empty it, without a
//! server. An order is a file that is written once; who works on it is decided
//! by the slots of the film it names; its end is another file, written once.

use super::leftovers;
use super::library::Library;
use crate::clock;
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What is to be done with a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The file, relative to the root; bytes that are no text as `%` and two digits.
    pub(crate) file: String,
    /// The preset.
    pub(crate) preset: String,
    /// Changes of its settings.
    #[serde(default)]
    pub(crate) set: Vec<String>,
    /// The output's format; the preset's when not given.
    #[serde(default)]
    pub(crate) format: Option<Container>,
    /// Whether the output takes the file's place.
    #[serde(default)]
    pub(crate) replace: bool,
    /// 0 (last) to 100 (first).
    pub(crate) priority: u8,
    /// The machine that ordered it.
    pub(crate) by: String,
    /// When, in seconds since 1970 by its clock.
    pub(crate) at: f64,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// What was ordered.
    pub(crate) order: Order,
    /// `converted`, `skipped` or `failed`.
    pub(crate) result: String,
    /// Why, in words.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// The machine that did it.
    pub(crate) by: String,
    /// When, in seconds since 1970 by its clock.
    pub(crate) at: f64,
}

fn waiting(library: &Library) -> PathBuf {
    library.home("queue")
}

fn ended(library: &Library) -> PathBuf {
    library.home("queue").join("ended")
}

/// Puts an order into the queue; yields its name. Names sort as orders are taken.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn add(library: &Library, order: &Order) -> Result<String, Failure> {
    let folder = waiting(library);
    let turn = 100 - order.priority.min(100);
    let fresh = clock::fresh().simple().to_string();
    let name = format!("{turn:03}-{:017}-{}", clock::now().0, &fresh[20..]);
    let path = folder.join(format!("{name}.json"));
    let fail = |e: std::io::Error| Failure::io(format!("write {}", path.display()), &e);
    let text = serde_json::to_vec(order).map_err(|e| fail(e.into()))?;
    library.fs.create(&path, &text).map_err(fail)?;
    Ok(name)
}

/// The orders that wait, in the order in which they are taken.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn list(library: &Library) -> Result<Vec<(String, Order)>, Failure> {
    all(library, &waiting(library))
}

/// How orders ended.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn results(library: &Library) -> Result<Vec<(String, Ended)>, Failure> {
    all(library, &ended(library))
}

fn all<T: serde::de::DeserializeOwned>(
    library: &Library,
    folder: &std::path::Path,
) -> Result<Vec<(String, T)>, Failure> {
    let names = library
        .fs
        .list(folder)
        .map_err(|e| Failure::io(format!("read {}", folder.display()), &e))?;
    let (drafts, names): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.as_bytes().starts_with(b"tmp-"));
    let drafts: Vec<_> = drafts.iter().map(|name| folder.join(name)).collect();
    leftovers::clear_these(library, &drafts);
    let mut found = Vec::new();
    for name in names {
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        // Somebody may have ended it since the folder was read.
        let Ok(text) = library.fs.read(&folder.join(&name)) else { continue };
        match serde_json::from_slice(&text) {
            Ok(value) => found.push((id.to_owned(), value)),
            Err(error) => tracing::warn!(id, %error, "an order that cannot be read"),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Writes down how an order ended, and takes it from the queue. Whoever does so
/// first is believed.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn end(library: &Library, name: &str, how: &Ended) -> Result<(), Failure> {
    let path = ended(library).join(format!("{name}.json"));
    let fail = |e: std::io::Error| Failure::io(format!("write {}", path.display()), &e);
    library.fs.make_dir(&ended(library)).map_err(fail)?;
    let text = serde_json::to_vec(how).map_err(|e| fail(e.into()))?;
    match library.fs.create(&path, &text) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    match library.fs.remove(&waiting(library).join(format!("{name}.json"))) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fail(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(file: &str, priority: u8) -> Order {
        Order {
            file: file.into(),
            preset: "hevc".into(),
            set: vec!["crf=20".into()],
            format: None,
            replace: true,
            priority,
            by: "nas".into(),
            at: 1.5,
        }
    }

    #[test]
    fn orders_are_taken_by_priority_and_age_and_end_once() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::open(folder.path()).unwrap();
        for (file, priority) in [("a", 50), ("b", 50), ("c", 90)] {
            add(&library, &order(file, priority)).unwrap();
        }
        let files = |library: &Library| -> Vec<String> {
            list(library).unwrap().into_iter().map(|(_, order)| order.file).collect()
        };
        assert_eq!(files(&library), ["c", "a", "b"]);
        let (name, first) = list(&library).unwrap().remove(0);
        let how = |result: &str| Ended {
            order: first.clone(),
            result: result.into(),
            reason: None,
            by: "pc".into(),
            at: 2.5,
        };
        end(&library, &name, &how("converted")).unwrap();
        end(&library, &name, &how("failed")).unwrap();
        assert_eq!(files(&library), ["a", "b"]);
        assert_eq!(results(&library).unwrap(), [(name, how("converted"))]);
        std::fs::write(folder.path().join(".reelmill/queue/x.json"), "broken").unwrap();
        assert_eq!(files(&library), ["a", "b"], "what cannot be read stops nothing");
    }

    #[test]
    fn the_form_of_an_order_is_kept() {
        insta::assert_json_snapshot!(order("films/a.mkv", 50));
    }
}
