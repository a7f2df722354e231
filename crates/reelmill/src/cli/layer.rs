//! `reelmill layer`: keeps the enhancement layer of Dolby Vision profile 7, and
//! puts it back.

use super::args::Common;
use super::out;
use super::place::{check_output, publish, staged_path};
use crate::exit::{Ending, Exit};
use clap::{Args, Subcommand};
use reelmill_core::error::Failure;
use reelmill_media::hdr::layer::{Layer, restore, save};
use reelmill_media::matroska::Refusal;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// `reelmill layer`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LayerCommand {
    /// Write a film's enhancement layer and metadata to a raw HEVC file.
    Save(LayerSaveArgs),
    /// Put them back into the converted film: it is what it was.
    Restore(LayerRestoreArgs),
}

/// `reelmill layer save`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LayerSaveArgs {
    /// The film, profile 7 in Matroska.
    pub(crate) input: PathBuf,
    /// The file to write, for example film.el.hevc.
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `reelmill layer restore`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LayerRestoreArgs {
    /// The converted film, profile 8.1 in Matroska.
    pub(crate) input: PathBuf,
    /// What was kept of it.
    pub(crate) layer: PathBuf,
    /// The film of profile 7 to write.
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Runs the command.
pub(crate) async fn run(command: LayerCommand, common: &Common) -> Result<Exit, Ending> {
    match command {
        LayerCommand::Save(args) => {
            let input = args.input.clone();
            let work =
                move |staged: &Path, cancel: &CancellationToken| save(&input, staged, cancel);
            written((&args.input, &args.output, args.overwrite), work, common).await
        }
        LayerCommand::Restore(args) => {
            let (input, layer) = (args.input.clone(), args.layer.clone());
            let work = move |staged: &Path, cancel: &CancellationToken| {
                restore(&input, &layer, staged, cancel)
            };
            written((&args.input, &args.output, args.overwrite), work, common).await
        }
    }
}

/// Writes the output beside its place and puts it there when it is whole.
async fn written(
    (input, output, overwrite): (&Path, &Path, bool),
    work: impl FnOnce(&Path, &CancellationToken) -> Result<Layer, Refusal> + Send + 'static,
    common: &Common,
) -> Result<Exit, Ending> {
    check_output(input, output, overwrite)?;
    let staged = staged_path(output);
    let cancel = CancellationToken::new();
    let interrupted = tokio::spawn({
        let cancel = cancel.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        }
    });
    let done = tokio::task::spawn_blocking({
        let staged = staged.clone();
        move || work(&staged, &cancel)
    });
    let done = done.await.map_err(|_| Failure::permanent("the work broke off"));
    interrupted.abort();
    match done.and_then(|done| done.map_err(Refusal::into_failure)) {
        Ok(layer) => {
            publish(&staged, output, overwrite)?;
            if common.json {
                let Layer { pictures, units } = layer;
                out::json(&serde_json::json!({"pictures": pictures, "layer_units": units}));
            } else if !common.quiet {
                out::note(&format!(
                    "{}: {} pictures, {} units of the enhancement layer",
                    output.display(),
                    layer.pictures,
                    layer.units
                ));
            }
            Ok(Exit::Done)
        }
        Err(failure) => {
            let _ = std::fs::remove_file(&staged);
            Err(failure.into())
        }
    }
}
