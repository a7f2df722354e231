//! A stream of AVI: its header, its format, and the first bytes of its first frame.
//!
//! Old programs often state sizes and rates wrongly, and FFmpeg believes now the container,
//! now the stream. So only a stream that says the same as its container is answered for.

use super::picture::{BT2020_10, Picture, Transfer};
use super::sound::{self, Sound};
use super::window::{Look, unsure};
use super::{Shown, h264, mjpeg, mpeg4, reduce};
use reelmill_core::facts::{AudioFacts, Chroma};

/// Pixels beyond which FFmpeg may not be let near the picture.
const MAX_PIXELS: u64 = 1 << 25;

/// Formats of sound that tell in their frames.
const MP2: u32 = 0x50;
const MP3: u32 = 0x55;
const AC3: u32 = 0x2000;

/// A format of sound that is named by a GUID, and all but the beginning of those GUIDs that
/// begin with an ordinary format.
const EXTENSIBLE: u32 = 0xFFFE;
const MEDIA_GUID: [u8; 12] = [0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// A number of `bytes` bytes at `at`, the lowest first.
pub(super) fn le(data: &[u8], at: usize, bytes: usize) -> Option<u32> {
    Some(data.get(at..at + bytes)?.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// A stream.
pub(super) struct Track {
    pub(super) kind: [u8; 4],
    handler: [u8; 4],
    scale: u32,
    rate: u32,
    /// Frames, or blocks of sound.
    length: u32,
    /// Bytes of a sample where all are of one size, else 0.
    sample_size: u32,
    /// The format, which follows in a chunk of its own.
    pub(super) format: Option<Vec<u8>>,
    /// The beginning of the first frame.
    pub(super) frame: Option<Vec<u8>>,
}

impl Track {
    /// Reads a stream's header (`strh`).
    pub(super) fn read(header: &[u8]) -> Look<Self> {
        let four = |at: usize| Some([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let parse = || {
            let sample_size = le(header, 44, 4)?;
            let number = |at| le(header, at, 4);
            let (kind, handler) = (four(0)?, four(4)?);
            let (scale, rate, length) = (number(20)?, number(24)?, number(32)?);
            let (format, frame) = (None, None);
            Some(Self { kind, handler, scale, rate, length, sample_size, format, frame })
        };
        let Some(track) = parse() else { return unsure("a short stream header") };
        let sane = |number: u32| (1..1 << 31).contains(&number);
        if !sane(track.scale) || !sane(track.rate) || track.sample_size >= 1 << 31 {
            return unsure("a stream header with odd numbers");
        }
        Ok(track)
    }

    /// Microseconds, where frames are counted.
    pub(super) fn duration(&self) -> Option<u64> {
        let exact = u128::from(self.length) * u128::from(self.scale) * 2_000_000;
        let rate = u128::from(self.rate);
        let counted = self.kind == *b"vids" || self.sample_size == 0;
        counted.then(|| ((exact + rate) / (2 * rate)) as u64)
    }

    /// Whether the first frame is needed to tell; unsure where it would not help.
    pub(super) fn needs_frame(&self) -> Look<bool> {
        let (format, _) = self.parts()?;
        match &self.kind {
            b"vids" => match video_codec(format) {
                Some((_, source)) => Ok(!matches!(source, Source::Container)),
                None => unsure("a video codec that only FFmpeg can tell about"),
            },
            b"auds" => match Wave::read(format) {
                Some(wave) => Ok(matches!(wave.tag, MP2 | MP3 | AC3)),
                None => unsure("an unusual format of sound"),
            },
            _ => unsure("a track of an unusual kind"),
        }
    }

    /// The picture.
    pub(super) fn video(&self) -> Look<Shown> {
        let (format, frame) = self.parts()?;
        let Some((codec, source)) = video_codec(format) else {
            return unsure("a video codec that only FFmpeg can tell about");
        };
        let Some((width, height)) = size(format) else {
            return unsure("a picture of an unlikely size");
        };
        let private = format.get(40..).unwrap_or_default();
        let found = match source {
            Source::Container => {
                let (chroma, transfer) = (Chroma::C420, Transfer::Container);
                Some(Picture { width, height, chroma, bit_depth: 8, transfer })
            }
            Source::Mpeg4 => visual(private, frame),
            // Tables alone, or nothing that matters.
            Source::Jpeg => mjpeg::picture(frame),
            Source::H264 => advanced(private, frame),
        };
        let Some(picture) = found.filter(|it| (it.width, it.height) == (width, height)) else {
            return unsure("a picture that is not as its container has it");
        };
        let transfer = match picture.transfer {
            Transfer::Stream(transfer) => transfer,
            Transfer::Container => 2,
        };
        if transfer == BT2020_10 {
            return unsure("a transfer that the stream may redefine");
        }
        Ok(Shown {
            codec,
            picture,
            transfer,
            dolby_vision: false,
            dynamic: None,
            rotation: 0,
            frame_rate: reduce(self.rate.into(), self.scale.into(), i32::MAX as u64),
        })
    }

    /// The sound.
    pub(super) fn audio(&self) -> Look<AudioFacts> {
        let (format, frame) = self.parts()?;
        let Some(Wave { tag, bits, declared, config }) = Wave::read(format) else {
            return unsure("an unusual format of sound");
        };
        let Sound { channels, sample_rate } = declared;
        let (codec, found) = match (tag, bits) {
            (1, 8) => ("pcm_u8", Some(declared)),
            (1, 16) => ("pcm_s16le", Some(declared)),
            (1, 24) => ("pcm_s24le", Some(declared)),
            (1, 32) => ("pcm_s32le", Some(declared)),
            (2, 4) if channels <= 2 => ("adpcm_ms", Some(declared)),
            (3, 32) => ("pcm_f32le", Some(declared)),
            (6, 8) => ("pcm_alaw", Some(declared)),
            (7, 8) => ("pcm_mulaw", Some(declared)),
            (0x11, 4) if channels <= 2 => ("adpcm_ima_wav", Some(declared)),
            (MP2, _) => ("mp2", sound::mpeg(frame, 2)),
            (MP3, _) => ("mp3", sound::mpeg(frame, 3)),
            (0xFF, _) => ("aac", sound::aac(config)),
            (AC3, _) => ("ac3", sound::ac3(frame)),
            _ => return unsure("an audio codec that only FFmpeg can tell about"),
        };
        let sane = (1..=64).contains(&channels) && (1..1 << 30).contains(&sample_rate);
        if found != Some(declared) || !sane || self.handler == *b"Axan" {
            return unsure("sound that is not as its container has it");
        }
        Ok(AudioFacts { codec: codec.to_owned(), channels, sample_rate, language: None })
    }

    fn parts(&self) -> Look<(&[u8], &[u8])> {
        let frame = self.frame.as_deref().unwrap_or_default();
        match &self.format {
            Some(format) => Ok((format, frame)),
            None => unsure("a stream without format"),
        }
    }
}

/// What a format of sound (`WAVEFORMATEX`) states.
struct Wave<'a> {
    /// The codec.
    tag: u32,
    /// Bits of a sample.
    bits: u32,
    declared: Sound,
    /// The codec's private data.
    config: &'a [u8],
}

impl<'a> Wave<'a> {
    fn read(format: &'a [u8]) -> Option<Self> {
        let number = |at, bytes| le(format, at, bytes);
        let (tag, channels, sample_rate) = (number(0, 2)?, number(2, 2)?, number(4, 4)?);
        let (bits, size) = (number(14, 2)?, number(16, 2).unwrap_or(0) as usize);
        let declared = Sound { channels, sample_rate };
        let config = format.get(18..).unwrap_or_default();
        let config = &config[..size.min(config.len())];
        if tag != EXTENSIBLE {
            return Some(Self { tag, bits, declared, config });
        }
        let [b0, b1, _, _, _, _, t0, t1, t2, t3, guid @ ..] = config.get(..22)? else {
            return None;
        };
        let bits = match u16::from_le_bytes([*b0, *b1]) {
            0 => bits,
            valid => valid.into(),
        };
        let tag = u32::from_le_bytes([*t0, *t1, *t2, *t3]);
        (*guid == MEDIA_GUID).then_some(Self { tag, bits, declared, config: &config[22..] })
    }
}

/// What FFmpeg goes by.
#[derive(Clone, Copy)]
enum Source {
    /// The container: the stream does not say.
    Container,
    Mpeg4,
    Jpeg,
    H264,
}

/// FFmpeg's name of the codec that a format of pictures names.
fn video_codec(format: &[u8]) -> Option<(&'static str, Source)> {
    let name = format.get(16..20)?.to_ascii_uppercase();
    Some(match name.as_slice() {
        b"XVID" | b"DIVX" | b"DX50" | b"FMP4" | b"MP4V" => ("mpeg4", Source::Mpeg4),
        b"DIV3" | b"DIV4" | b"MP43" => ("msmpeg4v3", Source::Container),
        b"DIV2" | b"MP42" => ("msmpeg4v2", Source::Container),
        b"WMV1" => ("wmv1", Source::Container),
        b"WMV2" => ("wmv2", Source::Container),
        b"MJPG" => ("mjpeg", Source::Jpeg),
        b"H264" | b"X264" => ("h264", Source::H264),
        _ => return None,
    })
}

/// Width and height that a format of pictures states, the height perhaps negative.
fn size(format: &[u8]) -> Option<(u32, u32)> {
    let (width, height) = (le(format, 4, 4)?, (le(format, 8, 4)? as i32).unsigned_abs());
    let pixels = u64::from(width) * u64::from(height);
    (width > 0 && height > 0 && width <= 16_384 && height <= 16_384 && pixels <= MAX_PIXELS)
        .then_some((width, height))
}

/// MPEG-4's picture, by the codec's private data and the first frame, which must agree.
fn visual(private: &[u8], frame: &[u8]) -> Option<Picture> {
    if !mpeg4::has_picture(frame) {
        return None;
    }
    match (mpeg4::picture(private), mpeg4::picture(frame)) {
        (Some(before), Some(here)) => (before == here).then_some(here),
        (None, here) if !private.starts_with(&[0, 0, 1]) => here,
        (before, None) if !frame.windows(4).any(|it| matches!(it, [0, 0, 1, 0x20..=0x2F])) => {
            before
        }
        _ => None,
    }
}

/// The picture of H.264 between start codes.
fn advanced(private: &[u8], frame: &[u8]) -> Option<Picture> {
    let (here, _) = h264::annex_b(frame).filter(|_| h264::is_decodable(frame))?;
    // The last unit of private data has none behind it.
    let before = h264::annex_b(&[private, &[0, 0, 1]].concat()).map(|(picture, _)| picture);
    (private.is_empty() || before == Some(here)).then_some(here)
}
