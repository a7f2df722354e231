//! Tests of the cage: what a tool inside can and cannot do, on each rung.

use super::*;
use crate::args::Args;
use crate::process::ToolCommand;
use crate::tools::which;
use std::net::UdpSocket;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

async fn cage(highest: Level) -> Arc<Cage> {
    Arc::new(Cage::choose(Wanted { highest, ..Wanted::default() }).await.unwrap())
}

/// Runs the script with bash in the cage; what it printed, if it succeeded.
async fn bash(cage: &Arc<Cage>, script: &str, files: Args) -> Result<String, Failure> {
    let args = Args::new().args(["-c", script]).join(files);
    let command = ToolCommand::caged(&which("bash").unwrap(), cage, args);
    let output = command.run(&CancellationToken::new()).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The rungs that this machine has.
async fn rungs() -> Vec<Arc<Cage>> {
    let mut found = Vec::new();
    for level in [Level::Full, Level::Namespaces] {
        let cage = cage(level).await;
        if cage.level() == level {
            found.push(cage);
        }
    }
    found
}

#[tokio::test]
async fn only_the_files_of_the_task_can_be_read_and_written() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("mine"), "mine").unwrap();
    std::fs::write(at("other"), "other").unwrap();
    for cage in rungs().await {
        let level = cage.level();
        let files = Args::new().reads(&at("mine")).writes(&at("out"));
        let run = async |script: String| bash(&cage, &script, files.clone()).await;
        let shown = |name: &str| at(name).display().to_string();
        let read = run(format!("read -r x < {}; echo $x", shown("mine"))).await;
        assert_eq!(read.unwrap(), "mine", "{level}");
        run(format!("echo made > {}", shown("out"))).await.unwrap();
        assert_eq!(std::fs::read_to_string(at("out")).unwrap(), "made\n", "{level}");
        for refused in [
            format!("read -r x < {}", shown("other")),
            "read -r x < /etc/passwd".into(),
            format!("echo x > {}", shown("mine")),
        ] {
            assert!(run(refused.clone()).await.is_err(), "{level}: {refused}");
        }
        assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "mine", "{level}");
        // In namespaces it succeeds, in a folder that only the tool sees.
        let _ = run(format!("echo x > {}", shown("new"))).await;
        assert!(!at("new").exists(), "{level}");
    }
}

#[tokio::test]
async fn no_packet_leaves_the_cage() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let script = format!("echo x > /dev/udp/127.0.0.1/{port}");
    let mut buffer = [0; 8];
    for cage in rungs().await {
        // In a network of its own, a packet to nobody is sent in vain.
        let _ = bash(&cage, &script, Args::new()).await;
        assert!(receiver.recv(&mut buffer).is_err(), "{}", cage.level());
    }
    // The judge bites: outside, the same script reaches us.
    bash(&cage(Level::Limits).await, &script, Args::new()).await.unwrap();
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 2);
}

#[tokio::test]
async fn no_other_program_can_be_started() {
    let cage = cage(Level::Full).await;
    assert_eq!(cage.level(), Level::Full, "{}", cage.line());
    assert!(bash(&cage, "/usr/bin/env true", Args::new()).await.is_err());
    let free = self::cage(Level::Limits).await;
    bash(&free, "/usr/bin/env true", Args::new()).await.unwrap();
}

#[tokio::test]
async fn the_line_says_what_holds() {
    let full = cage(Level::Full).await.line();
    assert!(full.starts_with("sandbox=full landlock_abi="), "{full}");
    assert!(full.ends_with(" net=denied(seccomp) fs=denied(landlock) mem=rss"), "{full}");
    let limits = cage(Level::Limits).await.line();
    let start = "sandbox=limits landlock_abi=none net=open fs=open mem=rss \
        reason=\"chosen by the configuration\" effect=\"ffmpeg can read every file of ";
    assert!(limits.starts_with(start), "{limits}");
    assert!(limits.ends_with(" and open network connections\""), "{limits}");
}

#[tokio::test]
async fn less_than_is_required_is_refused() {
    let wanted = Wanted { highest: Level::Limits, lowest: Level::Full, memory: None };
    let failure = Cage::choose(wanted).await.unwrap_err();
    assert!(failure.message.contains("'limits'") && failure.message.contains("'full'"));
    assert!(failure.advice.is_some());
}

#[tokio::test]
async fn a_tool_that_takes_too_much_memory_is_ended() {
    let wanted = Wanted { memory: Some(64 << 20), ..Wanted::default() };
    let cage = Arc::new(Cage::choose(wanted).await.unwrap());
    let script = "x=0123456789abcdef; for ((i = 0; i < 40; i++)); do x=$x$x; done";
    let failure = bash(&cage, script, Args::new()).await.unwrap_err();
    assert!(failure.message.contains("more than the 64 MiB"), "{failure}");
}

#[tokio::test]
async fn a_tool_has_no_new_rights_and_no_core() {
    let cage = cage(Level::Full).await;
    let said = bash(&cage, "ulimit -c; ulimit -n", Args::new()).await.unwrap();
    assert_eq!(said, "0\n1024");
}
