//! Lists the packets of a video stream, without decoding it.

use crate::args::{Args, source_input};
use crate::process::plain;
use crate::tools::Tools;
use reelmill_core::error::Failure;
use reelmill_core::packets::{Packet, PacketIndex};
use reelmill_core::time::TimeBase;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The whole file is read, at the speed of its disk; but packets must come.
const STALL: Duration = Duration::from_secs(120);

/// What is asked of each packet, the stream and the file.
const SHOWN: &str = "packet=pts,size,pos,flags:stream=codec_name,time_base:format=format_name";

/// Different read errors that are kept.
const ERRORS: usize = 8;

/// The packets of stream `stream` (its index within the container) of the file
/// at `path`. Read errors do not make it fail: they are part of the index.
///
/// # Errors
/// When `ffprobe` cannot read the file at all, the stream does not exist or
/// has no time base, no packet came for two minutes, or it was cancelled.
pub async fn index(
    tools: &Tools,
    path: &Path,
    stream: u32,
    cancel: &CancellationToken,
) -> Result<PacketIndex, Failure> {
    let mut found = Found::default();
    let args = Args::new()
        // "repeat": say the same thing again instead of "repeated 5 times".
        .args(["-v", "repeat+error"])
        .args(["-select_streams", &stream.to_string()])
        .args(["-show_entries", SHOWN])
        .args(["-of", "compact"])
        .join(source_input(path));
    let command = tools.ffprobe(args).stall_after(STALL);
    let output = command.run_lines(cancel, &mut |line| found.take(line)).await?;
    let time_base = found.time_base.ok_or_else(|| {
        let message = format!("stream {stream} of {} has no time base", path.display());
        Failure::input(message).advise("check that the file plays")
    })?;
    let errors = found.errors(&output.stderr);
    Ok(PacketIndex { time_base, packets: found.packets, errors })
}

#[derive(Default)]
struct Found {
    time_base: Option<TimeBase>,
    packets: Vec<Packet>,
    /// Who may complain: the demuxer and the stream's decoder, by name.
    speakers: Vec<String>,
}

impl Found {
    /// Takes a line such as `packet|pts=23|size=5027|pos=746|flags=K_`.
    fn take(&mut self, line: &str) {
        if let Some(fields) = line.strip_prefix("packet|") {
            self.packets.push(packet(fields));
            return;
        }
        for (key, value) in fields(line) {
            match key {
                "time_base" => self.time_base = value.parse().ok().or(self.time_base),
                "codec_name" | "format_name" => self.speakers.push(value.to_owned()),
                _ => {}
            }
        }
    }

    /// The different complaints, without those of other streams' decoders.
    fn errors(&self, stderr: &[String]) -> Vec<String> {
        let mut errors: Vec<String> = Vec::new();
        for line in stderr {
            let speaker = line.strip_prefix('[').and_then(|line| line.split_once(" @ "));
            let heard = speaker.is_none_or(|(name, _)| self.speakers.iter().any(|s| s == name));
            let said = plain(line);
            if heard && errors.len() < ERRORS && !errors.iter().any(|known| known == said) {
                errors.push(said.to_owned());
            }
        }
        errors
    }
}

/// The parts of a line such as `stream|codec_name=h264|time_base=1/1000`.
fn fields(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('|').filter_map(|field| field.split_once('='))
}

fn packet(line: &str) -> Packet {
    let mut packet =
        Packet { pts: None, pos: None, size: 0, keyframe: false, discard: false, corrupt: false };
    for (key, value) in fields(line) {
        match key {
            "pts" => packet.pts = value.parse().ok(),
            "pos" => packet.pos = value.parse().ok(),
            "size" => packet.size = value.parse().unwrap_or_default(),
            "flags" => {
                packet.keyframe = value.contains('K');
                packet.discard = value.contains('D');
                packet.corrupt = value.contains('C');
            }
            _ => {}
        }
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    async fn indexed(path: &Path, stream: u32) -> Result<PacketIndex, Failure> {
        index(&fixture::tools().await, path, stream, &CancellationToken::new()).await
    }

    #[test]
    fn reads_packets_of_every_shape() {
        let whole = packet("pts=-42|size=5027|pos=746|flags=K_");
        assert_eq!((whole.pts, whole.pos, whole.size), (Some(-42), Some(746), 5027));
        assert!(whole.keyframe && !whole.discard && !whole.corrupt);
        let odd = packet("pts=N/A|size=1|pos=N/A|flags=_DC");
        assert_eq!((odd.pts, odd.pos), (None, None));
        assert!(!odd.keyframe && odd.discard && odd.corrupt);
    }

    #[test]
    fn only_complaints_about_the_file_and_the_stream_count() {
        let mut found = Found::default();
        found.take("stream|codec_name=h264|time_base=1/90000");
        found.take("format|format_name=matroska,webm");
        let said = [
            "[mp3float @ 0x1] Header missing",
            "[matroska,webm @ 0x2] File ended prematurely",
            "[h264 @ 0x3] no frame!",
            "[h264 @ 0x4] no frame!",
            "film.mkv: Input/output error",
        ];
        assert_eq!(
            found.errors(&said.map(str::to_owned)),
            ["File ended prematurely", "no frame!", "film.mkv: Input/output error"]
        );
        assert_eq!(found.time_base, TimeBase::new(1, 90_000));
    }

    #[tokio::test]
    async fn lists_every_frame_of_a_film_in_decode_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["film.mkv", "film.mp4", "film.ts"] {
            let film = fixture::film(dir.path(), name, 3, "").await;
            let found = indexed(&film, 0).await.unwrap();
            assert_eq!(found.packets.len(), 75, "{name}");
            assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
            assert!(found.packets.iter().all(|p| p.pos.is_some() && p.size > 0), "{name}");
            let frames = found.frames(name.split_once('.').unwrap().1).unwrap();
            assert_eq!(frames.pts.len(), 75, "{name}");
            assert_eq!(frames.keyframes.len(), 3, "{name}");
            let pts: Vec<_> = found.packets.iter().map(|p| p.pts).collect();
            assert!(!pts.is_sorted(), "{name}: B-frames come out of order");
        }
    }

    #[tokio::test]
    async fn packets_before_an_edit_list_are_marked() {
        let dir = tempfile::tempdir().unwrap();
        fixture::film(dir.path(), "film.mp4", 3, "").await;
        fixture::ffmpeg(dir.path(), "-ss 1.5 -i film.mp4 -map 0:v -c copy cut.mp4").await;
        let found = indexed(&dir.path().join("cut.mp4"), 0).await.unwrap();
        let hidden = found.packets.iter().filter(|packet| packet.discard).count();
        assert!(hidden > 0 && hidden < found.packets.len(), "{hidden}");
    }

    #[tokio::test]
    async fn a_cut_short_file_is_indexed_with_its_errors() {
        let dir = tempfile::tempdir().unwrap();
        let film = fixture::film(dir.path(), "film.mkv", 3, "").await;
        let bytes = std::fs::read(&film).unwrap();
        std::fs::write(&film, &bytes[..bytes.len() * 2 / 3]).unwrap();
        let found = indexed(&film, 0).await.unwrap();
        assert!(found.packets.len() > 10 && found.packets.len() < 75);
        assert!(!found.errors.is_empty());
        assert!(!found.errors[0].starts_with('['), "{:?}", found.errors);
    }

    #[tokio::test]
    async fn a_missing_stream_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let film = fixture::film(dir.path(), "film.mkv", 1, "").await;
        let failure = indexed(&film, 7).await.unwrap_err();
        assert!(failure.message.contains("stream 7"), "{failure}");
    }
}
