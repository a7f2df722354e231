//! Where a conversion keeps its chunks and records, and whether there is room for
//! them and for its output: looked at before it begins.

use super::args::ConvertArgs;
use super::place::folder_of;
use super::resume::{forget_old, has_finished_work};
use crate::files::free;
use crate::worker::no_room;
use reelmill_core::error::Failure;
use reelmill_core::facts::Facts;
use reelmill_core::library::forecast::{UNTRIED, forecast};
use reelmill_core::media::MediaInfo;
use reelmill_core::preset::Preset;
use reelmill_core::room::{Need, Spot, choose};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a conversion needs: of the folder for chunks, and of the output's.
fn needs(media: &MediaInfo, preset: &Preset) -> (Need, Need) {
    if preset.remux {
        // What is left out is a small part of it.
        let out = Need { least: media.size / 2, likely: media.size };
        let usual = media.format.starts_with("matroska");
        let copy = Need::exactly(if usual { 0 } else { media.size });
        return (copy, out);
    }
    let facts = Facts::of(media, "");
    let about = Need::about(forecast(media.size, &facts, preset, UNTRIED).bytes);
    (about, about)
}

/// The folder for the chunks and records of the conversion `key` to `output`: in
/// memory if it is small, else below `scratch`; where it was begun before, if there
/// is something to go on with.
///
/// # Errors
/// Class no space, when there is too little for chunks or output.
pub(super) fn place(
    args: &ConvertArgs,
    (scratch, key): (&Path, &str),
    output: &Path,
    (media, preset): (&MediaInfo, &Preset),
) -> Result<PathBuf, Failure> {
    let (chunks, out) = needs(media, preset);
    let folder = folder_of(output);
    if let Some(free) = free(folder).filter(|free| *free < out.least) {
        return Err(no_room(folder, out, free));
    }
    let on_disk = scratch.join(key);
    if has_finished_work(&on_disk) {
        return Ok(on_disk);
    }
    let memory = args.ram.memory().map(|(root, most)| (root.join("convert"), most));
    if let Some((root, _)) = &memory {
        std::fs::create_dir_all(root)
            .map_err(|e| Failure::io(format!("use {}", root.display()), &e))?;
        forget_old(root);
    }
    let there = memory.as_ref().and_then(|(root, most)| Some((free(root)?, *most)));
    std::fs::create_dir_all(scratch)
        .map_err(|e| Failure::io(format!("create {}", scratch.display()), &e))?;
    // Where both lie on one disk, it has to hold both.
    let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    let both = if device(scratch) == device(folder) { chunks.and(out) } else { chunks };
    let need = Need { least: both.least, likely: chunks.likely };
    match (choose(need, there, free(scratch)), memory) {
        (Ok(Spot::Memory), Some((root, _))) => Ok(root.join(key)),
        (Ok(_), _) => Ok(on_disk),
        (Err(free), _) => Err(no_room(scratch, need, free)),
    }
}
