//! A track of MP4 or QuickTime.

use super::boxes::{FileBox, be, find, inner};
use super::dynamic::{PICTURES, READS, add, beforehand, length_bytes, spread};
use super::picture::{BT2020_10, Transfer};
use super::window::{Look, Window, unsure};
use super::{Shown, av1, dynamic::picture, h264, hevc, mp4_sound, picture::Picture};
use reelmill_core::facts::{AudioFacts, MARK_PROGRAM, SubtitleFacts};
use reelmill_core::media::VideoInfo;

/// A track.
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) kind: Kind,
    /// Tracks that hold its chapters' titles or pictures.
    pub(super) chapters: Vec<u32>,
    /// The mark that reelmill left as the name of its handler.
    pub(super) mark: Option<String>,
}

/// What a track carries.
pub(super) enum Kind {
    Video(Shown),
    Audio(AudioFacts),
    Subtitle(SubtitleFacts),
    Data,
}

impl Track {
    pub(super) fn read(file: &mut Window, track: FileBox) -> Look<Self> {
        let boxes = track.boxes(file)?;
        let (Some(header), Some(media)) = (find(&boxes, b"tkhd"), find(&boxes, b"mdia")) else {
            return unsure("a track without header");
        };
        let header = header.read(file)?;
        let chapters = match find(&boxes, b"tref") {
            None => Vec::new(),
            Some(references) => {
                let data = references.read(file)?;
                let chap = inner(&data).into_iter().filter(|(kind, _)| kind == b"chap");
                chap.flat_map(|(_, ids)| ids.chunks_exact(4).map(|id| be(id) as u32)).collect()
            }
        };
        let id_at = if header.first() == Some(&1) { 20 } else { 12 };
        let id = header.get(id_at..id_at + 4).map_or(0, |id| be(id) as u32);
        let media = Media::read(file, media)?;
        let mark = media.mark.clone();
        Ok(Self { id, kind: media.kind(file, &header)?, chapters, mark })
    }
}

/// The mark as the name of a handler, which QuickTime writes behind its length.
fn mark(name: &[u8]) -> Option<String> {
    let text = |name: &[u8]| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    let counted = name.split_first().and_then(|(length, name)| name.get(..usize::from(*length)));
    let names = [text(name), counted.map(text).unwrap_or_default()];
    names.into_iter().find(|name| name.starts_with(MARK_PROGRAM))
}

/// The media box of a track.
struct Media {
    handler: [u8; 4],
    mark: Option<String>,
    scale: u64,
    language: Option<String>,
    entry: [u8; 4],
    sample: Vec<u8>,
    tables: Vec<FileBox>,
}

impl Media {
    fn read(file: &mut Window, media: FileBox) -> Look<Self> {
        let boxes = media.boxes(file)?;
        let (Some(header), Some(handler), Some(inside)) =
            (find(&boxes, b"mdhd"), find(&boxes, b"hdlr"), find(&boxes, b"minf"))
        else {
            return unsure("a track without media header");
        };
        let header = header.read(file)?;
        let handler = handler.read(file)?;
        let mark = mark(handler.get(24..).unwrap_or_default());
        let (scale_at, language_at) = if header.first() == Some(&1) { (20, 32) } else { (12, 20) };
        let (Some(scale), Some(packed), Some(handler)) = (
            header.get(scale_at..scale_at + 4),
            header.get(language_at..language_at + 2),
            handler.get(8..12),
        ) else {
            return unsure("a short media header");
        };
        let (scale, language) = (be(scale), language(be(packed) as u16)?);
        let handler = [handler[0], handler[1], handler[2], handler[3]];
        let inside = inside.boxes(file)?;
        let Some(tables) = find(&inside, b"stbl") else {
            return unsure("a track without sample tables");
        };
        let tables = tables.boxes(file)?;
        let Some(description) = find(&tables, b"stsd") else {
            return unsure("a track without sample description");
        };
        let description = description.read(file)?;
        let entries = description.get(4..8).map_or(0, be);
        let listed = description.get(8..).map(inner).unwrap_or_default();
        let Some((entry, sample)) = listed.first().filter(|_| entries == 1) else {
            return unsure("several sample descriptions, or none");
        };
        Ok(Self { handler, mark, scale, language, entry: *entry, sample: sample.to_vec(), tables })
    }

    /// The last chunk must lie in the file.
    fn check_chunks(&self, file: &mut Window) -> Look<()> {
        for (kind, width) in [(b"stco", 4), (b"co64", 8)] {
            if let Some(chunks) = find(&self.tables, kind)
                && chunks.end - chunks.content >= 8 + width
                && be(file.bytes(chunks.end - width, width)?) >= file.len
            {
                return unsure("its samples lie beyond its end");
            }
        }
        Ok(())
    }

    fn kind(self, file: &mut Window, header: &[u8]) -> Look<Kind> {
        self.check_chunks(file)?;
        match &self.handler {
            b"vide" => self.video(file, header).map(Kind::Video),
            b"soun" => {
                self.frame_rate(file)?;
                let sound = mp4_sound::sound(&self.entry, &self.sample)?;
                Ok(Kind::Audio(AudioFacts {
                    codec: sound.0.to_owned(),
                    channels: sound.1.channels,
                    sample_rate: sound.1.sample_rate,
                    language: self.language,
                }))
            }
            b"tmcd" | b"hint" | b"meta" | b"clcp" => match &self.entry {
                b"tmcd" | b"mebx" | b"rtp " => Ok(Kind::Data),
                _ => unsure("a track of an unusual kind"),
            },
            b"sbtl" | b"text" | b"subp" | b"subt" => match &self.entry {
                // Tracks of chapter titles look the same; the caller leaves
                // them out, for it knows who refers to them.
                b"tx3g" | b"text" => Ok(Kind::Subtitle(self.subtitle("mov_text"))),
                b"mp4s" if self.handler == *b"subp" => {
                    Ok(Kind::Subtitle(self.subtitle("dvd_subtitle")))
                }
                _ => unsure("subtitles of an unusual kind"),
            },
            _ => unsure("a track of an unusual kind"),
        }
    }

    fn subtitle(&self, codec: &str) -> SubtitleFacts {
        SubtitleFacts { codec: codec.to_owned(), language: self.language.clone() }
    }

    fn video(&self, file: &mut Window, header: &[u8]) -> Look<Shown> {
        let extensions = self.sample.get(78..).map(inner).unwrap_or_default();
        let extension = |kind: &[u8; 4]| {
            extensions.iter().find(|(found, _)| found == kind).map(|(_, data)| *data)
        };
        let record = |kind| extension(kind).unwrap_or_default();
        let (codec, picture): (_, Option<Picture>) = match &self.entry {
            b"avc1" | b"avc3" | b"dvav" | b"dva1" => ("h264", h264::picture(record(b"avcC"))),
            b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => ("hevc", hevc::picture(record(b"hvcC"))),
            b"av01" | b"dav1" => ("av1", av1::picture(record(b"av1C"))),
            _ => return unsure("a video codec that only FFmpeg can tell about"),
        };
        let Some(picture) = picture else {
            return unsure("a codec header that does not tell everything");
        };
        let transfer = match picture.transfer {
            Transfer::Stream(transfer) => transfer,
            Transfer::Container => match extension(b"colr") {
                Some(colr) if colr.starts_with(b"nclx") || colr.starts_with(b"nclc") => {
                    colr.get(6..8).map_or(2, |transfer| be(transfer) as u32)
                }
                _ => 2,
            },
        };
        if transfer == BT2020_10 {
            return unsure("a transfer that the stream may redefine");
        }
        let named = [*b"dvh1", *b"dvhe", *b"dvav", *b"dva1", *b"dav1"].contains(&self.entry);
        let described =
            [b"dvcC", b"dvvC", b"dvwC"].into_iter().any(|kind| extension(kind).is_some());
        let mut shown = Shown {
            codec,
            picture,
            transfer,
            dolby_vision: named || described,
            dynamic: None,
            rotation: rotation(header)?,
            frame_rate: self.frame_rate(file)?,
        };
        if shown.may_be_dynamic() {
            shown.dynamic = Some(self.dynamic(file, record(b"hvcC"))?);
        }
        Ok(shown)
    }

    /// What pictures say of HDR: those in the first chunk, and some more all over the track.
    fn dynamic(&self, file: &mut Window, record: &[u8]) -> Look<Box<VideoInfo>> {
        let length = length_bytes(record);
        let first = |file: &mut Window, kind: &[u8; 4], at: u64, width: u64| {
            let table = find(&self.tables, kind).filter(|it| it.end - it.content >= at + width);
            table.map(|it| file.bytes(it.content + at, width).map(be)).transpose()
        };
        let mut info = beforehand(record);
        let chunk = match first(file, b"stco", 8, 4)? {
            Some(chunk) => Some(chunk),
            None => first(file, b"co64", 8, 8)?,
        };
        // Of the first entry: samples in each chunk. One size of all, or a list.
        let (samples, same) = (first(file, b"stsc", 12, 4)?, first(file, b"stsz", 4, 4)?);
        let (Some(mut at), Some(samples), Some(same)) = (chunk, samples, same) else {
            return unsure("a track without sample tables");
        };
        let before = file.reads();
        for number in 0..samples.min(PICTURES[0] as u64) {
            let size = match same {
                0 => first(file, b"stsz", 12 + 4 * number, 4)?,
                same => Some(same),
            };
            let Some(size) = size else { break };
            picture(file, (at, size), length, &mut info)?;
            at += size;
            if file.reads() - before >= READS[0] {
                break;
            }
        }
        let places = |file: &mut Window| self.samples(file);
        add(file, &mut info, places, |file, place, late| picture(file, place, length, late))?;
        Ok(info)
    }

    /// Places and sizes of some samples all over the track, by the tables.
    fn samples(&self, file: &mut Window) -> Look<Vec<(u64, u64)>> {
        let table = |kind| find(&self.tables, kind);
        let (Some(runs), Some(sizes)) = (table(b"stsc"), table(b"stsz")) else {
            return Ok(Vec::new());
        };
        let (chunks, width) = match (table(b"stco"), table(b"co64")) {
            (Some(chunks), _) => (chunks, 4),
            (None, Some(chunks)) => (chunks, 8),
            (None, None) => return Ok(Vec::new()),
        };
        let (runs, head) = (runs.read(file)?, file.bytes(sizes.content + 4, 8)?);
        let (same, count) = (be(&head[..4]), be(&head[4..]));
        let mut found = Vec::new();
        for number in spread(count) {
            let number = number.saturating_sub(AT_A_PLACE - 1);
            let Some((chunk, within, each)) = chunk_of(&runs, number) else { continue };
            let here = AT_A_PLACE.min(each - within).min(count - number);
            let mut at = be(file.bytes(chunks.content + 8 + width * chunk, width)?);
            let all: Vec<u64> = match same {
                0 => {
                    let list = sizes.content + 12 + 4 * (number - within);
                    let list = file.bytes(list, 4 * (within + here))?;
                    let mut sizes = list.chunks_exact(4).map(be);
                    at = at.saturating_add(sizes.by_ref().take(within as usize).sum::<u64>());
                    sizes.collect()
                }
                same => {
                    at = at.saturating_add(same.saturating_mul(within));
                    vec![same; here as usize]
                }
            };
            for size in all {
                found.push((at, size));
                at = at.saturating_add(size);
            }
        }
        Ok(found)
    }

    /// Samples over their durations, as the table of times has them.
    fn frame_rate(&self, file: &mut Window) -> Look<(u32, u32)> {
        let Some(times) = find(&self.tables, b"stts") else {
            return unsure("a track without times");
        };
        let times = times.read(file)?;
        let (mut samples, mut ticks) = (0u64, 0u64);
        for entry in times.get(8..).unwrap_or_default().chunks_exact(8) {
            let (count, each) = (be(&entry[..4]), be(&entry[4..]));
            if each >= 1 << 31 {
                return unsure("times that run backwards");
            }
            samples += count;
            ticks += count * each;
        }
        if samples == 0 || ticks == 0 || self.scale == 0 || samples > 1 << 32 {
            return unsure("a track without samples");
        }
        let num = u128::from(self.scale) * u128::from(samples);
        Ok(super::reduce_wide(num, u128::from(ticks), u128::from(i32::MAX as u32)))
    }
}

/// Samples, one after the other, that are looked at in each place of a film.
const AT_A_PLACE: u64 = 12;

/// The chunk that sample `number` lies in, how many samples lie before it there, and how
/// many there are, by the table of chunks (`stsc`); counted from zero.
fn chunk_of(runs: &[u8], number: u64) -> Option<(u64, u64, u64)> {
    let mut runs = runs.get(8..)?.chunks_exact(12).map(|run| (be(&run[..4]), be(&run[4..8])));
    let (mut first, mut run) = (0u64, runs.next()?);
    loop {
        let (begin, each) = run;
        let next = runs.next();
        // Both are numbers of 32 bits.
        let samples = next.map(|(end, _)| end.saturating_sub(begin) * each);
        if samples.is_none_or(|samples| number - first < samples) {
            let within = number - first;
            let chunk = begin.checked_sub(1)? + within.checked_div(each)?;
            return Some((chunk, within % each, each));
        }
        first += samples?;
        run = next?;
    }
}

/// Three letters, packed; the old codes of the Macintosh are not answered for.
fn language(packed: u16) -> Look<Option<String>> {
    match packed {
        0x7fff => Ok(None),
        0 => Ok(Some("eng".to_owned())),
        1..0x400 => unsure("an old language code"),
        _ => {
            let letter = |shift: u16| char::from((packed >> shift & 31) as u8 + 0x60);
            let code: String = [letter(10), letter(5), letter(0)].iter().collect();
            if !code.bytes().all(|byte| byte.is_ascii_lowercase()) {
                return unsure("a language code that is none");
            }
            Ok((code != "und").then_some(code))
        }
    }
}

/// The turn that the track's matrix asks for, clockwise degrees.
fn rotation(header: &[u8]) -> Look<u16> {
    let at = if header.first() == Some(&1) { 52 } else { 40 };
    let Some(matrix) = header.get(at..at + 36) else {
        return unsure("a short track header");
    };
    let value = |n: usize| f64::from(be(&matrix[4 * n..4 * n + 4]) as u32 as i32);
    let (a, b, c, d) = (value(0), value(1), value(3), value(4));
    let (x, y) = (a.hypot(c), b.hypot(d));
    if x == 0.0 || y == 0.0 {
        return unsure("a matrix that shows nothing");
    }
    let mirrored = a * d - b * c < 0.0;
    let turn = (b / y).atan2(a / x).to_degrees() + if mirrored { 180.0 } else { 0.0 };
    let quarters = (turn / 90.0).round();
    if (turn - quarters * 90.0).abs() > 1.0 {
        return unsure("a picture turned by an odd angle");
    }
    Ok((quarters as i32).rem_euclid(4) as u16 * 90)
}
