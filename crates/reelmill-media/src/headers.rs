//! Looks at the headers of the common containers in process: a hundred times
//! quicker than starting a tool, and silent wherever it is not certain.
//!
//! [`read`] gives either the facts that the tool would give, or the reason for
//! which only the tool can tell. It reads a bounded number of bytes.

mod annex_b;
mod av1;
mod avi;
mod avi_track;
mod boxes;
mod brief;
mod dynamic;
mod ebml;
mod h264;
mod hevc;
mod matroska;
mod mjpeg;
mod mkv_track;
mod mp4;
mod mp4_sound;
mod mp4_track;
mod mpeg2;
mod mpeg4;
mod picture;
mod sound;
mod still;
#[cfg(test)]
mod tests;
mod ts;
mod ts_packets;
mod ts_tables;
mod ts_times;
mod vpx;
mod window;

use picture::Picture;
use reelmill_core::facts::{
    AudioFacts, Chroma, DolbyFacts, Facts, MediaKind, SubtitleFacts, VideoFacts, container,
    fps_milli, may_be_dynamic,
};
use reelmill_core::media::{Hdr, MediaInfo, VideoInfo};
use std::fs::File;
use std::io;
use std::path::Path;
use window::{Look, Stop, Window, unsure};

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Headers {
    /// Everything.
    Facts(Facts),
    /// Not everything, or not for certain: why.
    Unsure(&'static str),
}

/// Reads the headers of the file at `path`.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn read(path: &Path) -> io::Result<Headers> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    of_open(file, len, extension)
}

/// Reads the headers of an open file of `len` bytes whose name ends in
/// `extension`.
///
/// # Errors
/// When the file cannot be read.
pub fn of_open(file: File, len: u64, extension: &str) -> io::Result<Headers> {
    match look(&mut Window::new(file, len), extension) {
        Ok(facts) => Ok(Headers::Facts(facts)),
        Err(Stop::Unsure(reason)) => Ok(Headers::Unsure(reason)),
        Err(Stop::Io(error)) => Err(error),
    }
}

/// What pictures all over the main HEVC track of the file at `path` say of HDR; `None` where
/// only the tool can tell.
pub(crate) fn hdr(path: &Path) -> Option<VideoInfo> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let mut window = Window::new(file, len);
    let head = window.upto(0, 64).ok()?.to_vec();
    let shown = parts(&mut window, &head).ok()?.video?;
    shown.dynamic.filter(|_| shown.codec == "hevc").map(|info| *info)
}

/// As much of the film at `path` as is needed where none of it is decoded and its Dolby
/// Vision may change; `None` where only the tool can tell.
pub(crate) fn brief(path: &Path) -> Option<MediaInfo> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    brief::film(&mut Window::new(file, len)).ok()
}

/// Whether a track of the film or sound at `path` is encrypted, as its headers tell: FFmpeg
/// decodes such a track to noise and says only that there are errors.
pub(crate) fn encrypted(path: &Path) -> bool {
    let read = || {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut window = Window::new(file, len);
        if window.upto(0, 4)? == matroska::EBML.to_be_bytes() {
            matroska::encrypted(&mut window)
        } else {
            mp4::encrypted(&mut window)
        }
    };
    read().unwrap_or_default()
}

/// The languages of the tracks of the Matroska file at `path` as BCP 47 writes them, by
/// FFmpeg's index of the stream; nothing for a track that has none, or a file that does
/// not tell.
pub(crate) fn language_tags(path: &Path) -> Vec<Option<String>> {
    let read = || {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        matroska::language_tags(&mut Window::new(file, len))
    };
    read().unwrap_or_default()
}

fn look(file: &mut Window, extension: &str) -> Look<Facts> {
    let head = file.upto(0, 64)?.to_vec();
    if let Some(still) = still::sniff(&head) {
        return still::facts(file, still);
    }
    let parts = match ts::grid(file)? {
        Some(grid) => ts::parts(file, grid)?,
        None => parts(file, &head)?,
    };
    parts.facts(extension)
}

/// What the headers of a film or of sound yield, which begins with `head`.
fn parts(file: &mut Window, head: &[u8]) -> Look<Parts> {
    if head.starts_with(&matroska::EBML.to_be_bytes()) {
        matroska::parts(file)
    } else if head
        .get(4..8)
        .is_some_and(|kind| [b"ftyp", b"moov", b"wide"].iter().any(|k| kind == *k))
    {
        mp4::parts(file)
    } else if avi::is(head) {
        avi::parts(file)
    } else {
        unsure("a container that only FFmpeg can tell about")
    }
}

/// What a container's headers yield.
#[derive(Default)]
struct Parts {
    format: &'static str,
    duration_micros: Option<u64>,
    video: Option<Shown>,
    audio: Vec<AudioFacts>,
    subtitles: Vec<SubtitleFacts>,
    made_by: Option<String>,
}

/// The main picture as codec and container show it together.
struct Shown {
    codec: &'static str,
    picture: Picture,
    /// Transfer characteristics (H.273).
    transfer: u32,
    /// The container claims Dolby Vision.
    dolby_vision: bool,
    /// What the first pictures say of HDR; nothing where nobody looked.
    dynamic: Option<Box<VideoInfo>>,
    /// Clockwise degrees.
    rotation: u16,
    frame_rate: (u32, u32),
}

impl Parts {
    fn facts(self, extension: &str) -> Look<Facts> {
        let kind = match (&self.video, self.audio.is_empty()) {
            (Some(_), _) => MediaKind::Video,
            (None, false) => MediaKind::Audio,
            (None, true) => return unsure("neither picture nor sound"),
        };
        Ok(Facts {
            kind,
            container: container(self.format, extension),
            duration_ms: self.duration_micros.map(|micros| (micros + 500) / 1000),
            video: self.video.map(Shown::facts).transpose()?,
            audio: self.audio,
            subtitles: self.subtitles,
            made_by: self.made_by,
        })
    }
}

impl Shown {
    /// The kind of HDR by what codec and container say.
    fn hdr(&self) -> Hdr {
        if self.dolby_vision { Hdr::DolbyVision } else { by_transfer(self.transfer) }
    }

    /// Whether its pictures may say more of HDR.
    fn may_be_dynamic(&self) -> bool {
        may_be_dynamic(self.codec, self.picture.bit_depth, self.hdr())
    }

    /// Takes Dolby Vision from a track beside this one that claims to have it.
    fn beside(&mut self, other: &Self) {
        if !other.dolby_vision {
            return;
        }
        if let (Some(own), Some(found)) = (&mut self.dynamic, &other.dynamic) {
            own.dolby_vision = own.dolby_vision.take().or_else(|| found.dolby_vision.clone());
        }
    }

    fn facts(self) -> Look<VideoFacts> {
        let dolby = self.dynamic.as_ref().map(|info| info.dolby_vision.as_ref());
        let hdr = match dolby {
            Some(Some(_)) => Hdr::DolbyVision,
            // A claim without metadata is not believed.
            Some(None) => by_transfer(self.transfer),
            None => self.hdr(),
        };
        let Picture { mut width, mut height, chroma, bit_depth, .. } = self.picture;
        if self.rotation % 180 == 90 {
            (width, height) = (height, width);
        }
        if width > 65_536 || height > 65_536 || chroma == Chroma::Unknown {
            return unsure("a picture of an unlikely size");
        }
        Ok(VideoFacts {
            codec: self.codec.to_owned(),
            width,
            height,
            rotation: self.rotation,
            fps_milli: Some(fps_milli(self.frame_rate)),
            bit_depth,
            chroma,
            hdr,
            dolby_vision: dolby.flatten().map(DolbyFacts::of),
            hdr10plus: self.dynamic.as_ref().map(|info| info.hdr10plus),
        })
    }
}

/// The kind of HDR by transfer characteristics alone.
fn by_transfer(transfer: u32) -> Hdr {
    match transfer {
        16 => Hdr::Hdr10,
        18 => Hdr::Hlg,
        _ => Hdr::None,
    }
}

fn reduce(num: u64, den: u64, most: u64) -> (u32, u32) {
    reduce_wide(num.into(), den.into(), most.into())
}

/// The best fraction for `num/den` whose terms stay within `most` (at most
/// `i32::MAX`), by continued fractions, as FFmpeg's `av_reduce` finds it.
fn reduce_wide(num: u128, den: u128, most: u128) -> (u32, u32) {
    let (mut older, mut old) = ((0u128, 1u128), (1u128, 0u128));
    let (mut num, mut den) = (num, den);
    while den > 0 {
        let whole = num / den;
        let next = (
            whole.saturating_mul(old.0).saturating_add(older.0),
            whole.saturating_mul(old.1).saturating_add(older.1),
        );
        if next.0 > most || next.1 > most {
            let mut times = (most - older.0).checked_div(old.0).unwrap_or(whole);
            if let Some(limit) = (most - older.1).checked_div(old.1) {
                times = times.min(limit);
            }
            if den * (2 * times * old.1 + older.1) > num * old.1 {
                old = (times * old.0 + older.0, times * old.1 + older.1);
            }
            break;
        }
        (older, old) = (old, next);
        (num, den) = (den, num - whole * den);
    }
    (old.0.min(most) as u32, old.1.clamp(1, most) as u32)
}
