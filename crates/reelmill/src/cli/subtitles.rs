//! `reelmill subtitles`: image subtitles as files of their own.

use super::args::Common;
use super::out;
use super::place::{check_output, publish, staged_path};
use crate::exit::{Ending, Exit};
use clap::Args;
use reelmill_core::error::Failure;
use reelmill_core::media::Stream;
use reelmill_media::probe::probe;
use reelmill_media::subtitles;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// `reelmill subtitles`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubtitlesArgs {
    /// The film.
    pub(crate) input: PathBuf,
    /// Folder for the files; beside the film when not given.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &SubtitlesArgs, common: &Common) -> Result<Exit, Ending> {
    let tools = common.tools().await?;
    let cancel = CancellationToken::new();
    let media = probe(&tools, &args.input, &cancel).await.map_err(Ending::input)?;
    let streams: Vec<&Stream> = subtitles::images(&media).collect();
    if streams.is_empty() {
        let message = format!("{} has no image subtitles", args.input.display());
        let failure = Failure::input(message);
        return Err(Ending::input(failure.advise("'reelmill probe' shows what it holds")));
    }
    for stream in streams {
        let output = name(args, stream);
        check_output(&args.input, &output, args.overwrite)?;
        let staged = staged_path(&output);
        let done = subtitles::extract(&tools, &args.input, stream, &staged, &cancel).await;
        let placed = match done {
            Ok(_) => publish(&staged, &output, args.overwrite),
            Err(failure) => Err(failure.into()),
        };
        if placed.is_err() {
            let _ = std::fs::remove_file(&staged);
        }
        placed?;
        if common.json {
            let (stream, output) = (stream.index, output.to_string_lossy());
            out::json(
                &serde_json::json!({"event": "extracted", "stream": stream, "output": output}),
            );
        } else if !common.quiet {
            out::line(&format!("stream {}: {}", stream.index, output.display()));
        }
    }
    Ok(Exit::Done)
}

/// `film.2.eng.sup`: the film's name, the stream, its language.
fn name(args: &SubtitlesArgs, stream: &Stream) -> PathBuf {
    let folder = args.output.as_deref().or(args.input.parent()).unwrap_or(Path::new(""));
    let mut name = args.input.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{}", stream.index));
    let plain = |tag: &&str| tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if let Some(language) = stream.language().filter(plain) {
        name.push(format!(".{language}"));
    }
    name.push(format!(".{}", subtitles::ending(&stream.codec).unwrap_or("mks")));
    folder.join(name)
}
