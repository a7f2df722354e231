//! Tests of the process module: real tool output, real files.

use super::*;
use std::path::PathBuf;
use tokio::time::Instant;

fn sh(script: &str) -> ToolCommand {
    ToolCommand::uncaged(Path::new("/bin/sh")).args(["-c", script])
}

fn forever() -> CancellationToken {
    CancellationToken::new()
}

/// Whether a process is still running (a zombie is not).
#[cfg(target_os = "linux")]
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z')))
        .is_some_and(|zombie| !zombie)
}

#[cfg(target_os = "linux")]
async fn wait_until_dead(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A tool that starts another, which ignores SIGTERM; tells both process ids.
#[cfg(target_os = "linux")]
const FAMILY: &str = "sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $! $$; wait";

#[cfg(target_os = "linux")]
fn family(
    cancel: &CancellationToken,
) -> (impl Future<Output = Result<ToolOutput, Failure>> + use<>, tokio::sync::mpsc::Receiver<String>)
{
    let (told, pids) = tokio::sync::mpsc::channel(8);
    let cancel = cancel.clone();
    let run = async move {
        let mut tell = |line: &str| told.try_send(line.to_owned()).unwrap();
        sh(FAMILY).run_lines(&cancel, &mut tell).await
    };
    (run, pids)
}

#[tokio::test]
async fn keeps_output_and_the_last_lines_of_stderr() {
    let output = sh("printf 'a\\nb'; echo warn >&2").run(&forever()).await.unwrap();
    assert_eq!(output.stdout, b"a\nb");
    assert_eq!(output.stderr, ["warn"]);
}

#[tokio::test]
async fn hands_over_lines_and_does_not_keep_them() {
    let mut lines = Vec::new();
    let mut take = |line: &str| lines.push(line.to_owned());
    let output = sh("echo one; printf two").run_lines(&forever(), &mut take).await.unwrap();
    assert!(output.stdout.is_empty());
    assert_eq!(lines, ["one", "two"]);
}

#[tokio::test]
async fn a_failure_carries_status_command_and_tail() {
    let failure = sh("echo 'x: Invalid data found' >&2; exit 3").run(&forever()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Input);
    assert_eq!(failure.exit_status, Some(3));
    assert_eq!(failure.tail, ["x: Invalid data found"]);
    assert!(failure.command.unwrap().starts_with("/bin/sh -c "));
}

#[tokio::test]
async fn a_tool_that_complains_on_stdout_is_quoted_too() {
    let failure = sh("echo 'Error: disk on fire'; exit 2").run(&forever()).await.unwrap_err();
    assert_eq!(failure.message, "sh ended with status 2: Error: disk on fire");
    let exit = sh("exit 1").run_any(&forever()).await.unwrap();
    assert_eq!(exit.status, 1);
    assert!(exit.success().is_err());
}

#[tokio::test]
async fn a_missing_tool_is_the_machines_fault() {
    let failure =
        ToolCommand::uncaged(Path::new("/nowhere/ffmpeg")).run(&forever()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Environment);
    assert!(failure.message.contains("/nowhere/ffmpeg"), "{failure}");
}

#[tokio::test]
async fn much_stderr_neither_blocks_nor_piles_up() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of many, long enough to fill a pipe\" >&2; i=$((i+1)); done; echo done";
    let output = sh(script).run(&forever()).await.unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert_eq!(output.stderr.len(), STDERR_LINES);
    assert!(output.stderr[199].starts_with("line 19999"));
}

#[tokio::test]
async fn the_environment_and_standard_input_are_bare() {
    let output = sh("env; cat").run(&forever()).await.unwrap();
    let env = String::from_utf8(output.stdout).unwrap();
    assert!(env.contains("LANG=C.UTF-8"));
    assert!(!env.contains("HOME=") && !env.contains("CARGO"), "{env}");
}

#[tokio::test]
async fn silence_and_long_runs_are_ended() {
    let short = Duration::from_millis(200);
    let silent = sh("sleep 600").stall_after(short).run(&forever()).await.unwrap_err();
    assert_eq!(silent.class, FailureClass::Timeout);
    assert!(silent.message.contains("no progress"), "{silent}");
    let chatty = sh("while :; do echo x; sleep 0.02; done").limit(short);
    let chatty = chatty.run(&forever()).await.unwrap_err();
    assert_eq!(chatty.class, FailureClass::Timeout);
    assert!(chatty.message.contains("not done within"), "{chatty}");
}

#[tokio::test]
async fn a_progress_report_that_stands_still_is_silence() {
    let script =
        "while :; do echo frame=7; echo speed=$$x; echo progress=continue; sleep 0.02; done";
    let command = sh(script).stall_after(Duration::from_millis(300));
    let failure = command.run_lines(&forever(), &mut |_| ()).await.unwrap_err();
    assert!(failure.message.contains("no progress"), "{failure}");
}

#[tokio::test]
async fn a_flood_of_output_is_ended() {
    let command = sh("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").capture_limit(10_000);
    let failure = command.run(&forever()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
}

#[tokio::test]
async fn nothing_starts_after_cancelling() {
    let folder = tempfile::tempdir().unwrap();
    let cancel = forever();
    cancel.cancel();
    let failure = sh("touch started").current_dir(folder.path()).run(&cancel).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Cancelled);
    assert!(!folder.path().join("started").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn child_and_grandchild_die_on_cancel() {
    let cancel = forever();
    let (run, mut pids) = family(&cancel);
    let run = tokio::spawn(run);
    let pids = pids.recv().await.unwrap();
    cancel.cancel();
    assert_eq!(run.await.unwrap().unwrap_err().class, FailureClass::Cancelled);
    for pid in pids.split(' ') {
        wait_until_dead(pid).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn child_and_grandchild_die_when_the_future_is_dropped() {
    let (run, mut pids) = family(&forever());
    let run = tokio::spawn(run);
    let pids = pids.recv().await.unwrap();
    run.abort();
    for pid in pids.split(' ') {
        wait_until_dead(pid).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_does_not_hold_up_the_run() {
    let output = sh("sleep 600 & echo $!").run(&forever()).await.unwrap();
    let pid = String::from_utf8(output.stdout).unwrap();
    wait_until_dead(pid.trim()).await;
}

/// Set for the process that [`the_tool_dies_when_its_parent_is_killed`] kills.
const VICTIM: &str = "REELMILL_TEST_VICTIM";

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "the parent that is killed is this very test")]
#[tokio::test]
async fn the_tool_dies_when_its_parent_is_killed() {
    use std::io::BufRead as _;
    if std::env::var_os(VICTIM).is_some() {
        let mut tell = |line: &str| println!("\npid {line}");
        let _ = sh("echo $$; exec sleep 600").run_lines(&forever(), &mut tell).await;
        return;
    }
    let this: PathBuf = std::env::current_exe().unwrap();
    let mut parent = std::process::Command::new(this)
        .args(["--exact", "process::tests::the_tool_dies_when_its_parent_is_killed", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(parent.stdout.take().unwrap());
    let pid = output
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("pid ").map(str::to_owned))
        .unwrap();
    assert!(alive(&pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until_dead(&pid).await;
}
