//! MPEG transport streams (ts, m2ts): what the tables say, what the first frames of each
//! stream say, and when its last ones are shown.
//!
//! Nothing declares what FFmpeg tells of such a file: it reads its first seconds and its last
//! 250,000 bytes and concludes. So the same is read here, and what is not as plain as can be
//! there is not answered for.

use super::picture::{BT2020_10, Picture, Transfer};
use super::sound::{self, Sound};
use super::ts_packets::{Begun, Grid, Packet, begins};
use super::ts_tables::{Entry, Kind, Section, program, streams};
use super::ts_times::{Clock, Rate, duration};
use super::window::{Look, Window, unsure};
use super::{Parts, Shown, h264, hevc, mpeg2};
use reelmill_core::facts::{AudioFacts, SubtitleFacts};

/// Bytes of payload, and 1/90000 s of the main stream, of which FFmpeg reads not quite as much
/// at the start.
const HEAD: (u64, i64) = (5_500_000, 8 * 90_000);

/// The same, of which it reads more: all streams must have begun by then.
const EARLY: (u64, i64) = (4_000_000, 4 * 90_000);

/// Bytes that are read at the start at most.
const MOST: u64 = 12 << 20;

/// Bytes in which the tables must be.
const TABLES: u64 = 1 << 20;

/// Bytes of each frame that are kept.
const KEPT: usize = sound::ENOUGH as usize;

/// Pictures, and packets of sound, below which FFmpeg may not be sure either.
const FEWEST_PICTURES: usize = 10;
const FEWEST_SOUNDS: usize = 3;

/// How packets lie in a file that begins so, if it is a transport stream.
pub(super) fn grid(file: &mut Window) -> Look<Option<Grid>> {
    Ok(Grid::of(file.upto(0, 4096)?))
}

/// What the file's packets tell.
pub(super) fn parts(file: &mut Window, grid: Grid) -> Look<Parts> {
    let (watch, entries) = tables(file, grid)?;
    let tracks = entries.into_iter().map(Track::new).collect();
    let (mut head, mut read) = (Head { watch, tracks, payload: 0 }, 0);
    grid.walk(file, grid.first, |packet| {
        read += grid.stride;
        if read > MOST {
            return unsure("very much filling");
        }
        head.take(packet)?;
        Ok(!head.enough())
    })?;
    head.parts(file, grid)
}

/// The tables at the beginning, and the streams in them.
fn tables(file: &mut Window, grid: Grid) -> Look<(Watch, Vec<Entry>)> {
    let (mut first, mut second) = (Section::default(), Section::default());
    let (mut programs, mut found, mut read) = (None, None, 0);
    grid.walk(file, grid.first, |packet| {
        read += grid.stride;
        match &programs {
            None if packet.pid == 0 => {
                if let Some(table) = first.take(packet.payload, packet.start)?.pop() {
                    programs = Some((program(&table)?, table));
                }
            }
            Some((pid, _)) if *pid == packet.pid => {
                found = second.take(packet.payload, packet.start)?.pop();
            }
            _ => {}
        }
        Ok(found.is_none() && read < TABLES)
    })?;
    let (Some((pid, programs)), Some(program)) = (programs, found) else {
        return unsure("no tables at its beginning");
    };
    let entries = streams(&program)?;
    if entries.iter().any(|entry| entry.pid == pid) {
        return unsure("damaged tables");
    }
    Ok((Watch { programs, program, pid, sections: Default::default() }, entries))
}

/// A stream, as its first seconds show it.
pub(super) struct Track {
    pub(super) entry: Entry,
    pub(super) clock: Clock,
    /// Packets of the stream.
    seen: usize,
    /// When each is decoded.
    times: Vec<i64>,
    picture: Option<(Picture, Rate)>,
    sound: Option<(&'static str, Sound)>,
    /// The one that has begun.
    begun: Option<Vec<u8>>,
    count: Option<u8>,
}

impl Track {
    fn new(entry: Entry) -> Self {
        Self {
            entry,
            clock: Clock::default(),
            seen: 0,
            times: Vec::new(),
            picture: None,
            sound: None,
            begun: None,
            count: None,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self.entry.kind, Kind::H264 | Kind::Hevc | Kind::Mpeg2)
    }

    /// Whether it is looked at or listened to.
    pub(super) fn is_played(&self) -> bool {
        !matches!(self.entry.kind, Kind::Subtitle(_) | Kind::Other)
    }

    /// Takes a packet of the stream.
    fn take(&mut self, packet: &Packet<'_>) -> Look<()> {
        let due = self.count.map(|count| (count + 1) & 15);
        if packet.unfit || due.is_some_and(|due| due != packet.count) && !packet.anew {
            return unsure("scrambled, damaged or missing packets");
        }
        self.count = Some(packet.count);
        if packet.start {
            self.end()?;
            let begun = Begun::read(packet.payload)?;
            self.time(&begun)?;
            self.begun = Some(packet.payload[begun.header..].to_vec());
        } else if let Some(begun) = &mut self.begun {
            let room = KEPT.saturating_sub(begun.len()).min(packet.payload.len());
            begun.extend_from_slice(&packet.payload[..room]);
        }
        Ok(())
    }

    fn time(&mut self, begun: &Begun) -> Look<()> {
        self.seen += 1;
        match (begun.pts, begun.dts) {
            (Some(pts), Some(dts)) => {
                self.times.push(dts);
                self.clock.note(pts.min(dts), pts)
            }
            _ if self.is_video() || self.seen == 1 => unsure("packets without times"),
            _ => Ok(()),
        }
    }

    /// Looks at the packet of the stream that is over.
    fn end(&mut self) -> Look<()> {
        let Some(data) = self.begun.take() else { return Ok(()) };
        if self.is_video() {
            let found = picture(self.entry.kind, &data);
            let known = self.picture.is_some();
            if found.is_none() && (!known || has_sets(self.entry.kind, &data)) {
                return unsure("pictures that only FFmpeg can tell about");
            }
            if known && found.is_some() && found != self.picture {
                return unsure("pictures that change");
            }
            self.picture = found.or(self.picture.take());
        } else {
            let found = sound(self.entry.kind, &data);
            if found.is_none() || self.sound.is_some() && self.sound != found {
                return unsure("sound that changes, or only FFmpeg can tell about");
            }
            self.sound = found;
        }
        Ok(())
    }

    /// Ticks from its first packet to its last one so far.
    fn elapsed(&self) -> i64 {
        self.times.last().copied().unwrap_or(0) - self.times.first().copied().unwrap_or(0)
    }

    /// Samples that FFmpeg takes one packet of sound for, and how many there are in a second.
    pub(super) fn samples(&self) -> Option<(i64, i64)> {
        let (codec, Sound { sample_rate, .. }) = self.sound?;
        let samples = match codec {
            "aac" => 1024,
            "ac3" => 1536,
            "mp3" if sample_rate <= 24_000 => 576,
            "mp2" | "mp3" => 1152,
            _ => 0,
        };
        Some((samples, sample_rate.into()))
    }

    /// How fast pictures follow each other, where they do so evenly.
    pub(super) fn rate(&self) -> Option<Rate> {
        let (_, rate) = self.picture?;
        (self.times.len() >= FEWEST_PICTURES && rate.is_kept_by(&self.times)).then_some(rate)
    }

    fn shown(&self) -> Look<Shown> {
        let (Some((picture, _)), Some(rate)) = (self.picture, self.rate()) else {
            return unsure("pictures that follow each other unevenly");
        };
        let transfer = match picture.transfer {
            Transfer::Stream(transfer) => transfer,
            Transfer::Container => 2,
        };
        let codec = match self.entry.kind {
            Kind::H264 => "h264",
            Kind::Hevc => "hevc",
            _ => "mpeg2video",
        };
        let shown = Shown {
            codec,
            picture,
            transfer,
            dolby_vision: false,
            dynamic: None,
            rotation: 0,
            frame_rate: rate.fraction(),
        };
        if transfer == BT2020_10 || shown.may_be_dynamic() {
            return unsure("HDR that only the stream tells about");
        }
        Ok(shown)
    }

    fn heard(&self) -> Look<AudioFacts> {
        match self.sound {
            Some((codec, sound)) if self.seen >= FEWEST_SOUNDS => Ok(AudioFacts {
                codec: codec.to_owned(),
                channels: sound.channels,
                sample_rate: sound.sample_rate,
                language: self.entry.language.clone(),
            }),
            _ => unsure("hardly any sound"),
        }
    }
}

/// What parameter sets among the first units of a picture say.
fn picture(kind: Kind, data: &[u8]) -> Option<(Picture, Rate)> {
    let (picture, length) = match kind {
        Kind::H264 if is_by_old_x264(data) || !h264::is_decodable(data) => return None,
        Kind::H264 => h264::annex_b(data)?,
        Kind::Hevc => hevc::annex_b(data)?,
        _ => mpeg2::picture(data).map(|(picture, length)| (picture, Some(length)))?,
    };
    let likely = picture.width <= 16_384 && picture.height <= 16_384;
    likely.then_some((picture, Rate::standard(length?)?))
}

/// Whether a version of x264 wrote `data` that counted twice as fast, which FFmpeg knows.
fn is_by_old_x264(data: &[u8]) -> bool {
    const NAME: &[u8] = b"x264 - core ";
    let at = memchr::memmem::find(data, NAME).map(|at| at + NAME.len());
    let number = at.and_then(|at| data.get(at..at + 3));
    number.is_some_and(|number| !number.iter().all(u8::is_ascii_digit))
}

/// Whether there are parameter sets in `data`.
fn has_sets(kind: Kind, data: &[u8]) -> bool {
    memchr::memmem::find_iter(data, &[0, 0, 1]).any(|at| match (kind, data.get(at + 3)) {
        (Kind::H264, Some(head)) => head & 31 == 7,
        (Kind::Hevc, Some(head)) => matches!(head >> 1 & 63, 32 | 33),
        (_, Some(head)) => *head == 0xB3,
        _ => false,
    })
}

/// What the first frame in a packet says.
fn sound(kind: Kind, data: &[u8]) -> Option<(&'static str, Sound)> {
    Some(match kind {
        Kind::MpegAudio if data.get(1)? >> 1 & 3 == 2 => ("mp2", sound::mpeg(data, 2)?),
        Kind::MpegAudio => ("mp3", sound::mpeg(data, 3)?),
        Kind::Aac => ("aac", sound::adts(data)?),
        Kind::Ac3 => ("ac3", sound::ac3(data)?),
        // The version, which AC-3 has in the same place.
        Kind::Eac3 if data.get(5)? >> 3 <= 10 => return None,
        Kind::Eac3 => ("eac3", sound::eac3(data, data.len() < KEPT)?),
        Kind::Dts => ("dts", sound::dts(data, Sound { channels: 0, sample_rate: 0 })?),
        _ => return None,
    })
}

/// Watches that the tables stay as they were first.
pub(super) struct Watch {
    programs: Vec<u8>,
    program: Vec<u8>,
    pid: u16,
    sections: (Section, Section),
}

impl Watch {
    /// Begins anew, at another place of the file.
    pub(super) fn restart(&mut self) {
        self.sections = Default::default();
    }

    /// Whether a packet belongs to no table.
    pub(super) fn passes(&mut self, packet: &Packet<'_>) -> Look<bool> {
        let (known, section) = match packet.pid {
            0 => (&self.programs, &mut self.sections.0),
            pid if pid == self.pid => (&self.program, &mut self.sections.1),
            // Filling, and the tables about broadcasts.
            1..=0x1F | 0x1FFF => return Ok(false),
            _ => return Ok(true),
        };
        if packet.unfit || section.take(packet.payload, packet.start)?.iter().any(|it| it != known)
        {
            return unsure("tables that change");
        }
        Ok(false)
    }
}

/// The first seconds.
struct Head {
    watch: Watch,
    tracks: Vec<Track>,
    payload: u64,
}

impl Head {
    /// Takes a packet of the first seconds.
    fn take(&mut self, packet: &Packet<'_>) -> Look<()> {
        if !self.watch.passes(packet)? || packet.payload.is_empty() {
            return Ok(());
        }
        match self.tracks.iter_mut().find(|track| track.entry.pid == packet.pid) {
            Some(track) if track.is_played() => {
                self.payload += packet.payload.len() as u64;
                track.take(packet)?;
                if packet.start && track.seen == FEWEST_SOUNDS && !self.is_early() {
                    return unsure("a stream that begins late");
                }
                Ok(())
            }
            _ => not_a_stream(packet),
        }
    }

    /// Whether FFmpeg goes on reading for certain.
    fn is_early(&self) -> bool {
        let longest = self.tracks.iter().map(Track::elapsed).max();
        self.payload < EARLY.0 && longest.unwrap_or(0) < EARLY.1
    }

    /// Whether FFmpeg would have seen enough.
    fn enough(&self) -> bool {
        let sound = || self.tracks.iter().find(|track| track.is_played());
        let main = self.tracks.iter().find(|track| track.is_video()).or_else(sound);
        self.payload > HEAD.0 || main.is_some_and(|main| main.elapsed() > HEAD.1)
    }

    fn parts(mut self, file: &mut Window, grid: Grid) -> Look<Parts> {
        let mut parts = Parts { format: "mpegts", ..Parts::default() };
        for track in &mut self.tracks {
            track.end()?;
            let language = track.entry.language.clone();
            match track.entry.kind {
                Kind::Other => {}
                Kind::Subtitle(codec) => {
                    parts.subtitles.push(SubtitleFacts { codec: codec.to_owned(), language });
                }
                _ if !track.is_video() => parts.audio.push(track.heard()?),
                _ if parts.video.is_none() => parts.video = Some(track.shown()?),
                _ => return unsure("several pictures"),
            }
        }
        parts.duration_micros = Some(duration(file, grid, &mut self.tracks, &mut self.watch)?);
        Ok(parts)
    }
}

/// Unsure where another stream than those of the tables begins, or one whose times FFmpeg
/// would take into account.
pub(super) fn not_a_stream(packet: &Packet<'_>) -> Look<()> {
    if packet.start && begins(packet.payload)? {
        return unsure("a stream that is not in the tables, or that has its own times");
    }
    Ok(())
}
