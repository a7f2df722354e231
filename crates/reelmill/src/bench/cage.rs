//! What the cage adds to each start of a tool.

use super::{count, percentile, tell};
use reelmill_media::args::Args;
use reelmill_media::process::ToolCommand;
use reelmill_media::sandbox::{Cage, Level, Wanted};
use reelmill_media::tools::{ToolPaths, Tools};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whatever this machine has of the rungs, turn and turn about with a start that no
/// cage holds: `ffmpeg -version`, which does nothing but start.
#[tokio::test]
async fn starts() {
    let mut rungs = Vec::new();
    for rung in [Level::Limits, Level::Namespaces, Level::Full] {
        let wanted = Wanted { highest: rung, lowest: rung, memory: None };
        match Cage::choose(wanted).await {
            Ok(cage) => {
                let tools = Tools::find_in(cage, &ToolPaths::default()).await.unwrap();
                rungs.push((rung, tools, Vec::new()));
            }
            Err(failure) => tell(&format!("{rung}: not here ({failure})"), 0.0, "ms", ""),
        }
    }
    let program = rungs[0].1.ffmpeg.clone();
    let mut free = Vec::new();
    let cancel = CancellationToken::new();
    for _ in 0..count(101, 2) {
        let begun = Instant::now();
        ToolCommand::uncaged(&program).arg("-version").run(&cancel).await.unwrap();
        free.push(begun.elapsed());
        for (_, tools, times) in &mut rungs {
            let begun = Instant::now();
            tools.ffmpeg(Args::new().arg("-version")).run(&cancel).await.unwrap();
            times.push(begun.elapsed());
        }
    }
    let free = percentile(&mut free, 0.5);
    tell("start of FFmpeg, no cage", free, "ms", "");
    for (rung, _, mut times) in rungs {
        let more = percentile(&mut times, 0.5) - free;
        tell(&format!("added by the cage, rung '{rung}'"), more, "ms", "≤ 20");
    }
}
