//! Programs of others judge the API from outside: clients that Python generates
//! from the gRPC descriptions convert a film.

use crate::farm::Server;
use crate::support::{Place, Ran, clip, long, not_run, tool};
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

/// What schemathesis looks at in every answer: no fault of the server, and
/// nothing but what the document says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// Lets schemathesis ask a server for whatever its document allows, and for
/// what it forbids.
fn ask_everything(schemathesis: &Path, place: &Place, server: &Server, args: &[&str]) -> Ran {
    let mut command = tool(schemathesis.to_str().unwrap());
    command
        .args(["run", &format!("{}/api/v1/openapi.json", server.url), "--checks", CHECKS])
        .args(["--no-color", "--generation-database", "none", "--suppress-health-check", "all"])
        .args(["--request-timeout", "60", "--continue-on-failure"])
        .args(args)
        .current_dir(place.path(""));
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    Ran::of(&mut command)
}

#[test]
fn the_api_keeps_to_its_document_whatever_it_is_asked() {
    let Some(schemathesis) = judge("schemathesis", "API by schemathesis") else { return };
    let (seeds, phases, examples) = match long() {
        true => (1..=3, "examples,coverage,fuzzing,stateful", "50"),
        false => (1..=1, "examples,fuzzing,stateful", "3"),
    };
    for seed in seeds {
        let place = Place::new();
        // An upload that the disk has no room for is refused with status 507, rightly so;
        // to the judge any 5xx is a fault. What is too large has another status.
        std::fs::create_dir(place.path("config")).unwrap();
        let limit = "[uploads]\nmax_bytes = 1048576\n";
        std::fs::write(place.path("config/serve.toml"), limit).unwrap();
        let server = Server::start(&place, &["--workers", "0"]);
        let seed = seed.to_string();
        let args = ["--seed", &seed, "--phases", phases, "--max-examples", examples];
        let ran = ask_everything(&schemathesis, &place, &server, &args);
        assert_eq!(ran.code, 0, "seed {seed}:\n{}\n{}", ran.out, ran.err);
    }
}

#[test]
fn a_fault_that_is_put_in_is_found_by_schemathesis() {
    let Some(schemathesis) = judge("schemathesis", "API by schemathesis, with a fault") else {
        return;
    };
    let place = Place::new();
    let mutant = [("REELMILL_MUTANT", "audit-range")];
    let server = Server::listening(&place, "127.0.0.1:0", &["--workers", "0"], &mutant);
    let args = ["--seed", "1", "--phases", "coverage", "--max-examples", "1"];
    let only = ["--include-path", "/api/v1/audit"];
    let ran = ask_everything(&schemathesis, &place, &server, &[&args[..], &only[..]].concat());
    assert_ne!(ran.code, 0, "it was not noticed:\n{}", ran.out);
    assert!(ran.out.contains("Server error"), "{}", ran.out);
}
