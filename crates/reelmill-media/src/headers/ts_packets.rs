//! Packets of a transport stream, and what begins in them (ISO 13818-1 2.4.3).

use super::window::{Look, Window, unsure};

/// Bytes of a packet from its synchronisation byte on.
pub(super) const PACKET: usize = 188;

/// Packets that are read at a time.
const AT_ONCE: u64 = 1300;

/// How packets lie in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Where the first one begins.
    pub(super) first: u64,
    /// From one to the next, bytes.
    pub(super) stride: u64,
}

impl Grid {
    /// How they lie in a file that is a transport stream, of which `head` is the beginning.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let grids = [Self { first: 0, stride: 188 }, Self { first: 4, stride: 192 }];
        grids.into_iter().find(|grid| {
            let mut marks = (0..16u64).map(|n| (grid.first + n * grid.stride) as usize);
            marks.all(|at| head.get(at) == Some(&0x47))
        })
    }

    /// The first packet at or behind `at`.
    pub(super) fn from(self, at: u64) -> u64 {
        self.first + at.saturating_sub(self.first).div_ceil(self.stride) * self.stride
    }

    /// Hands over all packets from `at` on, which must be one's place, until there is enough.
    pub(super) fn walk(
        self,
        file: &mut Window,
        mut at: u64,
        mut on_packet: impl FnMut(&Packet<'_>) -> Look<bool>,
    ) -> Look<()> {
        while file.len.saturating_sub(at) >= PACKET as u64 {
            let data = file.upto(at, AT_ONCE * self.stride)?;
            for packet in data.chunks(self.stride as usize) {
                let Some(bytes) = packet.get(..PACKET) else { break };
                if !on_packet(&Packet::read(bytes)?)? {
                    return Ok(());
                }
            }
            at += AT_ONCE * self.stride;
        }
        Ok(())
    }
}

/// A packet.
pub(super) struct Packet<'a> {
    pub(super) pid: u16,
    /// Whether something begins in it.
    pub(super) start: bool,
    /// Whether it is damaged, or scrambled.
    pub(super) unfit: bool,
    /// Counts those of a PID that carry something.
    pub(super) count: u8,
    /// Whether the count may begin anew.
    pub(super) anew: bool,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Look<Self> {
        if bytes[0] != 0x47 {
            return unsure("packets out of step");
        }
        let (adapted, filled) = (bytes[3] & 0x20 != 0, bytes[3] & 0x10 != 0);
        let (from, flags) = match adapted {
            true if bytes[4] > 0 => (5 + usize::from(bytes[4]), bytes[5]),
            true => (5, 0),
            false => (4, 0),
        };
        let payload = if filled { bytes.get(from..).unwrap_or_default() } else { &[] };
        Ok(Self {
            pid: u16::from(bytes[1] & 0x1F) << 8 | u16::from(bytes[2]),
            start: bytes[1] & 0x40 != 0,
            unfit: bytes[1] & 0x80 != 0 || bytes[3] & 0xC0 != 0 || bytes[3] & 0x30 == 0,
            count: bytes[3] & 15,
            anew: flags & 0x80 != 0,
            payload,
        })
    }
}

/// The beginning of a packet of an elementary stream (PES).
pub(super) struct Begun {
    /// Bytes in all, as its header has it; 0 where that is open.
    pub(super) length: usize,
    /// Bytes of its header.
    pub(super) header: usize,
    /// When it is shown, in 1/90000 s.
    pub(super) pts: Option<i64>,
    /// When it is decoded, where told.
    pub(super) dts: Option<i64>,
}

/// Whether an elementary stream begins in `payload`, rather than a table; unsure where that
/// cannot be told.
pub(super) fn begins(payload: &[u8]) -> Look<bool> {
    match payload {
        [0, 0, 1, id, ..] => Ok(*id != 0xBE),
        [0, 0] | [0] | [0, 0, 1] => unsure("a header in pieces"),
        _ => Ok(false),
    }
}

impl Begun {
    /// Reads the header in `payload`, where it is whole and usual.
    pub(super) fn read(payload: &[u8]) -> Look<Self> {
        let [0, 0, 1, id, l1, l0, marks, flags, more, ..] = *payload else {
            return unsure("a header in pieces");
        };
        let header = 9 + usize::from(more);
        let usual = matches!(id, 0xBD | 0xC0..=0xEF | 0xFD) && marks & 0xF0 == 0x80;
        if !usual || payload.len() < header {
            return unsure("an unusual header");
        }
        let time = |at: usize| match payload.get(at..at + 5) {
            Some([a, b, c, d, e]) if at + 5 <= header => {
                let part = |high: &u8, low: &u8| i64::from(*high) << 7 | i64::from(*low) >> 1;
                Some(i64::from(a & 14) << 29 | part(b, c) << 15 | part(d, e))
            }
            _ => None,
        };
        let (pts, dts) = match flags >> 6 {
            2 => (time(9), time(9)),
            3 => (time(9), time(14)),
            _ => (None, None),
        };
        if flags >> 7 == 1 && (pts.is_none() || dts.is_none()) {
            return unsure("an unusual header");
        }
        let length = usize::from(l1) << 8 | usize::from(l0);
        Ok(Self { length: if length == 0 { 0 } else { length + 6 }, header, pts, dts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_standard_packs_them() {
        let header = hex::decode("000001e000008080052100010001ff").unwrap();
        let begun = Begun::read(&header).unwrap();
        assert_eq!((begun.pts, begun.dts, begun.header, begun.length), (Some(0), Some(0), 14, 0));
        let header = hex::decode("000001c000108080052fffffffff").unwrap();
        assert_eq!(Begun::read(&header).unwrap().pts, Some((1 << 33) - 1));
        assert!(Begun::read(&header[..10]).is_err());
        assert!(begins(&[0, 0, 1, 0xE0]).unwrap() && !begins(&[0, 2, 1, 0xE0]).unwrap());
    }

    #[test]
    fn the_grid_goes_on() {
        let grid = Grid { first: 4, stride: 192 };
        assert_eq!((grid.from(0), grid.from(4), grid.from(5), grid.from(197)), (4, 4, 196, 388));
    }
}
