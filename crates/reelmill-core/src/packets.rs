//! The packet index: what can be known of a video stream without decoding it,
//! and whether that suffices to cut it.

use crate::pts::PtsList;
use crate::time::TimeBase;
use serde::{Deserialize, Serialize};

/// One packet of the video stream, in decode order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Presentation timestamp, ticks.
    pub pts: Option<i64>,
    /// Byte offset in the source.
    pub pos: Option<u64>,
    /// Bytes.
    pub size: u32,
    /// Decoding may start here.
    pub keyframe: bool,
    /// Decoded but not shown (before an edit list's start).
    pub discard: bool,
    /// The demuxer found it damaged.
    pub corrupt: bool,
}

/// All packets of the video stream.
#[derive(Debug, Clone, PartialEq)]
pub struct PacketIndex {
    /// Seconds per tick.
    pub time_base: TimeBase,
    /// The packets, in decode order.
    pub packets: Vec<Packet>,
    /// Read errors that the demuxer reported, at most a few lines.
    pub errors: Vec<String>,
}

/// Why a stream cannot be cut safely; its source is encoded whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Uncuttable {
    /// The container's timestamps are known not to tell frames.
    Container {
        /// Its format name.
        format: String,
    },
    /// There are no packets.
    Empty,
    /// Packets without a presentation timestamp.
    NoPts {
        /// How many.
        packets: usize,
    },
    /// Two packets share a presentation timestamp.
    DuplicatePts {
        /// The first shared one, ticks.
        pts: i64,
    },
    /// Fewer than two keyframes.
    FewKeyframes {
        /// How many there are.
        keyframes: usize,
    },
    /// Keyframes so far apart that the pre-roll would cost more than it saves.
    SparseKeyframes {
        /// The widest gap, seconds.
        gap: f64,
    },
    /// The demuxer met errors.
    Damaged {
        /// What it said.
        message: String,
    },
    /// The frames do not start at a keyframe.
    NoLeadingKeyframe,
    /// An attempt to cut it gave other frames than the index promised.
    Contradicted {
        /// What differed.
        message: String,
    },
}

impl std::fmt::Display for Uncuttable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container { format } => {
                write!(f, "{format} files do not carry a reliable time for every frame")
            }
            Self::Empty => f.write_str("the video stream has no packets"),
            Self::NoPts { packets } => write!(f, "{packets} packets carry no timestamp"),
            Self::DuplicatePts { pts } => write!(f, "two frames share the timestamp {pts}"),
            Self::FewKeyframes { keyframes: 1 } => f.write_str("there is only one keyframe"),
            Self::FewKeyframes { keyframes } => write!(f, "there are only {keyframes} keyframes"),
            Self::SparseKeyframes { gap } => {
                write!(f, "keyframes lie up to {gap:.0} s apart")
            }
            Self::Damaged { message } => write!(f, "the file is damaged: {message}"),
            Self::NoLeadingKeyframe => f.write_str("the stream does not start with a keyframe"),
            Self::Contradicted { message } => {
                write!(f, "decoding contradicts the packet index: {message}")
            }
        }
    }
}

/// A keyframe: where decoding may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyframe {
    /// Presentation timestamp, ticks.
    pub pts: i64,
    /// Position in decode order.
    pub packet: usize,
}

/// The frames of a stream that is safe to cut.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameIndex<'a> {
    /// The packets it was made from.
    pub source: &'a PacketIndex,
    /// All frames shown, in presentation order.
    pub pts: PtsList,
    /// Keyframes in presentation order, including ones not shown.
    pub keyframes: Vec<Keyframe>,
}

/// Keyframe gaps beyond this many seconds make pre-roll too dear
/// (`notes`: choose whole-file above some 20–30 s).
pub const MAX_KEYFRAME_GAP: f64 = 30.0;

/// Demuxers whose packet timestamps cannot be relied on, or that cannot seek
/// by timestamp.
const UNRELIABLE: &[&str] = &["avi", "mpeg", "h264", "hevc", "mpegvideo", "m4v", "yuv4mpegpipe"];

impl PacketIndex {
    /// The frames of the stream, or why it must not be cut.
    ///
    /// # Errors
    /// The reason, when the index alone shows that cutting is unsafe.
    pub fn frames(&self, format: &str) -> Result<FrameIndex<'_>, Uncuttable> {
        if let Some(name) = format.split(',').find(|name| UNRELIABLE.contains(name)) {
            return Err(Uncuttable::Container { format: name.to_owned() });
        }
        self.check_health()?;
        let keyframes = self.keyframes();
        if keyframes.len() < 2 {
            return Err(Uncuttable::FewKeyframes { keyframes: keyframes.len() });
        }
        let pts = self.shown_pts()?;
        self.check_gaps(&keyframes, &pts)?;
        Ok(FrameIndex { source: self, pts, keyframes })
    }

    fn check_health(&self) -> Result<(), Uncuttable> {
        if self.packets.is_empty() {
            return Err(Uncuttable::Empty);
        }
        if let Some(message) = self.errors.first() {
            return Err(Uncuttable::Damaged { message: message.clone() });
        }
        if self.packets.iter().any(|packet| packet.corrupt) {
            return Err(Uncuttable::Damaged { message: "corrupt packets".into() });
        }
        match self.packets.iter().filter(|packet| packet.pts.is_none()).count() {
            0 => Ok(()),
            packets => Err(Uncuttable::NoPts { packets }),
        }
    }

    fn shown_pts(&self) -> Result<PtsList, Uncuttable> {
        let mut pts: Vec<i64> =
            self.packets.iter().filter(|p| !p.discard).filter_map(|p| p.pts).collect();
        pts.sort_unstable();
        if let Some(pair) = pts.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Uncuttable::DuplicatePts { pts: pair[0] });
        }
        PtsList::new(pts).filter(|list| !list.is_empty()).ok_or(Uncuttable::Empty)
    }

    fn keyframes(&self) -> Vec<Keyframe> {
        let mut keyframes: Vec<Keyframe> = self
            .packets
            .iter()
            .enumerate()
            .filter(|(_, packet)| packet.keyframe)
            .filter_map(|(packet, p)| p.pts.map(|pts| Keyframe { pts, packet }))
            .collect();
        keyframes.sort_unstable_by_key(|key| key.pts);
        keyframes
    }

    fn check_gaps(&self, keyframes: &[Keyframe], pts: &PtsList) -> Result<(), Uncuttable> {
        if !self.packets[0].keyframe {
            return Err(Uncuttable::NoLeadingKeyframe);
        }
        let last = pts.ticks().last().copied().unwrap_or_default();
        let starts = keyframes.iter().map(|key| key.pts);
        let ends = keyframes.iter().skip(1).map(|key| key.pts).chain([last]);
        let gap = starts.zip(ends).map(|(start, end)| end - start).max().unwrap_or(0);
        let gap = self.time_base.seconds(gap);
        if gap > MAX_KEYFRAME_GAP {
            return Err(Uncuttable::SparseKeyframes { gap });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stream of `frames` frames with a keyframe every `gop`, 1/25 s ticks,
    /// with B-frames: decode order I P B B B …
    pub(crate) fn stream(frames: i64, gop: i64) -> PacketIndex {
        let mut packets = Vec::new();
        for start in (0..frames).step_by(gop as usize) {
            let end = (start + gop).min(frames);
            let mut order: Vec<i64> = (start..end).collect();
            if order.len() > 3 {
                let last = order.remove(3);
                order.insert(1, last);
            }
            packets.extend(order.into_iter().map(|pts| Packet {
                pts: Some(pts),
                pos: Some(pts as u64 * 1000),
                size: 1000,
                keyframe: pts == start,
                discard: false,
                corrupt: false,
            }));
        }
        let time_base = TimeBase::new(1, 25).unwrap();
        PacketIndex { time_base, packets, errors: Vec::new() }
    }

    #[test]
    fn frames_are_sorted_and_discarded_packets_are_left_out() {
        let mut index = stream(50, 10);
        index.packets[1].discard = true;
        let frames = index.frames("mov,mp4").unwrap();
        assert_eq!(frames.pts.len(), 49);
        assert_eq!(frames.keyframes.len(), 5);
    }

    #[test]
    fn refuses_what_cannot_be_cut() {
        type Damage = fn(&mut PacketIndex);
        let cases: [(&str, Damage); 6] = [
            ("avi", |_| {}),
            ("mov", |i| i.packets.clear()),
            ("mov", |i| i.packets[3].pts = None),
            ("mov", |i| i.packets[3].pts = i.packets[4].pts),
            ("mov", |i| i.packets.iter_mut().skip(1).for_each(|p| p.keyframe = false)),
            ("mov", |i| i.errors.push("broken".into())),
        ];
        let reasons: Vec<String> = cases
            .iter()
            .map(|(format, damage)| {
                let mut index = stream(50, 10);
                damage(&mut index);
                index.frames(format).unwrap_err().to_string()
            })
            .collect();
        insta::assert_json_snapshot!(reasons);
    }
}
