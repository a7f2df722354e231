//! Turns the gRPC descriptions into Rust, with a compiler written in Rust: no
//! protoc needs to be installed.

const ROOT: &str = "src/api/proto";

const FILES: &[&str] =
    &["reelmill/v1/worker.proto", "reelmill/v1/transfer.proto", "replication/replication.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
