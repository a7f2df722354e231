//! Media made by FFmpeg for this crate's tests.

use crate::process::{ToolCommand, ToolOutput};
use crate::tools::{ToolPaths, Tools};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The tools of this machine.
pub(crate) async fn tools() -> Tools {
    Tools::find(&ToolPaths::default()).await.unwrap()
}

/// Runs ffmpeg in `dir` with arguments given as one line of words.
pub(crate) async fn ffmpeg(dir: &Path, args: &str) -> ToolOutput {
    ToolCommand::uncaged(&tools().await.ffmpeg)
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args.split_whitespace())
        .current_dir(dir)
        .run(&CancellationToken::new())
        .await
        .unwrap_or_else(|failure| panic!("{failure:#?}"))
}

/// `seconds` of moving 320×240 H.264 with B-frames and a keyframe every
/// second, beside a tone in AAC, as `name` (its extension chooses the
/// container), with more output options.
pub(crate) async fn film(dir: &Path, name: &str, seconds: u32, options: &str) -> PathBuf {
    let args = format!(
        "-f lavfi -i testsrc2=s=320x240:r=25:d={seconds} -f lavfi -i sine=d={seconds} \
         -c:v libx264 -preset ultrafast -bf 2 -g 25 -threads 1 -c:a aac {options} {name}"
    );
    ffmpeg(dir, &args).await;
    dir.join(name)
}
