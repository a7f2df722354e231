//! Programs of others judge the API from outside: clients that Python generates
//! from the gRPC descriptions convert a film.

use crate::farm::Server;
use crate::support::{Place, Ran, clip, not_run, tool};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program of the judges, where they are installed.
fn judge(program: &str, group: &str) -> Option<PathBuf> {
    let path = root().join(".tools/judges/bin").join(program);
    if path.exists() {
        return Some(path);
    }
    not_run(group, "scripts/setup.sh --checks could not install the judges");
    None
}

#[test]
fn clients_of_another_language_convert_by_grpc() {
    let Some(python) = judge("python", "gRPC by Python") else { return };
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let mut command = tool(python.to_str().unwrap());
    command
        .arg(root().join("scripts/judge_grpc.py"))
        .arg(server.url.trim_start_matches("http://"))
        .arg(root().join("crates/reelmill/src/api/proto"))
        .arg(clip(2));
    let ran = Ran::of(&mut command).ok();
    assert!(ran.out.contains("fine"), "{}", ran.out);
}
