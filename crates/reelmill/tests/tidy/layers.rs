//! The layers of ARCHITECTURE.md: what each crate may not reach for.

use crate::rust::has_word;
use crate::tree::Tree;

/// A crate and what it does without.
struct Layer {
    folder: &'static str,
    without: &'static [&'static str],
    reason: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        folder: "crates/reelmill-core/",
        without: &[
            "tokio",
            "tokio_util",
            "futures",
            "std::fs",
            "std::process",
            "std::net",
            "std::env",
            "SystemTime",
            "Instant",
            "rand",
            "now_v4",
            "new_v4",
            "now_v7",
            "rustix",
            "sqlx",
            "rusqlite",
            "axum",
            "hyper",
            "reqwest",
            "tonic",
        ],
        reason: "core takes values and gives values: no I/O, no clock, no chance",
    },
    Layer {
        folder: "crates/reelmill-media/",
        without: &["sqlx", "rusqlite", "axum", "hyper", "reqwest", "tonic", "reelmill_store"],
        reason: "media knows FFmpeg, not the farm: no SQL, no HTTP",
    },
    Layer {
        folder: "crates/reelmill-store/",
        without: &[
            "axum",
            "hyper",
            "tonic",
            "std::process::Command",
            "tokio::process",
            "reelmill_media",
        ],
        reason: "store knows rows and blobs, not media: no processes, no HTTP service",
    },
    Layer {
        folder: "crates/reelmill/",
        without: &["sqlx", "rusqlite"],
        reason: "SQL is reelmill-store's alone",
    },
];

/// No crate reaches for what its layer does without, neither in its code nor in
/// its Cargo.toml.
pub(crate) fn crates(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for layer in LAYERS {
        for file in tree.files().filter(|file| file.path.starts_with(layer.folder)) {
            for word in layer.without {
                let lines = match &file.rust {
                    // A test may start and kill what it tests.
                    Some(_) if file.path.contains("/tests/") && word.contains("process") => {
                        continue;
                    }
                    Some(rust) => rust.mentions(word),
                    None if file.path.ends_with("/Cargo.toml") => dependency(&file.text, word),
                    None => continue,
                };
                let tell = |at| format!("{}:{at}: {word}: {}", file.path, layer.reason);
                complaints.extend(lines.into_iter().map(tell));
            }
        }
    }
    complaints
}

/// Lines of a Cargo.toml that depend on `crate_name`.
fn dependency(text: &str, crate_name: &str) -> Vec<usize> {
    let lines = text.lines().enumerate();
    let named = lines.filter(|(_, line)| {
        let key = line.trim_start_matches("[dependencies.").split(['.', '=', ']', ' ']).next();
        key.is_some_and(|key| key.replace('-', "_") == crate_name)
    });
    named.map(|(at, _)| at + 1).collect()
}

/// The tools' names stand in reelmill-media alone: the others ask it. Texts for
/// people say "FFmpeg", which is not a command; tests make their own fixtures.
pub(crate) fn tool_names(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, rust) in tree.rust().filter(|(path, _)| is_source(path)) {
        if path.starts_with("crates/reelmill-media/") {
            continue;
        }
        for (line, literal) in rust.literals.iter().filter(|(line, _)| *line <= rust.own_lines) {
            let tools = ["ffmpeg", "ffprobe", "mkvmerge", "mkvextract", "mkvpropedit"];
            for tool in tools.iter().filter(|tool| has_word(literal, tool)) {
                complaints.push(format!("{path}:{line}: {tool}: only reelmill-media names tools"));
            }
        }
    }
    complaints
}

/// HTTP status codes are chosen in one place.
pub(crate) fn status_codes(tree: &Tree) -> Vec<String> {
    let elsewhere = tree
        .rust()
        .filter(|(path, _)| is_source(path) && !path.starts_with("crates/reelmill/src/api/"));
    let found = elsewhere.flat_map(|(path, rust)| {
        let lines = rust.mentions("StatusCode");
        lines.into_iter().filter(|line| *line <= rust.own_lines).map(move |line| (path, line))
    });
    found
        .map(|(path, line)| {
            format!("{path}:{line}: StatusCode: return a Failure, api/error.rs gives it a status")
        })
        .collect()
}

/// The coordinator and the worker know each other by core's types alone.
pub(crate) fn coordinator_and_worker(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (side, other) in [("coordinator", "worker"), ("worker", "coordinator")] {
        let (file, folder) =
            (format!("crates/reelmill/src/{side}.rs"), format!("crates/reelmill/src/{side}/"));
        let own = tree.rust().filter(|(path, _)| *path == file || path.starts_with(&folder));
        for (path, rust) in own {
            for route in [format!("crate::{other}"), format!("super::{other}")] {
                let tell = |at| format!("{path}:{at}: {route}: {side} never reaches into {other}");
                complaints.extend(rust.mentions(&route).into_iter().map(tell));
            }
        }
    }
    complaints
}

/// Where the binary may print and end the process.
const PRINTERS: &[&str] = &[
    "crates/reelmill/src/main.rs",
    "crates/reelmill/src/cli.rs",
    "crates/reelmill/src/cli/",
    "crates/reelmill/src/client/",
];

/// Nothing below the binary's surface prints or exits.
pub(crate) fn output(tree: &Tree) -> Vec<String> {
    let silent = tree.rust().filter(|(path, _)| {
        let allowed =
            path.ends_with("/render.rs") || PRINTERS.iter().any(|at| path.starts_with(at));
        is_source(path) && !allowed
    });
    let mut complaints = Vec::new();
    for (path, rust) in silent {
        for word in ["println!", "eprintln!", "print!", "eprint!", "process::exit"] {
            let lines = rust.mentions(word).into_iter().filter(|line| *line <= rust.own_lines);
            complaints.extend(lines.map(|at| {
                format!("{path}:{at}: {word}: return a value or an event, or log with tracing")
            }));
        }
    }
    complaints
}

/// Whether `path` is part of what is shipped: not a test, not a build script.
fn is_source(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(rule: crate::Rule, path: &str, text: &str) -> usize {
        rule(&Tree::of([(path, text)])).len()
    }

    #[test]
    fn a_crate_that_leaves_its_layer_is_found() {
        for (path, text) in [
            ("crates/reelmill-core/src/a.rs", "use std::{fs, io};"),
            ("crates/reelmill-core/src/a.rs", "fn f() { std::time::Instant::now(); }"),
            ("crates/reelmill-core/src/a.rs", "fn f() { Uuid::now_v7(); }"),
            ("crates/reelmill-core/Cargo.toml", "[dependencies]\ntokio.workspace = true"),
            ("crates/reelmill-media/src/a.rs", "use axum::Router;"),
            ("crates/reelmill-media/Cargo.toml", "reelmill-store = { path = \"x\" }"),
            ("crates/reelmill-store/src/a.rs", "tokio::process::Command::new(x);"),
            ("crates/reelmill/src/a.rs", "sqlx::query(x);"),
        ] {
            assert_eq!(complaints(crates, path, text), 1, "{path}: {text}");
        }
        let fine = "//! No tokio here.\nlet x = \"std::fs\"; use std::io::ErrorKind;";
        assert_eq!(complaints(crates, "crates/reelmill-core/src/a.rs", fine), 0);
        assert_eq!(complaints(crates, "crates/reelmill-core/Cargo.toml", "toml = \"1\""), 0);
        assert_eq!(complaints(crates, "crates/reelmill-store/src/a.rs", "use sqlx::Row;"), 0);
    }

    #[test]
    fn a_tools_name_outside_media_is_found() {
        let text = "run(\"ffmpeg\", \"-i x\"); say(\"FFmpeg failed\"); // ffmpeg";
        assert_eq!(complaints(tool_names, "crates/reelmill/src/a.rs", text), 1);
        assert_eq!(complaints(tool_names, "crates/reelmill-media/src/a.rs", text), 0);
        assert_eq!(complaints(tool_names, "crates/reelmill/tests/it/a.rs", text), 0);
        let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{text}\n}}");
        assert_eq!(complaints(tool_names, "crates/reelmill/src/a.rs", &tested), 0);
    }

    #[test]
    fn a_status_code_outside_the_api_is_found() {
        let text = "use axum::http::{self, StatusCode};";
        assert_eq!(complaints(status_codes, "crates/reelmill/src/coordinator/a.rs", text), 1);
        assert_eq!(complaints(status_codes, "crates/reelmill/src/api/error.rs", text), 0);
    }

    #[test]
    fn coordinator_and_worker_are_kept_apart() {
        let (into, apart) = ("use crate::{exit, worker::Loop};", "use crate::worker_stats;");
        let find = |path, text| complaints(coordinator_and_worker, path, text);
        assert_eq!(find("crates/reelmill/src/coordinator/a.rs", into), 1);
        assert_eq!(find("crates/reelmill/src/coordinator.rs", "super::worker::go();"), 1);
        assert_eq!(find("crates/reelmill/src/worker/a.rs", "crate::coordinator::x();"), 1);
        assert_eq!(find("crates/reelmill/src/coordinator/a.rs", apart), 0);
        assert_eq!(find("crates/reelmill/src/cli/serve.rs", into), 0);
    }

    #[test]
    fn printing_below_the_surface_is_found() {
        for planted in ["println!(\"x\");", "use std::process::exit;", "eprint!(\"x\")"] {
            assert_eq!(complaints(output, "crates/reelmill-media/src/a.rs", planted), 1);
            assert_eq!(complaints(output, "crates/reelmill/src/worker/a.rs", planted), 1);
            assert_eq!(complaints(output, "crates/reelmill/src/cli/a.rs", planted), 0);
            assert_eq!(complaints(output, "crates/reelmill/build.rs", planted), 0);
        }
    }
}
