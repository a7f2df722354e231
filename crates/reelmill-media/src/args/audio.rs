//! The command that encodes audio tracks.

use super::apart::{Apart, mapped, place};
use super::{Args, micros, quiet, source_input};
use reelmill_core::media::AudioInfo;
use reelmill_core::preset::AudioCodec;
use reelmill_core::tracks::Loudness;
use std::path::Path;

/// How much later every time in the audio file is than in the output, in
/// microseconds: NUT holds no negative times, and encoders begin with some.
pub const AUDIO_LEAD_MICROS: i64 = 10_000_000;

/// What brings a track to a loudness, found by measuring it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// What is wanted.
    pub wanted: Loudness,
    /// Integrated loudness of the source, LUFS.
    pub integrated: f64,
    /// True peak of the source, dBTP.
    pub true_peak: f64,
    /// Loudness range of the source, LU.
    pub range: f64,
    /// Gating threshold of the source, LUFS.
    pub threshold: f64,
    /// What a second pass must still add, LU.
    pub offset: f64,
}

/// An audio track to encode.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioTrack {
    /// Stream index in the source.
    pub stream: u32,
    /// What the probe found.
    pub info: AudioInfo,
    /// Codec to encode to.
    pub codec: AudioCodec,
    /// Bits per second; 0 for lossless codecs.
    pub bit_rate: u32,
    /// Channels of the output.
    pub channels: u32,
    /// How its loudness is corrected, if it is.
    pub correction: Option<Correction>,
    /// The file that it is decoded from, where that is not the source.
    pub apart: Option<Apart>,
}

impl AudioTrack {
    /// What it is decoded from: an input and a stream of it.
    #[must_use]
    pub fn place(&self, source: &Path) -> (Args, u32) {
        place(source, self.stream, self.apart.as_ref())
    }
}

/// Encodes `tracks` into one file, in order, with times relative to
/// `start_micros` plus [`AUDIO_LEAD_MICROS`].
///
/// The file is NUT, which keeps every time; but it says nothing of how long a
/// packet lasts, and of FLAC's last one nobody could tell, so FLAC goes to MP4.
#[must_use]
pub fn audio(source: &Path, start_micros: i64, tracks: &[AudioTrack], out: &Path) -> Args {
    let offset = AUDIO_LEAD_MICROS - start_micros;
    let mut args = quiet()
        .words("-progress pipe:1 -copyts")
        .option("-itsoffset", micros(offset))
        .join(source_input(source));
    let places: Vec<_> = tracks.iter().map(|it| (it.stream, it.apart.as_ref())).collect();
    args = mapped(args, 1, offset, &places);
    for (at, track) in tracks.iter().enumerate() {
        args = encoded(args, at, track);
    }
    let flac = tracks.iter().any(|track| track.codec == AudioCodec::Flac);
    let format = if flac {
        "-strict experimental -movie_timescale 1000000 -f mp4"
    } else {
        "-avoid_negative_ts disabled -f nut"
    };
    // Tags come from the source later, and NUT cannot be read back with one of some kilobytes.
    let bare = "-map_metadata -1 -map_metadata:s -1 -map_chapters -1";
    args.words(bare).words(format).write(out)
}

/// Options that encode `track` as stream `at` of the output.
pub(super) fn encoded(args: Args, at: usize, track: &AudioTrack) -> Args {
    let args = args
        .option(format!("-c:{at}"), encoder(track.codec))
        .option(format!("-filter:{at}"), format_filter(track));
    if track.bit_rate == 0 {
        return args;
    }
    args.option(format!("-b:{at}"), track.bit_rate.to_string())
}

/// Measures how loud `track` is in the form that it will have; the figures are
/// the last lines of the log.
#[must_use]
pub fn loudness(input: Args, stream: u32, track: Option<&AudioTrack>, wanted: Loudness) -> Args {
    let shape =
        track.map_or(String::new(), |track| format!("aformat=channel_layouts={},", layout(track)));
    let Loudness { integrated, true_peak } = wanted;
    Args::new()
        .words("-nostdin -hide_banner -nostats -loglevel info -y")
        .join(input)
        .option("-map", format!("0:{stream}"))
        .option(
            "-filter:a",
            format!("{shape}loudnorm=I={integrated}:TP={true_peak}:print_format=json"),
        )
        .words("-f null -")
}

fn encoder(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
        AudioCodec::Flac => "flac",
        AudioCodec::Ac3 => "ac3",
        AudioCodec::Mp3 => "libmp3lame",
    }
}

/// Brings the sound to a rate and channel layout that the codec has, and to its
/// loudness, which counts in that layout.
fn format_filter(track: &AudioTrack) -> String {
    let rate = sample_rate(track.codec, track.info.sample_rate);
    let layout = layout(track);
    let shape = format!("aformat=sample_rates={rate}:channel_layouts={layout}");
    match &track.correction {
        None => shape,
        Some(by) => format!(
            "aformat=channel_layouts={layout},loudnorm=I={}:TP={}:LRA={}:measured_I={}:\
             measured_TP={}:measured_LRA={}:measured_thresh={}:offset={}:linear=true,{shape}",
            by.wanted.integrated,
            by.wanted.true_peak,
            // The whole range is kept, as far as the filter can.
            by.range.ceil().clamp(7.0, 20.0),
            by.integrated,
            by.true_peak,
            by.range,
            by.threshold,
            by.offset,
        ),
    }
}

/// The rate itself where the codec has it, else the next higher one.
fn sample_rate(codec: AudioCodec, wanted: u32) -> u32 {
    let rates: &[u32] = match codec {
        AudioCodec::Opus => &[8_000, 12_000, 16_000, 24_000, 48_000],
        AudioCodec::Ac3 => &[32_000, 44_100, 48_000],
        AudioCodec::Mp3 => &[8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000],
        AudioCodec::Aac => &[
            7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000,
            88_200, 96_000,
        ],
        AudioCodec::Flac => return wanted.min(655_350),
    };
    let highest = rates.last().copied().unwrap_or(48_000);
    rates.iter().copied().find(|rate| *rate >= wanted).unwrap_or(highest)
}

/// The source's layout where the codec can say it, else its twin with the surround
/// channels called "back", else one that has all its channels, else the usual one of so
/// many.
fn layout(track: &AudioTrack) -> &str {
    let named = track.info.layout.as_deref();
    if let Some((wider, channels)) = named.and_then(|layout| track.codec.wider(layout))
        && channels == track.channels
    {
        return wider;
    }
    let source = named.filter(|_| track.info.channels == track.channels);
    let source = source.map(|layout| match layout {
        "5.0(side)" => "5.0",
        "5.1(side)" => "5.1",
        other => other,
    });
    match source {
        Some(layout) if track.codec.layouts().contains(&layout) => layout,
        _ => usual_layout(track.channels),
    }
}

fn usual_layout(channels: u32) -> &'static str {
    match channels {
        0 | 1 => "mono",
        2 => "stereo",
        3 => "3.0",
        4 => "quad",
        5 => "5.0",
        6 => "5.1",
        7 => "6.1",
        _ => "7.1",
    }
}
