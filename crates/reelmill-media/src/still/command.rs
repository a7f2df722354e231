//! The commands that convert and compare still pictures.

use super::format::StillFormat;
use crate::args::{Args, quiet};
use crate::probe::still_guard;
use reelmill_core::container::Container;
use reelmill_core::preset::ImagePreset;
use std::path::Path;

/// What the source's pixels are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// How they lie, 1 to 8 as Exif counts.
    pub(super) orientation: u8,
    /// Whether there are several frames.
    pub(super) animated: bool,
    /// Whether any is not wholly opaque.
    pub(super) transparent: bool,
    /// Whether they have more than eight bits.
    pub(super) deep: bool,
}

/// Opens a picture of `format`, and as nothing else.
pub(super) fn input(path: &Path, format: StillFormat) -> Args {
    still_guard(Args::new(), format).arg("-noautorotate").open(path)
}

/// Turns what lies as Exif's `orientation` says upright; ends with a comma.
pub(super) fn turn(orientation: u8) -> &'static str {
    match orientation {
        2 => "hflip,",
        3 => "hflip,vflip,",
        4 => "vflip,",
        5 => "transpose=cclock_flip,",
        6 => "transpose=clock,",
        7 => "transpose=clock_flip,",
        8 => "transpose=cclock,",
        _ => "",
    }
}

/// Writes the transparency of every pixel, a byte each, to standard output.
pub(super) fn alpha(input: Args) -> Args {
    quiet().join(input).words("-vf format=rgba,alphaextract -pix_fmt gray -f rawvideo pipe:1")
}

/// Writes a digest of every frame's pixels to standard output.
pub(super) fn digests(input: Args) -> Args {
    quiet()
        .join(input)
        .words("-vf format=rgba -fps_mode passthrough -f framehash -hash murmur3 pipe:1")
}

/// Converts the picture.
pub(super) fn encode(
    input: Args,
    container: Container,
    image: ImagePreset,
    look: Look,
    out: &Path,
) -> Args {
    let args = quiet().arg("-xerror").join(input);
    let quality = image.quality.to_string();
    let turn = turn(look.orientation);
    let args = match container {
        Container::Webp => {
            let encoder = if look.animated { "libwebp_anim" } else { "libwebp" };
            let args = args
                .option("-vf", format!("{turn}format=bgra"))
                .option("-c:v", encoder)
                .option("-lossless", if image.lossless { "1" } else { "0" })
                .option("-quality", quality);
            if look.animated {
                args.words("-loop 0 -fps_mode passthrough -f webp")
            } else {
                args.words("-frames:v 1 -f webp")
            }
        }
        Container::Avif => {
            let format = if look.deep { "yuv420p10le" } else { "yuv420p" };
            let filter = format!(
                "{turn}scale=out_color_matrix=bt601:out_range=pc:flags=accurate_rnd,format={format}"
            );
            args.option("-vf", filter)
                .words("-c:v libaom-av1 -still-picture 1 -cpu-used 6 -row-mt 1 -b:v 0")
                .option("-crf", scaled(image.quality, 63, 0).to_string())
                .words("-color_range pc -colorspace smpte170m -color_primaries bt709")
                .words("-color_trc iec61966_2_1 -frames:v 1 -f avif")
        }
        Container::Jpeg => args
            .option("-vf", format!("{turn}scale=out_range=pc:flags=accurate_rnd,format=yuvj444p"))
            .words("-c:v mjpeg -huffman optimal")
            .option("-q:v", scaled(image.quality, 31, 2).to_string())
            .words("-frames:v 1 -f image2pipe"),
        _ => {
            let args =
                if turn.is_empty() { args } else { args.option("-vf", turn.trim_end_matches(',')) };
            args.words("-c:v png -frames:v 1 -f image2pipe")
        }
    };
    args.write(out)
}

/// A quality of 1 to 100 on an encoder's own scale from `worst` to `best`.
fn scaled(quality: u32, worst: u32, best: u32) -> u32 {
    worst - (worst - best) * quality.min(100) / 100
}

/// Compares a picture with what was made of it; the likeness stands in the log.
/// Pixels count by how opaque they are.
pub(super) fn compare(source: Args, output: Args, orientation: u8) -> Args {
    let turn = turn(orientation);
    let same = "format=rgba64le,premultiply=inplace=1,format=gbrp";
    Args::new()
        .words("-nostdin -hide_banner -nostats -loglevel info -y")
        .join(source)
        .join(output)
        .option("-filter_complex", format!("[0:v]{turn}{same}[a];[1:v]{same}[b];[a][b]psnr"))
        .words("-frames:v 1 -f null -")
}

/// Whether a pixel format has transparency, or may have (a palette).
pub(super) fn has_alpha(pixel_format: &str) -> bool {
    ["yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8"]
        .iter()
        .any(|start| pixel_format.starts_with(start))
}

/// Whether a pixel format has more than eight bits.
pub(super) fn is_deep(pixel_format: &str) -> bool {
    reelmill_core::facts::pixel_class(pixel_format).1 > 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_put_on_each_scale() {
        assert_eq!([1, 50, 100].map(|q| scaled(q, 31, 2)), [31, 17, 2]);
        assert_eq!([1, 80, 100].map(|q| scaled(q, 63, 0)), [63, 13, 0]);
    }
}
