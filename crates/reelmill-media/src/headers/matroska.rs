//! Matroska and WebM: the segment's information, its tracks, its tags, and the
//! first frame of tracks whose codec has no header of its own (RFC 9559).

use super::dynamic::{PICTURES, READS, add, beforehand, length_bytes, picture, spread};
use super::ebml::{Element, children, element, float, text, uint, vint};
use super::mkv_track::{Entry, audio_facts, needs_frame, picture_of, subtitle_codec};
use super::window::{Look, Window, unsure};
use super::{Parts, Shown, sound};
use reelmill_core::facts::{MARK_TAG, MARK_TAGS, SubtitleFacts, made_by};
use reelmill_core::media::VideoInfo;
use std::collections::BTreeMap;

pub(super) const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114D_9B74;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const TAGS: u32 = 0x1254_C367;
const CLUSTER: u32 = 0x1F43_B675;
const CUES: u32 = 0x1C53_BB6B;

/// Bytes of an index beyond which it is not read.
const MAX_CUES: u64 = 2 << 20;

/// Elements of the segment, or of its clusters, that are looked at.
const MAX_ELEMENTS: usize = 300;

/// The head of a segment.
#[derive(Default)]
pub(super) struct Head {
    /// Where positions count from.
    start: u64,
    pub(super) info: Option<Vec<u8>>,
    pub(super) tracks: Option<Vec<u8>>,
    tags: Option<Vec<u8>>,
    /// Positions in the file, from seek heads.
    pub(super) seeks: BTreeMap<u32, u64>,
    cluster: Option<u64>,
    end: u64,
}

/// The languages of those tracks that FFmpeg makes streams of, as BCP 47 writes them.
pub(super) fn language_tags(file: &mut Window) -> Look<Vec<Option<String>>> {
    let entries = entries(&head(file)?.tracks.unwrap_or_default())?.into_iter();
    let made = |it: &Entry| matches!(it.kind, 1 | 2 | 0x11 | 0x21) && !it.codec.is_empty();
    Ok(entries.filter(made).map(|entry| entry.language_tag).collect())
}

/// Whether a track is encrypted.
pub(super) fn encrypted(file: &mut Window) -> Look<bool> {
    let tracks = head(file)?.tracks.unwrap_or_default();
    Ok(entries(&tracks)?.iter().any(|entry| entry.encrypted))
}

pub(super) fn head(file: &mut Window) -> Look<Head> {
    let at = element(file, 0)?.end(file.len)?;
    let segment = element(file, at)?;
    if segment.id != SEGMENT {
        return unsure("no segment where it should be");
    }
    walk(file, segment)
}

pub(super) fn entries(tracks: &[u8]) -> Look<Vec<Entry>> {
    let tracks = children(tracks)?.into_iter().filter(|(id, _)| *id == 0xAE);
    tracks.map(|(_, data)| Entry::parse(data)).collect()
}

/// What the file's headers tell.
pub(super) fn parts(file: &mut Window) -> Look<Parts> {
    let head = head(file)?;
    let (Some(info), Some(tracks)) = (&head.info, &head.tracks) else {
        return unsure("no tracks in its headers");
    };
    let entries = entries(tracks)?;
    let mut parts =
        Parts { format: "matroska,webm", duration_micros: duration(info)?, ..Parts::default() };
    let frames = first_frames(file, &head, &entries)?;
    for entry in &entries {
        let frame = frames.get(&entry.number).map(|(frame, whole)| (frame.as_slice(), *whole));
        match entry.kind {
            1 if parts.video.is_none() => {
                let mut shown = picture_of(entry, frame)?;
                if shown.may_be_dynamic() {
                    shown.dynamic = Some(dynamic(file, &head, entry)?);
                }
                parts.video = Some(shown);
            }
            1 if entry.dolby_vision => beside(file, &head, entry, parts.video.as_mut())?,
            2 => parts.audio.push(audio_facts(entry, frame)?),
            0x11 => parts.subtitles.push(SubtitleFacts {
                codec: subtitle_codec(&entry.codec)?.to_owned(),
                language: entry.language(),
            }),
            // More pictures, and controls, which nobody plays.
            1 | 0x20 => {}
            _ => return unsure("a track of an unusual kind"),
        }
    }
    parts.made_by = head.tags.as_deref().map_or(Ok(None), mark)?;
    Ok(parts)
}

/// What pictures of a track say of HDR: the first ones, and some more all over it.
pub(super) fn dynamic(file: &mut Window, head: &Head, entry: &Entry) -> Look<Box<VideoInfo>> {
    let mut info = beforehand(&entry.private);
    pictures(file, (head.cluster, head.end), entry, (READS[0], PICTURES[0]), &mut info)?;
    let places = |file: &mut Window| {
        let all = clusters(file, head, entry.number)?;
        Ok(spread(all.len() as u64).into_iter().map(|at| all[at as usize]).collect())
    };
    add(file, &mut info, places, |file, (cluster, within), late| {
        let at = match within {
            0 => cluster,
            within => element(file, cluster)?.content.saturating_add(within),
        };
        pictures(file, (Some(at), head.end), entry, (READS[1], PICTURES[1]), late)
    })?;
    Ok(info)
}

/// Where in the file the index says that pictures of a track are: a cluster, and how far
/// into its content, where that is said.
fn clusters(file: &mut Window, head: &Head, track: u64) -> Look<Vec<(u64, u64)>> {
    let Some(at) = head.seeks.get(&CUES) else { return Ok(Vec::new()) };
    let cues = element(file, *at)?;
    if cues.id != CUES || cues.size.is_none_or(|size| size > MAX_CUES) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (_, point) in children(&cues.read(file)?)?.into_iter().filter(|(id, _)| *id == 0xBB) {
        for (_, place) in children(point)?.into_iter().filter(|(id, _)| *id == 0xB7) {
            let fields = children(place)?;
            let field = |wanted| fields.iter().find(|(id, _)| *id == wanted).map(|it| uint(it.1));
            if field(0xF7) == Some(track) {
                let at = field(0xF1).map(|at| head.start.saturating_add(at));
                found.extend(at.map(|at| (at, field(0xF0).unwrap_or(0))));
            }
        }
    }
    Ok(found)
}

/// Takes in what pictures of a track say, from a cluster or block on; after `reads` no
/// further one is begun.
fn pictures(
    file: &mut Window,
    (from, end): (Option<u64>, u64),
    entry: &Entry,
    (reads, most): (u32, usize),
    info: &mut VideoInfo,
) -> Look<()> {
    let length = length_bytes(&entry.private);
    let (mut seen, before) = (0, file.reads());
    blocks(file, (from, end), |file, at, size| {
        let start = file.upto(at, size.min(12))?;
        let Some((Some(track), taken)) = vint(start) else { return unsure("damaged blocks") };
        if track == entry.number {
            if start.get(taken + 2).is_none_or(|flags| flags >> 1 & 3 != 0) {
                return unsure("a laced picture");
            }
            // Track, time and flags.
            let skip = taken as u64 + 3;
            picture(file, (at + skip, size.saturating_sub(skip)), length, info)?;
            seen += 1;
        }
        Ok(seen < most && file.reads() - before < reads)
    })
}

/// Looks into a track that may carry the Dolby Vision of the one before.
fn beside(file: &mut Window, head: &Head, entry: &Entry, main: Option<&mut Shown>) -> Look<()> {
    let waits = |it: &VideoInfo| it.dolby_vision.is_none();
    let Some(own) = main.and_then(|main| main.dynamic.as_mut()).filter(|it| waits(it)) else {
        return Ok(());
    };
    if entry.codec == "V_MPEGH/ISO/HEVC" {
        own.dolby_vision = dynamic(file, head, entry)?.dolby_vision;
    }
    Ok(())
}

/// Hands over place and size of the blocks of all tracks from a cluster on, until there
/// is enough.
fn blocks(
    file: &mut Window,
    (from, end): (Option<u64>, u64),
    mut on_block: impl FnMut(&mut Window, u64, u64) -> Look<bool>,
) -> Look<()> {
    let Some(mut at) = from else { return Ok(()) };
    for _ in 0..MAX_ELEMENTS {
        if at >= end {
            break;
        }
        let part = element(file, at)?;
        at = match part.id {
            // Into clusters and groups, past everything else.
            CLUSTER | 0xA0 => part.content,
            _ => part.end(end)?,
        };
        if matches!(part.id, 0xA3 | 0xA1) && !on_block(file, part.content, part.size.unwrap_or(0))?
        {
            break;
        }
    }
    Ok(())
}

/// Goes through the segment up to its first cluster, then where the seek heads
/// point to.
fn walk(file: &mut Window, segment: Element) -> Look<Head> {
    let end = segment.end(file.len)?;
    let mut head = Head { start: segment.content, end, ..Head::default() };
    let mut at = segment.content;
    for _ in 0..MAX_ELEMENTS {
        if at >= end {
            break;
        }
        let found = element(file, at)?;
        if found.id == CLUSTER {
            head.cluster = Some(at);
            break;
        }
        head.take(file, found)?;
        let next = found.end(file.len)?;
        if found.size.is_none() {
            return unsure("an element of unknown size");
        }
        at = next;
    }
    for id in [INFO, TRACKS, TAGS] {
        let there = match id {
            INFO => head.info.is_some(),
            TRACKS => head.tracks.is_some(),
            _ => head.tags.is_some(),
        };
        if let Some(position) = head.seeks.get(&id).filter(|_| !there) {
            let found = element(file, *position)?;
            if found.id != id {
                return unsure("its seek head points elsewhere");
            }
            head.take(file, found)?;
        }
    }
    Ok(head)
}

impl Head {
    fn take(&mut self, file: &mut Window, found: Element) -> Look<()> {
        match found.id {
            INFO => self.info = Some(found.read(file)?),
            TRACKS => self.tracks = Some(found.read(file)?),
            TAGS => self.tags = Some(found.read(file)?),
            SEEK_HEAD => {
                for (id, seek) in children(&found.read(file)?)? {
                    if id == 0x4DBB {
                        self.seek(seek)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn seek(&mut self, data: &[u8]) -> Look<()> {
        let (mut target, mut position) = (0, 0);
        for (id, data) in children(data)? {
            match id {
                0x53AB => target = uint(data) as u32,
                0x53AC => position = uint(data),
                _ => {}
            }
        }
        self.seeks.insert(target, self.start.saturating_add(position));
        Ok(())
    }
}

/// Microseconds, cut as FFmpeg cuts them.
pub(super) fn duration(info: &[u8]) -> Look<Option<u64>> {
    let (mut scale, mut duration) = (1_000_000, None);
    for (id, data) in children(info)? {
        match id {
            0x2A_D7B1 => scale = uint(data),
            0x4489 => duration = Some(float(data)),
            _ => {}
        }
    }
    match duration.map(|ticks| ticks * scale as f64 / 1000.0) {
        Some(micros) if (1.0..1e17).contains(&micros) => Ok(Some(micros as u64)),
        _ => unsure("no duration in its headers"),
    }
}

/// The mark in tags that hold for the whole file.
fn mark(tags: &[u8]) -> Look<Option<String>> {
    let mut found = BTreeMap::new();
    for (_, tag) in children(tags)?.into_iter().filter(|(id, _)| *id == 0x7373) {
        if of_a_part(tag)? {
            continue;
        }
        for (_, simple) in children(tag)?.into_iter().filter(|(id, _)| *id == 0x67C8) {
            let (mut name, mut value) = (String::new(), String::new());
            for (id, data) in children(simple)? {
                match id {
                    0x45A3 => name = text(data).to_lowercase(),
                    0x4487 => value = text(data),
                    _ => {}
                }
            }
            if name == MARK_TAG || MARK_TAGS.contains(&name.as_str()) {
                found.insert(name, value);
            }
        }
    }
    Ok(made_by(&found))
}

/// Whether a tag names a track, chapter, edition or attachment that it holds for.
fn of_a_part(tag: &[u8]) -> Look<bool> {
    const PARTS: [u32; 4] = [0x63C4, 0x63C5, 0x63C6, 0x63C9];
    for (_, targets) in children(tag)?.into_iter().filter(|(id, _)| *id == 0x63C0) {
        if children(targets)?.iter().any(|(id, data)| PARTS.contains(id) && uint(data) != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first bytes of the first frame of each track that needs it, and whether
/// they are the whole frame.
fn first_frames(
    file: &mut Window,
    head: &Head,
    entries: &[Entry],
) -> Look<BTreeMap<u64, (Vec<u8>, bool)>> {
    let mut wanted: Vec<u64> =
        entries.iter().filter(|entry| needs_frame(entry)).map(|entry| entry.number).collect();
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    blocks(file, (head.cluster, head.end), |file, at, size| {
        let block = file.upto(at, size.min(sound::ENOUGH + 300))?;
        let whole = block.len() as u64 == size;
        let Some((track, frame)) = frame_of(block, size as usize) else {
            return unsure("damaged blocks");
        };
        if let Some(place) = wanted.iter().position(|number| *number == track) {
            wanted.swap_remove(place);
            found.insert(track, (frame.to_vec(), whole));
        }
        Ok(!wanted.is_empty())
    })?;
    Ok(found)
}

/// Track number and first frame of a block of `size` bytes, of which `block` is
/// the beginning.
fn frame_of(block: &[u8], size: usize) -> Option<(u64, &[u8])> {
    let (track, taken) = vint(block)?;
    let flags = *block.get(taken + 2)?;
    let mut rest = block.get(taken + 3..)?;
    let lacing = flags >> 1 & 3;
    if lacing == 0 {
        return Some((track?, rest));
    }
    let frames = usize::from(*rest.first()?) + 1;
    rest = &rest[1..];
    let first = match lacing {
        1 => {
            let mut first = 0;
            for frame in 0..frames - 1 {
                let mut size = 0;
                loop {
                    let byte = *rest.first()?;
                    rest = &rest[1..];
                    size += usize::from(byte);
                    if byte != 255 {
                        break;
                    }
                }
                first = if frame == 0 { size } else { first };
            }
            first
        }
        2 => (size.saturating_sub(block.len() - rest.len())) / frames,
        _ => {
            let mut first = 0;
            for frame in 0..frames - 1 {
                let (size, taken) = vint(rest)?;
                first = if frame == 0 { size? as usize } else { first };
                rest = rest.get(taken..)?;
            }
            first
        }
    };
    Some((track?, rest.get(..first).filter(|frame| !frame.is_empty()).unwrap_or(rest)))
}
