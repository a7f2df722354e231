//! Converts still pictures, and short animations among them, and proves the
//! result: the right way up, with colour profile and transparency.

mod check;
mod command;
mod exif;
mod format;
mod metadata;

pub(crate) use format::{HEAD, StillFormat};

use crate::args::Args;
use crate::encode::{refuse_read_error, remove};
use crate::tools::Tools;
use command::Look;
use metadata::Carried;
use reelmill_core::check::Verdict;
use reelmill_core::container::Container;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::media::MediaInfo;
use reelmill_core::preset::ImagePreset;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest that one step may take: AV1 on the largest picture, on a slow machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// A picture to convert.
#[derive(Debug, Clone, Copy)]
pub struct StillJob<'a> {
    /// What the probe found in the source.
    pub media: &'a MediaInfo,
    /// The source.
    pub source: &'a Path,
    /// Format of the output.
    pub container: Container,
    /// How to encode.
    pub image: ImagePreset,
    /// The output.
    pub out: &'a Path,
}

/// Converts the picture and checks it. A verdict that does not pass is an
/// answer, not an error.
///
/// # Errors
/// When the source cannot be read, is damaged, or has what the output's format
/// cannot hold: an animation, transparency, a colour profile.
pub async fn make(
    tools: &Tools,
    job: StillJob<'_>,
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    remove(job.out).await?;
    let source = format::read(job.source).await?;
    let carried = Carried::of(&source.bytes, source.format)?;
    let (_, info) = job.media.video().ok_or_else(|| Failure::input("there is no picture"))?;
    let input = command::input(job.source, source.format);
    let (frames, moves) = if source.format.may_move() {
        movement(tools, command::digests(input.clone()), cancel).await?
    } else {
        (1, false)
    };
    let transparent = command::has_alpha(&info.pixel_format)
        && is_transparent(tools, command::alpha(input.clone()), cancel).await?;
    let look = Look {
        orientation: carried.orientation,
        animated: moves,
        transparent,
        deep: command::is_deep(&info.pixel_format),
    };
    possible(job.container, look, &carried)?;
    let encode = command::encode(input.clone(), job.container, job.image, look, job.out);
    let output = match tools.ffmpeg(encode).limit(LIMIT).run(cancel).await {
        Err(failure) if is_verdict(&failure) => {
            // Is it the picture, or the encoder?
            movement(tools, command::digests(input), cancel).await?;
            return Err(failure);
        }
        other => other?,
    };
    refuse_read_error(&output)?;
    if let Some(line) = output.stderr.first() {
        let message = format!("the picture is damaged: {}", crate::process::plain(line));
        return Err(Failure::input(message).advise("check that it looks right, or save it again"));
    }
    carried.put(job.out, job.container).await?;
    check::verdict(tools, job, (source.format, look, &carried, frames), cancel).await
}

/// Whether the format can hold what the picture has.
fn possible(container: Container, look: Look, carried: &Carried) -> Result<(), Failure> {
    let (what, instead) = match container {
        Container::Webp => return Ok(()),
        _ if look.animated => ("is animated", "webp"),
        Container::Jpeg if look.transparent => ("has transparency", "webp or png"),
        Container::Avif if look.transparent => ("has transparency", "webp or png"),
        Container::Avif if carried.has_profile() => ("has a colour profile", "webp, jpg or png"),
        _ => return Ok(()),
    };
    let message = format!("the picture {what}, which reelmill cannot put into {container}");
    Err(Failure::input(message).advise(format!("choose {instead}")))
}

/// How many frames there are, and whether any shows another picture than the first:
/// where none does, there is nothing to animate.
async fn movement(
    tools: &Tools,
    args: Args,
    cancel: &CancellationToken,
) -> Result<(usize, bool), Failure> {
    let output = tools.ffmpeg(args).limit(LIMIT).run(cancel).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let frames = text.lines().filter(|line| !line.starts_with('#'));
    let digests: Vec<&str> =
        frames.filter_map(|line| line.rsplit(',').next()).map(str::trim).collect();
    let moves = digests.iter().any(|digest| *digest != digests[0]);
    Ok((digests.len(), moves))
}

/// Whether FFmpeg itself gave up, as opposed to the machine.
fn is_verdict(failure: &Failure) -> bool {
    let own = [FailureClass::Transient, FailureClass::Permanent].contains(&failure.class);
    own && failure.exit_status.is_some_and(|status| status > 0)
}

/// Whether any pixel is not wholly opaque.
async fn is_transparent(
    tools: &Tools,
    args: Args,
    cancel: &CancellationToken,
) -> Result<bool, Failure> {
    let output = tools.ffmpeg(args).limit(LIMIT).run(cancel).await?;
    Ok(output.stdout.iter().any(|alpha| *alpha != 255))
}
