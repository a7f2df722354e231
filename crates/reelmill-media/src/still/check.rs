//! Whether a converted picture shows what the source does.

use super::command::{self, Look};
use super::format::StillFormat;
use super::metadata::Carried;
use super::{LIMIT, StillJob};
use crate::tools::Tools;
use img_parts::Bytes;
use img_parts::riff::RiffContent;
use img_parts::webp::WebP;
use reelmill_core::check::{Check, Verdict, equal};
use reelmill_core::container::Container;
use reelmill_core::error::Failure;
use tokio_util::sync::CancellationToken;

/// Likeness (PSNR, decibels) below which a picture is held to be another one.
const LEAST: f64 = 18.0;

/// Judges the output: its format, its size, its likeness, what it carries.
pub(super) async fn verdict(
    tools: &Tools,
    job: StillJob<'_>,
    (format, look, carried, frames): (StillFormat, Look, &Carried, usize),
    cancel: &CancellationToken,
) -> Result<Verdict, Failure> {
    let made = super::format::read(job.out).await?;
    let wanted = match job.container {
        Container::Avif => StillFormat::Avif,
        Container::Jpeg => StillFormat::Jpeg,
        Container::Webp => StillFormat::Webp,
        _ => StillFormat::Png,
    };
    let mut checks = vec![equal("format", &wanted, &made.format)];
    let (_, info) = job.media.video().ok_or_else(|| Failure::input("there is no picture"))?;
    let size = match look.orientation {
        5..=8 => (info.height, info.width),
        _ => (info.width, info.height),
    };
    if look.animated {
        checks.push(animation(&made.bytes, size, frames));
    } else {
        let found = crate::probe::probe(tools, job.out, cancel).await?;
        let found = found.video().map(|(_, info)| (info.width, info.height));
        checks.push(equal("size", &Some(size), &found));
        let source = command::input(job.source, format);
        let output = command::input(job.out, made.format);
        let args = command::compare(source, output, look.orientation);
        let said = tools.ffmpeg(args).limit(LIMIT).run(cancel).await?.stderr;
        checks.push(likeness(&said));
    }
    if job.container != Container::Avif {
        let have = Carried::of(&made.bytes, made.format)?;
        let same = have.profile == carried.profile;
        checks.push(Check::new(
            "colour profile",
            same,
            if same { "as in the source" } else { "lost" },
        ));
        checks.push(equal("orientation", &1, &have.orientation));
    }
    Ok(Verdict { checks })
}

/// The figure in "… average:41.3 min:…".
fn likeness(said: &[String]) -> Check {
    let line = said.iter().rev().find(|line| line.contains("average:"));
    let value = line.and_then(|line| line.split("average:").nth(1)?.split_whitespace().next());
    let found = value.and_then(|value| value.parse::<f64>().ok());
    let passed = found.is_some_and(|found| found >= LEAST);
    let told = found.map_or("not measured".into(), |found| format!("{found:.1} dB"));
    Check::new("likeness", passed, told)
}

/// What an animated WebP's own structure says: FFmpeg cannot read it.
fn animation(bytes: &[u8], size: (u32, u32), frames: usize) -> Check {
    let name = "animation";
    let Ok(picture) = WebP::from_bytes(Bytes::copy_from_slice(bytes)) else {
        return Check::new(name, false, "the output is no WebP");
    };
    let number = |at: &[u8]| u32::from(at[0]) | u32::from(at[1]) << 8 | u32::from(at[2]) << 16;
    let canvas = picture.chunk_by_id(*b"VP8X").and_then(|chunk| match chunk.content() {
        RiffContent::Data(data) if data.len() >= 10 => {
            Some((number(&data[4..]) + 1, number(&data[7..]) + 1))
        }
        _ => None,
    });
    let found = picture.chunks().iter().filter(|chunk| chunk.id() == *b"ANMF").count();
    // Frames that change nothing are joined with the one before.
    let passed = canvas == Some(size) && (2..=frames).contains(&found);
    Check::new(name, passed, format!("{found} pictures for {frames} frames, {canvas:?}"))
}
