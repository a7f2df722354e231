//! NAL units: the pieces that an HEVC stream consists of, and how to find them.

use reelmill_core::error::Failure;
use std::io::{self, Read, Write};

/// Bytes of one NAL unit, beyond which a stream is refused: an uncompressed
/// picture of 8K has fewer.
pub const MAX_NAL: usize = 32 << 20;

/// Bytes read at once from a stream.
const BLOCK: usize = 256 << 10;

/// What precedes a NAL unit when it is written to a byte stream.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Type of a NAL unit (ITU-T H.265, table 7-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NalKind(pub u8);

impl NalKind {
    /// Video parameter set.
    pub const VPS: Self = Self(32);
    /// Sequence parameter set.
    pub const SPS: Self = Self(33);
    /// Picture parameter set.
    pub const PPS: Self = Self(34);
    /// Access unit delimiter.
    pub const AUD: Self = Self(35);
    /// End of sequence.
    pub const EOS: Self = Self(36);
    /// End of bitstream.
    pub const EOB: Self = Self(37);
    /// Supplemental information before the picture.
    pub const SEI_PREFIX: Self = Self(39);
    /// Supplemental information after the picture.
    pub const SEI_SUFFIX: Self = Self(40);
    /// Dolby Vision metadata (RPU).
    pub const RPU: Self = Self(62);
    /// A NAL unit of Dolby Vision's enhancement layer, wrapped.
    pub const EL: Self = Self(63);

    /// The type that the header of `nal` states; `None` when it has no header.
    #[must_use]
    pub fn of(nal: &[u8]) -> Option<Self> {
        (nal.len() >= 2).then(|| Self(nal[0] >> 1 & 0x3F))
    }

    /// Whether it is part of a picture (a slice).
    #[must_use]
    pub fn is_slice(self) -> bool {
        self.0 < 32
    }

    /// Whether decoding may start here (IDR, BLA, CRA).
    #[must_use]
    pub fn is_random_access(self) -> bool {
        (16..=23).contains(&self.0)
    }

    /// Whether it is an IDR picture.
    #[must_use]
    pub fn is_idr(self) -> bool {
        self.0 == 19 || self.0 == 20
    }

    /// Whether it is a BLA picture.
    #[must_use]
    pub fn is_bla(self) -> bool {
        (16..=18).contains(&self.0)
    }

    /// Whether it is a leading picture (RADL or RASL): decoded after the random
    /// access picture and shown before it.
    #[must_use]
    pub fn is_leading(self) -> bool {
        (6..=9).contains(&self.0)
    }

    /// Whether no picture of the same sub-layer refers to it.
    #[must_use]
    pub fn is_unreferenced(self) -> bool {
        self.0 < 16 && self.0.is_multiple_of(2)
    }

    /// Whether, after the slices of a picture, it can only belong to the next.
    #[must_use]
    pub fn opens_access_unit(self) -> bool {
        matches!(self.0, 32..=35 | 39 | 41..=44 | 48..=55)
    }
}

/// The layer that the header of `nal` states: 0 for all that plain HEVC and
/// Dolby Vision use.
#[must_use]
pub fn layer(nal: &[u8]) -> u8 {
    match nal {
        [first, second, ..] => (first & 1) << 5 | second >> 3,
        _ => 0,
    }
}

/// The temporal sub-layer that the header of `nal` states.
#[must_use]
pub fn temporal_id(nal: &[u8]) -> u8 {
    nal.get(1).map_or(0, |second| (second & 7).saturating_sub(1))
}

/// Takes a NAL unit: header and payload, without start code.
pub type OnNal<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// Cuts a byte stream (ITU-T H.265, annex B) into NAL units, however the stream
/// is handed over.
///
/// Zero bytes before a start code are no part of a unit. Keeps at most one unit
/// and what is pushed at once.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Whether `buffer` begins with a unit, its start code having been taken off.
    inside: bool,
    /// Bytes at the start of `buffer` that hold no start code's first byte.
    searched: usize,
    passed: u64,
}

impl Splitter {
    /// A splitter at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and hands over the units that end in
    /// them.
    ///
    /// # Errors
    /// Class input when the stream does not begin with a start code or a unit is
    /// larger than [`MAX_NAL`]; what `on_nal` fails with.
    pub fn push(&mut self, bytes: &[u8], on_nal: OnNal<'_>) -> Result<(), Failure> {
        self.buffer.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(found) = memchr::memmem::find(&self.buffer[self.searched..], &[0, 0, 1]) {
            let at = self.searched + found;
            self.unit(begin, at, on_nal)?;
            self.inside = true;
            begin = at + 3;
            self.searched = begin;
        }
        self.searched = self.searched.max(self.buffer.len().saturating_sub(2));
        if begin > 0 {
            self.buffer.drain(..begin);
            self.searched -= begin;
            self.passed += begin as u64;
        }
        if self.buffer.len() > MAX_NAL {
            return Err(Failure::input(format!(
                "the HEVC stream has a unit of more than {MAX_NAL} bytes, at byte {}",
                self.passed
            ))
            .advise("it is damaged: check that it plays"));
        }
        if !self.inside {
            self.check_no_unit(self.buffer.len())?;
        }
        Ok(())
    }

    /// Hands over the last unit.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(self, on_nal: OnNal<'_>) -> Result<(), Failure> {
        self.unit(0, self.buffer.len(), on_nal)
    }

    fn unit(&self, begin: usize, end: usize, on_nal: OnNal<'_>) -> Result<(), Failure> {
        if !self.inside {
            return self.check_no_unit(end);
        }
        let unit = &self.buffer[begin..end];
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        match &unit[..unit.len() - zeros] {
            [] => Ok(()),
            unit => on_nal(unit),
        }
    }

    fn check_no_unit(&self, end: usize) -> Result<(), Failure> {
        if self.buffer[..end].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Failure::input("the HEVC stream does not begin with a start code")
            .advise("is it a raw HEVC stream?"))
    }
}

/// Reads a byte stream to its end, however short its reads are.
///
/// # Errors
/// As [`Splitter::push`]; when it cannot be read.
pub fn read_all(mut stream: impl Read, on_nal: OnNal<'_>) -> Result<(), Failure> {
    let mut splitter = Splitter::new();
    let mut block = vec![0; BLOCK];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return splitter.finish(on_nal),
            Ok(read) => splitter.push(&block[..read], on_nal)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io("read the HEVC stream", &error)),
        }
    }
}

/// Writes a unit with its start code.
///
/// # Errors
/// When it cannot be written.
pub fn write(nal: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(&START_CODE)?;
    out.write_all(nal)
}

/// The units of one packet as MP4 and Matroska store it: each after its length
/// in `length_bytes` bytes (1 to 4).
///
/// # Errors
/// Class input when a length reaches beyond the packet.
pub fn in_packet(packet: &[u8], length_bytes: usize) -> Result<Vec<&[u8]>, Failure> {
    let damaged = || Failure::input("a packet of the video ends within a NAL unit");
    let mut units = Vec::new();
    let mut rest = packet;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(length_bytes).ok_or_else(damaged)?;
        let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        let (unit, after) = after.split_at_checked(length).ok_or_else(damaged)?;
        if !unit.is_empty() {
            units.push(unit);
        }
        rest = after;
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut units = Vec::new();
        let mut take = |unit: &[u8]| {
            units.push(unit.to_vec());
            Ok(())
        };
        let mut splitter = Splitter::new();
        for piece in pieces {
            splitter.push(piece, &mut take)?;
        }
        splitter.finish(&mut take)?;
        Ok(units)
    }

    #[test]
    fn short_and_long_start_codes_and_padding_are_no_part_of_a_unit() {
        let stream = [0, 0, 0, 0, 1, 64, 1, 7, 0, 0, 0, 0, 1, 66, 1, 0, 0, 1, 0, 0, 1, 68, 1, 0];
        assert_eq!(split(&[&stream]).unwrap(), [vec![64, 1, 7], vec![66, 1], vec![68, 1]]);
        assert_eq!(split(&[]).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_no_byte_stream_is_refused() {
        for bad in [&[0u8, 0, 2, 5, 64][..], b"ftypheic"] {
            let failure = split(&[bad]).unwrap_err();
            assert!(failure.message.contains("start code"), "{failure}");
        }
    }

    #[test]
    fn a_unit_that_never_ends_is_refused() {
        let mut splitter = Splitter::new();
        let mut take = |_: &[u8]| Ok(());
        splitter.push(&[0, 0, 1], &mut take).unwrap();
        let block = vec![255; 1 << 20];
        let mut pushed = (0..=33).map(|_| splitter.push(&block, &mut take));
        assert!(pushed.any(|done| done.is_err()));
    }

    #[test]
    fn a_packet_whose_lengths_lie_is_refused() {
        assert_eq!(in_packet(&[0, 2, 64, 1, 0, 0, 0, 1, 9], 2).unwrap(), [&[64, 1][..], &[9]]);
        for bad in [&[0u8, 3, 64, 1][..], &[0], &[255, 255, 1]] {
            assert!(in_packet(bad, 2).is_err());
        }
    }

    proptest! {
        #[test]
        fn d13_pieces_of_any_size_give_the_same_units(
            stream in prop::collection::vec(prop::sample::select(vec![0u8, 0, 0, 1, 2, 3, 64]), 0..400),
            sizes in prop::collection::vec(1usize..20, 1..50),
        ) {
            let stream = [&[0, 0, 1, 64, 1][..], &stream].concat();
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(split(&pieces).unwrap(), split(&[&stream]).unwrap());
        }

        #[test]
        fn units_written_are_the_units_read(
            units in prop::collection::vec(prop::collection::vec(4u8..255, 1..30), 1..20),
        ) {
            let mut stream = Vec::new();
            for unit in &units {
                write(unit, &mut stream).unwrap();
            }
            prop_assert_eq!(split(&[&stream]).unwrap(), units);
        }
    }
}
