//! Where temporary files go: into memory what is small and surely fits, onto the
//! disk the rest, and nowhere what has no room.

use crate::media::MediaInfo;
use crate::plan::rough;
use crate::work::Work;

/// Bytes beside the files themselves: records, rounding, what others write meanwhile.
const SPARE: u64 = 8 << 20;

/// Frames per second where a source declares none.
const USUAL_FPS: f64 = 25.0;

/// Bytes of a coded frame at least. A header may claim days where there are seconds; what
/// it claims is not believed beyond what the file can hold.
const FRAME: f64 = 10.0;

/// Bytes that a second of an encoded sound track may take: lossless, six channels.
const SOUND: f64 = 400_000.0;

/// Bytes that a piece of work needs for temporary files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Surely: with less free it is not begun.
    pub least: u64,
    /// Probably, and not much more: with as much free it is begun in memory.
    pub likely: u64,
}

/// A place for temporary files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// The folder in memory.
    Memory,
    /// The folder on disk.
    Disk,
}

impl Need {
    /// Of exactly so many bytes.
    #[must_use]
    pub fn exactly(bytes: u64) -> Self {
        Self { least: bytes, likely: bytes }
    }

    /// Of about so many, which experience says: right within a factor of two or so.
    #[must_use]
    pub fn about(bytes: u64) -> Self {
        Self { least: bytes / 2, likely: bytes.saturating_mul(2) }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            likely: self.likely.saturating_add(other.likely),
        }
    }

    /// What `work` on the source of `media` makes; with `fetches` also the part of
    /// the source that it reads, which is copied first.
    #[must_use]
    pub fn of(work: &Work, media: &MediaInfo, fetches: bool) -> Self {
        let fps = media.video().and_then(|(_, info)| info.fps()).unwrap_or(USUAL_FPS);
        let most = media.size as f64 / FRAME / fps.max(1.0);
        let seconds = media.duration.unwrap_or_default().min(most);
        let (made, part) = match work {
            Work::EncodeChunk { encode, chunk, slice, .. } => {
                let seconds = chunk.pts.len() as f64 / fps.max(1.0);
                let part: u64 = slice.iter().map(|range| range.end - range.start).sum();
                let made = rough(encode.encoder, encode.size, fps, seconds, 1).bytes;
                (made, if slice.is_empty() { media.size } else { part })
            }
            Work::EncodeVideo { encode, .. } => {
                (rough(encode.encoder, encode.size, fps, seconds, 1).bytes, media.size)
            }
            Work::EncodeAudio { tracks } => {
                ((tracks.len() as f64 * seconds * SOUND) as u64, media.size)
            }
            Work::Finish => return Self::default(),
        };
        Self::about(made).and(Self::exactly(if fetches { part } else { 0 }))
    }
}

/// Where work of that `need` is done. `memory` has so many bytes to give, at most
/// so many to one piece of work; `disk` has so many. What cannot be told is taken
/// to have room.
///
/// # Errors
/// The bytes that are free, when there is room nowhere.
pub fn choose(need: Need, memory: Option<(u64, u64)>, disk: Option<u64>) -> Result<Spot, u64> {
    let fits =
        |(free, most): (u64, u64)| need.likely <= most && need.likely.saturating_add(SPARE) <= free;
    if memory.is_some_and(fits) {
        return Ok(Spot::Memory);
    }
    match disk {
        Some(free) if free < need.least => Err(free),
        _ => Ok(Spot::Disk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_film_that_claims_days_needs_no_more_than_its_bytes_can_hold() {
        let media = |seconds| MediaInfo {
            format: "mov".into(),
            size: 100_000,
            duration: Some(seconds),
            start_micros: 0,
            streams: vec![],
            chapters: vec![],
            tags: std::collections::BTreeMap::new(),
        };
        let work = Work::EncodeAudio { tracks: vec![] };
        assert_eq!(Need::of(&work, &media(1e9), true).least, 100_000);
        let tracks = vec![crate::tracks::TrackPlan {
            stream: 0,
            action: crate::tracks::TrackAction::CopyAudio,
        }];
        let work = Work::EncodeAudio { tracks };
        let (honest, wrong) = (media(10.0), media(143_165.0));
        let (honest, wrong) = (Need::of(&work, &honest, false), Need::of(&work, &wrong, false));
        assert!(honest.least > 0 && wrong.least < 100 * honest.least, "{honest:?} {wrong:?}");
    }

    #[test]
    fn small_work_goes_into_memory_and_large_work_onto_the_disk() {
        let memory = Some((1 << 30, 100 << 20));
        let need = |mebibytes: u64| Need::exactly(mebibytes << 20);
        assert_eq!(choose(need(99), memory, Some(0)), Ok(Spot::Memory));
        assert_eq!(choose(need(101), memory, Some(1 << 30)), Ok(Spot::Disk), "over the limit");
        let full = Some((100 << 20, 100 << 20));
        assert_eq!(choose(need(99), full, Some(1 << 30)), Ok(Spot::Disk), "no spare room");
        assert_eq!(choose(need(99), None, Some(98 << 20)), Err(98 << 20));
        assert_eq!(choose(need(99), None, None), Ok(Spot::Disk), "nobody can tell");
    }

    proptest! {
        #[test]
        fn no_work_is_put_where_it_does_not_fit(
            least in 0u64..1 << 40, more in 0u64..1 << 40, free in 0u64..1 << 40,
            most in 0u64..1 << 40, disk in 0u64..1 << 40,
        ) {
            let need = Need { least, likely: least + more };
            match choose(need, Some((free, most)), Some(disk)) {
                Ok(Spot::Memory) => prop_assert!(need.likely <= most && need.likely < free),
                Ok(Spot::Disk) => prop_assert!(need.least <= disk),
                Err(there) => prop_assert!(there == disk && disk < need.least),
            }
        }
    }
}
