//! What codec headers and first frames say of sound.

use super::window::Fields;
use crate::bits::Bits;

/// Channels and samples per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sound {
    pub(super) channels: u32,
    pub(super) sample_rate: u32,
}

/// Bytes of a frame that are enough; the second frame of a pair may lie there.
pub(super) const ENOUGH: u64 = 8192;

/// AAC rates at or below this may be doubled by a hidden extension (SBR) that
/// only decoding shows.
const MAY_BE_HALF: u32 = 24_000;

const AAC_RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// An AudioSpecificConfig (ISO 14496-3 1.6.2.1) that tells everything.
pub(super) fn aac(config: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(config);
    let rate = |bits: &mut Bits<'_>| match bits.uint(4)? {
        15 => bits.uint(24),
        index => AAC_RATES.get(index as usize).copied(),
    };
    let kind = bits.uint(5)?;
    let mut sample_rate = rate(&mut bits)?;
    let layout = bits.uint(4)?;
    let mut channels = match layout {
        1..=6 => layout,
        7 | 12 | 14 => 8,
        11 => 7,
        _ => return None,
    };
    match kind {
        // LC, the plain one.
        2 if sample_rate > MAY_BE_HALF => {}
        // SBR, and with parametric stereo.
        5 | 29 => {
            sample_rate = rate(&mut bits)?;
            if channels == 1 {
                // Mono may hide parametric stereo.
                channels = (kind == 29).then_some(2)?;
            }
        }
        _ => return None,
    }
    Some(Sound { channels, sample_rate })
}

/// The header of an ADTS frame (ISO 13818-7 6.2) of plain AAC that tells everything.
pub(super) fn adts(frame: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(frame);
    if bits.uint(12)? != 0xFFF {
        return None;
    }
    bits.skip(1)?;
    let (layer, _) = (bits.uint(2)?, bits.bit()?);
    let (profile, rate) = (bits.uint(2)?, bits.uint(4)?);
    bits.skip(1)?;
    let sample_rate = *AAC_RATES.get(rate as usize)?;
    let channels = match bits.uint(3)? {
        0 => return None,
        7 => 8,
        channels => channels,
    };
    let plain = layer == 0 && profile == 1 && sample_rate > MAY_BE_HALF;
    plain.then_some(Sound { channels, sample_rate })
}

/// Opus: an identification header (RFC 7845 5.1) or a `dOps` box behind its
/// version. Always decoded at 48 kHz.
pub(super) fn opus(head: &[u8]) -> Option<Sound> {
    let at = if head.starts_with(b"OpusHead") { 9 } else { 1 };
    let channels = u32::from(*head.get(at)?);
    (channels > 0).then_some(Sound { channels, sample_rate: 48_000 })
}

/// Vorbis: the identification header, first of three in Xiph's lacing.
pub(super) fn vorbis(private: &[u8]) -> Option<Sound> {
    let mut fields = Fields(private);
    if fields.byte()? != 2 {
        return None;
    }
    for _ in 0..2 {
        while fields.byte()? == 255 {}
    }
    let head = fields.take(30)?;
    if !head.starts_with(b"\x01vorbis") {
        return None;
    }
    let rate = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
    let channels = u32::from(head[11]);
    (channels > 0 && rate > 0).then_some(Sound { channels, sample_rate: rate })
}

/// FLAC: the STREAMINFO block.
pub(super) fn flac(info: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(info.get(10..)?);
    let sample_rate = bits.uint(20)?;
    let channels = bits.uint(3)? + 1;
    (sample_rate > 0).then_some(Sound { channels, sample_rate })
}

/// Channels of the modes of AC-3 and of DTS.
const AC3_CHANNELS: [u32; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
const DTS_CHANNELS: [u32; 16] = [1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6, 7, 8, 8];
const AC3_RATES: [u32; 3] = [48000, 44100, 32000];

/// The first frame of AC-3.
pub(super) fn ac3(frame: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(frame);
    if bits.uint(16)? != 0x0b77 {
        return None;
    }
    bits.skip(16)?;
    let rate = AC3_RATES.get(bits.uint(2)? as usize)?;
    bits.skip(6)?;
    let version = bits.uint(5)?;
    if version > 10 {
        return None;
    }
    bits.skip(3)?;
    let mode = bits.uint(3)?;
    let mixes = usize::from(mode & 1 != 0 && mode != 1) + usize::from(mode & 4 != 0);
    bits.skip(2 * (mixes + usize::from(mode == 2)))?;
    let channels = AC3_CHANNELS[mode as usize] + u32::from(bits.bit()?);
    Some(Sound { channels, sample_rate: rate >> version.saturating_sub(8) })
}

/// The first frame of E-AC-3, when nothing hangs on it that adds channels.
pub(super) fn eac3(frame: &[u8], whole: bool) -> Option<Sound> {
    let mut bits = Bits::new(frame);
    if bits.uint(16)? != 0x0b77 || bits.uint(2)? == 1 {
        return None;
    }
    bits.skip(3)?;
    let next = (bits.uint(11)? as usize + 1) * 2;
    let sample_rate = match bits.uint(2)? {
        3 => AC3_RATES.get(bits.uint(2)? as usize)? / 2,
        index => {
            bits.skip(2)?;
            AC3_RATES[index as usize]
        }
    };
    let channels = AC3_CHANNELS[bits.uint(3)? as usize] + u32::from(bits.bit()?);
    match frame.get(next..next + 3) {
        Some([0x0b, 0x77, kind]) if kind >> 6 == 1 => None,
        Some(_) => Some(Sound { channels, sample_rate }),
        None => (whole && frame.len() <= next).then_some(Sound { channels, sample_rate }),
    }
}

/// A `dac3` box.
pub(super) fn dac3(data: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(data);
    let rate = *AC3_RATES.get(bits.uint(2)? as usize)?;
    let version = bits.uint(5)?;
    bits.skip(3)?;
    let channels = AC3_CHANNELS[bits.uint(3)? as usize] + u32::from(bits.bit()?);
    (version <= 8).then_some(Sound { channels, sample_rate: rate })
}

/// A `dec3` box of a single substream.
pub(super) fn dec3(data: &[u8]) -> Option<Sound> {
    let mut bits = Bits::new(data);
    bits.skip(13)?;
    if bits.uint(3)? != 0 {
        return None;
    }
    let rate = *AC3_RATES.get(bits.uint(2)? as usize)?;
    bits.skip(5 + 1 + 1 + 3)?;
    let channels = AC3_CHANNELS[bits.uint(3)? as usize] + u32::from(bits.bit()?);
    bits.skip(3)?;
    (bits.uint(4)? == 0).then_some(Sound { channels, sample_rate: rate })
}

/// The first frame of DTS; `declared` is the container's word, which counts
/// where an extension may add to the core.
pub(super) fn dts(frame: &[u8], declared: Sound) -> Option<Sound> {
    const RATES: [u32; 16] = [
        0, 8000, 16000, 32000, 0, 0, 11025, 22050, 44100, 0, 0, 12000, 24000, 48000, 96000, 192000,
    ];
    let mut bits = Bits::new(frame);
    if bits.uint(32)? != 0x7ffe_8001 {
        return None;
    }
    bits.skip(1 + 5 + 1 + 7)?;
    let size = bits.uint(14)? as usize + 1;
    let mode = bits.uint(6)?;
    let sample_rate = RATES[bits.uint(4)? as usize];
    bits.skip(5 + 5 + 3)?;
    let extended = bits.bit()?;
    bits.bit()?;
    let low = bits.uint(2)?;
    let core = DTS_CHANNELS.get(mode as usize)? + u32::from(low > 0);
    // Extensions begin at a multiple of four bytes.
    let next = size.next_multiple_of(4);
    let substream = frame.get(next..next + 4) == Some(&[0x64, 0x58, 0x20, 0x25]);
    if substream || extended {
        let more = declared.channels >= core && declared.sample_rate >= sample_rate;
        return more.then_some(declared);
    }
    (sample_rate > 0).then_some(Sound { channels: core, sample_rate })
}

/// The first frame of TrueHD, when it is a major sync.
pub(super) fn truehd(frame: &[u8]) -> Option<Sound> {
    /// Channels of each bit of the assignment.
    const GROUPS: [u32; 13] = [2, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2, 1, 1];
    let mut bits = Bits::new(frame.get(4..)?);
    if bits.uint(32)? != 0xf872_6fba {
        return None;
    }
    let rate = bits.uint(4)?;
    bits.skip(4 + 2 + 2)?;
    let six = bits.uint(5)?;
    bits.skip(2)?;
    let eight = bits.uint(13)?;
    let groups = if eight != 0 { eight } else { six };
    let channels = (0..13).filter(|n| groups >> n & 1 == 1).map(|n| GROUPS[n]).sum();
    let base = if rate & 8 == 0 { 48_000 } else { 44_100 };
    (channels > 0 && rate != 15).then_some(Sound { channels, sample_rate: base << (rate & 7) })
}

/// The first frame of MPEG audio, of this layer.
pub(super) fn mpeg(frame: &[u8], layer: u32) -> Option<Sound> {
    let mut bits = Bits::new(frame);
    if bits.uint(11)? != 0x7ff {
        return None;
    }
    let version = bits.uint(2)?;
    if bits.uint(2)? != 4 - layer || version == 1 {
        return None;
    }
    bits.skip(5)?;
    let base = [44_100, 48_000, 32_000].get(bits.uint(2)? as usize)?;
    bits.skip(2)?;
    let channels = if bits.uint(2)? == 3 { 1 } else { 2 };
    let sample_rate = match version {
        3 => *base,
        2 => base / 2,
        _ => base / 4,
    };
    Some(Sound { channels, sample_rate })
}
