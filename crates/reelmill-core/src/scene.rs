//! Where the scenes of a film begin: what its own keyframes tell of that, and where
//! it is worth looking at pictures. A chunk that begins with a scene costs no
//! keyframe that the film would not have had in one piece.

use crate::chunk::Chunk;
use crate::cut::SNAP;
use crate::encoder::VideoEncoder;
use crate::media::MediaInfo;
use crate::packets::{FrameIndex, PacketIndex};
use crate::plan::{Plan, usual_speed};

/// Where scenes of a film begin, as far as anybody looked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scenes {
    /// Timestamps of their first frames, ticks, ascending.
    pub starts: Vec<i64>,
    /// Why nobody looked, or what went wrong with it.
    pub note: Option<String>,
}

/// From so many keyframes that are not there by count on, a source's own encoder is
/// taken to have given keyframes to scenes.
const FEW_KEYED: usize = 3;

/// The same as a share of all its keyframes: one of so many.
const KEYED_SHARE: usize = 4;

/// The frames (by number) that begin scenes, if the source's own encoder gave those
/// keyframes; `None` where its keyframes come by count. By count come those at the
/// widest distance from another, or just as much behind any earlier one.
#[must_use]
pub fn keyed(frames: &FrameIndex<'_>) -> Option<Vec<usize>> {
    let ticks = frames.pts.ticks();
    let keys = frames.keyframes.iter().filter_map(|key| ticks.binary_search(&key.pts).ok());
    let keys: Vec<usize> = keys.collect();
    let widest = keys.windows(2).map(|pair| pair[1] - pair[0]).max()?;
    let is_key = |at: usize| keys.binary_search(&at).is_ok();
    // Rates such as 23.976 make a distance of two seconds 47 or 48 frames.
    let counted =
        |at: usize| (widest - 1..=widest + 1).any(|far| at.checked_sub(far).is_some_and(is_key));
    let scenes: Vec<usize> = keys.iter().skip(1).copied().filter(|&at| !counted(at)).collect();
    let enough = scenes.len() >= FEW_KEYED && scenes.len() * KEYED_SHARE >= keys.len();
    enough.then_some(scenes)
}

/// A stretch of a film in which to look for changes of scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Keyframe to begin decoding at, ticks; the beginning when unset.
    pub preroll: Option<i64>,
    /// First frame that is compared with the one before, ticks.
    pub from: i64,
    /// First frame that is not, ticks.
    pub until: i64,
}

/// What to do about the scenes of a film before it is cut.
#[derive(Debug, Clone, PartialEq)]
pub enum Scout {
    /// Nothing: it is not cut, or its keyframes tell already.
    Needless,
    /// Nothing, for looking would cost more than it saves: why.
    TooDear(String),
    /// Look there; it takes about so many seconds of one core.
    Look {
        /// The stretches, in order, apart from each other.
        looks: Vec<Look>,
        /// Seconds.
        seconds: f64,
    },
}

/// How far around a cut to look at most, seconds: most shots of films are shorter.
const REACH: f64 = 4.0;

/// The shares of that reach which are tried until looking is cheap enough.
const REACHES: [f64; 3] = [1.0, 0.6, 0.35];

/// What looking may take, as a share of the work of encoding.
const WORTH: f64 = 0.03;

/// Most stretches of one film: more than 20 hours have in chunks of a minute.
const MAX_LOOKS: usize = 1500;

/// Seconds that one stretch takes to start.
const START_SECONDS: f64 = 0.06;

/// Million pixels a second that one core decodes and compares, for the codecs that
/// most sources have; measured on a 2-core machine, order of magnitude.
fn looking_speed(codec: &str) -> f64 {
    match codec {
        "h264" | "vp8" | "mpeg2video" | "mpeg4" => 250.0,
        _ => 120.0,
    }
}

/// Where to look for the scenes of the film of `media` before it is cut at last:
/// around the cuts that `plan` has, which was made without knowing any.
#[must_use]
pub fn scout(plan: &Plan, media: &MediaInfo, index: &PacketIndex) -> Scout {
    let Some(encode) = &plan.video.encode else { return Scout::Needless };
    let Ok(frames) = index.frames(&media.format) else { return Scout::Needless };
    let cuts = plan.chunks().get(1..).unwrap_or_default();
    if cuts.is_empty() || encode.encoder == VideoEncoder::Ffv1 || keyed(&frames).is_some() {
        return Scout::Needless;
    }
    if cuts.len() > MAX_LOOKS {
        return Scout::TooDear(format!("there are {} cuts", cuts.len()));
    }
    let all = frames.pts.len() as f64;
    let (width, height) = encode.size;
    let work = all * f64::from(width) * f64::from(height) / 1000.0 / usual_speed(encode.encoder);
    let Some((stream, info)) = media.video() else { return Scout::Needless };
    let pixels = f64::from(info.width) * f64::from(info.height) / 1e6;
    let mut share = f64::INFINITY;
    for part in REACHES {
        let looks = looks(&frames, cuts, part);
        let decoded: usize = looks.iter().map(|look| span(&frames, look)).sum();
        let seconds = decoded as f64 * pixels / looking_speed(&stream.codec)
            + looks.len() as f64 * START_SECONDS;
        share = seconds / work;
        if share <= WORTH {
            return Scout::Look { looks, seconds };
        }
    }
    Scout::TooDear(format!(
        "finding them would take {:.0} % of the time of encoding",
        share * 100.0
    ))
}

/// Stretches around `cuts`, of `part` of the usual reach; those that touch are one.
fn looks(frames: &FrameIndex<'_>, cuts: &[Chunk], part: f64) -> Vec<Look> {
    let ticks = frames.pts.ticks();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let length = (last - first) as f64 / (cuts.len() + 1) as f64;
    let most = frames.source.time_base.ticks_in(REACH) as f64;
    let reach = ((length * SNAP).min(most) * part) as i64;
    let mut looks: Vec<Look> = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let (from, until) = ((cut.start - reach).max(first), cut.start + reach + 1);
        // Two frames before the first one: what is judged is how much more a picture
        // differs than the one before it did.
        let at = ticks.partition_point(|&pts| pts < from).saturating_sub(2);
        let own = frames.keyframes.partition_point(|key| key.pts <= ticks[at]);
        let preroll =
            own.checked_sub(1).filter(|&own| own > 0).map(|own| frames.keyframes[own].pts);
        match looks.last_mut() {
            Some(look) if preroll.is_none_or(|key| key <= look.until) => look.until = until,
            _ => looks.push(Look { preroll, from, until }),
        }
    }
    looks
}

/// Frames that are decoded for `look`.
fn span(frames: &FrameIndex<'_>, look: &Look) -> usize {
    let at = |tick: i64| frames.pts.ticks().partition_point(|&pts| pts < tick);
    at(look.until) - look.preroll.map_or(0, at)
}

/// How much a picture must differ from the one before, of 100, beyond what that one
/// did from its own, to begin a scene.
const CHANGE: f64 = 10.0;

/// The frames that begin scenes, of `(ticks, how much it changed)`.
#[must_use]
pub fn changes(scores: &[(i64, f64)]) -> Vec<i64> {
    let mut starts: Vec<i64> =
        scores.iter().filter(|(_, score)| *score >= CHANGE).map(|(pts, _)| *pts).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests;
