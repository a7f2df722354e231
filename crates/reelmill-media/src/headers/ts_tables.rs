//! The tables of a transport stream: which program there is, and what it is made of
//! (ISO 13818-1 2.4.4, 2.6).

use super::window::{Fields, Look, unsure};

/// Streams of a program at most.
const MAX_STREAMS: usize = 32;

/// Puts a table together from the packets of its PID.
#[derive(Default)]
pub(super) struct Section {
    begun: Vec<u8>,
}

impl Section {
    /// Takes the payload of a packet; hands over the sections that end in it.
    pub(super) fn take(&mut self, payload: &[u8], start: bool) -> Look<Vec<Vec<u8>>> {
        let mut done = Vec::new();
        if !start {
            self.add(payload, &mut done);
            return Ok(done);
        }
        let Some((pointer, rest)) = payload.split_first() else { return Ok(done) };
        let Some((before, from)) = rest.split_at_checked((*pointer).into()) else {
            return unsure("damaged tables");
        };
        self.add(before, &mut done);
        self.begun = Vec::new();
        if from.is_empty() {
            return unsure("damaged tables");
        }
        self.begun.extend_from_slice(&from[..1]);
        self.add(&from[1..], &mut done);
        Ok(done)
    }

    fn add(&mut self, bytes: &[u8], done: &mut Vec<Vec<u8>>) {
        if self.begun.is_empty() {
            return;
        }
        self.begun.extend_from_slice(bytes);
        let Some(head) = self.begun.get(1..3) else { return };
        let size = 3 + (usize::from(head[0] & 15) << 8 | usize::from(head[1]));
        if self.begun.len() >= size {
            // Behind it is stuffing, or what the caller takes for damage: another table.
            let stuffed = self.begun[size..].iter().all(|byte| *byte == 0xFF);
            self.begun.truncate(if stuffed { size } else { 0 });
            done.push(std::mem::take(&mut self.begun));
        }
    }
}

/// The content of the only section of a table that is valid now.
fn content(section: &[u8], table: u8) -> Look<Fields<'_>> {
    let head = section.get(..8).unwrap_or_default();
    let only = matches!(head, [id, _, _, _, _, version, 0, 0] if *id == table && version & 1 == 1);
    if !only || section.len() < 12 || checksum(section) != 0 {
        return unsure("tables in several parts, or damaged");
    }
    Ok(Fields(&section[8..section.len() - 4]))
}

/// The checksum of ISO 13818-1 annex A; 0 over a section with its own.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 }
        })
    })
}

/// The PID of the table of the only program.
pub(super) fn program(section: &[u8]) -> Look<u16> {
    let mut fields = content(section, 0)?;
    let mut found = None;
    while let (Some(number), Some(pid)) = (fields.uint(2), fields.uint(2)) {
        if number != 0 && found.replace((pid & 0x1FFF) as u16).is_some() {
            return unsure("several programs");
        }
    }
    match found {
        Some(pid) if pid > 0x1F => Ok(pid),
        _ => unsure("no program"),
    }
}

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    H264,
    Hevc,
    Mpeg2,
    MpegAudio,
    Aac,
    Ac3,
    Eac3,
    Dts,
    /// Subtitles of this codec.
    Subtitle(&'static str),
    /// Nothing that is looked at or listened to.
    Other,
}

/// A stream as the program's table has it.
pub(super) struct Entry {
    pub(super) pid: u16,
    pub(super) kind: Kind,
    pub(super) language: Option<String>,
}

/// The streams of the program whose table this is.
pub(super) fn streams(section: &[u8]) -> Look<Vec<Entry>> {
    let mut fields = content(section, 2)?;
    let damaged = || unsure("damaged tables");
    let info = fields.uint(2).and_then(|_| fields.uint(2));
    let Some(info) = info.and_then(|size| fields.take((size & 0xFFF) as usize)) else {
        return damaged();
    };
    let mut disc = false;
    for (tag, data) in descriptors(info)? {
        match tag {
            5 => disc = data.starts_with(b"HDMV") || data.starts_with(b"HDPR"),
            0x1D => return unsure("a program of MPEG-4 systems"),
            _ => {}
        }
    }
    let cues = info.windows(4).any(|it| it == b"CUEI");
    let mut found: Vec<Entry> = Vec::new();
    while let Some(kind) = fields.byte() {
        let (Some(pid), Some(size)) = (fields.uint(2), fields.uint(2)) else { return damaged() };
        let Some(data) = fields.take((size & 0xFFF) as usize) else { return damaged() };
        let pid = (pid & 0x1FFF) as u16;
        if pid < 0x20 || found.iter().any(|entry| entry.pid == pid) || found.len() >= MAX_STREAMS {
            return damaged();
        }
        let data = descriptors(data)?;
        let language = language(&data)?;
        found.push(Entry { pid, kind: classify(kind, disc, cues, &data)?, language });
    }
    Ok(found)
}

type Descriptors<'a> = Vec<(u8, &'a [u8])>;

fn descriptors(data: &[u8]) -> Look<Descriptors<'_>> {
    let (mut fields, mut found) = (Fields(data), Vec::new());
    while let Some(tag) = fields.byte() {
        let Some(data) = fields.byte().and_then(|size| fields.take(size.into())) else {
            return unsure("damaged tables");
        };
        found.push((tag, data));
    }
    Ok(found)
}

/// What a stream of type `kind` with these descriptors is.
fn classify(kind: u8, disc: bool, cues: bool, data: &Descriptors<'_>) -> Look<Kind> {
    const UNUSUAL: &str = "a stream that only FFmpeg can tell about";
    // Access units in layers of MPEG-4 systems, more on sound, captions, Dolby Vision.
    if data.iter().any(|(tag, _)| matches!(tag, 0x1E | 0x1F | 0x7F | 0xFD | 0xB0)) {
        return unsure(UNUSUAL);
    }
    if kind == 0x86 && cues {
        return unsure("cues that count as a stream");
    }
    let registered = data.iter().find(|(tag, _)| *tag == 5).map(|(_, name)| *name);
    let known = match (kind, disc) {
        (0x02, _) => Kind::Mpeg2,
        (0x03, _) => Kind::MpegAudio,
        // FFmpeg guesses by the content; a name would count, too.
        (0x04, _) if registered.is_none() => Kind::MpegAudio,
        (0x0F, _) if registered.is_none() => Kind::Aac,
        (0x1B, _) => Kind::H264,
        (0x24, _) => Kind::Hevc,
        (0x81, _) => Kind::Ac3,
        (0x82 | 0x85 | 0x86, true) => Kind::Dts,
        (0x84 | 0xA1, true) => Kind::Eac3,
        (0x90, true) => Kind::Subtitle("hdmv_pgs_subtitle"),
        (0x8A, _) => Kind::Dts,
        (0x01 | 0x04 | 0x0F..=0x12 | 0x1C | 0x20 | 0x21 | 0x42 | 0xC1..=0xDB | 0xEA, _)
        | (0x80 | 0x83 | 0x92 | 0xA2, true) => return unsure(UNUSUAL),
        _ => private(kind, registered, data)?,
    };
    Ok(known)
}

/// What a stream is by its descriptors alone, of which the first that tells counts.
fn private(kind: u8, registered: Option<&[u8]>, data: &Descriptors<'_>) -> Look<Kind> {
    let named = match registered.map(|name| name.get(..4).unwrap_or_default()) {
        None => None,
        Some(b"AC-3") => Some(Kind::Ac3),
        Some(b"EAC3") => Some(Kind::Eac3),
        Some(b"DTS1" | b"DTS2" | b"DTS3") => Some(Kind::Dts),
        Some(b"ID3 " | b"CUEI") => Some(Kind::Other),
        Some(_) => return unsure("a stream of an unusual name"),
    };
    let described = |tag: u8| match tag {
        0x6A => Some(Kind::Ac3),
        0x7A => Some(Kind::Eac3),
        0x7B => Some(Kind::Dts),
        0x56 => Some(Kind::Subtitle("dvb_teletext")),
        0x59 => Some(Kind::Subtitle("dvb_subtitle")),
        _ => None,
    };
    let mut kinds: Vec<Kind> = Vec::new();
    if kind == 6 {
        kinds.extend(data.iter().filter_map(|(tag, _)| described(*tag)));
    }
    kinds.extend(named);
    kinds.dedup();
    match kinds[..] {
        [] => Ok(Kind::Other),
        [one] => Ok(one),
        _ => unsure("a stream of several kinds"),
    }
}

/// The language that the descriptors name, in small letters.
fn language(data: &Descriptors<'_>) -> Look<Option<String>> {
    let mut found = None;
    for (tag, data) in data {
        let (size, every) = match tag {
            0x0A => (4, found.is_none()),
            0x56 => (5, true),
            0x59 => (8, true),
            _ => continue,
        };
        if data.is_empty() || !every {
            continue;
        }
        // FFmpeg lists them all, with commas.
        if data.len() != size || !data[..3].iter().all(u8::is_ascii_alphabetic) {
            return unsure("an unusual language");
        }
        found = Some(String::from_utf8_lossy(&data[..3]).to_lowercase());
    }
    Ok(found.filter(|language| language != "und"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_over_several_packets_is_put_together() {
        let table: Vec<u8> = [2, 0xB0, 10].into_iter().chain(0..10).collect();
        let mut section = Section::default();
        assert!(section.take(&table, false).unwrap().is_empty(), "not from its beginning");
        let first = [&[0][..], &table[..2]].concat();
        assert!(section.take(&first, true).unwrap().is_empty());
        let rest = [&table[2..], &[0xFF; 5]].concat();
        assert_eq!(section.take(&rest, false).unwrap(), std::slice::from_ref(&table));
        let next = [&[3][..], &table[10..], &table[..], &[0xFF]].concat();
        section.take(&[&[0][..], &table[..10]].concat(), true).unwrap();
        assert_eq!(section.take(&next, true).unwrap(), [table.clone(), table.clone()]);
        let crowded = [&[0][..], &table[..], &table[..]].concat();
        assert_eq!(section.take(&crowded, true).unwrap(), [Vec::<u8>::new()]);
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0x0376_E6E7);
    }
}
