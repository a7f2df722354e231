//! Asks `ffprobe` what a file is made of.

mod describe;
mod guard;
mod hdr;
mod memory;

pub use guard::input_guard;
pub(crate) use guard::{refused_decoder, still_guard};
pub(crate) use hdr::{dolby_record, note};
pub(crate) use memory::Memory;

use crate::args::{Args, source_input};
use crate::headers;
use crate::process::plain;
use crate::still::StillFormat;
use crate::tools::Tools;
use memory::Stamp;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::media::MediaInfo;
use reelmill_core::preset::Preset;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

/// A probe reads a few megabytes; a disk that has to spin up or a busy network
/// share may take this long over it.
const LIMIT: Duration = Duration::from_secs(60);

/// Bytes at the start of a file that are looked at.
const HEAD: u64 = crate::still::HEAD as u64;

/// `path` as every tool of FFmpeg is to be given it: `file:PATH`, so that no
/// name is taken for an option or an address.
#[must_use]
pub fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// What the file at `path` is made of. Fields that the file states wrongly or
/// not at all are left out; they are no reason to fail. What `tools` were asked
/// lately about the very same file is not asked again.
///
/// # Errors
/// Class input or permanent when there is no such file or it is not media,
/// environment when it cannot be read, timeout after 60 s, cancelled.
pub async fn probe(
    tools: &Tools,
    path: &Path,
    cancel: &CancellationToken,
) -> Result<MediaInfo, Failure> {
    let (stamp, head) = check_file(path).await?;
    if let Some(media) = tools.probed.recall(&stamp) {
        return Ok(media);
    }
    let args = Args::new()
        .args(["-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_chapters"])
        .join(input(path, &head));
    let output = tools
        .ffprobe(args)
        .limit(LIMIT)
        .capture_limit(64 << 20)
        .run(cancel)
        .await
        .map_err(|failure| explain(path, &head, failure))?;
    let json = serde_json::from_slice(&output.stdout).map_err(|error| {
        let message = format!("ffprobe gave no readable answer about {}: {error}", path.display());
        Failure::transient(message)
    })?;
    let mut media = describe::media_info(&json, stamp.size());
    if (media.is_format("mov") || media.is_format("matroska")) && encrypted(path).await {
        return Err(Failure::input(format!("{} is encrypted (DRM)", path.display()))
            .advise("only the shop or service it comes from can play it: use a copy without"));
    }
    hdr::look(tools, path, &mut media, cancel).await?;
    tools.probed.keep(stamp, &media);
    Ok(media)
}

/// The same for a conversion by `preset`. Where that encodes nothing, a common film is looked
/// at in process, without starting a tool; then only its picture is described, the other
/// streams are counted.
///
/// # Errors
/// As [`probe`].
pub async fn probe_for(
    tools: &Tools,
    path: &Path,
    preset: &Preset,
    cancel: &CancellationToken,
) -> Result<MediaInfo, Failure> {
    if preset.remux {
        check_file(path).await?;
        let file = path.to_owned();
        let brief = tokio::task::spawn_blocking(move || headers::brief(&file)).await;
        if let Some(media) = brief.ok().flatten() {
            return Ok(media);
        }
    }
    probe(tools, path, cancel).await
}

async fn encrypted(path: &Path) -> bool {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || headers::encrypted(&path)).await.unwrap_or_default()
}

/// A still picture is opened as what its first bytes say; GIF and PNG may be
/// films too.
fn input(path: &Path, head: &[u8]) -> Args {
    match StillFormat::sniff(head) {
        Some(format) if !format.may_move() => still_guard(Args::new(), format).open(path),
        _ => source_input(path),
    }
}

/// Which file it is, and its first bytes, if there is one that can be read.
async fn check_file(path: &Path) -> Result<(Stamp, Vec<u8>), Failure> {
    let shown = path.display();
    let meta = match tokio::fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::permanent(format!("there is no file {shown}"))
                .advise("check the path, and that its drive or share is mounted"));
        }
        other => other.map_err(|error| Failure::io(format_args!("open {shown}"), &error))?,
    };
    if meta.is_dir() {
        return Err(Failure::permanent(format!("{shown} is a folder"))
            .advise("use --dir to convert what is in a folder"));
    }
    if !meta.is_file() {
        return Err(Failure::input(format!("{shown} is not an ordinary file")));
    }
    if meta.len() == 0 {
        return Err(Failure::input(format!("{shown} is empty (0 bytes)"))
            .advise("copy or download it again"));
    }
    let head =
        read_head(path).await.map_err(|error| Failure::io(format_args!("read {shown}"), &error))?;
    Ok((Stamp::of(&meta), head))
}

async fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(HEAD).read_to_end(&mut head).await?;
    Ok(head)
}

/// The same failure, told about this file.
fn explain(path: &Path, head: &[u8], failure: Failure) -> Failure {
    // What ffprobe fails at for no reason that may pass is the file's fault.
    let ended = failure.exit_status.is_some_and(|status| status > 0);
    let unexplained = ended && failure.class == FailureClass::Transient && failure.advice.is_none();
    if failure.class != FailureClass::Input && !unexplained {
        return failure;
    }
    let says = |phrase: &str| failure.tail.iter().find(|line| line.contains(phrase));
    let (message, advice) = if let Some(kind) = still_picture(head) {
        (format!("is a still picture ({kind})"), RIGHT_FILE)
    } else if says("moov atom not found").is_some() && begins_as_mp4(head) {
        (
            "is incomplete: it is an MP4 or MOV file whose index (moov) is missing".into(),
            "copy or download it again, or let the recording finish",
        )
    } else if let Some(line) = says("Format not on whitelist") {
        (refused(demuxer(line)), RIGHT_FILE)
    } else if let Some(codec) = failure.tail.iter().find_map(|line| refused_decoder(line)) {
        (format!("needs FFmpeg's decoder '{codec}', which reelmill does not open"), OTHER_CODEC)
    } else if says("Invalid data found").is_some() {
        (
            "is not a media file that FFmpeg knows, or is damaged".into(),
            "check that it is the right file and that it plays",
        )
    } else {
        let mut said = failure.tail.iter().filter(|line| line.contains(char::is_alphabetic));
        let reason = said.next().map_or("no reason given", |line| plain(line));
        (format!("cannot be read: {reason}"), "check that it plays")
    };
    Failure {
        class: FailureClass::Input,
        message: format!("{} {message}", path.display()),
        ..failure
    }
    .advise(advice)
}

const OTHER_CODEC: &str =
    "if you trust the file, convert it with FFmpeg itself to a common codec first";

const RIGHT_FILE: &str = "check that it is the right file: audio or video is wanted";

/// What to say of a file for which FFmpeg has another demuxer.
fn refused(demuxer: &str) -> String {
    if demuxer.ends_with("_pipe") || demuxer == "image2" {
        return "is a still picture".into();
    }
    format!("is not audio or video: FFmpeg takes it for '{demuxer}'")
}

/// The name of the picture format that an MP4-like head announces.
fn still_picture(head: &[u8]) -> Option<&'static str> {
    match head.get(4..12)? {
        b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc" => Some("HEIF"),
        _ => None,
    }
}

/// Whether the first bytes are a box of MP4 or MOV; FFmpeg goes by the name
/// alone when it has nothing better.
fn begins_as_mp4(head: &[u8]) -> bool {
    const FIRST: [&[u8]; 10] =
        [b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"wide", b"free", b"skip", b"pnot", b"uuid"];
    head.get(4..8).is_some_and(|kind| FIRST.contains(&kind))
}

/// The name in "[srt @ 0x5652327cc280] Format not on whitelist …".
fn demuxer(line: &str) -> &str {
    line.trim_start_matches('[').split([' ', ',']).next().unwrap_or("something else")
}

#[cfg(test)]
mod tests;
