//! The arguments of the commands about libraries.

use clap::{Args, ValueEnum};
use reelmill_core::dolby::EnhancementLayer;
use reelmill_core::facts::MediaKind;
use reelmill_core::library::hours::Window;
use reelmill_core::library::quantity::{amount, millis};
use reelmill_core::media::Hdr;
use std::path::PathBuf;

/// Kinds of media, as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kinds {
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
    /// Still pictures.
    Image,
    /// Video and audio.
    Both,
}

impl Kinds {
    /// The kinds that are meant.
    pub(crate) fn list(self) -> Vec<MediaKind> {
        match self {
            Self::Video => vec![MediaKind::Video],
            Self::Audio => vec![MediaKind::Audio],
            Self::Image => vec![MediaKind::Image],
            Self::Both => vec![MediaKind::Video, MediaKind::Audio],
        }
    }
}

/// Which rules hold.
#[derive(Debug, Clone, Args)]
pub(crate) struct RulesArgs {
    /// Rules to judge files by. Without it: .reelmill/rules.toml in the library,
    /// rules.toml in the configuration folder, the built-in ones.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub(crate) rules: Option<PathBuf>,
    /// Instead of rules: this preset for all video.
    #[arg(long, short, value_name = "PRESET")]
    pub(crate) preset: Option<String>,
    /// Change a setting of that preset.
    #[arg(long, value_name = "KEY=VALUE", requires = "preset")]
    pub(crate) set: Vec<String>,
}

/// `reelmill scan`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScanArgs {
    /// The libraries: folders of media.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Which files, by their names.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "both")]
    pub(crate) kinds: Kinds,
    /// Follow symbolic links.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Files looked at at once; twice the cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) jobs: Option<u32>,
    /// Believe that missing files are gone, even if all of them are.
    #[arg(long)]
    pub(crate) accept_missing: bool,
    /// Which rules hold.
    #[command(flatten)]
    pub(crate) rules: RulesArgs,
    /// Queue what the rules want converted on a server.
    #[arg(long)]
    pub(crate) enqueue: bool,
    /// Queue it in the library itself instead: 'convert --dir DIR --shared --queue'
    /// on any machine that mounts it does the work; no server is needed.
    #[arg(long, requires = "enqueue", conflicts_with = "library")]
    pub(crate) shared: bool,
    /// With --shared: outputs take their sources' places.
    #[arg(long, requires = "shared")]
    pub(crate) replace: bool,
    /// Only show what would be queued, and what it would come to.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Try so many of them out, three short pieces of each, for a better forecast.
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) sample: Option<u32>,
    /// Name of this library in the server's configuration: the server reads the
    /// files itself. Without it they are uploaded.
    #[arg(long, value_name = "NAME", requires = "enqueue")]
    pub(crate) library: Option<String>,
    /// Queue (or show) at most so many files.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Queue what was queued before, too.
    #[arg(long, requires = "enqueue")]
    pub(crate) again: bool,
}

/// `reelmill query`.
#[derive(Debug, Clone, Args)]
pub(crate) struct QueryArgs {
    /// Libraries, or folders in them; all libraries when not given.
    #[arg(value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Files with HDR: of this kind (hdr10, hlg, dolby_vision), or of any.
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "any", value_parser = hdr)]
    pub(crate) hdr: Option<HdrWanted>,
    /// Files with HDR10+.
    #[arg(long)]
    pub(crate) hdr10plus: bool,
    /// Files with Dolby Vision of this profile, for example 7 or 5,8.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) dv_profile: Vec<u8>,
    /// Files with this kind of enhancement layer.
    #[arg(long, value_name = "LAYER", value_delimiter = ',', value_enum)]
    pub(crate) dv_layer: Vec<Layer>,
    /// Files with this level of Dolby Vision's metadata, for example 1 or 5,6 (both).
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) dv_level: Vec<u8>,
    /// Files whose picture or sound has this codec.
    #[arg(long, value_name = "C")]
    pub(crate) codec: Option<String>,
    /// Files in this container.
    #[arg(long, value_name = "C")]
    pub(crate) container: Option<String>,
    /// Files whose picture has this size.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) resolution: Option<(u32, u32)>,
    /// Files with sound in this language.
    #[arg(long, value_name = "LANG")]
    pub(crate) audio_language: Option<String>,
    /// Files with subtitles in this language.
    #[arg(long, value_name = "LANG")]
    pub(crate) subtitle_language: Option<String>,
    /// Files in whose path this text stands.
    #[arg(long, value_name = "T")]
    pub(crate) search: Option<String>,
    /// Files of this kind.
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub(crate) kind: Option<Kinds>,
    /// Files that the rules want converted.
    #[arg(long, conflicts_with = "skipped")]
    pub(crate) needs_conversion: bool,
    /// Files that the rules leave as they are.
    #[arg(long)]
    pub(crate) skipped: bool,
    /// Files that the rules want converted, but whose output was no smaller or whose
    /// conversion was undone; other settings try them again.
    #[arg(long, conflicts_with_all = ["needs_conversion", "skipped"])]
    pub(crate) kept: bool,
    /// Files that the rules want converted, but whose conversion failed for a reason that will
    /// not change, and why; other settings and 'convert --again' try them again.
    #[arg(long, conflicts_with_all = ["needs_conversion", "skipped", "kept"])]
    pub(crate) failed: bool,
    /// Files that cannot be read.
    #[arg(long)]
    pub(crate) unreadable: bool,
    /// Files, bytes and hours by codec, resolution, hdr, dolby-vision or container; or what
    /// conversions saved: in all (saved), by day, week, month, preset or machine.
    #[arg(long, value_name = "BY", num_args = 0..=1, default_missing_value = "codec", value_enum)]
    pub(crate) stats: Option<StatsBy>,
    /// Files, bytes and hours by what the rules say.
    #[arg(long, conflicts_with = "stats")]
    pub(crate) by_action: bool,
    /// What happened to the files: changed, moved, gone, queued, converted.
    #[arg(long, conflicts_with_all = ["stats", "by_action"])]
    pub(crate) history: bool,
    /// Why this file is (not) converted, rule by rule, and what happened to it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dirs", "stats", "by_action", "history", "export"])]
    pub(crate) why: Option<PathBuf>,
    /// Write everything that was found: as json, csv or paths.
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with_all = ["stats", "by_action", "history"])]
    pub(crate) export: Option<Export>,
    /// Where to, instead of standard output.
    #[arg(long, short, value_name = "FILE", requires = "export")]
    pub(crate) output: Option<PathBuf>,
    /// At most so many; all of an export when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Go on after this number, which the page before ended with.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub(crate) after: i64,
    /// Which rules hold.
    #[command(flatten)]
    pub(crate) rules: RulesArgs,
}

/// `reelmill watch`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// The libraries: folders of media.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Which files, by their names.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "video")]
    pub(crate) kinds: Kinds,
    /// Which rules hold.
    #[command(flatten)]
    pub(crate) rules: RulesArgs,
    /// Put each output in its source's place; the original goes to the trash.
    #[arg(long, conflicts_with = "output_dir")]
    pub(crate) replace: bool,
    /// Put outputs into this folder, in folders like the sources'.
    #[arg(long, value_name = "D")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Share the library with reelmill on other machines.
    #[arg(long, conflicts_with = "output_dir")]
    pub(crate) shared: bool,
    /// Keep outputs that are no smaller than their sources.
    #[arg(long)]
    pub(crate) keep_bigger: bool,
    /// Between two scans, for example 90s or 10m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = millis)]
    pub(crate) every: u64,
    /// A file is left alone until it has not changed for so long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = millis)]
    pub(crate) settle: u64,
    /// When to work, for example 22:00-07:00 or 'sat,sun 00:00-24:00'; may be given
    /// several times. Outside of it running work is handed back.
    #[arg(long, value_name = "HOURS")]
    pub(crate) hours: Vec<Window>,
    /// Hand running work back while others use more cores than this.
    #[arg(long, value_name = "CORES")]
    pub(crate) max_load: Option<f64>,
    /// Bytes that stay free in the library and where chunks are kept.
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = amount)]
    pub(crate) min_free: u64,
    /// End when there is nothing left to do, instead of going on for ever.
    #[arg(long)]
    pub(crate) once: bool,
}

/// `reelmill hooks`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HooksArgs {
    /// Call them as if this file had just been converted.
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Option<PathBuf>,
}

/// By what statistics are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsBy {
    /// Codec of the picture.
    Codec,
    /// Size of the picture.
    Resolution,
    /// Kind of HDR.
    Hdr,
    /// Profile and enhancement layer of Dolby Vision.
    DolbyVision,
    /// Container.
    Container,
    /// What conversions saved, in all.
    Saved,
    /// The same by day.
    Day,
    /// By week (ISO 8601).
    Week,
    /// By month.
    Month,
    /// By preset.
    Preset,
    /// By machine.
    Machine,
}

/// Kinds of enhancement layer, as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layer {
    /// Minimal.
    Mel,
    /// Full.
    Fel,
}

impl Layer {
    /// The kind that is meant.
    pub(crate) fn layer(self) -> EnhancementLayer {
        match self {
            Self::Mel => EnhancementLayer::Mel,
            Self::Fel => EnhancementLayer::Fel,
        }
    }
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Export {
    /// A JSON array.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// Paths, one a line.
    Paths,
}

/// Kinds of HDR that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HdrWanted(pub(crate) Vec<Hdr>);

fn hdr(text: &str) -> Result<HdrWanted, String> {
    match text {
        "any" => Ok(HdrWanted(vec![Hdr::Hdr10, Hdr::Hlg, Hdr::DolbyVision])),
        kind => serde_json::from_value(kind.into())
            .map(|kind| HdrWanted(vec![kind]))
            .map_err(|_| "use none, hdr10, hlg, dolby_vision or any".to_owned()),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(['x', 'X', '×']);
    let parsed = parts.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed.ok_or_else(|| "a size is written as 1920x1080".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_kinds_of_hdr_are_read() {
        assert_eq!(size("1920x1080"), Ok((1920, 1080)));
        size("1920").unwrap_err();
        assert_eq!(hdr("hlg"), Ok(HdrWanted(vec![Hdr::Hlg])));
        assert_eq!(hdr("any").unwrap().0.len(), 3);
        hdr("hdr11").unwrap_err();
    }
}
