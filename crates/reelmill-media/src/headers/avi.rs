//! AVI (RIFF, also with OpenDML's several parts): the headers of its streams, and the first
//! frame of those whose codec tells in it.
//!
//! FFmpeg looks for what it knows wherever it may be in a damaged file; here everything must
//! be where it should.

use super::Parts;
use super::avi_track::{Track, le};
use super::window::{Look, Window, unsure};

/// Bytes of a chunk of the headers at most.
const MAX_CHUNK: u64 = 1_000_000;

/// Chunks of the headers, or of the frames, that are looked at.
const MAX_CHUNKS: usize = 300;

/// Streams at most; their numbers have two digits.
const MAX_TRACKS: usize = 32;

/// Bytes of a frame that are looked at.
const FRAME: u64 = 12 << 10;

/// What reelmill's mark and its name have in common, in small letters.
const MARK: &[u8] = b"reelmill";

/// Whether a file that begins so is AVI.
pub(super) fn is(head: &[u8]) -> bool {
    head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ")
}

/// A chunk: where its content lies.
struct Chunk {
    name: [u8; 4],
    content: u64,
    size: u64,
}

impl Chunk {
    fn at(file: &mut Window, at: u64) -> Look<Self> {
        let head = file.bytes(at, 8)?;
        let name = [head[0], head[1], head[2], head[3]];
        let size = le(head, 4, 4).unwrap_or(0).into();
        Ok(Self { name, content: at + 8, size })
    }

    /// Where the next one begins: at an even place.
    fn end(&self) -> u64 {
        self.content + self.size + self.size % 2
    }

    fn list(&self, file: &mut Window) -> Look<[u8; 4]> {
        match self.name == *b"LIST" && self.size >= 4 {
            true => Ok(file.bytes(self.content, 4)?.try_into().unwrap_or_default()),
            false => Ok([0; 4]),
        }
    }

    fn read<'a>(&self, file: &'a mut Window) -> Look<&'a [u8]> {
        if self.size > MAX_CHUNK {
            return unsure("its headers are very large");
        }
        file.bytes(self.content, self.size)
    }
}

/// What the file's headers tell.
pub(super) fn parts(file: &mut Window) -> Look<Parts> {
    let mut head = Head { tracks: Vec::new(), frames: None, list_end: 0 };
    head.read(file)?;
    let Some((from, end)) = head.frames else { return unsure("no frames where they should be") };
    rest(file, end)?;
    first_frames(file, (from, end), &mut head.tracks)?;
    let mut parts = Parts { format: "avi", ..Parts::default() };
    for track in &head.tracks {
        match &track.kind {
            b"vids" if parts.video.is_none() => parts.video = Some(track.video()?),
            b"auds" => parts.audio.push(track.audio()?),
            _ => return unsure("a track of an unusual kind"),
        }
    }
    parts.duration_micros = head.tracks.iter().filter_map(Track::duration).max();
    if parts.duration_micros.unwrap_or(0) == 0 {
        return unsure("no duration in its headers");
    }
    Ok(parts)
}

struct Head {
    tracks: Vec<Track>,
    /// The list of frames: where it begins and ends.
    frames: Option<(u64, u64)>,
    /// Where the list that began last ends.
    list_end: u64,
}

impl Head {
    /// Reads everything before the frames, into the lists as they come.
    fn read(&mut self, file: &mut Window) -> Look<()> {
        let mut at = 12;
        for _ in 0..MAX_CHUNKS {
            let chunk = Chunk::at(file, at)?;
            at = chunk.end();
            match (&chunk.name, &chunk.list(file)?) {
                (b"LIST", b"movi") if chunk.size > 4 => {
                    self.frames = Some((chunk.content + 4, chunk.end()));
                    return Ok(());
                }
                (b"LIST", b"hdrl" | b"strl" | b"odml") => {
                    self.list_end = chunk.content + chunk.size;
                    at = chunk.content + 4;
                }
                (b"LIST", b"INFO") => {
                    let info = chunk.read(file)?;
                    no_mark(info)?;
                    if !is_whole(info) {
                        return unsure("damaged information");
                    }
                }
                (b"LIST", b"movi") => return unsure("a list of frames without end"),
                (b"idx1" | b"amvh", _) => return unsure("headers in an unusual order"),
                _ => self.take(file, &chunk)?,
            }
        }
        unsure("headers in many pieces")
    }

    fn take(&mut self, file: &mut Window, chunk: &Chunk) -> Look<()> {
        // FFmpeg does not pass over the byte behind all of these.
        let odd = chunk.size % 2 == 1;
        if odd && matches!(&chunk.name, b"avih" | b"strh" | b"strd" | b"indx" | b"vprp") {
            return unsure("headers of odd size");
        }
        match &chunk.name {
            b"strh" if self.tracks.len() < MAX_TRACKS => {
                self.tracks.push(Track::read(chunk.read(file)?)?);
            }
            b"strh" => return unsure("very many streams"),
            b"strf" => match self.tracks.last_mut() {
                Some(track)
                    if track.format.is_none() && chunk.content + chunk.size <= self.list_end =>
                {
                    track.format = Some(chunk.read(file)?.to_vec());
                }
                _ => return unsure("headers in an unusual order"),
            },
            _ if chunk.size > MAX_CHUNK => return unsure("its headers are very large"),
            _ => {}
        }
        Ok(())
    }
}

/// Information in which the mark may be is left to FFmpeg.
fn no_mark(info: &[u8]) -> Look<()> {
    match memchr::memmem::find(&info.to_ascii_lowercase(), MARK) {
        Some(_) => unsure("reelmill's mark, perhaps"),
        None => Ok(()),
    }
}

/// Whether the chunks in a list of information fill it.
fn is_whole(info: &[u8]) -> bool {
    let mut at = 4;
    while let Some(size) = le(info, at + 4, 4) {
        at += 8 + u64::from(size).next_multiple_of(2) as usize;
    }
    at == info.len().next_multiple_of(2)
}

/// Looks at what lies behind the first frames: all parts must be whole, and no mark there.
fn rest(file: &mut Window, frames_end: u64) -> Look<()> {
    let riff = Chunk::at(file, 0)?;
    if riff.content + riff.size > file.len || frames_end > file.len || riff.size < 12 {
        return unsure("the file is cut short");
    }
    let mut at = frames_end;
    for _ in 0..MAX_CHUNKS {
        // The byte that makes the last one even may be left out.
        if at + 8 > file.len {
            return Ok(());
        }
        let chunk = Chunk::at(file, at)?;
        if chunk.end() > file.len + 1 {
            return unsure("the file is cut short");
        }
        match &chunk.list(file)? {
            b"INFO" => no_mark(chunk.read(file)?)?,
            _ if chunk.name.is_ascii() && chunk.name[0] != 0 => {}
            // Nothing that FFmpeg would read.
            _ => return Ok(()),
        }
        at = chunk.end();
    }
    unsure("very many parts")
}

/// Takes the first frame of each track that needs it.
fn first_frames(file: &mut Window, (from, end): (u64, u64), tracks: &mut [Track]) -> Look<()> {
    let mut at = from;
    let wanted = tracks.iter().map(Track::needs_frame).collect::<Look<Vec<bool>>>()?;
    for _ in 0..MAX_CHUNKS {
        if tracks.iter().zip(&wanted).all(|(track, wanted)| track.frame.is_some() || !wanted) {
            return Ok(());
        }
        if at >= end {
            break;
        }
        let chunk = Chunk::at(file, at)?;
        at = chunk.end();
        if at > end {
            return unsure("frames that do not end");
        }
        match chunk.name {
            [b'L', b'I', b'S', b'T'] if chunk.list(file)? == *b"rec " => at = chunk.content + 4,
            [b'J', b'U', b'N', b'K'] | [b'i', b'x', ..] => {}
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', kind @ ..] => {
                let number = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
                let Some(track) = tracks.get_mut(number) else {
                    return unsure("frames of no stream");
                };
                match (&track.kind, &kind) {
                    (b"vids", b"dc" | b"db") | (b"auds", b"wb") => {}
                    _ => return unsure("frames of an unusual kind"),
                }
                if track.frame.is_none() && chunk.size > 0 {
                    let size = chunk.size.min(FRAME);
                    track.frame = Some(file.bytes(chunk.content, size)?.to_vec());
                }
            }
            _ => return unsure("frames of an unusual kind"),
        }
    }
    unsure("streams without frames")
}
