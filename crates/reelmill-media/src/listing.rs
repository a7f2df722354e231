//! Lists every packet of a file: what its streams hold, without decoding.

use crate::args::Args;
use crate::tools::Tools;
use reelmill_core::check::{self, Span};
use reelmill_core::error::Failure;
use reelmill_core::time::TimeBase;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A reader that is silent for so long hangs.
const STALL: Duration = Duration::from_secs(600);

/// The packets of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listing {
    /// By stream index.
    pub streams: BTreeMap<u32, Listed>,
    /// What the reader complained about.
    pub errors: Vec<String>,
}

/// One stream and its packets.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listed {
    /// Codec, by FFmpeg's name.
    pub codec: String,
    /// Seconds per tick.
    pub time_base: Option<TimeBase>,
    /// Samples per second; 0 for other than audio.
    pub sample_rate: u32,
    /// When it ends by what its header says, ticks.
    pub declared_end: Option<i64>,
    /// Digest of the codec's parameters; whole only when listed by [`list_encoded`].
    pub digest: String,
    /// In stored order.
    pub packets: Vec<Packet>,
}

/// One packet; times in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// When it is shown.
    pub pts: Option<i64>,
    /// For how long.
    pub duration: Option<i64>,
    /// Bytes.
    pub size: u32,
    /// Decoding may start here.
    pub key: bool,
    /// Decoded but not shown.
    pub discard: bool,
    /// Samples to leave out at its start.
    pub skip: u32,
    /// Samples to leave out at its end.
    pub padding: u32,
}

const ENTRIES: &str = "packet=stream_index,pts,duration,flags,size\
    :packet_side_data=skip_samples,discard_padding\
    :stream=index,codec_name,profile,pix_fmt,width,height,sample_rate,time_base,start_pts,duration_ts,extradata_hash";

/// Lists the streams that `select` names in FFmpeg's way (all when empty) of
/// the input that the options `input` open.
///
/// # Errors
/// When the file cannot be read at all; errors inside it are listed.
pub(crate) async fn list(
    tools: &Tools,
    input: Args,
    select: &str,
    cancel: &CancellationToken,
) -> Result<Listing, Failure> {
    read(tools, Args::new(), input, select, cancel).await
}

/// Lists the video of the input that the options `input` open, with the digest of
/// its parameter sets. ffprobe then sums up all packets too, which for a long source
/// would take minutes.
///
/// # Errors
/// As [`list`].
pub(crate) async fn list_encoded(
    tools: &Tools,
    input: Args,
    cancel: &CancellationToken,
) -> Result<Listing, Failure> {
    let hash = Args::new().args(["-show_data_hash", "murmur3"]);
    read(tools, hash, input, "v", cancel).await
}

async fn read(
    tools: &Tools,
    hash: Args,
    input: Args,
    select: &str,
    cancel: &CancellationToken,
) -> Result<Listing, Failure> {
    let mut args = Args::new()
        .args(["-v", "error", "-of", "compact=p=1:nk=0", "-show_entries", ENTRIES])
        .join(hash);
    if !select.is_empty() {
        args = args.args(["-select_streams", select]);
    }
    let mut listing = Listing::default();
    let command = tools.ffprobe(args.join(input)).stall_after(STALL);
    let output = command.run_lines(cancel, &mut |line| listing.push(line)).await?;
    listing.errors = output.stderr;
    Ok(listing)
}

impl Listing {
    /// The first stream.
    pub(crate) fn only(&self) -> Option<&Listed> {
        self.streams.values().next()
    }

    /// Where the packets of all streams end, in seconds, if that is before the
    /// `declared` duration (seconds) of the file.
    ///
    /// Whatever stream lasts longest counts. A declaration that is off by a
    /// factor of 100 without any read error is a wrong declaration.
    pub(crate) fn stops_early(&self, declared: f64) -> Option<f64> {
        let reached = self.streams.values().filter_map(Listed::reach).fold(0.0, f64::max);
        let absurd = self.errors.is_empty() && check::absurd(declared, reached);
        (!absurd && !check::duration(declared, reached).passed).then_some(reached)
    }

    fn push(&mut self, line: &str) {
        let mut fields = line.split('|');
        match fields.next() {
            Some("packet") => self.push_packet(fields),
            Some("stream") => self.push_stream(fields),
            _ => {}
        }
    }

    fn push_packet<'a>(&mut self, fields: impl Iterator<Item = &'a str>) {
        let mut stream = None;
        let mut packet = Packet::default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "stream_index" => stream = value.parse::<u32>().ok(),
                "pts" => packet.pts = value.parse().ok(),
                "duration" => packet.duration = value.parse().ok(),
                "size" => packet.size = value.parse().unwrap_or(0),
                "flags" => {
                    packet.key = value.contains('K');
                    packet.discard = value.contains('D');
                }
                "skip_samples" => packet.skip = value.parse().unwrap_or(0),
                "discard_padding" => packet.padding = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        if let Some(stream) = stream {
            self.streams.entry(stream).or_default().packets.push(packet);
        }
    }

    fn push_stream<'a>(&mut self, fields: impl Iterator<Item = &'a str>) {
        let fields: BTreeMap<&str, &str> =
            fields.filter_map(|field| field.split_once('=')).collect();
        let Some(index) = fields.get("index").and_then(|value| value.parse::<u32>().ok()) else {
            return;
        };
        let field = |key: &str| fields.get(key).copied().unwrap_or_default();
        let stream = self.streams.entry(index).or_default();
        stream.codec = field("codec_name").to_owned();
        stream.time_base = field("time_base").parse().ok();
        stream.sample_rate = field("sample_rate").parse().unwrap_or(0);
        let ticks = |key: &str| field(key).parse::<i64>().ok();
        stream.declared_end = ticks("start_pts").zip(ticks("duration_ts")).map(|(a, b)| a + b);
        stream.digest = digest(&field);
    }
}

/// The digest of the parameter sets; where a codec keeps none outside its
/// packets (VP9), what must be equal is named instead.
fn digest<'a>(field: &impl Fn(&str) -> &'a str) -> String {
    let shape = ["codec_name", "profile", "pix_fmt", "width", "height"].map(field).join(" ");
    match field("extradata_hash") {
        "" => shape,
        hash => format!("{shape} {hash}"),
    }
}

impl Listed {
    /// Times of the packets that are shown, ascending, ticks; `None` when one
    /// has no time.
    pub(crate) fn shown(&self) -> Option<Vec<i64>> {
        let shown = self.packets.iter().filter(|packet| !packet.discard);
        let mut pts: Vec<i64> = shown.map(|packet| packet.pts).collect::<Option<_>>()?;
        pts.sort_unstable();
        Some(pts)
    }

    /// From when to when it is heard or seen, seconds; `None` without packets.
    pub(crate) fn span(&self) -> Option<Span> {
        let base = self.time_base?;
        let samples = |count: u32| match self.sample_rate {
            0 => 0.0,
            rate => f64::from(count) / f64::from(rate),
        };
        let mut span: Option<Span> = None;
        for packet in self.packets.iter().filter(|packet| !packet.discard) {
            let Some(pts) = packet.pts else { continue };
            let length = base.seconds(packet.duration.unwrap_or(0));
            let at = base.seconds(pts);
            let start = at + samples(packet.skip).min(length);
            let end = at + (length - samples(packet.padding)).max(0.0);
            let known = span.get_or_insert(Span { start, end });
            known.start = known.start.min(start);
            known.end = known.end.max(end);
        }
        span
    }

    /// When its last packet begins, seconds; `None` without packets.
    pub(crate) fn last_start(&self) -> Option<f64> {
        let shown = self.packets.iter().filter(|packet| !packet.discard);
        Some(self.time_base?.seconds(shown.filter_map(|packet| packet.pts).max()?))
    }

    /// Whether nothing tells for how long its last packet is heard.
    pub(crate) fn ends_openly(&self) -> bool {
        self.packets.last().is_some_and(|packet| packet.duration.is_none())
    }

    /// How far the stream reaches, seconds. Where packets carry no times (AVI,
    /// MPEG-PS), their durations tell.
    fn reach(&self) -> Option<f64> {
        let by_times = self.span().map(|span| span.end.max(span.end - span.start));
        let untimed = self.packets.iter().any(|packet| packet.pts.is_none());
        let by_durations = self.time_base.filter(|_| untimed).map(|base| {
            self.packets.iter().map(|packet| base.seconds(packet.duration.unwrap_or(0))).sum()
        });
        match (by_times, by_durations) {
            (Some(one), Some(other)) => Some(f64::max(one, other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priming_and_padding_are_not_heard() {
        let mut listing = Listing::default();
        for line in [
            "packet|stream_index=1|pts=-1024|duration=1024|size=23|flags=KD",
            "packet|stream_index=1|pts=0|duration=1024|size=6|flags=K_",
            "packet|stream_index=1|pts=1024|duration=1024|size=6|flags=K_|side_data|\
             skip_samples=0|discard_padding=512",
            "stream|index=1|codec_name=aac|time_base=1/48000|sample_rate=48000",
            "",
        ] {
            listing.push(line);
        }
        let span = listing.streams[&1].span().unwrap();
        assert_eq!((span.start, span.end), (0.0, 1536.0 / 48_000.0));
        assert_eq!(listing.streams[&1].shown().unwrap(), [0, 1024]);
    }
}
