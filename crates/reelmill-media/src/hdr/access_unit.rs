//! Access units: all that a stream holds for one picture.

use super::nal::{MAX_NAL, NalKind, Splitter, layer};
use super::order::{OrderCounter, Place};
use super::parameter_sets::ParameterSets;
use super::slice::{begins_picture, first_slice};
use reelmill_core::error::Failure;
use std::io::{self, Read};
use std::ops::Range;

/// NAL units of one access unit, beyond which a stream is refused.
const MAX_UNITS: usize = 10_000;

/// Bytes read at once from a stream.
const BLOCK: usize = 256 << 10;

/// The NAL units of one picture, in stream order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessUnit {
    bytes: Vec<u8>,
    units: Vec<Range<usize>>,
    /// The picture's place; `None` when the unit holds no picture.
    pub place: Option<Place>,
    /// Whether decoding may start with it.
    pub random_access: bool,
}

impl AccessUnit {
    /// Its NAL units, without start codes.
    pub fn nals(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.units.iter().map(|range| &self.bytes[range.clone()])
    }

    /// Its NAL units of one kind.
    pub fn of_kind(&self, kind: NalKind) -> impl Iterator<Item = &[u8]> {
        self.nals().filter(move |nal| NalKind::of(nal) == Some(kind))
    }

    fn add(&mut self, nal: &[u8]) -> Result<(), Failure> {
        if self.units.len() >= MAX_UNITS || self.bytes.len() + nal.len() > 2 * MAX_NAL {
            return Err(Failure::input("a picture of the HEVC stream has too many pieces")
                .advise("it is damaged: check that it plays"));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(nal);
        self.units.push(start..self.bytes.len());
        Ok(())
    }
}

/// Follows a stream's pictures: reads what the NAL units tell of them.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    sets: ParameterSets,
    counter: OrderCounter,
    begun: u64,
}

impl Pictures {
    /// Takes note of the next NAL unit; tells the place of the picture that
    /// begins with it, if one does.
    ///
    /// # Errors
    /// Class input, when a picture begins and its place cannot be told.
    pub fn note(&mut self, nal: &[u8]) -> Result<Option<Place>, Failure> {
        let Some(kind) = NalKind::of(nal).filter(|_| layer(nal) == 0) else {
            return Ok(None);
        };
        match kind {
            NalKind::SPS | NalKind::PPS => self.sets.note(nal),
            NalKind::EOS | NalKind::EOB => self.counter.end_of_sequence(),
            kind if kind.is_slice() && begins_picture(nal) => {
                let slice = first_slice(nal, &self.sets).map_err(|why| {
                    let message =
                        format!("picture {} of the HEVC stream cannot be read: {why}", self.begun);
                    Failure::input(message).advise("the stream is damaged: check that it plays")
                })?;
                self.begun += 1;
                return Ok(Some(self.counter.next(nal, slice)));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Takes an access unit.
pub type OnAccessUnit<'a> = &'a mut dyn FnMut(AccessUnit) -> Result<(), Failure>;

/// Puts NAL units together to access units.
#[derive(Debug, Default)]
pub struct Assembler {
    pictures: Pictures,
    current: AccessUnit,
}

impl Assembler {
    /// For a stream whose parameter sets are (also) elsewhere, such as in a
    /// container's header.
    ///
    /// # Errors
    /// As [`Pictures::note`].
    pub fn with_sets<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Failure> {
        let mut assembler = Self::default();
        for nal in sets {
            assembler.pictures.note(nal)?;
        }
        Ok(assembler)
    }

    /// Takes the next NAL unit of the stream; hands over the access unit that
    /// ends before it.
    ///
    /// # Errors
    /// As [`Pictures::note`]; what `on_unit` fails with.
    pub fn push(&mut self, nal: &[u8], on_unit: OnAccessUnit<'_>) -> Result<(), Failure> {
        let kind = NalKind::of(nal).ok_or_else(|| {
            Failure::input("the HEVC stream has a unit of one byte")
                .advise("it is damaged: check that it plays")
        })?;
        let base = layer(nal) == 0;
        let opens = kind.opens_access_unit() || kind.is_slice() && begins_picture(nal);
        if base && opens && self.current.place.is_some() {
            on_unit(std::mem::take(&mut self.current))?;
        }
        if let Some(place) = self.pictures.note(nal)? {
            self.current.place = Some(place);
            self.current.random_access = kind.is_random_access();
        }
        self.current.add(nal)
    }

    /// Hands over the access unit that a packet ends with, and goes on: for
    /// containers, whose packets hold one each.
    ///
    /// # Errors
    /// What `on_unit` fails with.
    pub fn end_of_packet(&mut self, on_unit: OnAccessUnit<'_>) -> Result<(), Failure> {
        if self.current.units.is_empty() {
            return Ok(());
        }
        on_unit(std::mem::take(&mut self.current))
    }

    /// Hands over the last access unit.
    ///
    /// # Errors
    /// What `on_unit` fails with.
    pub fn finish(self, on_unit: OnAccessUnit<'_>) -> Result<(), Failure> {
        if self.current.units.is_empty() {
            return Ok(());
        }
        on_unit(self.current)
    }
}

/// Reads a byte stream to its end and hands over its access units, in coding
/// order.
///
/// # Errors
/// Class input when it is no HEVC stream or damaged; when it cannot be read; what
/// `on_unit` fails with.
pub fn read_all(mut stream: impl Read, on_unit: OnAccessUnit<'_>) -> Result<(), Failure> {
    let (mut splitter, mut assembler) = (Splitter::new(), Assembler::default());
    let mut block = vec![0; BLOCK];
    loop {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(read) => {
                splitter.push(&block[..read], &mut |nal| assembler.push(nal, on_unit))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io("read the HEVC stream", &error)),
        }
    }
    splitter.finish(&mut |nal| assembler.push(nal, on_unit))?;
    assembler.finish(on_unit)
}
