//! Which preset a conversion uses: the one that was named, or else the usual one
//! for the output's format or for the kind of file.

use super::args::EncodeArgs;
use super::folder::MediaType;
use crate::exit::Ending;
use crate::farm;
use reelmill_core::container::{Container, OutputKind};
use reelmill_core::error::Failure;
use reelmill_core::preset::{Preset, Presets, part_of};

/// A preset with everything the command line says.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Its name.
    pub(super) name: String,
    /// How to encode; its format is the output's.
    pub(super) preset: Preset,
}

/// The preset for an output in `container`, or else in `--format`, or else for a
/// source of the kind `kind`. Of several that are named, the first that is for
/// such outputs counts.
pub(super) fn choose(
    encode: &EncodeArgs,
    container: Option<Container>,
    kind: Option<OutputKind>,
) -> Result<Chosen, Ending> {
    let presets = farm::presets().map_err(Ending::usage)?;
    let container = container.or(encode.format);
    let kind = container.map(Container::kind).or(kind).unwrap_or(OutputKind::Film);
    let named = encode.preset.iter().map(|name| Ok((name, presets.get(name, &[])?.format)));
    let named: Vec<_> = named.collect::<Result<_, _>>().map_err(Ending::usage)?;
    let fitting = named.iter().find(|(_, format)| format.kind() == kind).or(named.first());
    let usual = container.unwrap_or(kind.usual()).usual_preset();
    let name = fitting.map_or(usual, |(name, _)| name.as_str()).to_owned();
    made(&presets, name, &encode.overrides(), container)
}

fn made(
    presets: &Presets,
    name: String,
    overrides: &[String],
    container: Option<Container>,
) -> Result<Chosen, Ending> {
    let mut preset = presets.get(&name, overrides).map_err(Ending::usage)?;
    preset.format = container.unwrap_or(preset.format);
    preset.fits(preset.format).map_err(Ending::usage)?;
    Ok(Chosen { name, preset })
}

/// The kinds of output that files of the type `asked` become.
pub(super) fn kinds(asked: MediaType) -> &'static [OutputKind] {
    match asked {
        MediaType::Video => &[OutputKind::Film],
        MediaType::Audio => &[OutputKind::Sound],
        MediaType::Image => &[OutputKind::Picture],
        MediaType::Both => &[OutputKind::Film, OutputKind::Sound],
    }
}

/// The kind of output that a file of the type `of` becomes.
pub(super) fn kind_of(of: MediaType) -> OutputKind {
    kinds(of)[0]
}

/// How files of `kind` are encoded in a folder whose files of the kinds `asked` are
/// converted: a preset, the format and the settings that concern them.
///
/// # Errors
/// When a preset or the format is for none of those files, or a setting does not fit.
pub(super) fn for_kind(
    encode: &EncodeArgs,
    kind: OutputKind,
    asked: &[OutputKind],
) -> Result<(Chosen, EncodeArgs), Ending> {
    let presets = farm::presets().map_err(Ending::usage)?;
    let mut container = None;
    if let Some(format) = encode.format {
        if !asked.contains(&format.kind()) {
            let failure = Failure::permanent(format!("{format} is for other files than --type"));
            return Err(Ending::usage(failure.advise("give --type video, audio, image or both")));
        }
        container = Some(format).filter(|format| format.kind() == kind);
    }
    let mut chosen = None;
    for name in &encode.preset {
        let format = presets.get(name, &[]).map_err(Ending::usage)?.format;
        if format.kind() == kind || container.is_some() && encode.preset.len() == 1 {
            chosen = chosen.or(Some(name.clone()));
        } else if !asked.contains(&format.kind()) {
            let message = format!("preset '{name}' makes {format}, which is for other files");
            let failure = Failure::permanent(message);
            return Err(Ending::usage(failure.advise("give --type video, audio, image or both")));
        }
    }
    let usual = container.unwrap_or(kind.usual()).usual_preset();
    let name = chosen.unwrap_or_else(|| usual.to_owned());
    let mut set = encode.overrides();
    set.retain(|setting| concerns(setting, kind, asked));
    let chosen = made(&presets, name, &set, container)?;
    let settled = EncodeArgs {
        preset: vec![chosen.name.clone()],
        format: Some(chosen.preset.format),
        set,
        width: None,
        height: None,
        allow_fel_loss: false,
        drop_hdr: false,
        bitrate: None,
        max_size: None,
        ..encode.clone()
    };
    Ok((chosen, settled))
}

/// Whether a setting is for files of `kind`; one that is for none of the kinds
/// `asked` is left in, to be refused.
fn concerns(setting: &str, kind: OutputKind, asked: &[OutputKind]) -> bool {
    let about: &[OutputKind] = match part_of(setting) {
        "video" => &[OutputKind::Film],
        "audio" => &[OutputKind::Film, OutputKind::Sound],
        "image" => &[OutputKind::Picture],
        _ => return true,
    };
    about.contains(&kind) || !about.iter().any(|kind| asked.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn encode(words: &str) -> EncodeArgs {
        let words = ["reelmill", "plan", "x"].into_iter().chain(words.split_whitespace());
        match super::super::args::Cli::parse_from(words).command {
            super::super::args::Command::Plan(plan) => plan.encode,
            _ => unreachable!(),
        }
    }

    fn name(words: &str, container: Option<Container>) -> String {
        choose(&encode(words), container, None).map_or_else(|e| e.failure.message, |it| it.name)
    }

    #[test]
    fn the_outputs_ending_chooses_where_nothing_else_does() {
        assert_eq!(name("", None), "h264");
        for container in Container::ALL {
            let chosen = choose(&encode(""), Some(container), None).unwrap();
            assert_eq!(chosen.preset.format, container);
        }
        assert_eq!(name("", Some(Container::Opus)), "opus");
        assert_eq!(name("", Some(Container::Webm)), "vp9");
        assert_eq!(name("--preset hevc", Some(Container::Opus)), "hevc");
        assert_eq!(name("--preset av1 --preset flac", Some(Container::Mka)), "flac");
        assert!(name("--preset h264", Some(Container::Webm)).contains("cannot hold"));
        assert!(name("--set crf=20", Some(Container::Flac)).contains("'crf'"));
    }

    #[test]
    fn each_kind_of_file_in_a_folder_gets_its_preset_and_its_settings() {
        let both = kinds(MediaType::Both);
        let given = encode("--preset av1 --set crf=40 --set loudness=-16 --width 320");
        let (film, _) = for_kind(&given, OutputKind::Film, both).unwrap();
        let video = film.preset.video.unwrap();
        assert_eq!((film.name.as_str(), video.crf, video.width), ("av1", Some(40.0), Some(320)));
        let (sound, settled) = for_kind(&given, OutputKind::Sound, both).unwrap();
        assert_eq!((sound.name.as_str(), sound.preset.format), ("aac", Container::M4a));
        assert_eq!(sound.preset.audio.loudness().unwrap().integrated, -16.0);
        assert_eq!(settled.overrides(), ["loudness=-16"]);
        let (sound, _) =
            for_kind(&encode("--preset opus --format mka"), OutputKind::Sound, both).unwrap();
        assert_eq!((sound.name.as_str(), sound.preset.format), ("opus", Container::Mka));
        let refused = |words: &str, asked| {
            for_kind(&encode(words), kind_of(asked), kinds(asked)).unwrap_err().failure.message
        };
        assert!(refused("--preset opus", MediaType::Video).contains("other files"));
        assert!(refused("--format webp", MediaType::Audio).contains("other files"));
        assert!(refused("--set quality=9", MediaType::Audio).contains("'quality'"));
    }
}
