//! Dolby Vision metadata of one picture (RPU): what it says, and its conversion
//! to profile 8.1.

mod bounds;

use super::nal::NalKind;
use dolby_vision::rpu::ConversionMode;
use dolby_vision::rpu::dovi_rpu::DoviRpu;
use dolby_vision::rpu::extension_metadata::blocks::ExtMetadataBlock;
use dolby_vision::rpu::rpu_data_nlq::DoviELType;
use reelmill_core::dolby::{EnhancementLayer, convertible};
use reelmill_core::error::Failure;
use reelmill_core::hdr::Bars;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of an RPU beyond which it is refused; real ones have 150 to 1000.
const MAX_RPU: usize = 64 << 10;

/// Levels of metadata that there are.
const LEVELS: [u8; 12] = [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 254, 255];

/// The metadata of one picture, read and found whole.
#[derive(Debug, Clone)]
pub struct Rpu(DoviRpu);

impl Rpu {
    /// Reads the NAL unit `nal` (type 62, with its header).
    ///
    /// # Errors
    /// Class input, when it is damaged or of a form that is not known.
    pub fn parse(nal: &[u8]) -> Result<Self, Failure> {
        if NalKind::of(nal) != Some(NalKind::RPU) {
            return Err(unreadable("it is another kind of unit"));
        }
        if nal.len() > MAX_RPU {
            return Err(unreadable(&format!("it has {} bytes", nal.len())));
        }
        let plain = whole(nal).ok_or_else(|| unreadable("its checksum does not match"))?;
        if !bounds::hold(&plain) {
            return Err(unreadable("it states more than it has"));
        }
        guarded(|| DoviRpu::parse_rpu(&plain).map_err(|error| error.to_string())).map(Self)
    }

    /// The Dolby Vision profile: 4, 5, 7 or 8; 0 when it is another.
    #[must_use]
    pub fn profile(&self) -> u8 {
        self.0.dovi_profile
    }

    /// What kind of enhancement layer it applies to.
    #[must_use]
    pub fn layer(&self) -> Option<EnhancementLayer> {
        self.0.el_type.as_ref().map(|kind| match kind {
            DoviELType::MEL => EnhancementLayer::Mel,
            DoviELType::FEL => EnhancementLayer::Fel,
        })
    }

    /// The levels of metadata in it, ascending.
    #[must_use]
    pub fn levels(&self) -> Vec<u8> {
        let Some(data) = &self.0.vdr_dm_data else { return Vec::new() };
        LEVELS.into_iter().filter(|level| data.get_block(*level).is_some()).collect()
    }

    /// The brightest that the mastering display showed, as a 12-bit PQ code.
    #[must_use]
    pub fn source_max_pq(&self) -> Option<u16> {
        self.0.vdr_dm_data.as_ref().map(|data| data.source_max_pq).filter(|code| *code > 0)
    }

    /// The brightest in this picture (level 1), as a 12-bit PQ code.
    #[must_use]
    pub fn max_pq(&self) -> Option<u16> {
        match self.block(1)? {
            ExtMetadataBlock::Level1(block) => Some(block.max_pq),
            _ => None,
        }
    }

    /// Most nits of the mastering display that level 6 states.
    #[must_use]
    pub fn mastering_nits(&self) -> Option<u16> {
        match self.block(6)? {
            ExtMetadataBlock::Level6(block) => Some(block.max_display_mastering_luminance),
            _ => None,
        }
    }

    /// The bars that level 5 states.
    #[must_use]
    pub fn bars(&self) -> Option<Bars> {
        match self.block(5)? {
            ExtMetadataBlock::Level5(block) => {
                let (left, right, top, bottom) = block.get_offsets();
                Some(Bars { left, right, top, bottom })
            }
            _ => None,
        }
    }

    /// States other bars.
    ///
    /// # Errors
    /// Class permanent, when they do not fit into level 5 (8191 pixels).
    pub fn set_bars(&mut self, bars: Bars) -> Result<(), Failure> {
        let Bars { left, right, top, bottom } = bars;
        if [left, right, top, bottom].iter().any(|pixels| *pixels > 8191) {
            return Err(Failure::permanent("Dolby Vision cannot state bars of so many pixels"));
        }
        self.0
            .set_active_area_offsets(left, right, top, bottom)
            .map_err(|error| Failure::permanent(format!("cannot state bars: {error}")))
    }

    /// How many pieces the mapping of each colour component has; nothing when the
    /// mapping of the picture before applies.
    #[must_use]
    pub fn mapping_pieces(&self) -> Option<[usize; 3]> {
        let mapping = self.0.rpu_data_mapping.as_ref()?;
        Some(std::array::from_fn(|at| mapping.curves[at].pivots.len().saturating_sub(1)))
    }

    /// Whether it has data that only the enhancement layer's decoder uses.
    #[must_use]
    pub fn has_residual_mapping(&self) -> bool {
        self.0.rpu_data_mapping.as_ref().is_some_and(|mapping| mapping.nlq.is_some())
    }

    /// Makes it profile 8.1: without enhancement layer, for an HDR10 base. What
    /// the full enhancement layer's mapping would have done is lost.
    ///
    /// # Errors
    /// Class input, unless it is of profile 7 or 8: the colours of another base
    /// would be wrong.
    pub fn make_81(&mut self) -> Result<(), Failure> {
        convertible(self.profile())?;
        let rpu = &mut self.0;
        guarded(|| rpu.convert_with_mode(ConversionMode::To81).map_err(|error| error.to_string()))?;
        if self.profile() != 8 || self.layer().is_some() {
            return Err(unreadable("it did not become profile 8.1"));
        }
        Ok(())
    }

    /// As a NAL unit, with header.
    ///
    /// # Errors
    /// Class input, when it says something that cannot be written.
    pub fn write(&self) -> Result<Vec<u8>, Failure> {
        guarded(|| self.0.write_hevc_unspec62_nalu().map_err(|error| error.to_string()))
    }

    fn block(&self, level: u8) -> Option<&ExtMetadataBlock> {
        self.0.vdr_dm_data.as_ref()?.get_block(level)
    }
}

/// The NAL unit `nal` (type 62) as profile 8.1.
///
/// # Errors
/// As [`Rpu::parse`] and [`Rpu::make_81`].
pub fn to_81(nal: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut rpu = Rpu::parse(nal)?;
    rpu.make_81()?;
    rpu.write()
}

/// Runs `work` on metadata from strangers; that it panics is a failure too.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|why| unreadable(&why)),
        Err(_) => Err(unreadable("it makes no sense")),
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::input(format!("the Dolby Vision metadata cannot be read: {why}"))
}

/// What is in `nal`, without emulation prevention bytes, when its checksum is that
/// of its content (CRC-32/MPEG-2). A damaged unit is thereby refused before
/// anybody tries to make sense of it.
fn whole(nal: &[u8]) -> Option<Vec<u8>> {
    let plain = crate::bits::unescape(&nal[2..]);
    let zeros = plain.iter().rev().take_while(|byte| **byte == 0).count();
    let unit = &plain[..plain.len() - zeros];
    let (content, [stated @ .., 0x80]) = unit.split_last_chunk::<5>()? else { return None };
    (checksum(content.get(1..)?).to_be_bytes() == *stated).then_some(plain)
}

fn checksum(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<8>();
    let sum = blocks.iter().fold(u32::MAX, |sum, block| {
        let [first @ .., _, _, _, _] = block;
        let first = (u32::from_be_bytes(*first) ^ sum).to_be_bytes();
        let bytes = first.iter().chain(&block[4..]);
        bytes.zip(TABLES.iter().rev()).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
    });
    rest.iter().fold(sum, |sum, byte| {
        let at = (sum >> 24) as u8 ^ byte;
        sum << 8 ^ TABLES[0][usize::from(at)]
    })
}

/// What a byte contributes that is followed by so many others.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut at = 0;
    while at < 256 {
        let mut sum = (at as u32) << 24;
        let mut bit = 0;
        while bit < 8 * tables.len() {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 };
            bit += 1;
            if bit % 8 == 0 {
                tables[bit / 8 - 1][at] = sum;
            }
        }
        at += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_mpeg2() {
        assert_eq!(checksum(b"123456789"), 0x0376_E6E7);
        // By its definition: what is left of a division.
        let slow = |bytes: &[u8]| {
            bytes.iter().fold(u32::MAX, |sum, byte| {
                (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
                    sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
                })
            })
        };
        let bytes: Vec<u8> = (0..100).map(|at: u32| (at * at) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(checksum(&bytes[..length]), slow(&bytes[..length]), "{length} bytes");
        }
    }
}
