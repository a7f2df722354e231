//! Takes image subtitles out of a film, as files of their own, and proves that
//! nothing is missing.

use crate::args::{Args, quiet, source_input, unmoved};
use crate::encode::{refuse_read_error, remove};
use crate::listing::{Listed, list};
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::media::{MediaInfo, Stream, StreamKind};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A reader that is silent for so long hangs.
const LIMIT: Duration = Duration::from_secs(3600);

/// Bytes before each segment of a `.sup` file: a mark and two times.
const SUP_HEAD: usize = 10;

/// The ending of a file for image subtitles of `codec`; `None` for other subtitles.
#[must_use]
pub fn ending(codec: &str) -> Option<&'static str> {
    match codec {
        "hdmv_pgs_subtitle" => Some("sup"),
        "dvd_subtitle" | "dvb_subtitle" | "xsub" => Some("mks"),
        _ => None,
    }
}

/// The image subtitles of a film.
pub fn images(media: &MediaInfo) -> impl Iterator<Item = &Stream> {
    let subtitles = media.streams.iter().filter(|stream| stream.kind == StreamKind::Subtitle);
    subtitles.filter(|stream| ending(&stream.codec).is_some())
}

/// Writes the subtitles of `stream` to the file `out` and compares them with the
/// source's; how many bytes of pictures there are.
///
/// # Errors
/// When the source cannot be read, or what was written is not all.
pub async fn extract(
    tools: &Tools,
    source: &Path,
    stream: &Stream,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<u64, Failure> {
    remove(out).await?;
    let format = ending(&stream.codec)
        .ok_or_else(|| Failure::input(format!("stream {} has no image subtitles", stream.index)))?;
    let command = tools.ffmpeg(copy(source, stream, format, out)).limit(LIMIT);
    refuse_read_error(&command.run(cancel).await?)?;
    let select = stream.index.to_string();
    let found = list(tools, source_input(source), &select, cancel).await?;
    let wanted = found.streams.get(&stream.index).map(contents).unwrap_or_default();
    let have = if format == "sup" {
        let fail = |error| Failure::io(format_args!("read {}", out.display()), &error);
        sup(&tokio::fs::read(out).await.map_err(fail)?).unwrap_or_default()
    } else {
        list(tools, source_input(out), "", cancel).await?.only().map(contents).unwrap_or_default()
    };
    if have == wanted && wanted.0 > 0 {
        return Ok(wanted.0);
    }
    remove(out).await?;
    let message = format!(
        "stream {}: {} bytes at {} times were written instead of {} at {}",
        stream.index,
        have.0,
        have.1.len(),
        wanted.0,
        wanted.1.len()
    );
    Err(Failure::permanent(message).advise("please report this with the source's details"))
}

fn copy(source: &Path, stream: &Stream, format: &str, out: &Path) -> Args {
    let format = if format == "sup" { "sup" } else { "matroska" };
    quiet()
        .arg("-copyts")
        .join(unmoved(0))
        .join(source_input(source))
        .option("-map", format!("0:{}", stream.index))
        .words("-c copy -map_chapters -1 -map_metadata -1 -map_metadata:s:0")
        .arg(format!("0:s:{}", stream.index))
        .words("-avoid_negative_ts disabled -fflags +bitexact -f")
        .arg(format)
        .write(out)
}

/// Bytes of all packets, and the times at which they are shown, milliseconds.
type Contents = (u64, BTreeSet<i64>);

fn contents(stream: &Listed) -> Contents {
    let bytes = stream.packets.iter().map(|packet| u64::from(packet.size)).sum();
    let millis =
        |ticks: i64| stream.time_base.map_or(0, |base| (base.micros(ticks) + 500).div_euclid(1000));
    (bytes, stream.packets.iter().filter_map(|packet| packet.pts).map(millis).collect())
}

/// The same of a `.sup` file, whose packets are in pieces.
fn sup(bytes: &[u8]) -> Option<Contents> {
    let mut found = Contents::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(SUP_HEAD)?;
        let time = u32::from_be_bytes(head.get(2..6)?.try_into().ok()?);
        if !head.starts_with(b"PG") {
            return None;
        }
        let length = 3 + usize::from(u16::from_be_bytes(after.get(1..3)?.try_into().ok()?));
        rest = after.get(length..)?;
        found.0 += length as u64;
        found.1.insert((i64::from(time) + 45).div_euclid(90));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_and_a_file_that_ends_early_is_none() {
        let mut file = b"PG\0\0\0\x5a\0\0\0\0\x16\0\x02ab".to_vec();
        file.extend(b"PG\0\0\0\xb4\0\0\0\0\x80\0\0");
        assert_eq!(sup(&file), Some((8, BTreeSet::from([1, 2]))));
        assert_eq!(sup(&file[..file.len() - 1]), None);
    }
}
