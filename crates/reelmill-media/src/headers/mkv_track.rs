//! A track entry of Matroska, and what its codec makes of it.

use super::ebml::{children, float, text, uint};
use super::picture::{BT2020_10, Picture, Transfer};
use super::sound::{self, Sound};
use super::window::{Look, unsure};
use super::{Shown, av1, h264, hevc, vpx};
use reelmill_core::facts::AudioFacts;

/// Boxes in which Dolby Vision describes itself.
const DOLBY_VISION: [u64; 3] = [0x6476_6343, 0x6476_7643, 0x6476_7743];

/// A track as its entry describes it.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) kind: u64,
    pub(super) codec: String,
    pub(super) private: Vec<u8>,
    language: Option<String>,
    /// The language as BCP 47 writes it.
    pub(super) language_tag: Option<String>,
    default_duration: Option<u64>,
    sample_rate: Option<f64>,
    output_rate: Option<f64>,
    channels: Option<u64>,
    bit_depth: Option<u64>,
    transfer: Option<u64>,
    pub(super) dolby_vision: bool,
    /// Its frames are encrypted or compressed.
    encoded: bool,
    pub(super) encrypted: bool,
    /// The picture is to be turned or shown around the viewer.
    projected: bool,
}

impl Entry {
    pub(super) fn parse(data: &[u8]) -> Look<Self> {
        let mut entry = Self::default();
        for (id, data) in children(data)? {
            match id {
                0xD7 => entry.number = uint(data),
                0x83 => entry.kind = uint(data),
                0x86 => entry.codec = text(data),
                0x63A2 => entry.private = data.to_vec(),
                0x22_B59C => entry.language = Some(text(data)),
                0x22_B59D => entry.language_tag = Some(text(data)).filter(|tag| !tag.is_empty()),
                0x23_E383 => entry.default_duration = Some(uint(data)).filter(|ns| *ns > 0),
                0x6D80 => {
                    entry.encoded = true;
                    for (_, encoding) in children(data)? {
                        // What is done to the frames: 0 compression, 1 encryption.
                        let mut kinds = children(encoding)?.into_iter();
                        entry.encrypted |= kinds.any(|(id, data)| id == 0x5033 && uint(data) == 1);
                    }
                }
                0xE0 => entry.video(data)?,
                0xE1 => entry.audio(data)?,
                0x41E4 => {
                    for (id, data) in children(data)? {
                        entry.dolby_vision |= id == 0x41E7 && DOLBY_VISION.contains(&uint(data));
                    }
                }
                _ => {}
            }
        }
        Ok(entry)
    }

    fn video(&mut self, data: &[u8]) -> Look<()> {
        for (id, data) in children(data)? {
            match id {
                0x55B0 => {
                    for (id, data) in children(data)? {
                        if id == 0x55BA {
                            self.transfer = Some(uint(data));
                        }
                    }
                }
                0x7670 => {
                    for (id, data) in children(data)? {
                        // Kind, and the angles of the pose.
                        self.projected |= match id {
                            0x7671 => uint(data) != 0,
                            0x7673..=0x7675 => float(data) != 0.0,
                            _ => false,
                        };
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn audio(&mut self, data: &[u8]) -> Look<()> {
        for (id, data) in children(data)? {
            match id {
                0xB5 => self.sample_rate = Some(float(data)),
                0x78B5 => self.output_rate = Some(float(data)),
                0x9F => self.channels = Some(uint(data)),
                0x6264 => self.bit_depth = Some(uint(data)),
                _ => {}
            }
        }
        Ok(())
    }

    /// English unless said otherwise, as Matroska has it.
    pub(super) fn language(&self) -> Option<String> {
        let language = self.language.as_deref().unwrap_or("eng").to_lowercase();
        (language != "und" && !language.is_empty()).then_some(language)
    }

    /// What the container says of the sound.
    fn declared(&self) -> Sound {
        let rate = self.output_rate.or(self.sample_rate).unwrap_or(8000.0);
        Sound {
            channels: self.channels.unwrap_or(1).min(255) as u32,
            sample_rate: rate.clamp(0.0, 1e7) as u32,
        }
    }
}

/// Whether the codec tells its facts in its frames only.
pub(super) fn needs_frame(entry: &Entry) -> bool {
    const IN_FRAMES: [&str; 9] = [
        "V_VP8",
        "V_VP9",
        "A_AC3",
        "A_EAC3",
        "A_DTS",
        "A_TRUEHD",
        "A_MPEG/L3",
        "A_MPEG/L2",
        "A_AC3/BSID9",
    ];
    IN_FRAMES.contains(&entry.codec.as_str())
}

type Frame<'a> = Option<(&'a [u8], bool)>;

/// The picture of a video track.
pub(super) fn picture_of(entry: &Entry, frame: Frame<'_>) -> Look<Shown> {
    if entry.encoded {
        return unsure("an encrypted or compressed track");
    }
    if entry.projected {
        return unsure("a picture with a projection");
    }
    let first = frame.map_or(&[][..], |(frame, _)| frame);
    let (codec, picture): (_, Option<Picture>) = match entry.codec.as_str() {
        "V_MPEG4/ISO/AVC" => ("h264", h264::picture(&entry.private)),
        "V_MPEGH/ISO/HEVC" => ("hevc", hevc::picture(&entry.private)),
        "V_AV1" => ("av1", av1::picture(&entry.private)),
        "V_VP9" => ("vp9", vpx::vp9(first)),
        "V_VP8" => ("vp8", vpx::vp8(first)),
        _ => return unsure("a video codec that only FFmpeg can tell about"),
    };
    let Some(picture) = picture else {
        return unsure("a codec header that does not tell everything");
    };
    let Some(nanoseconds) = entry.default_duration else {
        return unsure("no frame rate in its headers");
    };
    let transfer = match picture.transfer {
        Transfer::Stream(transfer) => u64::from(transfer),
        Transfer::Container => entry.transfer.unwrap_or(2),
    };
    if transfer == u64::from(BT2020_10) {
        return unsure("a transfer that the stream may redefine");
    }
    Ok(Shown {
        codec,
        picture,
        transfer: transfer as u32,
        dolby_vision: entry.dolby_vision,
        dynamic: None,
        rotation: 0,
        frame_rate: super::reduce(1_000_000_000, nanoseconds, 30_000),
    })
}

/// The facts of an audio track.
pub(super) fn audio_facts(entry: &Entry, frame: Frame<'_>) -> Look<AudioFacts> {
    if entry.encoded {
        return unsure("an encrypted or compressed track");
    }
    let (first, whole) = frame.unwrap_or((&[], false));
    let private = entry.private.as_slice();
    let declared = entry.declared();
    let depth = entry.bit_depth.unwrap_or(0);
    let (codec, sound) = match entry.codec.as_str() {
        "A_AAC" => ("aac", sound::aac(private)),
        "A_OPUS" => ("opus", sound::opus(private)),
        "A_VORBIS" => ("vorbis", sound::vorbis(private)),
        "A_FLAC" => ("flac", private.strip_prefix(b"fLaC").and_then(|p| sound::flac(p.get(4..)?))),
        "A_AC3" | "A_AC3/BSID9" => ("ac3", sound::ac3(first)),
        "A_EAC3" => ("eac3", sound::eac3(first, whole)),
        "A_DTS" => ("dts", sound::dts(first, declared)),
        "A_TRUEHD" => ("truehd", sound::truehd(first)),
        "A_MPEG/L3" => ("mp3", sound::mpeg(first, 3)),
        "A_MPEG/L2" => ("mp2", sound::mpeg(first, 2)),
        "A_PCM/INT/LIT" if depth == 16 => ("pcm_s16le", Some(declared)),
        "A_PCM/INT/LIT" if depth == 24 => ("pcm_s24le", Some(declared)),
        _ => return unsure("an audio codec that only FFmpeg can tell about"),
    };
    match sound {
        Some(sound) => Ok(AudioFacts {
            codec: codec.to_owned(),
            channels: sound.channels,
            sample_rate: sound.sample_rate,
            language: entry.language(),
        }),
        None => unsure("sound that only decoding can tell about"),
    }
}

/// FFmpeg's name of a subtitle codec.
pub(super) fn subtitle_codec(id: &str) -> Look<&'static str> {
    Ok(match id {
        "S_TEXT/UTF8" | "S_TEXT/ASCII" => "subrip",
        "S_TEXT/ASS" | "S_ASS" | "S_TEXT/SSA" | "S_SSA" => "ass",
        "S_TEXT/WEBVTT" | "D_WEBVTT/SUBTITLES" | "D_WEBVTT/CAPTIONS" => "webvtt",
        "S_HDMV/PGS" => "hdmv_pgs_subtitle",
        "S_VOBSUB" => "dvd_subtitle",
        "S_DVBSUB" => "dvb_subtitle",
        _ => return unsure("subtitles of an unusual kind"),
    })
}
