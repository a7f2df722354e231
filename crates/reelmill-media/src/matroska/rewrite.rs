//! Copies a Matroska file, changing some of its packets.

use super::Refusal;
use super::cues::{self, Moves};
use super::ebml::{self, children, number};
use super::growth::Growth;
use super::header::{self, Header};
use super::input::{Head, Input};
use super::output::Output;
use super::packets::{Packet, block, of_group};
use super::tags::{self, NewFigures};
use crate::hdr::digest::Digest;
use reelmill_core::error::{Failure, FailureClass};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What becomes of a packet.
pub type Change<'a> = &'a mut dyn FnMut(Packet<'_>, &mut Vec<u8>) -> Result<(), Failure>;

/// What is changed.
pub struct Edits<'a> {
    /// Number of the track whose packets change.
    pub track: u64,
    /// Its Dolby Vision record afterwards.
    pub record: Option<[u8; 24]>,
    /// Number of a track that is left out.
    pub drop: Option<u64>,
    /// Writes the payload that takes the place of a packet's.
    pub change: Change<'a>,
    /// Told now and then that the work goes on.
    pub alive: &'a (dyn Fn() + Sync),
    /// Told how far the new file is final.
    pub growth: Arc<Growth>,
}

/// Packets of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackSum {
    /// How many.
    pub packets: u64,
    /// Digest of their times and bytes; for the changed track, of their times.
    pub digest: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// Bytes of the new file.
    pub bytes: u64,
    /// What precedes the packets of the old one.
    pub header: Header,
    /// All tracks that are kept, by number.
    pub tracks: BTreeMap<u64, TrackSum>,
    /// Packets of the changed track that the file's tags state.
    pub stated_packets: Option<u64>,
    /// Nanoseconds when the last packet of all begins.
    pub last: i64,
}

/// Copies the file at `path` to `out`, edited.
///
/// # Errors
/// When the file is odd, damaged or cut off; when it cannot be written; what the
/// change fails with; when cancelled.
pub fn rewrite(
    path: &Path,
    out: &Path,
    edits: Edits<'_>,
    cancel: &CancellationToken,
) -> Result<Changed, Refusal> {
    let header = header::header(path)?;
    let track = header.tracks.iter().find(|track| track.number == edits.track);
    let uid = track.map_or(0, |track| track.uid);
    if track.is_none_or(|track| track.encoded) {
        return Refusal::odd("its video is compressed once more by the container");
    }
    let input = Input::open(path)?;
    let out = Output::create(out, edits.growth.clone())?;
    let dropped = edits.drop;
    let pass = Pass {
        input,
        out,
        edits,
        segment_before: 0,
        segment: 0,
        parts: Vec::new(),
        moves: Moves { dropped, ..Moves::default() },
        late: Vec::new(),
        tracks: BTreeMap::new(),
        figures: NewFigures::default(),
        last: 0,
        content: Vec::new(),
        changed: Vec::new(),
    };
    pass.run(header, uid, cancel)
}

struct Pass<'a> {
    input: Input,
    out: Output,
    edits: Edits<'a>,
    segment_before: u64,
    segment: u64,
    parts: Vec<(u32, u64)>,
    moves: Moves,
    /// What is written after the packets: index and tags.
    late: Vec<(u32, Vec<u8>)>,
    tracks: BTreeMap<u64, TrackSum>,
    figures: NewFigures,
    last: i64,
    content: Vec<u8>,
    changed: Vec<u8>,
}

impl Pass<'_> {
    fn run(
        mut self,
        header: Header,
        uid: u64,
        cancel: &CancellationToken,
    ) -> Result<Changed, Refusal> {
        let before = self.input.segment()?;
        let end = before.size.map_or(self.input.len, |size| before.content + size);
        self.segment_before = before.content;
        self.input.go(0)?;
        let size = before.at;
        self.input.copy(size, &mut self.out)?;
        self.input.go(before.content)?;
        let segment = self.out.open(ebml::SEGMENT)?;
        self.segment = segment.content;
        let table = self.out.at;
        self.out.write(&cues::seek_head(&[]))?;
        while self.input.at < end {
            let Some(head) = self.input.head()? else { break };
            if cancel.is_cancelled() {
                return Err(Failure::new(FailureClass::Cancelled, "it was cancelled").into());
            }
            (self.edits.alive)();
            self.part(head, header.scale)?;
        }
        let dropped = header.tracks.iter().find(|track| Some(track.number) == self.edits.drop);
        self.figures = NewFigures { track: uid, dropped: dropped.map(|t| t.uid), ..self.figures };
        let stated_packets = self.write_late()?;
        self.out.patch(table, cues::seek_head(&self.parts));
        self.out.close(segment);
        let (tracks, last) = (self.tracks, self.last);
        let bytes = self.out.finish()?;
        Ok(Changed { bytes, header, tracks, stated_packets, last })
    }

    /// Copies one part of the segment.
    fn part(&mut self, head: Head, scale: u64) -> Result<(), Refusal> {
        let size = head.known()?;
        match head.id {
            ebml::SEEK_HEAD | ebml::VOID | ebml::CRC => self.input.skip(size)?,
            ebml::CUES | ebml::TAGS => {
                let mut content = Vec::new();
                self.input.take(size, &mut content)?;
                self.late.push((head.id, content));
            }
            ebml::TRACKS => self.describe(size)?,
            ebml::CLUSTER => self.cluster(head, scale)?,
            _ => {
                let listed = [ebml::INFO, ebml::CHAPTERS, ebml::ATTACHMENTS];
                self.begin(head.id, listed.contains(&head.id));
                let mut bytes = Vec::new();
                ebml::head(head.id, size, &mut bytes);
                self.out.write(&bytes)?;
                self.input.copy(size, &mut self.out)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, id: u32, listed: bool) {
        if listed {
            self.parts.push((id, self.out.at - self.segment));
        }
    }

    fn describe(&mut self, size: u64) -> Result<(), Refusal> {
        let mut content = Vec::new();
        self.input.take(size, &mut content)?;
        let mut changed = Vec::new();
        for entry in children(&content).flatten().filter(|child| child.id != ebml::CRC) {
            let number = header::track(entry.content).map(|track| track.number);
            if number.is_some() && number == self.edits.drop {
                continue;
            }
            if number == Some(self.edits.track) {
                let entry = header::with_record(entry.content, self.edits.record.as_ref())?;
                ebml::element(ebml::TRACK_ENTRY, &entry, &mut changed);
            } else {
                changed.extend_from_slice(entry.whole);
            }
        }
        self.write_part(ebml::TRACKS, &changed)?;
        Ok(())
    }

    fn write_part(&mut self, id: u32, content: &[u8]) -> Result<(), Failure> {
        self.begin(id, true);
        let mut head = Vec::new();
        ebml::head(id, content.len() as u64, &mut head);
        self.out.write(&head)?;
        self.out.write(content)
    }

    fn write_late(&mut self) -> Result<Option<u64>, Failure> {
        let mut stated = None;
        for (id, content) in std::mem::take(&mut self.late) {
            if id == ebml::CUES {
                let moved = cues::moved(&content, &self.moves);
                self.write_part(id, &moved)?;
            } else {
                stated = stated.or(tags::frames(&content, self.figures.track));
                let updated = tags::updated(&content, self.figures);
                self.write_part(id, &updated)?;
            }
        }
        Ok(stated)
    }

    fn cluster(&mut self, cluster: Head, scale: u64) -> Result<(), Refusal> {
        let end = cluster.content + cluster.known()?;
        let open = self.out.open(ebml::CLUSTER)?;
        self.moves.clusters.insert(cluster.at - self.segment_before, open.at - self.segment);
        let mut base = 0;
        while self.input.at < end {
            let head = self.input.head()?.ok_or_else(|| self.input.truncated())?;
            let size = head.known()?;
            if matches!(head.id, ebml::POSITION | ebml::PREV_SIZE | ebml::CRC | ebml::VOID) {
                self.input.skip(size)?;
                continue;
            }
            let mut content = std::mem::take(&mut self.content);
            self.input.take(size, &mut content)?;
            match head.id {
                ebml::SIMPLE_BLOCK | ebml::BLOCK_GROUP => {
                    self.packet(head, &content, base)?;
                }
                _ => {
                    if head.id == ebml::TIMESTAMP {
                        base = number(&content).unwrap_or_default() as i64;
                    }
                    self.write_element(head.id, &[&content])?;
                }
            }
            self.content = content;
            self.last = self.last.max(base.saturating_mul(scale as i64));
        }
        self.out.close_finally(open)?;
        Ok(())
    }

    fn write_element(&mut self, id: u32, pieces: &[&[u8]]) -> Result<(), Failure> {
        let mut head = Vec::with_capacity(12);
        ebml::head(id, pieces.iter().map(|piece| piece.len() as u64).sum(), &mut head);
        self.out.write(&head)?;
        pieces.iter().try_for_each(|piece| self.out.write(piece))
    }

    /// Copies a block or a group of one, changed where it is to be.
    fn packet(&mut self, head: Head, content: &[u8], base: i64) -> Result<(), Refusal> {
        let found = if head.id == ebml::SIMPLE_BLOCK {
            block(content).map(|block| (block, None, block.flags & 0x80 != 0))
        } else {
            of_group(content)
        };
        let (block, duration, key) = found.ok_or_else(|| self.input.damaged(head.at))?;
        if Some(block.track) == self.edits.drop {
            return Ok(());
        }
        let time = base.saturating_add(block.time.into());
        let sum = self.tracks.entry(block.track).or_default();
        sum.packets += 1;
        let mut digest = Digest::of(sum.digest);
        digest.number(time as u64);
        if block.track != self.edits.track {
            digest.bytes(block.payload);
            sum.digest = digest.value();
            self.write_element(head.id, &[content])?;
            return Ok(());
        }
        sum.digest = digest.value();
        if block.flags & 0x06 != 0 {
            return Refusal::odd("several pictures of its video are in one block");
        }
        let (track, payload) = (block.track, block.payload);
        let mut changed = std::mem::take(&mut self.changed);
        changed.clear();
        (self.edits.change)(Packet { track, time, duration, key, payload }, &mut changed)?;
        self.figures.bytes_before += payload.len() as u64;
        self.figures.bytes += changed.len() as u64;
        if head.id == ebml::SIMPLE_BLOCK {
            self.write_element(head.id, &[block.head, &changed])?;
        } else {
            let mut group = Vec::new();
            for child in children(content).flatten() {
                if child.id == ebml::BLOCK {
                    ebml::head(child.id, (block.head.len() + changed.len()) as u64, &mut group);
                    group.extend_from_slice(block.head);
                    group.extend_from_slice(&changed);
                } else {
                    group.extend_from_slice(child.whole);
                }
            }
            self.write_element(head.id, &[&group])?;
        }
        self.changed = changed;
        Ok(())
    }
}
