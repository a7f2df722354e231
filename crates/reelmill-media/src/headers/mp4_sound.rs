//! Sound as sample entries of MP4 and QuickTime describe it.

use super::boxes::{be, inner};
use super::sound::{self, Sound};
use super::window::{Fields, Look, unsure};

/// Codec and sound of a sample entry.
pub(super) fn sound(entry: &[u8; 4], sample: &[u8]) -> Look<(&'static str, Sound)> {
    let extensions = extensions(sample);
    let data = |kind: &[u8; 4]| {
        let found = extensions.iter().find(|(found, _)| found == kind);
        found.map_or(&[][..], |(_, data)| *data)
    };
    let (codec, sound) = match entry {
        b"mp4a" => ("aac", decoder_config(data(b"esds")).and_then(sound::aac)),
        b"ac-3" => ("ac3", sound::dac3(data(b"dac3"))),
        b"ec-3" => ("eac3", sound::dec3(data(b"dec3"))),
        b"Opus" => ("opus", sound::opus(data(b"dOps"))),
        b"fLaC" => ("flac", data(b"dfLa").get(8..).and_then(sound::flac)),
        _ => return unsure("an audio codec that only FFmpeg can tell about"),
    };
    match sound {
        Some(sound) => Ok((codec, sound)),
        None => unsure("sound that only decoding can tell about"),
    }
}

/// The boxes of a sample entry of any version; QuickTime wraps them in `wave`.
fn extensions(sample: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let head = match sample.get(8..10).map(be) {
        Some(1) => 28 + 16,
        Some(2) => 28 + 36,
        _ => 28,
    };
    let mut found = sample.get(head..).map(inner).unwrap_or_default();
    let wave = found.iter().find(|(kind, _)| kind == b"wave").map(|(_, data)| *data);
    found.extend(wave.map(inner).unwrap_or_default());
    found
}

/// The AudioSpecificConfig in an `esds` box (ISO 14496-1 7.2.6), if the stream
/// is AAC.
fn decoder_config(data: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(data.get(4..)?);
    loop {
        let (tag, content) = descriptor(&mut fields)?;
        match tag {
            3 => {
                let mut inside = Fields(content);
                inside.take(2)?;
                let flags = inside.byte()?;
                if flags & 0xe0 != 0 {
                    return None;
                }
                fields = inside;
            }
            4 => {
                // Object type 0x40 is AAC.
                if *content.first()? != 0x40 {
                    return None;
                }
                fields = Fields(content.get(13..)?);
            }
            5 => return Some(content),
            _ => {}
        }
    }
}

fn descriptor<'a>(fields: &mut Fields<'a>) -> Option<(u8, &'a [u8])> {
    let tag = fields.byte()?;
    let mut size = 0usize;
    for _ in 0..4 {
        let byte = fields.byte()?;
        size = size << 7 | usize::from(byte & 127);
        if byte & 128 == 0 {
            break;
        }
    }
    Some((tag, fields.take(size)?))
}
